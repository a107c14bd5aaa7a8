"""A folder for each individual, as a gallery without a table is laid out; a folder below it may say the side."""

from __future__ import annotations

from ..catalogue.folders import read_folders, readable
from .source import Look, Options, Row, Source, of_rows

MEANINGS = {"path": "file", "identity": "folder", "orientation": "side"}


def recognises(look: Look) -> bool:
    return look.is_folder


def read(look: Look, options: Options) -> Source:
    drafts, notes, derived = read_folders(look.path, names_as_written=False)
    rows: list[Row] = []
    for draft in drafts:
        file = readable(draft.path.relative_to(look.path))
        rows.append((file, {"file": file, "folder": draft.name, "side": draft.orientation or ""}))
    return of_rows(look, Options(), MEANINGS, rows, [*notes, *derived])
