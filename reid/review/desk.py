"""What the pages are about: the gallery with the labels that hold now, the questions that wait, and what people have answered.

One desk serves every thread. The log of decisions is the truth: whatever the pages show is read from it again when it has changed, by
whichever process.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from .. import stages
from ..catalogue import Decision, DecisionLog, Gallery, Kind, find_table
from ..catalogue.names import clean
from ..decision.sides import SideEstimate
from ..errors import DecisionError, GalleryError, PhotoError
from ..records import IdentityRanking, Indexed, Query
from ..session import Session
from ..store import write_atomically
from . import tasks
from .book import JUDGES, NAMES, Book, Card
from .book import read as read_book
from .tasks import Choice, Task, Topic, shown
from .words import sentence
from .worker import Progress, Worker


class Desk:
    """A session that is reviewed by somebody."""

    def __init__(
        self, session: Session, progress: Progress, *, observer: str, photos: Sequence[Path] = (), budget: int = 0, blind: bool = False
    ) -> None:
        self.session, self.observer, self.budget, self.blind = session, clean(observer), budget, blind
        self.name = session.root.resolve().name or str(session.root)
        self.log = DecisionLog(session.root)
        self._open()
        self.worker = Worker(session, progress, self._answered, self._is_known, self._reopen)
        self.n_answers = 0  # of this run, as are those that were skipped
        self.skipped: set[str] = set()  # ids of questions
        self._queries: dict[str, Task] = {}
        self._own: dict[str, Task] = {}  # questions that this observer has put
        self._lock = threading.RLock()
        self._state: tuple[object, Book] | None = None
        self._order: tuple[object, list[str]] = None, []  # see `by_side`
        self._given: list[Sequence[Path]] = []  # photos of this run
        root, self._memory = session.root.resolve(), session.work.folder / "review" / "photos.json"
        if photos:
            self.add(photos)
        elif known := [path for path in (root / name for name in self._remembered()) if path.exists()]:
            with suppress(PhotoError):  # folders of earlier runs that are empty now
                self._list(known)

    def _open(self) -> None:
        """Read the gallery. Raises GalleryError for one that holds photos and faults."""
        table = self._table()
        try:  # who judges blind sees what the table says, and what they have said themselves
            own = [one for one in self.log.effective() if one.observer == self.observer]
            gallery, empty = self.session.gallery, None
            if self.blind:
                gallery = replace(self.session.labelled(own), since=gallery.since)
        except GalleryError as error:
            if error.problems:
                raise
            gallery, empty = Gallery(self.session.root, ()), str(error)
        self.gallery: Gallery = gallery
        self.empty: str | None = empty  # why it has no photo
        self._read_table = table

    def _reopen(self) -> None:
        """Called by the worker: the gallery is read again, and its questions are put anew; what was decided is in the log.

        Raises GalleryError for a table with faults; then all stays as it was."""
        try:
            self.session.labelled(self.log.effective())
        except GalleryError as error:
            if error.problems:
                raise
        self.session.read_again()
        self._open()
        with self._lock:
            self._queries, self._own, self._state = {}, {}, None
            self.worker.begin()
        given, self._given = self._given, []
        for photos in given:
            with suppress(PhotoError):  # they have gone since
                self._list(photos)

    @property
    def is_outdated(self) -> bool:
        """Whether the gallery's table has changed since it was read, as by an import, and is not about to be read again."""
        return not self.worker.is_to_reopen and self._table() != self._read_table

    def _table(self) -> object:
        """What differs once the table is another."""
        try:
            table = find_table(self.session.root) if self.session.table is None else self.session.table
            return (table, table.stat().st_mtime_ns, table.stat().st_size) if isinstance(table, Path) else None
        except (OSError, GalleryError) as error:
            return str(error)

    def add(self, photos: Sequence[Path], keep: Path | None = None) -> int:
        """Review these, too: how many photos they are. They are remembered for later runs, or else what is to be kept of them.

        Raises PhotoError where none of them is there."""
        n, root = self._list(photos), self.session.root.resolve()
        paths = [path.resolve() for path in ([keep] if keep else photos)]
        own = [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in paths]  # so that a copy knows them
        write_atomically(self._memory, json.dumps(list(dict.fromkeys((*self._remembered(), *own)))).encode())
        return n

    def _list(self, photos: Sequence[Path]) -> int:
        refs, failures = stages.photos(photos, self.gallery, self.worker.progress, as_known=True)
        self._given.append(photos)
        self.worker.add(refs, failures)
        return len(refs)

    def _remembered(self) -> list[str]:
        """The photos and folders of earlier runs."""
        try:
            return [str(path) for path in json.loads(self._memory.read_text("utf-8"))]
        except (OSError, ValueError, TypeError):
            return []

    # -- what is known

    def book(self) -> Book:
        """As the log is now."""
        with self._lock:
            state = (_changes(self.log.path), *self._photos())
            if self._state is None or self._state[0] != state:
                self._state = state, self._read()
            return self._state[1]

    def _photos(self) -> tuple[object, ...]:
        """What differs once there are others."""
        return self.gallery, self.worker.is_ready, len(self._queries)

    def _read(self) -> Book:
        return self.without(())

    def without(self, numbers: Iterable[int]) -> Book:
        """As if these decisions had not been made."""
        left_out = {*numbers}
        history = [one for one in self.log.history() if one.number not in left_out]
        with self._lock:
            new = [item for task in self._queries.values() for item in task.photos]
        return read_book(self.gallery, self.worker.references, new, history, self.observer if self.blind else None)

    def last(self, number: int = 0) -> Decision | None:
        """What Undo takes back: this observer's last decision, or the one of a number, which a page has shown beside Undo; None where
        nothing is left, or that one does not count any more."""
        own = (one for one in reversed(self.book().effective) if one.observer == self.observer)
        return next((one for one in own if number in (0, one.number)), None)

    def said(self, last: Decision | None) -> str:
        """That in words."""
        return "" if last is None else sentence(last, self.book())

    def estimate(self, card: Card) -> SideEstimate | None:
        """The side that a photo probably shows, where nobody has said anything of it; none for a second observer."""
        found = self.worker.sides.get(card.digest or "")
        if found is None or self.blind or card.ref.orientation:
            return None
        return None if self.said_side(card) else found

    def said_side(self, card: Card) -> bool:
        """Whether somebody has said a photo's side, or that it cannot be told."""
        return any(one.kind is Kind.SIDE for one in self.book().counting(card.digest or ""))

    def by_side(self, n_known: int) -> list[Card]:
        """Every photo, those first whose side is one of the first `n_known` that were estimated, a side after the other and the least sure
        first. Put in order once: a page goes on where the one before stopped."""
        with self._lock:
            cards, photos = self.book().cards, (n_known, *self._photos())
            if self._order[0] != photos:
                known = dict(list(self.worker.sides.items())[:n_known])
                estimates = {card.id: known.get(card.digest or "") for card in cards.values()}
                order = sorted(cards, key=lambda id: (0, one.side, one.p) if (one := estimates[id]) else (1, "", 0.0))
                self._order = photos, order
            return [cards[id] for id in self._order[1]]

    # -- what is asked

    def _answered(self, query: Query, ranking: IdentityRanking) -> None:
        """Called by the worker: another question."""
        task = tasks.of_query(query, ranking, {item.ref.image_id: item for item in self.worker.references}, self.gallery.since)
        with self._lock:
            self._queries[task.id] = task

    def ask(self, animal: str, other: str) -> Task:
        """May these two be one animal? From then on it is a question like any other. Raises DecisionError where that cannot be asked."""
        book, items = self.book(), self.items()
        if self.blind or animal == other:
            raise DecisionError("who judges blind joins no animals" if self.blind else f"this is {other}")
        if number := book.apart.get((min(animal, other), max(animal, other))):
            by = book.history[number - 1]
            raise DecisionError(f"decision {number} of {by.observer} says that {animal} and {other} are two; History takes it back")
        known = [[Indexed(card.ref, card.digest) for card in book.animals[name] if card.digest in items] for name in (animal, other)]
        if not all(known):
            raise DecisionError(f"the photos of {animal} or {other} have not been read yet; try again once they are")
        task = tasks.of_animals((animal, other), known[0], known[1], book.number)
        self._own[task.id] = task
        return task

    def is_own(self, task: Task) -> bool:
        """Whether this observer has put the question."""
        return task.id in self._own

    def _is_known(self, query: Query) -> bool:
        """Whether the catalogue itself says who a query is. Where people have said it, it stays a question, so that Undo finds it."""
        book = self.book()
        cards = [book.of_photo.get(item.digest) for item in query.photos]
        said = any(one.kind in NAMES for item in query.photos for one in book.counting(item.digest))
        return not said and all(card is not None and card.animal for card in cards)

    def tasks(self) -> list[Task]:
        """Every question that there is, answered ones too, the most valuable first."""
        if self.blind:
            return self._second()
        book, items = self.book(), self.items()
        found = [*self._queries.values(), *self._own.values(), *tasks.of_contradictions(book.contradictions, items)]
        if book.unjoined:
            found += tasks.of_unjoined(book.unjoined, items, {digest: card.animal for digest, card in book.of_photo.items()})
        if self.worker.health is not None:
            found += tasks.of_health(self.worker.health, {item.ref.image_id: item for item in self.worker.references})
        return tasks.in_order(found)

    def whole(self, task: Task) -> Task:
        """A query with the animals, too, that have been named since, which are no references yet; any other question as it is."""
        if task.topic is not Topic.QUERY:
            return task
        book, items = self.book(), self.items()
        own, known = {item.digest for item in task.photos}, {book.of_photo[one.reference.digest].animal for one in task.choices}
        own |= {digest for digest, item in items.items() if task.ranking and item.ref.image_id in task.ranking.in_gallery}
        named = ((name, card.digest) for name, cards in book.animals.items() if name not in known for card in cards)
        first = {name: items[digest] for name, digest in reversed(list(named)) if digest in items and digest not in own}
        return replace(task, choices=(*task.choices, *(Choice(name, first[name], task.photos[0]) for name in sorted(first))))

    def waiting(self) -> list[Task]:
        """The questions that nobody has answered; of a second observer, those that they have not answered themselves."""
        book = self.book()
        return [task for task in self.tasks() if not book.is_done(task)]

    @property
    def is_used(self) -> bool:
        """Whether the budget is."""
        return 0 < self.budget <= self.n_answers

    def next(self) -> Task | None:
        """The most valuable question that waits and was not skipped; None where none does, or the budget is used."""
        return None if self.is_used else next((task for task in self.waiting() if task.id not in self.skipped), None)

    def _second(self) -> list[Task]:
        """The pairs that others have judged, in the order in which they were shown to them, without what was said."""
        items = self.items()
        found: dict[str, Task] = {}
        for one in self.book().effective:
            pair = [items[digest] for digest in shown(one) if digest in items]
            if one.kind in JUDGES and one.observer != self.observer and len(pair) == 2:
                left, right = pair
                task = Task(Topic.SECOND, f"pair {len(found) + 1}", (left,), (Choice("", right, left),), -one.number)
                found.setdefault(task.id, task)
        return list(found.values())

    def items(self) -> dict[str, Indexed]:
        """Photos by digest."""
        with self._lock:
            new = [item for task in self._queries.values() for item in task.photos]
        return {item.digest: item for item in (*self.worker.references, *new)}


def _changes(path: Path) -> bytes:
    """What differs once the log has changed: SQLite counts the changes of a file in its header."""
    try:
        with path.open("rb") as file:
            return file.read(28)[24:]
    except OSError:
        return b""
