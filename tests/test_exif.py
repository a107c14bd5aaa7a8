"""What a photo's header says: as cameras write it, and as nobody should."""

import struct
from datetime import datetime

import numpy as np
import pytest
from conftest import save
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from reid.imaging import exif, facts
from reid.imaging.exif import Exif


def header(**fields):
    """EXIF as Pillow writes it."""
    data = Image.Exif()
    data[0x010F], data[0x0110] = fields.get("make", "Olympus\0 "), fields.get("model", "TG-6")
    data[0x0112] = fields.get("orientation", 1)
    own = data.get_ifd(0x8769)
    for tag, name in ((0x9003, "taken"), (0x9291, "part"), (0x9011, "offset"), (0xA431, "serial")):
        if name in fields:
            own[tag] = fields[name]
    if "gps" in fields:
        data.get_ifd(0x8825).update(fields["gps"])
    return data


def photo(path, data):
    return save(path, np.zeros((40, 60, 3), np.uint8), exif=data)


def degrees(*parts):
    return tuple(IFDRational(round(part * 1000), 1000) for part in parts)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_what_a_camera_writes(tmp_path, suffix):
    gps = {1: "S", 2: degrees(12, 30, 36), 3: "W", 4: degrees(68, 15, 0)}
    data = header(taken="2019:06:20 10:11:12", part="25", offset="+02:00", serial="BJ12", orientation=6, gps=gps)
    path = photo(tmp_path / f"a.{suffix}", data)
    found = exif.read(path)
    assert found.taken.replace(tzinfo=None) == datetime(2019, 6, 20, 10, 11, 12, 250000)
    assert found.taken.utcoffset().total_seconds() == 7200
    assert found.position == pytest.approx((-12.51, -68.25))
    assert (found.make, found.model, found.serial, found.orientation) == ("Olympus", "TG-6", "BJ12", 6)
    assert facts(path).taken == found.taken
    assert facts(path).size == (40, 60)


def test_a_tiff_is_its_own_header(tmp_path):
    path = photo(tmp_path / "a.tiff", header(orientation=8))
    assert (exif.read(path).model, exif.read(path).orientation, facts(path).size) == ("TG-6", 8, (40, 60))
    path.write_bytes(header(taken="2019:06:20 10:11:12").tobytes().removeprefix(b"Exif\0\0"))  # as in a JPEG, with no pixels
    assert exif.read(path).taken == datetime(2019, 6, 20, 10, 11, 12)


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ("2019:06:20 10:11:12", datetime(2019, 6, 20, 10, 11, 12)), ("2019-06-20T10:11:12", datetime(2019, 6, 20, 10, 11, 12)),
        ("2019/06/20 10:11", datetime(2019, 6, 20, 10, 11)), ("0000:00:00 00:00:00", None), ("    :  :     :  :  ", None),
        ("yesterday", None), ("2019:13:45 10:00:00", None), ("2019:06:20 25:00:00", None), ("0001:01:01 00:00:00", None), ("", None),
    ],
)  # fmt: skip
def test_times_that_are_none(tmp_path, taken, said):
    assert exif.read(photo(tmp_path / "a.jpg", header(taken=taken))).taken == said


def test_offsets_and_sub_seconds_that_are_none(tmp_path):
    found = exif.read(photo(tmp_path / "a.jpg", header(taken="2019:06:20 10:11:12", part="ab", offset="   :  ")))
    assert found.taken == datetime(2019, 6, 20, 10, 11, 12)


@pytest.mark.parametrize(
    "gps",
    [
        {}, {1: "N", 2: degrees(12, 30, 36)}, {1: "N", 2: degrees(91, 0, 0), 3: "E", 4: degrees(1, 0, 0)},
        {1: "N", 2: (IFDRational(1, 0),) * 3, 3: "E", 4: degrees(1, 0, 0)},
    ],
)  # fmt: skip
def test_positions_that_are_none(tmp_path, gps):
    assert exif.read(photo(tmp_path / "a.jpg", header(gps=gps))).position is None


def test_no_header_and_no_photo(tmp_path):
    save(tmp_path / "a.jpg", np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    for name in ("a.jpg", "text.jpg", "empty.jpg", "folder.jpg", "gone.jpg"):
        assert exif.read(tmp_path / name) == Exif()


def test_whatever_a_header_holds_nothing_raises(tmp_path):
    """Every byte of a real header replaced, in turn, by extreme ones; and the header cut off everywhere."""
    whole = photo(tmp_path / "a.jpg", header(taken="2019:06:20 10:11:12", part="25", gps={1: "N", 2: degrees(1, 2, 3)})).read_bytes()
    start, end = whole.index(b"Exif\0\0"), whole.index(b"\xff\xdb")
    path = tmp_path / "b.jpg"
    for place in range(start, end):
        for byte in (0, 0xFF):
            path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            assert isinstance(exif.read(path), Exif)
        path.write_bytes(whole[:place])
        assert isinstance(exif.read(path), Exif)


def test_directories_that_never_end_are_not_followed(tmp_path):
    """60,000 entries that all point at each other: read in no time, and in no memory to speak of."""
    entries = b"".join(struct.pack("<HHII", tag, 7, 60000, 8) for tag in range(5000))
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 65535) + struct.pack("<HHII", 0x8769, 4, 1, 8) + entries
    segment = b"Exif\0\0" + tiff[:65000]
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + b"\xff\xd9")
    assert exif.read(path) == Exif()
