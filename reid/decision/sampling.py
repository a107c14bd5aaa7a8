"""Which photos of a gallery are calibration queries, and what each of them gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest

from ..records import Candidate
from .model import Standing, standing_of

SIZES = (1, 2, 3, 4, 6, 9)  # photos of a calibration query: of an encounter that has as many, its first so many
RIGHT, WRONG, ABSENT = "right", "wrong", "absent"  # the best individual of a calibration query; absent: its animal was taken out


@dataclass(frozen=True)
class Trial:
    """One calibration query and what came of it."""

    animal: str
    encounter: str  # its photos share one unit of weight
    standing: Standing
    outcome: str  # RIGHT, WRONG or ABSENT
    weight: float = 1.0  # in its encounter, beside the others of the same kind; `weighed` makes them add up to 1
    best: str = ""  # the individual that stood first
    p_impostor: float = 1.0  # how likely the best of as many photos of other animals would score as high


Known = tuple[str | None, str | None, str]  # identity, encounter and digest of a photo


def calibration_queries(photos: Sequence[Known], most: int, *, whole_encounters: bool = False) -> list[tuple[int, ...]]:
    """Up to `most` queries, in order, each the places of its photos: one, or with `whole_encounters` all of its encounter.

    Encounters of animals with two or more (they give a known trial and a new one) alternate with those of animals seen once (a new one
    only), so that both kinds are represented however many there are; where one kind is used up the other goes on. Every encounter's first
    photo comes before any encounter's second. The order is that of the digests: it is the same on every machine and owes nothing to names.
    A photo without an encounter counts as its own; an animal without a name gives no query."""
    order = sorted((place for place, photo in enumerate(photos) if photo[0] is not None), key=lambda place: (photos[place][2], place))
    encounters: dict[tuple[str | None, str], list[int]] = {}
    for place in order:
        identity, encounter, digest = photos[place]
        encounters.setdefault((identity, encounter or digest), []).append(place)
    n_encounters = Counter(identity for identity, _ in encounters)
    rounds: dict[int, tuple[list[tuple[int, ...]], list[tuple[int, ...]]]] = {}
    for (identity, _), places in encounters.items():
        for turn, query in enumerate([tuple(places)] if whole_encounters else [(place,) for place in places]):
            again, once = rounds.setdefault(turn, ([], []))
            (again if n_encounters[identity] > 1 else once).append(query)
    alternating = chain.from_iterable(chain.from_iterable(zip_longest(*rounds[turn])) for turn in sorted(rounds))
    return [query for query in alternating if query is not None][:most]


def sizes(n_photos: int) -> list[int]:
    """By how many of its photos an encounter of so many is a calibration query."""
    return [n for n in SIZES if n <= n_photos]


def trials_of(
    animal: str, encounter: str, candidates: Sequence[Candidate], without: Sequence[Candidate], p_impostor: Callable[[float], float]
) -> list[Trial]:
    """What a calibration query gives, from the individuals found without its encounter, best first: a trial of a known animal, where its
    own is among them, and one of a new animal, made of the others. `without` are the individuals as they would be found without its
    animal, which may be among them and is passed over.

    `p_impostor` says how likely the best of as many photos of other animals would score at least so high."""
    found = []

    def trial(among: Sequence[Candidate], outcome: str) -> Trial:
        best = among[0]
        return Trial(animal, encounter, standing_of(among), outcome, best=best.identity, p_impostor=p_impostor(best.score))

    others = [candidate for candidate in without if candidate.identity != animal]
    if any(candidate.identity == animal for candidate in candidates):
        found.append(trial(candidates, RIGHT if candidates[0].identity == animal else WRONG))
    if others:
        found.append(trial(others, ABSENT))
    return found


def weighed(trials: Sequence[Trial]) -> list[Trial]:
    """The trials with weights that add up to 1 in each encounter of an animal, for known and for new ones by themselves.

    Photos of one burst are no independent queries: ten of them must not count as ten encounters."""
    kind = [(trial.animal, trial.encounter, trial.outcome == ABSENT) for trial in trials]
    total: dict[tuple[str, str, bool], float] = {}
    for key, trial in zip(kind, trials):
        total[key] = total.get(key, 0.0) + trial.weight
    return [replace(trial, weight=trial.weight / total[key]) for key, trial in zip(kind, trials)]
