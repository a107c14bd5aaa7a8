"""EXIF: when, where and by which camera a photo was taken, and how it is to be turned (CIPA DC-008). From the header alone.

Headers are not to be trusted: whatever is broken, too long or out of range is None, nothing raises, and little is read.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO

from PIL import Image

FORMATS = ("PNG", "WEBP", "HEIF", "AVIF")  # whose EXIF Pillow finds; JPEG and TIFF are read here
MOST_ENTRIES = 512  # of a directory
MOST_BYTES = 1024  # of a value
MOST_HEADER = 1 << 20  # bytes of a JPEG before its pixels
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8}  # bytes of a value by its type
MAKE, MODEL, ORIENTATION, EXIF, GPS = 0x010F, 0x0110, 0x0112, 0x8769, 0x8825
TAKEN, OFFSET, PART, SERIAL = 0x9003, 0x9011, 0x9291, 0xA431
NORTH, LATITUDE, EAST, LONGITUDE = 1, 2, 3, 4
DATE = re.compile(r"(\d{4})[-:/.](\d\d)[-:/.](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?")
Values = dict[int, tuple[int, bytes]]  # type and bytes by tag


@dataclass(frozen=True)
class Exif:
    """What a header says; None where it says nothing that can be believed."""

    taken: datetime | None = None  # DateTimeOriginal with sub-seconds; with an offset only where the camera wrote one
    orientation: int = 1  # 1..8
    position: tuple[float, float] | None = None  # degrees north and east (WGS84)
    make: str | None = None
    model: str | None = None
    serial: str | None = None  # of the camera's body


def read(path: Path) -> Exif:
    """What the header of a photo says. Never raises: of a file that is no photo, or is gone, nothing is known."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            file.seek(0)
            if start[:2] == b"\xff\xd8":
                data = _in_jpeg(file)
            elif start in (b"II*\0", b"MM\0*"):
                return _parsed(file)
            else:
                data = _by_pillow(file)
        return _parsed(io.BytesIO(data)) if data else Exif()
    except Exception:  # any, since the file may hold anything
        return Exif()


def _in_jpeg(file: BinaryIO) -> bytes:
    """The first EXIF segment before the pixels."""
    file.seek(2)
    while file.tell() < MOST_HEADER:
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            return b""
        length = int.from_bytes(head[2:], "big") - 2
        if head[1] == 0xE1 and length > 6:
            data = file.read(length)
            if data.startswith(b"Exif\0"):
                return data[6:]
        else:
            file.seek(max(0, length), io.SEEK_CUR)
    return b""


def _by_pillow(file: BinaryIO) -> bytes:
    Image.init()
    with Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
        data = image.info.get("exif")
    return data.removeprefix(b"Exif\0\0") if isinstance(data, bytes) else b""


def _parsed(file: BinaryIO) -> Exif:
    """A TIFF's directories."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(file.read(4))
    if order is None:
        return Exif()
    (first,) = struct.unpack(f"{order}I", file.read(4))
    main = _directory(file, order, first, (MAKE, MODEL, ORIENTATION, EXIF, GPS))
    inner = [
        _directory(file, order, place, wanted) if (place := _number(main, tag, order)) else {}
        for tag, wanted in ((EXIF, (TAKEN, OFFSET, PART, SERIAL)), (GPS, (NORTH, LATITUDE, EAST, LONGITUDE)))
    ]
    exif, gps = inner
    orientation = _number(main, ORIENTATION, order)
    return Exif(
        taken=_taken(_text(exif, TAKEN), _text(exif, PART), _text(exif, OFFSET)),
        orientation=orientation if orientation is not None and 1 <= orientation <= 8 else 1,
        position=_position(gps, order),
        make=_text(main, MAKE),
        model=_text(main, MODEL),
        serial=_text(exif, SERIAL),
    )


def _directory(file: BinaryIO, order: str, place: int, wanted: tuple[int, ...]) -> Values:
    """The wanted entries of the directory at `place`, those that can be read."""
    found: Values = {}
    for tag, kind, count, inline in _entries(file, order, place):
        size = SIZES.get(kind, 0) * count
        if tag not in wanted or not 0 < size <= MOST_BYTES:
            continue
        if size > 4:
            file.seek(struct.unpack(f"{order}I", inline)[0])
            inline = file.read(size)
        if len(inline) >= size:
            found[tag] = kind, inline[:size]
    return found


def _entries(file: BinaryIO, order: str, place: int) -> Iterator[tuple[int, int, int, bytes]]:
    file.seek(place)
    head = file.read(2)
    if len(head) < 2:
        return
    data = file.read(12 * min(struct.unpack(f"{order}H", head)[0], MOST_ENTRIES))
    for start in range(0, len(data) - 11, 12):
        yield *struct.unpack(f"{order}HHI", data[start : start + 8]), data[start + 8 : start + 12]


def _number(values: Values, tag: int, order: str) -> int | None:
    kind, data = values.get(tag, (0, b""))
    form = {3: "H", 4: "I"}.get(kind)
    if form is None or len(data) < struct.calcsize(form):
        return None
    (number,) = struct.unpack(order + form, data[: struct.calcsize(form)])
    return int(number)


def _text(values: Values, tag: int) -> str | None:
    kind, data = values.get(tag, (0, b""))
    if kind not in (1, 2, 7):
        return None
    text = data.partition(b"\0")[0].decode("utf-8", "replace")
    return "".join(letter for letter in text if letter.isprintable()).strip() or None


def _taken(text: str | None, part: str | None, offset: str | None) -> datetime | None:
    match = DATE.match(text or "")
    if match is None:
        return None
    numbers = [int(number or 0) for number in match.groups()]
    try:
        taken = datetime(*numbers, microsecond=int(part[:6].ljust(6, "0")) if part and part.isdecimal() else 0)  # type: ignore[arg-type,misc]
    except ValueError:  # 0000:00:00, or no day of a calendar
        return None
    if taken.year < 1826:
        return None
    zone = re.fullmatch(r"([+-])(\d\d):?(\d\d)", offset or "")
    if zone and int(zone[2]) < 24 and int(zone[3]) < 60:
        taken = taken.replace(tzinfo=timezone((-1 if zone[1] == "-" else 1) * timedelta(hours=int(zone[2]), minutes=int(zone[3]))))
    return taken


def _position(gps: Values, order: str) -> tuple[float, float] | None:
    latitude, longitude = (_degrees(gps, tag, order) for tag in (LATITUDE, LONGITUDE))
    if latitude is None or longitude is None or latitude > 90 or longitude > 180:
        return None
    south, west = _text(gps, NORTH) == "S", _text(gps, EAST) == "W"
    return (-latitude if south else latitude), (-longitude if west else longitude)


def _degrees(gps: Values, tag: int, order: str) -> float | None:
    """Degrees, minutes and seconds, each a fraction."""
    kind, data = gps.get(tag, (0, b""))
    if kind != 5 or len(data) != 24:
        return None
    numbers = struct.unpack(f"{order}6I", data)
    if not all(numbers[1::2]):
        return None
    degrees, minutes, seconds = (above / below for above, below in zip(numbers[::2], numbers[1::2]))
    total = degrees + minutes / 60 + seconds / 3600
    return total if math.isfinite(total) else None
