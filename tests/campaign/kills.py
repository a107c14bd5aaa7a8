"""`kill -9` at a random moment, and once more as it goes on."""

from __future__ import annotations

import csv
import random
import shutil
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from answers import of_review
from world import COMMANDS, Runs, World

from reid.training import validation

LATER = "reid.formats.importing reid.formats.spreadsheets reid.report.plots reid.training.run reid.training.loop "
LATER += "reid.training.goodpoint reid.training.glampoints"
Killed = Callable[[random.Random], tuple[list[int], list[str]]]  # how the killed processes ended, and what is wrong afterwards


def kills(world: World, rng: random.Random, runs: int) -> Runs:
    """Of each command; then everything is as if nothing had happened."""
    for module in LATER.split():
        import_module(module)
    validation.N_HELD_OUT = 1
    of: dict[str, Killed] = {command: of_store(world, command) for command in COMMANDS}
    of |= {"import": of_import(world), "review": of_review(world, rng), "train": of_train(world, "glampoints", "goodpoint")}
    for number in range(runs):
        command = list(of)[number % len(of)]
        statuses, wrong = of[command](rng)
        ended = "killed" if -signal.SIGKILL in statuses else "done before"
        yield f"{command}: {ended}", [f"{command}, run {number}: {one}" for one in wrong]


def of_store(world: World, command: str) -> Killed:
    def run(rng: random.Random) -> tuple[list[int], list[str]]:
        store = world.copy(world.before[command], "killed")
        statuses = [world.reid(command, store, kill=rng.uniform(0, world.seconds[command])).status for _ in range(2)]
        return statuses, world.goes_on(store, command)

    return run


def of_import(world: World) -> Killed:
    """Of a gallery into another one, which has photos already."""
    begun, gallery = world.folder / "begun", world.folder / "imported"

    def bring(source: Path, **options: float) -> int:
        return world.run("import", source, "--gallery", gallery, "--copy", **options)

    def contents() -> dict[str, bytes]:
        """Without what a killed process leaves, which `reid gc` knows, and the tables of before."""
        files = [path for path in gallery.rglob("*") if path.is_file() and not path.name.endswith(".part")]
        return {str(path.relative_to(gallery)): path.read_bytes() for path in files if not path.name.startswith("metadata.before-")}

    first, whole = bring(world.photos), bring
    shutil.copytree(gallery, begun)
    before, ended = contents(), bring(world.root)
    assert (first.status, ended.status) == (0, 0), first.err + ended.err
    whole = contents()

    def run(rng: random.Random) -> tuple[list[int], list[str]]:
        shutil.rmtree(gallery)
        shutil.copytree(begun, gallery)
        statuses, wrong = [], []
        for _ in range(2):
            statuses.append(bring(world.root, kill=rng.uniform(0, ended.seconds)).status)
            if contents()["metadata.csv"] not in (before["metadata.csv"], whole["metadata.csv"]):
                wrong.append("half a table")
        last = bring(world.root)
        wrong += [] if last.status == 0 else [last.err]
        return statuses, wrong + ([] if contents() == whole else [f"holds {sorted(contents())}"])

    return run


def of_train(world: World, *networks: str) -> Killed:
    """Of one of the networks."""
    out, whole, seconds = world.folder / "trained", {}, {}

    def train(network: str, *words: str, **options: float) -> tuple[int, str, float]:
        length = ("--steps", 6, "--every", 2, "--batch", 1, "--side", 64, "--begin", "scratch", "--device", "cpu")
        return world.run("train", network, "--photos", world.root, "--out", out, *length, *words, **options)

    def learned(network: str) -> tuple[bytes, list[dict[str, str]]]:
        """The weights and the log, without times."""
        rows = list(csv.DictReader((out / "log.csv").read_text().splitlines()))
        return (out / f"{network}.safetensors").read_bytes(), [row | {"seconds": ""} for row in rows]

    for network in networks:
        ended = train(network)
        assert ended.status == 0, ended.err
        whole[network], seconds[network] = learned(network), ended.seconds
        shutil.rmtree(out)

    def run(rng: random.Random) -> tuple[list[int], list[str]]:
        shutil.rmtree(out, ignore_errors=True)
        network = rng.choice(networks)
        statuses = [train(network, *words, kill=rng.uniform(0, seconds[network])).status for words in ((), ("--resume",))]
        last = train(network, "--resume")
        if last.status:
            return statuses, [last.err]
        return statuses, [] if learned(network) == whole[network] else [f"{network}: other weights or another log"]

    return run
