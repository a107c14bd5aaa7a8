"""The Nth call that writes fails."""

from __future__ import annotations

import errno
import io
import os
import random
import sqlite3
from collections.abc import Callable
from itertools import product
from pathlib import Path

from world import COMMANDS, Runs, World

from reid.retrieval import lists
from reid.store import digests

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


def calls(world: World, rng: random.Random, runs: int) -> Runs:
    """The Nth write, move, folder or statement to the database fails: one line, or the right answer without it; then a sound store."""
    counted, all_of_them = world.folder / "n_calls", []
    for command in COMMANDS:
        store = world.copy(world.before[command], "failing")
        world.reid(command, store, before=lambda: fail(0, 0, counted))
        all_of_them += product([command], range(1, counted.stat().st_size + 1), ERRORS)
    for command, wanted, number in rng.sample(all_of_them, min(runs, len(all_of_them))):
        store = world.copy(world.before[command], "failing")
        ended = world.reid(command, store, before=lambda wanted=wanted, number=number: fail(wanted, number, counted))
        what = f"{command}, call {wanted}, {errno.errorcode[number]}"
        fine = ended.refusal or ended.status == 0
        wrong = [] if fine else [f"{what}: ends with {ended.status}: {ended.err}"]
        if ended.status == 0 and command == "identify" and world.answered() != world.answer:
            wrong.append(f"{what}: another answer")
        wrong += [f"{what}: {one}" for one in world.goes_on(store, command)]
        yield f"{command}, {errno.errorcode[number]}: {'one line' if ended.refusal else 'done without'}", wrong


def fail(wanted: int, number: int, counted: Path) -> None:
    """From now on count every call that writes, as bytes of a file, and let one of them fail."""
    count = os.open(counted, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os_write, n = os.write, 0

    def call() -> bool:
        nonlocal n
        n += 1
        os_write(count, b".")
        return n == wanted

    def failing(function: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **options: object) -> object:
            if call():
                raise OSError(number, os.strerror(number))
            return function(*args, **options)

        return run

    write_bytes = Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        if call():
            write_bytes(path, data[: len(data) // 2])
            raise OSError(number, os.strerror(number))
        return write_bytes(path, data)

    class Lists(io.FileIO):
        def write(self, data: memoryview) -> int:
            if call():
                super().write(data[: len(data) // 2])
                raise OSError(number, os.strerror(number))
            return super().write(data)

    class Connection(sqlite3.Connection):
        def execute(self, *args: object) -> sqlite3.Cursor:
            if call():
                raise sqlite3.OperationalError(
                    {errno.ENOSPC: "database or disk is full", errno.EIO: "disk I/O error"}.get(number, "readonly")
                )
            return super().execute(*args)

    for name in ("replace", "mkdir", "fsync", "utime"):
        setattr(os, name, failing(getattr(os, name)))
    Path.write_bytes = half
    lists.open = lambda file, mode: io.BufferedWriter(Lists(file, mode)) if mode == "wb" else io.FileIO(file, mode)
    connect = sqlite3.connect
    digests.sqlite3.connect = lambda *args, **options: connect(*args, **options, factory=Connection)
