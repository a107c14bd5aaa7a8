"""From scores of photos to a ranking of individuals: each by its best reference, ties by name. And which photos go first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Candidate
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
        identity = identities[reference] or f"unknown ({reference_ids[reference]})"
        if identity not in found:
            found[identity] = Candidate(
                identity, float(values[photo, reference]), int(shown[photo, reference]), reference_ids[reference], photo_ids[photo]
            )
    return tuple(sorted(found.values(), key=lambda candidate: (-candidate.score, candidate.identity)))


def best_of(rows: Sequence[Scores], score: str) -> Floats:
    """(R,) the score of each reference with whichever of the query's photos it is most like."""
    best: Floats = np.max(np.stack([row.by(score) for row in rows]), axis=0)
    return best


def first(votes: NDArray[np.floating[Any]], identities: Sequence[str | None], most: int) -> list[int]:
    """Places of the `most` photos that go first, in order: those of most votes, each animal's best photo before any animal's second.

    A photo whose animal is not known counts as an animal of its own."""
    n_before: dict[str, int] = {}
    turns: list[int] = []
    n_first = 0
    order = np.argsort(-votes, kind="stable").tolist()
    for place in order:
        identity = identities[place]
        turns.append(0 if identity is None else n_before.get(identity, 0))
        if identity is not None:
            n_before[identity] = turns[-1] + 1
        n_first += turns[-1] == 0
        if n_first == most:  # all places are taken by first photos; nobody behind can have one
            break
    return [order[i] for i in np.argsort(turns, kind="stable")[:most]]
