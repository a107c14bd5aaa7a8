"""A folder per individual, or `metadata.csv` -> PhotoRefs. Everything is checked before work starts, every problem is listed.

Nothing is decoded here; `photo_size(path)` is handed in by the caller and asked only for photos with a box.
"""

from __future__ import annotations

import ast
import csv
import difflib
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from ..errors import GalleryError, PhotoError
from ..records import UNKNOWN, Box, PhotoRef

TABLE = "metadata.csv"
FOLDER = ".reid"  # everything that reid writes is under it
SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .mpo .png .webp .tif .tiff .heic .heif .avif .gif .bmp".split())
COLUMNS = ("path", "identity", "image_id", "date", "orientation", "position", "encounter", "bbox", "segmentation", "mask", "species",
           "site", "split")  # fmt: skip
REFERENCE_SPLITS, QUERY_SPLITS = ("gallery", "database", "train"), ("query", "test")
DATE_FORMATS = ("%Y-%m-%d", "%Y:%m:%d", "%Y/%m/%d", "%d.%m.%Y", "%Y-%m", "%Y")
Size = tuple[int, int]


@dataclass(frozen=True)
class Gallery:
    """What a folder or a table holds. `notes` are for the user's eyes: files passed over, rows left out."""

    root: Path
    references: tuple[PhotoRef, ...]
    queries: tuple[PhotoRef, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def identities(self) -> list[str]:
        return sorted({ref.identity for ref in self.references if ref.identity})


def read(root: Path, photo_size: Callable[[Path], Size], table: Path | None = None, skip_bad: bool = False) -> Gallery:
    """The gallery at `root`. Raises GalleryError with every problem found; with `skip_bad` bad rows become notes instead."""
    if not root.is_dir():
        raise GalleryError(f"{root} is not a folder; a gallery is a folder with a folder per individual, or with a {TABLE}")
    if table is not None and not table.is_file():
        raise GalleryError(f"the table {table} does not exist")
    table = table or root / TABLE
    if table.exists():
        return _read_table(root, table, photo_size, skip_bad)
    return _read_folders(root)


def photos_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """(photos, other files) below `folder`, sorted; hidden files and folders are not looked at. Raises GalleryError."""
    photos: list[Path] = []
    others: list[Path] = []
    seen: set[str] = set()

    def unreadable(error: OSError) -> None:
        raise GalleryError(f"{error.filename} cannot be read: {error.strerror}") from error

    for path, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        seen.add(os.path.realpath(path))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if os.path.realpath(os.path.join(path, name)) in seen:
                raise GalleryError(f"{os.path.join(path, name)} is a link to a folder that is read already; remove it")
        for name in sorted(names):
            if not name.startswith("."):
                (photos if Path(name).suffix.lower() in SUFFIXES else others).append(Path(path, name))
        # a folder named like a photo counts as one: it is named as not readable later
        photos += [Path(path, name) for name in folders if Path(name).suffix.lower() in SUFFIXES]
        folders[:] = [name for name in folders if Path(name).suffix.lower() not in SUFFIXES]
    return sorted(photos), sorted(others)


def _read_folders(root: Path) -> Gallery:
    photos, others = photos_in(root)
    refs, stray = [], []
    for path in photos:
        parts = path.relative_to(root).parts
        if len(parts) == 1:
            stray.append(path.name)
        else:
            name = readable(Path(*parts))
            refs.append(PhotoRef(image_id=name, path=path, identity=None if parts[0] == UNKNOWN else name.partition("/")[0]))
    notes = []
    if stray:
        notes.append(f"left out {_some(stray)}: in no individual's folder")
    if others:
        notes.append(f"passed over {_some([path.relative_to(root).as_posix() for path in others])}: not photos by their names")
    if not refs:
        raise GalleryError(f"{root} holds no photos; a gallery has a folder per individual with photos in it, or a {TABLE}")
    return Gallery(root, tuple(refs), notes=tuple(notes))


def readable(path: Path) -> str:
    """The path as text that can be printed and written, whatever bytes the file system holds."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _read_table(root: Path, table: Path, photo_size: Callable[[Path], Size], skip_bad: bool) -> Gallery:
    columns, rows = _rows(table)
    problems, notes = _check_columns(table, columns)
    if problems:
        raise GalleryError(f"{table}: {len(problems)} problem(s)", tuple(problems))
    if "orientation" not in columns:
        columns = ["orientation" if name == "position" else name for name in columns]
    references: list[PhotoRef] = []
    queries: list[PhotoRef] = []
    seen: dict[object, int] = {}
    bad: list[str] = []
    for line, values in rows:
        cells = dict(zip(columns, [*values, *[""] * len(columns)]))
        ref, wrong = _check_row(root, cells, photo_size)
        if len(values) > len(columns):
            wrong.append(f"{len(values)} cells, but {len(columns)} columns; put a value that holds a comma in quotes")
        key = os.path.realpath(root / cells["path"]), _box(cells.get("bbox", ""), [])  # one photo may show two animals, each in its box
        if cells["path"] and key in seen:
            wrong.append(f"path {cells['path']!r} stands in line {seen[key]} already")
        seen.setdefault(key, line)
        bad += [f"{table.name}, line {line}: {text}" for text in wrong]
        if not wrong and ref is not None:
            (queries if cells.get("split", "").lower() in QUERY_SPLITS else references).append(ref)
    if bad and not skip_bad:
        message = f"{table}: {len(bad)} problem(s); mend the table, or leave the bad rows out with --skip-bad"
        raise GalleryError(message, tuple([*notes, *bad]))
    if not references:
        raise GalleryError(f"{table} names no usable reference photo", tuple([*notes, *bad]))
    notes += [f"left out {text}" for text in bad]
    return Gallery(root, tuple(_unique_ids(references)), tuple(_unique_ids(queries)), tuple(notes))


def _rows(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The columns, and each row that holds anything with the number of its (last) line. Raises GalleryError."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            separator = max(",;\t", key=header.count)  # spreadsheets of half the world write semicolons
            reader = csv.reader(file, delimiter=separator, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise GalleryError(f"{table} cannot be read as a table in UTF-8 ({' '.join(str(error).split())})") from error
    return columns, [(line, row) for line, row in rows if any(row)]


def _unique_ids(refs: list[PhotoRef]) -> list[PhotoRef]:
    """Two animals in one photo get two ids: the second has a number."""
    counts: dict[str, int] = {}
    unique = []
    for ref in refs:
        counts[ref.image_id] = n = counts.get(ref.image_id, 0) + 1
        unique.append(ref if n == 1 else replace(ref, image_id=f"{ref.image_id}#{n}"))
    return unique


def _check_columns(table: Path, columns: list[str]) -> tuple[list[str], list[str]]:
    """(problems that stop, notes): missing and doubled columns, likely misspellings, columns that mean nothing to reid."""
    problems = [f"{table.name}, line 1: column {name!r} is missing" for name in ("path", "identity") if name not in columns]
    problems += [f"{table.name}, line 1: column {name!r} stands twice" for name in sorted(set(columns)) if columns.count(name) > 1]
    notes = []
    for name in columns:
        if name in COLUMNS:
            continue
        near = difflib.get_close_matches(name.lower(), [known for known in COLUMNS if known not in columns], n=1, cutoff=0.8)
        if near:
            problems.append(f"{table.name}, line 1: unknown column {name!r}; did you mean {near[0]!r}?")
        else:
            notes.append(f"{table.name}, line 1: unknown column {name!r}; it can be used with --where, nothing else")
    return problems, notes


def _check_row(root: Path, cells: dict[str, str], photo_size: Callable[[Path], Size]) -> tuple[PhotoRef | None, list[str]]:
    """The photo that a row names, and what is wrong with the row."""
    wrong: list[str] = []
    path = root / cells["path"]
    if not cells["path"]:
        return None, ["no path"]
    if not os.path.exists(path):
        wrong.append(f"file {cells['path']!r} is missing")
    if not cells["identity"]:
        wrong.append(f"no identity; write {UNKNOWN!r} for an animal that nobody has named")
    split = cells.get("split", "").lower()
    if split and split not in REFERENCE_SPLITS + QUERY_SPLITS:
        wrong.append(f"unknown split {cells['split']!r}; known: {', '.join(REFERENCE_SPLITS + QUERY_SPLITS)}")
    day = _date(cells.get("date", ""), wrong)
    crop = _box(cells.get("bbox", ""), wrong)
    if crop is not None and os.path.exists(path):
        _check_box(crop, path, photo_size, wrong)
    mask = cells.get("segmentation") or cells.get("mask") or None
    if mask is not None and not mask.startswith(("[", "{")):
        mask = str(root / mask)
        if not os.path.exists(mask):
            wrong.append(f"mask file {cells.get('segmentation') or cells['mask']!r} is missing")
    if wrong:
        return None, wrong
    return PhotoRef(
        image_id=cells.get("image_id") or readable(Path(cells["path"])),
        path=path,
        identity=None if cells["identity"] == UNKNOWN else cells["identity"],
        orientation=cells.get("orientation") or None,
        encounter=cells.get("encounter") or None,
        date=day,
        crop=crop,
        mask=mask,
        columns=cells,
    ), []


def _date(text: str, wrong: list[str]) -> date | None:
    if not text:
        return None
    for form in DATE_FORMATS:
        try:
            return datetime.strptime(text.replace("T", " ").split(" ")[0], form).date()
        except ValueError:
            continue
    wrong.append(f"unreadable date {text!r}; write 2024-07-31")
    return None


def _box(text: str, wrong: list[str]) -> Box | None:
    if not text:
        return None
    try:
        value = ast.literal_eval(text)
        x, y, width, height = (float(number) for number in value)
    except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError):
        wrong.append(f"unreadable bbox {text!r}; write [x, y, width, height] in pixels of the upright photo")
        return None
    if not (0 < width < math.inf and 0 < height < math.inf and abs(x) + abs(y) < math.inf):
        wrong.append(f"bbox {text!r} has no area")
        return None
    return x, y, width, height


def _check_box(crop: Box, path: Path, photo_size: Callable[[Path], Size], wrong: list[str]) -> None:
    try:
        width, height = photo_size(path)
    except PhotoError as error:
        wrong.append(str(error))
        return
    x, y, w, h = crop
    if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:  # a pixel of rounding is forgiven
        wrong.append(f"bbox {list(crop)} lies outside the photo of {width} x {height} px")


def restrict(gallery: Gallery, where: Iterable[str] = (), orientation: str | None = None) -> tuple[Gallery, str | None]:
    """The gallery with only the references that fit, and the filter in words; raises GalleryError if none does.

    `where` holds `column=value` conditions that must all hold; several values of a column are separated by commas."""
    kept = list(gallery.references)
    said = []
    for condition in where:
        column, equals, values = condition.partition("=")
        column = column.strip()
        if not equals:
            raise GalleryError(f"--where {condition!r} is not of the form column=value")
        known = sorted({name for ref in gallery.references for name in ref.columns})
        if column not in known:
            raise GalleryError(f"--where {condition!r}: the gallery has no column {column!r}; it has {', '.join(known) or 'no table'}")
        wanted = {value.strip() for value in values.split(",")}
        kept = [ref for ref in kept if ref.columns.get(column, "") in wanted]
        said.append(f"{column}={','.join(sorted(wanted))}")
    if orientation is not None:
        kept = [ref for ref in kept if ref.orientation == orientation]
        said.append(f"orientation={orientation}")
    if not kept:
        raise GalleryError(f"no photo of the gallery fits {' and '.join(said)}")
    return replace(gallery, references=tuple(kept)), " and ".join(said) or None
