"""A drawn gallery, and commands of `reid` run on it in processes that are forked from this one: a fresh process in milliseconds."""

# ruff: noqa: E402
from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path

sys.path[:0] = map(str, Path(__file__).parents[1:3])

from conftest import draw_animal, save

from reid import cli

Runs = Iterator[tuple[str, list[str]]]  # of each run how it ended, in few words, and what was wrong

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
