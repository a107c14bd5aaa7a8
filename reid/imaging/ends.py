"""Whether the end of a file may be missing, as of a copy that broke off: by what its format says of its length, without decoding."""

from __future__ import annotations

from pathlib import Path

from . import jpeg

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def may_lack_end(path: Path) -> bool:
    """Of a TIFF, which says it in any place, this is not known. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(12)
    if head.startswith(b"\xff\xd8\xff"):
        return jpeg.may_lack_end(path)
    if head.startswith(b"\x89PNG"):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(PNG_END)))
            return file.read() != PNG_END
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little") > path.stat().st_size
    return head[4:8] == b"ftyp" and _lacks_a_box(path)


def _lacks_a_box(path: Path) -> bool:
    """HEIC and AVIF are boxes (ISO/IEC 14496-12, 4.2), each of which begins with its length: 0 up to the end, 1 in the next eight bytes."""
    place, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while place < end:
            file.seek(place)
            header = file.read(16)
            length = int.from_bytes(header[:4])
            if length == 0:
                return True  # who can say
            place += max(int.from_bytes(header[8:16]) if length == 1 else length, 8)
    return place > end
