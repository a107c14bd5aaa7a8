"""Power that goes while the store is written: files that are not synced may be empty, cut off, zeros, or not be there."""

from __future__ import annotations

import os
import random
import shutil
from functools import partial
from pathlib import Path

from world import COMMANDS, Runs, World

HOW = ("whole", "empty", "cut", "zeros", "absent")


def power(world: World, rng: random.Random, runs: int) -> Runs:
    """After any number of files were moved to their place, whichever of them have reached the disk: the commands give what they gave, and
    `check --repair` leaves a sound store."""
    written = {}
    for command in COMMANDS:
        written[command] = world.folder / f"written by {command}"
        written[command].mkdir()
        store = world.copy(world.before[command], "powerless")
        world.reid(command, store, before=partial(record, written[command]))
        for file in store.glob("digests.sqlite*"):
            shutil.copy(file, written[command])
    for number in range(runs):
        command = COMMANDS[number % len(COMMANDS)]
        store = world.copy(world.before[command], "powerless")
        moved = sorted(written[command].glob("[0-9]*"), key=lambda one: int(one.name))
        stop, outcomes = rng.randint(0, len(moved)), []
        for one in moved[:stop]:
            target, data, how = Path((one / "target").read_text()), (one / "data").read_bytes(), rng.choice(HOW)
            outcomes.append(how)
            if how != "absent":
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes({"whole": data, "empty": b"", "zeros": bytes(len(data))}.get(how, data[: rng.randrange(len(data) or 1)]))
        for file in sorted(written[command].glob("digests.sqlite*")):  # it syncs nothing: pages may be lost
            rows = bytearray(file.read_bytes())
            for _ in range(rng.randrange(3)):
                page = 4096 * rng.randrange(max(1, len(rows) // 4096))
                rows[page : page + 4096] = bytes(len(rows[page : page + 4096]))
            (store / file.name).write_bytes(rows[: rng.choice((len(rows), rng.randrange(len(rows) or 1)))])
        lost = len(outcomes) - outcomes.count("whole")
        what = f"{command}, {stop} of {len(moved)} files moved, {lost} of them lost"
        yield command, [f"{what}: {one}" for one in world.goes_on(store, command, repair=True)]


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
