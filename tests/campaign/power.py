"""Power that goes while the store is written: files that are not synced may be empty, cut off, zeros, or not be there."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from world import COMMANDS, Runs, World

HOW = ("whole", "empty", "cut", "zeros", "absent")


def power(world: World, rng: random.Random, runs: int) -> Runs:
    """After any number of files were moved to their place, whichever of them have reached the disk: the commands give what they gave."""
    for number in range(runs):
        command = COMMANDS[number % len(COMMANDS)]
        store, written = world.copy(world.before[command], "powerless"), world.folder / "written"
        shutil.rmtree(written, ignore_errors=True)
        written.mkdir()
        world.reid(command, store, before=lambda written=written: record(written))
        moved = sorted(written.iterdir(), key=lambda one: int(one.name))
        shutil.copy(store / "digests.sqlite", written / "digests")
        store = world.copy(world.before[command], "powerless")
        stop, outcomes = rng.randint(0, len(moved)), []
        for one in moved[:stop]:
            target, how = Path((one / "target").read_text()), rng.choice(HOW)
            data = (one / "data").read_bytes()
            outcomes.append(how)
            if how != "absent":
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes({"whole": data, "empty": b"", "zeros": bytes(len(data))}.get(how, data[: rng.randrange(len(data) or 1)]))
        rows = bytearray((written / "digests").read_bytes())
        for _ in range(rng.randrange(3)):  # it syncs nothing: pages may be lost
            page = 4096 * rng.randrange(max(1, len(rows) // 4096))
            rows[page : page + 4096] = bytes(len(rows[page : page + 4096]))
        (store / "digests.sqlite").write_bytes(rows)
        wrong = [f"{command}, {stop} of {len(moved)} files moved, {outcomes}: {one}" for one in world.goes_on(store, command)]
        yield command, wrong


def record(folder: Path) -> None:
    """From now on keep a copy of each file that is moved to its place."""
    replace, n = os.replace, 0

    def run(source: Path, target: Path) -> None:
        nonlocal n
        n += 1
        place = folder / str(n)
        place.mkdir()
        shutil.copy(source, place / "data")
        (place / "target").write_text(str(target))
        replace(source, target)

    os.replace = run
