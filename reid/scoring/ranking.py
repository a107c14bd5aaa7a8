"""From scores of photos to a ranking of individuals: each by its best reference, ties by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..records import Candidate
from ..records.answer import nameless
from .evidence import Scores
from .impostors import Floats


def rank(
    rows: Sequence[Scores],
    score: str,
    photo_ids: Sequence[str],
    reference_ids: Sequence[str],
    identities: Sequence[str | None],
) -> tuple[Candidate, ...]:
    """Individuals, best first, each by its best pair, whichever of the query's photos that is of.

    `rows` are the scores of each of the query's photos over the same references, `score` is what to rank by. A reference of an animal
    without a name stands for itself."""
    if not rows or not len(reference_ids):
        return ()
    values = np.stack([row.by(score) for row in rows])
    shown = np.stack([row.shown for row in rows])
    photos, references = (np.unique(ids, return_inverse=True)[1] for ids in (photo_ids, reference_ids))
    by_name = np.lexsort((np.repeat(photos, len(references)), np.tile(references, len(photos)), -values.ravel()))
    found: dict[str, Candidate] = {}
    for place in by_name.tolist():
        photo, reference = divmod(place, len(references))
        identity = identities[reference] or nameless(reference_ids[reference])
        if identity not in found:
            found[identity] = Candidate(
                identity, float(values[photo, reference]), int(shown[photo, reference]), reference_ids[reference], photo_ids[photo]
            )
    return tuple(sorted(found.values(), key=lambda candidate: (-candidate.score, candidate.identity)))


def best_of(rows: Sequence[Scores], score: str) -> Floats:
    """(R,) the score of each reference with whichever of the query's photos it is most like."""
    best: Floats = np.max(np.stack([row.by(score) for row in rows]), axis=0)
    return best
