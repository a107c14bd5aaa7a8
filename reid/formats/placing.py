"""A plan is carried out: photos are copied where that was asked for, and the table is put in its place, both by one import at a time."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from .. import catalogue
from ..errors import GalleryError, StoreError
from ..store import remove_leftovers, write_atomically
from .copying import MASKS, PHOTOS, digest_of
from .importing import REMEMBERED, Facts, Plan
from .writing import csv_bytes

LOCK = Path(catalogue.FOLDER) / "import.sqlite"  # holds nothing; a process that dies lets go of it
PATIENCE = 60.0  # seconds to wait for another import


def carry_out(done: Plan, facts: Facts) -> Path | None:
    """Copy the photos, back the old table up, put the new one in its place; the backup, where there was a table.

    A table that would not read is not put there, and all that was copied is taken away again; not so by an interrupt: the next run goes on
    with it. One import into a gallery at a time: what was
    planned before another one wrote the table is refused before anything is copied. Raises StoreError, GalleryError."""
    copied: list[Path] = []
    data = csv_bytes(done.columns, done.rows)

    def write(part: Path) -> None:
        part.write_bytes(data)
        _sync(part)
        catalogue.read(done.gallery, facts, table=part)

    def check() -> None:
        if _bytes(done.table) != done.before:
            raise StoreError(f"{done.table} was changed by another program meanwhile; run again")

    with _alone(done.gallery):
        try:
            check()
            for own in (PHOTOS, MASKS):
                remove_leftovers(done.gallery / own)
            for source, target in done.copies:
                write_atomically(target, lambda part, source=source: _copy(source, part))  # type: ignore[misc]
                copied.append(target)
            for folder in {folder for target in copied for folder in target.parents if folder.is_relative_to(done.gallery)}:
                _sync(folder)
            check()
            backup = None
            if done.before is not None:
                backup = done.table.with_name(f"metadata.before-{datetime.now():%Y-%m-%d-%H%M%S-%f}.csv")
                write_atomically(backup, done.before)
                copied.append(backup)
                _sync(backup)
                _sync(done.gallery)
            write_atomically(done.table, write)
        except BaseException as error:
            if _bytes(done.table) == done.before and not isinstance(error, KeyboardInterrupt):  # else a table, or the next run, takes them
                for path in copied:
                    path.unlink(missing_ok=True)
            raise
        _sync(done.gallery)
    if done.remember:
        write_atomically(done.gallery / REMEMBERED, (json.dumps(dict(done.remember), indent=1) + "\n").encode())
    return backup


@contextmanager
def _alone(gallery: Path) -> Iterator[None]:
    """While no other import writes into the gallery. Raises StoreError."""
    file = gallery / LOCK
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, PATIENCE, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield
    except sqlite3.Error as error:
        raise StoreError(f"cannot use {file} ({error}); is another import into it at work? run again when it has ended") from error
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write {gallery}: {error.strerror or error}") from error


def _copy(source: Path, part: Path) -> None:
    """Raises GalleryError for what cannot be read any more, OSError for what cannot be written."""
    try:
        shutil.copyfile(source, part)
    except OSError:
        try:
            digest_of(source)
        except OSError as error:
            said = f"{source} cannot be read any more ({error.strerror or error}); the table is as before"
            raise GalleryError(f"{said}; run again, with --skip-bad to leave out what cannot be read") from error
        raise
    _sync(part)
    with suppress(OSError):  # a network share may refuse it, and nothing hangs on it
        shutil.copystat(source, part)


def _sync(path: Path) -> None:
    """What a file or a folder holds is on the disk when this returns: whoever empties a camera's card next has the photos, whatever happens
    to the power. Not every system can do so for a folder."""
    is_folder = path.is_dir()
    try:
        place = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(place)
        finally:
            os.close(place)
    except OSError:
        if not is_folder:
            raise


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
