"""Two to eight processes on one gallery."""

from __future__ import annotations

import csv
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from world import COMMANDS, Runs, World

OTHERS = ("check", "gc", "decisions", "duplicates", "novelty", "export")


def company(world: World, rng: random.Random, runs: int) -> Runs:
    """Each indexes, calibrates, identifies and does one thing more, begun at once or nearly so: all finish, and the store is what one of
    them leaves. Every second time they import photos, some of them the same: the gallery has each once."""
    for command in OTHERS:  # imports what they import, before the forks
        assert not (wrong := done(world, command, world.whole)), wrong
    for number in range(runs):
        n = rng.randint(2, 8)
        if number % 2:
            gallery = world.folder / "brought"
            shutil.rmtree(gallery, ignore_errors=True)
            sources = [rng.choice((world.photos / "known.png", world.photos / "new.png", world.root)) for _ in range(n)]
            wrong = at_once(world, [partial(imports, world, source, gallery) for source in sources])
            wanted = sorted(path.name for source in set(sources) for path in (source.glob("*.png") if source.is_dir() else [source]))
            rows = [gallery / row["path"] for row in csv.DictReader((gallery / "metadata.csv").read_text().splitlines())]
            wrong += [] if sorted(path.name for path in rows) == wanted else [f"{len(rows)} rows of {len(wanted)}"]
            wrong += [f"{path.name} is not there" for path in rows if not path.exists()]
            yield f"import, {n} processes", wrong
        else:
            store = world.copy(world.before["index"], "shared")
            wrong = at_once(world, [partial(everything, world, store, rng.choice(OTHERS)) for _ in range(n)])
            yield f"all commands, {n} processes", [*wrong, *world.goes_on(store, "index")]


def everything(world: World, store: Path, last: str) -> list[str]:
    said = [world.reid(command, store) for command in COMMANDS]
    wrong = [f"{command} ends with {one.status}: {one.err}" for command, one in zip(COMMANDS, said) if one.status]
    return wrong or ([] if world.answered() == world.answer else ["another answer"]) + done(world, last, store)


def done(world: World, command: str, store: Path) -> list[str]:
    words = {
        "duplicates": ["--config", world.config],
        "novelty": ["--config", world.config, world.photos, "--report", world.folder / f"{world.mine}report.html"],
        "export": ["--to", "csv", "--out", world.folder / f"{world.mine}export.csv", "--force"],
    }
    ended = world.reid(command, store, *words.get(command, []))
    return [f"{command} ends with {ended.status}: {ended.err}"] if ended.status else []


def imports(world: World, source: Path, gallery: Path) -> list[str]:
    """Again where another was quicker and it says so."""
    while True:
        ended = world.run("import", source, "--gallery", gallery, "--copy")
        if not (ended.refusal and "run again" in ended.err):
            return [ended.err] if ended.status else []


def at_once(world: World, work: list[Callable[[], list[str]]]) -> list[str]:
    """What went wrong in processes that each do one of these."""
    children = []
    for number, one in enumerate(work):
        child = os.fork()
        if not child:
            wrong = "died"
            try:
                world.mine = f"{number} "  # its answer and what it says go to files of its own
                wrong = "\n".join(one())
            finally:
                (world.folder / f"{number} wrong").write_text(wrong)
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    said = [(world.folder / f"{number} wrong").read_text() for number in range(len(work))]
    return [one for one in said if one]
