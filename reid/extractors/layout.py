"""What is seen where on an animal: the maps of ImageNet's network on a grid over its box, of a photo and of its mirror image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..records import Photo
from .outline import Outline, shown

SIDE = 256  # px to which the box is brought, whatever its shape
MAP = 2  # of the encoder's maps, the coarsest but one: 112 channels
GRID = 4  # places along a side
MARGIN = 0.1  # of the box's sides, beyond the mask: heads and legs may be left out of it


@torch.inference_mode()
def layouts(photo: Photo, network: Outline) -> NDArray[np.float16]:
    """(2, D) of the photo and of its mirror image, in the box of its mask, or all of it where it has none."""
    x0, y0, x1, y1 = _box(photo)
    box = cv2.resize(photo.pixels[y0:y1, x0:x1], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    pair = torch.stack([shown(box), shown(box[:, ::-1])]).to(network.device, memory_format=torch.channels_last)
    found: NDArray[np.float16] = F.adaptive_avg_pool2d(network.encoder(pair)[MAP], GRID).flatten(1).cpu().numpy().astype(np.float16)
    return found


def _box(photo: Photo) -> tuple[int, int, int, int]:
    width, height = photo.size
    if photo.mask is None or not photo.mask.any():
        return 0, 0, width, height
    (x0, x1), (y0, y1) = (np.flatnonzero(photo.mask.any(axis=axis))[[0, -1]] + (0, 1) for axis in (0, 1))
    beside, above = round(MARGIN * (x1 - x0)), round(MARGIN * (y1 - y0))
    return max(0, x0 - beside), max(0, y0 - above), min(width, x1 + beside), min(height, y1 + above)
