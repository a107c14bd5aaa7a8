"""SIFT's keypoints with learned descriptors of the patches around them: HardNet (Mishchuk 2017, arXiv 1705.10872) or SOSNet (Tian
2019, arXiv 1904.05019), in kornia's networks with the weights of their authors, trained on the Liberty patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import kornia.feature
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import weights
from ..settings import ExtractSettings
from .sift import SiftExtractor

SIDE = 32  # pixels a side of the patch that the networks see
REACH = 6.0  # half of its side in the photo, in keypoint sizes of two sigma: as in kornia's DoGHardNet, twice as far as SIFT sees
AT_ONCE = 2048  # patches, 0.3 GB in the widest layer
NO_EFFECT = {"AT_ONCE": "each patch is described by itself"}


def hardnet() -> nn.Module:
    """HardNet with its weights."""
    network: nn.Module = kornia.feature.HardNet(pretrained=False)
    network.load_state_dict(weights.load("hardnet")["state_dict"])  # type: ignore[arg-type]
    return network.eval()


def sosnet() -> nn.Module:
    """SOSNet with its weights."""
    network: nn.Module = kornia.feature.SOSNet(pretrained=False)
    network.load_state_dict(weights.load("sosnet"))
    return network.eval()


def describe(network: nn.Module, grey: Tensor, frames: Tensor) -> NDArray[np.float32]:
    """(N, 128) unit descriptors of the patches of a photo (1, 1, H, W) that the affine frames (1, N, 2, 3) cut out."""
    if not frames.shape[1]:
        return np.zeros((0, 128), np.float32)
    parts: list[Tensor] = [kornia.feature.get_laf_descriptors(grey, some, network, SIDE)[0] for some in torch.split(frames, AT_ONCE, dim=1)]
    return torch.cat(parts).cpu().numpy()


class DogExtractor(SiftExtractor):
    """SIFT's keypoints, their patches turned upright and described by a network."""

    def __init__(self, extract: ExtractSettings, device: str):
        super().__init__(extract)
        self.device = device
        self.network = {"dog-hardnet": hardnet, "dog-sosnet": sosnet}[self.name]().to(device)

    @torch.inference_mode()
    def _describe(self, grey: NDArray[np.uint8], found: Sequence[cv2.KeyPoint]) -> NDArray[np.float32]:
        table = torch.tensor([(*p.pt, REACH * p.size, -p.angle) for p in found])  # OpenCV turns clockwise, kornia the other way
        frames: Any = kornia.feature.laf_from_center_scale_ori(table[None, :, :2], table[None, :, 2:3, None], table[None, :, 3:])
        return describe(self.network, torch.from_numpy(grey)[None, None].to(self.device).float() / 255, frames.to(self.device))


def create(extract: ExtractSettings, device: str) -> DogExtractor:
    return DogExtractor(extract, device)
