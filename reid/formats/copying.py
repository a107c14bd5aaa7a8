"""Where the photos of an import will lie: copies that an import makes, and photos that the gallery holds already."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..catalogue.columns import COLUMNS
from ..catalogue.sides import side_in_name
from ..catalogue.values import counted, some
from ..errors import GalleryError
from .merging import Entry

PHOTOS, MASKS = "photos", "masks"  # the folders of a gallery that photos and masks are copied into


class Copier:
    """Where each photo will lie: where it is, or in the gallery under its own name; never on another file, nor twice in the gallery."""

    def __init__(self, gallery: Path, copy: bool, unpacked: Path, known: Sequence[Entry]):
        self.gallery, self.copy, self.unpacked = gallery, copy, os.path.realpath(unpacked)
        self.real = os.path.join(os.path.realpath(gallery), "")  # what lies in the gallery begins so, wherever links lead
        self.known: dict[int, list[Entry]] = {}  # rows of the gallery, by the size of their file
        copied = os.path.join(self.real, PHOTOS, "")
        for entry in known:
            is_left = entry.by_folder and entry.file.startswith(copied)  # by an import that was interrupted: no animal's folder
            if not is_left and (not copy or entry.file.startswith(self.real)):  # else the copy is wanted
                with suppress(OSError):  # told where it is read
                    self.known.setdefault(entry.draft.path.stat().st_size, []).append(entry)
        self.renamed: dict[str, str] = {}  # photos that are in the gallery under another name
        self.twice: dict[str, str] = {}  # photos that repeat another one of this import
        self.placed: set[str] = set()  # photos of this import
        self.digests: dict[Path, bytes] = {}
        self.copies: list[tuple[Path, Path]] = []
        self.of: dict[str, Path] = {}
        self.taken: set[str] = set()
        self.repeated: set[str] = set()  # copies that an import before, perhaps an interrupted one, has made

    def held(self, entry: Entry, *, is_said: bool) -> Path | None:
        """Where the photo lies, or will lie, that has the content of this one: of a row of the gallery, unless the two are said to show
        different animals; of a photo before in this import, unless anything differs, or `is_said` by a table that there are two."""
        path, real = entry.draft.path, os.path.realpath(entry.draft.path)
        if real.startswith(self.real):
            return None
        for one in self.known.get(path.stat().st_size, ()):
            is_new = one.old is None and not one.by_folder
            others = entry.is_named and one.is_named and entry.cells["identity"] != one.cells["identity"]
            if others or (is_new and (is_said or real in self.placed or _differ(one, entry))) or not self._same(path, one.draft.path):
                continue
            if is_new:
                self.twice[real] = f"{path} is {one.draft.path}"
                return Path(one.file)
            if path.name != one.draft.path.name:
                self.renamed[str(path)] = f"{path.name} is {one.cells['path']}"
            return one.draft.path
        return None

    def keep(self, entry: Entry, *, is_said: bool) -> None:
        """A photo of this import, once it is placed, stands for others of its content."""
        path, real = entry.draft.path, os.path.realpath(entry.draft.path)
        self.placed.add(real)
        if is_said:
            self.twice.pop(real, None)
        elif real not in self.twice and not real.startswith(self.real):
            self.known.setdefault(path.stat().st_size, []).append(entry)

    def _same(self, *paths: Path) -> bool:
        """Of photos of one size."""
        try:
            for path in paths:
                if path not in self.digests:
                    self.digests[path] = digest_of(path)
        except OSError:  # told where it is read
            return False
        return len({self.digests[path] for path in paths}) == 1

    def notes(self) -> list[str]:
        notes = []
        if self.renamed:
            what = counted(len(self.renamed), "photo is", "photos are")
            notes.append(f"{what} in the gallery under another name, and not taken in again: {some(self.renamed.values())}")
        if self.twice:
            what = counted(len(self.twice), "photo repeats another one", "photos repeat others")
            notes.append(f"{what} of this import, byte by byte, with one row for both: {some(self.twice.values())}")
        return notes

    def place(self, path: Path, root: Path, folder: str = PHOTOS) -> Path:
        """Raises GalleryError for a photo in a zip that is not copied."""
        real = os.path.realpath(path)
        if real.startswith(self.real):
            return path
        if not self.copy:
            if real.startswith(self.unpacked + os.sep):
                raise GalleryError("the photos lie in a zip; add --copy, or unpack it first")
            return path
        if real not in self.of:
            above = os.path.join(os.path.abspath(root), "")
            below = os.path.abspath(path).removeprefix(above)
            self.of[real] = self._free(path, self.gallery / folder / (path.name if os.path.isabs(below) else below))
        return self.of[real]

    def _free(self, path: Path, target: Path) -> Path:
        number, free = 1, target
        while True:
            if free.is_file() and same(path, free):
                self.taken.add(str(free).casefold())
                self.repeated.add(os.path.realpath(free))
                return free
            if str(free).casefold() not in self.taken and not os.path.lexists(free):
                self.taken.add(str(free).casefold())
                self.copies.append((path, free))
                return free
            number += 1
            free = target.with_name(f"{target.stem} ({number}){target.suffix}")


def _differ(a: Entry, b: Entry) -> bool:
    """Whether two rows say different things of what may be one photo: a name or none, another box or side, another day, site, ..."""
    sides = [entry.cells["orientation"] or side_in_name(entry.draft.path.stem) for entry in (a, b)]
    said = (name for name in COLUMNS if name not in ("path", "identity", "image_id") and a.cells.get(name) and b.cells.get(name))
    if a.is_named != b.is_named or a.draft.crop != b.draft.crop:
        return True
    return sides[0] != sides[1] or any(a.cells[name] != b.cells[name] for name in said)


def same(a: Path, b: Path) -> bool:
    try:
        return a.stat().st_size == b.stat().st_size and digest_of(a) == digest_of(b)
    except OSError:
        return False


def digest_of(path: Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
