"""Where the animal is, as people and tools write it: mask images, COCO polygons, COCO run lengths."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from ..errors import PhotoError
from .decode import MAX_SIDE, line, opened


def read_mask(source: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool, True on the animal: from a mask image of the upright photo's shape, COCO polygons or COCO run lengths.

    Raises PhotoError, also for a mask image that is black all over."""
    mask = laid_out(source, size)
    if not mask.any() and not source.strip().startswith(("[", "{")):
        raise PhotoError(f"the mask {source} is black all over: it shows no animal")
    return mask


def laid_out(source: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """As `read_mask`, of whatever the mask shows, and be it nothing. Raises PhotoError for what is no mask of this photo."""
    width, height = size
    text = source.strip()
    if not text.startswith(("[", "{")):
        mask = _mask_image(Path(text))
        if mask.shape != (height, width):
            if abs(mask.shape[1] * height - mask.shape[0] * width) > 0.02 * mask.shape[0] * width:
                raise PhotoError(f"the mask {text} is {mask.shape[1]} x {mask.shape[0]} px, its photo {width} x {height}: another shape")
            mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
        return mask
    try:
        value = json.loads(text) if '"' in text or text.startswith("[") else ast.literal_eval(text)  # pandas writes {'size': ...}
        return _run_lengths(value, size) if isinstance(value, dict) else _polygons(value, size)
    except (ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, RecursionError, MemoryError) as error:
        raise PhotoError(f"the mask {text[:30]!r}... is neither COCO polygons nor run lengths of {width} x {height} px") from error


def _mask_image(path: Path) -> NDArray[np.bool_]:
    """Opaque on the animal where it is not opaque all over, whatever its colours, else white; a mask of 0 and 1 is one too."""
    with opened(path) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            bands = np.asarray(upright.convert("RGBA") if upright.mode in ("RGBA", "LA", "P") else upright.convert("L"))
        except Exception as error:
            raise PhotoError(f"the mask {path} is damaged ({line(error)})") from error
    if bands.ndim == 2:
        return _upper_half(bands)
    opaque = _upper_half(bands[..., 3])
    return _upper_half(bands[..., :3].max(axis=2)) if opaque.all() else opaque


def _upper_half(values: NDArray[Any]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = values > values.max() // 2
    return mask


def _polygons(value: list[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    polygons = value if value and isinstance(value[0], list) else [value]
    canvas = np.zeros((size[1], size[0]), np.uint8)
    for polygon in polygons:  # COCO counts from the pixel's corner
        corners = np.rint(np.asarray(polygon, np.float64).reshape(-1, 2) - 0.5)
        if len(corners) < 3 or not (np.abs(corners) <= 2 * MAX_SIDE).all():
            raise ValueError("not a polygon")
        cv2.fillPoly(canvas, [corners.astype(np.int32)], 1)
    return canvas.astype(bool)


def _run_lengths(value: dict[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """COCO's run lengths, down the columns, starting with background; as a list, or as pycocotools' compressed text."""
    height, width = (int(n) for n in value["size"])
    counts = value["counts"]
    if isinstance(counts, (str, bytes)):
        counts = _decompress(counts if isinstance(counts, bytes) else counts.encode())
    if (width, height) != size or min(counts) < 0 or sum(counts) != width * height:
        raise ValueError("run lengths of another size")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def _decompress(text: bytes) -> list[int]:
    """pycocotools' text: 6 bits a character from `0`, 5 of them payload; from the fourth count on, differences to the one two before."""
    counts: list[int] = []
    value = shift = 0
    for byte in text:
        bits = byte - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
