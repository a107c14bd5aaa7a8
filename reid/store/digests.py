"""What is known of a photo's file as long as its size and time of change stay: its sha256, and what its header says.

    <folder>/digests.sqlite

Usable from any thread and process: each thread has its own connection, writers wait for one another, readers wait for nobody.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import PhotoError, StoreError
from ..records import PhotoFacts, PhotoRef

FILE = "digests.sqlite"
PATIENCE = 60.0  # seconds to wait for another writer
TABLES = (  # facts_1: another number when headers are read otherwise
    "CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, size INT, changed INT, digest TEXT)",
    "CREATE TABLE IF NOT EXISTS facts_1 (path BLOB PRIMARY KEY, size INT, changed INT, width INT, height INT, taken TEXT)",
)


class Digests:
    """sha256 of photos with their crop and mask, and facts from their headers. A file is read again only when its size or its time of
    change differs, or where the caller asks for it. Nothing is written before the first question."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._own = threading.local()
        self._open: list[tuple[int, sqlite3.Connection]] = []  # with the process that opened it
        self._lock = threading.Lock()

    def of(self, ref: PhotoRef, check: bool = False) -> str:
        """64 hex digits that name what the features of `ref` depend on; with `check` its files are read, whatever their size and time of
        change say. Raises PhotoError."""
        parts = [self._file(ref.path, check)]
        if ref.crop is not None:
            parts.append(f"crop {[float(value) for value in ref.crop]}")
        if ref.mask is not None:
            parts.append(f"mask {ref.mask if ref.mask.startswith(('[', '{')) else self._file(Path(ref.mask), check)}")
        if ref.quarters or ref.mirrored:
            parts.append(f"turned {ref.quarters} {ref.mirrored}")
        return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def facts(self, path: Path, read: Callable[[Path], PhotoFacts]) -> PhotoFacts:
        """What `read` gives for this file, or what it gave before. Raises what it raises, and PhotoError for a file that is gone."""
        key, size, changed = _state(path)
        row = self._ask("SELECT size, changed, width, height, taken FROM facts_1 WHERE path = ?", (key,))
        if row is not None and row[:2] == (size, changed):
            _, _, width, height, taken = row
            return PhotoFacts((width, height), None if taken is None else datetime.fromisoformat(taken))
        found = read(path)
        taken = None if found.taken is None else found.taken.isoformat()
        self._ask("INSERT OR REPLACE INTO facts_1 VALUES (?, ?, ?, ?, ?, ?)", (key, size, changed, *found.size, taken))
        return found

    def _file(self, path: Path, check: bool) -> str:
        key, size, changed = _state(path)
        row = self._ask("SELECT size, changed, digest FROM digests WHERE path = ?", (key,))
        if row is not None and row[:2] == (size, changed) and not check:
            return str(row[2])
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise PhotoError(_unreadable(path, error)) from error
        if row != (size, changed, digest):
            self._ask("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", (key, size, changed, digest))
        if check and row is not None and row[2] != digest:  # its header may say something else, too
            self._ask("DELETE FROM facts_1 WHERE path = ?", (key,))
        return digest

    def _ask(self, statement: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        """The first row; a table that turns out to be damaged is made anew, since it only saves reading files again. Raises StoreError."""
        for is_last in (False, True):
            try:
                with self._connection() as connection:
                    row: tuple[Any, ...] | None = connection.execute(statement, values).fetchone()
                return row
            except sqlite3.Error as error:
                if is_last or type(error) is not sqlite3.DatabaseError:  # its own class is what damage raises
                    file = self.folder / FILE
                    raise StoreError(f"cannot use {file} ({error}); delete it, and it will be made again") from error
                self._own = threading.local()  # every thread opens the new table; what another is using is closed by `close`
                self._remove()
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

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            (self.folder / (FILE + end)).unlink(missing_ok=True)

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


def _state(path: Path) -> tuple[bytes, int, int]:
    """The file that the path leads to, its size and its time of change. Raises PhotoError."""
    try:
        stat = path.stat()
        return os.fsencode(os.path.realpath(path)), stat.st_size, stat.st_mtime_ns
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise PhotoError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: OSError | ValueError) -> str:
    if os.path.islink(path) and not os.path.exists(path):
        return f"{path} is a link to a file that is gone"
    return f"{path} cannot be read ({getattr(error, 'strerror', None) or error})"
