"""From a file to upright pixels. Formats are an allow-list, sizes are limited before anything is decoded, the first frame of an animation
counts.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from ..errors import PhotoError
from ..records import PhotoFacts

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "HEIF", "AVIF", "GIF", "BMP", "PPM")
MAX_PIXELS = 300_000_000  # phones reach 200 million
MAX_SIDE = 65_535  # px, JPEG's own limit
MOST_LOST = 0.05  # of a JPEG's rows that may be missing at its end
FILL = 128  # grey level that the decoder writes where nothing is left to read
ZEROS = 32  # zero bytes in a row that are remarked on
_pillow = threading.Lock()  # Pillow's size limit is one global number


@contextmanager
def opened(path: Path, locked: bool = False) -> Iterator[Image.Image]:
    """An image whose header has been read and whose size is within the limits. `locked`: the caller holds Pillow's lock."""
    try:
        if path.is_dir():
            raise PhotoError(f"{path} is a folder, not a photo")
        if not path.exists():
            raise PhotoError(f"{path} is a link to a file that is gone" if path.is_symlink() else f"{path} does not exist")
        if path.stat().st_size == 0:
            raise PhotoError(f"{path} is empty")
        with nullcontext() if locked else _pillow:
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
        raise PhotoError(f"{path} cannot be read ({line(error)})") from error
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


def line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def photo_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright photo, from its header alone. Raises PhotoError."""
    with opened(path) as image:
        try:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        except Exception as error:  # a PNG's EXIF may lie behind its pixels, and those may be cut off
            raise PhotoError(f"{path} is damaged ({line(error)})") from error
        return image.size[::-1] if turned else image.size


class Decoded(NamedTuple):
    """A photo's pixels, and what was forgiven in reading them."""

    pixels: NDArray[np.uint8]  # (H, W, 3) RGB, upright
    scale: float  # to the full size
    flaws: tuple[str, ...] = ()  # phrases that name no photo, so that they can be counted


def facts(path: Path) -> PhotoFacts:
    """What the header says: the size of the upright photo, and when it was taken (EXIF DateTimeOriginal). Raises PhotoError."""
    size = photo_size(path)
    try:
        with opened(path) as image:
            exif = image.getexif().get_ifd(0x8769)
        text, part = str(exif.get(0x9003) or "").strip("\0 "), str(exif.get(0x9291) or "").strip("\0 ")
        taken = datetime.strptime(text[:19].replace("-", ":"), "%Y:%m:%d %H:%M:%S")
        taken = taken.replace(microsecond=int(part[:6].ljust(6, "0")) if part.isdigit() else 0)
        offset = re.fullmatch(r"([+-])(\d{2}):(\d{2})", str(exif.get(0x9011) or "").strip("\0 "))
        if offset:
            minutes = (60 * int(offset[2]) + int(offset[3])) * (1 if offset[1] == "+" else -1)
            taken = taken.replace(tzinfo=timezone(timedelta(minutes=minutes)))
        return PhotoFacts(size, taken if 1900 < taken.year < 2100 else None)
    except Exception:  # EXIF is what cameras and programs make of it; without a time that can be read there is none
        return PhotoFacts(size)


def decode(path: Path, at_least: int | None = None) -> Decoded:
    """The whole photo; a JPEG may come smaller, its longest side `at_least` px or more.

    A JPEG whose end is missing is read as far as it goes, if little is lost. Raises PhotoError."""
    try:
        return _decoded(path, at_least)
    except _Torn as error:
        reason = str(error)
    with _pillow:  # Pillow's switch is one for all threads
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            found = _decoded(path, None, locked=True, upright=False)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
    lost = _unread_rows(found.pixels) / len(found.pixels)
    if lost > MOST_LOST:
        raise PhotoError(f"{path} is damaged: its last {100 * lost:.0f} % are missing ({reason})")
    with opened(path) as image:
        turned = _turned(found.pixels, image.getexif().get(0x0112, 1))
    return Decoded(turned, 1.0, ("the end of the file is missing; it is used as far as it goes",))


class _Torn(Exception):
    """A JPEG that ends too early."""


def _decoded(path: Path, at_least: int | None, *, locked: bool = False, upright: bool = True) -> Decoded:
    with opened(path, locked) as image:
        full = max(image.size)
        try:
            if at_least is not None and image.format in ("JPEG", "MPO") and full >= 2 * at_least:
                smallest = max(1, min(image.size) * at_least // full)
                image.draft("RGB", (smallest, smallest))
            image.seek(0)
            image.load()
            if image.mode == "F":
                raise PhotoError(f"the pixels of {path} are floating-point numbers; save it with 8 or 16 bits")
            whole = ImageOps.exif_transpose(image) if upright else image
            flaws = _runs_of_zeros(path) if image.format in ("JPEG", "MPO") else ()
            return Decoded(_rgb(whole), max(whole.size) / full, flaws)
        except PhotoError:
            raise
        except Exception as error:  # truncated or damaged: every decoder has its own exceptions
            if image.format in ("JPEG", "MPO") and "truncated" in str(error):
                raise _Torn(line(error)) from error
            raise PhotoError(f"{path} is damaged ({line(error)})") from error


def _unread_rows(pixels: NDArray[np.uint8]) -> int:
    """Rows at the end that the decoder has filled with its own grey."""
    grey = (pixels == FILL).all(axis=(1, 2))
    return len(grey) if grey.all() else int(np.argmin(grey[::-1]))


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Upright, by EXIF's orientation."""
    if orientation in (2, 4, 5, 7):
        pixels = pixels[:, ::-1]
    quarters = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def _runs_of_zeros(path: Path) -> tuple[str, ...]:
    """A remark where a JPEG's compressed pixels hold a run of zero bytes, which its coding hardly ever makes: bad cards leave such."""
    data = path.read_bytes()
    start = data.rfind(b"\xff\xda")
    return ("a run of zero bytes lies in its pixels; a part of it may be damaged",) if bytes(ZEROS) in data[start:] else ()


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits a pixel, of which a camera may use 10, 12 or 14
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        n_bits = next(n for n in (8, 10, 12, 14, 16) if grey.max() < 1 << n)
        return np.repeat((grey >> (n_bits - 8)).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (128, 128, 128, 255)), image)
    return np.array(image.convert("RGB"))
