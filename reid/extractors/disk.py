"""DISK (Tyszkiewicz et al. 2020, arXiv 2006.13566): kornia's network, the published `depth` weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from kornia.feature import DISK

from .. import weights
from ..records import Features, Photo
from ..settings import ExtractSettings
from . import Extractor, as_batch, strongest

WINDOW = 5  # px a side, in which a keypoint is the maximum


class DiskExtractor(Extractor):
    """The strongest maxima of DISK's heat map."""

    def __init__(self, extract: ExtractSettings, device: str):
        self.name = extract.extractor
        self.device = device
        self.max_keypoints = extract.max_keypoints
        network = DISK()
        state: Any = weights.load("disk")["extractor"]
        network.load_state_dict(state)
        self.network = network.eval().to(device)

    @torch.inference_mode()
    def _together(self, photos: Sequence[Photo]) -> list[Features]:
        """Features with whole-pixel keypoints and 128-dimensional descriptors."""
        limit = self.max_keypoints if all(photo.mask is None for photo in photos) else None
        images = as_batch(photos, self.device)
        found = self.network(images, n=limit, window_size=WINDOW, score_threshold=-torch.inf, pad_if_not_divisible=True)
        parts = ([part.cpu().numpy() for part in (one.keypoints, one.detection_scores, one.descriptors)] for one in found)
        return [strongest(photo, self.name, self.max_keypoints, *of_it) for photo, of_it in zip(photos, parts)]


def create(extract: ExtractSettings, device: str) -> DiskExtractor:
    return DiskExtractor(extract, device)
