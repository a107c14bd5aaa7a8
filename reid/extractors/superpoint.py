"""SuperPoint (DeTone et al. 2018, arXiv 1712.07629), with the open weights of Pautrat and Sarlin (MIT).

The network here is written for those weights: conv, ReLU, batch norm in this order, and batch norm on both heads' outputs. The
weights of Magic Leap forbid commercial use and are not offered.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import weights
from ..records import Features, Photo
from ..settings import Settings
from . import Extractor, as_batch, strongest

CELL = 8  # px a side of the cell that one position of the coarse map stands for
NMS_RADIUS = 4  # px
BORDER = 4  # px at the photo's edge where nothing is detected


def _block(c_in: int, c_out: int, kernel: int = 3, relu: bool = True) -> nn.Module:
    block = nn.Sequential()
    block.add_module("conv", nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2))
    block.add_module("activation", nn.ReLU() if relu else nn.Identity())
    block.add_module("bn", nn.BatchNorm2d(c_out, eps=1e-3))
    return block


class SuperPoint(nn.Module):
    """[B x 1 x H x W] grey in 0..1, H and W multiples of 8 -> logits [B x 65 x H/8 x W/8], unit descriptors [B x 256 x H/8 x W/8]."""

    def __init__(self) -> None:
        super().__init__()
        stages, c_in = [], 1
        for i, c in enumerate((64, 64, 128, 128)):
            pool = [nn.MaxPool2d(2)] if i < 3 else []
            stages.append(nn.Sequential(_block(c_in, c), _block(c, c), *pool))
            c_in = c
        self.backbone = nn.Sequential(*stages)
        self.detector = nn.Sequential(_block(128, 256), _block(256, CELL**2 + 1, kernel=1, relu=False))
        self.descriptor = nn.Sequential(_block(128, 256), _block(256, 256, kernel=1, relu=False))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        coarse = self.backbone(image)
        return self.detector(coarse), F.normalize(self.descriptor(coarse), dim=1)


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
    return network.eval()


def local_maxima(scores: Tensor, radius: int = NMS_RADIUS) -> Tensor:
    """[H x W] bool: at least as high as everything within `radius` px (Chebyshev), two rounds more beside those suppressed."""

    def highest(x: Tensor) -> Tensor:
        side = 2 * radius + 1
        along = F.max_pool2d(x[None], (1, side), stride=1, padding=(0, radius))  # one way after the other: the same, and sooner
        return F.max_pool2d(along, (side, 1), stride=1, padding=(radius, 0))[0]

    peaks = scores == highest(scores)
    for _ in range(2):
        near = highest(peaks.float()) > 0
        rest = scores.masked_fill(near, 0)
        peaks |= (rest == highest(rest)) & ~near
    return peaks


def peaks(scores: Tensor, valid: Tensor, radius: int = NMS_RADIUS) -> tuple[Tensor, Tensor]:
    """[N x 2] px and [N]: where the local maxima of a score map [H x W] are that are valid [H x W], and how high."""
    rows, columns = torch.nonzero(local_maxima(scores, radius) & valid, as_tuple=True)
    return torch.stack((columns, rows), dim=1).float(), scores[rows, columns]


def inside(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """[H x W] bool: the pixels of a score map that are off the border of its photo of `size` (width, height), which may be smaller."""
    width, height = size
    found = torch.zeros_like(scores, dtype=torch.bool)
    found[BORDER : height - BORDER, BORDER : width - BORDER] = True
    return found


def as_grey(photo: Photo, device: str) -> Tensor:
    """[1 x 1 x H x W] light in 0..1 on the device, the right and the lower edge repeated up to whole cells."""
    width, height = photo.size
    rgb = as_batch([photo], device)
    grey = (rgb * rgb.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)
    return F.pad(grey, (0, -width % CELL, 0, -height % CELL), mode="replicate")


def sample(descriptors: Tensor, keypoints: Tensor) -> Tensor:
    """[N x 256] unit descriptors read bilinearly at [N x 2] px; cell i covers pixels 8i..8i+7, so its centre is at 8i + 3.5."""
    h, w = descriptors.shape[1:]
    grid = (keypoints + 0.5) / keypoints.new_tensor([w * CELL, h * CELL]) * 2 - 1
    found = F.grid_sample(descriptors[None], grid[None, None], mode="bilinear", align_corners=False)
    return F.normalize(found[0, :, 0].T, dim=1)


class SuperPointExtractor(Extractor):
    """The strongest non-maximum-suppressed points of the score map."""

    name = "superpoint"

    def __init__(self, settings: Settings, device: str):
        self.device = device
        self.max_keypoints = settings.max_keypoints
        self.network = load_network(settings.weights).to(device)

    @torch.inference_mode()
    def extract(self, photo: Photo) -> Features:
        """Features with whole-pixel keypoints and 256-dimensional descriptors."""
        logits, [descriptors] = self.network(as_grey(photo, self.device))
        [scores] = heatmap(logits)
        keypoints, found = peaks(scores, inside(scores, photo.size))
        if photo.mask is None and len(found) > self.max_keypoints:  # only the mask needs the others
            best = found.topk(self.max_keypoints).indices
            keypoints, found = keypoints[best], found[best]
        values = sample(descriptors, keypoints)
        return strongest(photo, self.name, self.max_keypoints, keypoints.cpu().numpy(), found.cpu().numpy(), values.cpu().numpy())


def create(settings: Settings, device: str) -> SuperPointExtractor:
    return SuperPointExtractor(settings, device)
