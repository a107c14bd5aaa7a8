"""What writers share: options, what was written, tables that no spreadsheet runs, folders that appear whole, names that others can take."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ..catalogue import Gallery
from ..catalogue.values import counted, disarmed, some
from ..errors import GalleryError, SettingsError, StoreError
from ..store import write_atomically

LONGEST = 100  # letters of a name that others take
TEXTS, BOOKS = (".csv", ".tsv", ".txt"), (".xlsx", ".xlsm", ".xls", ".parquet")  # endings of tables, of text and of other kinds


@dataclass(frozen=True)
class ExportOptions:
    """What writers ask for; each reads those that it `TAKES`."""

    format: str = "csv"
    occasions: str | None = None  # day, month, year or a table of intervals
    side: str | None = None  # left, right or linked
    epsg: str | None = None  # number of a projection in metres, or auto
    package: Path | None = None  # the user's Camtrap DP
    species: str | None = None  # of photos whose species the catalogue does not say
    site: str | None = None  # likewise
    submitter: str | None = None
    copy: bool = False  # the photos, too
    whole: Gallery | None = None  # the gallery, where only a part of it is written: two sides are linked by photos of any part


def refuse_unused(options: ExportOptions, taken: Collection[str]) -> None:
    """Raises SettingsError where an option is given that the format makes no use of."""
    usual = ExportOptions(options.format)
    given = [one.name for one in fields(options) if getattr(options, one.name) != getattr(usual, one.name)]
    if unused := [f"--{name}" for name in given if name not in taken]:
        it = "it" if len(unused) == 1 else "them"
        raise SettingsError(f"--to {options.format} makes no use of {' and '.join(unused)}; leave {it} out")


def check_ending(to: str, out: Path) -> None:
    """Raises SettingsError for a file that would be called by a kind of table that it is not."""
    ending = out.suffix.lower()
    if to == "xlsx" and ending in (*TEXTS, *BOOKS[1:]):
        instead = "say --to csv, or name" if ending == ".csv" else "name"
        raise SettingsError(f"--to xlsx writes no {ending}; {instead} a file that ends in .xlsx")
    if to in ("csv", "wildlife-datasets", "camtrapr") and ending in BOOKS:
        instead = "say --to xlsx, or name" if to == "csv" and ending == ".xlsx" else "name"
        raise SettingsError(f"--to {to} writes no {ending}; {instead} a file that ends in .csv")


@dataclass(frozen=True)
class Written:
    """What a writer did. With problems nothing was written."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    n_photos: int = 0
    left_out: tuple[tuple[str, str], ...] = ()  # photos that the format cannot hold, and why


def by_reason(left_out: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each reason, with its first photos."""
    groups: dict[str, list[str]] = {}
    for photo, reason in left_out:
        groups.setdefault(reason, []).append(photo)
    return [f"{counted(len(names), 'photo')} left out: {reason} ({some(names)})" for reason, names in groups.items()]


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[object]], *, quoted: bool = False) -> bytes:
    """UTF-8 with a header; no cell of text begins as a formula does."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerow([disarmed(name) for name in columns])
    writer.writerows([disarmed(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


MOST_LETTERS = 32_767  # of a cell of a workbook


def xlsx_writer(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "photos") -> Callable[[Path], None]:
    """What writes a workbook of one sheet to a file; text stays text, whatever it looks like. It raises GalleryError for a longer text than
    a cell holds, of which openpyxl would keep the beginning in silence."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    def write(path: Path) -> None:
        book = Workbook(write_only=True)
        sheet = book.create_sheet(title)
        for number, row in enumerate((columns, *rows), start=1):
            cells = []
            for column, value in zip(columns, row, strict=True):
                one = WriteOnlyCell(sheet, value=None if value == "" else value if not isinstance(value, str) else "")
                if isinstance(value, str) and value:
                    text = disarmed(ILLEGAL_CHARACTERS_RE.sub("", value).encode("utf-8", "backslashreplace").decode())
                    if len(text) > MOST_LETTERS:
                        what = f"row {number}, column {column!r}: {len(text):,} letters"
                        raise GalleryError(f"{what}, and a cell of a workbook holds {MOST_LETTERS:,}; shorten it, or write csv")
                    one.value, one.data_type = text, "s"
                cells.append(one)
            sheet.append(cells)
        with open(path, "wb") as file:
            book.save(file)

    return write


def write_folder(
    out: Path, files: Mapping[str, bytes | Callable[[Path], None]], copies: Sequence[tuple[Path, str]] = ()
) -> tuple[Path, ...]:
    """A folder with these files, and copies of others, which appears whole or not at all. Raises StoreError, SettingsError."""
    check_free(out)
    target = Path(os.path.abspath(out))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent) as part:
            inner = Path(part) / target.name
            for name, data in files.items():
                write_atomically(inner / name, data)
            for source, name in copies:
                (inner / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, inner / name)
            if target.exists():
                target.rmdir()
            os.replace(inner, target)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror or error}; make room, or name another place") from error
    return tuple(out / name for name in files)


def check_free(out: Path) -> None:
    """Raises SettingsError where a folder cannot be written without touching what is there."""
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise SettingsError(f"{out} is there already; name a new folder, or an empty one")


def plain_names(names: Mapping[str, str], allowed: str, instead: str = "_") -> dict[str, str]:
    """Names by key -> ones that hold only letters of the class `allowed` (of a regular expression), no two alike whatever their capitals.
    A name that may stay stays."""
    plain: dict[str, str] = {}
    for key, name in names.items():
        split = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
        kept = name if re.fullmatch(f"[{allowed}]+", name) else re.sub(f"[^{allowed}]+", instead, split)
        plain[key] = re.sub(f"{re.escape(instead)}+", instead, kept).strip(instead)[:LONGEST] or "x"
    taken: set[str] = set()
    for key in sorted(plain, key=lambda key: (plain[key] != names[key], key)):
        number, free = 1, plain[key]
        while free.casefold() in taken:
            number += 1
            free = f"{plain[key]}{instead}{number}"
        taken.add(free.casefold())
        plain[key] = free
    return plain
