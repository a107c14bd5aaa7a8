"""What lies in folders: photos, what is passed over, and a folder for each individual as a gallery."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..errors import GalleryError
from ..records import UNKNOWN
from .decisions import FILE
from .draft import Draft
from .sides import is_side, side, side_in_name
from .values import counted, said, some

FOLDER = ".reid"  # everything that reid computes is under it
INBOX = "reid-inbox"  # photos that the review app was given
OWN = frozenset((FOLDER, INBOX, FILE, f"{FILE}-journal"))  # names that reid gives in a gallery
SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .mpo .png .webp .tif .tiff .heic .heif .avif .gif .bmp".split())
TABLES = frozenset((".csv", ".tsv", ".xlsx", ".parquet"))  # they belong beside photos, and need no word
SYSTEM = frozenset(
    (
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@__thumb", "@transcode", "#recycle", "#snapshot", "~snapshot",
        "$recycle.bin", "recycler", "recycled", "system volume information", "lost+found", "__macosx", "network trash folder",
        "temporary items", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "thumbnails", "thumbs", "__pycache__",
        "_gsdata_",
    )
)  # fmt: skip
SYSTEM_FORMS = re.compile(r"found\.\d{3}|.+\.(lrdata|lrcat-data|cocatalog)", re.IGNORECASE)
ENVIRONMENT = "pyvenv.cfg"  # what a Python environment has, as `python3 -m venv` makes it
CAMERAS = re.compile(  # how cameras name folders (DCF, JEITA CP-3461): 100CANON, 101_PANA, by days 10160715; or whole days, 2026-07-15
    r"DCIM|Camera|[1-9]\d{2}(?!\d{5})[A-Z0-9_]{5}|[1-9]\d{3}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    r"|(?:19|20)\d{2}([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])",
    re.IGNORECASE | re.ASCII,
)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MASKS = frozenset(("mask", "masks", "segmentation", "segmentations", "segmentation mask", "segmentation masks"))


@dataclass(frozen=True)
class Contents:
    """What lies below a folder, sorted."""

    photos: list[str]  # below the folder, with the system's strokes between names
    others: list[str]  # files that are not photos by their names
    system: Counter[str]  # names of folders and files of systems and tools, hidden ones included

    def notes(self) -> list[str]:
        notes = []
        others = [readable(path) for path in self.others if os.path.splitext(path)[1].lower() not in TABLES]
        if others:
            notes.append(f"skipped {some(others)}: not photos by their names")
        if self.system:
            names = some([f"{name.strip()} ({n:,})" if n > 1 else name.strip() for name, n in sorted(self.system.items())], most=6)
            notes.append(f"skipped files of systems and tools: {names}")
        return notes


def is_system(name: str) -> bool:
    """Whether a folder or file belongs to a system or a tool, or to reid: nobody is called @eaDir, #recycle or masks."""
    return (
        name.startswith(".") or name in OWN or name.casefold() in SYSTEM or said(name) in MASKS or SYSTEM_FORMS.fullmatch(name) is not None
    )


def is_cameras(name: str) -> bool:
    """Whether a folder is named as a camera names it, or by a day, and so by no animal."""
    return CAMERAS.fullmatch(name) is not None


def station(folders: Sequence[str]) -> tuple[str, ...]:
    """The folders down to a card that was copied whole, `station1/DCIM` of `station1/DCIM/100EK113`: those name a place, and no animal."""
    steps = enumerate(pairwise(folders))
    place = next((place for place, (name, below) in steps if name.upper() == "DCIM" and is_cameras(below)), 0)
    return tuple(folders[: place + 1]) if place else ()


def contents(folder: Path) -> Contents:
    """Everything below `folder`. Raises GalleryError."""
    photos: list[str] = []
    others: list[str] = []
    system: Counter[str] = Counter()
    seen: set[str] = set()
    top = str(folder)

    def unreadable(error: OSError) -> None:
        raise GalleryError(f"{error.filename} cannot be read: {error.strerror}") from error

    for path, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        here = "" if path == top else path.removeprefix(top).lstrip(os.sep) + os.sep
        seen.add(os.path.realpath(path))
        tools = {name for name in folders if os.path.exists(os.path.join(path, name, ENVIRONMENT))}
        system.update(name for name in (*folders, *names) if (name in tools or is_system(name)) and name not in OWN)
        folders[:] = sorted(name for name in folders if name not in tools and not is_system(name))
        for name in folders:
            child = os.path.join(path, name)
            real = os.path.realpath(child)
            if os.path.islink(child) and (real in seen or real.startswith(os.path.realpath(top) + os.sep)):
                raise GalleryError(f"{child} is a link to a folder that is read itself, and photos would be read twice; remove it")
            if real in seen:
                raise GalleryError(f"{child} is read already, by way of a link to a folder; remove that link")
        for name in names:
            if not is_system(name):
                (photos if is_photo(name) else others).append(here + name)
        # a folder named like a photo counts as one: it is named as not readable later
        photos += [here + name for name in folders if is_photo(name)]
        folders[:] = [name for name in folders if not is_photo(name)]
    return Contents(_sorted(photos), _sorted(others), system)


def is_photo(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _sorted(paths: list[str]) -> list[str]:
    return sorted(paths, key=lambda path: path.split(os.sep))


def photos_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """(photos, other files) below `folder`, sorted; what is hidden or of a system or a tool is not looked at. Raises GalleryError."""
    found = contents(folder)
    return [folder / path for path in found.photos], [folder / path for path in found.others]


def readable(path: Path | str) -> str:
    """The path as text that can be printed and written, whatever bytes the file system holds; with / between names."""
    text = path.replace(os.sep, "/") if isinstance(path, str) else path.as_posix()
    if text.isascii() and text.isprintable():
        return text
    text = CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def way(path: Path | str, root: Path) -> str:
    """How a path is named from a folder, as `readable`; whole where it is on another drive."""
    try:
        return readable(os.path.relpath(path, root))
    except ValueError:
        return readable(os.path.abspath(path))


def read_folders(root: Path, names_as_written: bool, takes_stray: bool = False) -> tuple[list[Draft], list[str], list[str]]:
    """The photos of a gallery without a table, notes, and what was derived: the first folder names the individual, one below it, or else
    the end of a photo's name, may say the side. Cameras' folders name nobody. What lies in no folder is left out, or, if that is
    said, taken as of unknown animals.

    Raises GalleryError."""
    found = contents(root)
    rows = [(path, tuple(path.split(os.sep))) for path in found.photos]
    side_first = not names_as_written and _sides_stand_first([parts for _, parts in rows])
    drafts: list[Draft] = []
    by_name: Counter[str] = Counter()
    stray: list[str] = []
    cameras: list[str] = []
    for path, parts in rows:
        view = None
        if side_first and len(parts) > 1:
            view, parts = parts[0], parts[1:]
        if len(parts) == 1:
            stray.append(readable(path))
            if takes_stray:
                drafts.append(Draft(readable(path), root / path, UNKNOWN))
            continue
        view = view or next((part for part in parts[1:-1] if is_side(part)), None)
        orientation = side(view) if view else None
        if orientation is None and not names_as_written and (orientation := side_in_name(Path(path).stem)):
            by_name[orientation] += 1
        name = readable(parts[0])
        card = station(parts[:-1])
        if not names_as_written and (card or is_cameras(name)):
            cameras.append(readable("/".join(card)) or name)
            name = UNKNOWN
        drafts.append(Draft(readable(path), root / path, name, orientation=orientation))
    if not drafts:
        raise GalleryError(_nobodys(root, stray, found))
    taken_by = some(dict.fromkeys(cameras))
    if len(cameras) == len(drafts):
        raise GalleryError(
            f"no folder of {root} is called by an animal, only as cameras and days are ({taken_by}): `reid import {root} --gallery NEW` "
            f"takes the photos in and `reid review` names their animals, or `reid cluster {root}` groups them; --names-as-written insists"
        )
    notes = found.notes()
    if cameras:
        insists = "called as cameras and days are; if animals are really called so, use --names-as-written"
        notes.insert(0, f"{counted(len(cameras), 'photo is', 'photos are')} of unknown animals, in folders ({taken_by}) {insists}")
    if stray:
        lie = f"{counted(len(stray), 'photo lies', 'photos lie')} in no individual's folder"
        notes.insert(0, f"{some(stray)}: {lie}, of unknown animals" if takes_stray else f"left out {some(stray)}: {lie}")
    if side_first:
        notes.append("the first folders are sides, so the folders in them are taken as individuals")
    names = {draft.name for draft in drafts}
    if len(names) == 1 and len({parts[1] for _, parts in rows if len(parts) > 2}) > 1 and not side_first:
        (name,) = names
        notes.append(
            f"all photos lie in {name!r}, and so are of one individual; if the folders in it are the individuals, open {root / name}"
        )
    of_each = ", ".join(f"{n:,} {name}" for name, n in sorted(by_name.items()))
    return drafts, notes, [f"sides by the names of {counted(by_name.total(), 'photo')}: {of_each}"] if by_name else []


def _sides_stand_first(paths: list[tuple[str, ...]]) -> bool:
    """Left/<individual>/*.jpg: every first folder is a side, and not every second one is."""
    deep = [parts for parts in paths if len(parts) > 1]
    return bool(deep) and all(is_side(parts[0]) for parts in deep) and any(len(parts) > 2 for parts in deep)


def _nobodys(root: Path, stray: list[str], found: Contents) -> str:
    way_out = "a gallery has a folder per individual with photos in it, or a metadata.csv"
    if stray:
        where = "directly in" if not any("/" in name for name in stray) else "in no individual's folder of"
        return f"{counted(len(stray), 'photo lies', 'photos lie')} {where} {root}; make a folder for each individual, or a metadata.csv"
    if found.system or found.others:
        return f"{root} holds no photos, only {some([*sorted(found.system), *map(readable, found.others)])}; {way_out}"
    return f"{root} holds no photos; {way_out}"
