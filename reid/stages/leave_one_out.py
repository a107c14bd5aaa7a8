"""A gallery's own photos as queries, each without its encounter: what scores are worth, whether labels are right, what a shortlist misses.

Never against photos of the same encounter: bursts and shared backgrounds would promise what new photos do not keep.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from .. import decision
from ..decision import Calibration, Trial
from ..records import Candidate, Health, Indexed, Query
from ..scoring import ImpostorDistribution
from ..store import fingerprint, write_atomically
from .identify import Judges, rank, standing_of
from .match import first_by_votes
from .score import apart, compare, without_encounter
from .workspace import Workspace

RECALL_QUERIES = 500  # references that the shortlist is measured on


@dataclass(frozen=True)
class Recall:
    """How often the right animal was on a shortlist of this length, measured on the gallery itself."""

    length: int
    n_queries: int
    share: float  # 0..1; 0 without queries


def recall(references: Sequence[Indexed], length: int, work: Workspace) -> Recall:
    """How often the right animal is among the first `length` by votes, for references that have a photo of another encounter.

    At most `RECALL_QUERIES` of them, spread over the gallery. Measured once for the present photos."""
    about = [(item.digest, item.ref.identity, item.ref.encounter) for item in references]
    key = fingerprint(work.first.fingerprints.of_features, work.fingerprints.search, length, about)
    path = work.folder / "recall" / f"{key}.json"
    try:
        return Recall(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        pass  # not measured yet, or damaged
    of_animal: dict[str, list[Indexed]] = {}
    for item in references:
        if item.ref.identity is not None:
            of_animal.setdefault(item.ref.identity, []).append(item)
    tried = [item for photos in of_animal.values() for item in photos if any(apart(item, other) for other in photos)]
    tried = tried[:: -(-len(tried) // RECALL_QUERIES) or 1]
    found = 0
    for done, item in enumerate(tried):
        work.listener.progress("shortlists tried", done, len(tried))
        pool = without_encounter([item], references)
        found += any(pool[place].ref.identity == item.ref.identity for place in first_by_votes(item, pool, length, work.first))
    if tried:
        work.listener.progress("shortlists tried", len(tried), len(tried))
    measured = Recall(length, len(tried), found / len(tried) if tried else 0.0)
    write_atomically(path, json.dumps(asdict(measured)).encode())
    return measured


def queries(references: Sequence[Indexed], most: int, encounters: bool) -> list[Query]:
    """The calibration queries of a gallery, see `decision.sample`; with `encounters` all photos of one are a query."""
    named = [item for item in references if item.ref.identity is not None]
    of_encounter: dict[tuple[str, str], list[Indexed]] = {}
    for item in sorted(named, key=lambda item: (item.digest, item.ref.image_id)):
        of_encounter.setdefault((str(item.ref.identity), item.ref.encounter or item.digest), []).append(item)
    if encounters:
        units = [(identity, encounter, photos[0].digest, tuple(photos)) for (identity, encounter), photos in of_encounter.items()]
    else:
        units = [(*key, photo.digest, (photo,)) for key, photos in of_encounter.items() for photo in photos]
    chosen = decision.sample([unit[:3] for unit in units], most)
    return [Query(units[place][1], units[place][3]) for place in chosen]


def ranked(
    references: Sequence[Indexed], most: int, work: Workspace, impostors: ImpostorDistribution
) -> Iterator[tuple[Query, tuple[Candidate, ...]]]:
    """Calibration queries, each without the photos of its encounter, and the individuals that are found."""
    chosen = queries(references, most, work.settings.score.encounters)
    for done, query in enumerate(chosen):
        work.listener.progress("calibration queries", done, len(chosen))
        pool = without_encounter(query.photos, references)
        if pool:
            columns = [compare(photo, pool, work, impostors) for photo in query.photos]
            yield query, rank(query.photos, pool, columns, work.settings.score.score)
    work.listener.progress("calibration queries", len(chosen), len(chosen))


def trials(references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> list[Trial]:
    """Calibration queries, each with its animal, where that has another encounter, and without."""
    found = []
    for query, candidates in ranked(references, work.settings.decide.calibration_queries, work, impostors):
        own = str(query.photos[0].ref.identity)
        others = [candidate for candidate in candidates if candidate.identity != own]
        if len(others) < len(candidates):
            outcome = decision.RIGHT if candidates[0].identity == own else decision.WRONG
            found.append(Trial(own, query.name, standing_of(candidates), outcome))
        if others:
            found.append(Trial(own, query.name, standing_of(others), decision.ABSENT, rival=others[0].identity))
    return found


def health(references: Sequence[Indexed], work: Workspace, judges: Judges) -> Health:
    """What the calibration queries say about the gallery's labels."""
    assert judges.calibration is not None
    most = work.settings.decide.calibration_queries
    found = [(query.photos[0].ref, candidates) for query, candidates in ranked(references, most, work, judges.impostors)]
    return decision.health(found, encounters_of(references), judges.calibration)


def learn(references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> Calibration | None:
    """A calibration on these references; None where they have too few animals."""
    prior = decision.good_turing([len(of_animal) for of_animal in encounters_of(references).values()])
    found = decision.calibrate(trials(references, work, impostors), prior, labels(references), impostors, len(references))
    return found and Calibration.from_json(found.as_json())  # as it is stored, so that the first run equals the second


def labels(references: Iterable[Indexed]) -> list[str]:
    """A name for each photo with its label."""
    return [fingerprint(item.digest, item.ref.identity, item.ref.encounter, item.ref.orientation)[:12] for item in references]


def encounters_of(references: Iterable[Indexed]) -> dict[str, dict[str, int]]:
    """The number of photos of each named individual by encounter."""
    found: dict[str, dict[str, int]] = {}
    for item in references:
        if item.ref.identity is not None:
            of_animal = found.setdefault(item.ref.identity, {})
            encounter = item.ref.encounter or item.digest
            of_animal[encounter] = of_animal.get(encounter, 0) + 1
    return found
