"""Rows of a table -> PhotoRefs. Everything is checked before work starts, every problem names its row and column."""

from __future__ import annotations

import ast
import difflib
import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import PhotoError
from ..records import UNKNOWN, Box, PhotoFacts, PhotoRef
from . import dates, words
from .folders import readable
from .table import Table

COLUMNS = ("path", "identity", "image_id", "date", "orientation", "encounter", "bbox", "segmentation", "mask", "species", "site", "split")
SYNONYMS = {
    "position": "orientation", "viewpoint": "orientation", "side": "orientation", "view": "orientation", "individual": "identity",
    "individual_id": "identity", "individualid": "identity", "animal": "identity", "animal_id": "identity", "file": "path",
    "filename": "path", "file_name": "path", "filepath": "path", "file_path": "path", "image": "path", "photo": "path",
    "encounter_id": "encounter", "datetime": "date", "timestamp": "date", "box": "bbox", "location": "site",
}  # fmt: skip
SURE = ("position", "viewpoint", "side")  # synonyms that need no remark
PARTS = (("bbox_x", "bbox_y", "bbox_w", "bbox_h"), ("bbox_x", "bbox_y", "bbox_width", "bbox_height"))
REFERENCE_SPLITS, QUERY_SPLITS = ("gallery", "database", "train"), ("query", "test")
Facts = Callable[[Path], PhotoFacts]


@dataclass
class Rows:
    """What a table holds, and what is wrong with it."""

    references: list[PhotoRef] = field(default_factory=list)
    queries: list[PhotoRef] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # of rows: those are left out
    notes: list[str] = field(default_factory=list)


def columns_of(table: Table) -> tuple[dict[str, int], list[str], list[str]]:
    """Places of the columns by what they mean here, else by their own names; problems that stop; notes."""
    where: dict[str, int] = {}
    problems, notes = [], list(table.notes)
    lower = [name.lower().replace(" ", "_") for name in table.columns]
    for place, name in enumerate(lower):
        if name in COLUMNS and name not in where:
            where[name] = place
        elif name in where or lower.index(name) != place:
            problems.append(f"{table.name}: column {table.columns[place]!r} stands twice")
    for place, name in enumerate(lower):
        meant = SYNONYMS.get(name)
        if meant is not None and meant not in where:
            where[meant] = place
            if name not in SURE:
                notes.append(f"{table.name}: column {table.columns[place]!r} is taken for {meant!r}")
    parts = [part for part in PARTS if all(name in lower for name in part)]
    known = set(where.values()) | {lower.index(name) for part in parts for name in part}
    for place, name in enumerate(table.columns):
        if place not in known:
            near = difflib.get_close_matches(lower[place], [one for one in COLUMNS if one not in where], n=1, cutoff=0.8)
            if near:
                problems.append(f"{table.name}: unknown column {name!r}; did you mean {near[0]!r}?")
            else:
                notes.append(f"{table.name}: unknown column {name!r}; it can be used with --where, nothing else")
    problems += [f"{table.name}: column {name!r} is missing" for name in ("path", "identity") if name not in where]
    return where, problems, notes


def read(root: Path, table: Table, where: Mapping[str, int], facts: Facts, join: Mapping[str, str], names_as_written: bool) -> Rows:
    """Every row as a photo, or as a problem."""
    found = Rows()
    lower = [name.lower().replace(" ", "_") for name in table.columns]
    raw = [{name: row[place] for name, place in where.items()} for _, row in table.rows]
    column = dates.read([words.given(cells.get("date")) for cells in raw])
    files = _Files(root)
    seen: dict[object, int] = {}
    n_unknown = n_fractions = 0
    for place, (line, row) in enumerate(table.rows):
        cells, wrong = raw[place], []
        at = f"{table.name}, line {line}"
        if len(row) > len(table.columns):
            wrong.append(f"{len(row)} cells, but {len(table.columns)} columns; put a value that holds a comma in quotes")
        path = files.find(cells["path"], wrong)
        identity = words.clean(cells["identity"])
        if identity == UNKNOWN or (not names_as_written and words.is_unknown(identity)):
            n_unknown += identity != UNKNOWN
            identity = ""
        identity = join.get(identity, identity)
        split = words.given(cells.get("split")).lower()
        if split and split not in REFERENCE_SPLITS + QUERY_SPLITS:
            wrong.append(f"split: unknown {cells['split']!r}; known: {', '.join(REFERENCE_SPLITS + QUERY_SPLITS)}")
        box, is_fraction = _box(_box_text(cells, row, lower), path, facts, wrong)
        n_fractions += is_fraction
        mask = _mask(root, cells, files, wrong)
        if path is not None:
            key = os.path.realpath(path), box  # one photo may show two animals, each in its box
            if key in seen:
                wrong.append(f"path: {cells['path']!r} stands in line {seen[key]} already")
            seen.setdefault(key, line)
        if wrong or path is None:
            found.problems += [f"{at}: {text}" for text in wrong]
            continue
        ref = PhotoRef(
            image_id=words.given(cells.get("image_id")) or readable(Path(cells["path"].replace("\\", "/"))),
            path=path,
            identity=identity or None,
            orientation=words.side(cells.get("orientation")),
            encounter=words.given(cells.get("encounter")) or None,
            date=column.days[place],
            taken=column.times[place],
            crop=box,
            mask=mask,
            columns={**dict(zip(table.columns, row)), **cells},
        )
        (found.queries if split in QUERY_SPLITS else found.references).append(ref)
    found.notes += files.notes()
    found.notes += _remarks(table, column, n_unknown, n_fractions)
    return found


def _remarks(table: Table, column: dates.Dates, n_unknown: int, n_fractions: int) -> Iterator[str]:
    if n_unknown:
        yield (
            f"{n_unknown} photos are taken as unnamed, since their identity says so (unknown, NA, ?, blank, ...); --names-as-written "
            "takes such words for names"
        )
    if column.unread:
        lines = ", ".join(str(table.rows[place][0]) for place in column.unread[:3])
        more = f" and {len(column.unread) - 3} more" if len(column.unread) > 3 else ""
        yield f"{len(column.unread)} dates cannot be read and count as none: line {lines}{more}"
    if column.order:
        sure = "nothing in the column decides it" if column.guessed else "as the column's other dates show"
        yield f"dates such as 01/08/2024 are read as {column.order}: {sure}"
    if n_fractions:
        yield f"{n_fractions} boxes are taken as fractions of the photo, since none of their numbers is above 1"


class _Files:
    """Files as a table names them: with backslashes, in another case, or with other code points for the same letters."""

    def __init__(self, root: Path):
        self.root = root
        self.listed: dict[Path, dict[str, str]] = {}
        self.meant: list[str] = []

    def find(self, name: str, wrong: list[str]) -> Path | None:
        if not name:
            wrong.append("path: it is empty")
            return None
        path = self.root / name
        if "\0" not in name and path.exists():
            return path
        parts = Path(name.replace("\\", "/")).parts
        at = Path(parts[0]) if parts and parts[0] == "/" else self.root
        for part in parts[1:] if parts and parts[0] == "/" else parts:
            if part == ".." or "\0" in part:
                at = at / part
                continue
            there = self._entries(at).get(_folded(part))
            if there is None:
                wrong.append(f"path: file {name!r} is missing")
                return None
            at = at / there
        if not at.exists():
            wrong.append(f"path: file {name!r} is missing")
            return None
        self.meant.append(f"{name!r} is {readable(at.relative_to(self.root) if at.is_relative_to(self.root) else at)}")
        return at

    def _entries(self, folder: Path) -> dict[str, str]:
        if folder not in self.listed:
            try:
                names = sorted(os.listdir(folder))
            except (OSError, ValueError):
                names = []
            folded: dict[str, str] = {}
            for name in names:
                folded.setdefault(_folded(name), name)
            self.listed[folder] = folded
        return self.listed[folder]

    def notes(self) -> list[str]:
        if not self.meant:
            return []
        more = f" and {len(self.meant) - 3} more" if len(self.meant) > 3 else ""
        return [f"{len(self.meant)} files are written otherwise than they are called: {', '.join(self.meant[:3])}{more}"]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _box_text(cells: Mapping[str, str], row: tuple[str, ...], lower: list[str]) -> str:
    text = words.given(cells.get("bbox"))
    if text:
        return text
    for part in PARTS:
        if all(name in lower for name in part):
            values = [words.given(row[lower.index(name)]) for name in part]
            return f"[{', '.join(values)}]" if any(values) else ""
    return ""


def _box(text: str, path: Path | None, facts: Facts, wrong: list[str]) -> tuple[Box | None, bool]:
    """The box in pixels, and whether it was written in fractions of the photo."""
    if not text:
        return None, False
    plain = text.lower().replace("nan", "None").replace("null", "None").replace("none", "None")
    try:
        numbers = [None if value is None else float(value) for value in ast.literal_eval(plain)]
        x, y, width, height = numbers
    except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError):
        wrong.append(f"bbox: {text!r} cannot be read; write [x, y, width, height] in pixels of the upright photo")
        return None, False
    if x is None or y is None or width is None or height is None:
        return None, False  # nobody drew a box: the whole photo
    if not (0 < width < math.inf and 0 < height < math.inf and abs(x) + abs(y) < math.inf):
        wrong.append(f"bbox: {text!r} has no area")
        return None, False
    if path is None:
        return None, False
    try:
        photo_width, photo_height = facts(path).size
    except PhotoError as error:
        wrong.append(str(error))
        return None, False
    if max(abs(x), abs(y), width, height) <= 1:
        return (x * photo_width, y * photo_height, width * photo_width, height * photo_height), True
    if x < -1 or y < -1 or x + width > photo_width + 1 or y + height > photo_height + 1:  # a pixel of rounding is forgiven
        corners = x < width <= photo_width + 1 and y < height <= photo_height + 1
        hint = "; it looks like two corners, and [x, y, width, height] are wanted" if corners else ""
        wrong.append(f"bbox: {[x, y, width, height]} lies outside the photo of {photo_width} x {photo_height} px{hint}")
        return None, False
    return (x, y, width, height), False


def _mask(root: Path, cells: Mapping[str, str], files: _Files, wrong: list[str]) -> str | None:
    text = words.given(cells.get("segmentation")) or words.given(cells.get("mask"))
    if not text or text.startswith(("[", "{")):
        return text or None
    missing: list[str] = []
    path = files.find(text, missing)
    if path is None:
        wrong.append(f"mask: file {text!r} is missing")
        return None
    return str(path)
