"""`kill -9` at a random moment, and again as it goes on."""

from __future__ import annotations

import csv
import random
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from answers import of_review
from world import COMMANDS, Ended, Runs, World

N_KILLS = 3  # at most, of each run
Killed = Callable[[random.Random], tuple[list[int], list[str]]]  # how the killed processes ended, and what is wrong afterwards


def kills(world: World, rng: random.Random, runs: int) -> Runs:
    """Of each command; then everything is as if nothing had happened."""
    begin: dict[str, Callable[[], Killed]] = {command: partial(of_store, world, command) for command in COMMANDS}
    begin |= {"import": partial(of_import, world), "review": partial(of_review, world, rng)}
    begin["train"] = partial(of_train, world, "glampoints", "goodpoint")
    of: dict[str, Killed] = {}
    for number in range(runs):
        command = list(begin)[number % len(begin)]
        if command not in of:
            of[command] = begin[command]()
        statuses, wrong = of[command](rng)
        yield f"{command}: killed {statuses.count(-signal.SIGKILL)} times", [f"{command}, run {number}: {one}" for one in wrong]


def moments(rng: random.Random, seconds: float) -> list[float]:
    """When to kill a command that takes so many seconds of a processor, and then what is left of it."""
    return [rng.uniform(0, seconds / number) for number in range(1, 1 + N_KILLS)]


def of_store(world: World, command: str) -> Killed:
    def run(rng: random.Random) -> tuple[list[int], list[str]]:
        store = world.copy(world.before[command], "killed")
        statuses = [world.reid(command, store, kill=moment).status for moment in moments(rng, world.seconds[command])]
        return statuses, world.goes_on(store, command)

    return run


def of_import(world: World) -> Killed:
    """Of a gallery into another one, which has photos already."""
    begun, gallery = world.folder / "begun", world.folder / "imported"

    def bring(source: Path, **options: float) -> Ended:
        return world.run("import", source, "--gallery", gallery, "--copy", **options)

    def contents() -> dict[str, bytes]:
        """Without what a killed process leaves, which `reid gc` knows, and the tables of before."""
        files = [path for path in gallery.rglob("*") if path.is_file() and not path.name.endswith(".part")]
        return {str(path.relative_to(gallery)): path.read_bytes() for path in files if not path.name.startswith("metadata.before-")}

    first = bring(world.photos)
    shutil.copytree(gallery, begun)
    before, ended = contents(), bring(world.root)
    assert (first.status, ended.status) == (0, 0), first.err + ended.err
    whole = contents()

    def run(rng: random.Random) -> tuple[list[int], list[str]]:
        shutil.rmtree(gallery)
        shutil.copytree(begun, gallery)
        statuses, wrong = [], []
        for moment in moments(rng, ended.seconds):
            statuses.append(bring(world.root, kill=moment).status)
            if contents()["metadata.csv"] not in (before["metadata.csv"], whole["metadata.csv"]):
                wrong.append("half a table")
        last = bring(world.root)
        wrong += [] if last.status == 0 else [last.err]
        return statuses, wrong + ([] if contents() == whole else [f"holds {sorted(contents())}"])

    return run


def of_train(world: World, *networks: str) -> Killed:
    """Of one of the networks."""
    from reid.training import validation

    validation.N_HELD_OUT = 1
    out, whole, seconds = world.folder / "trained", {}, {}

    def train(network: str, *words: str, **options: float) -> Ended:
        length = ("--steps", 6, "--every", 2, "--batch", 1, "--side", 64, "--begin", "scratch", "--device", "cpu")
        return world.run("train", network, "--photos", world.root, "--out", out, *length, *words, **options)

    def learned(network: str) -> tuple[bytes, list[dict[str, str]]]:
        """The weights and the log, without times."""
        rows = list(csv.DictReader((out / "log.csv").read_text().splitlines()))
        return (out / f"{network}.safetensors").read_bytes(), [row | {"seconds": ""} for row in rows]

    for network in networks:
        for _ in range(2):  # the first imports what the second takes
            shutil.rmtree(out, ignore_errors=True)
            ended = train(network)
            assert ended.status == 0, ended.err
        whole[network], seconds[network] = learned(network), ended.seconds

    def run(rng: random.Random) -> tuple[list[int], list[str]]:
        shutil.rmtree(out, ignore_errors=True)
        network = rng.choice(networks)
        statuses = [
            train(network, *(["--resume"] if number else []), kill=moment).status
            for number, moment in enumerate(moments(rng, seconds[network]))
        ]
        last = train(network, "--resume")
        if last.status:
            return statuses, [last.err]
        return statuses, [] if learned(network) == whole[network] else [f"{network}: other weights or another log"]

    return run
