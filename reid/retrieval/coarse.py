"""Coarse to fine, for any matcher: every reference has one number, by quicker pipelines or by a coarse look, and only the finalists are
matched in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FINALISTS = 48  # references that are matched in full; with 32 one right turtle in twenty is lost that is among 48
BESIDE = 24  # of a pipeline that is fused with the first one, which has seen more: with 24 it is worth what it is with 48


def together(*votes: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """(R,) what several ways to look at references say of them, each in its own deviations over all of them."""
    found: NDArray[np.floating[Any]] = np.sum([(one - one.mean()) / (one.std() or 1) for one in votes], axis=0)
    return found


def finalists(totals: NDArray[np.floating[Any]], identities: Sequence[str | None], n: int) -> list[int]:
    """Places of `n` references, best first: those of the largest totals, but each animal's best photo before any animal's second.

    A photo whose animal is not known counts as an animal of its own."""
    n_before: dict[str, int] = {}
    turns: list[int] = []
    n_first = 0
    order = np.argsort(-totals, kind="stable").tolist()
    for place in order:
        identity = identities[place]
        turns.append(0 if identity is None else n_before.get(identity, 0))
        if identity is not None:
            n_before[identity] = turns[-1] + 1
        n_first += turns[-1] == 0
        if n_first == n:  # all places are taken by first photos; nobody behind can have one
            break
    return [order[i] for i in np.argsort(turns, kind="stable")[:n]]
