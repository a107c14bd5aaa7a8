"""Key.Net's keypoints (Barroso-Laguna 2019, arXiv 1904.00889) in affine frames of AffNet, turned upright by OriNet (Mishkin 2018, arXiv
1711.06704), their patches described by HardNet: kornia's networks, the published weights.

kornia, as the authors, reports where a pixel of a smaller picture of the pyramid begins, up to 1.5 px beside its centre; that is mended.
"""

from __future__ import annotations

from typing import Any

import kornia.color
import kornia.feature
import torch
from torch import Tensor

from .. import weights
from ..records import Features, Photo
from ..settings import ExtractSettings
from . import Extractor, as_batch, chosen, strongest
from .dog_hardnet import describe, hardnet

CANDIDATES = 8192  # maxima before the mask and the limit choose among them
REACH = 22.0  # half of a patch's side, in pixels of the picture of the pyramid in which its keypoint was found


def _published(network: Any, name: str) -> Any:
    network.load_state_dict(weights.load(name)["state_dict"])
    return network.eval()


class KeyNetExtractor(Extractor):
    """The strongest maxima of Key.Net's response to a pyramid of the photo."""

    name = "keynet-affnet-hardnet"

    def __init__(self, extract: ExtractSettings, device: str):
        self.device, self.max_keypoints = device, extract.max_keypoints
        self.detector: Any = kornia.feature.KeyNetDetector(pretrained=False, num_features=CANDIDATES).to(device)
        _published(self.detector.model, "keynet")
        self.shape = _published(kornia.feature.LAFAffNetShapeEstimator(False, preserve_orientation=False), "affnet").to(device)
        self.turn: Any = kornia.feature.LAFOrienter(angle_detector=_published(kornia.feature.OriNet(False), "orinet")).to(device)
        self.descriptor = hardnet().to(device)

    @torch.inference_mode()
    def extract(self, photo: Photo) -> Features:
        """Features with 128-dimensional descriptors; a scale is half the side of the patch described, an angle turns clockwise."""
        grey: Tensor = kornia.color.rgb_to_grayscale(as_batch([photo], self.device))
        frames, scores = self._detect(photo, grey)
        if len(scores):  # kornia warns of shapes of nothing
            frames = self.turn(self.shape(frames, grey), grey)
        parts = (kornia.feature.get_laf_scale(frames), -kornia.feature.get_laf_orientation(frames).deg2rad())
        scales, angles = (part.flatten().cpu().numpy() for part in parts)
        values = describe(self.descriptor, grey, frames)
        keypoints = frames[0, :, :, 2].cpu().numpy()
        return strongest(photo, self.name, self.max_keypoints, keypoints, scores, values, scales=scales, angles=angles)

    def _detect(self, photo: Photo, grey: Tensor) -> tuple[Tensor, Any]:
        """Upright square frames (1, N, 2, 3) of the strongest keypoints on the photo's mask, and their scores (N,)."""
        responses, frames = self.detector.detect(grey)
        found = responses > 0  # the others only fill the table
        scores, frames = responses[found].cpu().numpy(), frames[found]
        frames[:, :, 2] += (frames[:, :1, 0] / REACH - 1) / 2
        keep = chosen(photo, self.max_keypoints, frames[:, :, 2].cpu().numpy(), scores)
        return frames[None, torch.from_numpy(keep).to(self.device)], scores[keep]


def create(extract: ExtractSettings, device: str) -> KeyNetExtractor:
    return KeyNetExtractor(extract, device)
