"""The cosine of two photos' vectors, as a confidence: where each photo has one, it is the other's nearest, and nothing else is near."""

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
