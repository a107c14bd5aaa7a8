"""SuperPoint (DeTone et al. 2018, arXiv 1712.07629), with the open weights of Pautrat and Sarlin (MIT).

The network here is written for those weights: conv, ReLU, batch norm in this order, and batch norm on both heads' outputs. The
weights of Magic Leap forbid commercial use and are not offered.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .. import weights
from ..settings import ExtractSettings
from .cells import CELL, CellExtractor, CellNetwork


def _block(c_in: int, c_out: int, kernel: int = 3, relu: bool = True) -> nn.Module:
    block = nn.Sequential()
    block.add_module("conv", nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2))
    block.add_module("activation", nn.ReLU(inplace=True) if relu else nn.Identity())
    block.add_module("bn", nn.BatchNorm2d(c_out, eps=1e-3))
    return block


class SuperPoint(CellNetwork):
    """Logits have 65 channels."""

    def __init__(self) -> None:
        super().__init__(_block)
        self.detector = nn.Sequential(_block(128, 256), _block(256, CELL**2 + 1, kernel=1, relu=False))
        self.descriptor = nn.Sequential(_block(128, 256), _block(256, 256, kernel=1, relu=False))


def heatmap(logits: Tensor) -> Tensor:
    """[B x 65 x H/8 x W/8] -> [B x H x W]: how probably each pixel is its cell's keypoint. The last channel says that the cell has none."""
    return F.pixel_shuffle(logits.softmax(dim=1)[:, :-1], CELL)[:, 0]


def load_network(file: str = "", name: str = "superpoint") -> SuperPoint:
    """The network with the open weights, or with those of a file that `reid train` wrote."""
    state = weights.load(name, file)
    first = "backbone.0.0.conv.weight"
    state[first] = state[first].sum(dim=1, keepdim=True)  # the open weights have two input channels, each with half the grey kernel
    network = SuperPoint()
    network.load_state_dict(state)
    network.eval()
    return network


def create(extract: ExtractSettings, device: str) -> CellExtractor:
    return CellExtractor("superpoint", load_network(extract.weights), heatmap, extract.max_keypoints, device)
