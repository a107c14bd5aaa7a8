"""How a benchmark times two ways of one thing, and on which photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from .. import stages
from ..errors import GalleryError
from ..records import Indexed, PhotoRef
from ..session import Session
from ..stages import Listener

ROUNDS = 3  # times that each way runs, in turn with the other


@dataclass(frozen=True)
class Row:
    """One line of the table; times are medians over the rounds."""

    name: str
    unit: str
    ours: float
    peer: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.peer is None else self.peer / self.ours

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio}


def alternate(ours: Callable[[], Any], peer: Callable[[], Any] | None, listener: Listener, what: str) -> tuple[float, float | None]:
    """Median seconds of each, run in turn; the first round warms up and does not count."""
    taken: dict[str, list[float]] = {"ours": [], "peer": []}
    for done in range(ROUNDS + 1):
        listener.progress(what, done, ROUNDS + 1)
        for name, call in (("ours", ours), ("peer", peer)):
            if call is not None:
                started = time.perf_counter()
                call()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                taken[name].append(time.perf_counter() - started)
    listener.progress(what, ROUNDS + 1, ROUNDS + 1)
    return float(np.median(taken["ours"][1:])), float(np.median(taken["peer"][1:])) if peer is not None else None


def some(refs: Sequence[PhotoRef], n: int) -> list[PhotoRef]:
    """`n` photos spread over the gallery."""
    if len(refs) < n:
        raise GalleryError(f"the benchmark needs {n} photos, the gallery has {len(refs)}")
    return [refs[i * len(refs) // n] for i in range(n)]


def usable(opened: Session, n: int, of_all: bool = False) -> list[Indexed]:
    """The photos of `some`, or all, their features stored. GalleryError if fewer than `n` can be used."""
    if of_all:
        items, failures = opened.references, list(opened.failures)
    else:
        items, failures = stages.read(some(opened.gallery.references, n), opened.work.digests, opened.work.listener)
        items, bad, _ = stages.extract(items, [opened.work.first])
        failures += bad
    if len(items) < n:
        raise GalleryError(f"the benchmark needs {n} photos that can be used: {failures[0].reason if failures else 'there are fewer'}")
    return items
