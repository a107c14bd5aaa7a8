"""AdaLAM (Cavalli et al. 2020, arXiv 2006.04250): nearest neighbours whose surroundings move with them, by kornia's filter.

Around the surest matches, those that lie near in both photos, and change scale and angle alike where the extractor has both, are tried
for one local affine motion. The motions may differ over the animal, which is neither flat nor rigid. Nothing is drawn at random.

The confidence is that of `nearest`, brought into the upper half of 0..1 where the filter keeps a match and into the lower half where it
does not: counting matches above 0.5 is AdaLAM's test, and the doubtful ones still form a distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from kornia.feature import laf_from_center_scale_ori, match_adalam
from kornia.feature.adalam import get_adalam_default_config

from ..records import Features
from ..settings import MatchSettings
from . import Found
from .nearest import NearestMatcher

# The most doubt about a match that AdaLAM keeps. Where it finds no motion kornia answers with a ratio test, whose values lie above.
DOUBT = 1 / get_adalam_default_config()["min_confidence"]


class AdalamMatcher:
    """Every mutual nearest pair is a match; AdaLAM says in which half of 0..1 its confidence lies."""

    def __init__(self, match: MatchSettings, device: str):
        self.nearest, self.device = NearestMatcher(match, device), device

    def match(self, query: Features, references: Sequence[Features]) -> Iterator[Found]:
        """Each reference's place with its indices and confidences, in order."""
        for place, (indices, confidence) in self.nearest.match(query, references):
            kept = self._kept(query, references[place])
            n = len(references[place])
            is_kept = np.isin(indices[:, 0].astype(np.int64) * n + indices[:, 1], kept[:, 0] * n + kept[:, 1])
            yield place, (indices, (confidence + is_kept.astype(np.float32)) / 2)

    def coarse(self, query: Features, references: Sequence[Features]) -> Iterator[tuple[int, float]]:
        """That of `nearest`; motions are looked for in full matches alone."""
        return self.nearest.coarse(query, references)

    @torch.inference_mode()
    def _kept(self, query: Features, reference: Features) -> np.ndarray:
        """(K, 2) rows into both photos' keypoints of the nearest neighbours, mutual or not, that the filter keeps."""
        descriptors = [torch.from_numpy(one.descriptors.astype(np.float32)).to(self.device) for one in (query, reference)]
        frames = [self._frames(one) for one in (query, reference)]
        doubt, pairs = match_adalam(*descriptors, *frames, hw1=query.size, hw2=reference.size)
        return np.asarray(pairs[doubt[:, 0] <= DOUBT].cpu())

    def _frames(self, photo: Features) -> Any:
        """The keypoints (1, N, 2, 3) as kornia wants them; all are of one scale and angle where the extractor has none."""
        xy = torch.tensor(photo.keypoints, device=self.device)[None]
        if photo.scales is None or photo.angles is None:
            return laf_from_center_scale_ori(xy)
        scales, angles = (torch.tensor(one, device=self.device) for one in (photo.scales, photo.angles))
        return laf_from_center_scale_ori(xy, scales[None, :, None, None], angles.rad2deg()[None, :, None])


def create(match: MatchSettings, device: str) -> AdalamMatcher:
    return AdalamMatcher(match, device)
