"""DISK (Tyszkiewicz et al. 2020, arXiv 2006.13566): kornia's network, the published `depth` weights."""

from __future__ import annotations

from typing import Any

import torch
from kornia.feature import DISK

from .. import weights
from ..config import Settings
from ..records import Features, Photo
from . import strongest


class DiskExtractor:
    """The strongest maxima of DISK's heat map."""

    def __init__(self, settings: Settings, device: str):
        self.name = settings.extractor
        self.device = device
        self.max_keypoints = settings.max_keypoints
        network = DISK()
        state: Any = weights.load("disk")["extractor"]
        network.load_state_dict(state)
        self.network = network.eval().to(device)

    @torch.inference_mode()
    def extract(self, photo: Photo) -> Features:
        """Features with whole-pixel keypoints and 128-dimensional descriptors."""
        image = torch.from_numpy(photo.pixels.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255
        limit = self.max_keypoints if photo.mask is None else None
        found = self.network(image, n=limit, window_size=5, score_threshold=-torch.inf, pad_if_not_divisible=True)[0]
        keypoints = found.keypoints.cpu().numpy()
        return strongest(
            photo, self.name, self.max_keypoints, keypoints, found.detection_scores.cpu().numpy(), found.descriptors.cpu().numpy()
        )


def create(settings: Settings, device: str) -> DiskExtractor:
    return DiskExtractor(settings, device)
