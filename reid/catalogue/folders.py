"""Photos under a folder, and a folder for each individual."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import GalleryError
from ..records import PhotoRef
from . import words

SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .mpo .png .webp .tif .tiff .heic .heif .avif .gif .bmp".split())


def photos_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """(photos, other files) below `folder`, sorted; hidden files and folders, and those of the system, are not looked at.

    Raises GalleryError."""
    photos, others, _ = walk(folder)
    return photos, others


def walk(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """(photos, other files, folders of the system that were passed over)."""
    photos: list[Path] = []
    others: list[Path] = []
    passed: list[Path] = []
    seen: set[str] = set()

    def unreadable(error: OSError) -> None:
        raise GalleryError(f"{error.filename} cannot be read: {error.strerror}") from error

    for path, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        seen.add(os.path.realpath(path))
        passed += [Path(path, name) for name in folders if words.is_system(name)]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not words.is_system(name))
        for name in folders:
            if os.path.realpath(os.path.join(path, name)) in seen:
                raise GalleryError(f"{os.path.join(path, name)} is a link to a folder that is read already; remove it")
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini"):
                (photos if Path(name).suffix.lower() in SUFFIXES else others).append(Path(path, name))
        # a folder named like a photo counts as one: it is named as not readable later
        photos += [Path(path, name) for name in folders if Path(name).suffix.lower() in SUFFIXES]
        folders[:] = [name for name in folders if Path(name).suffix.lower() not in SUFFIXES]
    return sorted(photos), sorted(others), sorted(passed)


def readable(path: Path) -> str:
    """The path as text that can be printed and written, whatever bytes the file system holds."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def references(root: Path) -> tuple[list[PhotoRef], list[str]]:
    """The photos of a folder per individual, and notes. A folder below an individual's that is called by a side is the side of its photos.

    Raises GalleryError."""
    photos, others, passed = walk(root)
    refs, stray = [], []
    for path in photos:
        parts = path.relative_to(root).parts
        if len(parts) == 1:
            stray.append(path.name)
            continue
        name = readable(Path(*parts))
        sides = [words.SIDES[part.lower()] for part in parts[1:-1] if part.lower() in words.SIDES]
        identity = words.clean(name.partition("/")[0])
        refs.append(PhotoRef(image_id=name, path=path, identity=identity, orientation=sides[-1] if sides else None))
    notes = []
    if passed:
        notes.append(f"passed over {some([readable(path.relative_to(root)) for path in passed])}: no animal's folder by its name")
    if others:
        notes.append(f"passed over {some([readable(path.relative_to(root)) for path in others])}: not photos by their names")
    if stray and not refs:
        n = f"{len(stray)} photos lie" if len(stray) > 1 else "1 photo lies"
        way_out = "make a folder for each animal, or a metadata.csv with the columns path and identity"
        raise GalleryError(f"{n} directly in {root}, in no individual's folder; {way_out}")
    if stray:
        notes.append(f"left out {some(stray)}: in no individual's folder")
    if not refs:
        raise GalleryError(f"{root} holds no photos; a gallery has a folder per individual with photos in it, or a metadata.csv")
    return refs, notes
