"""Shards on a Ray cluster. Each worker is an actor that has one shard at a time and gets the next when it is done, so that a slow one holds
up nobody. One that dies, or takes far longer than the others, costs what it had: that is given to others, item by item.

What is computed is in the store, so a process that asks and dies is started again and goes on. Ray pickles what it sends between its own
processes: whoever reaches its ports can run code, so a cluster belongs into a private network.
"""

from __future__ import annotations

import logging
import os
import statistics
import textwrap
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from ..errors import EngineError, ReidError
from ..listener import Listener
from ..records import Failure, Indexed, Query
from ..store import fingerprint
from .engine import Item, Result, Work
from .status import Told
from .worker import Worker

DEATHS = 3  # of workers that had an item by itself, after which it is given up
DYING = 10  # workers that die one after another, besides DEATHS for each that lives, after which the run ends
UNREAD = 10_000  # results that wait for a slower one before them, beyond which no further shards are given out
SLOW = 20  # times the median of all shards, and PATIENCE at least: so long may a shard take
PATIENCE = 600.0  # seconds
LONG = 60.0  # seconds without a worker after which it is said
PAUSE = 1.0  # seconds between two looks at the cluster while nothing happens
GROW_EVERY = 5.0  # seconds between two looks at its machines, and at the workers that have nothing to do
REASON = 200  # characters of why a worker died
MEMORY = 256 * 2**20  # bytes of Ray's object store, in a cluster that is started here


@dataclass(eq=False)
class Member:
    """A worker, and what it is at."""

    actor: Any
    machine: str = ""  # not known before it is there
    process: int = 0
    shard: tuple[int, ...] = ()  # places of the items
    name: str = ""  # of the shard, by its content
    since: float = 0.0

    @property
    def where(self) -> str:
        return f"{self.machine}, process {self.process}"


class Lost(Exception):
    """A worker is dead; says why."""


class Crew:
    """The workers of a cluster. `calls` are those whose work, or sign of life, is waited for, `idle` the others."""

    def __init__(self, address: str | None, workers: int | None, cpus: float, gpus: float, sign: Path):
        self.ray = _ray()
        self.workers, self.cpus, self.gpus, self.sign = workers, cpus, gpus, str(sign.absolute())
        self.idle: list[Member] = []
        self.calls: dict[Any, Member] = {}
        self.n_lost = 0  # one after another, with nothing done in between
        self.looked = float("-inf")
        self.is_ours = not self.ray.is_initialized()
        if self.is_ours:
            self._connect(address)

    def _connect(self, address: str | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            try:
                self.ray.init(address=address or "auto", **quiet)
            except ConnectionError:
                if address is not None:
                    raise
                self.ray.init(address="local", include_dashboard=False, object_store_memory=MEMORY, **quiet)
        except Exception as error:  # which is what Ray raises where it does not start in time
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise EngineError(f"no Ray cluster answers at {address or 'this machine'} ({said}); `ray start --head` starts one") from None

    @property
    def busy(self) -> list[Member]:
        return [one for one in self.calls.values() if one.shard]

    def grow(self, n: int) -> None:
        """Call workers until there are as many as the cluster has room for, but no more than `n`, and ask idle ones for a sign of life, so
        that nothing is given to the dead, and lost with them. Raises EngineError."""
        if time.monotonic() - self.looked < GROW_EVERY:
            return
        self.looked = time.monotonic()
        room = sum(self._room(node["Resources"]) for node in self.ray.nodes() if node["Alive"])
        wants = f"{self.cpus:g} processors" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
        if not room:
            raise EngineError(f"no machine of the cluster has {wants} for a worker; ask for less of them, or start it with more")
        actor = self.ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, scheduling_strategy="SPREAD", max_restarts=0)(Worker)
        for _ in range(min(room, self.workers or room, n) - len(self.idle) - len(self.calls)):
            self.idle.append(Member(actor.remote()))
        while self.idle:
            member = self.idle.pop()
            member.shard = ()  # which work that was broken off may have left
            self.calls[member.actor.hello.remote(os.getcwd(), self.sign)] = member

    def _room(self, resources: dict[str, float]) -> int:
        room = resources.get("CPU", 0.0) / self.cpus
        return int(min(room, resources.get("GPU", 0.0) / self.gpus) if self.gpus else room)

    def give(self, task: Any, shard: tuple[int, ...], name: str, items: Sequence[Any]) -> None:
        """A shard to a worker that is idle."""
        member = self.idle.pop()
        member.shard, member.name, member.since = shard, name, time.monotonic()
        self.calls[member.actor.do.remote([task], items)] = member

    def answers(self, patience: float) -> Iterator[tuple[Member, tuple[list[Any], list[str]] | Lost]]:
        """Shards that are done, and those whose worker is dead or takes longer than `patience`; waits a moment for the first of them.

        Raises what a stage raises, and EngineError where workers die one after another."""
        if not self.calls:
            time.sleep(PAUSE)
        ready, _ = self.ray.wait(list(self.calls), timeout=PAUSE) if self.calls else ([], [])
        for call in ready:
            member = self.calls.pop(call)
            try:
                value = self.ray.get(call)
            except self.ray.exceptions.RayTaskError as error:
                self.stop(member)
                if isinstance(error.cause, ReidError):
                    raise error.cause from None
                raise
            except self.ray.exceptions.RayError as error:
                yield from self._lose(member, _in_short(error))
                continue
            self.idle.append(member)
            if member.shard:
                self.n_lost = 0
                yield member, value
                member.shard = ()
            else:
                member.machine, member.process = value
        for call, member in list(self.calls.items()):
            if member.shard and time.monotonic() - member.since > patience:
                del self.calls[call]
                yield from self._lose(member, f"it took longer than {patience:.0f} s, much longer than others")

    def _lose(self, member: Member, reason: str) -> Iterator[tuple[Member, Lost]]:
        self.stop(member)
        self.looked = float("-inf")
        if member.shard or not member.machine:  # one that died while it was idle says nothing of the work
            self.n_lost += 1
        n_alive = len(self.idle) + len(self.calls)
        if self.n_lost > DYING + DEATHS * n_alive:
            raise EngineError(f"workers of the cluster die one after another; the last: {reason}")
        if member.shard:
            yield member, Lost(reason)

    def stop(self, member: Member) -> None:
        self.ray.kill(member.actor)

    def stop_busy(self) -> None:
        """Of work that nobody waits for any more."""
        for call, member in list(self.calls.items()):
            if member.shard:
                del self.calls[call]
                self.stop(member)

    def leave(self) -> None:
        for member in (*self.idle, *self.calls.values()):
            self.stop(member)
        if self.is_ours:
            self.ray.shutdown()


class Job(Generic[Item, Result]):
    """What one call shares out: shards that wait, and results that wait for their turn."""

    def __init__(
        self,
        crew: Crew,
        work: Work[Item, Result],
        items: Sequence[Item],
        keys: Sequence[str],
        size: int,
        otherwise: Callable[[Item, str], Result] | None,
    ):
        self.items, self.keys, self.otherwise = items, keys, otherwise
        self.waiting = deque(shards(range(len(items)), keys, size))
        self.found: dict[int, Result] = {}  # by place
        self.notes: dict[int, list[str]] = {}  # by the first place of their shard
        self.n_done = 0
        self.since: float | None = time.monotonic()  # None once it was said that no worker comes
        self._task = crew.ray.put(work)
        self._deaths: Counter[int] = Counter()
        self._seconds: list[float] = []
        crew.looked = float("-inf")

    @property
    def patience(self) -> float:
        """Seconds after which a worker is given up."""
        return max(PATIENCE, SLOW * statistics.median(self._seconds or [PATIENCE / 4]))  # the first have networks to load

    def give(self, crew: Crew) -> None:
        while self.waiting and crew.idle and (len(self.found) < UNREAD or not crew.busy):
            shard = self.waiting.popleft()
            crew.give(self._task, shard, fingerprint([self.keys[one] for one in shard]), [self.items[one] for one in shard])

    def take(self, member: Member, results: Sequence[Result], notes: list[str]) -> Sequence[Result]:
        """What a worker has done."""
        assert len(results) == len(member.shard), "a stage gives a result for each item"
        self.found.update(zip(member.shard, results, strict=True))
        self.notes[member.shard[0]] = notes
        self.n_done += len(results)
        self._seconds.append(time.monotonic() - member.since)
        return results

    def lose(self, member: Member, reason: str) -> Sequence[Result]:
        """What a dead worker had is done again, each content by itself; what has cost DEATHS workers so has results. Raises EngineError."""
        parts = shards(member.shard, self.keys, 1)
        if len(parts) == 1:
            self._deaths[member.shard[0]] += 1
        if len(parts) > 1 or self._deaths[member.shard[0]] < DEATHS:
            self.waiting.extendleft(reversed(parts))
            return ()
        told = f"{DEATHS} workers that had it by itself died, the last of them: {reason}"
        if self.otherwise is None:
            name, way_out = _named(self.items[member.shard[0]]), "leave it out, or give each worker more memory by --cpus-per-worker"
            raise EngineError(f"{name}: {told}; {way_out}, and run again")
        return self.take(member, [self.otherwise(self.items[one], told) for one in member.shard], [])


class RayEngine:
    """Shares the work of stages out over the workers of a Ray cluster; they stay until it is closed. `folder`, where everything computed is
    stored, has to be on a file system that every machine sees under the same path, and so have the photos."""

    def __init__(
        self, folder: Path, listener: Listener, *, address: str | None = None, workers: int | None = None, cpus: float = 1, gpus: float = 0
    ):
        self.folder, self.listener = folder, listener
        self._options = address, workers, cpus, gpus
        self._told = Told(folder)
        self._crew: Crew | None = None

    def map(
        self,
        work: Work[Item, Result],
        items: Sequence[Item],
        what: str,
        *,
        key: Callable[[Item], str],
        size: int = 1,
        otherwise: Callable[[Item, str], Result] | None = None,
    ) -> Iterator[Result]:
        if not items:
            return
        self._told.begin(what, len(items))
        try:
            if self._crew is None:
                self._crew = Crew(*self._options, self._told.file)
            job = Job(self._crew, work, items, list(map(key, items)), size, otherwise)
            for place in range(len(items)):
                while place not in job.found:
                    self._step(self._crew, job, what)
                for note in job.notes.pop(place, ()):
                    self.listener.note(note)
                yield job.found.pop(place)
        except BaseException as error:
            self._told.tell((), at_once=True, ended=f"stopped: {error or type(error).__name__}")
            raise
        finally:
            if self._crew is not None:
                self._crew.stop_busy()
        self._sum_up()

    def _step(self, crew: Crew, job: Job[Item, Result], what: str) -> None:
        """Give out what can be given, take what is done, and tell of it."""
        if not crew.busy and not job.n_done:
            self._told.run.started = time.time()  # until now workers were called
        crew.grow(len(job.waiting) + len(crew.busy))
        job.give(crew)
        for member, answer in crew.answers(job.patience):
            if isinstance(answer, Lost):
                n = len(member.shard)
                self._told.lose(member.where, member.name, n, str(answer))
                self.listener.note(f"a worker is lost ({member.where}: {answer}); what it had of {what}, {n}, is done again by others")
                results = job.lose(member, str(answer))
            else:
                results = job.take(member, *answer)
            if results:
                self._told.finished(member.machine, len(results))
            for one in results:
                if isinstance(one, Failure):
                    self._told.failed(one.reason)
            self.listener.progress(what, job.n_done, len(job.items))
        if not (crew.idle or crew.busy) and job.since is not None and time.monotonic() - job.since > LONG:
            job.since = None
            self.listener.note("no worker has come yet: the machines of the cluster are taken by others, or slow to start one")
        now = time.time() - time.monotonic()
        self._told.tell([{"worker": one.where, "shard": one.name, "n": len(one.shard), "since": now + one.since} for one in crew.busy])

    def _sum_up(self) -> None:
        self._told.tell((), at_once=True)
        run = self._told.run
        self.listener.note(f"{run.what}: {run.total} in {run.finished - run.started:.1f} s, {run.speed()}")

    def ahead(
        self, work: Work[Item, Result], items: Callable[[], Sequence[Item]], what: str, *, key: Callable[[Item], str], size: int = 1
    ) -> Iterator[Result]:
        return self.map(work, items(), what, key=key, size=size)

    def close(self) -> None:
        if self._crew is not None:
            crew, self._crew = self._crew, None
            crew.leave()
            if not self._told.run.ended:
                self._told.tell((), at_once=True, ended="done")


def shards(places: Sequence[int], keys: Sequence[str], size: int) -> list[tuple[int, ...]]:
    """The places in shards of about so many, those of one key together."""
    of_key: dict[str, list[int]] = {}
    for place in places:
        of_key.setdefault(keys[place], []).append(place)
    found: list[list[int]] = []
    for group in of_key.values():
        if found and len(found[-1]) < size:
            found[-1] += group
        else:
            found.append(list(group))
    return list(map(tuple, found))


def _named(item: object) -> str:
    """What people know it by."""
    return str(item.ref.path if isinstance(item, Indexed) else item.name if isinstance(item, Query) else item)


def _in_short(error: Exception) -> str:
    """The beginning of the line of Ray's that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return textwrap.shorten(lines[-1], REASON, placeholder=" ...") if lines else type(error).__name__


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise EngineError("Ray is not installed; `pip install 'animal-reid[ray]'` brings it") from error
    return ray
