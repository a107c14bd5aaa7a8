"""Mutual nearest neighbours with Lowe's ratio test (IJCV 2004), for every extractor.

The confidence is a logistic function of the ratio of the distances to the nearest and the second nearest neighbour, the worse of
both directions: 0.5 at Lowe's ratio, so that counting matches above 0.5 is his test, and the doubtful ones still form a distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..config import Settings
from ..records import Features
from . import Matches

SPREAD = 0.04  # the ratio's change that takes the confidence from 0.5 to 0.73


class NearestMatcher:
    """Exhaustive search; every mutual nearest pair is a match, with its confidence."""

    def __init__(self, settings: Settings, device: str):
        self.ratio, self.device = settings.ratio, device

    @torch.inference_mode()
    def match(
        self, query: Features, references: Sequence[Features], animals: Sequence[str | None] | None = None
    ) -> Iterator[tuple[int, Matches]]:
        """Each reference's place with its indices and confidences, in order."""
        mine = torch.from_numpy(query.descriptors.astype(np.float32)).to(self.device)
        for place, reference in enumerate(references):
            theirs = torch.from_numpy(reference.descriptors.astype(np.float32)).to(self.device)
            yield place, self._match_pair(mine, theirs)

    def _match_pair(self, mine: torch.Tensor, theirs: torch.Tensor) -> Matches:
        if not len(mine) or not len(theirs):
            return np.zeros((0, 2), np.int32), np.zeros(0, np.float32)
        distance = (2 - 2 * (mine @ theirs.T)).clamp(min=0).sqrt()  # of unit vectors
        forward, back = _ratios(distance), _ratios(distance.T)
        nearest, returned = distance.argmin(dim=1), distance.argmin(dim=0)
        rows = torch.arange(len(mine), device=distance.device)
        rows = rows[returned[nearest] == rows]
        ratio = torch.maximum(forward[rows], back[nearest[rows]])
        confidence = torch.sigmoid((self.ratio - ratio) / SPREAD)
        return torch.stack((rows, nearest[rows]), dim=1).cpu().numpy().astype(np.int32), confidence.cpu().numpy()


def _ratios(distance: torch.Tensor) -> torch.Tensor:
    """Nearest over second nearest of each row; 1, no evidence, where there is no second."""
    if distance.shape[1] < 2:
        return torch.ones(len(distance), device=distance.device)
    first, second = distance.topk(2, dim=1, largest=False).values.unbind(dim=1)
    return first / second.clamp(min=1e-9)
