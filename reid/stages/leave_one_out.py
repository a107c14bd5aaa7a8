"""A gallery's own photos as queries, each without its encounter: what scores are worth, whether labels are right, what a shortlist misses.

Never against photos of the same encounter: bursts and shared backgrounds would promise what new photos do not keep.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from .. import decision, scoring
from ..decision import Calibration, Trial
from ..records import Candidate, Health, Indexed, Query
from ..scoring import ImpostorDistribution
from ..store import fingerprint, write_atomically
from .identify import Judges, rank
from .match import compared, first_by_votes
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

    At most `RECALL_QUERIES` of them, spread over the gallery, against photos of every side. Measured once for the present photos."""
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


def ranked(
    references: Sequence[Indexed], most: int, work: Workspace, impostors: ImpostorDistribution
) -> Iterator[tuple[Query, tuple[Candidate, ...], int]]:
    """Calibration queries, each without the photos of its encounter: the individuals found, and how many references were compared."""
    about = [(item.ref.identity, item.ref.encounter, item.digest) for item in references]
    chosen = decision.calibration_queries(about, most, whole_encounters=work.settings.score.encounters)
    for done, places in enumerate(chosen):
        work.listener.progress("calibration queries", done, len(chosen))
        photos = tuple(references[place] for place in places)
        pool = without_encounter(photos, references)
        if pool:
            columns = [compare(photo, pool, work, impostors) for photo in photos]
            query = Query(photos[0].ref.encounter or photos[0].digest, photos)
            n_compared = sum(map(len, compared(photos, pool, work.first, work.digests)))
            if n_compared:  # where nothing can be compared nothing is decided, here as for a new photo
                yield query, rank(photos, pool, columns, work.settings.score.score), n_compared
    work.listener.progress("calibration queries", len(chosen), len(chosen))


def trials(references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> list[Trial]:
    """Calibration queries, each with its animal, where that has another encounter, and without."""
    score = work.settings.score.score
    found: list[Trial] = []
    for query, candidates, n in ranked(references, work.settings.decide.calibration_queries, work, impostors):
        chance = partial(scoring.impostor_probability, impostors=impostors, score=score, n_references=n)
        found += decision.trials_of(str(query.photos[0].ref.identity), query.name, candidates, chance)
    return found


def health(references: Sequence[Indexed], work: Workspace, judges: Judges, most: int) -> Health:
    """What at most so many calibration queries say about the gallery's labels."""
    assert judges.calibration is not None
    found = ((str(query.photos[0].ref.identity), candidates) for query, candidates, _ in ranked(references, most, work, judges.impostors))
    return decision.health(found, judges.calibration, n_encounters(references))


def learn(references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> Calibration | None:
    """A calibration on these references; None where they have too few animals."""
    prior = decision.good_turing(list(n_encounters(references).values()))
    return decision.calibrate(trials(references, work, impostors), prior, labels(references))


def labels(references: Iterable[Indexed]) -> list[str]:
    """A name for each photo with its label."""
    return [fingerprint(item.digest, item.ref.identity, item.ref.encounter, item.ref.orientation)[:12] for item in references]


def n_encounters(references: Iterable[Indexed]) -> dict[str, int]:
    """Of each named individual."""
    found: dict[str, set[str]] = {}
    for item in references:
        if item.ref.identity is not None:
            found.setdefault(item.ref.identity, set()).add(item.ref.encounter or item.digest)
    return {name: len(of_animal) for name, of_animal in found.items()}
