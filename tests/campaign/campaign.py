"""Nothing lost, and nothing wrong in silence: bits that flip, processes that are killed, writes that fail.

    python tests/campaign/campaign.py bits --runs 300
    python tests/campaign/campaign.py kills --runs 300
    python tests/campaign/campaign.py calls --every 1

A drawn gallery of 24 photos is indexed, calibrated and searched again and again by `reid` itself, each command in a process that is forked
from this one once everything is imported: a fresh process in milliseconds. Prints one JSON object; exit status 1 if anything went wrong.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path

sys.path[:0] = map(str, Path(__file__).parents[1:3])

import faiss
from conftest import draw_animal, save

from reid import cli
from reid.store import digests

LATER = "reid.session reid.cli.main reid.extractors.sift reid.matchers.nearest reid.evaluation.run reid.report.tables reid.stages.upkeep "
LATER += "pandas pillow_heif pydantic rich.progress rich.table scipy.optimize scipy.stats"
for module in LATER.split():  # what commands import when they need it: once, before the forks
    import_module(module)

CONFIG = """
[extract]
extractor = "sift"
max_keypoints = 60
resize = 160
[match]
matcher = "nearest"
shortlist = 8
[score]
fuse = "none"
"""
KINDS = ("features", "matches", "shortlist", "impostors", "recall", "calibration", "digests.sqlite", "photo")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
COMMANDS = ("index", "calibrate", "identify")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int  # negative: killed by this signal
    err: str
    seconds: float

    @property
    def refusal(self) -> bool:
        """Not done, and said so in one line."""
        own = [line for line in self.err.splitlines() if line.startswith("reid: ")]
        return self.status == 2 and len(own) == 1 and "Traceback" not in self.err


class World:
    """A gallery, two photos to identify, and the stores and the answer of a run that nothing disturbed."""

    def __init__(self, folder: Path):
        self.folder, self.root = folder, folder / "gallery"
        rows = ["path,identity,encounter"]
        for identity, view in product(range(12), range(2)):
            save(self.root / f"{identity}-{view}.png", draw_animal(identity, view))
            rows.append(f"{identity}-{view}.png,animal-{identity},{identity}-{view}")
        (self.root / "metadata.csv").write_text("\n".join(rows))
        for name, identity in (("known", 3), ("new", 99)):
            save(folder / "photos" / f"{name}.png", draw_animal(identity, 5))
        (folder / "config.toml").write_text(CONFIG)
        self.before: dict[str, Path] = {}  # the store as each command finds it
        self.seconds: dict[str, float] = {}
        store = folder / "store"
        store.mkdir()
        for command in COMMANDS:
            self.before[command] = self.copy(store, f"before {command}")
            ended = self.reid(command, store)
            assert ended.status == 0, ended.err
            self.seconds[command] = ended.seconds
        assert self.reid("index", store).status == 0  # what the shortlist holds is measured for the calibrated gallery, too
        self.whole, self.answer = store, self.answered()
        (folder / "answer.json").unlink()

    def copy(self, store: Path, name: str) -> Path:
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        return shutil.copytree(store, place)

    def reid(self, command: str, store: Path, *words: str, before: Callable[[], None] | None = None, kill: float | None = None) -> Ended:
        words = (command, "--gallery", str(self.root), "--cache", str(store), *words)
        if command in COMMANDS:
            words += ("--config", str(self.folder / "config.toml"))
        if command == "identify":
            words += (str(self.folder / "photos"), "--json", str(self.folder / "answer.json"))
        return self._forked(words, before, kill)

    def _forked(self, words: tuple[str, ...], before: Callable[[], None] | None, kill: float | None) -> Ended:
        said = self.folder / "said.txt"
        sys.stdout.flush()
        started = time.monotonic()
        child = os.fork()
        if not child:
            status = 99
            try:
                place = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(place, 1), os.dup2(place, 2)
                sys.argv = ["reid", *words]
                if before:
                    before()
                cli.main()
            except SystemExit as end:
                status = int(end.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(status)
        if kill is not None:
            time.sleep(kill)
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return Ended(status, said.read_text(errors="replace") if said.exists() else "", time.monotonic() - started)

    def answered(self) -> object:
        """What the last `identify` has found."""
        value = json.loads((self.folder / "answer.json").read_text())
        return [value[name] for name in ("queries", "lists", "failures")]

    def goes_on(self, store: Path, command: str) -> list[str]:
        """What is wrong after this command and those after it have been run, undisturbed, on a store: nothing, let us hope."""
        for one in COMMANDS[COMMANDS.index(command) :]:
            ended = self.reid(one, store)
            if ended.status != 0:
                return [f"{one} ends with {ended.status}: {ended.err}"]
        wrong = [] if self.answered() == self.answer else ["another answer"]
        learned = [
            sorted((file.name, file.read_text()) for file in (place / "calibration").rglob("*.json")) for place in (store, self.whole)
        ]
        wrong += [] if learned[0] == learned[1] else ["another calibration"]
        ended = self.reid("check", store)
        return wrong + ([] if ended.status == 0 else [ended.err])


def calibrations(store: Path) -> list[tuple[str, str]]:
    return sorted((file.name, file.read_text()) for file in (store / "calibration").rglob("*.json"))


def bits(world: World, rng: random.Random, runs: int) -> Iterator[tuple[str, list[str]]]:
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


def kills(world: World, rng: random.Random, runs: int) -> Iterator[tuple[str, list[str]]]:
    """`kill -9` at a random moment of each command, and once more as it goes on; then everything is as if nothing had happened."""
    for number in range(runs):
        command = COMMANDS[number % len(COMMANDS)]
        store = world.copy(world.before[command], "killed")
        moments = [rng.uniform(0, world.seconds[command]) for _ in range(2)]
        ended = [world.reid(command, store, kill=moment).status for moment in moments]
        wrong = [f"{command} killed after {moments} s: {one}" for one in world.goes_on(store, command)]
        yield f"{command}: {'killed' if -signal.SIGKILL in ended else 'done before'}", wrong


def calls(world: World, rng: random.Random, every: int) -> Iterator[tuple[str, list[str]]]:
    """The Nth write, move, folder or statement to the database fails: one line, or the right answer without it; then a sound store."""
    counted = world.folder / "n_calls"
    for command in COMMANDS:
        store = world.copy(world.before[command], "failing")
        world.reid(command, store, before=lambda: fail(0, 0, counted))
        n_calls = counted.stat().st_size
        for wanted, number in product(range(1 + rng.randrange(every), n_calls + 1, every), ERRORS):
            store = world.copy(world.before[command], "failing")
            ended = world.reid(command, store, before=lambda wanted=wanted, number=number: fail(wanted, number, counted))
            what = f"{command}, call {wanted} of {n_calls}, {errno.errorcode[number]}"
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

    write_bytes, write_index = Path.write_bytes, faiss.write_index

    def half(path: Path, data: bytes) -> int:
        if call():
            write_bytes(path, data[: len(data) // 2])
            raise OSError(number, os.strerror(number))
        return write_bytes(path, data)

    def index(found: object, file: str) -> None:
        if call():
            raise RuntimeError(f"Error in write_index:\nError: could not write {file}: {os.strerror(number)}")
        write_index(found, file)

    class Connection(sqlite3.Connection):
        def execute(self, *args: object) -> sqlite3.Cursor:
            if call():
                raise sqlite3.OperationalError(
                    {errno.ENOSPC: "database or disk is full", errno.EIO: "disk I/O error"}.get(number, "readonly")
                )
            return super().execute(*args)

    for name in ("replace", "mkdir", "fsync", "utime"):
        setattr(os, name, failing(getattr(os, name)))
    Path.write_bytes, faiss.write_index = half, index
    connect = sqlite3.connect
    digests.sqlite3.connect = lambda *args, **options: connect(*args, **options, factory=Connection)


def dump(file: Path) -> list[str] | None:
    try:
        with sqlite3.connect(file) as connection:
            return list(connection.iterdump())
    except sqlite3.Error:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("bits", "kills", "calls"))
    parser.add_argument("--runs", type=int, default=30, help="bits that flip, or processes that are killed")
    parser.add_argument("--every", type=int, default=1, help="of the calls only every Nth fails")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        runs = (
            calls(world, rng, given.every) if given.what == "calls" else {"bits": bits, "kills": kills}[given.what](world, rng, given.runs)
        )
        outcomes, wrong = Counter[str](), list[str]()
        for outcome, faults in runs:
            outcomes[outcome] += 1
            print(outcome, *faults, file=sys.stderr, flush=True)
            wrong += faults
    print(json.dumps({"runs": outcomes.total(), "wrong": wrong, "outcomes": dict(sorted(outcomes.items()))}, indent=1))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
