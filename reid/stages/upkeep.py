"""What is stored, looked after: what is damaged, and what nobody needs any more. Networks and settings take no part in it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from .. import retrieval
from ..catalogue import DecisionLog
from ..errors import GalleryError, PhotoError, StoreError
from ..listener import Listener
from ..records import PhotoRef
from ..store import LEFTOVER_AGE, DamagedFile, Digests, is_old, is_sound, leftovers, read_json, read_tensors, remove, sha256_of

DAY = 86400.0  # seconds
BY_PHOTO = ("features", "layouts", "matches", "second", "coarse")  # <kind>/<fingerprint>/<..>/<digest>.safetensors
INDEXES = "shortlist"  # <kind>/<fingerprint>/<key>/
BY_GALLERY = ("impostors", "recall", "runs")  # <kind>/<name>.json
PICTURES = "pictures"  # <kind>/<side in px>/<..>/<digest>.jpg, as the review app shows photos
OF_CALIBRATION = "calibration"  # what `reid calibrate` has learned, which `collect` leaves alone
AGAIN = "is damaged; --repair deletes it, and it is computed again when it is needed"
CHANGED = "is not what it was, though its size and time are; put a copy in its place, or run `reid index --check` to take it as it is"
LEARNED = "is damaged and not used; --repair deletes it; run `reid calibrate` again"


@dataclass(frozen=True)
class Damage:
    """A file that is not what it was."""

    path: Path
    advice: str  # what is wrong, and what to do
    computed: tuple[Path, ...] = ()  # what to delete, so that it is computed again


def damages(folder: Path, root: Path, listener: Listener) -> Iterator[Damage]:
    """Of all that is stored in `folder` for the gallery at `root`, and of the photos whose sha256 is stored there."""
    yield from _damaged_files(folder, listener)
    digests = Digests(folder)
    table, *_ = digests.files
    if table.exists():
        if digests.is_sound():
            yield from _changed_photos(digests, listener)
        else:
            yield Damage(table, AGAIN, digests.files)
    digests.close()
    yield from _damaged_log(DecisionLog(root))


def _damaged_log(log: DecisionLog) -> Iterator[Damage]:
    """The log itself is asked first: it takes back what a killed writer has left half written, and knows what each decision was. Raises
    StoreError where others keep it from being read, or what was left cannot be taken back."""
    try:
        log.history()
    except StoreError as error:
        if isinstance(error.__cause__, sqlite3.OperationalError):  # which says nothing of the file
            raise
        yield Damage(log.path, str(error).removeprefix(f"{log.path} "))
    else:
        if log.path.exists() and not is_sound(log.path):
            yield Damage(log.path, "is damaged; nothing can compute it again: put a copy of it in its place")


def _damaged_files(folder: Path, listener: Listener) -> Iterator[Damage]:
    kinds = (*BY_PHOTO, INDEXES, *BY_GALLERY, OF_CALIBRATION)
    unread: list[OSError] = []
    walks = (os.walk(folder / kind, onerror=unread.append) for kind in kinds)
    found = [sorted(Path(place, name) for place, _, names in walk for name in names) for walk in walks]
    files = [file for of_kind in found for file in of_kind if file.suffix in (".safetensors", ".json")]
    for error in unread:
        if not isinstance(error, FileNotFoundError):  # nothing of this kind is stored
            yield Damage(Path(error.filename), f"cannot be read ({error.strerror}); make it readable, and check again")
    for done, file in enumerate(files):
        listener.progress("stored files", done, len(files))
        advice = LEARNED if file.relative_to(folder).parts[0] == OF_CALIBRATION else AGAIN
        try:
            read_json(file) if file.suffix == ".json" else read_tensors(file)
        except FileNotFoundError:
            continue  # another process has replaced or deleted it
        except DamagedFile:
            yield Damage(file, advice, (file,))
            continue
        except StoreError as error:
            yield Damage(file, f"{advice} ({error})", (file,))
            continue
        if file.relative_to(folder).parts[0] == INDEXES and not retrieval.is_whole(file.parent):
            yield Damage(file.parent, AGAIN, (file.parent,))
    listener.progress("stored files", len(files), len(files))


def _changed_photos(digests: Digests, listener: Listener) -> Iterator[Damage]:
    photos = list(digests.photos())
    for done, (path, digest) in enumerate(photos):
        listener.progress("photos read", done, len(photos))
        try:
            if sha256_of(path) != digest:
                yield Damage(path, CHANGED)
        except PhotoError as error:
            yield Damage(path, f"cannot be read; put a copy of it in its place ({error})")
    listener.progress("photos read", len(photos), len(photos))


@dataclass(frozen=True)
class Garbage:
    """A file, or a folder with all that it holds, that nobody needs."""

    kind: str
    path: Path

    def files(self) -> list[Path]:
        return [file for file in self.path.rglob("*") if file.is_file()] if self.path.is_dir() else [self.path]


def needed(refs: Sequence[PhotoRef], digests: Digests, listener: Listener) -> set[str]:
    """Digests, turned and mirrored in every way, of these photos, and of all others whose files are still there as they were read. Raises
    GalleryError where one of these cannot be looked at, since nobody knows then what it needs."""

    def turned(ref: PhotoRef, known: str) -> set[str]:
        ways = (replace(ref, quarters=turn, mirrored=mirrored) for turn in range(4) for mirrored in (False, True))
        return {digests.of(way, known=known) for way in ways}

    found: set[str] = set()
    for done, ref in enumerate(refs):
        listener.progress("photos looked up", done, len(refs))
        try:
            found |= turned(ref, digests.of_file(ref.path))
        except PhotoError as error:
            raise GalleryError(f"{error}; nothing is freed, since what it needs is not known: connect its disk, or take it out") from error
    listener.progress("photos looked up", len(refs), len(refs))
    others = [(path, digest) for path, digest in digests.photos() if digest not in found]
    for done, (path, digest) in enumerate(others):
        listener.progress("other photos looked up", done, len(others))
        found |= turned(PhotoRef(str(path), path), digest)
    if others:
        listener.progress("other photos looked up", len(others), len(others))
    return found


def garbage(folder: Path, unused_for: float, needed: Set[str] | None) -> Iterator[Garbage]:
    """What no photo needs of which the digest is `needed` (None: it is not known which are), what was not used for so many days, and what
    killed runs have left; nothing that was touched in the last hour, and nothing that was learned or decided."""
    unused = max(unused_for * DAY, LEFTOVER_AGE)
    for part in leftovers(folder):
        yield Garbage("leftovers", part)
    for kind in BY_PHOTO:
        for settings in sorted((folder / kind).glob("*/")):
            if all(is_old(one, unused) for one in (settings, *settings.glob("*/"))):
                yield Garbage(kind, settings)
            elif needed is not None:
                files = sorted(settings.glob("*/*.safetensors"))
                yield from (Garbage(kind, file) for file in files if file.stem not in needed and is_old(file))
    for indexes in sorted((folder / INDEXES).glob("*/")):
        yield from (Garbage(INDEXES, path) for path in retrieval.unneeded(indexes, unused, needed))
    for file in sorted((folder / PICTURES).glob("*/*/*.jpg")):
        if is_old(file, unused) or (needed is not None and file.stem not in needed and is_old(file)):
            yield Garbage(PICTURES, file)
    for kind in BY_GALLERY:
        yield from (Garbage(kind, file) for file in sorted((folder / kind).glob("*.json")) if is_old(file, unused))


def collect(folder: Path, unused_for: float, needed: Set[str] | None, *, dry_run: bool) -> dict[str, tuple[int, int]]:
    """Delete the garbage: {kind: (number of files, bytes)}; with `dry_run` only count it."""
    found: dict[str, tuple[int, int]] = {}
    for one in list(garbage(folder, unused_for, needed)):
        for file in one.files():
            try:
                n_files, n_bytes = found.get(one.kind, (0, 0))
                found[one.kind] = n_files + 1, n_bytes + os.path.getsize(file)
            except OSError:
                continue  # another process was faster
        if not dry_run:
            remove(one.path)
    return found
