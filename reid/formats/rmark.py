"""A data frame for RMark and marked: `ch` (text of 0 and 1), `freq`, `id`. All is quoted, since 0101 read as a number loses its zero;
the same histories as .inp stand beside it."""

from __future__ import annotations

from pathlib import Path

from ..catalogue import Gallery
from .histories import ASKED, histories
from .mark import ALLOWED, beside, finished, inp
from .writing import ExportOptions, Written, csv_bytes, plain_names

TAKES = ASKED


def write(gallery: Gallery, out: Path, options: ExportOptions) -> Written:
    found = histories(gallery, options)
    names = plain_names({name: name for name in found.identities}, ALLOWED)
    rows = [(history, "1", names[name]) for name, history in found.rows().items()]
    data = csv_bytes(("ch", "freq", "id"), rows, quoted=True)
    files = {out: data, out.with_suffix(".inp"): inp(found, names), beside(out, "occasions"): found.table()}
    written = finished(found, files, names, out)
    line = f'in R: histories <- read.csv("{out.name}", colClasses = c(ch = "character"))'
    return Written(written.files, (*written.notes, line), (), written.n_photos, written.left_out)
