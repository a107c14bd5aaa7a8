"""Rows of several sources -> rows of one table. What one lacks another may say; where two say different things about an animal, a person
has to settle it, and where they say different things about anything else, the first stays and it is said."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..catalogue.columns import COLUMNS, Columns, folded
from ..catalogue.dates import read_dates
from ..catalogue.draft import Draft
from ..catalogue.names import clean, names_somebody
from ..catalogue.sides import side
from ..catalogue.values import counted, is_given, some
from ..errors import GalleryError
from ..records import UNKNOWN, Box
from .described import relative, written
from .source import as_json

ALWAYS = ("path", "identity", "image_id", "date", "orientation", "encounter", "bbox", "species", "site")  # columns of a new table
SAME = 1.0  # px by which two boxes of one animal may differ, from rounding


@dataclass
class Entry:
    """A photo, or an animal in its box, on its way into the table."""

    where: str  # for people
    draft: Draft
    cells: dict[str, str]  # by meaning, or by the name of a further column; blank where nothing is said
    file: str = ""  # the same for every way to one file
    old: tuple[str, ...] | None = None  # the row as it stands in the table now
    by_folder: bool = False  # known from a folder of the gallery alone, until a source says who it is
    filled: set[str] = field(default_factory=set)  # what it has got from others
    unread: str = ""  # a date that cannot be read, and its column, for people; what else says the date takes its place

    def place(self, path: Path, gallery: Path) -> None:
        """Where the photo will lie. Raises GalleryError where no relative path leads there."""
        self.cells["path"] = _relative(path, gallery)
        self.file = os.path.realpath(path)

    def place_mask(self, path: Path, gallery: Path) -> None:
        self.cells["mask"] = _relative(path, gallery)

    @property
    def is_named(self) -> bool:
        return names_somebody(clean(self.cells["identity"]))


def _relative(path: Path, gallery: Path) -> str:
    try:
        return relative(path, gallery)
    except ValueError as error:
        raise GalleryError(f"{path} is on another drive than the gallery; add --copy") from error


def of_draft(where: str, draft: Draft, columns: Columns, cells: Sequence[str], gallery: Path) -> Entry:
    """A row as the catalogue has read it, in the table's own form: plain dates, boxes in pixels, one word a side."""
    given = {meaning: cells[place] if place < len(cells) and is_given(cells[place]) else "" for meaning, place in columns.of.items()}
    outline = bool(draft.mask) and str(draft.mask).startswith(("[", "{"))
    taken = {*columns.of.values(), *columns.box}
    extras = {name: cells[place] for place, name in enumerate(columns.names) if place not in taken and place < len(cells) and cells[place]}
    found = {
        **extras,
        "path": "",
        "identity": draft.name or UNKNOWN,
        "image_id": given.get("image_id", ""),
        "date": written(draft.when) or given.get("date", ""),
        "orientation": draft.orientation or "",
        "encounter": draft.encounter or "",
        "bbox": "" if draft.crop is None else as_json(tuple(float(f"{number:.12g}") for number in draft.crop)),
        "segmentation": str(draft.mask) if outline else "",
        "mask": "",
        **{name: given.get(name, "") for name in ("species", "site", "split")},
    }
    text = "" if draft.when is not None else given.get("date", "")
    unread = f"{text!r} (column {columns.name('date')})" if text else ""
    return Entry(where, draft, found, os.path.realpath(draft.path), unread=unread)


class Merged:
    """The rows so far: those of the gallery, then those of each source."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.columns: Columns | None = None  # of the table that is there
        self._by_file: dict[str, list[Entry]] = {}
        self._kept: Counter[str] = Counter()
        self._example: dict[str, str] = {}
        self._dated: list[str] = []  # what took the place of dates that cannot be read
        self._n_known = 0

    def start(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._by_file.setdefault(entry.file, []).append(entry)

    def forget(self, gone: Callable[[Entry], bool]) -> None:
        """Drop rows that only folders of the gallery speak for."""
        left_out = {id(entry) for entry in self.entries if entry.by_folder and gone(entry)}
        if left_out:
            entries, self.entries, self._by_file = self.entries, [], {}
            for entry in entries:
                if id(entry) not in left_out:
                    self.start(entry)

    def of_file(self, entry: Entry) -> list[Entry]:
        return self._by_file[entry.file]

    def new(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.old is None]

    def add(self, entries: Sequence[Entry], problems: list[str], notes: list[str]) -> None:
        """The rows of one source."""
        by_file: dict[str, list[Entry]] = {}
        for entry in entries:
            own = by_file.setdefault(entry.file, [])
            alike = (one for one in own if one.draft.path != entry.draft.path and _same_box(one.draft.crop, entry.draft.crop))
            if (twin := next(alike, None)) is None:
                own.append(entry)
            else:  # the same photo again, in another file
                self.fill(twin, entry.cells, problems, entry)
        for file, own in by_file.items():
            known = list(self._by_file.get(file, []))
            for entry in own:
                twin = next((one for one in known if _same_box(one.draft.crop, entry.draft.crop)), None)
                if twin is None:
                    twin = self._only(known, entry, own, problems, notes)
                if twin is None:
                    self.start(entry)
                elif twin is not entry:
                    self._n_known += 1
                    self.fill(twin, entry.cells, problems, entry)

    def _only(self, known: list[Entry], entry: Entry, own: list[Entry], problems: list[str], notes: list[str]) -> Entry | None:
        """The known row that a row with another box, or one of the two without, belongs to; itself where it is to be left out."""
        whole = [one for one in known if one.draft.crop is None]
        if not known or (entry.draft.crop is not None and not whole):
            return None  # another animal in the photo
        if len(known) == 1 and len(own) == 1:
            return known[0]
        if entry.draft.crop is None:
            if entry.is_named:
                which = f"which of them is {entry.cells['identity']} is not said"
                problems.append(f"{entry.where}: the photo has {len(known)} boxes, and {which}")
            return entry
        if whole[0].is_named:
            if entry is own[0]:
                told = f"{len(own)} boxes of {entry.cells['path']} are left out: which is {whole[0].cells['identity']} is not known"
                notes.append(f"{entry.where}: {told}")
            return entry
        return whole[0] if entry is own[0] else None

    def fill(self, entry: Entry, cells: dict[str, str], problems: list[str], other: Entry | None = None) -> None:
        """Give a row what it lacks. Another identity is a problem; anything else that differs stays, and is told."""
        for name, value in cells.items():
            has = entry.cells.get(name, "")
            if not value or name in ("path", "mask" if has else "") or value == has:
                continue
            if name == "orientation" and other is None:
                value = side(value) or ""
            if name == "identity":
                if not names_somebody(clean(value)):
                    continue
                if entry.is_named and clean(has) != clean(value):
                    who = other.where if other else f"a keyword of {entry.cells['path']}"
                    problems.append(f"{who}: identity is {value!r}, but {has!r} in {entry.where}")
                    continue
                if entry.is_named:
                    continue
                entry.draft.name = value
            elif name == "date" and entry.unread and entry.old is None:
                if other is not None and other.draft.when is None:
                    continue
                self._dated.append(f"{entry.where}: {entry.unread} is {value}")
                entry.unread = ""
            elif has:
                if other is not None and not (name == "date" and other.unread):
                    self._kept[name] += 1
                    self._example.setdefault(name, f"{has!r} in {entry.where}, not {value!r}")
                continue
            entry.cells[name] = value
            entry.filled.add(name)
            self._understand(entry, name, value, other)

    @staticmethod
    def _understand(entry: Entry, name: str, value: str, other: Entry | None) -> None:
        """What a cell that was filled means for encounters."""
        draft = entry.draft
        if name == "date":
            draft.when = other.draft.when if other else read_dates("date", [("", value)])[0].get(value)
        elif name == "orientation":
            draft.orientation = value
        elif name == "encounter":
            draft.encounter = value
        elif name == "bbox" and other is not None:
            draft.crop = other.draft.crop
        elif name in ("segmentation", "mask") and other is not None:
            draft.mask = other.draft.mask

    def notes(self) -> list[str]:
        notes = []
        if self._n_known:
            of = counted(self._n_known, "row is of a photo", "rows are of photos")
            notes.append(f"{of} that the gallery or a source before has already; only what is blank there is filled")
        if self._dated:
            n_dates = counted(
                len(self._dated), "date cannot be read, and what else says it", "dates cannot be read, and what else says them"
            )
            notes.append(f"{n_dates} takes the place: {some(self._dated, most=20)}")
        for name, n in self._kept.items():
            notes.append(f"{name}: {counted(n, 'value stays', 'values stay')} as first written ({self._example[name]})")
        changed = [entry for entry in self.entries if entry.filled and entry.old is not None]
        if changed:
            what = sorted(set().union(*(entry.filled for entry in changed)))
            notes.append(f"{counted(len(changed), 'row of the table gets', 'rows of the table get')} what was blank: {some(what, most=8)}")
        return notes

    def table(self, old: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """(columns, rows): the columns of the table that is there, then those that are new; rows that are there as they stand."""
        known = self.columns
        said = [(one, name) for one in self.entries for name, value in one.cells.items() if value]
        used = {name for one, name in said if one.old is None or name in one.filled}
        places = dict(known.of) if known else {}
        names = list(old)
        by_name = {folded(name): place for place, name in enumerate(names) if place not in places.values()}
        extras = dict.fromkeys(name for entry in self.entries for name in entry.cells if name in used and name not in COLUMNS)
        wanted = [name for name in COLUMNS if name in used or (not old and name in ALWAYS)]
        for name in (*wanted, *extras):
            if name not in places and not (name == "bbox" and known and known.box):
                places[name] = by_name.get(folded(name), len(names)) if name not in COLUMNS else len(names)
                if places[name] == len(names):
                    names.append(name)
        rows = [self._row(entry, places, len(names)) for entry in self.entries]
        return tuple(names), tuple(rows)

    def _row(self, entry: Entry, places: dict[str, int], n: int) -> tuple[str, ...]:
        row = [*(entry.old or ()), *[""] * n][: max(n, len(entry.old or ()))]
        for name in entry.filled if entry.old is not None else entry.cells:
            value = entry.cells[name]
            if value and name in places:
                row[places[name]] = value
            elif value and name == "bbox" and self.columns and entry.draft.crop is not None:
                x, y, w, h = entry.draft.crop
                ends = (x + w, y + h) if self.columns.corners else (w, h)
                for place, number in zip(self.columns.box, (x, y, *ends)):
                    row[place] = f"{number:.10g}"
        return tuple(row)


def _same_box(a: Box | None, b: Box | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(abs(one - other) <= SAME for one, other in zip(a, b))
