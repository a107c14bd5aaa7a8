"""Odd places: it works, or one line says why not."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import PIL.ImageFont
from world import COMMANDS, Runs, World

ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TERM": "dumb"}
Odd = Callable[[World, Path], object]  # called in the process of the command, before it begins


def read_only(world: World, store: Path) -> None:
    """For somebody who may not write; root may write everywhere."""
    world.folder.chmod(0o755)
    for path in (world.root, store, *store.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (world.folder / "answer.json").touch(), (world.folder / "answer.json").chmod(0o666)
    world.imported.chmod(0o666)
    if not os.getuid():
        os.setuid(65534)


def locked(world: World, store: Path) -> None:
    """As on network shares where locks do not work."""

    class Connection(sqlite3.Connection):
        def execute(self, *args: object) -> sqlite3.Cursor:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **options: connect(*args, **options | {"factory": Connection})


def jumping(world: World, store: Path) -> None:
    now, rng = time.time, random.Random(1)
    time.time = lambda: now() + rng.uniform(-1, 1) * 10**8


def bare(world: World, store: Path) -> None:
    """No HOME, no user, the C locale, and names that it cannot write."""
    called("Schildkröten é")(world, store)
    begin = "import world; world.cli.main()"  # whose index has lists, too
    os.execve(sys.executable, [sys.executable, "-c", begin, *sys.argv[1:]], ENVIRONMENT | {"PYTHONPATH": str(Path(__file__).parent)})


def no_fonts(world: World, store: Path) -> None:
    def none(*args: object, **options: object) -> None:
        raise OSError("cannot open resource")

    PIL.ImageFont.truetype = none


def called(name: str) -> Odd:
    """The gallery has this name."""

    def run(world: World, store: Path) -> None:
        place = world.folder / "named" / name
        if not place.exists():
            shutil.copytree(world.root, place)
        sys.argv[sys.argv.index("--gallery") + 1] = str(place)

    return run


def decomposed(world: World, store: Path) -> None:
    """Photos whose names are decomposed on the disk and composed in the table, as of a Mac."""
    called("decomposed")(world, store)
    place = world.folder / "named" / "decomposed"
    for photo in place.glob("[0-9]*.png"):
        photo.rename(place / normalize("NFD", f"é{photo.name}"))
    head, *rows = (world.root / "metadata.csv").read_text().splitlines()
    (place / "metadata.csv").write_text("\n".join([head, *(normalize("NFC", f"é{row}") for row in rows)]), "utf-8")


ODD: dict[str, Odd] = {
    "read-only": read_only, "locked": locked, "clocks that jump": jumping, "C locale, no home": bare, "no fonts": no_fonts,
    "decomposed name": called(normalize("NFD", "Schildkröten é")), "decomposed photos": decomposed,
    "paths of 300 characters": called("/".join(["long" * 20] * 4)), "a line's end in the name": called("turtles\nof 'Bonaire' \"2021\""),
}  # fmt: skip


def places(world: World, rng: random.Random, runs: int) -> Runs:
    """Every command in each of them, on a store that is not there yet and on a whole one."""
    jobs = [(name, command, begun) for name in ODD for command in (*COMMANDS, "check", "novelty") for begun in (False, True)]
    for name, command, begun in rng.sample(jobs, min(runs, len(jobs))):
        store = world.copy(world.whole if begun else world.before.get(command, world.before["identify"]), "odd")
        words = [world.photos, "--report", store / "report.html", "--config", world.config] if command == "novelty" else []
        ended = world.reid(command, store, *words, before=lambda name=name, store=store: ODD[name](world, store))
        for path in (world.root, store, *store.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        what = f"{name}, {command}{', begun' if begun else ''}"
        wrong = [] if ended.refusal or ended.status == 0 else [f"{what}: ends with {ended.status}: {ended.err}"]
        if ended.status == 0 and command == "identify" and name != "decomposed photos" and world.answered() != world.answer:
            wrong.append(f"{what}: another answer")
        yield f"{name}: {'one line' if ended.refusal else 'works'}", wrong
