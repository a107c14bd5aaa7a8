"""What a matcher finds between a query and a reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._frozen import frozen


@dataclass(frozen=True)
class PairMatches:
    """Which keypoints of a query and a reference match, and how surely."""

    query_id: str
    reference_id: str
    indices: NDArray[np.int32]  # (S, 2) rows into the query's and the reference's keypoints
    confidence: NDArray[np.float32]  # (S,) 0..1
    n_keypoints: tuple[int, int]  # of the query, of the reference

    def __post_init__(self) -> None:
        frozen(self, "indices", np.int32, None, 2)
        frozen(self, "confidence", np.float32, len(self.indices))
        if len(self.indices) and not ((self.indices >= 0).all() and (self.indices < self.n_keypoints).all()):
            raise ValueError(f"PairMatches.indices point outside {self.n_keypoints} keypoints")
        if len(self.confidence) and not (self.confidence.min() >= 0 and self.confidence.max() <= 1):
            raise ValueError("PairMatches.confidence lies outside 0..1")
