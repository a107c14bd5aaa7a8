"""GoodPoint (arXiv 2006.01030): SuperPoint's network without a "no keypoint" channel, trained on photos that nobody has labelled.

Each 8 x 8 cell shares one unit of probability among its pixels, so keypoints keep apart, and the thresholds lie just above 1/64. As in
the released code, which the paper does not say, every convolution but the last of the descriptor head is followed by leaky ReLU and
then batch norm, the logits too: the batch norm sets the temperature of the softmax.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import weights
from ..records import Features, Photo
from ..settings import Settings
from . import Extractor, strongest
from .superpoint import CELL, as_grey, inside, peaks, sample

WIDTHS = 64, 64, 128, 128
LEAK = 0.01  # slope of the activation below 0


def _block(c_in: int, c_out: int, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.constant_(conv.bias, 0.01)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.LeakyReLU(LEAK), nn.BatchNorm2d(c_out))


class GoodPoint(nn.Module):
    """[B x 1 x H x W] grey in 0..1, H and W multiples of 8 -> logits [B x 64 x H/8 x W/8], unit descriptors [B x 256 x H/8 x W/8]."""

    def __init__(self) -> None:
        super().__init__()
        stages, c_in = [], 1
        for i, c in enumerate(WIDTHS):
            pool = [nn.MaxPool2d(2)] if i < len(WIDTHS) - 1 else []
            stages.append(nn.Sequential(_block(c_in, c), _block(c, c), *pool))
            c_in = c
        self.backbone = nn.Sequential(*stages)
        self.detector = nn.Sequential(_block(128, 256), _block(256, CELL**2, kernel=1))
        last = nn.Conv2d(256, 256, 1)
        nn.init.xavier_uniform_(last.weight)
        self.descriptor = nn.Sequential(_block(128, 256), last)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        coarse = self.backbone(image)
        return self.detector(coarse), F.normalize(self.descriptor(coarse), dim=1)


def heatmap(logits: Tensor) -> Tensor:
    """[B x 64 x H/8 x W/8] -> [B x H x W], each cell summing to 1."""
    return F.pixel_shuffle(logits.softmax(dim=1), CELL)[:, 0]


class GoodPointExtractor(Extractor):
    """The strongest local maxima of the heatmap."""

    name = "goodpoint"

    def __init__(self, settings: Settings, device: str):
        self.device, self.max_keypoints = device, settings.max_keypoints
        self.network = GoodPoint()
        self.network.load_state_dict(weights.load("goodpoint", settings.weights))
        self.network.eval().to(device)
        torch.nn.Module.to(self.network, memory_format=torch.channels_last)  # type: ignore[call-overload]  # two thirds of the time

    @torch.inference_mode()
    def extract(self, photo: Photo) -> Features:
        """Features with whole-pixel keypoints and 256-dimensional descriptors."""
        logits, descriptors = self.network(as_grey(photo, self.device))
        scores = heatmap(logits)[0]
        keypoints, found = peaks(scores, inside(scores, photo.size))
        values = sample(descriptors[0], keypoints)
        return strongest(photo, self.name, self.max_keypoints, keypoints.cpu().numpy(), found.cpu().numpy(), values.cpu().numpy())


def create(settings: Settings, device: str) -> GoodPointExtractor:
    return GoodPointExtractor(settings, device)
