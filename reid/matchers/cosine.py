"""Mutual nearest neighbours that are worth their cosine, whatever else is near: of one vector a photo there is nothing else."""

from __future__ import annotations

from torch import Tensor

from ..settings import MatchSettings
from .nearest import NearestMatcher


class CosineMatcher(NearestMatcher):
    """The confidence is (1 + cosine) / 2."""

    def _confidence(self, likeness: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return ((1 + likeness[rows, columns]) / 2).clamp(0, 1)


def create(match: MatchSettings, device: str) -> CosineMatcher:
    return CosineMatcher(match, device)
