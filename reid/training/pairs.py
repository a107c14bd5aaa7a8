"""Two views of one crop: warped and disturbed independently, with the homography between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..imaging import warps
from ..imaging.noise import Image
from ..imaging.warps import Matrix
from .photos import Crops

MARGIN = 4  # px at the border of a warp where nothing is detected
Rng = np.random.Generator


@dataclass(frozen=True)
class Pair:
    """Two warps of one crop."""

    images: NDArray[np.float32]  # (2, H, W) light in 0..1
    valid: NDArray[np.bool_]  # (2, H, W) where keypoints may lie
    homography: Matrix  # takes points of the first image to the second


def draw(crops: Crops, number: int, way: Callable[[Rng, tuple[int, int]], Matrix], change: Callable[[Image, Rng], Image]) -> Pair:
    """The pair of this number: `way` gives a homography for an image of a size (width, height), `change` disturbs what is warped."""
    crop, mask = crops.crop(number)
    rng = np.random.default_rng((crops.seed, number, 1))
    size = crop.shape[1], crop.shape[0]
    ways = [way(rng, size) for _ in range(2)]
    images = [change(warps.warp(crop, one), rng) for one in ways]
    inside = [warps.valid(one, size, size, MARGIN) & (warps.warp(mask.astype(np.uint8), one) > 0) for one in ways]
    shown = [np.where(warps.valid(one, size, size), image, 0) for one, image in zip(ways, images)]
    return Pair((np.stack(shown) / 255).astype(np.float32), np.stack(inside), np.linalg.inv(ways[1]) @ ways[0])
