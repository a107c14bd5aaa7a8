"""sha256 of photos by path, size and time of change: <folder>/digests.sqlite."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import PhotoError, StoreError
from ..records import PhotoRef


class Digests:
    """sha256 of photos with their crop and mask; files are read again only when their size or time of change differs."""

    def __init__(self, folder: Path):
        file = folder / "digests.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._open(file)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # damaged: it only saves reading files again
                file.unlink()
                self._open(file)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot write under {folder} ({error}); make it writable, or give another folder with --cache") from error

    def _open(self, file: Path) -> None:
        self.database = sqlite3.connect(file, timeout=60)
        self.database.execute("PRAGMA synchronous = OFF")  # a lost row is a file read once more
        with self.database:
            self.database.execute("CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, size INT, changed INT, digest TEXT)")

    def of(self, ref: PhotoRef) -> str:
        """64 hex digits that name what the features of `ref` depend on. Raises PhotoError."""
        parts = [self._file(ref.path)]
        if ref.crop is not None:
            parts.append(f"crop {[float(value) for value in ref.crop]}")
        if ref.mask is not None:
            parts.append(f"mask {ref.mask if ref.mask.startswith(('[', '{')) else self._file(Path(ref.mask))}")
        if ref.quarters or ref.mirrored:
            parts.append(f"turned {ref.quarters} {ref.mirrored}")
        return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _file(self, path: Path) -> str:
        try:
            stat = path.stat()
            key = os.fsencode(os.path.realpath(path))
            with self._guard():
                row = self.database.execute("SELECT size, changed, digest FROM digests WHERE path = ?", (key,)).fetchone()
            if row is not None and row[:2] == (stat.st_size, stat.st_mtime_ns):
                return str(row[2])
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            reason = "is a link to a file that is gone" if path.is_symlink() and not path.exists() else f"cannot be read ({error.strerror})"
            raise PhotoError(f"{path} {reason}") from error
        with self._guard(), self.database:
            self.database.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", (key, stat.st_size, stat.st_mtime_ns, digest))
        return digest

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"cannot use the table of digests ({error}); delete digests.sqlite, it is made anew") from error

    def close(self) -> None:
        self.database.close()
