"""Rows of a table -> photos. Everything is checked before work starts; a problem names its row and its column."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import PhotoError
from ..records import Box, PhotoFacts
from .columns import Columns
from .dates import When, read_dates
from .draft import Draft
from .files import Files, Missing
from .folders import readable
from .outlines import outline_fault
from .sides import is_contradictory, is_side, side
from .table import Table
from .values import box, counted, is_given, some

REFERENCE_SPLITS, QUERY_SPLITS = ("gallery", "database", "train"), ("query", "test")
EMPTY_MASKS = frozenset(("[]", "[[]]", "{}"))
ROUNDING = 1.0  # px that a box may reach beyond its photo
FRACTION_ROUNDING = 1e-3


@dataclass
class Read:
    """What a table gives: photos, and what is wrong, each with the kind of problem that it is of."""

    drafts: list[Draft] = field(default_factory=list)
    rows: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)  # that the drafts were read from, as the table has them
    problems: list[tuple[str, str, str]] = field(default_factory=list)  # kind, where, what
    notes: list[str] = field(default_factory=list)


class _Row:
    """One row's cells, one for each column at the least, by meaning; what is wrong with them is gathered."""

    __slots__ = ("cells", "columns", "wrong")

    def __init__(self, columns: Columns, cells: tuple[str, ...]):
        self.columns, self.cells = columns, cells
        self.wrong: list[tuple[str, str]] = []

    def cell(self, meaning: str) -> str:
        place = self.columns.of.get(meaning)
        return "" if place is None else self.cells[place]

    def given(self, meaning: str) -> str:
        """Nothing where the cell says that nothing is known."""
        text = self.cell(meaning)
        return text if text and is_given(text) else ""

    def problem(self, kind: str, meaning: str, text: str) -> None:
        column = self.columns.name(meaning) if meaning in self.columns.of else meaning
        self.wrong.append((kind, text if column in text else f"{text} (column {column})"))


def read_rows(root: Path, table: Table, columns: Columns, facts: Callable[[Path], PhotoFacts]) -> Read:
    """Every row that holds anything, in order."""
    found, reader = Read(), _Reader(root, facts)
    dates: dict[str, When] = {}
    if "date" in columns.of:
        place = columns.of["date"]
        written = [(where, row[place]) for where, row in table.rows if place < len(row)]
        dates, notes = read_dates(columns.names[place], written)
        found.notes += notes
    ids: Counter[str] = Counter()
    n_columns = len(columns.names)
    for where, cells in table.rows:
        row = _Row(columns, cells if len(cells) >= n_columns else (*cells, *[""] * (n_columns - len(cells))))
        draft = reader.draft(row, where)
        if len(cells) > n_columns and any(cells[n_columns:]):
            row.wrong.append(("cells", f"{len(cells)} cells, but {n_columns} columns; put a value that holds a comma in quotes"))
        found.problems += [(kind, where, text) for kind, text in row.wrong]
        if draft is not None and not row.wrong:
            draft.when = dates.get(row.cell("date"))
            draft.columns = _by_name(columns, row.cells)
            ids[row.given("image_id")] += 1
            found.drafts.append(draft)
            found.rows.append((where, cells))
    found.notes += reader.notes(table)
    doubled = [name for name, n in ids.items() if n > 1 and name]
    if doubled:
        found.notes.append(
            f"{counted(len(doubled), 'image_id stands', 'image_ids stand')} more than once ({some(doubled)}) and were numbered"
        )
    return found


def _by_name(columns: Columns, cells: tuple[str, ...]) -> dict[str, str]:
    """Every column as the table names it, and those that mean something by that name, too."""
    named = dict(zip(columns.names, cells))
    for meaning, place in columns.of.items():
        if columns.names[place] != meaning:
            named.setdefault(meaning, cells[place])
    return named


class _Reader:
    """Reads rows one by one and counts what it had to take in another way than it is written."""

    def __init__(self, root: Path, facts: Callable[[Path], PhotoFacts]):
        self.root, self.facts, self.files = root, facts, Files(root)
        self.seen: dict[tuple[str, Box | None], str] = {}
        self.respelt: list[str] = []
        self.fractions = 0
        self.opposed: list[str] = []
        self.odd: list[str] = []

    def notes(self, table: Table) -> list[str]:
        notes = []
        if self.respelt:
            n = counted(len(self.respelt), "path is", "paths are")
            notes.append(f"{table.name}: {n} spelt otherwise than the files and were found all the same ({some(self.respelt, most=2)})")
        if self.fractions:
            n = counted(self.fractions, "box is", "boxes are")
            notes.append(f"{table.name}: {n} taken as fractions of the photo, since no number is above 1")
        if self.opposed:
            n = counted(len(self.opposed), "photo has", "photos have")
            notes.append(f"{table.name}: {n} two opposite sides ({some(self.opposed)}), which counts as none; write the one that it shows")
        if self.odd:
            n = counted(len(self.odd), "photo has", "photos have")
            words = some([repr(word) for word in dict.fromkeys(self.odd)])
            notes.append(f"{table.name}: {n} a side that is not known here ({words}); it stays as it is, and is compared with every side")
        return notes

    def draft(self, row: _Row, where: str) -> Draft | None:
        text = row.cell("path")
        if not text:
            row.problem("path", "path", "no path")
            return None
        spelt = self._find(row, "path", text)
        split = row.given("split").lower()
        if split and split not in REFERENCE_SPLITS + QUERY_SPLITS:
            row.problem("split", "split", f"unknown split {row.cell('split')!r}; known: {', '.join(REFERENCE_SPLITS + QUERY_SPLITS)}")
        path = self.root / spelt if spelt is not None else self.root
        crop = self._box(row)
        if crop is not None and spelt is not None:
            crop = self._on_photo(crop, path, row)
        mask = self._mask(row)
        if spelt is None:
            return None
        first = self.seen.setdefault((self.files.key(spelt), crop), where)
        if first != where:  # one photo may show two animals, each in its box
            row.problem("twice", "path", f"path {text!r} stands in {first} already")
        written = row.given("orientation")
        if is_contradictory(written):
            self.opposed.append(f"{written!r} in {where}")
        elif written and not is_side(written):
            self.odd.append(written)
        return Draft(
            image_id=row.given("image_id") or readable(spelt if spelt[0] not in "./" and "/." not in spelt else Path(spelt)),
            path=path,
            name=row.cell("identity"),
            orientation=side(written),
            encounter=row.given("encounter") or None,
            crop=crop,
            mask=mask,
            is_query=split in QUERY_SPLITS,
        )

    def _find(self, row: _Row, meaning: str, text: str) -> str | None:
        what = "file" if meaning == "path" else "mask file"
        try:
            spelt, other = self.files.find(text)
        except Missing as missing:
            row.problem(what, meaning, f"{what} {text!r} is missing{missing}")
            return None
        if other:
            self.respelt.append(f"{text!r} is {spelt}")
        return spelt

    def _box(self, row: _Row) -> Box | None:
        """As it is written, but two corners in four columns become a corner and a size."""
        columns = row.columns
        if columns.box:
            cells = [row.cells[place] for place in columns.box]
            text = "" if not any(map(is_given, cells)) else f"[{', '.join(cell if is_given(cell) else 'nan' for cell in cells)}]"
            header = "bbox" if "bbox" in columns.of else " ".join(columns.names[place] for place in columns.box)
        else:
            text, header = row.given("bbox"), "bbox"
        if not text:
            return None
        try:
            found = box(text)
        except ValueError:
            row.problem("unreadable box", header, f"unreadable bbox {text!r}; write [x, y, width, height] in pixels of the upright photo")
            return None
        if found is None:
            return None
        x, y, width, height = found
        if columns.corners:
            width, height = width - x, height - y
        if not (0 < width < float("inf") and 0 < height < float("inf") and abs(x) + abs(y) < float("inf")):
            row.problem("box without area", header, f"bbox {text!r} has no area")
            return None
        return x, y, width, height

    def _on_photo(self, crop: Box, path: Path, row: _Row) -> Box | None:
        """In pixels; what lies outside the photo is a problem."""
        try:
            width, height = self.facts(path).size
        except PhotoError as error:
            row.problem("photo", "path", str(error))
            return None
        x, y, w, h = crop
        written = list(crop)
        if max(crop) <= 1 + FRACTION_ROUNDING and min(x, y) >= -FRACTION_ROUNDING:
            self.fractions += 1
            outside = max(x, y) >= 1 or x + w > 1 + FRACTION_ROUNDING or y + h > 1 + FRACTION_ROUNDING
            is_corner = w > x and h > y
            sizes, as_sizes = "the photo, as fractions of it", [x, y, round(w - x, 6), round(h - y, 6)]
            x, y = max(x, 0.0), max(y, 0.0)  # detectors round
            crop = x * width, y * height, min(w, 1 - x) * width, min(h, 1 - y) * height
        else:
            outside = x < -ROUNDING or y < -ROUNDING or x + w > width + ROUNDING or y + h > height + ROUNDING
            is_corner = min(x, y) >= 0 and x < w <= width + ROUNDING and y < h <= height + ROUNDING
            sizes, as_sizes = f"the photo of {width} x {height} px", [x, y, w - x, h - y]
        if not outside:
            return crop
        corner = f"; its last two numbers look like a corner, not a size: write {as_sizes}" if is_corner else ""
        row.problem("corner" if is_corner else "outside", "bbox", f"bbox {written} lies outside {sizes}{corner}")
        return None

    def _mask(self, row: _Row) -> str | None:
        for meaning in ("segmentation", "mask"):
            text = row.given(meaning)
            if not text or text.replace(" ", "") in EMPTY_MASKS:
                continue
            if text.startswith(("[", "{")):
                if fault := outline_fault(text):
                    row.problem("outline", meaning, f"{meaning} {fault}")
                return text
            spelt = self._find(row, meaning, text)
            return None if spelt is None else os.path.join(self.root, spelt)
        return None
