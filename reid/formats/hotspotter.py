"""HotSpotter's tables: a row for each chip, its box in pixels. `_hsdb/chip_table.csv`, `image_table.csv`, `name_table.csv`; photos in
`images/`. The turn `theta` of a chip (radians) is kept as a column; boxes are not turned.

A table is rows of commas below lines that begin with #, the last of which that names columns is the header (hotspotter/load_data2.py)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..catalogue.encodings import decoded
from ..catalogue.values import box
from ..errors import GalleryError
from .source import Look, Options, Row, Source, as_json, of_rows

FOLDERS = ("_hsdb", ".hs_internals", "")
ROI = "roi[tl_x  tl_y  w  h]"
HEADERS = {
    "chip_table.csv": ("ChipID", "ImgID", "NameID", ROI, "theta"),
    "image_table.csv": ("gid", "gname", "aif"),
    "name_table.csv": ("nid", "name"),
}
MEANINGS = {"path": "gname", "identity": "name", "image_id": "ChipID", "bbox": ROI}
NOBODY = ("____", "")  # HotSpotter's own words, beside the catalogue's


def recognises(look: Look) -> bool:
    return look.is_folder and _tables(look.path) is not None


def read(look: Look, options: Options) -> Source:
    folder = _tables(look.path)
    if folder is None:
        raise GalleryError(f"{look.path} holds no _hsdb with chip_table.csv")
    database = look.path if folder == look.path / FOLDERS[0] or folder == look.path / FOLDERS[1] else folder.parent
    problems: list[str] = []
    names = {row["nid"]: row["name"] for _, row in _rows(folder / "name_table.csv", problems)}
    images = {row["gid"]: row["gname"] for _, row in _rows(folder / "image_table.csv", problems)}
    rows: list[Row] = []
    for where, row in _rows(folder / "chip_table.csv", problems):
        here = f"chip_table.csv, {where}"
        if row["ImgID"] not in images:
            problems.append(f"{look.path}, {here}: there is no image {row['ImgID']!r} in image_table.csv (column ImgID)")
            continue
        if row["NameID"] not in names and row["NameID"] not in ("0", "1"):  # HotSpotter's unknown names
            problems.append(f"{look.path}, {here}: there is no name {row['NameID']!r} in name_table.csv (column NameID)")
            continue
        name = names.get(row["NameID"], "")
        cells = {"gname": images[row["ImgID"]], "name": "" if name in NOBODY else name, "ChipID": row["ChipID"], "theta": row["theta"]}
        try:
            found = box(row[ROI])
        except ValueError:
            problems.append(f"{look.path}, {here}: unreadable box {row[ROI]!r} (column {ROI})")
            continue
        more = {key: value for key, value in row.items() if key not in (*HEADERS["chip_table.csv"], *cells) and key}
        rows.append((here, {**cells, ROI: "" if found is None else as_json(found), **more}))
    root = options.photos or (database / "images" if (database / "images").is_dir() else database)
    notes = [f"{look.path}: turns of chips (theta) are kept as a column; boxes are read upright"] if any(
        float_or_zero(row["theta"]) for _, row in rows
    ) else []  # fmt: skip
    return of_rows(look, Options(photos=root), MEANINGS, rows, notes, problems)


def float_or_zero(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _tables(folder: Path) -> Path | None:
    return next((folder / name for name in FOLDERS if (folder / name / "chip_table.csv").is_file()), None)


def _rows(file: Path, problems: list[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """(line, cells by column). A line with too few cells is a problem. Raises GalleryError."""
    try:
        text, _ = decoded(file.read_bytes())
    except OSError as error:
        raise GalleryError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise GalleryError(f"{file} {error}") from error
    header = list(HEADERS[file.name])
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line.startswith("#"):
            named = [name.strip() for name in line.strip("# ").split(",")]
            if set(HEADERS[file.name][:2]) <= set(named):
                header = named
            continue
        if not line:
            continue
        try:
            (cells,) = csv.reader(io.StringIO(line), skipinitialspace=True, strict=True)
        except (csv.Error, ValueError) as error:
            problems.append(f"{file}, line {number}: cannot be read ({error})")
            continue
        if len(cells) < len(HEADERS[file.name]) - (file.name == "image_table.csv"):
            problems.append(f"{file}, line {number}: {len(cells)} cells, but columns {', '.join(header)}")
            continue
        row = dict.fromkeys(HEADERS[file.name], "") | dict(zip(header, (cell.strip() for cell in cells)))
        yield f"line {number}", row
