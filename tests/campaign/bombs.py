"""Small files that would unpack to much: refused, or read for what they are, within 100 MB and ten seconds."""

from __future__ import annotations

import io
import os
import random
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from world import Runs

from reid.errors import PhotoError
from reid.formats import xmp
from reid.imaging import decode, exif, facts

MEMORY, SECONDS = 100 << 20, 10.0  # bytes beyond what the process had, seconds of a processor


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, rows: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows or bytes(height * (1 + 3 * width) if width * height < 10**6 else 1 << 20)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def jpeg(width: int, height: int, exif_block: bytes = b"") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (16, 16)).save(data, "JPEG", **({"exif": exif_block} if exif_block else {}))
    whole = bytearray(data.getvalue())
    frame = whole.index(b"\xff\xc0")
    whole[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(whole)


def tiff(*entries: tuple[int, int, int, int], next_at: int = 0) -> bytes:
    body = b"".join(struct.pack("<HHII", *one) for one in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", next_at) + bytes(64)


def tiff_of(width: int, height: int) -> bytes:
    return tiff((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1),
                (278, 4, 1, height), (279, 4, 1, 64))  # fmt: skip


def animation() -> bytes:
    """10,000 frames: the same one, again and again."""
    data = io.BytesIO()
    Image.new("P", (300, 300)).save(data, "GIF")
    whole = data.getvalue()
    start = 13 + (3 << (whole[10] & 7) + 1) * (whole[10] >> 7)  # behind its palette
    return whole[:start] + whole[start:-1] * 10_000 + b";"


def loops() -> bytes:
    """EXIF of 60 kB whose directories name themselves and one another."""
    n = 4_900
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in [0x8769, 0x8825, 0xA005, 0x014A] * (n // 4))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, n) + entries + struct.pack("<I", 8)


def grid(width: int, height: int) -> bytes:
    """A HEIC whose header says that it is of so many pixels."""
    data = io.BytesIO()
    Image.new("RGB", (64, 64)).save(data, "HEIF")
    return data.getvalue().replace(b"ispe" + bytes(4) + struct.pack(">II", 64, 64), b"ispe" + bytes(4) + struct.pack(">II", width, height))


BOMBS: dict[str, tuple[Callable[[], bytes], bool]] = {  # what is in it, and whether its photo is one that can be read
    "PNG of 50,000 px square.png": (lambda: png(50_000, 50_000), False),
    "PNG of 2^31 - 1 px square.png": (lambda: png(2**31 - 1, 2**31 - 1), False),
    "PNG that lacks its pixels.png": (lambda: png(17_000, 17_000), False),
    "JPEG of 65,500 px square.jpg": (lambda: jpeg(65_500, 65_500), False),
    "TIFF of 2^31 px square.tif": (lambda: tiff_of(2**31, 2**31), False),
    "TIFF of 2^31 px wide.tif": (lambda: tiff_of(2**31, 1), False),
    "TIFF whose directory follows itself.tif": (lambda: tiff((256, 4, 1, 9), next_at=8), False),
    "TIFF of 65,535 entries of 4 GB.tif": (lambda: b"II*\0" + struct.pack("<IH", 8, 65535)
                                           + b"".join(struct.pack("<HHII", 700 + n % 60000, 7, 2**32 - 1, 8) for n in range(65535)), False),
    "GIF of 10,000 frames.gif": (animation, True),
    "GIF of 65,535 px square.gif": (lambda: b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";", False),
    "BMP of 2^30 px square.bmp": (lambda: b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**30, 2**30, 1, 24, *[0] * 6), False),
    "PPM of 10^9 px wide.ppm": (lambda: b"P6 1000000000 1000000000 255\n", False),
    "zTXt of 1 GB.png": (lambda: png(40, 40, chunk(b"zTXt", b"Comment\0\0" + packed(1 << 30))), False),
    "64 iTXt of 1 MB.png": (lambda: png(40, 40, *[chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed(1 << 20))] * 65), False),
    "iCCP of 1 GB.png": (lambda: png(40, 40, chunk(b"iCCP", b"x\0\0" + packed(1 << 30))), True),
    "eXIf that leads back.png": (lambda: png(40, 40, chunk(b"eXIf", loops()[6:])), True),
    "EXIF that leads back.jpg": (lambda: jpeg(16, 16, loops()), True),
    "HEIC of 65,000 px square.heic": (lambda: grid(65_000, 65_000), False),
    "AVIF of 2^31 px.avif": (lambda: grid(2**31 - 1, 2**31 - 1).replace(b"ftypheic", b"ftypavif"), False),
    "EPS.jpg": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n{} loop\n", False),
    "FITS.png": (lambda: b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800), False),
    "PSD.tif": (lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 300_000, 300_000, 8, 3) + bytes(12), False),
}  # fmt: skip


def packed(n: int) -> bytes:
    """`n` zeros, compressed."""
    press = zlib.compressobj(9)
    return b"".join(press.compress(bytes(1 << 20)) for _ in range(n >> 20)) + press.flush()


def bombs(folder: Path, rng: random.Random, runs: int) -> Runs:
    """Every one of them, in a process of its own."""
    facts(saved(folder / "first.jpg", jpeg(16, 16)))  # HEIF is known to Pillow from here on
    for name, (made, sound) in BOMBS.items():
        try:
            path = saved(folder / name, made())
        except KeyError:
            yield f"{name}: not drawn, a wheel is missing", []
            continue
        said, seconds, grown = looked_at(path)
        wrong = []
        if not ((said == "read" and sound) or said.startswith("refused")):
            wrong.append(f"{name}: {said}")
        if seconds > SECONDS or grown > MEMORY:
            wrong.append(f"{name}: {seconds:.1f} s, {grown >> 20} MB")
        yield f"{name}: {said.partition(':')[0]}", wrong


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def looked_at(path: Path) -> tuple[str, float, int]:
    """What a process of its own says of a photo, its seconds of a processor, and by how many bytes it grew."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        before = peak()
        try:
            exif.read(path), xmp.keywords(path), facts(path), decode(path)
            said = "read"
        except PhotoError as error:
            said = f"refused: {error}"
        except BaseException as error:
            said = f"raises {error!r}"
        os.write(writing, f"{peak() - before} {said}".encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        grown, _, said = pipe.read().partition(" ")
    _, status, usage = os.wait4(child, 0)
    return said or f"the process ends with {os.waitstatus_to_exitcode(status)}", usage.ru_utime + usage.ru_stime, int(grown or 0)


def peak() -> int:
    return 1024 * int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
