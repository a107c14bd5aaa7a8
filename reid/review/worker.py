"""Extraction and matching in a thread of their own: the gallery first, then query by query, and beside them what tells the sides that
nobody has said; then the health of the gallery's labels, and the sides of its photos; then it waits for further photos.

Everything computed is stored as it comes, so the app may be closed or killed at any time, and the next run begins where this one stopped.
"""

from __future__ import annotations

import math
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..decision.sides import SURE, SideEstimate, SideModel
from ..errors import ReidError
from ..records import Failure, Health, IdentityRanking, Indexed, PhotoRef, Query
from ..session import Session
from ..stages import Listener, estimated_sides, has_layouts, known_sides, learn_sides, look_at

PACE = 2.0  # seconds after which a pace says something
NICER = 10  # by so much the worker, and the threads that it starts, stand back behind requests and the browser


@dataclass(frozen=True)
class State:
    """What the worker is at; replaced as a whole, so that any thread may read it."""

    said: str = "the gallery is being opened"
    done: int = 0
    total: int = 0  # 0 where nobody knows
    left: float | None = None  # seconds until this step is done, at the pace that it has had so far; None before there is one
    finished: bool = False  # until further photos come
    error: str | None = None  # why it stopped
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


class Progress(Listener):
    """Keeps the latest of what it is told."""

    def __init__(self) -> None:
        self.state = State()
        self.is_quiet = False  # while each query has bars of its own
        self._lock = threading.Lock()
        self._began = "", 0, 0.0  # what is being done, how much of it was done when that was first told, and when that was

    def progress(self, what: str, done: int, total: int) -> None:
        if not self.is_quiet:
            self.step(what, done, total)

    def step(self, what: str, done: int, total: int) -> None:
        """As `progress`, whether or not that is heard."""
        now, (before, first, began) = time.monotonic(), self._began
        if what != before or done <= first:
            self._began = what, done, now
            self.change(said=what, done=done, total=total, left=None)
            return
        left = (now - began) / (done - first) * (total - done) if now - began >= PACE else None
        self.change(said=what, done=done, total=total, left=left)

    def note(self, text: str) -> None:
        self.change(notes=(*self.state.notes, text))

    def change(self, **fields: object) -> None:
        with self._lock:
            self.state = replace(self.state, **fields)  # type: ignore[arg-type]


class Stopped(Exception):
    """The app is being closed."""


class Outdated(Stopped):
    """The gallery is to be read again."""


class Worker:
    """Answers queries one after the other, but for those that are `known` already. `told` is called with each answer, and `reopen` to
    have the gallery read again, which begins anew and adds the photos again, from the worker's thread."""

    def __init__(
        self,
        session: Session,
        progress: Progress,
        told: Callable[[Query, IdentityRanking], None],
        known: Callable[[Query], bool],
        reopen: Callable[[], None],
    ) -> None:
        self.session, self.progress, self.told, self.known, self.reopen = session, progress, told, known, reopen
        self.has_photos = False  # whether any were ever given
        self._more = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reid-worker", daemon=True)
        self._stop, self._outdated = threading.Event(), threading.Event()
        self.begin()

    def begin(self) -> None:
        """With nothing known of the gallery, and no photos."""
        self.references: Sequence[Indexed] = ()  # of the gallery
        self.is_ready = False  # whether their features are stored
        self.health: Health | None = None
        self.n_known = 0  # queries that were left out
        self.sides: dict[str, SideEstimate] = {}  # by digest, of photos whose side nobody had said, where it is sure enough
        self.trouble = ""  # why none are estimated, where they could be
        self._tells_sides: SideModel | None = None  # once it has been learned
        self._learning: Iterator[None] | None = None  # what tells sides, in steps
        self._asked: list[Indexed] = []  # the photos of the queries
        self._batches: deque[Sequence[PhotoRef]] = deque()

    @property
    def state(self) -> State:
        return self.progress.state

    @property
    def is_to_reopen(self) -> bool:
        return self._outdated.is_set()

    def start(self) -> None:
        self._thread.start()

    def add(self, photos: Sequence[PhotoRef], failures: Sequence[Failure]) -> None:
        """Further photos, after those that wait, and what could not be found of those that were named, as `stages.photos` tells them."""
        self.has_photos = True
        self._batches.append(photos)
        self._fail(failures)
        self.progress.change(finished=False)
        self._more.set()

    def read_again(self) -> None:
        """The gallery is another by now: what was inferred from it is forgotten, and all photos are answered again, from what is stored."""
        self.progress.change(said="the gallery is read again, once the photo at hand is done", done=0, total=0, left=None, finished=False)
        self._outdated.set()
        self._more.set()

    def stop(self, patience: float = 5.0) -> None:
        """Waits for what is being computed; what takes longer is computed again by the next run."""
        self._stop.set()
        self._more.set()
        if self._thread.is_alive():
            self._thread.join(patience)

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICER))
        while True:
            self._more.clear()  # what comes from now on is work for another round
            if self._stop.is_set():
                break
            try:
                self._work()
                self.progress.change(said="", finished=True)
            except Outdated:
                continue
            except Stopped:
                self.progress.change(said="stopped", finished=True)
            except ReidError as error:
                self.progress.change(error=str(error), finished=True)
            except Exception as error:  # the pages stay, and say it
                self.progress.change(error=f"{type(error).__name__}: {error}", finished=True)
                raise
            self._more.wait()

    def _work(self) -> None:
        self.progress.change(finished=False, error=None)
        if self._outdated.is_set():
            self._outdated.clear()
            self.progress.change(said="the gallery is read again", failures=(), notes=())
            self.reopen()
        self.session.ready()
        if not self.is_ready:
            self._fail(self.session.failures)
        self.references, self.is_ready = self.session.references, True
        self.trouble, known = "", known_sides(self.references)
        self._learning = iter(()) if self._tells_sides else self._learn(known)  # again, where it failed before
        with self._beside():
            if has_layouts(known, self.session.work):  # by an earlier run: so it takes seconds
                self._learn_on()
        failed: list[tuple[ReidError, Sequence[PhotoRef]]] = []
        while self._batches:
            try:
                self._answer(self._batches[0])
            except ReidError as error:  # may be of one photo: the others do not wait for it
                failed.append((error, self._batches[0]))
            self._batches.popleft()
        self._batches.extend(photos for _, photos in failed)  # tried again in the next round
        self._learn_on()
        self._check()
        if self.health is None and self.session.judges.calibration is not None:
            self.health = self.session.health()
        self._estimate([*self.references, *self._asked])
        if failed:
            raise failed[0][0]

    def _answer(self, photos: Sequence[PhotoRef]) -> None:
        queries, failures = self.session.queries_of(photos)
        self._fail(failures)
        asked = [query for query in queries if not self.known(query)]
        self.progress.is_quiet = True
        try:
            for done, query in enumerate(asked):
                self._check()
                self.progress.step("questions prepared", done, len(asked))
                began = time.monotonic()
                ranking, failed = self.session.answer(query)
                self._fail(failed)
                self._asked += query.photos
                self._estimate(query.photos)
                if ranking is not None:
                    self.told(query, ranking)
                self._learn_on(time.monotonic() - began)  # as long as that took: neither waits for the other
            self.n_known += len(queries) - len(asked)
        finally:
            self.progress.is_quiet = False

    def _learn(self, known: Sequence[Indexed]) -> Iterator[None]:
        """What tells sides, a photo a step."""
        with self._beside():
            yield from look_at(known, self.session.work)
            self._tells_sides = learn_sides(known, self.session.work)
            self.trouble = ""
        self._estimate(self._asked)

    def _learn_on(self, seconds: float = math.inf) -> None:
        """Go on with it for so long."""
        end = time.monotonic() + seconds
        for _ in self._learning or ():
            self._check()
            if time.monotonic() >= end:
                break

    def _estimate(self, items: Sequence[Indexed]) -> None:
        bare = [item for item in items if not item.ref.orientation and item.digest not in self.sides]
        with self._beside():
            for item, found in estimated_sides(bare, self._tells_sides, self.session.work) if self._tells_sides else ():
                self._check()
                if found.p >= SURE:
                    self.sides[item.digest] = found

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """What fails here is told, and ends nothing: a side is a help, a question is the work."""
        try:
            yield
        except Stopped:
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, ReidError) else f"{type(error).__name__}: {error}"
            self.trouble = (
                f"No side is estimated: {' '.join(reason.split())}. It is tried again with the next photos, and when the app is started."
            )

    def _fail(self, failures: Sequence[Failure]) -> None:
        """They are told with their paths in the gallery, where they lie there."""
        root = re.compile(rf"(?<![^\s'\"(]){re.escape(os.path.join(self.session.root, ''))}(?!\.\.)")  # not above it
        told = [replace(one, reason=root.sub("", one.reason)) for one in failures]
        self.progress.change(failures=tuple(dict.fromkeys((*self.state.failures, *told))))

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped
        if self._outdated.is_set():
            raise Outdated
