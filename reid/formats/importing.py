"""Sources -> one table of the gallery: looked at whole, checked whole, and only then written whole.

`plan` reads and checks and writes nothing; `placing.carry_out` copies photos where that was asked for, and puts the table in its place."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import catalogue
from ..catalogue.columns import COLUMNS, Columns, meanings
from ..catalogue.dates import date_in_name
from ..catalogue.draft import Draft
from ..catalogue.folders import contents, read_folders
from ..catalogue.gallery import assemble
from ..catalogue.rows import read_rows
from ..catalogue.sides import SAY_IT, side_in_name
from ..catalogue.table import TABLE, read_table
from ..catalogue.values import counted, some
from ..errors import GalleryError, PhotoError
from ..imaging import cut_short
from ..records import PhotoFacts
from . import READERS
from .archive import unpacked_if_zip
from .copying import MASKS, Copier, digest_of
from .described import written
from .merging import Entry, Merged, of_draft
from .photos import header
from .source import Look, Options, Source

REMEMBERED = Path(catalogue.FOLDER) / "columns.json"
ANYTHING = ("table", "photos", "folders")  # readers that read whatever they are told to
NO_COLUMNS = Columns((), {}, (), False, (), ())
Facts = Callable[[Path], PhotoFacts]
Row = tuple[str, Draft, tuple[str, ...]]  # where it is in its table, what it says, its cells


@dataclass(frozen=True)
class Plan:
    """What an import will do."""

    gallery: Path
    table: Path
    found: catalogue.Gallery  # the gallery as it will be, its notes among the others
    columns: tuple[str, ...]  # of the table
    rows: tuple[tuple[str, ...], ...]
    before: bytes | None  # the table as it is now
    new: tuple[Entry, ...]  # rows that the sources bring
    n_own: int  # rows for photos in the gallery's own folders, which had no table yet
    n_filled: int  # rows that were there and get what they lacked
    copies: tuple[tuple[Path, Path], ...]
    notes: tuple[str, ...]
    left_out: tuple[str, ...] = ()  # photos that cannot be used, each with its reason, where that is no reason to stop
    alone: tuple[str, ...] = ()  # with copies: files that stay on the sources alone, since they are damaged, or no photos
    remember: Mapping[str, str] = field(default_factory=dict)  # columns by meaning, for imports to come

    @property
    def changes(self) -> bool:
        return bool(self.new or self.n_own or self.n_filled)


@dataclass
class _Told:
    """What sources have said so far that a person is told."""

    problems: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)  # photos and rows that cannot be used
    notes: list[str] = field(default_factory=list)
    flaws: dict[str, dict[str, None]] = field(default_factory=dict)  # what is forgiven in reading photos, and of which


def plan(
    sources: Sequence[Path],
    gallery: Path,
    facts: Facts,
    options: Options,
    unpacked: Path,
    *,
    copy: bool = False,
    form: str | None = None,
    skip_bad: bool = False,
) -> Plan:
    """Everything that an import of these sources would do. `unpacked` is a folder for what lies in zips; `form` one of READERS. With
    `skip_bad` photos and rows that cannot be used are left out.

    Raises GalleryError with every problem of every source."""
    facts = cache(facts)
    options = replace(options, remembered=remembered(gallery))
    told, merged = _Told(), Merged()
    problems, bad, notes = told.problems, told.bad, told.notes
    alone: dict[str, None] = {}
    table = (gallery.is_dir() and catalogue.find_table(gallery)) or gallery / TABLE
    before, old_columns = _old(gallery, facts, merged, problems, notes)
    copier = Copier(gallery, copy, unpacked, tuple(merged.entries))
    for number, path in enumerate(sources):
        try:
            look = _look(path, unpacked / str(number))
            source = _read(look, options, form)
        except GalleryError as error:
            problems += [*error.problems, str(error)]
            notes += error.notes
            continue
        notes += source.notes
        given = _rows(source, facts, told)
        below = os.path.join(os.path.realpath(look.path), "") if look.is_folder else None
        if below is not None and below != copier.real and copier.real.startswith(below):  # what lies in the gallery is no source
            given = [row for row in given if not os.path.realpath(row[1].path).startswith(copier.real)]
        entries = [_entry(source, row, copier, facts, told) for row in given]
        found_here = [entry for entry in entries if entry is not None]
        if copy:
            alone.update(dict.fromkeys(str(row[1].path) for row, entry in zip(given, entries, strict=True) if entry is None))
            alone.update(dict.fromkeys(_not_taken(look, found_here, copier)))
        said_again = {entry.file for entry in found_here if entry.is_named or entry.file in copier.repeated}
        merged.forget(lambda entry: entry.file in said_again or (below is not None and entry.file.startswith(below)))  # noqa: B023
        merged.add(found_here, problems, notes)
    notes += _headers(merged, problems)
    said = partial(_as_given, sources=sources, unpacked=unpacked)
    if problems or (bad and not skip_bad):
        way_out = f"; --skip-bad leaves out {counted(len(bad), 'photo')} that cannot be used" if bad and not skip_bad else ""
        n = counted(len(problems) + len(bad), "problem")
        raise GalleryError(f"{n}; nothing was written{way_out}", said((*bad, *problems)), said(notes))
    if not merged.entries:
        raise GalleryError(f"there is no photo in {', '.join(map(str, sources))}; nothing was written", said(bad), said(notes))
    notes += [f"{counted(len(photos), 'photo')}, {some(photos)}: {flaw}" for flaw, photos in told.flaws.items()]
    notes += merged.notes() + copier.notes() + _alike(merged.entries)
    columns, rows = merged.table(old_columns)
    for entry in merged.entries:
        entry.draft.columns = entry.cells
        entry.draft.image_id = entry.cells.get("image_id") or entry.cells["path"]
    found = assemble(gallery, [entry.draft for entry in merged.entries], facts)
    return Plan(
        gallery=gallery,
        table=table,
        found=found,
        columns=columns,
        rows=rows,
        before=before,
        new=tuple(entry for entry in merged.new() if not entry.by_folder),
        n_own=sum(entry.by_folder for entry in merged.entries),
        n_filled=sum(one.old is not None and bool(one.filled) for one in merged.entries),
        copies=tuple(copier.copies),
        notes=said((*notes, *(f"the gallery as it will be: {note}" for note in (*found.notes, *found.derived)))),
        left_out=said(bad),
        alone=said(alone),
        remember={**options.remembered, **{meaning: name for meaning, name in options.columns.items() if name}},
    )


def _as_given(texts: Iterable[str], sources: Sequence[Path], unpacked: Path) -> tuple[str, ...]:
    """With the name of a zip in place of the folder that it was unpacked to."""
    for number, path in reversed(list(enumerate(sources))):
        texts = [text.replace(str(unpacked / str(number)), str(path)) for text in texts]
    return tuple(texts)


def remembered(gallery: Path) -> dict[str, str]:
    """Which column meant what at imports before; nothing where that cannot be read."""
    try:
        value = json.loads((gallery / REMEMBERED).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: name for key, name in value.items() if key in COLUMNS and isinstance(name, str)} if isinstance(value, dict) else {}


def _old(gallery: Path, facts: Facts, merged: Merged, problems: list[str], notes: list[str]) -> tuple[bytes | None, tuple[str, ...]]:
    """What the gallery holds before: its table, or its folders of individuals."""
    if not gallery.is_dir():
        if os.path.lexists(gallery):
            raise GalleryError(f"{gallery} is not a folder; name a folder, which may be new")
        return None, ()
    file = catalogue.find_table(gallery)
    if file is not None and file.suffix.lower() != ".csv":
        raise GalleryError(f"{file} is the gallery's table, and only a csv is extended; save it as {gallery / TABLE} and remove it")
    if file is None:
        _start_from_folders(gallery, merged, notes)
        return None, ()
    before = file.read_bytes()
    table = replace(read_table(file), name=str(file))
    columns = meanings(table)
    if columns.problems:
        problems += columns.problems
        return before, table.columns
    source = Source(gallery, table, columns)
    for where, draft, cells in _rows(source, facts, _Told(problems, problems)):
        entry = of_draft(table.at(where), draft, columns, cells, gallery)
        entry.place(draft.path, gallery)
        if draft.mask and not entry.cells["segmentation"]:
            entry.place_mask(Path(draft.mask), gallery)
        merged.start(replace(entry, old=cells))
    merged.columns = columns
    notes.append(f"{file}: {counted(len(table.rows), 'row stays as it is', 'rows stay as they are')}")
    return before, table.columns


def _start_from_folders(gallery: Path, merged: Merged, notes: list[str]) -> None:
    """The photos of a gallery without a table: once it has one, they are read from it or not at all."""
    try:
        drafts, *_ = read_folders(gallery, names_as_written=False)
    except GalleryError:  # none yet
        return
    there, gone = list[Draft](), list[Draft]()
    for draft in drafts:
        (there if draft.path.exists() else gone).append(draft)
    for draft in there:
        entry = of_draft(str(draft.path), draft, NO_COLUMNS, (), gallery)
        entry.place(draft.path, gallery)
        merged.start(replace(entry, by_folder=True))
    notes.append(f"{gallery} has no table yet: its own {counted(len(there), 'photo')} in folders of individuals get rows, too")
    if gone:
        told = counted(len(gone), "link leads to a file that is gone, and gets no row", "links lead to files that are gone, and get no row")
        notes.append(f"{told}: {some([draft.image_id for draft in gone])}")


def _look(path: Path, folder: Path) -> Look:
    if not os.path.exists(path):
        raise GalleryError(f"{path} does not exist")
    return Look(unpacked_if_zip(path, folder))


def _read(look: Look, options: Options, form: str | None) -> Source:
    """By the first reader that knows the source, or by the one that is asked for. Raises GalleryError."""
    for name in READERS if form is None else [form]:
        module: Any = import_module(f".{READERS[name]}", __package__)
        if form in ANYTHING or module.recognises(look):
            source: Source = module.read(look, options)
            told = f"{look.path}: read as {name}, {counted(len(source.table.rows), 'row')}"
            return replace(source, notes=(told, *source.notes))
    raise GalleryError(
        f"{look.path} is nothing that is read here; known: {', '.join(READERS)}; say which with --as"
        if form is None
        else f"{look.path} is not {form}"
    )


def _rows(source: Source, facts: Facts, told: _Told) -> list[Row]:
    """Those that can be used; none where the source itself has a problem."""
    told.problems += [*source.problems, *source.columns.problems]
    if source.columns.problems:
        told.notes.append(f"{source.table.name}: --column says which column is meant, as in --column identity=Name")
        return []
    found = read_rows(source.root, source.table, source.columns, facts)
    told.bad += [f"{source.table.at(where)}: {text}" for _, where, text in found.problems]
    if any(kind in ("file", "mask file") for kind, _, _ in found.problems):
        told.notes.append(f"{source.table.name}: files are looked for in {source.root}; --photos names another folder")
    told.notes += found.notes
    return [(where, draft, cells) for (where, cells), draft in zip(found.rows, found.drafts, strict=True)]


def _entry(source: Source, row: Row, copier: Copier, facts: Facts, told: _Told) -> Entry | None:
    where, draft, cells = row
    at = source.table.at(where)
    if not catalogue.is_photo(draft.path.name):
        told.bad.append(f"{at}: {draft.path.name!r} is not a photo by its name{_column(source)}")
        return None
    mask = draft.mask if draft.mask and not draft.mask.startswith(("[", "{")) else None
    if mask and not catalogue.is_photo(os.path.basename(mask)):
        told.bad.append(f"{at}: the mask {os.path.basename(mask)!r} is not a picture by its name")
        return None
    entry = of_draft(at, draft, source.columns, cells, copier.gallery)
    is_said = source.table.name not in (str(source.root), str(draft.path))  # by a table, not by files that lie there
    try:
        facts(draft.path)
        for flaw in cut_short(draft.path):
            told.flaws.setdefault(flaw, {})[str(draft.path)] = None
        entry.place(copier.held(entry, is_said=is_said) or copier.place(draft.path, source.root), copier.gallery)
        if mask:
            entry.place_mask(copier.place(Path(mask), source.root, MASKS), copier.gallery)
        copier.keep(entry, is_said=is_said)
    except PhotoError as error:
        told.bad.append(f"{at}: {error}{_column(source)}")
        return None
    except GalleryError as error:
        if (text := f"{source.table.name}: {error}") not in told.problems[-1:]:  # said of each photo in a zip, and told once
            told.problems.append(text)
        return None
    except OSError as error:
        told.bad.append(f"{at}: {draft.path} cannot be read: {error.strerror or error}")
        return None
    return entry


def _not_taken(look: Look, taken: Sequence[Entry], copier: Copier) -> list[str]:
    """Files of a folder of which neither a copy nor the table of the gallery will hold anything."""
    if not look.is_folder:
        return []
    try:
        there = contents(look.path)
    except GalleryError:  # where links make a circle; told by the readers of folders
        return []
    held = {os.path.realpath(entry.draft.path) for entry in taken} | copier.of.keys()
    held |= {os.path.realpath(table) for table in (catalogue.find_table(look.path),) if table is not None}
    files = [str(look.path / name) for name in (*there.photos, *there.others)]
    return [file for file in files if (real := os.path.realpath(file)) not in held and not real.startswith(copier.real)]


def _column(source: Source) -> str:
    return f" (column {source.columns.name('path')})" if source.table.name != str(source.root) else ""


def _headers(merged: Merged, problems: list[str]) -> list[str]:
    """What new photos say themselves, by their headers, then by a date and a side in their names, where nothing else does; and notes of
    those names, of keywords that say two things, and of photos whose date or side nothing says.

    Another animal is a problem."""
    by_name: list[str] = []
    sides: Counter[str] = Counter()
    notes: list[str] = []
    said: dict[Path, dict[str, str]] = {}
    for entry in merged.new():
        if entry.draft.path not in said:
            said[entry.draft.path], several = header(entry.draft.path)
            for meaning, values in several.items():
                given = f"keywords give {counted(len(values), meaning, f'{meaning} values')}, {some(values)}; none of them is taken"
                notes.append(f"{entry.cells['path']}: {given}")
        alone = len(merged.of_file(entry)) == 1
        merged.fill(entry, {name: value for name, value in said[entry.draft.path].items() if alone or name != "identity"}, problems)
        path = entry.draft.path
        when = date_in_name(path.stem) or date_in_name(path.parent.name)
        if when is not None and (not entry.cells["date"] or entry.unread):
            merged.fill(entry, {"date": written(when)}, problems)
            by_name.append(f"{entry.cells['path']} is {written(when)}")
        if not entry.cells["orientation"] and (view := side_in_name(path.stem)):
            merged.fill(entry, {"orientation": view}, problems)
            sides[view] += 1
    if by_name:
        notes.append(f"{counted(len(by_name), 'date is', 'dates are')} taken from names of files or folders: {some(by_name)}")
    if sides:
        of_each = ", ".join(f"{n:,} {view}" for view, n in sorted(sides.items()))
        notes.append(f"{counted(sides.total(), 'side is', 'sides are')} taken from names of files: {of_each}")
    brought = {entry.file: entry for entry in merged.new() if not entry.by_folder}
    if without := sum(entry.draft.when is None for entry in brought.values()):
        of = f"{without:,} of {counted(len(brought), 'new photo')} {'has' if without == 1 else 'have'} no date"
        so = "an undated photo makes all encounters of its animal one, and is in no capture history"
        notes.append(f"{of}; say it in the column date of metadata.csv: {so}")
    if without := sum(not entry.cells["orientation"] for entry in brought.values()):
        of = f"{without:,} of {counted(len(brought), 'new photo')} {'has' if without == 1 else 'have'} no side"
        notes.append(f"{of}; where an animal's sides differ, say it {SAY_IT}")
    return notes


def _alike(entries: Sequence[Entry]) -> list[str]:
    """Photos of one content under two names, told with whom they show."""
    names: dict[str, Entry] = {entry.file: entry for entry in reversed(entries)}
    sizes: dict[int, list[Entry]] = {}
    for entry in reversed(names.values()):
        with suppress(OSError):  # told where it is read
            sizes.setdefault(entry.draft.path.stat().st_size, []).append(entry)
    groups: dict[bytes, list[Entry]] = {}
    for same in sizes.values():
        for entry in same if len(same) > 1 else ():
            with suppress(OSError):
                groups.setdefault(digest_of(entry.draft.path), []).append(entry)
    found = []
    for group in groups.values():
        if len(group) > 1:
            animals = sorted({entry.cells["identity"] for entry in group})
            whose = f", as {' and as '.join(animals)}" if len(animals) > 1 else ""
            found.append(f"{' = '.join(entry.cells['path'] for entry in group)}{whose}")
    what = "photo is there under two names" if len(found) == 1 else "photos are there under two names"
    return [f"{len(found):,} {what}: {some(found, most=20)}"] if found else []
