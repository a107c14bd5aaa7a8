"""Files that a table names: found as they are written, or in another spelling. A folder is listed once; no file is looked at by itself."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .folders import is_photo, is_system, readable
from .values import some

LOOKED_AT = 20_000  # names below the root that are looked at for what a missing file may be called; an archive has millions


class Missing(Exception):
    """A file that is not there; the message says what may be meant."""


@dataclass(slots=True)
class Folder:
    any_file: Path  # by way of the root; its `with_name` is the quickest way to another
    real: str  # where the folder leads to, with a stroke behind it
    names: dict[str, bool]  # that it holds, and whether each is a link


@dataclass(slots=True)
class Found:
    """A file that is there."""

    spelt: str  # below the root, as on disk
    path: Path  # by way of the root
    key: str  # the same for every way to the same file


class Files:
    """The files below `root`, by the paths of a table."""

    def __init__(self, root: Path):
        self.root = root
        self._folders: dict[str, Folder | None] = {}
        self._folded: dict[str, dict[str, list[str]]] = {}
        self._anywhere: dict[str, list[str]] | None = None

    def find(self, text: str) -> Found:
        """In another spelling where there is no such file. Raises Missing."""
        if found := self._held(text):
            return found
        plain = text.replace("\\", "/")
        for way in self._ways(plain):
            if found := self._other_spelling(way):
                return found
        raise Missing(self._meant(plain))

    def _held(self, text: str) -> Found | None:
        head, slash, name = text.rpartition("/")
        folder = self._folder(head if head or not slash else "/")
        if folder is None or name not in folder.names:
            return None
        path, is_link = folder.any_file.with_name(name), folder.names[name]
        if is_link and not os.path.exists(path):
            return None
        return Found(text, path, os.path.realpath(path) if is_link else folder.real + name)

    def _folder(self, folder: str) -> Folder | None:
        if folder not in self._folders:
            path = os.path.join(self.root, folder)
            try:
                with os.scandir(path) as entries:
                    names = {entry.name: entry.is_symlink() for entry in entries}
                self._folders[folder] = Folder(Path(path, "any"), os.path.join(self._real(folder), ""), names)
            except (OSError, ValueError):  # no folder, or a name that no file system takes
                self._folders[folder] = None
        return self._folders[folder]

    def _real(self, folder: str) -> str:
        above, _, name = folder.rpartition("/")
        outer = self._folder(above) if name and not folder.startswith("/") else None
        if outer is not None and not outer.names.get(name, True):  # no link
            return outer.real + name
        return os.path.realpath(os.path.join(self.root, folder or "."))

    def _ways(self, plain: str) -> list[str]:
        """The path itself; then, of one that begins elsewhere (C:/photos/turtles/amber/1.jpg), what it ends with."""
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        begins_elsewhere = plain.startswith("/") or (parts[:1] and (parts[0].endswith(":") or parts[0] == self.root.resolve().name))
        return [plain, *("/".join(parts[start:]) for start in range(1, len(parts)))] if begins_elsewhere else [plain]

    def _other_spelling(self, way: str) -> Found | None:
        """With other capitals, composed or decomposed letters, blanks around names. Raises Missing where it may mean two files."""
        spelt = ""
        parts = [part for part in way.split("/") if part not in ("", ".")]
        for part in parts:
            here = f"{spelt}/" if spelt else ""
            folder = self._folder(spelt)
            if folder is None:
                return None
            if part != ".." and part not in folder.names:
                if spelt not in self._folded:
                    self._folded[spelt] = defaultdict(list)
                    for name in folder.names:
                        self._folded[spelt][_folded(name)].append(name)
                alike = self._folded[spelt].get(_folded(part), [])
                if len(alike) > 1:
                    raise Missing(f"; it may mean {' or '.join(repr(here + name) for name in sorted(alike))}")
                if not alike:
                    return None
                (part,) = alike
            spelt = here + part
        return self._held(spelt) if parts else None

    def _meant(self, plain: str) -> str:
        """Photos of the same name in other folders, or with another ending; of the first names, for it is a hint and no more."""
        if self._anywhere is None:
            self._anywhere = defaultdict(list)
            for path in filter(is_photo, islice(self._below(), LOOKED_AT)):
                self._anywhere[_folded(Path(path).stem)].append(readable(os.path.relpath(path, self.root)))
        alike = self._anywhere.get(_folded(Path(plain).stem), [])
        exact = [path for path in alike if _folded(Path(path).name) == _folded(Path(plain).name)] or alike
        return f"; did you mean {some([repr(path) for path in exact])}?" if exact else ""

    def _below(self) -> Iterator[str]:
        """Folders and files, those of each folder together; links to folders are not followed, what cannot be read is passed over."""
        for path, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not is_system(name))
            yield from (os.path.join(path, name) for name in (*folders, *sorted(names)) if not is_system(name))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()
