"""What a file's path, size and time of change stand for: its sha256, and what its header says; <folder>/digests.sqlite.

Usable from any thread and process: every thread has a connection of its own.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from ..errors import PhotoError, StoreError
from ..records import PhotoFacts, PhotoRef

TABLES = (
    "CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, size INT, changed INT, digest TEXT)",
    "CREATE TABLE IF NOT EXISTS facts (path BLOB PRIMARY KEY, size INT, changed INT, width INT, height INT, taken TEXT)",
)


class Digests:
    """sha256 of photos with their crop and mask, and the facts of their headers; files are read again only when their size or time of
    change differs, or when they are to be checked."""

    def __init__(self, folder: Path):
        self.folder, self.file = folder, folder / "digests.sqlite"
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def of(self, ref: PhotoRef, check: bool = False) -> str:
        """64 hex digits that name what the features of `ref` depend on; with `check` its files are read whatever they look like.

        Raises PhotoError."""
        parts = [self._file(ref.path, check)]
        if ref.crop is not None:
            parts.append(f"crop {[float(value) for value in ref.crop]}")
        if ref.mask is not None:
            parts.append(f"mask {ref.mask if ref.mask.startswith(('[', '{')) else self._file(Path(ref.mask), check)}")
        if ref.quarters or ref.mirrored:
            parts.append(f"turned {ref.quarters} {ref.mirrored}")
        return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def facts(self, path: Path, read: Callable[[Path], PhotoFacts]) -> PhotoFacts:
        """What `read` gives for this file, or what it gave before. Raises what it raises."""
        try:
            key, size, changed = self._state(path)
        except OSError:
            return read(path)
        with self._database() as database:
            row = database.execute("SELECT size, changed, width, height, taken FROM facts WHERE path = ?", (key,)).fetchone()
        if row is not None and row[:2] == (size, changed):
            return PhotoFacts((row[2], row[3]), datetime.fromisoformat(row[4]) if row[4] else None)
        found = read(path)
        taken = found.taken.isoformat() if found.taken else None
        with self._database() as database:
            database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?, ?)", (key, size, changed, *found.size, taken))
        return found

    def _file(self, path: Path, check: bool) -> str:
        try:
            key, size, changed = self._state(path)
            with self._database() as database:
                row = database.execute("SELECT size, changed, digest FROM digests WHERE path = ?", (key,)).fetchone()
            if row is not None and row[:2] == (size, changed) and not check:
                return str(row[2])
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            reason = "is a link to a file that is gone" if path.is_symlink() and not path.exists() else f"cannot be read ({error.strerror})"
            raise PhotoError(f"{path} {reason}") from error
        with self._database() as database:
            database.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", (key, size, changed, digest))
        return digest

    @staticmethod
    def _state(path: Path) -> tuple[bytes, int, int]:
        stat = path.stat()
        return os.fsencode(os.path.realpath(path)), stat.st_size, stat.st_mtime_ns

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection, in a transaction."""
        try:
            if getattr(self._local, "database", None) is None:
                self._local.database = self._connect()
            with self._local.database as database:
                yield database
        except sqlite3.Error as error:
            raise StoreError(f"cannot use {self.file} ({error}); make it writable or delete it, it is made anew") from error

    def _connect(self) -> sqlite3.Connection:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                database = self._made()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # damaged: it only saves reading files again
                self.file.unlink()
                database = self._made()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"cannot write under {self.folder} ({error}); make it writable, or give another folder with --cache"
            ) from error
        with self._lock:
            self._open.append(database)
        return database

    def _made(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.file, timeout=60, check_same_thread=False)  # `close` is called by another thread
        database.execute("PRAGMA synchronous = OFF")  # a lost row is a file read once more
        with database:
            for table in TABLES:
                database.execute(table)
        return database

    def close(self) -> None:
        """Close every thread's connection; the next use opens one again."""
        with self._lock:
            for database in self._open:
                database.close()
            self._open.clear()
            self._local = threading.local()
