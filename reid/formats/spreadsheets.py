"""Tables of photos: csv, xlsx and parquet in, csv and xlsx out. The columns are the catalogue's, or are found by what others call them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..catalogue import Gallery, find_table
from ..catalogue.columns import COLUMNS, Columns, folded, meanings
from ..catalogue.table import Table
from ..errors import GalleryError
from ..store import write_atomically
from .described import described
from .source import Look, Options, Source
from .writing import BOOKS, TEXTS, ExportOptions, Written, csv_bytes, xlsx_writer

TAKES: tuple[str, ...] = ()
SUFFIXES = (*TEXTS, *BOOKS)
PATH_PARTS = (("Directory", "FileName"), ("RelativePath", "File"), ("Directory", "File"))  # camtrapR, Timelapse
MOST_ROWS = 1_048_575  # of a sheet, below its header


def recognises(look: Look) -> bool:
    return find_table(look.path) is not None if look.is_folder else look.path.suffix.lower() in SUFFIXES


def read(look: Look, options: Options) -> Source:
    if look.is_folder:
        look = Look(find_table(look.path) or look.path)
    table = _one_path(replace(look.table, name=str(look.path)))
    remembered = {meaning: name for meaning, name in options.remembered.items() if name in table.columns and meaning not in options.columns}
    unknown = [meaning for meaning in options.columns if meaning not in COLUMNS]
    if unknown:
        raise GalleryError(f"--column {unknown[0]}=...: there is no meaning {unknown[0]!r}; known: {', '.join(COLUMNS)}")
    columns = meanings(table, {**remembered, **options.columns})
    guesses = (note for note in columns.notes if "a guess" in note)  # all else of what they say is in the mapping
    notes = (*table.notes, *guesses, f"{look.path}: {_mapping(columns)}")
    return Source(look.root(options), table, columns, notes)


def _one_path(table: Table) -> Table:
    """With a column `path` where two hold its folder and its name."""
    places = {folded(name): place for place, name in enumerate(table.columns)}
    for folder, name in PATH_PARTS:
        if folded(folder) in places and folded(name) in places and "path" not in places:
            a, b = places[folded(folder)], places[folded(name)]
            rows = tuple((where, (*cells, *[""] * (len(table.columns) - len(cells)))) for where, cells in table.rows)
            joined = tuple((where, (*cells, "/".join(filter(None, (cells[a].rstrip("/\\"), cells[b]))))) for where, cells in rows)
            return replace(table, columns=(*table.columns, "path"), rows=joined)
    return table


def _mapping(columns: Columns) -> str:
    found = [f"{meaning} from {columns.names[place]!r}" for meaning, place in columns.of.items()]
    found += [f"bbox from {', '.join(map(repr, (columns.names[place] for place in columns.box)))}"] if columns.box else []
    taken = {*columns.of.values(), *columns.box}
    others = [repr(name) for place, name in enumerate(columns.names) if place not in taken]
    return f"{', '.join(found)}" + (f"; kept as they are: {', '.join(others)}" if others else "")


def write(gallery: Gallery, out: Path, options: ExportOptions) -> Written:
    columns, rows = described(gallery)
    cells = [[row[name] for name in columns] for row in rows]
    if options.format == "xlsx":
        if len(cells) > MOST_ROWS:
            return Written((), (), (f"{len(cells):,} photos, but a sheet holds {MOST_ROWS:,} rows; write csv",))
        write_atomically(out, xlsx_writer(columns, cells))
    else:
        write_atomically(out, csv_bytes(columns, cells))
    return Written((out,), n_photos=len(rows))
