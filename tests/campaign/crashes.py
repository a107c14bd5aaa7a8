"""One of two writers dies at a point of a commit: a part is written, synced, moved to its place, its folder made, a row written."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from company import at_once
from world import COMMANDS, Runs, World


def crashes(world: World, rng: random.Random, runs: int) -> Runs:
    """At every point of every command, by name and folder, in turn: the other writer finishes, and so does who comes after them."""
    noted, points = world.folder / "points", Counter[tuple[str, str]]()
    for command in COMMANDS:
        world.reid(command, store := world.copy(world.before[command], "crashing"), before=partial(watch, noted, store))
        points.update((command, name) for name in noted.read_text().splitlines())
    for (command, name), n in islice(cycle(points.items()), runs):
        store, died = world.copy(world.before[command], "crashing"), world.folder / "died"
        died.unlink(missing_ok=True)
        hook = partial(watch, noted, store, name, rng.randint(1, (1 + n) // 2), died)  # the other does some of its work
        wrong = at_once(world, [partial(writer, world, command, store, hook), partial(writer, world, command, store)])
        wrong += world.goes_on(store, command)
        yield f"{command}: {name}{'' if died.exists() else ', not reached'}", [f"{command}, {name}: {one}" for one in wrong]


def writer(world: World, command: str, store: Path, hook: Callable[[], None] | None = None) -> list[str]:
    ended = world.reid(command, store, before=hook)
    if ended.status == (-signal.SIGKILL if hook else 0):
        return [] if hook or command != "identify" or world.answered() == world.answer else ["the other writer: another answer"]
    return [] if hook and ended.status == 0 else [f"a writer ends with {ended.status}: {ended.err}"]


def watch(noted: Path, store: Path, deadly: str = "", after: int = 0, died: Path | None = None) -> None:
    """From now on note the name of every point that is passed, and die at one of them, when it is passed for the so-and-so-many-th time."""
    notes = os.open(noted, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def point(name: str, path: object) -> None:
        nonlocal after
        path = Path(os.fsdecode(path))
        name = f"{name}, {path.relative_to(store).parts[0] if path.is_relative_to(store) else path.suffix}"
        os.write(notes, f"{name}\n".encode())
        after -= name == deadly
        if name == deadly and not after:
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def passing(function: Callable[..., object], name: str, place: int) -> Callable[..., object]:
        def run(*args: object, **options: object) -> object:
            found = function(*args, **options)
            point(name, args[place])
            return found

        return run

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *args: object) -> sqlite3.Cursor:
            found = super().execute(statement, *args)
            if not statement.startswith(("SELECT", "PRAGMA")):
                point(f"{statement.split()[0]} in a table", store / "digests.sqlite")
            return found

        def __exit__(self, *args: object) -> bool:
            found = super().__exit__(*args)
            point("committed", store / "digests.sqlite")
            return found

    Path.write_bytes = passing(Path.write_bytes, "part written", 0)
    os.replace, os.mkdir = passing(os.replace, "moved", 1), passing(os.mkdir, "folder made", 0)
    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **options: connect(*args, **options | {"factory": Connection})
