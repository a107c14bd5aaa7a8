"""A drawn gallery, and commands of `reid` run on it in processes that are forked from this one: a fresh process in milliseconds."""

# ruff: noqa: E402
from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path

sys.path[:0] = map(str, Path(__file__).parents[1:3])

from conftest import draw_animal, save

from reid import cli
from reid.retrieval import growing

growing.EXACT_BELOW, growing.AT_ONCE, growing.SHARD = 0, 4, 500  # lists in several files, as a large gallery has them
Runs = Iterator[tuple[str, list[str]]]  # of each run how it ended, in few words, and what was wrong

CONFIG = """
[extract]
extractor = "sift"
max_keypoints = 60
resize = 160
segment = false
[match]
matcher = "nearest"
shortlist = 8
[score]
fuse = "none"
"""
COMMANDS = ("index", "calibrate", "identify")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int  # negative: killed by this signal
    err: str
    seconds: float  # of a processor

    @property
    def refusal(self) -> bool:
        """Not done, and said so in one line."""
        own = [line for line in self.err.splitlines() if line.startswith("reid: ")]
        return self.status == 2 and len(own) == 1 and "Traceback" not in self.err


def clock(process: int) -> float:
    """The seconds of a processor that a process has had."""
    return time.clock_gettime(~process << 3 | 2)  # as clock_getcpuclockid(3) has it


def cut_off(process: int, seconds: float) -> None:
    """`kill -9` once a process has had so many seconds of a processor, unless it ends before."""
    while not os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if clock(process) >= seconds:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.001)


class World:
    """A gallery, two photos to identify, and the stores and the answer of a run that nothing disturbed."""

    def __init__(self, folder: Path):
        self.folder, self.root, self.photos, self.config = folder, folder / "gallery", folder / "photos", folder / "config.toml"
        tempfile.tempdir = str(folder)  # what a killed command leaves goes with it
        self.mine = ""  # how the files of this process begin that others have, too
        rows = ["path,identity,encounter"]
        for identity, view in product(range(12), range(2)):
            save(self.root / f"{identity}-{view}.png", draw_animal(identity, view))
            rows.append(f"{identity}-{view}.png,animal-{identity},{identity}-{view}")
        (self.root / "metadata.csv").write_text("\n".join(rows))
        for name, identity in (("known", 3), ("new", 99)):
            save(self.photos / f"{name}.png", draw_animal(identity, 5))
        self.config.write_text(CONFIG)
        self.before: dict[str, Path] = {}  # the store as each command finds it
        self.seconds: dict[str, float] = {}
        store = folder / "store"
        store.mkdir()
        for command in COMMANDS:
            self.before[command] = self.copy(store, f"before {command}")
            ended = self.reid(command, store)
            assert ended.status == 0, ended.err
            self.seconds[command] = self.reid(command, self.copy(self.before[command], "once more")).seconds  # all is imported by now
        assert self.reid("index", store).status == 0  # what the shortlist holds is measured for the calibrated gallery, too
        self.whole, self.answer = store, self.answered()
        (folder / "answer.json").unlink()

    def copy(self, store: Path, name: str) -> Path:
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        return shutil.copytree(store, place)

    def reid(self, command: str, store: Path, *words: object, before: Callable[[], None] | None = None, kill: float | None = None) -> Ended:
        words = (command, "--gallery", self.root, "--cache", store, *words)
        if command in COMMANDS:
            words += ("--config", self.config)
        if command == "identify":
            words += (self.photos, "--json", self.folder / f"{self.mine}answer.json")
        return self.run(*words, before=before, kill=kill)

    def run(self, *words: object, before: Callable[[], None] | None = None, kill: float | None = None) -> Ended:
        """A command, killed after so many seconds of a processor."""
        child = self.begin(*words, before=before)
        if kill is not None:
            cut_off(child, kill)
        _, status, used = os.wait4(child, 0)
        for name in self.imported.read_text().split():  # once, before further forks
            if name not in sys.modules:
                with suppress(Exception):  # some are of those that import them alone
                    import_module(name)
        self.imported.write_text("")
        return Ended(os.waitstatus_to_exitcode(status), self.said.read_text(errors="replace"), used.ru_utime + used.ru_stime)

    def begin(self, *words: object, before: Callable[[], None] | None = None) -> int:
        """The process of a command, which writes what it says to the file `said`."""
        self.said.write_text("")
        self.imported.write_text("")
        sys.stdout.flush()
        if child := os.fork():
            return child
        status = 99
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # it ends with the campaign
            place = os.open(self.said, os.O_WRONLY)
            os.dup2(place, 1), os.dup2(place, 2)
            sys.stdout.reconfigure(line_buffering=True)
            sys.argv = ["reid", *map(str, words)]
            if before:
                before()
            cli.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            self.imported.write_text(" ".join(sys.modules))
            os._exit(status)

    @property
    def said(self) -> Path:
        return self.folder / f"{self.mine}said.txt"

    @property
    def imported(self) -> Path:
        return self.folder / f"{self.mine}imported.txt"

    def answered(self) -> object:
        """What the last `identify` has found."""
        value = json.loads((self.folder / f"{self.mine}answer.json").read_text())
        return [value[name] for name in ("queries", "lists", "failures")]

    def goes_on(self, store: Path, command: str, repair: bool = False) -> list[str]:
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
        if repair:
            self.reid("check", store, "--repair")  # what nobody has read may be damaged still
        ended = self.reid("check", store)
        return wrong + ([] if ended.status == 0 else [ended.err])
