"""What the pages are about: the gallery with the labels that hold now, the questions that wait, and what people have answered.

One desk serves every thread. The log of decisions is the truth: whatever the pages show is read from it again when it has changed, by
whichever process.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import catalogue
from ..catalogue import Decision, DecisionLog, Gallery, Kind, PhotoKey
from ..errors import GalleryError
from ..records import IdentityRanking, Indexed, PhotoRef, Query
from ..session import Session
from ..store import write_atomically
from . import tasks
from .tasks import Choice, Task, opaque
from .worker import Progress, Worker

MOST = 9  # animals that a question offers, a key each
JUDGES = frozenset((Kind.SAME, Kind.DIFFERENT, Kind.CANNOT_TELL, Kind.MERGE))  # what is said of a pair
NAMES = frozenset((Kind.SAME, Kind.NEW, Kind.MERGE))  # what says who a photo shows


@dataclass(frozen=True)
class Card:
    """A photo as pages show it."""

    id: str  # opaque
    ref: PhotoRef
    animal: str | None  # by the table and the log
    is_new: bool = False  # of the photos to review, not of the gallery

    @property
    def site(self) -> str:
        return self.ref.columns.get("site", "").strip()


@dataclass(frozen=True)
class Book:
    """Everything that is known at one state of the log."""

    number: int  # of the newest decision
    history: tuple[Decision, ...]
    effective: tuple[Decision, ...]
    cards: Mapping[str, Card]  # by id, in the order of the gallery
    of_photo: Mapping[str, Card]  # by digest, as far as these are known
    animals: Mapping[str, tuple[Card, ...]]  # by name, sorted
    encounters: Mapping[str, tuple[Card, ...]]

    def animal(self, id: str) -> str | None:
        return next((name for name in self.animals if opaque("animal", name) == id), None)

    def encounter(self, id: str) -> str | None:
        return next((name for name in self.encounters if opaque("encounter", name) == id), None)


class Desk:
    """A session that is reviewed by somebody."""

    def __init__(
        self, session: Session, progress: Progress, *, observer: str, photos: Sequence[Path] = (), budget: int = 0, blind: bool = False
    ) -> None:
        self.session, self.observer, self.budget, self.blind = session, observer, budget, blind
        self.name = session.root.resolve().name or str(session.root)
        self.log = DecisionLog(session.root)
        self.empty: str | None = None  # why the gallery has no photo
        try:
            self.gallery = session.gallery
        except GalleryError as error:
            if error.problems:
                raise
            self.gallery, self.empty = Gallery(session.root, ()), str(error)
        self.worker = Worker(session, progress, self._photos(photos), self._answered)
        self.n_answers = 0  # of this run
        self._queries: dict[str, tuple[Task, tuple[Indexed, ...]]] = {}
        self._lock = threading.RLock()
        self._state: tuple[object, Book] | None = None

    def _photos(self, given: Sequence[Path]) -> list[Path]:
        """The photos to review: those given, which are remembered, or else those of earlier runs that are still there."""
        file = self.session.work.folder / "review" / "photos.json"
        try:
            known = [str(path) for path in json.loads(file.read_text("utf-8"))]
        except (OSError, ValueError, TypeError):
            known = []
        if not given:
            return [path for path in map(Path, known) if path.exists()]
        every = list(dict.fromkeys([*known, *(str(path.resolve()) for path in given)]))
        write_atomically(file, json.dumps(every).encode())
        return list(given)
