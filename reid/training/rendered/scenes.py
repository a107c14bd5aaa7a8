"""Species, their individuals, and photos of them, by number: the same seed and number give the same photo.

The views of a species lie within `APART` degrees of one another, all individuals' alike, so that two individuals are seen from the same
side as often as one is twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from . import conditions
from .coats import Family, coat, family
from .conditions import Pictures
from .fields import Field, Rng
from .surfaces import KINDS, Body, Seen, body, posed, render, turned

APART = 60.0  # degrees between two views at most, about each axis half of it from the middle
SMALLEST, LARGEST = 80, 640  # px of a photo's longer side
COMPANY = 0.12  # probability of a second animal of the species behind the first


@dataclass(frozen=True)
class Species:
    """What its individuals share."""

    body: Body
    family: Family
    azimuth: float  # rad, of the middle of all views
    elevation: float
    wet: bool  # under water
    bend: float  # rad, at most


@dataclass(frozen=True)
class View:
    """A photo, as large as all are prepared, and what of the body is seen where."""

    pixels: NDArray[np.uint8]  # (H, W, 3)
    seen: Seen
    longest: int  # px of the longer side as it was taken: less is enlarged


class Scenes:
    """Views `side` px long, of `seed`'s species."""

    def __init__(self, pictures: Pictures, side: int, seed: int):
        self.pictures, self.side, self.seed = pictures, side, seed
        self._coat = lru_cache(8)(self._painted)

    def species(self, number: int) -> Species:
        rng = np.random.default_rng((self.seed, number))
        kind = tuple(KINDS)[rng.integers(len(KINDS))]
        shape = body(rng, kind)
        side = rng.choice((0, np.pi)) + rng.normal(0, 0.25) if kind in ("trunk", "fish") else rng.uniform(0, 2 * np.pi)
        above = rng.uniform(0.5, 1.4) if kind == "shell" or rng.random() < 0.25 else rng.uniform(-0.1, 0.5)
        wet = bool(kind != "trunk" and rng.random() < 0.75)
        return Species(shape, family(rng, (self.seed, number), shape.aspect), side, above, wet, rng.uniform(0.1, 0.9))

    def view(self, species: int, individual: int, number: int) -> View:
        """Photo `number` of this individual."""
        kind, rng = self.species(species), np.random.default_rng((self.seed, species, 1 + individual, 1 + number))
        long, short = self.side, round(self.side * rng.uniform(0.6, 1))
        size = (short, long) if rng.random() < 0.25 else (long, short)
        behind = conditions.background(rng, size, kind.wet, self.pictures)
        if rng.random() < COMPANY:
            seen, colours = self._animal(kind, species, individual + 1000, rng, size)
            behind = _over(behind, colours, seen)
        seen, colours = self._animal(kind, species, individual, rng, size)
        if rng.random() < 0.6:
            behind = conditions.limbs(rng, behind, seen, np.nanmean(colours, axis=(0, 1)), kind.wet)
        photo = conditions.veiled(rng, _over(behind, colours, seen), np.isfinite(seen.depth), kind.wet)
        if rng.random() < 0.3:
            photo, hidden = conditions.clutter(rng, photo)
            seen = seen.covered(hidden)
        longest = int(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))) if rng.random() < 0.5 else LARGEST)
        pixels = conditions.taken(rng, photo, longest)
        return View(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8), seen, min(longest, self.side))

    def _painted(self, species: int, individual: int) -> Field:
        return coat(self.species(species).family, np.random.default_rng((self.seed, species, 1 + individual)))

    def _animal(self, kind: Species, species: int, individual: int, rng: Rng, size: tuple[int, int]) -> tuple[Seen, Field]:
        """One in a pose before a camera, and the light (H, W, 3) that comes from it, NaN beside it."""
        half = np.deg2rad(APART) / 2
        vertices = posed(kind.body, rng, kind.bend)
        azimuth, elevation = (middle + rng.uniform(-half, half) for middle in (kind.azimuth, kind.elevation))
        vertices = turned(vertices, azimuth, elevation, rng.normal(0, 0.25))
        extent = max(size) * np.exp(rng.uniform(np.log(0.55), np.log(1.6)))
        centre = np.array(size) * rng.uniform(0.4, 0.6, 2)
        seen = render(vertices, size, rng.uniform(1.5, 6), extent, (float(centre[0]), float(centre[1])))
        skin = painted(self._coat(species, individual), seen)
        return seen, conditions.lit(rng, seen, skin, kind.wet)


def painted(picture: Field, seen: Seen) -> Field:
    """(H, W, 3) of a coat (around, along, 3), NaN beside the body."""
    height, width = picture.shape[:2]
    wrapped = np.concatenate((picture, picture[:1]))
    at = np.nan_to_num(seen.uv) * (width - 1, height)
    found = cv2.remap(wrapped, *(at[..., i].astype(np.float32) for i in (0, 1)), cv2.INTER_LINEAR)
    return np.where(np.isnan(seen.uv[..., :1]), np.nan, found).astype(np.float32)


def _over(behind: Field, colours: Field, seen: Seen) -> Field:
    """The animal before the picture behind it, its outline smooth."""
    mask = np.isfinite(seen.depth)
    soft = cv2.GaussianBlur(cv2.erode(mask.astype(np.float32), np.ones((2, 2))), (0, 0), 0.7)
    return behind + (np.where(mask[..., None], colours, behind) - behind) * soft[..., None]  # type: ignore[no-any-return]
