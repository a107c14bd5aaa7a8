"""Rows of a table -> photos. Everything is checked before work starts; a problem names its row and its column."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from ..errors import PhotoError
from ..records import Box, PhotoFacts
from .columns import Columns
from .dates import When, read_dates
from .draft import Draft
from .files import Files, Found, Missing
from .folders import readable
from .outlines import outline_fault
from .sides import is_contradictory, is_side, names_a_view, side
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


def read_rows(root: Path, table: Table, columns: Columns, facts: Callable[[Path], PhotoFacts]) -> Read:
    """Every row that holds anything, in order."""
    return _Reader(root, table, columns, facts).read()


class _Reader:
    """Reads column by column. What is wrong is gathered by rows, and counted what had to be taken in another way than it is written."""

    def __init__(self, root: Path, table: Table, columns: Columns, facts: Callable[[Path], PhotoFacts]):
        self.root, self.table, self.columns, self.facts, self.files = root, table, columns, facts, Files(root)
        n_columns = len(columns.names)
        self.rows = [cells if len(cells) >= n_columns else (*cells, *[""] * (n_columns - len(cells))) for _, cells in table.rows]
        self.wrong: dict[int, list[tuple[str, str]]] = {}  # kind and what, by the row's number
        self.respelt: list[tuple[int, str]] = []
        self.fractions = 0
        self.opposed: list[str] = []
        self.odd: list[str] = []

    def read(self) -> Read:
        dates, notes = self._dates()
        texts = self._cells("path")
        files = [self._file(row, text) for row, text in enumerate(texts)]
        splits = self._splits(texts)
        crops = self._boxes(texts, files)
        masks = self._masks(texts)
        self._look_twice(files, crops)
        sides = self._sides(files)
        self._count_cells()
        problems = [(kind, self._at(row), text) for row in sorted(self.wrong) for kind, text in self.wrong[row]]
        found = Read(problems=problems, notes=[*notes, *self._notes()])
        names, days, ids, encounters = self._cells("identity"), self._cells("date"), self._given("image_id"), self._given("encounter")
        others = [(meaning, place) for meaning, place in self.columns.of.items() if self.columns.names[place] != meaning]
        good = [row for row, file in enumerate(files) if file is not None and row not in self.wrong]
        for row in good:
            file = files[row]
            assert file is not None
            cells = dict(zip(self.columns.names, self.rows[row]))  # every column as the table names it, and
            for meaning, place in others:  # those that mean something by that name, too
                cells.setdefault(meaning, self.rows[row][place])
            draft = Draft(
                image_id=ids[row] or _image_id(file.spelt),
                path=file.path,
                name=names[row],
                orientation=sides[row],
                encounter=encounters[row] or None,
                when=dates.get(days[row]),
                crop=crops[row],
                mask=masks[row],
                columns=cells,
                is_query=splits[row] in QUERY_SPLITS,
            )
            found.drafts.append(draft)
            found.rows.append(self.table.rows[row])
        doubled = [name for name, n in Counter(ids[row] for row in good).items() if n > 1 and name]
        if doubled:
            n = counted(len(doubled), "image_id stands", "image_ids stand")
            found.notes.append(f"{n} more than once ({some(doubled)}) and were numbered")
        return found

    def _cells(self, meaning: str) -> list[str]:
        place = self.columns.of.get(meaning)
        return [""] * len(self.rows) if place is None else [cells[place] for cells in self.rows]

    def _given(self, meaning: str) -> list[str]:
        """Nothing where a cell says that nothing is known."""
        cells = self._cells(meaning)
        nothing = {text for text in set(cells) if not is_given(text)}
        return ["" if text in nothing else text for text in cells] if nothing - {""} else cells

    def _at(self, row: int) -> str:
        return self.table.rows[row][0]

    def _problem(self, row: int, kind: str, meaning: str, text: str) -> None:
        column = self.columns.name(meaning) if meaning in self.columns.of else meaning
        self.wrong.setdefault(row, []).append((kind, text if column in text else f"{text} (column {column})"))

    def _notes(self) -> list[str]:
        name, notes = self.table.name, []
        if self.respelt:
            n = counted(len(self.respelt), "path is", "paths are")
            respelt = [text for _, text in sorted(self.respelt, key=itemgetter(0))]
            notes.append(f"{name}: {n} spelt otherwise than the files and were found all the same ({some(respelt, most=2)})")
        if self.fractions:
            n = counted(self.fractions, "box is", "boxes are")
            notes.append(f"{name}: {n} taken as fractions of the photo, since no number is above 1")
        if self.opposed:
            n = counted(len(self.opposed), "photo has", "photos have")
            notes.append(f"{name}: {n} two opposite sides ({some(self.opposed)}), which counts as none; write the one that it shows")
        odd = [word for word in self.odd if not names_a_view(word)]
        wordy = [word for word in self.odd if names_a_view(word)]
        for those, what, so in ((odd, "a side that is not known here", "is compared with every side"),
                                (wordy, "other words beside the side", "counts as that side")):  # fmt: skip
            if those:
                n = counted(len(those), "photo has", "photos have")
                words = some([repr(word) for word in dict.fromkeys(those)])
                notes.append(f"{name}: {n} {what} ({words}); it stays as it is, and {so}")
        return notes

    def _dates(self) -> tuple[dict[str, When], list[str]]:
        place = self.columns.of.get("date")
        if place is None:
            return {}, []
        return read_dates(self.columns.names[place], [(where, cells[place]) for where, cells in self.table.rows if place < len(cells)])

    def _file(self, row: int, text: str) -> Found | None:
        if text:
            return self._find(row, "path", text)
        self._problem(row, "path", "path", "no path")
        return None

    def _find(self, row: int, meaning: str, text: str) -> Found | None:
        try:
            found = self.files.find(text)
        except Missing as missing:
            what = "file" if meaning == "path" else "mask file"
            self._problem(row, what, meaning, f"{what} {text!r} is missing{missing}")
            return None
        if found.spelt != text:
            self.respelt.append((row, f"{text!r} is {found.spelt}"))
        return found

    def _splits(self, paths: Sequence[str]) -> list[str]:
        splits = [split.lower() for split in self._given("split")]
        unknown = set(splits).difference(("",), REFERENCE_SPLITS, QUERY_SPLITS)
        for row, (path, split) in enumerate(zip(paths, splits)) if unknown else ():
            if path and split in unknown:
                written, known = self.rows[row][self.columns.of["split"]], ", ".join(REFERENCE_SPLITS + QUERY_SPLITS)
                self._problem(row, "split", "split", f"unknown split {written!r}; known: {known}")
        return splits

    def _look_twice(self, files: Sequence[Found | None], crops: Sequence[Box | None]) -> None:
        """One photo may show two animals, each in its box."""
        seen: dict[tuple[str, Box | None], int] = {}
        for row, (file, crop) in enumerate(zip(files, crops)):
            if file is not None and (first := seen.setdefault((file.key, crop), row)) != row:
                text = self.rows[row][self.columns.of["path"]]
                self._problem(row, "twice", "path", f"path {text!r} stands in {self._at(first)} already")

    def _sides(self, files: Sequence[Found | None]) -> list[str | None]:
        written = self._given("orientation")
        for row, text in enumerate(written):
            if text and files[row] is not None:
                if is_contradictory(text):
                    self.opposed.append(f"{text!r} in {self._at(row)}")
                elif not is_side(text):
                    self.odd.append(text)
        return [side(text) if text else None for text in written]

    def _count_cells(self) -> None:
        n_columns = len(self.columns.names)
        for row, cells in enumerate(self.rows):
            if len(cells) > n_columns and any(cells[n_columns:]):
                text = f"{len(cells)} cells, but {n_columns} columns; put a value that holds a comma in quotes"
                self.wrong.setdefault(row, []).append(("cells", text))

    def _boxes(self, paths: Sequence[str], files: Sequence[Found | None]) -> list[Box | None]:
        """In pixels; two corners in four columns become a corner and a size."""
        crops: list[Box | None] = [None] * len(paths)
        header, texts = self._written_boxes()
        for row, text in enumerate(texts):
            if text and paths[row] and (crop := self._box(row, text, header)) is not None:
                file = files[row]
                crops[row] = crop if file is None else self._on_photo(row, crop, file.path)
        return crops

    def _written_boxes(self) -> tuple[str, list[str]]:
        """The column, or columns, that hold them, and the box of each row as text."""
        columns = self.columns
        if not columns.box:
            return "bbox", self._given("bbox")
        parts = [[cells[place] for place in columns.box] for cells in self.rows]
        texts = [f"[{', '.join(cell if is_given(cell) else 'nan' for cell in four)}]" if any(map(is_given, four)) else "" for four in parts]
        return "bbox" if "bbox" in columns.of else " ".join(columns.names[place] for place in columns.box), texts

    def _box(self, row: int, text: str, header: str) -> Box | None:
        try:
            found = box(text)
        except ValueError:
            wanted = "write [x, y, width, height] in pixels of the upright photo"
            self._problem(row, "unreadable box", header, f"unreadable bbox {text!r}; {wanted}")
            return None
        if found is None:
            return None
        x, y, width, height = found
        if self.columns.corners:
            width, height = width - x, height - y
        if not (0 < width < float("inf") and 0 < height < float("inf") and abs(x) + abs(y) < float("inf")):
            self._problem(row, "box without area", header, f"bbox {text!r} has no area")
            return None
        return x, y, width, height

    def _on_photo(self, row: int, crop: Box, path: Path) -> Box | None:
        """In pixels; what lies outside the photo is a problem."""
        try:
            width, height = self.facts(path).size
        except PhotoError as error:
            self._problem(row, "photo", "path", str(error))
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
        self._problem(row, "corner" if is_corner else "outside", "bbox", f"bbox {written} lies outside {sizes}{corner}")
        return None

    def _masks(self, paths: Sequence[str]) -> list[str | None]:
        masks: list[str | None] = [None] * len(paths)
        for row, texts in enumerate(zip(self._given("segmentation"), self._given("mask"))):
            if any(texts) and paths[row]:
                masks[row] = self._mask(row, *texts)
        return masks

    def _mask(self, row: int, *texts: str) -> str | None:
        for meaning, text in zip(("segmentation", "mask"), texts):
            if not text or text.replace(" ", "") in EMPTY_MASKS:
                continue
            if text.startswith(("[", "{")):
                if fault := outline_fault(text):
                    self._problem(row, "outline", meaning, f"{meaning} {fault}")
                return text
            found = self._find(row, meaning, text)
            return None if found is None else os.path.join(self.root, found.spelt)
        return None


def _image_id(spelt: str) -> str:
    return readable(spelt if spelt[0] not in "./" and "/." not in spelt else Path(spelt))
