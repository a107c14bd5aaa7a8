"""camtrapR's record table, from which R makes histories with effort (`spatialDetectionHistory`): a row a photo of a named animal, csv.

Times since the animal was last photographed at the station are as `recordTableIndividual` gives them; the first is 0."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from ..catalogue import Gallery, way
from ..errors import GalleryError
from ..store import write_atomically
from .described import given, photos, whens
from .writing import ExportOptions, Written, by_reason, csv_bytes

TAKES = ("species", "site")
COLUMNS = (
    "Station", "Species", "Individual", "DateTimeOriginal", "Date", "Time", "delta.time.secs", "delta.time.mins", "delta.time.hours",
    "delta.time.days", "Directory", "FileName",
)  # fmt: skip


def write(gallery: Gallery, out: Path, options: ExportOptions) -> Written:
    refs = photos(gallery)
    left_out: list[tuple[str, str]] = []
    found: list[tuple[str, str, str, datetime, str, str]] = []
    for ref, when in zip(refs, whens(refs), strict=True):
        station, species = given(ref, "site") or options.site or "", given(ref, "species") or options.species or ""
        missing = {"animal": ref.identity, "site": station, "species": species, "time of day": when and when.moment}
        lacking = [name for name, value in missing.items() if not value]
        if lacking:
            ways = " and ".join(f"--{name}" for name in ("site", "species") if name in lacking)
            say = f"say it, or give {ways} for all" if ways else "say it and export again"
            left_out.append((ref.image_id, f"nobody has said {', '.join(lacking)}, which a record table needs; {say}"))
            continue
        assert ref.identity is not None and when is not None and when.moment is not None
        folder, name = os.path.split(way(ref.path, gallery.root))
        found.append((station, species, ref.identity, when.moment.replace(tzinfo=None, microsecond=0), folder, name))
    if not found:
        raise GalleryError(
            "no photo has all that a record table needs: animal, site, species, and a date with a time", tuple(by_reason(left_out))
        )
    rows: list[tuple[object, ...]] = []
    before: dict[tuple[str, str, str], datetime] = {}
    for station, species, identity, moment, folder, name in sorted(found):
        seconds = int((moment - before.get((station, species, identity), moment)).total_seconds())
        before[station, species, identity] = moment
        deltas = (seconds, *(round(seconds / unit, 1) for unit in (60, 3600, 86400)))
        rows.append((station, species, identity, f"{moment}", f"{moment:%Y-%m-%d}", f"{moment:%H:%M:%S}", *deltas, folder, name))
    write_atomically(out, csv_bytes(COLUMNS, rows))
    return Written((out,), (), (), len(rows), tuple(left_out))
