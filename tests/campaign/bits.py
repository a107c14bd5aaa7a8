"""One bit of one file flips."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

from world import Runs, World

KINDS = ("features", "matches", "shortlist", "impostors", "recall", "calibration", "digests.sqlite", "photo")


def bits(world: World, rng: random.Random, runs: int) -> Runs:
    """One bit of one file flips: `check` finds it, `identify` answers as ever or says it, `check --repair` leaves a sound store."""
    for number in range(runs):
        kind = KINDS[number % len(KINDS)]
        store = world.copy(world.whole, "flipped")
        files = sorted(file for file in (store / kind).rglob("*") if file.is_file()) or [store / kind]
        file = world.root / "3-0.png" if kind == "photo" else rng.choice(files)
        content, times = file.read_bytes(), file.stat()
        rows = dump(file) if kind == "digests.sqlite" else None
        while True:
            place = rng.randrange(8 * len(content))
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            file.write_bytes(flipped)
            if rows is None or dump(file) != rows:  # no flip in what SQLite has left empty
                break
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        where, wrong = f"{file.relative_to(world.folder)} bit {place}", []
        checked = world.reid("check", store)
        found = checked.status == 1 and (str(file) in checked.err or str(file.parent) in checked.err)
        if not found:
            wrong.append(f"{where}: not found: {checked.err}")
        ended = world.reid("identify", store)
        said = ended.refusal or (ended.status == 0 and "is damaged" in ended.err)
        same = ended.status == 0 and world.answered() == world.answer
        if not (said or same):
            wrong.append(f"{where}: in silence: {ended.status} {ended.err}")
        world.reid("check", store, "--repair")
        if kind == "photo":
            file.write_bytes(content)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        repaired = world.reid("check", store)
        if repaired.status != 0:
            wrong.append(f"{where}: not repaired: {repaired.err}")
        yield f"{kind}: {'found' if found else 'missed'}, {'same answer' if same else 'said'}", wrong


def dump(file: Path) -> list[str] | None:
    try:
        with sqlite3.connect(file) as connection:
            return list(connection.iterdump())
    except sqlite3.Error:
        return None
