"""What votes cost in galleries of any size: photos drawn from a real gallery's features with noise.

    python notebooks/shortlist_speed.py turtles/ FOLDER 1000 10000 100000

Of each size: laying it out (what FOLDER holds is not laid out again), files, a query when the session is warm (the sizes in turn), the
most memory that a process of its own takes for it, and adding 1,000 photos. Seconds from start to end, and of processors, since
other work may be going on.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import reid
from reid.evaluation.timing import usable
from reid.records import Features
from reid.retrieval import Shortlist
from reid.settings import Settings

ROUNDS, QUERIES, ADDED = 9, 9, 1_000
TURNED = 0.47  # length of the noise that is added to a descriptor: 25 degrees


class Drawn:
    """Features of as many photos as one likes. Noise is from a table, from a place on that the photo's number says."""

    def __init__(self, gallery: str) -> None:
        with reid.open(gallery, Settings.of(fuse="none")) as opened:
            self.of = [opened.work.first.load(item) for item in usable(opened, 1, of_all=True)]
        n_dims = self.of[0].descriptors.shape[1]
        self.noise = np.random.default_rng(0).standard_normal(2**24, np.float32) * np.float32(TURNED / n_dims**0.5)
        self.spent = 0.0  # seconds of a processor

    def load(self, digest: str) -> Features:
        started, number = time.process_time(), int(digest, 16)
        of = self.of[number % len(self.of)]
        at = np.random.default_rng(number).integers(len(self.noise) - of.descriptors.size)
        rows = of.descriptors.astype(np.float32) + self.noise[at : at + of.descriptors.size].reshape(of.descriptors.shape)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        found = replace(of, descriptors=rows.astype(np.float16))
        self.spent += time.process_time() - started
        return found


def digests(n: int) -> list[str]:
    return [f"{number:064x}" for number in range(n)]


def taken(call: Callable[..., Any], *given: Any) -> tuple[float, float]:
    """Seconds from start to end, and of processors."""
    start = time.perf_counter(), time.process_time()
    call(*given)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def grow(folder: Path, key: int, n: int, drawn: Drawn) -> None:
    drawn.spent = 0.0
    seconds, processor = taken(Shortlist(folder, str(key)).update, digests(n), drawn.load, lambda done, total: None)
    print(f"{key:,} photos, brought to {n:,}: {seconds:.1f} s, {processor - drawn.spent:.1f} s of a processor without drawing", flush=True)


def ask(folder: Path, sizes: list[int], drawn: Drawn) -> None:
    indexes = {n: (Shortlist(folder, str(n)), digests(n)) for n in sizes}
    queries = [drawn.load(f"{10**9 + place * len(drawn.of) // QUERIES:064x}") for place in range(QUERIES)]
    found: dict[int, list[tuple[float, float]]] = {n: [] for n in sizes}
    for n, (index, photos) in indexes.items():
        opened = taken(index.votes, queries[0], photos)
        print(f"{n:,} photos: opened and asked in {opened[0]:.2f} s, {opened[1]:.2f} s of a processor", flush=True)
    for place in range(ROUNDS):
        for n, (index, photos) in indexes.items():
            found[n].append(taken(index.votes, queries[place % QUERIES], photos))
    for n, times in found.items():
        seconds, processor = np.median(times, axis=0) * 1e3
        print(f"{n:,} photos: a query {seconds:.0f} ms, {processor:.0f} ms of a processor (medians of {ROUNDS})", flush=True)


def main() -> None:
    gallery, folder, sizes = sys.argv[1], Path(sys.argv[2]), [int(n.replace(",", "")) for n in sys.argv[3:]]
    drawn = Drawn(gallery)
    for n in sizes:
        grow(folder, n, n, drawn)
        root = Shortlist(folder, str(n)).root
        print(f"{n:,} photos: {sum(file.stat().st_size for file in root.rglob('*.*')) / n / 1024:.2f} KiB a photo", flush=True)
    for own in ([n] for n in sizes):
        subprocess.run([sys.executable, __file__, gallery, str(folder), "only", *map(str, own)], check=True)
    ask(folder, sizes, drawn)
    for n in sizes:
        grow(folder, n, n + ADDED, drawn)


def only() -> None:
    """One size in a process of its own."""
    ask(Path(sys.argv[2]), [int(sys.argv[4])], Drawn(sys.argv[1]))
    [most] = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())  # `getrusage` also counts what the parent had
    print(f"{int(sys.argv[4]):,} photos: {int(most) / 1024:,.0f} MiB at most, all told", flush=True)


if __name__ == "__main__":
    only() if sys.argv[3] == "only" else main()
