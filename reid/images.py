"""From a file to a prepared photo: decode, turn upright (EXIF), crop, mask, resize; and points back to the upright photo.

Formats are an allow-list, sizes are limited before anything is decoded, the first frame of an animation counts.
"""

from __future__ import annotations

import ast
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import PhotoError
from .records import Box, Photo, PhotoRef, Quality

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "HEIF", "AVIF", "GIF", "BMP", "PPM")
MAX_PIXELS = 300_000_000  # phones reach 200 million
MAX_SIDE = 65_535  # px, JPEG's own limit
CLIP_LIMIT, TILES = 4.0, 8  # of CLAHE: times the mean count a bin may have; tiles along a side
QUALITY_SIDE = 640  # px to which a photo is brought to be judged, whatever the settings
SMALL, BLURRED, DARK, BRIGHT, FLAT = 250, 4.0, 0.28, 0.75, 0.1  # px, and as in `Quality`; of turtles fewer such photos are recognised
MIN_SIDE = 32  # px; less holds no pattern to recognise
_pillow = threading.Lock()  # Pillow's size limit is one global number


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image whose header has been read and whose size is within the limits."""
    try:
        if path.is_dir():
            raise PhotoError(f"{path} is a folder, not a photo")
        if not path.exists():
            raise PhotoError(f"{path} is a link to a file that is gone" if path.is_symlink() else f"{path} does not exist")
        if path.stat().st_size == 0:
            raise PhotoError(f"{path} is empty")
        with _pillow:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours, checked below, is higher
            try:
                image = Image.open(path, formats=_formats())
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError as error:
        raise PhotoError(f"{path} is not a photo in a format that is read here ({', '.join(_formats())})") from error
    except PhotoError:
        raise
    except Exception as error:  # decoders raise what they like on broken headers
        raise PhotoError(f"{path} cannot be read ({_line(error)})") from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
            most = f"{MAX_PIXELS // 10**6} megapixels and {MAX_SIDE} px a side"
            raise PhotoError(f"{path} has {width} x {height} px; at most {most} are read, make it smaller")
        yield image


@cache
def _formats() -> tuple[str, ...]:
    """The allowed formats that this installation can read."""
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass  # an optional wheel; without it a HEIC file is named as not readable
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def photo_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright photo, from its header alone. Raises PhotoError."""
    with _opened(path) as image:
        try:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        except Exception as error:  # a PNG's EXIF may lie behind its pixels, and those may be cut off
            raise PhotoError(f"{path} is damaged ({_line(error)})") from error
        return image.size[::-1] if turned else image.size


def decode(path: Path, at_least: int | None = None) -> tuple[NDArray[np.uint8], float]:
    """(H, W, 3) uint8 RGB, upright, and its scale to the full size; a JPEG may come smaller, its longest side `at_least` px or more.

    Raises PhotoError."""
    with _opened(path) as image:
        full = max(image.size)
        try:
            if at_least is not None and image.format in ("JPEG", "MPO") and full >= 2 * at_least:
                smallest = max(1, min(image.size) * at_least // full)
                image.draft("RGB", (smallest, smallest))
            image.seek(0)
            image.load()
            if image.mode == "F":
                raise PhotoError(f"the pixels of {path} are floating-point numbers; save it with 8 or 16 bits")
            upright = ImageOps.exif_transpose(image)
            return _rgb(upright), max(upright.size) / full
        except PhotoError:
            raise
        except Exception as error:  # truncated or damaged: every decoder has its own exceptions
            raise PhotoError(f"{path} is damaged ({_line(error)})") from error


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits a pixel, of which a camera may use 10, 12 or 14
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        n_bits = next(n for n in (8, 10, 12, 14, 16) if grey.max() < 1 << n)
        return np.repeat((grey >> (n_bits - 8)).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (128, 128, 128, 255)), image)
    return np.array(image.convert("RGB"))


def prepare(ref: PhotoRef, longest: int, enlarge: bool = False) -> Photo:
    """The photo of `ref`, cropped and masked, its longest side at most `longest` px, or just that where it may be enlarged.

    Raises PhotoError."""
    wanted = longest
    if ref.crop is not None or ref.mask is not None:
        wanted = MAX_SIDE  # boxes and masks are laid on the full photo
    pixels, _ = decode(ref.path, at_least=wanted)
    mask = None if ref.mask is None else read_mask(ref.mask, (pixels.shape[1], pixels.shape[0]))
    if ref.crop is not None:
        x0, y0, x1, y1 = pixel_box(ref.crop, (pixels.shape[1], pixels.shape[0]))
        pixels = pixels[y0:y1, x0:x1]
        mask = None if mask is None else mask[y0:y1, x0:x1]
    height, width = pixels.shape[:2]
    if min(width, height) < MIN_SIDE:
        where = " in its box" if ref.crop else ""
        raise PhotoError(f"{ref.path} has {width} x {height} px{where}; {MIN_SIDE} px a side are the least to work on")
    size = prepared_size((width, height), longest, enlarge)
    if min(size) < MIN_SIDE:
        raise PhotoError(f"{ref.path} is {width} x {height} px: too long and thin to be resized to {longest} px; crop it")
    if size != (width, height):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if size[0] <= width else cv2.INTER_CUBIC)
        mask = None if mask is None else cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    return Photo(ref.image_id, _turned(pixels, ref), None if mask is None else _turned(mask, ref))


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


def quality(ref: PhotoRef) -> Quality:
    """What the photo of `ref` can show. Raises PhotoError."""
    pixels = prepare(ref, QUALITY_SIDE, enlarge=True).pixels
    light = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = cv2.Laplacian(cv2.GaussianBlur(light, (0, 0), 1.0), cv2.CV_32F)
    width, height = photo_size(ref.path) if ref.crop is None else ref.crop[2:]
    return Quality(round(max(width, height)), float(edges.var()), float(light.mean() / 255), float(light.std() / 255))


def shortcomings(seen: Quality) -> tuple[str, ...]:
    """What is wrong with a photo, in words; nothing where it is good."""
    words = {
        f"small ({seen.pixels} px)": seen.pixels < SMALL,
        "blurred": seen.sharpness < BLURRED,
        "dark": seen.brightness < DARK,
        "overexposed": seen.brightness > BRIGHT,
        "without contrast": seen.contrast < FLAT,
    }
    return tuple(word for word, is_so in words.items() if is_so)


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


def read_mask(source: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool, True on the animal: from a mask image of the upright photo's shape, COCO polygons or COCO run lengths.

    Raises PhotoError."""
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
    """White or opaque on the animal; a mask of 0 and 1 is one too. Raises PhotoError for one that shows no animal."""
    with _opened(path) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            bands = np.asarray(upright.convert("RGBA") if upright.mode in ("RGBA", "LA", "P") else upright.convert("L"))
        except Exception as error:
            raise PhotoError(f"the mask {path} is damaged ({_line(error)})") from error
    grey = bands if bands.ndim == 2 else bands[..., :3].max(axis=2).astype(np.uint16) * bands[..., 3] // 255
    if not grey.any():
        raise PhotoError(f"the mask {path} is black all over: it shows no animal")
    mask: NDArray[np.bool_] = grey > grey.max() // 2
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
