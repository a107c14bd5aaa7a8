"""From a file to upright pixels. Formats are an allow-list, sizes are limited before anything is decoded, the first frame of an animation
counts. A JPEG that lacks a little is used, and what was forgiven is said.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from ..errors import PhotoError
from ..records import PhotoFacts
from . import exif, jpeg
from .ends import may_lack_end

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "HEIF", "AVIF", "GIF", "BMP", "PPM")
MAX_PIXELS = 300_000_000  # phones reach 200 million
MAX_SIDE = 65_535  # px, JPEG's own limit
TURNS = {  # what makes a photo upright, by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height
_pillow = threading.Lock()  # Pillow's size limit is one global number


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
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


@dataclass(frozen=True)
class Decoded:
    """An upright photo, perhaps at a smaller scale, and what was forgiven in reading it."""

    pixels: NDArray[np.uint8]  # (H, W, 3) RGB
    size: tuple[int, int]  # (width, height) of the photo at full scale, px
    flaws: tuple[str, ...] = ()  # phrases that name no photo, so that they can be counted

    @property
    def scale(self) -> float:
        """To the full size."""
        return float(max(self.pixels.shape[:2]) / max(self.size))


def photo_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright photo, from its header alone. Raises PhotoError."""
    with opened(path) as image:
        return _upright_size(image, path)


def facts(path: Path) -> PhotoFacts:
    """What the header says: the size of the upright photo, and when it was taken. Raises PhotoError for what is no photo."""
    return PhotoFacts(photo_size(path), exif.read(path).taken)


def decode(path: Path, at_least: int | None = None) -> Decoded:
    """The whole photo; a JPEG may come smaller, its longest side `at_least` px or more.

    A JPEG whose end is missing is read as far as it goes, if little is lost. Raises PhotoError."""
    with opened(path) as image:
        try:
            size = _upright_size(image, path)
            bits = None
            if image.format in ("JPEG", "MPO"):
                if at_least is not None and max(size) >= 2 * at_least:
                    smallest = max(1, min(size) * at_least // max(size))
                    image.draft("RGB", (smallest, smallest))
                bits = jpeg.open_bits(image, path)
            image.seek(0)
            image.load()
            if image.mode == "F":
                raise PhotoError(f"the pixels of {path} are floating-point numbers; save it with 8 or 16 bits")
            turn = TURNS.get(_turn(image, path))  # now, since Pillow turns a TIFF as it loads it
            return Decoded(_rgb(image if turn is None else image.transpose(turn)), size, bits.flaws() if bits else ())
        except PhotoError:
            raise
        except Exception as error:  # truncated or damaged: every decoder has its own exceptions
            raise PhotoError(f"{path} is damaged ({line(error)})") from error


def cut_short(path: Path) -> tuple[str, ...]:
    """What is forgiven of a photo whose end may be missing: the only ones that are decoded here. Raises PhotoError where too much is
    missing, OSError."""
    return decode(path, at_least=1).flaws if may_lack_end(path) else ()


def _upright_size(image: Image.Image, path: Path) -> tuple[int, int]:
    """Before its pixels are loaded. Raises PhotoError."""
    size = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # some versions of Pillow give it turned already
        size = int(image.tag_v2[256]), int(image.tag_v2[257])
    return size[::-1] if _turn(image, path) in SIDEWAYS else size


def _turn(image: Image.Image, path: Path) -> int:
    """EXIF's orientation, 1 where nothing that can be read says it. Raises PhotoError for a PNG that is cut off."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception as error:
        if image.format == "PNG":  # its EXIF may lie behind its pixels, and those may be cut off
            raise PhotoError(f"{path} is damaged ({line(error)})") from error
        return 1  # whoever wrote it, the pixels are there


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits a pixel, of which a camera may use 10, 12 or 14
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        n_bits = next(n for n in (8, 10, 12, 14, 16) if grey.max() < 1 << n)
        return np.repeat((grey >> (n_bits - 8)).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (128, 128, 128, 255)), image)
    return np.array(image.convert("RGB"))
