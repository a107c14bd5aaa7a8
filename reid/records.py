"""The nouns of reid. Frozen, arrays read-only, shapes checked where a record is made, every unit stated here once.

Conventions: points are float32 (x, y) in pixels of the prepared photo, (0, 0) at the centre of the top-left pixel. Every
`size` is (width, height). A `query` is the photo asked about, a `reference` a photo of the gallery; LightGlue depends on the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN = "unknown"  # the identity of an animal that nobody has named yet (WildlifeDatasets)
Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the upright photo


def _frozen(record: object, name: str, dtype: type, *shape: int | None) -> None:
    """Replace a field by a read-only array of `dtype`, after checking its shape; None leaves a dimension free."""
    given = getattr(record, name)
    array: NDArray[Any] = np.asarray(given, dtype=dtype)
    if array is given and array.flags.writeable:
        array = array.copy()  # freezing a caller's own array would be a surprise
    if array.ndim != len(shape) or any(want is not None and have != want for have, want in zip(array.shape, shape)):
        wanted = ", ".join("N" if want is None else str(want) for want in shape)
        raise ValueError(f"{type(record).__name__}.{name} has shape {array.shape}, not ({wanted})")
    if array.dtype.kind == "f" and not _finite(array):
        raise ValueError(f"{type(record).__name__}.{name} holds values that are not finite")
    array.flags.writeable = False
    object.__setattr__(record, name, array)


def _finite(array: NDArray[Any]) -> bool:
    if array.dtype == np.float16:  # by its bits, twenty times as fast
        return bool(((array.view(np.uint16) & 0x7FFF) < 0x7C00).all())
    return bool(np.isfinite(array).all())


@dataclass(frozen=True)
class PhotoRef:
    """A photo of the gallery or a query, before anything has been decoded."""

    image_id: str  # posix path under its root, for people
    path: Path
    identity: str | None = None
    orientation: str | None = None  # the side or view: left, right, top, ...
    encounter: str | None = None
    date: date | None = None
    crop: Box | None = None  # px of the upright photo
    mask: str | None = None  # path of a mask image, or polygons / COCO run lengths as JSON
    columns: Mapping[str, str] = field(default_factory=dict)  # every column of the table, as text, for `where`
    quarters: int = 0  # quarter turns to the left, after box and mask
    mirrored: bool = False  # left and right exchanged, after the turns

    def __post_init__(self) -> None:
        if self.crop is not None and (len(self.crop) != 4 or self.crop[2] <= 0 or self.crop[3] <= 0):
            raise ValueError(f"PhotoRef.crop is {self.crop}, not (x, y, width, height) with a positive width and height")
        if self.quarters not in range(4):
            raise ValueError(f"PhotoRef.quarters is {self.quarters}, not 0 to 3")


@dataclass(frozen=True)
class Photo:
    """A decoded, upright, cropped and resized photo."""

    image_id: str
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB
    mask: NDArray[np.bool_] | None = None  # (H, W), True on the animal

    def __post_init__(self) -> None:
        _frozen(self, "pixels", np.uint8, None, None, 3)
        if self.mask is not None:
            _frozen(self, "mask", np.bool_, *self.pixels.shape[:2])

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
        _frozen(self, "keypoints", np.float32, None, 2)
        n = len(self.keypoints)
        _frozen(self, "scores", np.float32, n)
        _frozen(self, "descriptors", np.float16, n, None)
        for name in ("scales", "angles"):
            if getattr(self, name) is not None:
                _frozen(self, name, np.float32, n)
        width, height = self.size
        if n and not ((self.keypoints >= -0.5).all() and (self.keypoints <= (width - 0.5, height - 0.5)).all()):
            raise ValueError(f"Features.keypoints lie outside a photo of {width} x {height} px")

    def __len__(self) -> int:
        return len(self.keypoints)


@dataclass(frozen=True)
class PairMatches:
    """Which keypoints of a query and a reference match, and how surely."""

    query_id: str
    reference_id: str
    indices: NDArray[np.int32]  # (S, 2) rows into the query's and the reference's keypoints
    confidence: NDArray[np.float32]  # (S,) 0..1
    n_keypoints: tuple[int, int]  # of the query, of the reference

    def __post_init__(self) -> None:
        _frozen(self, "indices", np.int32, None, 2)
        _frozen(self, "confidence", np.float32, len(self.indices))
        if len(self.indices) and not ((self.indices >= 0).all() and (self.indices < self.n_keypoints).all()):
            raise ValueError(f"PairMatches.indices point outside {self.n_keypoints} keypoints")
        if len(self.confidence) and not (self.confidence.min() >= 0 and self.confidence.max() <= 1):
            raise ValueError("PairMatches.confidence lies outside 0..1")


@dataclass(frozen=True)
class Score:
    """How alike a query and a reference are; larger is more alike, whatever the score."""

    query_id: str
    reference_id: str
    value: float  # by which references are ranked, and the best one is judged known or new
    n_matches: int  # matches above the settings' `min_confidence`


@dataclass(frozen=True)
class Candidate:
    """An individual the query may be, with the reference that speaks for it most."""

    identity: str
    score: float
    n_matches: int
    reference_id: str
    photo_id: str = ""  # the query's photo that matches it, where a query has several


@dataclass(frozen=True)
class Quality:
    """What a photo, or its box, can show, whoever looks at it: measured with its longest side at 640 px. Light is 0..1."""

    pixels: int  # longest side of the photo, or of its box, before it is resized
    sharpness: float  # variance of the Laplacian of the smoothed light, times 255^2 (Pech-Pacheco 2000, ICPR)
    brightness: float  # mean light
    contrast: float  # standard deviation of the light


@dataclass(frozen=True)
class IdentityRanking:
    """The answer for one query, a photo or the photos of an encounter."""

    query_id: str
    candidates: tuple[Candidate, ...]  # best first
    verdict: str  # match, unsure, new or odd
    p_stranger: float  # how likely the best of as many strangers would look at least as alike, 0..1
    p_match: float | None = None  # probability that the first candidate is right; None where nothing is calibrated, as the next three
    p_other: float | None = None  # that it is another animal of the gallery
    p_new: float | None = None  # that it is an animal never seen; the three sum to one
    p_match_interval: tuple[float, float] | None = None  # where p_match lies for all that the calibration can tell
    p_if_known: float | None = None  # the share of known animals that stand no better (conformal p-value); None as above
    because: tuple[str, ...] = ()  # why this verdict, in sentences for people
    quality: tuple[Quality, ...] = ()  # of the query's photos, where they were looked at


@dataclass(frozen=True)
class Mislabel:
    """A photo of the gallery that looks more like another animal than like its own."""

    reference_id: str
    identity: str  # as the gallery says
    score: float  # its best with a photo of that animal, of another encounter
    looks_like: Candidate


@dataclass(frozen=True)
class Twins:
    """Two individuals of the gallery that may be one animal, and the photos that say so."""

    identities: tuple[str, str]
    references: tuple[str, str]
    p_same: float  # 0..1


@dataclass(frozen=True)
class Health:
    """What a gallery's own photos say about its labels."""

    single_photo: tuple[str, ...]  # individuals that have one photo, or one encounter
    mislabels: tuple[Mislabel, ...]  # the most suspicious first
    twins: tuple[Twins, ...]  # the likeliest first
    n_asked: int  # photos whose label was tried


@dataclass(frozen=True)
class Failure:
    """A photo that could not be used, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True)
class Report:
    """Every answer of one run, and all that is needed to repeat it."""

    rankings: tuple[IdentityRanking, ...]
    failures: tuple[Failure, ...]
    settings: Mapping[str, object]
    fingerprint: str
    gallery: Mapping[str, object]  # photos and individuals searched, the filter that was used
    versions: Mapping[str, str]
    created: datetime  # UTC
