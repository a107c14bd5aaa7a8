"""How fast is a shortlist, in galleries of any size, and the whole command?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from .. import imaging, stages
from ..errors import GalleryError
from ..records import Features
from ..retrieval import Shortlist
from ..session import Session
from ..stages import Listener
from . import timing
from .timing import Row, alternate, some, usable

SIZES = (1_000, 10_000, 100_000)  # photos of the galleries in which the shortlist is timed
ADDED = 1_000  # photos that join each of them


def shortlist(opened: Session) -> Iterator[Row]:
    """How often the right animal is among the first tenth, and what a query takes in galleries drawn from this one with noise."""
    items = usable(opened, 1, of_all=True)
    tenth = max(1, len(items) // 10)
    with (
        tempfile.TemporaryDirectory() as folder,
        opened.with_settings(opened.settings.replace(shortlist=tenth, fuse="none")) as own,
    ):
        stages.update_index(items, own.work.first)
        recall = stages.recall(items, tenth, own.work)
        if recall.n_queries:
            yield Row(f"right animal within a tenth of {len(items)} references, {recall.n_queries} queries", "%", 100 * recall.share)
        features = [own.work.first.load(item) for item in items]
        for n in SIZES:
            yield from _votes(features, n, Path(folder), own.work.listener)


def _votes(features: Sequence[Features], n: int, folder: Path, listener: Listener) -> Iterator[Row]:
    """The index of `n` photos: laid out, filled, stored, opened and asked."""
    digests = [f"{number:064x}" for number in range(n)]
    large = Shortlist(folder, str(n))
    started = time.perf_counter()
    drawn = 0.0

    def draw(digest: str) -> Features:
        nonlocal drawn
        before = time.perf_counter()
        number = int(digest, 16)
        found = _noisy(features[number % len(features)], np.random.default_rng(number))
        drawn += time.perf_counter() - before
        return found

    large.update(digests, draw, partial(listener.progress, f"photos of {n:,}"))
    yield Row(f"{n:,} references: index laid out and filled", "ms a photo", (time.perf_counter() - started - drawn) / n * 1e3)
    yield Row(
        f"{n:,} references: files", "KiB a photo", sum(file.stat().st_size for file in large.root.rglob("*") if file.is_file()) / n / 1024
    )
    large = Shortlist(folder, str(n))
    seconds, _ = alternate(lambda: large.votes(features[0], digests), None, listener, "rounds")
    yield Row(f"{n:,} references: votes", "ms a query", seconds * 1e3)
    seconds, _ = alternate(lambda: Shortlist(folder, str(n)).votes(features[0], digests), None, listener, "rounds")
    yield Row(f"{n:,} references: the index opened, and votes", "ms a query", seconds * 1e3)
    held = subprocess.run([sys.executable, "-c", MEMORY, str(folder), str(n), str(features[0].descriptors.shape[1])], capture_output=True)
    if held.returncode == 0:  # where the system tells
        yield Row(f"{n:,} references: memory for it", "MiB", float(held.stdout))
    started, drawn = time.perf_counter(), 0.0
    large.update([f"{number:064x}" for number in range(n + ADDED)], draw, partial(listener.progress, "photos added"))
    yield Row(f"{n:,} references: {ADDED:,} photos added", "s", time.perf_counter() - started - drawn)


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from reid.records import Features
from reid.retrieval import Shortlist

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024

rows = np.random.default_rng(0).normal(size=(512, int(sys.argv[3])))
query = Features("drawn", (100, 100), np.zeros((512, 2)), np.zeros(512), rows / np.linalg.norm(rows, axis=1, keepdims=True))
before = resident()
index = Shortlist(Path(sys.argv[1]), sys.argv[2])
for _ in range(10):
    index.votes(query, [f"{number:064x}" for number in range(int(sys.argv[2]))])
print(resident() - before)
"""


def _noisy(features: Features, rng: np.random.Generator) -> Features:
    """As another photo would have them: the same keypoints, descriptors turned by about 25 degrees."""
    descriptors = features.descriptors.astype(np.float32)
    descriptors = descriptors + rng.normal(0, 0.47 / max(descriptors.shape[1], 1) ** 0.5, descriptors.shape).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return replace(features, descriptors=descriptors.astype(np.float16))


def identify(opened: Session) -> Iterator[Row]:
    """The command itself, from the start of its process to its answer, features indexed; the photo is new each time."""
    items = usable(opened, timing.ROUNDS, of_all=True)
    opened.index()
    listener = opened.work.listener
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "settings.toml"
        values = opened.settings.as_dict()
        tables = {name: values.pop(name) for name in list(values) if isinstance(values[name], dict)}
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        config.write_text("\n".join(lines) + "\n")
        seconds = []
        for number, ref in enumerate(some([item.ref for item in items], timing.ROUNDS)):
            listener.progress("queries", number, timing.ROUNDS)
            pixels = imaging.decode(ref.path).pixels.copy()
            pixels[0, 0] = list(os.urandom(3))  # another photo than any that was asked about before: nothing of it is stored
            photo = Path(folder) / f"{number}.png"
            cv2.imwrite(str(photo), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
            started = time.perf_counter()
            command = [
                sys.executable,
                "-m",
                "reid",
                "identify",
                str(photo),
                "--gallery",
                str(opened.root),
                "--cache",
                str(opened.work.folder),
            ]
            command += ["--config", str(config), "--skip-bad"]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
            if done.returncode > 1:  # 1: answered, and some photos of the gallery could not be used
                raise GalleryError(f"reid identify failed: {done.stderr.strip().splitlines()[-1]}")
            seconds.append(time.perf_counter() - started)
        listener.progress("queries", timing.ROUNDS, timing.ROUNDS)
    yield Row(f"a query among {len(items)} references, process start to answer", "s a query", float(np.median(seconds)))
