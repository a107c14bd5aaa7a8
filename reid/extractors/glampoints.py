"""GLAMpoints (Truong et al., ICCV 2019): a U-Net says of every pixel whether a RootSIFT match there would be right.

Descriptors are upright RootSIFT of one size at the score map's peaks, so a match is only as good as its place, which is what is learned.
The paper's weights are for research only and are not offered; those that ship were trained here. The layers are the released code's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import weights
from ..records import Features, Photo
from ..settings import ExtractSettings
from . import Extractor, strongest
from .cells import inside, peaks
from .sift import root

WIDTHS = 8, 16, 32, 64, 128
STRIDE = 2 ** (len(WIDTHS) - 1)  # px, of the coarsest map
SIZE = 10.0  # px, of the SIFT keypoints, as published
NMS_RADIUS = 4  # px. The published 10 leave 1300 peaks on 640 x 480 px, 400 on an animal that fills a third: fewer than are asked for


def _double(c_in: int, c_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for c in (c_in, c_out):
        layers += [nn.Conv2d(c, c_out, 3, padding=1), nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.01), nn.ReLU()]
    return nn.Sequential(*layers)


class GlamPoints(nn.Module):
    """[B x 1 x H x W] grey, of any size, as bright as it may be -> score map [B x H x W] in 0..1."""

    def __init__(self) -> None:
        super().__init__()
        steps = list(pairwise(WIDTHS))
        self.down = nn.ModuleList([_double(1, WIDTHS[0]), *(_double(fine, coarse) for fine, coarse in steps)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in reversed(steps)])
        self.join = nn.ModuleList([_double(coarse, fine) for fine, coarse in reversed(steps)])
        self.last = nn.Conv2d(WIDTHS[0], 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        x = image / image.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
        x = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        skipped: list[Tensor] = []
        for level in self.down:
            x = level(F.max_pool2d(x, 2) if skipped else x)
            skipped.append(x)
        for up, join, skip in zip(self.up, self.join, skipped[-2::-1]):
            x = join(torch.cat((up(x), skip), dim=1))
        with torch.autocast(x.device.type, enabled=False):  # scores that half precision makes equal have no peak among them
            return self.last(x.float()).sigmoid()[:, 0, :height, :width]  # type: ignore[no-any-return]


def single_peaks(scores: Tensor, valid: Tensor, radius: int = NMS_RADIUS) -> tuple[Tensor, Tensor]:
    """As `peaks`, but nothing invalid suppresses anything, and of equal neighbours the first, row by row, is the peak, alone.

    The released code keeps none of them."""
    order = scores.masked_fill(~valid, -1).flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order, dtype=torch.float32)  # exact up to 16 megapixels
    rank[order] = torch.arange(len(order), 0, -1, dtype=rank.dtype, device=rank.device)
    keypoints, _ = peaks(rank.view_as(scores), valid, radius)
    columns, rows = keypoints.long().unbind(dim=1)
    return keypoints, scores[rows, columns]


def describe(grey: NDArray[np.uint8], keypoints: NDArray[Any]) -> NDArray[np.float32]:
    """(N, 128) upright RootSIFT of an image (H, W) at (N, 2) px."""
    _, raw = _sift().compute(grey, [cv2.KeyPoint(float(x), float(y), SIZE, 0) for x, y in keypoints])
    return root(np.zeros((0, 128), np.float32) if raw is None else raw)


@cache
def _sift() -> Any:
    return cv2.SIFT_create()


class GlamPointsExtractor(Extractor):
    """The highest peaks of the score map."""

    name = "glampoints"

    def __init__(self, extract: ExtractSettings, device: str):
        self.device, self.max_keypoints = device, extract.max_keypoints
        self.network = GlamPoints()
        self.network.load_state_dict(weights.load("glampoints", extract.weights))
        self.network.eval().to(device)

    @torch.inference_mode()
    def extract(self, photo: Photo) -> Features:
        """Features with whole-pixel keypoints, 128-dimensional descriptors, and the one scale (px) and angle (0) that they have."""
        grey = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY)
        [scores] = self.network(torch.from_numpy(grey).to(self.device)[None, None].float())
        keypoints, found = (values.cpu().numpy() for values in single_peaks(scores, inside(scores, photo.size)))
        n = len(found)
        same = {"scales": np.full(n, SIZE), "angles": np.zeros(n)}
        chosen = strongest(photo, self.name, self.max_keypoints, keypoints, found, np.zeros((n, 128)), **same)
        return replace(chosen, descriptors=describe(grey, chosen.keypoints).astype(np.float16))


def create(extract: ExtractSettings, device: str) -> GlamPointsExtractor:
    return GlamPointsExtractor(extract, device)
