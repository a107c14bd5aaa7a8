"""A whole catalogue as JSON, a record a photo, in and out: for programs, and for whom nothing may be lost."""

from __future__ import annotations

import json
from pathlib import Path

from ..catalogue import Gallery
from ..catalogue.columns import COLUMNS
from ..store import write_atomically
from .described import described, photos
from .source import Look, Objects, Options, Row, Source, as_json, numbers, of_rows
from .writing import ExportOptions, Written

TAKES: tuple[str, ...] = ()
FORMAT, SCHEMA = "reid catalogue", 1
MEANINGS = dict(zip(COLUMNS, COLUMNS))


def recognises(look: Look) -> bool:
    return isinstance(look.json, dict) and look.json.get("format") == FORMAT


def read(look: Look, options: Options) -> Source:
    said = Objects(str(look.path))
    if look.json.get("schema") != SCHEMA:
        said.problem("", f"schema is {look.json.get('schema')!r}; this version reads {SCHEMA}")
    rows: list[Row] = []
    for where, one in said.each(look.json, "photos"):
        row = {name: said.text(one, name, where) for name in one if name not in ("bbox", "columns")}
        more = one.get("columns")
        if isinstance(more, dict):
            row |= {name: said.text(more, name, where) for name in more if name not in row and name != "bbox"}
        elif more is not None:
            said.problem(where, "columns is no object (column columns)")
        if one.get("bbox") is not None:
            box = numbers(one["bbox"], 4)
            if box is None:
                said.problem(where, f"bbox is {one['bbox']!r}, not four numbers (column bbox)")
            else:
                row["bbox"] = as_json(box)
        rows.append((where, row))
    return of_rows(look, options, MEANINGS, rows, (), said.problems)


def write(gallery: Gallery, out: Path, options: ExportOptions) -> Written:
    columns, rows = described(gallery)
    records = []
    for ref, row in zip(photos(gallery), rows, strict=True):
        record: dict[str, object] = {name: row[name] for name in COLUMNS if row[name] and name != "bbox"}
        if ref.crop is not None:
            record["bbox"] = list(ref.crop)
        more = {name: row[name] for name in columns if name not in COLUMNS and row[name]}
        records.append(record | ({"columns": more} if more else {}))
    value = {"format": FORMAT, "schema": SCHEMA, "photos": records}
    write_atomically(out, (json.dumps(value, indent=1) + "\n").encode())
    return Written((out,), n_photos=len(rows))
