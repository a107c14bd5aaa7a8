"""What people have decided: an append-only log beside the photos, the one thing in a gallery that cannot be computed again.

    <gallery>/decisions.sqlite

A decision names photos by their content, so that files may be moved and renamed. Nothing in the log is ever changed or removed: a decision
that takes another one back is a decision, too. `append` returns when the decision is on the disk. Threads and processes may write at once,
each operation opens the file for itself, and between operations a plain copy of it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from ..errors import DecisionError, StoreError
from .dates import read_dates
from .names import clean, names_somebody
from .sides import side

FILE = "decisions.sqlite"
APPLICATION = 0x52654944  # "ReID", in the header of the file
FORMAT = 1
ISO = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2}(?:[ T].+)?)?)?")
PATIENCE = 60.0  # seconds to wait for another writer
LOOKS = 0.001, 0.02  # seconds between two looks whether another writer has ended, at random
PAUSE = 0.005  # seconds after a decision in which others begin theirs
TABLES = (
    "CREATE TABLE decisions (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, photos TEXT NOT NULL, value TEXT NOT NULL, "
    'observer TEXT NOT NULL, "when" TEXT NOT NULL, evidence TEXT NOT NULL, undoes INTEGER, checksum TEXT NOT NULL)',
    "CREATE TRIGGER never_changed BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END",
    "CREATE TRIGGER never_removed BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)
COLUMNS = 'number, kind, photos, value, observer, "when", evidence, undoes, checksum'


class Kind(StrEnum):
    """What can be decided. The first three are about what photos show, the next five about animals."""

    SAME = "same"  # all photos show one animal
    DIFFERENT = "different"  # the first photo shows another animal than each of the others
    CANNOT_TELL = "cannot_tell"  # the first photo and the others may show one animal or not: they were looked at
    NEW = "new"  # all photos show one animal that the gallery did not have; `value` is its name, or empty
    NAME = "name"  # the animal of the first photo is called `value`
    MERGE = "merge"  # the animals of all photos are one, called `value`, or as the larger one was
    SPLIT = "split"  # these photos are not of the animal that they stand under, but all of another one, called `value`, or unnamed
    NOT_THIS_ANIMAL = "not_this_animal"  # each of these photos leaves the animal that it stands under, and stands by itself
    SIDE = "side"  # the photos show the side or view `value`; empty: nobody can tell which
    DATE = "date"  # the photos were taken on `value`: 2021-11-28, with a time behind it or without, or 2021-11, or 2021
    PHOTOBOMB = "photobomb"  # what these photos have in common is another animal in the picture; says nothing of identities
    SCENERY = "scenery"  # what they have in common is the background; says nothing of identities
    UNDO = "undo"  # takes back the decision `undoes`, which may be an undo


PAIRS = frozenset((Kind.SAME, Kind.DIFFERENT, Kind.CANNOT_TELL, Kind.MERGE, Kind.PHOTOBOMB, Kind.SCENERY))  # of two photos or more
NAMING = frozenset((Kind.NEW, Kind.NAME, Kind.MERGE, Kind.SPLIT))


@dataclass(frozen=True)
class PhotoKey:
    """A photo in the log. Two keys of one digest are one photo, whatever its file is called."""

    digest: str  # as `Indexed.digest`: of its content, box and mask
    image_id: str = field(compare=False)  # for people


@dataclass(frozen=True)
class Decision:
    """What somebody decided, when and on which evidence."""

    number: int  # 1, 2, ...: their order
    kind: Kind
    photos: tuple[PhotoKey, ...]
    value: str  # a name, a side, a date; empty where there is none
    observer: str
    when: datetime  # UTC
    evidence: Mapping[str, object] = field(hash=False)  # JSON: what was on the screen. `p_same` (0..1) weighs links in contradictions
    undoes: int | None = None  # the number that an undo takes back


class DecisionLog:
    """The decisions of a gallery. The file is made by the first decision, not before. A context manager, which holds nothing open."""

    def __init__(self, gallery: Path):
        self.path = gallery / FILE
        self._known: tuple[tuple[Decision, ...], str] = (), ""  # what was read last, and the checksum of its end
        self._own = threading.local()  # the connection of a thread that writes

    def __enter__(self) -> DecisionLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def append(
        self,
        kind: Kind,
        photos: Sequence[PhotoKey],
        *,
        observer: str,
        value: str = "",
        evidence: Mapping[str, object] | None = None,
        check: Callable[[tuple[Decision, ...]], None] | None = None,
    ) -> Decision:
        """Write a decision down; it is on the disk when this returns. Raises DecisionError for one that says nothing, StoreError.

        `check` is given what counts so far, while no other writer can add to it; what it raises keeps the decision from being written.

        `evidence` is JSON without nan and infinities, otherwise ValueError."""
        value = _checked(kind, photos, value)
        with self.together() as connection:
            if check is not None:
                check(effective(self._read(connection)))
            return _insert(connection, kind, photos, value, observer, evidence or {}, None)

    def undo(self, observer: str, *numbers: int) -> Decision | None:
        """Take back this observer's last decision that counts, with all that was written down at once with it, which brings back what it
        replaced, so that undoing again and again walks back through all of them; None where none is left. With `numbers`, take back these
        decisions, all or none, whoever made them; of an undo, that brings back what it took. What is returned is the last undo that was
        written, `at_once` with any others.

        Raises DecisionError for a number that no decision that counts has, StoreError."""
        if not self.path.exists():  # and a log is made by a decision alone
            if numbers:
                raise DecisionError(f"decision {numbers[0]} does not exist; see `reid decisions`")
            return None
        with self.together() as connection:
            known = self._read(connection)
            counting = standing(known)
            if not numbers:
                own = [one for one in counting if one.observer == clean(observer) and one.kind is not Kind.UNDO]
                numbers = tuple(one.number for one in at_once(own[-1], counting)) if own else ()
            there = {one.number for one in counting}
            for number in numbers:
                if number not in there:
                    taken = any(one.number == number for one in known)
                    raise DecisionError(f"decision {number} {'is taken back already' if taken else 'does not exist'}; see `reid decisions`")
            return _take_back(connection, observer, numbers)

    def redo(self, observer: str) -> Decision | None:
        """Take back this observer's last undo, with all that was written down at once with it, unless they have decided anything since;
        None where there is none. Returns as `undo`. Raises StoreError."""
        if not self.path.exists():
            return None
        with self.together() as connection:
            known = self._read(connection)
            newest = max((one.number for one in known if one.observer == clean(observer) and one.kind is not Kind.UNDO), default=0)
            undone = [one for one in standing(known) if one.observer == clean(observer) and one.number > newest]
            last = next((one for one in reversed(undone) if _takes_back_a_decision(one, known)), None)
            return _take_back(connection, observer, [one.number for one in at_once(last, undone)] if last else ())

    def history(self) -> tuple[Decision, ...]:
        """Everything that was ever decided, undos included, in order. Raises StoreError where the file is damaged or another program's."""
        if not self.path.exists():
            return ()
        with self._connected() as connection:
            return self._read(connection)

    def effective(self) -> tuple[Decision, ...]:
        """What counts: decisions that are not taken back, without the undos, in order. Raises as `history`."""
        return effective(self.history())

    @contextmanager
    def together(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer enters: what this thread appends and takes back inside is on the disk when it ends, all of it
        or nothing. What `history` gives until then is as before. Raises StoreError."""
        if hasattr(self._own, "connection"):
            yield self._own.connection
            return
        if not self.path.exists():
            self._create()
        with self._connected() as connection:
            connection.execute("PRAGMA synchronous = EXTRA")  # FULL may lose the last commit where the power fails at once
            _begin(connection)
            self._own.connection = connection
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                del self._own.connection
        time.sleep(PAUSE)

    def _read(self, connection: sqlite3.Connection) -> tuple[Decision, ...]:
        """Every decision. What was read before is not read again where the log goes on from there: between a key and the next pair it would
        be all that was ever said, and SQLite lets other threads in at each row."""
        (known, last), select = self._known, f"SELECT {COLUMNS} FROM decisions WHERE number >= ? ORDER BY number"
        rows = connection.execute(select, (len(known),)).fetchall()
        if known and not (rows and rows[0][-1] == last):  # another file, or one whose last decisions were never written
            known, last, rows = (), "", connection.execute(select, (0,)).fetchall()
        found = known + _checked_rows(rows[1:] if known else rows, len(known), last, self.path)
        self._known = found, rows[-1][-1] if rows else ""
        return found

    def _create(self) -> None:
        """The log with its tables, there at once or not at all: one of 0 bytes has lost what it held. Raises StoreError."""
        part = self.path.with_name(f".{FILE}.{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            with closing(sqlite3.connect(part, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.executescript("; ".join(("BEGIN", *TABLES, "COMMIT")))
            try:
                os.link(part, self.path)  # fails where another was quicker
            except FileExistsError:
                pass
            except OSError:  # no links on this disk
                if not self.path.exists():
                    os.replace(part, self.path)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot use {self.path} ({error}); it must be writable, on a disk with space") from error
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        connection = None
        try:
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", PATIENCE, isolation_level=None, uri=True)
            self._check(connection)
            yield connection
        except sqlite3.OperationalError as error:  # locked, full, no permission
            if _is_busy(error):
                raise StoreError(f"{self.path} has been in use by others for {PATIENCE:g} seconds; try again") from error
            raise StoreError(f"cannot use {self.path} ({error}); it must be writable, on a disk with space") from error
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} is damaged or no log of decisions ({error}); put a copy of it in its place") from error
        finally:
            if connection is not None:
                connection.close()

    def _check(self, connection: sqlite3.Connection) -> None:
        if _application(connection) != APPLICATION:
            if not self.path.stat().st_size:
                raise StoreError(f"{self.path} is empty, and has held decisions; put a copy of it in its place, or delete it to begin anew")
            raise StoreError(f"{self.path} is no log of decisions, but another program's; move it elsewhere")
        if connection.execute("PRAGMA user_version").fetchone() != (FORMAT,):
            raise StoreError(f"{self.path} was written by another version of reid; update reid to read it")


def effective(history: Sequence[Decision]) -> tuple[Decision, ...]:
    """Decisions that are not taken back, without the undos; an undo that is itself taken back takes nothing back."""
    return tuple(one for one in standing(history) if one.kind is not Kind.UNDO)


def standing(history: Sequence[Decision]) -> tuple[Decision, ...]:
    """Decisions and undos that no undo that counts takes back. An undo is later than what it takes back."""
    taken: set[int] = set()
    found = []
    for one in reversed(history):
        if one.number not in taken:
            found.append(one)
            if one.undoes is not None:
                taken.add(one.undoes)
    return tuple(reversed(found))


def at_once(one: Decision, decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    """Of these decisions, those that were written down at once with one, and itself: the first of them, and what `follows` it by its
    evidence. Among those that are `standing` are the undos, too, of what it replaced: taken back with it, they bring that back."""
    first = one.evidence.get("follows", one.number)
    return tuple(other for other in decisions if first in (other.number, other.evidence.get("follows")))


def fingerprint(decisions: Iterable[Decision]) -> str:
    """16 hex digits over what these decisions say of which photos, whoever made them; empty for none."""
    said = [[one.kind, [photo.digest for photo in one.photos], one.value] for one in decisions]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16] if said else ""


def _takes_back_a_decision(undo: Decision, history: Sequence[Decision]) -> bool:
    return any(one.number == undo.undoes and one.kind is not Kind.UNDO for one in history)


def _checked(kind: Kind, photos: Sequence[PhotoKey], value: str) -> str:
    """The value as it is kept. Raises DecisionError."""
    if kind is Kind.UNDO:
        raise ValueError("DecisionLog.undo takes decisions back")
    least = 2 if kind in PAIRS else 1
    if len({photo.digest for photo in photos}) < least:
        raise DecisionError(f"'{kind}' is decided of {'two different photos' if least == 2 else 'a photo'} or more, not of {len(photos)}")
    if kind is Kind.SIDE:
        found = side(value) if value.strip() else ""
        if found is None:
            raise DecisionError(f"{value!r} is no side or view; write left, right, top, ..., or nothing where nobody can tell")
        return found
    if kind is Kind.DATE:
        if not ISO.fullmatch(value) or not read_dates("date", [("", value)])[0]:
            raise DecisionError(f"{value!r} is no date; write it as 2021-11-28, with a time as 2021-11-28 10:15, or as 2021-11 or 2021")
        return value
    name = clean(value)
    if kind in NAMING and not names_somebody(name) and (name or kind is Kind.NAME):
        raise DecisionError(f"{value!r} names nobody; give the animal another name")
    return name


def _insert(
    connection: sqlite3.Connection,
    kind: Kind,
    photos: Sequence[PhotoKey],
    value: str,
    observer: str,
    evidence: Mapping[str, object],
    undoes: int | None,
) -> Decision:
    last, before = connection.execute("SELECT number, checksum FROM decisions ORDER BY number DESC").fetchone() or (0, "")
    now = datetime.now(UTC)
    keys = json.dumps([[photo.digest, photo.image_id] for photo in photos])
    row = (last + 1, str(kind), keys, value, clean(observer), now.isoformat(), json.dumps(evidence, allow_nan=False), undoes)
    connection.execute(f"INSERT INTO decisions ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, _checksum(before, row)))
    return _decision(row)


def _take_back(connection: sqlite3.Connection, observer: str, numbers: Iterable[int]) -> Decision | None:
    """An undo of each, at once; the last of them."""
    undone: Decision | None = None
    evidence: dict[str, object] = {}
    for number in dict.fromkeys(numbers):
        undone = _insert(connection, Kind.UNDO, (), "", observer, evidence, number)
        evidence.setdefault("follows", undone.number)
    return undone


def _checked_rows(rows: Sequence[Sequence[object]], n_before: int, before: str, path: Path) -> tuple[Decision, ...]:
    """Decisions as rows, the first after `n_before` others. Each carries a checksum over itself and the one before, so that none can change
    or be missing unnoticed. Raises StoreError."""
    found: list[Decision] = []
    for number, (*row, checksum) in enumerate(rows, start=n_before + 1):
        try:
            if row[0] != number or checksum != _checksum(before, row):
                raise ValueError
            found.append(_decision(row))
        except (ValueError, TypeError) as error:
            raise StoreError(f"{path} is damaged at decision {number}; put a copy of it in its place") from error
        before = checksum
    return tuple(found)


def _checksum(before: str, row: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps([before, *row]).encode()).hexdigest()[:16]


def _decision(row: Sequence[object]) -> Decision:
    number, kind, photos, value, observer, when, evidence, undoes = row
    keys = tuple(PhotoKey(digest, image_id) for digest, image_id in json.loads(str(photos)))
    number, undoes = int(str(number)), None if undoes is None else int(str(undoes))
    about: dict[str, object] = json.loads(str(evidence))
    return Decision(number, Kind(str(kind)), keys, str(value), str(observer), datetime.fromisoformat(str(when)), about, undoes)


def _begin(connection: sqlite3.Connection) -> None:
    """Begin to write when nobody else does. SQLite itself looks again at most ten times a second, and on a busy machine a writer who goes
    on at once never lets the others in."""
    connection.execute("PRAGMA busy_timeout = 0")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            break
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(*LOOKS))
    connection.execute(f"PRAGMA busy_timeout = {round(1000 * PATIENCE)}")  # for readers, who are done in no time


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY  # none where the module itself found the fault


def _application(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    return int(found)
