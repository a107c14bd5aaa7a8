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
from ..settings import ExtractSettings
from .cells import CELL, CellExtractor, CellNetwork

LEAK = 0.01  # slope of the activation below 0


def _block(c_in: int, c_out: int, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.constant_(conv.bias, 0.01)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.LeakyReLU(LEAK, inplace=True), nn.BatchNorm2d(c_out))


class GoodPoint(CellNetwork):
    """Logits have 64 channels."""

    def __init__(self) -> None:
        super().__init__(_block)
        self.detector = nn.Sequential(_block(128, 256), _block(256, CELL**2, kernel=1))
        last = nn.Conv2d(256, 256, 1)
        nn.init.xavier_uniform_(last.weight)
        self.descriptor = nn.Sequential(_block(128, 256), last)


def heatmap(logits: Tensor) -> Tensor:
    """[B x 64 x H/8 x W/8] -> [B x H x W], each cell summing to 1."""
    return F.pixel_shuffle(logits.softmax(dim=1), CELL)[:, 0]


def create(extract: ExtractSettings, device: str) -> CellExtractor:
    network = GoodPoint()
    network.load_state_dict(weights.load("goodpoint", extract.weights))
    torch.nn.Module.to(network, memory_format=torch.channels_last)  # type: ignore[call-overload]  # two thirds of the time
    return CellExtractor("goodpoint", network, heatmap, extract.max_keypoints, device)
