"""Excel's workbooks: the first sheet that holds anything, cells as they are shown where that matters."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GalleryError
from .table import Table, filled
from .values import as_text, rearmed, some

if TYPE_CHECKING:
    from openpyxl.cell.cell import Cell
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

MOST_UNPACKED, MOST_RATIO = 1 << 30, 200  # bytes, and times the file: a file that unpacks to more is no table


def read_xlsx(source: Path) -> Table:
    """Raises GalleryError."""
    try:
        import openpyxl
    except ImportError as error:
        raise GalleryError(f"reading {source} needs the package openpyxl: pip install openpyxl, or save it as csv") from error
    try:
        _check_size(source)
        with open(source, "rb") as file:  # not by its name, which may say csv
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.worksheets
            read = [(sheet.title, filled(_rows(sheet))) for sheet in sheets]
            book.close()
    except GalleryError:
        raise
    except Exception as error:  # a workbook is a zip of XML, and damage in it raises whatever meets it
        raise GalleryError(f"{source} cannot be read as a workbook ({' '.join(str(error).split())}); save it again, or as csv") from error
    held = [(title, rows) for title, rows in read if rows]
    if not held:
        raise GalleryError(f"{source} is empty; the columns path and identity are needed")
    (title, ((where, columns), *others)), *rest = held
    notes = () if not rest else (f"{source.name}: sheet {title!r} is read, not {some([repr(other) for other, _ in rest])}",)
    return Table(source.name, columns, tuple(others), where, notes)


def _check_size(source: Path) -> None:
    with zipfile.ZipFile(source) as parts:
        unpacked = sum(part.file_size for part in parts.infolist())
    if unpacked > MOST_UNPACKED or unpacked > max(1 << 24, MOST_RATIO * source.stat().st_size):
        raise GalleryError(f"{source} unpacks to {unpacked >> 20:,} MiB and is not read; save it as csv")


def _rows(sheet: ReadOnlyWorksheet) -> Iterator[tuple[str, list[str]]]:
    sheet.reset_dimensions()  # what other programs write there is often wrong
    for number, cells in enumerate(sheet.rows, start=1):
        yield f"row {number}", [rearmed(_shown(cell)) for cell in cells]


def _shown(cell: Cell) -> str:
    """A whole number with zeros before it, format 000, keeps them: 7 is shown as 007."""
    value = cell.value
    text = as_text(value)
    if isinstance(value, int) and not isinstance(value, bool) and re.fullmatch("0{2,}", str(cell.number_format)):
        return text.zfill(len(cell.number_format))
    return text
