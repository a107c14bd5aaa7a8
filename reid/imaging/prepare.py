"""From a file to a prepared photo: decode, crop, mask, resize; and points back to the upright photo."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import PhotoError
from ..records import Box, Photo, PhotoRef
from .decode import MAX_SIDE, decode
from .masks import laid_out

CLIP_LIMIT, TILES = 4.0, 8  # of CLAHE: times the mean count a bin may have; tiles along a side
SPECK = 0.01  # share of the photo, or of its box; a mask that shows less has missed the animal
SPECK_MASK = "the mask shows less than 1 % of the photo, so the whole photo is used"
MIN_SIDE = 32  # px; less holds no pattern to recognise


def prepare(ref: PhotoRef, longest: int, enlarge: bool = False) -> Photo:
    """The photo of `ref`, cropped and masked, its longest side at most `longest` px, or just that where it may be enlarged.

    Raises PhotoError."""
    wanted = longest
    if ref.crop is not None or ref.mask is not None:
        wanted = MAX_SIDE  # boxes and masks are laid on the full photo
    found = decode(ref.path, at_least=wanted)
    pixels, flaws, (width, height) = found.pixels, found.flaws, found.size
    mask = None if ref.mask is None else laid_out(ref.mask, (width, height))
    if ref.crop is not None:
        x0, y0, x1, y1 = pixel_box(ref.crop, (pixels.shape[1], pixels.shape[0]))
        pixels = pixels[y0:y1, x0:x1]
        mask = None if mask is None else mask[y0:y1, x0:x1]
        width, height = max(0, x1 - x0), max(0, y1 - y0)
    if min(width, height) < MIN_SIDE:
        where = " in its box" if ref.crop else ""
        raise PhotoError(f"{ref.path} has {width} x {height} px{where}; {MIN_SIDE} px a side are the least to work on")
    if mask is not None and mask.mean() < SPECK:
        mask, flaws = None, (*flaws, SPECK_MASK)
    size = prepared_size((width, height), longest, enlarge)
    if min(size) < MIN_SIDE:
        raise PhotoError(f"{ref.path} is {width} x {height} px: too long and thin to be resized to {longest} px; crop it")
    if size != (pixels.shape[1], pixels.shape[0]):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if size[0] <= pixels.shape[1] else cv2.INTER_CUBIC)
        mask = None if mask is None else cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    return Photo(ref.image_id, _turned(pixels, ref), None if mask is None else _turned(mask, ref), flaws)


def _turned(array: NDArray[Any], ref: PhotoRef) -> NDArray[Any]:
    turned = np.rot90(array, ref.quarters)
    return np.ascontiguousarray(turned[:, ::-1] if ref.mirrored else turned)


def prepared_size(size: tuple[int, int], longest: int, enlarge: bool = False) -> tuple[int, int]:
    """(width, height) after resizing to at most `longest` px, or to just that."""
    factor = longest / max(size) if enlarge else min(1.0, longest / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def resizing(size: tuple[int, int], to: tuple[int, int]) -> NDArray[np.float64]:
    """(3, 3): what takes points of a photo of one size (width, height) to where they are in another, pixel centres at integers."""
    scale = np.array(to) / size
    return np.array([[scale[0], 0, 0.5 * scale[0] - 0.5], [0, scale[1], 0.5 * scale[1] - 0.5], [0, 0, 1]])


def equalized(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) with the contrast of its lightness evened out, tile by tile (CLAHE, Zuiderveld 1994, Graphics Gems IV; OpenCV)."""
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(CLIP_LIMIT, (TILES, TILES)).apply(np.ascontiguousarray(lab[..., 0]))
    even: NDArray[np.uint8] = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.uint8, copy=False)
    return even


def pixel_box(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in whole pixels within a photo of `size`: every pixel that the box touches."""
    x, y, width, height = box
    x0, y0 = max(0, int(np.floor(x))), max(0, int(np.floor(y)))
    return x0, y0, min(size[0], int(np.ceil(x + width))), min(size[1], int(np.ceil(y + height)))


def to_upright(points: NDArray[Any], prepared: tuple[int, int], upright: tuple[int, int], ref: PhotoRef) -> NDArray[np.float32]:
    """(N, 2) points of the prepared photo of `ref` in pixels of the upright photo: the inverse of crop, resize, turns and mirror, pixel
    centres at integers."""
    x0, y0, x1, y1 = (0, 0, *upright) if ref.crop is None else pixel_box(ref.crop, upright)
    share = (np.asarray(points, np.float64) + 0.5) / prepared  # 0..1 from the top left
    if ref.mirrored:
        share = share * (-1, 1) + (1, 0)
    for _ in range(ref.quarters):  # what is x now was the distance from the top before the turn to the left
        share = share[:, ::-1] * (-1, 1) + (1, 0)
    upright_points: NDArray[np.float32] = (share * (x1 - x0, y1 - y0) - 0.5 + (x0, y0)).astype(np.float32)
    return upright_points
