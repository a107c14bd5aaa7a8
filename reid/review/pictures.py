"""Photos as a browser shows them: cropped to their box, upright, without their headers, made when they are asked for and kept; and
where in them the animal is.

<folder>/pictures/<side>/<digest>.jpg
"""

from __future__ import annotations

import io
import math
import threading
from enum import StrEnum

import cv2
import numpy as np
from PIL import Image

from .. import imaging
from ..imaging.prepare import MIN_SIDE
from ..records import PhotoRef
from ..stages import Workspace
from ..stages.pipeline import NO_ANIMAL
from ..store import write_atomically

AT_ONCE = threading.Semaphore(2)  # decoders: a page asks for dozens, and the matcher wants its core


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


SIDE = {Size.SMALL: (280, 80), Size.LARGE: (1600, 88)}  # longest side in px, JPEG quality


def picture(ref: PhotoRef, size: Size, work: Workspace) -> bytes:
    """A JPEG. Raises PhotoError, StoreError."""
    side, quality = SIDE[size]
    digest = work.digests.of(ref)
    file = work.folder / "pictures" / str(side) / digest[:2] / f"{digest}.jpg"
    try:
        return file.read_bytes()
    except OSError:
        pass  # not made yet
    with AT_ONCE:
        data, full = io.BytesIO(), _full_size(ref, work)
        least = math.ceil(MIN_SIDE * max(full) / min(full))  # px that a long and thin photo must have to be prepared
        image = Image.fromarray(imaging.prepare(ref, max(side, least)).pixels)
        image.thumbnail((side, side))
        image.save(data, format="JPEG", quality=quality)
    write_atomically(file, data.getvalue())
    return data.getvalue()


def outline(ref: PhotoRef, work: Workspace) -> tuple[list[list[list[float]]], str]:
    """The polygons of the mask in which keypoints are taken, their points (x, y) in shares of the picture's sides, and what is to be said.

    No polygon where the whole photo is used. Raises PhotoError, WeightsError."""
    photo = work.first.prepare(ref)
    told = f"; {imaging.LEFT_OUT}" if imaging.LEFT_OUT in photo.flaws else ""
    whole = NO_ANIMAL if NO_ANIMAL in photo.flaws else "the whole photo is used"
    if photo.mask is None:
        return [], whole
    found, _ = cv2.findContours(photo.mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = [((cv2.approxPolyDP(one, 1, closed=True)[:, 0] + 0.5) / photo.size).round(4).tolist() for one in found]
    found_it = NO_ANIMAL not in photo.flaws and (ref.mask or work.settings.extract.segment)
    return polygons, (f"the animal is {100 * photo.mask.mean():.0f} % of the photo" if found_it else whole) + told


def shown_size(ref: PhotoRef, work: Workspace) -> tuple[int, int]:
    """(width, height) px of the large picture, from the photo's header. Raises PhotoError."""
    return imaging.prepared_size(_full_size(ref, work), SIDE[Size.LARGE][0])


def _full_size(ref: PhotoRef, work: Workspace) -> tuple[int, int]:
    full = work.digests.facts(ref.path, imaging.facts).size
    if ref.crop is not None:
        x0, y0, x1, y1 = imaging.pixel_box(ref.crop, full)
        full = max(1, x1 - x0), max(1, y1 - y0)
    return full
