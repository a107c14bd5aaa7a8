"""XFeat (Potje et al. 2024, arXiv 2404.19174): kornia's network, the published weights; made for machines without a GPU.

kornia, as the authors, resizes a photo to multiples of 32 and reports where a pixel of the resized photo begins, up to a pixel beside
its centre. Here photos are padded, so that keypoints are whole pixels of the photo itself, and both maps of cells are read at the cells'
true centres. On a photo that needs no padding the keypoints are kornia's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from kornia.feature.xfeat import XFeatModel
from kornia.geometry.subpix import nms2d
from torch import Tensor

from .. import weights
from ..records import Features, Photo
from ..settings import ExtractSettings
from . import Extractor, as_batch, strongest
from .cells import CELL, sample

WINDOW = 5  # px a side, in which a keypoint is the only maximum
STRIDE = 32  # px, of the coarsest map


class XFeatExtractor(Extractor):
    """The strongest maxima of XFeat's keypoint map times its reliability map."""

    name = "xfeat"

    def __init__(self, extract: ExtractSettings, device: str):
        self.device, self.max_keypoints = device, extract.max_keypoints
        network = XFeatModel()
        network.load_state_dict(weights.load("xfeat"))
        self.network = network.eval().to(device)

    @torch.inference_mode()
    def _together(self, photos: Sequence[Photo]) -> list[Features]:
        """Features with whole-pixel keypoints and 64-dimensional descriptors."""
        width, height = photos[0].size
        padded = F.pad(as_batch(photos, self.device), (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        descriptors, logits, reliability = self.network(padded)
        heat = F.pixel_shuffle(logits.softmax(dim=1)[:, :-1], CELL)  # the last channel says "no keypoint in this cell"
        scores = heat * F.interpolate(reliability, scale_factor=CELL, mode="bilinear", align_corners=False)
        peaks = nms2d(heat, (WINDOW, WINDOW), mask_only=True)
        kept = (slice(None), 0, slice(height), slice(width))
        return [self._features(*one) for one in zip(photos, F.normalize(descriptors, dim=1), scores[kept], peaks[kept])]

    def _features(self, photo: Photo, descriptors: Tensor, scores: Tensor, peaks: Tensor) -> Features:
        """Of one photo: its descriptors (64, h, w), scores (H, W) and which pixels (H, W) are maxima."""
        seen = peaks if photo.mask is None else peaks & torch.tensor(photo.mask, device=self.device)
        rows, columns = torch.nonzero(seen, as_tuple=True)
        best = torch.sort(scores[rows, columns], descending=True, stable=True).indices[: self.max_keypoints]
        keypoints, found = torch.stack((columns, rows), dim=1)[best].float(), scores[rows, columns][best]
        values = sample(descriptors, keypoints)
        return strongest(photo, self.name, self.max_keypoints, keypoints.cpu().numpy(), found.cpu().numpy(), values.cpu().numpy())


def create(extract: ExtractSettings, device: str) -> XFeatExtractor:
    return XFeatExtractor(extract, device)
