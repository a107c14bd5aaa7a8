"""metadata.csv as wildlife-datasets reads it (docs/dataframe.md): one row an animal, sorted by image_id, which is unique.

What it does not take is said: paths that are not ISO-8859-1, endings it does not look for, outlines of several polygons. Read as table."""

from __future__ import annotations

import json
from pathlib import Path

from ..catalogue import QUERY_SPLITS, Gallery, free_name
from ..catalogue.values import counted, disarmed, some
from ..store import write_atomically
from .described import described, photos, whens, written
from .writing import ExportOptions, Written, csv_bytes

TAKES: tuple[str, ...] = ()
FIRST = ("image_id", "identity", "path", "bbox", "date", "orientation", "segmentation", "species", "split")
ENDINGS = (".png", ".jpg", ".jpeg", ".tiff", ".bmp")


def write(gallery: Gallery, out: Path, options: ExportOptions) -> Written:
    columns, rows = described(gallery)
    refs = photos(gallery)
    several = n_vague = 0
    taken: set[str] = set()
    for ref, row, when in zip(refs, rows, whens(refs), strict=True):
        row["image_id"] = free_name(ref.image_id, taken)
        row["path"] = row["path"] if disarmed(row["path"]) == row["path"] else f"./{row['path']}"  # stays a path
        row["date"] = when.moment.strftime("%Y-%m-%d %H:%M:%S") if when is not None and when.moment is not None else written(when)
        n_vague += when is not None and when.first != when.last
        row["split"] = "" if not row["split"] else "test" if row["split"].lower() in QUERY_SPLITS else "train"
        row["segmentation"], left_out = _outline(row["segmentation"] or row["mask"])
        several += left_out
    rows.sort(key=lambda row: row["image_id"])
    used = [name for name in FIRST if name in FIRST[:3] or any(row[name] for row in rows)]
    used += [name for name in columns if name not in (*FIRST, "mask")]
    write_atomically(out, csv_bytes(used, [[row[name] for name in used] for row in rows]))
    notes = []
    odd = [row["path"] for row in rows if not _is_latin(row["path"])]
    if odd:
        notes.append(f"wildlife-datasets refuses paths that are not ISO-8859-1: {some(odd)}; rename {'it' if len(odd) == 1 else 'them'}")
    passed = [row["path"] for row in rows if not row["path"].lower().endswith(ENDINGS)]
    if passed:
        notes.append(f"wildlife-datasets may not read {some(passed)}: it looks for {', '.join(ENDINGS)}")
    if n_vague:
        notes.append(f"{counted(n_vague, 'date is a month or a year', 'dates are months or years')}, which pandas reads as the first day")
    if several:
        notes.append(f"{counted(several, 'outline')} of several polygons left out: wildlife-datasets takes one, or run lengths")
    return Written((out,), tuple(notes), n_photos=len(rows))


def _outline(text: str) -> tuple[str, bool]:
    """(as wildlife-datasets takes it, whether it had to be left out): one polygon is a flat list, not COCO's list of lists."""
    if not text.startswith("["):
        return text, False
    try:
        value = json.loads(text)
    except ValueError:
        return "", True
    if value and isinstance(value[0], list):
        return (json.dumps(value[0]), False) if len(value) == 1 else ("", True)
    return text, False


def _is_latin(path: str) -> bool:
    try:
        path.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
