"""Two images of one thing, and where the places of each are in the other: two warps of a crop, or two photos whose truth is a map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..imaging import warps
from ..imaging.noise import Image
from ..imaging.warps import Matrix
from .photos import Crops

MARGIN = 4  # px at the border of what is known where nothing is detected
OUTSIDE = -1e4  # px, where a map takes what the other image does not show
Rng = np.random.Generator
Way = Callable[[Tensor], Tensor]  # pixels [N x 2] of an image to px [N x 2] of the other one, outside of it where it does not show them


@dataclass(frozen=True)
class Pair(ABC):
    """Two images of one thing."""

    images: NDArray[np.float32]  # (2, H, W) light in 0..1
    valid: NDArray[np.bool_]  # (2, H, W) where keypoints may lie

    @abstractmethod
    def ways(self, like: Tensor) -> tuple[Way, Way]:
        """From the first image to the second and back, in the precision and on the device of a tensor."""

    def elsewhere(self, other: Pair) -> NDArray[np.bool_] | None:
        """(2, H, W) where the images of `other`, which may be this pair, are known to show nothing that this one's images show as valid;
        None where that is not known."""
        return None


@dataclass(frozen=True)
class Warped(Pair):
    """Two warps of one crop."""

    homography: Matrix  # takes points of the first image to the second

    def ways(self, like: Tensor) -> tuple[Way, Way]:
        there = torch.from_numpy(self.homography).to(like)
        return partial(project, homography=there), partial(project, homography=torch.linalg.inv(there))


@dataclass(frozen=True)
class Mapped(Pair):
    """Two photos of one animal."""

    maps: NDArray[np.float32]  # (2, H, W, 2) px in the other image, OUTSIDE where it does not show the place
    beside: NDArray[np.bool_]  # (2, H, W) where the animal is not
    who: tuple[int, int]  # species and individual

    def ways(self, like: Tensor) -> tuple[Way, Way]:
        there, back = torch.from_numpy(self.maps).to(like)
        return partial(read, places=there), partial(read, places=back)

    def elsewhere(self, other: Pair) -> NDArray[np.bool_] | None:
        """Beside the animal, and on another individual of its species."""
        others = isinstance(other, Mapped) and other.who[0] == self.who[0] and other.who[1] != self.who[1]
        return self.beside if other is self else other.valid if others else None


def draw(crops: Crops, number: int, way: Callable[[Rng, tuple[int, int]], Matrix], change: Callable[[Image, Rng], Image]) -> Warped:
    """The pair of this number: `way` gives a homography for an image of a size (width, height), `change` disturbs what is warped."""
    crop, mask = crops.crop(number)
    rng = np.random.default_rng((crops.seed, number, 1))
    size = crop.shape[1], crop.shape[0]
    ways = [way(rng, size) for _ in range(2)]
    images = [change(warps.warp(crop, one), rng) for one in ways]
    inside = [warps.valid(one, size, size, MARGIN) & (warps.warp(mask.astype(np.uint8), one) > 0) for one in ways]
    shown = [np.where(warps.valid(one, size, size), image, 0) for one, image in zip(ways, images)]
    return Warped((np.stack(shown) / 255).astype(np.float32), np.stack(inside), np.linalg.inv(ways[1]) @ ways[0])


def project(points: Tensor, homography: Tensor) -> Tensor:
    """[N x 2] where the homography takes points."""
    away = torch.cat((points, torch.ones_like(points[:, :1])), dim=1) @ homography.T
    return away[:, :2] / away[:, 2:]


def read(points: Tensor, places: Tensor) -> Tensor:
    """[N x 2] what a map [H x W x 2] says at pixels."""
    columns, rows = points.long().unbind(dim=1)
    return places[rows, columns]


def inside(points: Tensor, valid: Tensor) -> Tensor:
    """[N] whether the nearest pixel is one of the image, and valid."""
    columns, rows = points.round().long().unbind(dim=1)
    height, width = valid.shape
    there = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    return there & valid[rows.clamp(0, height - 1), columns.clamp(0, width - 1)]
