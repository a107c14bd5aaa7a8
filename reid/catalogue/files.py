"""Files that a table names: found as they are written, or in another spelling. A folder is listed once; no file is looked at by itself."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from .folders import is_photo, is_system, readable
from .values import some

LOOKED_AT = 20_000  # names below the root that are looked at for what a missing file may be called; an archive has millions


class Missing(Exception):
    """A file that is not there; the message says what may be meant."""


class Files:
    """The files below `root`, by the paths of a table."""

    def __init__(self, root: Path):
        self.root = root
        self._folders: dict[str, dict[str, bool] | None] = {}  # what a folder holds, and whether it is a link
        self._real: dict[str, str] = {}
        self._folded: dict[str, dict[str, list[str]]] = {}
        self._anywhere: dict[str, list[str]] | None = None

    def find(self, text: str) -> tuple[str, bool]:
        """(path below the root as it is spelt on disk, whether the table spells it otherwise). Raises Missing."""
        if self._holds(text):
            return text, False
        plain = text.replace("\\", "/")
        spelt = next((found for way in self._ways(plain) if (found := self._other_spelling(way)) is not None), None)
        if spelt is None:
            raise Missing(self._meant(plain))
        return spelt, True

    def key(self, spelt: str) -> str:
        """The same for every way to the same file."""
        head, _, name = spelt.rpartition("/")
        listing = self._listing(head)
        if listing is None or listing.get(name, True):  # a link
            return os.path.realpath(os.path.join(self.root, spelt))
        return os.path.join(self._real_folder(head), name)

    def _real_folder(self, folder: str) -> str:
        if folder not in self._real:
            above, _, name = folder.rpartition("/")
            listing = self._listing(above) if name and not folder.startswith("/") else None
            if listing is not None and not listing.get(name, True):  # no link
                self._real[folder] = os.path.join(self._real_folder(above), name)
            else:
                self._real[folder] = os.path.realpath(os.path.join(self.root, folder or "."))
        return self._real[folder]

    def _holds(self, text: str) -> bool:
        head, slash, name = text.rpartition("/")
        listing = self._listing(head if head or not slash else "/")
        if listing is None or name not in listing:
            return False
        return not listing[name] or os.path.exists(os.path.join(self.root, text))

    def _listing(self, folder: str) -> dict[str, bool] | None:
        if folder not in self._folders:
            try:
                with os.scandir(os.path.join(self.root, folder)) as entries:
                    self._folders[folder] = {entry.name: entry.is_symlink() for entry in entries}
            except (OSError, ValueError):  # no folder, or a name that no file system takes
                self._folders[folder] = None
        return self._folders[folder]

    def _ways(self, plain: str) -> list[str]:
        """The path itself; then, of one that begins elsewhere (C:/photos/turtles/amber/1.jpg), what it ends with."""
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        begins_elsewhere = plain.startswith("/") or (parts[:1] and (parts[0].endswith(":") or parts[0] == self.root.resolve().name))
        return [plain, *("/".join(parts[start:]) for start in range(1, len(parts)))] if begins_elsewhere else [plain]

    def _other_spelling(self, way: str) -> str | None:
        """With other capitals, composed or decomposed letters, blanks around names. Raises Missing where it may mean two files."""
        spelt = ""
        parts = [part for part in way.split("/") if part not in ("", ".")]
        for part in parts:
            here = f"{spelt}/" if spelt else ""
            listing = self._listing(spelt)
            if listing is None:
                return None
            if part != ".." and part not in listing:
                if spelt not in self._folded:
                    self._folded[spelt] = defaultdict(list)
                    for name in listing:
                        self._folded[spelt][_folded(name)].append(name)
                alike = self._folded[spelt].get(_folded(part), [])
                if len(alike) > 1:
                    raise Missing(f"; it may mean {' or '.join(repr(here + name) for name in sorted(alike))}")
                if not alike:
                    return None
                (part,) = alike
            spelt = here + part
        return spelt if parts and self._holds(spelt) else None

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
