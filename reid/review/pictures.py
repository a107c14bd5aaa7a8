"""Photos as a browser shows them: cropped to their box, upright, without their headers, made when they are asked for and kept.

<folder>/pictures/<side>/<digest>.jpg
"""

from __future__ import annotations

import io
import threading
from enum import StrEnum

from PIL import Image

from .. import imaging
from ..records import PhotoRef
from ..stages import Workspace
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
        data = io.BytesIO()
        Image.fromarray(imaging.prepare(ref, side).pixels).save(data, format="JPEG", quality=quality)
    write_atomically(file, data.getvalue())
    return data.getvalue()


def shown_size(ref: PhotoRef, work: Workspace) -> tuple[int, int]:
    """(width, height) px of the large picture, from the photo's header. Raises PhotoError."""
    full = work.digests.facts(ref.path, imaging.facts).size
    if ref.crop is not None:
        x0, y0, x1, y1 = imaging.pixel_box(ref.crop, full)
        full = max(1, x1 - x0), max(1, y1 - y0)
    return imaging.prepared_size(full, SIDE[Size.LARGE][0])
