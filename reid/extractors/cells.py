"""What SuperPoint and GoodPoint share: a network that looks at cells of 8 x 8 px, peaks of its score map, descriptors between cells."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..records import Features, Photo
from . import Extractor, as_batch, strongest

CELL = 8  # px a side of the cell that one position of the coarse map stands for
NMS_RADIUS = 4  # px
BORDER = 4  # px at the photo's edge where nothing is detected
WIDTHS = 64, 64, 128, 128  # channels of the stages, each but the last at half the size of the one before


class CellNetwork(nn.Module):
    """[B x 1 x H x W] grey in 0..1, H and W multiples of 8 -> logits [B x C x H/8 x W/8], unit descriptors [B x 256 x H/8 x W/8]."""

    detector: nn.Module  # of the backbone's 128 channels, both
    descriptor: nn.Module

    def __init__(self, block: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        stages, c_in = [], 1
        for i, c in enumerate(WIDTHS):
            pool = [nn.MaxPool2d(2)] if i < len(WIDTHS) - 1 else []
            stages.append(nn.Sequential(block(c_in, c), block(c, c), *pool))
            c_in = c
        self.backbone = nn.Sequential(*stages)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        coarse = self.backbone(image)
        return self.detector(coarse), F.normalize(self.descriptor(coarse), dim=1)


class CellExtractor(Extractor):
    """The strongest peaks of the score map that `heatmap` makes of a network's logits."""

    def __init__(self, name: str, network: CellNetwork, heatmap: Callable[[Tensor], Tensor], max_keypoints: int, device: str):
        self.name, self.heatmap, self.max_keypoints, self.device = name, heatmap, max_keypoints, device
        self.network = network.eval().to(device)

    @torch.inference_mode()
    def extract(self, photo: Photo) -> Features:
        """Features with whole-pixel keypoints and 256-dimensional descriptors."""
        logits, [descriptors] = self.network(as_grey(photo, self.device))
        [scores] = self.heatmap(logits)
        valid = inside(scores, photo.size)
        if photo.mask is not None:
            width, height = photo.size
            valid[:height, :width] &= torch.tensor(photo.mask, device=self.device)
        keypoints, found = peaks(scores, valid)
        best = found.sort(descending=True, stable=True).indices[: self.max_keypoints]
        keypoints, found = keypoints[best], found[best]
        values = sample(descriptors, keypoints)
        return strongest(photo, self.name, self.max_keypoints, keypoints.cpu().numpy(), found.cpu().numpy(), values.cpu().numpy())


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
