"""ALIKED (Zhao et al. 2023, arXiv 2304.03608): kornia's network, the published weights."""

from __future__ import annotations

import torch
from kornia.feature import ALIKED

from .. import weights
from ..config import Settings
from ..records import Features, Photo
from . import entry, strongest

CANDIDATES = 8192  # maxima described before the mask and the limit choose among them; only a mask needs more than the limit


class AlikedExtractor:
    """The strongest maxima of ALIKED's score map, whatever their score: a murky photo gets as many keypoints as a clear one."""

    def __init__(self, settings: Settings, device: str):
        self.name = settings.extractor
        self.device = device
        self.max_keypoints = settings.max_keypoints
        network = ALIKED(self.name, max_num_keypoints=settings.max_keypoints, detection_threshold=-1)
        missing = network.load_state_dict(weights.load(str(entry(self.name).weights)), strict=False)
        assert missing.missing_keys == ["dkd.hw_grid"] and not missing.unexpected_keys, missing  # a constant grid, not a weight
        self.network = network.eval().to(device)

    @torch.inference_mode()
    def extract(self, photo: Photo) -> Features:
        """Features with sub-pixel keypoints; descriptors have 128 dimensions (t16: 64)."""
        image = torch.from_numpy(photo.pixels.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255
        self.network.dkd.top_k = self.max_keypoints if photo.mask is None else CANDIDATES
        found = self.network(image)[0]
        keypoints = found.keypoints.cpu().numpy()
        return strongest(
            photo, self.name, self.max_keypoints, keypoints, found.keypoint_scores.cpu().numpy(), found.descriptors.cpu().numpy()
        )


def create(settings: Settings, device: str) -> AlikedExtractor:
    return AlikedExtractor(settings, device)
