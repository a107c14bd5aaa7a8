"""JPEGs that are not whole: used as far as they decode, and said; where much is missing, named.

libjpeg warns where the pixels' bits end too early or too late, and Pillow keeps that to itself. Here the bits are handed over in steps:
a whole photo is complete with its last byte, not before it and not without more bits behind it. So what libjpeg would warn of is found,
without decoding twice. Runs of zeros, which a failing disk leaves, are looked for too: they may decode without a warning.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import PhotoError

TRUNCATED = "the JPEG lacks its end and is used as far as it goes"
DAMAGED = "the JPEG is damaged inside and is used as it decodes"
MOST_LOST = 0.1  # share of a photo's rows that may be missing
MOST_COARSE = 0.5  # share of a progressive photo's rows that may lack the last bit
END = b"\xff\xd9"
MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")  # in the pixels' bits: anything but a stuffed byte or a restart
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
ZEROS, ZEROS_OF_A_SCAN = bytes(16), bytes(32)  # in sequential and in progressive photos
LOOKAHEAD = 8  # bytes that libjpeg may want behind the last bit
STRIP = 8  # px: columns watched to see how far a photo has been decoded


class Scan(NamedTuple):
    """A part of the pixels' bits: which components and coefficients, and where they stand."""

    components: tuple[int, ...]
    tables: tuple[int, ...]  # of its AC coefficients
    first: int  # coefficient
    last: int
    low: int  # bits that later scans bring
    start: int
    stop: int


@dataclass
class Layout:
    """What stands where in a file."""

    process: int = 0  # the marker of its frame
    height: int = 0
    block: int = 8  # px: rows that are decoded together
    n_components: int = 0
    zero_symbols: dict[int, int] | None = None  # what a run of zero bits means, by AC table
    scans: tuple[Scan, ...] = ()
    has_end: bool = False


def open_bits(image: Image.Image, path: Path) -> Bits | None:
    """Let Pillow read the pixels of an opened JPEG through `Bits`; None for a file that is laid out in a way not known here."""
    data = path.read_bytes()
    try:
        layout = _layout(data)
    except (IndexError, ValueError):
        return None
    if not layout.scans or layout.process not in (*SEQUENTIAL, *PROGRESSIVE):
        return None
    bits = Bits(image, path, data, layout)
    image.load_read = bits.read  # type: ignore[attr-defined]  # Pillow's own hook
    return bits


def may_lack_end(path: Path) -> bool:
    """Whether a photo is a JPEG in whose bytes no end was found; nothing is decoded. Raises OSError."""
    with path.open("rb") as file:
        if file.read(3) != b"\xff\xd8\xff":
            return False
        data = b"\xff\xd8\xff" + file.read()
    try:
        return not _layout(data).has_end
    except (IndexError, ValueError):
        return True


class Bits:
    """A file's bytes in steps, and what was seen on the way."""

    def __init__(self, image: Image.Image, path: Path, data: bytes, layout: Layout):
        self.image, self.path, self.layout = image, path, layout
        self.n_read = 0
        self._strip: Image.Image | None = None
        self._strange = False
        self.is_single = layout.process in SEQUENTIAL and len(layout.scans) == 1
        if self.is_single:
            data = self._without_markers(data)
        self._steps = self._plan(data)

    def read(self, _: int) -> bytes:
        if self.n_read == 1 and self._strip is not None:
            self._check_rows()
        step = self._steps[self.n_read] if self.n_read < len(self._steps) else b""
        self.n_read += 1
        return step

    def flaws(self) -> tuple[str, ...]:
        """After all has been read."""
        if not self.layout.has_end:
            return (TRUNCATED,)
        too_early_or_late = self.is_single and self.n_read != 2
        return (DAMAGED,) if too_early_or_late or self._strange else ()

    def _plan(self, data: bytes) -> list[bytes]:
        layout, scan = self.layout, self.layout.scans[-1]
        self._strange = self._strange or self._has_zeros(data)
        if not layout.has_end:
            if self.is_single:
                self._watch()
                return [data, END]
            if not _begins_all(layout) or _lost_of_last(data, scan) > MOST_COARSE:
                raise PhotoError(f"{self.path} is damaged (its end is missing, and with it much of the whole photo)")
            return [data + END]
        if not self.is_single:
            return [data]
        last = scan.stop - (2 if data[scan.stop - 2 : scan.stop] == b"\xff\0" else 1)
        # bits that decode to as little as can be: zeros, unless those are the shortest way to write a flat patch
        more = b"\xff\0" if self._zeros_are_flat(scan) else b"\0"
        return [data[:last], data[last : scan.stop] + LOOKAHEAD * more, END]

    def _without_markers(self, data: bytes) -> bytes:
        """Markers that damage has made within the bits would end the photo."""
        scan = self.layout.scans[0]
        bits = np.frombuffer(data, np.uint8)[scan.start : scan.stop]
        behind = bits[1:][bits[:-1] == 0xFF]  # what stands behind each marker's first byte: 0 where it is none
        behind = behind[(behind != 0) & (behind != 0xFF)]
        is_restart = (behind & 0xF8) == 0xD0
        numbers = behind[is_restart] & 7
        self._strange = not is_restart.all() or bool((numbers != np.arange(len(numbers)) % 8).any())
        if is_restart.all():
            return data
        cleaned = MARKER.sub(lambda match: bytes(len(match[0])), data[scan.start : scan.stop])
        return data[: scan.start] + cleaned + data[scan.stop :]

    def _zeros_are_flat(self, scan: Scan) -> bool:
        symbols = self.layout.zero_symbols or {}
        return all(symbols.get(table, 0) == 0 for table in scan.tables)

    def _has_zeros(self, data: bytes) -> bool:
        """Runs of zeros where no encoder writes them."""
        if self.is_single:
            scan = self.layout.scans[0]
            return not self._zeros_are_flat(scan) and data.find(ZEROS, scan.start, scan.stop) >= 0
        of_coefficients = (scan for scan in self.layout.scans if scan.first > 0)
        return any(data.find(ZEROS_OF_A_SCAN, scan.start, scan.stop) >= 0 for scan in of_coefficients)

    def _watch(self) -> None:
        """Noise down the left edge: rows that are decoded overwrite it."""
        width, height = min(STRIP, self.image.size[0]), self.image.size[1]
        n = width * height * len(self.image.getbands())
        noise = np.random.default_rng(0).integers(0, 256, n, np.uint8).tobytes()
        self._strip = Image.frombytes(self.image.mode, (width, height), noise)
        self._canvas = Image.new(self.image.mode, self.image.size)
        self._canvas.paste(self._strip, (0, 0))
        self.image.im = self._canvas.im

    def _check_rows(self) -> None:
        """Raises PhotoError where too many rows are missing."""
        assert self._strip is not None
        now = np.asarray(self._canvas.crop((0, 0, *self._strip.size)))
        height = self._strip.size[1]
        changed = (now != np.asarray(self._strip)).reshape(height, -1).any(axis=1)
        n_rows = int(np.flatnonzero(changed)[-1]) + 1 if changed.any() else 0
        block = max(1, round(self.layout.block * height / self.layout.height))
        n_begun = (-(-n_rows // block) + 1) * block  # the row of blocks where the bits end is there in part
        lost = (height - n_begun) / height
        if lost > MOST_LOST:
            raise PhotoError(f"{self.path} is damaged (its end is missing, at least {100 * lost:.0f} % of the photo)")


def _begins_all(layout: Layout) -> bool:
    """Whether every coefficient of every component has its last bit in some scan that has begun."""
    last_bits = {
        (component, coefficient)
        for scan in layout.scans
        if scan.low == 0
        for component in scan.components
        for coefficient in range(scan.first, scan.last + 1)
    }
    return len(last_bits) == 64 * layout.n_components


def _lost_of_last(data: bytes, scan: Scan) -> float:
    """The share of rows that the last scan, which has begun, no longer reaches: compared with the photo when it begins."""
    before, after = (_light(bits + END) for bits in (data[: scan.start], data[: scan.stop]))
    inside = np.arange(before.shape[1] - 1) % 8 != 7  # between pixels of one block, so that a step between blocks is no detail
    has_detail = np.flatnonzero((np.diff(before, axis=1)[:, inside] != 0).any(axis=1))
    reached = np.flatnonzero((before != after).any(axis=1))
    if not len(has_detail):
        return 0.0
    return float(has_detail[-1] - (reached[-1] if len(reached) else -1) - 8) / len(before)


def _light(data: bytes) -> NDArray[np.int16]:
    with Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as image:
        image.draft("L", image.size)
        return np.asarray(image.convert("L"), np.int16)


def _layout(data: bytes) -> Layout:
    """Raises IndexError or ValueError for what is no JPEG, or ends before its first scan."""
    found = Layout(zero_symbols={})
    scans: list[Scan] = []
    place = 2
    while place < len(data):
        if data[place] != 0xFF:
            raise ValueError("no marker")
        while data[place] == 0xFF:
            place += 1
        marker, place = data[place], place + 1
        if marker == 0xD9:
            found.has_end = True
            break
        length = int.from_bytes(data[place : place + 2])
        segment = data[place + 2 : place + length]
        if marker == 0xC4:
            _read_tables(segment, found)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC8, 0xCC):
            found.process, found.height, found.n_components = marker, int.from_bytes(segment[1:3]), segment[5]
            found.block = 8 * max(segment[7 + 3 * n] & 15 for n in range(segment[5]))
        place += length
        if marker == 0xDA:
            is_single = found.process in SEQUENTIAL and segment[0] == found.n_components
            stop = _end_of_bits(data, place, is_single)
            scans.append(_scan(segment, place, stop))
            place = stop
    if not scans or not found.height:
        raise ValueError("no pixels")
    found.scans = tuple(scans)
    return found


def _end_of_bits(data: bytes, start: int, is_single: bool) -> int:
    """Of the only scan: the end of the photo, since other markers can only be damage."""
    if is_single:
        stop = data.find(END, start)
    else:
        match = MARKER.search(data, start)
        stop = match.start() if match else -1
    return len(data) if stop < 0 else stop


def _scan(segment: bytes, start: int, stop: int) -> Scan:
    n = segment[0]
    components = tuple(segment[1 + 2 * number] for number in range(n))
    tables = tuple(segment[2 + 2 * number] & 15 for number in range(n))
    first, last, bits = segment[1 + 2 * n : 4 + 2 * n]
    return Scan(components, tables, first, last, bits & 15, start, stop)


def _read_tables(segment: bytes, layout: Layout) -> None:
    """What the shortest code, all zeros, stands for in each AC table; 0 is the end of a block."""
    place = 0
    while place < len(segment):
        kind, n_codes = segment[place], sum(segment[place + 1 : place + 17])
        if kind >> 4 and n_codes and layout.zero_symbols is not None:
            layout.zero_symbols[kind & 15] = segment[place + 17]
        place += 17 + n_codes
