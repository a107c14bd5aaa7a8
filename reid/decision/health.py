"""Which labels of a gallery to distrust: photos under a wrong name, and animals under two. Pure, on what calibration queries found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

from ..catalogue.values import some
from ..records import Candidate, Health, Mislabel, Twins
from .model import standing_of
from .sampling import ABSENT, RIGHT, Trial

if TYPE_CHECKING:
    from .calibration import Calibration

BEFORE = 0.5  # the probability, before it is looked at, that a labelled photo shows no other animal of the gallery
SUSPICIOUS = 0.5  # the probability of being another animal from which on a label is named
TWIN_IMPOSTOR = 0.001  # how likely an impostor looks as alike as a suspected twin, at most
TWIN_SHARE = 0.1  # pairs of suspected twins, of the animals queried about, at most


def suspected_twins(trials: Sequence[Trial]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Pairs of names that are probably one animal, each sorted, and notes for people.

    Where an animal stands in the gallery under two names, taking out the one leaves the other: the query is no query of a new animal, and a
    few such set the bar for `match` out of reach. A pair of names is suspected where, in a trial without the animal,

    1. the best other individual scores above the median of the best individuals that are right where the animal is there,
    2. the best of as many impostors would score as high with a probability of TWIN_IMPOSTOR at most, and
    3. where trials were made without either, each name finds the other.

    Where the evidence is worthless, right answers and impostors score alike, and the second and third rule leave next to nothing. If more
    pairs than TWIN_SHARE of the animals are suspected, it is the rule that is suspicious, and none is."""
    right = [trial.standing.score for trial in trials if trial.outcome == RIGHT]
    absent = [trial for trial in trials if trial.outcome == ABSENT]
    if not right:
        return (), ()
    usual = float(np.median(right))
    finds = {(one.animal, one.best) for one in absent if one.standing.score > usual and one.p_impostor <= TWIN_IMPOSTOR}
    queried = {one.animal for one in absent}
    pairs = {(min(pair), max(pair)) for pair in finds if pair[1] not in queried or pair[::-1] in finds}
    if len(pairs) > TWIN_SHARE * len(queried):
        named = some([" and ".join(pair) for pair in sorted(pairs)])
        return (), (
            f"{len(pairs)} pairs of {len(queried)} individuals look like one animal under two names ({named}). So many are hard to "
            "believe, and the calibration leaves none of them out; look at them with `reid duplicates`.",
        )
    return tuple(sorted(pairs)), ()


def health(
    answers: Iterable[tuple[str, int, Sequence[Candidate]]],
    calibration: Calibration,
    n_encounters: Mapping[str, int],
    called_new: Set[str] = frozenset(),
) -> Health:
    """What calibration queries say about the labels of a gallery. `answers` are the name that each was labelled with, the number of its
    photos and the individuals found without its encounter, best first; `n_encounters` are those of every named individual, `called_new`
    the names that a person gave to what they took for a new animal.

    A photo that is another animal of the gallery, more likely than not, has the wrong label if that animal is more alike than its own;
    otherwise the two may be one animal."""
    mislabels: list[tuple[float, Mislabel]] = []
    twins: dict[frozenset[str], Twins] = {}
    newcomers: dict[str, Twins] = {}
    n_queries = 0
    for name, n_photos, candidates in answers:
        n_queries += 1
        others = [candidate for candidate in candidates if candidate.identity != name]
        if not others:
            continue
        p_same = calibration.of(n_photos).decide(standing_of(others), 0, 0, prior=BEFORE).p_match
        other = others[0]
        pair = Twins((name, other.identity), (other.photo_id, other.reference_id), p_same)
        if name in called_new and n_encounters[name] < 2 and (name not in newcomers or newcomers[name].p_same < p_same):
            newcomers[name] = pair
        if p_same < SUSPICIOUS:
            continue
        own = next((candidate for candidate in candidates if candidate.identity == name), None)
        if own is not None and own.score < other.score:
            mislabels.append((p_same, Mislabel(other.photo_id, name, own.score, other)))
            continue
        names = frozenset(pair.identities)
        if names not in twins or twins[names].p_same < p_same:
            twins[names] = pair
    surest = [found for _, found in sorted(mislabels, key=lambda one: (-one[0], one[1].reference_id))]
    likeliest, known = (sorted(found.values(), key=lambda one: (-one.p_same, one.identities)) for found in (twins, newcomers))
    single = sorted(name for name, n in n_encounters.items() if n < 2)
    return Health(tuple(single), tuple(surest), tuple(likeliest), n_queries, tuple(one for one in known if one not in likeliest))
