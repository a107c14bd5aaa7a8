"""A table of photos in any of the forms that people keep, as rows of text: csv, xlsx, parquet, a DataFrame. No cell is understood here."""

from __future__ import annotations

import csv
import io
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GalleryError
from .encodings import decoded
from .values import as_text, rearmed

if TYPE_CHECKING:
    import pandas as pd

TABLE = "metadata.csv"
TABLES = (TABLE, "metadata.xlsx", "metadata.parquet")
SEPARATORS = ",;\t|"
SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # what Excel writes, and reads, above the header
LONGEST_CELL = 1 << 26  # characters; outlines of animals are long
_field_limit = threading.Lock()  # csv has one limit for all


@dataclass(frozen=True)
class Table:
    """A header and its rows, cells as text without blanks around them; rows that hold nothing are left out."""

    name: str  # for messages
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]  # where it stands (line 3), and its cells
    header: str  # where the header stands
    notes: tuple[str, ...] = ()

    def at(self, where: str) -> str:
        return f"{self.name}, {where}" if where else self.name


@dataclass(frozen=True)
class Separated:
    """A file of separated cells, exactly as they are written."""

    separator: str
    rows: list[tuple[int, list[str]]]  # line, from 1, on which it ends; and its cells
    told: str | None  # how its letters were read


def find_table(root: Path) -> Path | None:
    """The table of a gallery, whatever its capitals; None where it has none. Raises GalleryError where it has two."""
    try:
        named = sorted(root / name for name in os.listdir(root) if name.lower() in TABLES)
        if nowhere := [path for path in named if path.is_symlink() and not path.exists()]:
            raise GalleryError(f"{nowhere[0]} is a link that leads nowhere; connect what it leads to, or remove it")
        found = [path for path in named if path.is_file()]
    except OSError as error:
        raise GalleryError(f"{root} cannot be read: {error.strerror}") from error
    if len(found) > 1:
        raise GalleryError(f"{root} holds {' and '.join(path.name for path in found)}; keep one, or say which with --metadata")
    return found[0] if found else None


def read_table(source: Path | pd.DataFrame) -> Table:
    """Raises GalleryError."""
    if not isinstance(source, Path):
        return _frame(source)
    try:
        with open(source, "rb") as file:
            start = file.read(8)
        if start.startswith(b"PK\x03\x04"):
            from .workbooks import read_xlsx

            return read_xlsx(source)
        if start.startswith(b"PAR1"):
            return _parquet(source)
        if start.startswith(b"\xd0\xcf\x11\xe0"):
            raise GalleryError(f"{source} is a workbook of the old kind (xls); save it as xlsx or as csv")
        return _csv(source)
    except OSError as error:
        raise GalleryError(f"{source} cannot be read: {error.strerror or error}") from error


def filled(rows: Iterator[tuple[str, list[str]]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((where, tuple(cells)) for where, cells in rows if any(cells))


def _csv(source: Path) -> Table:
    written = read_csv(source)
    rows = [
        (f"line {line}", [rearmed(cell) if cell[:1] == "'" else cell for cell in map(str.strip, cells)]) for line, cells in written.rows
    ]
    return _table(source.name, rows, () if written.told is None else (f"{source.name} {written.told}",))


def read_csv(source: Path) -> Separated:
    """Raises GalleryError."""
    try:
        text, told = decoded(source.read_bytes())
    except ValueError as error:
        raise GalleryError(f"{source} {error}") from error
    first, _, rest = text.partition("\n")
    above, separator = 0, ""
    if match := SEP_LINE.fullmatch(first.rstrip("\r")):
        text, above, separator = rest, 1, match[1]
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = separator or max(SEPARATORS, key=header.count)  # spreadsheets of half the world write semicolons
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        with _long_cells():
            return Separated(separator, [(reader.line_num + above, cells) for cells in reader], told)
    except csv.Error as error:
        raise GalleryError(f"{source}, line {reader.line_num + above} cannot be read ({error})") from error


@contextmanager
def _long_cells() -> Iterator[None]:
    with _field_limit:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _table(name: str, rows: list[tuple[str, list[str]]], notes: tuple[str, ...]) -> Table:
    """The first row that holds anything is the header."""
    held = filled(iter(rows))
    if not held:
        raise GalleryError(f"{name} is empty; the columns path and identity are needed")
    (where, columns), *others = held
    return Table(name, columns, tuple(others), where, notes)


def _parquet(source: Path) -> Table:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise GalleryError(f"reading {source} needs the package pyarrow: pip install pyarrow, or save it as csv") from error
    try:
        read = pyarrow.parquet.read_table(source)
        columns = [str(name) for name in read.column_names]
        cells = [[as_text(cell) for cell in column.to_pylist()] for column in read.columns]
    except (pyarrow.ArrowException, ValueError) as error:
        raise GalleryError(f"{source} cannot be read as a table ({' '.join(str(error).split())})") from error
    rows = ((f"row {number}", list(row)) for number, row in enumerate(zip(*cells)))
    return Table(source.name, tuple(columns), filled(rows), "")


def _frame(frame: pd.DataFrame) -> Table:
    """Rows are told by the labels of the index."""
    if not hasattr(frame, "columns") or not hasattr(frame, "iloc"):
        raise GalleryError(f"a table is a path or a DataFrame, not {type(frame).__name__}")
    cells = [[as_text(cell) for cell in frame.iloc[:, place].tolist()] for place in range(len(frame.columns))]
    rows = ((f"row {label}", list(row)) for label, row in zip(frame.index.tolist(), zip(*cells)))
    return Table("the table", tuple(str(name).strip() for name in frame.columns), filled(rows), "")
