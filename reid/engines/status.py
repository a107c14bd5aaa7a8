"""What runs on a cluster and what has failed there, for whoever asks: a small file a run, <folder>/runs/<name>.json."""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..store import DamagedFile, JsonStore

KIND = "runs"
EVERY = 2.0  # seconds between two tellings
SHOWN = 20  # of what has failed, the last


@dataclass
class Run:
    """One process that shares its work out. Times are seconds since 1970."""

    name: str
    what: str = ""  # is being done, for people
    done: int = 0
    total: int = 0
    started: float = 0.0
    finished: float = 0.0  # the last of what is done
    updated: float = 0.0
    ended: str = ""  # how; empty while it runs
    machines: dict[str, int] = field(default_factory=dict)  # what each has done
    workers: list[dict[str, Any]] = field(default_factory=list)  # worker, shard, n, since
    lost: list[dict[str, Any]] = field(default_factory=list)  # worker, shard, n, reason, when
    unused: list[str] = field(default_factory=list)  # photos that cannot be used, and why

    def per_second(self) -> dict[str, float]:
        """Of each machine, from when work was first given out to the last of what is done."""
        seconds = max(self.finished - self.started, 1e-3)
        return {machine: n / seconds for machine, n in sorted(self.machines.items())}

    def speed(self) -> str:
        """In words; empty before anything is done."""
        each = self.per_second()
        return f"{sum(each.values()):.3g}/s ({', '.join(f'{machine} {rate:.3g}/s' for machine, rate in each.items())})" if each else ""


class Told:
    """A run that tells how far it is, now and then."""

    def __init__(self, folder: Path):
        now = datetime.now(UTC)
        self.run = Run(f"{now:%Y%m%dT%H%M%S}-{platform.node()}-{os.getpid()}")
        self._store = JsonStore(folder / KIND)
        self._lost: deque[dict[str, Any]] = deque(maxlen=SHOWN)
        self._unused: deque[str] = deque(maxlen=SHOWN)

    @property
    def file(self) -> Path:
        return self._store.path(self.run.name)

    def begin(self, what: str, total: int) -> None:
        run = self.run
        run.what, run.done, run.total, run.started, run.machines = what, 0, total, time.time(), {}
        run.finished = run.started
        self.tell((), at_once=True)

    def finished(self, machine: str, n: int) -> None:
        self.run.done, self.run.finished = self.run.done + n, time.time()
        self.run.machines[machine] = self.run.machines.get(machine, 0) + n

    def failed(self, reason: str) -> None:
        self._unused.append(reason)

    def lose(self, worker: str, shard: str, n: int, reason: str) -> None:
        self._lost.append({"worker": worker, "shard": shard, "n": n, "reason": reason, "when": time.time()})

    def tell(self, workers: Sequence[Mapping[str, Any]], *, at_once: bool = False, ended: str = "") -> None:
        """Write it down, once in EVERY seconds or `at_once`. Raises StoreError."""
        run = self.run
        if not at_once and time.time() - run.updated < EVERY:
            return
        run.updated, run.ended, run.workers = time.time(), ended, list(map(dict, workers))
        run.lost, run.unused = list(self._lost), list(self._unused)
        self._store.save(run.name, asdict(run))


def runs(folder: Path) -> list[Run]:
    """Those that are known of this folder, the last one first."""
    found, store = [], JsonStore(folder / KIND)
    for name in store.names():
        try:
            run = store.load(name, lambda value: Run(**value))
        except DamagedFile:
            continue  # it tells nothing that is not told again
        if run is not None:
            found.append(run)
    return sorted(found, key=lambda run: run.updated, reverse=True)
