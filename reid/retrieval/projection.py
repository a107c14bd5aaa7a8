"""Fewer numbers for what is indexed: the principal axes of a sample, evened out a little, and the length of 1 again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENOUGH = 2**17  # rows
HELD_BACK = 20.0  # of the mean variance, which is added to that of each axis: more evens out less


@dataclass(frozen=True, eq=False)
class Projection:
    """Of rows (N, D) to rows (N, K) of unit length."""

    mean: NDArray[np.float32]  # (D,)
    axes: NDArray[np.float32]  # (D, K), each divided by a deviation

    def __call__(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        found = (rows.astype(np.float32) - self.mean) @ self.axes
        unit: NDArray[np.float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
        return unit


def learned(sample: NDArray[np.floating[Any]], n: int) -> Projection:
    """Onto the `n` axes along which a sample (N, D) differs most, or so much of it as decides."""
    rows = sample[:: len(sample) // ENOUGH + 1].astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    deviations = np.sqrt(variances.clip(min=0) + HELD_BACK * variances.mean()) if variances.mean() > 0 else np.ones(len(variances))
    first = np.argsort(-variances, kind="stable")[:n]
    return Projection(mean.astype(np.float32), np.ascontiguousarray(axes[:, first] / deviations[first], np.float32))
