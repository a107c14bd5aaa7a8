"""A photo, before and after it is decoded, and its local features.

Conventions: points are float32 (x, y) in pixels of the prepared photo, (0, 0) at the centre of the top-left pixel. Every
`size` is (width, height). A `query` is the photo asked about, a `reference` a photo of the gallery; LightGlue depends on the order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._frozen import frozen

UNKNOWN = "unknown"  # the identity of an animal that nobody has named yet (WildlifeDatasets)
UNNAMED = re.compile(r"unnamed-\d+")  # of one that decisions tell apart: by the number of the first of them
Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the upright photo


@dataclass(frozen=True)
class PhotoRef:
    """A photo of the gallery or a query, before anything has been decoded."""

    image_id: str  # posix path under its root, for people
    path: Path
    identity: str | None = None
    orientation: str | None = None  # the side or view: left, right, top, ...
    encounter: str | None = None  # the occasion it was taken on; every photo that a gallery gives has one
    date: date | None = None
    taken: datetime | None = None  # by the camera's clock or the table's; with an offset only where one is written
    crop: Box | None = None  # px of the upright photo
    mask: str | None = None  # path of a mask image, or polygons / COCO run lengths as JSON
    columns: Mapping[str, str] = field(default_factory=dict)  # every column of the table, as text, for `where`
    quarters: int = 0  # quarter turns to the left, after box and mask
    mirrored: bool = False  # left and right exchanged, after the turns

    def __post_init__(self) -> None:
        if self.crop is not None and (len(self.crop) != 4 or self.crop[2] <= 0 or self.crop[3] <= 0):
            raise ValueError(f"PhotoRef.crop is {self.crop}, not (x, y, width, height) with a positive width and height")
        if self.quarters not in (0, 1, 2, 3):
            raise ValueError(f"PhotoRef.quarters is {self.quarters}, not 0 to 3")


@dataclass(frozen=True)
class PhotoFacts:
    """What a photo's header says, without its pixels."""

    size: tuple[int, int]  # (width, height) of the upright photo, px
    taken: datetime | None = None  # EXIF DateTimeOriginal, with its sub-seconds and its offset where they are written


@dataclass(frozen=True)
class Photo:
    """A decoded, upright, cropped and resized photo."""

    image_id: str
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB
    mask: NDArray[np.bool_] | None = None  # (H, W), True on the animal
    flaws: tuple[str, ...] = ()  # what was forgiven in reading it: phrases that name no photo, so that they can be counted

    def __post_init__(self) -> None:
        frozen(self, "pixels", np.uint8, None, None, 3)
        if self.mask is not None:
            frozen(self, "mask", np.bool_, *self.pixels.shape[:2])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True)
class Features:
    """The local features of one prepared photo, strongest first."""

    kind: str  # the extractor that made them
    size: tuple[int, int]  # (width, height) of the prepared photo, px
    keypoints: NDArray[np.float32]  # (N, 2) x, y, px
    scores: NDArray[np.float32]  # (N,)
    descriptors: NDArray[np.float16]  # (N, D), unit length
    scales: NDArray[np.float32] | None = None  # (N,) px, where the extractor has them
    angles: NDArray[np.float32] | None = None  # (N,) rad

    def __post_init__(self) -> None:
        frozen(self, "keypoints", np.float32, None, 2)
        n = len(self.keypoints)
        frozen(self, "scores", np.float32, n)
        frozen(self, "descriptors", np.float16, n, None)
        for name in ("scales", "angles"):
            if getattr(self, name) is not None:
                frozen(self, name, np.float32, n)
        width, height = self.size
        if n and not ((self.keypoints >= -0.5).all() and (self.keypoints <= (width - 0.5, height - 0.5)).all()):
            raise ValueError(f"Features.keypoints lie outside a photo of {width} x {height} px")

    def __len__(self) -> int:
        return len(self.keypoints)


@dataclass(frozen=True)
class Quality:
    """What a photo, or its box, can show, whoever looks at it: measured with its longest side at 640 px. Light is 0..1."""

    pixels: int  # longest side of the photo, or of its box, before it is resized
    sharpness: float  # variance of the Laplacian of the smoothed light, times 255^2 (Pech-Pacheco 2000, ICPR)
    brightness: float  # mean light
    contrast: float  # standard deviation of the light
