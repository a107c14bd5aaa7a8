"""From scores of photos to a ranking of individuals: each by its best reference, ties by name. And which photos go first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Candidate, Score


def rank(scores: Sequence[Score], identities: Mapping[str, str | None]) -> tuple[Candidate, ...]:
    """Individuals, best first, each by its best pair, whichever of a query's photos that is of.

    `identities` maps a reference to its individual, an unnamed animal's photo stands for itself."""
    best: dict[str, Candidate] = {}
    for score in sorted(scores, key=lambda score: (-score.value, score.reference_id, score.query_id)):
        identity = identities[score.reference_id] or f"unknown ({score.reference_id})"
        best.setdefault(identity, Candidate(identity, score.value, score.n_matches, score.reference_id, score.query_id))
    return tuple(sorted(best.values(), key=lambda candidate: (-candidate.score, candidate.identity)))


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
