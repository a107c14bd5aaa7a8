"""A table of a gallery as columns and rows of text, whatever program wrote it: csv in any usual encoding, xlsx, parquet, a DataFrame."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import GalleryError

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("metadata.csv", "metadata.xlsx", "metadata.parquet")  # of the table of a gallery, one of them
SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """Cells as text; empty columns and rows are left out."""

    name: str  # for messages
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]  # the number of its line or row, as a person counts them, and its cells
    notes: tuple[str, ...] = ()


def find(root: Path) -> Path | None:
    """The gallery's own table. Raises GalleryError where there are two."""
    there = [root / name for name in NAMES if (root / name).exists()]
    if len(there) > 1:
        names = " and ".join(file.name for file in there)
        raise GalleryError(f"{root} holds {names}; leave one of them, or name it with --metadata")
    return there[0] if there else None


def read(source: Path | pd.DataFrame) -> Table:
    """Raises GalleryError."""
    if not isinstance(source, Path):
        return _of_frame(source, "the DataFrame", first_row=0)
    try:
        if source.suffix.lower() in (".xlsx", ".xlsm"):
            return _of_workbook(source)
        if source.suffix.lower() in (".parquet", ".pq"):
            return _of_parquet(source)
        return _of_text(source)
    except GalleryError:
        raise
    except ImportError as error:
        raise GalleryError(f"{source} takes a package that is not installed ({error.name}); pip install 'animal-reid[parquet]'") from error
    except Exception as error:  # each reader has its own exceptions
        raise GalleryError(f"{source} cannot be read as a table ({' '.join(str(error).split())[:200]})") from error


def _of_text(file: Path) -> Table:
    data = file.read_bytes()
    text, said = _decoded(data, file)
    notes = [f"{file.name} is read as {said}; save it as UTF-8 if names look wrong"] if said else []
    lines = text.split("\n", 1)
    first_line, separator = 1, None
    if lines[0].strip().lower().startswith("sep=") and len(lines) > 1:
        separator, text, first_line = lines[0].strip()[4:5] or None, lines[1], 2
    header = text.split("\n", 1)[0]
    separator = separator or max(SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num + first_line - 1, row) for row in reader]
    except csv.Error as error:
        at = f"{file}, line {reader.line_num + first_line - 1}"
        raise GalleryError(f"{at}: {error}; put values that hold quotes or commas in quotes") from error
    return _made(file.name, rows[0][1] if rows else [], rows[1:], notes)


def _decoded(data: bytes, file: Path) -> tuple[str, str | None]:
    """The text, and its encoding where that had to be found out."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16"), None
    if b"\0" in data[:200]:  # UTF-16 without its mark: every other byte of plain letters is zero
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be"), "UTF-16"
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise GalleryError(
            f"{file} is in an encoding that cannot be told, perhaps Mac Roman or a Cyrillic one; save it as CSV UTF-8 (in Excel: Save As, "
            "CSV UTF-8) and run again"
        ) from None
    return text, "Windows-1252"


def _of_workbook(file: Path) -> Table:
    import openpyxl

    sheet = openpyxl.load_workbook(file, read_only=True, data_only=True).worksheets[0]
    rows = [(number, [_text(cell) for cell in row]) for number, row in enumerate(sheet.iter_rows(values_only=True), start=1)]
    return _made(file.name, rows[0][1] if rows else [], rows[1:], [])


def _of_parquet(file: Path) -> Table:
    import pandas as pd

    return _of_frame(pd.read_parquet(file), file.name, first_row=1)


def _of_frame(frame: pd.DataFrame, name: str, first_row: int) -> Table:
    rows = [(number, [_text(cell) for cell in row]) for number, row in enumerate(frame.itertuples(index=False), start=first_row)]
    return _made(name, [str(column) for column in frame.columns], rows, [])


def _text(cell: Any) -> str:
    """A cell of a table with types as a person would write it."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if hasattr(cell, "tolist") and not isinstance(cell, (str, bytes)):  # NumPy's
        return _text(cell.tolist())
    if isinstance(cell, (list, tuple, dict)):
        return json.dumps(cell)
    return "" if str(cell) in ("NaT", "<NA>") else str(cell)


def _made(name: str, header: Iterable[str], rows: Iterable[tuple[int, list[str]]], notes: list[str]) -> Table:
    columns = [column.strip() for column in header]
    kept = [(line, [value.strip() for value in row]) for line, row in rows if any(value.strip() for value in row)]
    used = [place for place, column in enumerate(columns) if column or any(len(row) > place and row[place] for _, row in kept)]
    nameless = [place for place in used if not columns[place]]
    if nameless:
        raise GalleryError(f"{name}: column {nameless[0] + 1} has no name but holds values; name it, or empty it")
    found = []
    for line, row in kept:
        extra = [value for value in row[len(columns) :] if value]
        found.append((line, (*(row[place] if place < len(row) else "" for place in used), *extra)))
    return Table(name, tuple(columns[place] for place in used), tuple(found), tuple(notes))
