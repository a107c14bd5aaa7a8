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
    by_name = sorted(range(len(rows)), key=lambda photo: photo_ids[photo])
    values = np.stack([rows[photo].by(score) for photo in by_name])
    best = np.argmax(values, axis=0)  # the first by name where they tie
    found: dict[str, tuple[float, str, int]] = {}  # of each individual the least
    for place, (value, reference_id, identity) in enumerate(zip((-values.max(axis=0)).tolist(), reference_ids, identities, strict=True)):
        name, pair = identity or nameless(reference_id), (value, reference_id, place)
        if name not in found or pair < found[name]:
            found[name] = pair
    shown = np.stack([rows[photo].shown for photo in by_name])
    return tuple(
        Candidate(name, -value, int(shown[best[place], place]), reference_id, photo_ids[by_name[best[place]]])
        for value, name, (_, reference_id, place) in sorted((pair[0], name, pair) for name, pair in found.items())
    )


def best_of(rows: Sequence[Scores], score: str) -> Floats:
    """(R,) the score of each reference with whichever of the query's photos it is most like."""
    best: Floats = np.max(np.stack([row.by(score) for row in rows]), axis=0)
    return best
