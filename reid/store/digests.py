"""What is known of a photo's file as long as its size and time of change stay: its sha256, and what its header says.

    <folder>/digests.sqlite

Usable from any thread and process: each thread has its own connection, writers wait for one another, readers wait for nobody.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from stat import S_ISLNK, S_ISREG
from typing import Any

from ..errors import PhotoError, StoreError
from ..records import PhotoFacts, PhotoRef

FILE = "digests.sqlite"
PATIENCE = 60.0  # seconds to wait for another writer
AT_ONCE = 500  # files that are asked for together; SQLite has bounds
MOST = 2**18  # files of which all is read in one go: 0.1 GB
DIGESTS, FACTS = "digests_1", "facts_2"  # another number when headers are read otherwise
TABLES = (
    f"CREATE TABLE IF NOT EXISTS {DIGESTS} (path BLOB PRIMARY KEY, size INT, changed INT, digest TEXT, checksum INT)",
    f"CREATE TABLE IF NOT EXISTS {FACTS} (path BLOB PRIMARY KEY, size INT, changed INT, width INT, height INT, taken TEXT, checksum INT)",
)
Row = tuple[Any, ...]
State = tuple[bytes, int, int]  # the file that a path leads to, its size, its time of change
Seen = tuple[bytes, int, int, str]  # the file that a path leads to, its size, its time of change, its sha256


class Digests:
    """sha256 of photos with their crop and mask, and facts from their headers. A file is read again only when its size or its time of
    change differs, or where the caller asks for it. Nothing is written before the first question."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._ways: dict[str, dict[str, str]] = {}  # where folders lead to, by the working folder
        self._own = threading.local()
        self._open: list[tuple[int, sqlite3.Connection]] = []  # with the process that opened it
        self._lock = threading.Lock()

    def of_all(self, refs: Sequence[PhotoRef], check: bool = False) -> Iterator[str | PhotoError]:
        """`of` each photo, or what it raises."""
        everything = {} if check or len(refs) < AT_ONCE else self._everything(2 * len(refs))
        for start in range(0, len(refs), AT_ONCE):
            some = refs[start : start + AT_ONCE]
            known = itertools.repeat(None) if check else self._known([ref.path for ref in some], everything)
            for ref, digest in zip(some, known):
                try:
                    yield self.of(ref, check, digest)
                except PhotoError as error:
                    yield error

    def of(self, ref: PhotoRef, check: bool = False, known: str | None = None) -> str:
        """64 hex digits that name what the features of `ref` depend on; with `check` its files are read, whatever their size and time of
        change say. Where the sha256 of the photo's file is `known`, it is not looked up. Raises PhotoError."""
        parts = [known or self.of_file(ref.path, check)]
        if ref.crop is not None:
            parts.append(f"crop {[float(value) for value in ref.crop]}")
        if ref.mask is not None:
            parts.append(f"mask {ref.mask if ref.mask.startswith(('[', '{')) else self.of_file(Path(ref.mask), check)}")
        if ref.quarters or ref.mirrored:
            parts.append(f"turned {ref.quarters} {ref.mirrored}")
        return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def facts(self, path: Path, read: Callable[[Path], PhotoFacts]) -> PhotoFacts:
        """What `read` gives for this file, or what it gave before. Raises what it raises, and PhotoError for a file that is gone."""
        key, size, changed = _state(path, self._folders)
        row = self._row(FACTS, key)
        if row[:2] == (size, changed):
            _, _, width, height, taken = row
            return PhotoFacts((width, height), None if taken is None else datetime.fromisoformat(taken))
        found = read(path)
        taken = None if found.taken is None else found.taken.isoformat()
        self._keep(FACTS, (key, size, changed, *found.size, taken))
        return found

    def unread(self, refs: Iterable[PhotoRef]) -> list[Path]:
        """The photos' files that `of` would have to read; not those that are gone."""
        found: dict[Path, None] = {}
        for path in dict.fromkeys(ref.path for ref in refs):
            try:
                key, size, changed = _state(path, self._folders)
            except PhotoError:
                continue
            if self._row(DIGESTS, key)[:2] != (size, changed):
                found[path] = None
        return list(found)

    def look_again(self) -> None:
        """Forget where folders lead to, for links may be put elsewhere."""
        self._ways = {}

    @property
    def _folders(self) -> dict[str, str]:
        try:
            here = os.getcwd()
        except OSError:  # it is gone, and so is all below it
            here = ""
        return self._ways.setdefault(here, {})

    def learn(self, seen: Seen) -> None:
        """What another process has read."""
        self._keep(DIGESTS, seen)

    def photos(self) -> Iterator[tuple[Path, str]]:
        """Every photo and mask whose size and time of change are as they were, with the sha256 that it had."""
        rows = self._all(f"SELECT * FROM {DIGESTS} ORDER BY path")
        for key, size, changed, digest in (row[:-1] for row in rows if row[-1] == _checksum(row[:-1])):
            path = Path(os.fsdecode(key))
            try:
                if _state(path, self._folders)[1:] == (size, changed):
                    yield path, str(digest)
            except PhotoError:
                continue  # gone

    def of_file(self, path: Path, check: bool = False) -> str:
        """Its sha256, 64 hex digits; with `check` as in `of`. Raises PhotoError."""
        key, size, changed = _state(path, self._folders)
        row = self._row(DIGESTS, key)
        if row[:2] == (size, changed) and not check:
            return str(row[2])
        digest = sha256_of(path)
        if row != (size, changed, digest):
            self._keep(DIGESTS, (key, size, changed, digest))
        if check and row and row[2] != digest:  # its header may say something else, too
            self._all(f"DELETE FROM {FACTS} WHERE path = ?", key)
        return digest

    def _everything(self, most: int) -> dict[State, Row]:
        """All that is known of files, where they are no more than so many and than memory bears: read in one go in a third of the time."""
        [(n,)] = self._all(f"SELECT MAX(rowid) FROM {DIGESTS}")
        return self._rows(f"SELECT * FROM {DIGESTS}") if n and n <= min(most, MOST) else {}

    def _rows(self, statement: str, *values: object) -> dict[State, Row]:
        return {row[:3]: row for row in self._all(statement, *values)}

    def _known(self, paths: Iterable[Path], everything: dict[State, Row]) -> list[str | None]:
        """The sha256 of each whose size and time of change are as they were, asked for together, if not among `everything`."""
        states: list[State | None] = []
        folders = self._folders
        for path in paths:
            try:
                states.append(_state(path, folders))
            except PhotoError:  # whoever asks for it by itself is told
                states.append(None)
        keys = [state[0] for state in states if state]
        rows = everything or self._rows(f"SELECT * FROM {DIGESTS} WHERE path IN ({', '.join('?' * len(keys))})", *keys)
        found = [rows.get(state) if state else None for state in states]
        return [row[3] if row and row[-1] == _checksum(row[:-1]) else None for row in found]

    def _row(self, table: str, key: bytes) -> Row:
        """What is known of a file; nothing where the row is not what was written."""
        return next((row[1:-1] for row in self._all(f"SELECT * FROM {table} WHERE path = ?", key) if row[-1] == _checksum(row[:-1])), ())

    def _keep(self, table: str, row: tuple[object, ...]) -> None:
        values = (*row, _checksum(row))
        self._all(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(values))})", *values)

    def _all(self, statement: str, *values: object) -> list[Row]:
        """The rows; a table that turns out to be damaged is made anew, since it only saves reading files again. Raises StoreError."""
        for is_last in (False, True):
            try:
                with self._connection() as connection:
                    return connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                if is_last or type(error) is not sqlite3.DatabaseError:  # its own class is what damage raises
                    file = self.folder / FILE
                    raise StoreError(f"cannot use {file} ({error}); delete it, and it will be made again") from error
                self._own.connection.close()
                self._own = threading.local()  # every thread opens the new table; what another is using is closed by `close`
                try:
                    self._remove()
                except OSError as held:  # on Windows, by another thread or process
                    raise StoreError(f"{self.folder / FILE} is damaged and in use; run again when nothing else is at work") from held
        raise AssertionError

    def _connection(self) -> sqlite3.Connection:
        """This thread's; a process that was forked opens its own."""
        if getattr(self._own, "process", None) != os.getpid():
            self._own.connection, self._own.process = self._connect(), os.getpid()
        connection: sqlite3.Connection = self._own.connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        file = self.folder / FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                connection = _opened(file)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # damaged
                self._remove()
                connection = _opened(file)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"cannot write under {self.folder} ({error}); make it writable, or give another folder with --cache"
            ) from error
        with self._lock:
            self._open.append((os.getpid(), connection))
        return connection

    def is_sound(self) -> bool:
        """Whether the table, which is there, is what was written. Raises StoreError where others keep it from being read."""
        table, *_ = self.files
        try:
            with closing(_to_read(table)) as connection:
                stored = {statement for (statement,) in connection.execute("SELECT sql FROM sqlite_master")}
                rows = (row for name in (DIGESTS, FACTS) for row in connection.execute(f"SELECT * FROM {name}"))
                as_written = {statement.replace("IF NOT EXISTS ", "") for statement in TABLES} <= stored
                return is_sound(table) and as_written and all(row[-1] == _checksum(row[:-1]) for row in rows)
        except sqlite3.Error as error:
            return not _is_damage(error, table)

    @property
    def files(self) -> tuple[Path, ...]:
        """The table, and what SQLite writes beside it."""
        return tuple(self.folder / f"{FILE}{end}" for end in ("", "-wal", "-shm"))

    def _remove(self) -> None:
        for file in self.files:
            file.unlink(missing_ok=True)

    def close(self) -> None:
        """Close every thread's connection; the next question opens one again."""
        with self._lock:
            connections, self._open = self._open, []
        self._own = threading.local()
        for process, connection in connections:
            if process == os.getpid():
                connection.close()


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=PATIENCE, check_same_thread=False)
    try:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()  # where the file system cannot, it stays as it was
        except sqlite3.OperationalError:
            pass  # another process is at it; both ways go together
        connection.execute("PRAGMA synchronous = OFF")  # a lost row is a file read once more
        with connection:
            for statement in TABLES:
                connection.execute(statement)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def is_sound(file: Path) -> bool:
    """Whether SQLite finds nothing wrong with a file. Raises StoreError where others keep it from being read."""
    try:
        with closing(_to_read(file)) as connection:
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",))
    except sqlite3.Error as error:
        return not _is_damage(error, file)


def _is_damage(error: sqlite3.Error, file: Path) -> bool:
    """Raises StoreError for a lock, which says nothing of the file."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        raise StoreError(f"cannot read {file} ({error}); try again when nobody else uses it") from error
    return True


def _to_read(file: Path) -> sqlite3.Connection:
    """Also where nothing can be written beside the file."""
    way = "mode=ro" if os.access(file.parent, os.W_OK) else "immutable=1"
    return sqlite3.connect(f"{file.absolute().as_uri()}?{way}", timeout=PATIENCE, uri=True)


def seen(path: Path) -> Seen:
    """For `Digests.learn`. Raises PhotoError."""
    key, size, changed = _state(path, {})
    return key, size, changed, sha256_of(path)


def sha256_of(path: Path) -> str:
    """64 hex digits. Raises PhotoError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PhotoError(_unreadable(path, error)) from error


def _checksum(row: tuple[object, ...]) -> int:
    return zlib.crc32(repr(row).encode())


def _state(path: Path, folders: dict[str, str]) -> State:
    """The file that the path leads to, its size and its time of change; where folders lead to is looked up once. Raises PhotoError."""
    try:
        text = str(path)
        stat = os.lstat(text)
        if S_ISLNK(stat.st_mode):
            stat, real = os.stat(text), os.path.realpath(text)
            if not S_ISREG(stat.st_mode):
                raise PhotoError(f"{path} is no file")
        elif not S_ISREG(stat.st_mode):  # a pipe would be waited for
            raise PhotoError(f"{path} is no file")
        else:  # one look at the file
            above, stroke, name = text.rpartition(os.sep)
            folder = above + stroke
            if folder not in folders:
                folders[folder] = _real(os.path.split(text)[0], folders)
            real = folders[folder] + name
        return os.fsencode(real), stat.st_size, stat.st_mtime_ns
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise PhotoError(_unreadable(path, error)) from error


def _real(folder: str, folders: dict[str, str]) -> str:
    """Where a folder leads to, with a stroke behind it: one look at each folder on the way, once."""
    if folder not in folders:
        above, name = os.path.split(folder)
        plain = name not in ("", ".", "..") and not os.path.islink(folder)
        folders[folder] = os.path.join(_real(above, folders) + name if plain else os.path.realpath(folder), "")
    return folders[folder]


def _unreadable(path: Path, error: OSError | ValueError) -> str:
    if os.path.islink(path) and not os.path.exists(path):
        return f"{path} is a link to a file that is gone"
    return f"{path} cannot be read ({getattr(error, 'strerror', None) or error})"
