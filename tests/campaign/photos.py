"""Photos that are damaged, in every format that is read: a photo, or one line; never a crash, a hang or another exception."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import signal
from pathlib import Path

from conftest import draw_animal
from PIL import Image
from world import Runs

from reid.errors import PhotoError
from reid.formats import xmp
from reid.imaging import decode, exif, facts

SUFFIXES = {"JPEG": ".jpg", "MPO": ".mpo", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "HEIF": ".heic", "AVIF": ".avif",
            "GIF": ".gif", "BMP": ".bmp", "PPM": ".ppm"}  # fmt: skip
MEMORY, SECONDS, BATCH = 2 << 30, 10, 100


def photos(folder: Path, rng: random.Random, runs: int) -> Runs:
    """Mutated photos in batches, each in a process of its own that may take so much more memory, and so long for a photo."""
    good = drawn(folder)
    digests = {name: hashlib.sha256(decode(path).pixels).hexdigest() for name, path in good.items()}
    contents = {name: path.read_bytes() for name, path in good.items()}
    for start in range(0, runs, BATCH):
        jobs = []
        for number in range(start, min(start + BATCH, runs)):
            name = list(good)[number % len(good)]
            path = folder / f"mutated{number % BATCH}{SUFFIXES[name]}"
            how, data = mutated(contents, name, rng)
            path.write_bytes(data)
            jobs.append((name, how, path))
        while jobs:
            said, status = in_a_process(jobs, good, digests)
            for (name, how, path), outcome in zip(jobs, said):
                wrong = [] if outcome in ("read", "one line") else [f"{name}, {how}: {outcome} ({kept(path)})"]
                yield f"{name}: {outcome if not wrong else 'wrong'}", wrong
            jobs = jobs[len(said) :]
            if status and jobs:
                (name, how, path), *jobs = jobs
                yield f"{name}: wrong", [f"{name}, {how}: the process ends with {status} ({kept(path)})"]
            elif status:
                yield "good photos: wrong", ["good photos come out otherwise beside damaged ones"]


def drawn(folder: Path) -> dict[str, Path]:
    """A good photo in each format that is read here, with EXIF where it has any."""
    pixels = Image.fromarray(draw_animal(1, 0, (157, 119)))
    about = Image.Exif()
    about[0x0112], about[0x010F], about[0x9003] = 6, "camera", "2021:11:28 10:15:00"
    good = {}
    for name, suffix in SUFFIXES.items():
        path = folder / f"good{suffix}"
        more = {"save_all": True, "append_images": [pixels.rotate(9)]} if name in ("MPO", "GIF") else {}
        more |= {"exif": about} if name in ("JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF") else {}
        try:
            pixels.save(path, name, **more)
        except KeyError:
            continue  # an optional wheel is missing
        facts(path)  # from the first on, HEIF is known to Pillow where its wheel is here
        good[name] = path
    return good


def mutated(contents: dict[str, bytes], name: str, rng: random.Random) -> tuple[str, bytes]:
    data = bytearray(contents[name])
    how = rng.choice(("bits", "header", "cut", "zeros", "spliced", "doubled", "words"))
    if how in ("bits", "header"):
        for _ in range(rng.choice((1, 2, 8, 64))):
            place = rng.randrange(len(data) if how == "bits" else min(len(data), 300))
            data[place] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del data[rng.randrange(len(data)) :]
    elif how == "zeros":
        place = rng.randrange(len(data))
        data[place : place + 512] = bytes(len(data[place : place + 512]))
    elif how == "spliced":  # the header of one, what lies behind that of another
        other = contents[rng.choice(list(contents))]
        place = rng.randrange(min(len(data), 400))
        data[place:] = other[rng.randrange(len(other)) :]
    elif how == "doubled":
        start, to = rng.randrange(len(data)), rng.randrange(len(data))
        data[to:to] = data[start : start + rng.randrange(1, 2000)]
    else:  # the numbers that overflow
        for _ in range(rng.choice((1, 4))):
            place = rng.randrange(max(1, min(len(data), 300) - 4))
            data[place : place + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\x00\x01\x00\x00"))
    return how, bytes(data)


def in_a_process(jobs: list[tuple[str, str, Path]], good: dict[str, Path], digests: dict[str, str]) -> tuple[list[str], int]:
    """What became of each photo, as far as the process lived, and its exit status."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for _, _, path in jobs:
            signal.alarm(SECONDS)
            os.write(writing, f"{outcome_of(path)}\n".encode())
        signal.alarm(6 * SECONDS)
        os._exit(0 if all(hashlib.sha256(decode(path).pixels).hexdigest() == digests[name] for name, path in good.items()) else 1)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read().splitlines()
    return said, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def outcome_of(path: Path) -> str:
    try:
        exif.read(path)
        xmp.keywords(path)
        size = facts(path).size
        found = decode(path)
        if found.size != size or found.pixels.ndim != 3 or found.pixels.shape[2] != 3 or 0 in found.pixels.shape:
            return f"slips through as {found.pixels.shape} of {size}"
        return "read"
    except PhotoError as error:
        return "one line" if "\n" not in str(error) and str(path) in str(error) else f"says {str(error)!r}"
    except BaseException as error:
        return f"raises {' '.join(repr(error).split())}"


def kept(path: Path) -> Path:
    """Beside the temporary folder, to look at."""
    data = path.read_bytes()
    place = Path(os.environ.get("TMPDIR", "/tmp")) / f"campaign-{hashlib.sha256(data).hexdigest()[:12]}{path.suffix}"
    place.write_bytes(data)
    return place
