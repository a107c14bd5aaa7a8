"""The photos of a gallery as rows of text in the catalogue's columns, for every writer: labels, dates, sides as the gallery has them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from ..catalogue import Gallery, readable, way
from ..catalogue.columns import COLUMNS, SYNONYMS, folded
from ..catalogue.dates import When, read_dates
from ..catalogue.values import is_given
from ..records import UNKNOWN, PhotoRef
from .source import as_json

MEANT = {folded(word): meaning for word, meaning in (*SYNONYMS.items(), *((name, name) for name in COLUMNS))}


def described(gallery: Gallery) -> tuple[list[str], list[dict[str, str]]]:
    """(columns, a row a photo): references, then queries. Paths are relative to the gallery. A cell stands in every row, blank where
    nothing is known; columns that no row fills are left out of the list, but for path and identity."""
    refs = photos(gallery)
    names = dict.fromkeys(name for ref in refs for name in ref.columns)
    extras = [name for name in names if not _is_meant(name, refs)]
    told = zip(refs, whens(refs), _encounters(refs), strict=True)
    rows = [_row(gallery.root, ref, when, encounter, extras) for ref, when, encounter in told]
    used = [name for name in (*COLUMNS, *extras) if name in ("path", "identity") or any(row[name] for row in rows)]
    return used, rows


def photos(gallery: Gallery) -> list[PhotoRef]:
    return [*gallery.references, *gallery.queries]


def whens(refs: Sequence[PhotoRef]) -> list[When | None]:
    """The days on which each photo may have been taken. A table's month or year stays one, though the photo's date is its first day."""
    cells = [(ref.image_id, ref.columns.get("date", "")) for ref in refs]
    read, _ = read_dates("date", cells)
    found: list[When | None] = []
    for ref, (_, cell) in zip(refs, cells, strict=True):
        when = read.get(cell)
        as_read = when is not None and when.first == ref.date and when.moment == ref.taken
        found.append(when if as_read else None if ref.date is None else When(ref.date, ref.date, ref.taken))
    return found


def written(when: When | None) -> str:
    """A date as the catalogue's tables hold it: 2021, 2021-11, 2021-11-28, 2021-11-28 10:15:00.25+02:00."""
    if when is None:
        return ""
    if when.moment is not None:
        return when.moment.isoformat(sep=" ")
    if when.first == when.last:
        return when.first.isoformat()
    return f"{when.first:%Y}" if when.first.month != when.last.month else f"{when.first:%Y-%m}"


def relative(path: Path | str, root: Path) -> str:
    """As a table beside the photos names it, with / between names. Raises ValueError where no relative path leads there."""
    return readable(os.path.relpath(os.path.abspath(path), os.path.realpath(root)))


def given(ref: PhotoRef, meaning: str) -> str:
    """A cell of one of the catalogue's own columns; blank where it says that nothing is known, as NA and - do."""
    text = ref.columns.get(meaning, "")
    return text if is_given(text) else ""


def cell(columns: Mapping[str, str], *names: str) -> str:
    """The first that is given of some columns, whatever their capitals and strokes."""
    wanted = list(map(folded, names))
    by_name = {folded(name): value for name, value in columns.items() if value}
    return next((by_name[name] for name in wanted if name in by_name), "")


def _is_meant(name: str, refs: Sequence[PhotoRef]) -> bool:
    """Whether a column is one of those that mean something here, or the same by another name."""
    meaning = MEANT.get(folded(name))
    if meaning is None:
        return False
    return name == meaning or all(ref.columns.get(name) == ref.columns.get(meaning) for ref in refs)


def _encounters(refs: Sequence[PhotoRef]) -> list[str]:
    """As the catalogue gives them, and blank where they are derived: they are derived again, by dates that were corrected meanwhile, too.
    Kept are those of one animal and day that the times of its camera tell apart: dates in a column would make them one."""
    found = [given(ref, "encounter") for ref in refs]
    days: dict[tuple[str, date], set[str]] = {}
    for ref, name in zip(refs, found, strict=True):
        if not name and ref.identity and ref.date and ref.encounter:
            days.setdefault((ref.identity, ref.date), set()).add(ref.encounter)
    kept = set().union(*(names for names in days.values() if len(names) > 1))
    return [name or (ref.encounter if ref.encounter in kept else "") for ref, name in zip(refs, found, strict=True)]


def _row(root: Path, ref: PhotoRef, when: When | None, encounter: str, extras: Sequence[str]) -> dict[str, str]:
    path = _below(ref.path, root)
    outline = ref.mask if ref.mask and ref.mask.startswith(("[", "{")) else ""
    return {
        **{name: ref.columns.get(name, "") for name in extras},
        "path": path,
        "identity": ref.identity or UNKNOWN,
        "image_id": "" if ref.image_id == path else ref.image_id,
        "date": written(when) or given(ref, "date"),
        "orientation": ref.orientation or "",
        "encounter": encounter,
        "bbox": "" if ref.crop is None else as_json(ref.crop),
        "segmentation": outline,
        "mask": "" if outline or not ref.mask else _below(ref.mask, root),
        **{name: given(ref, name) for name in ("species", "site", "split")},
    }


def _below(path: Path | str, root: Path) -> str:
    """Below the root as it is named, without following links; else the way to it."""
    try:
        return readable(Path(path).relative_to(root))
    except ValueError:
        return way(os.path.abspath(path), Path(os.path.realpath(root)))
