"""A name to propose for an animal that nobody has named: the next in the row that the catalogue counts in, else the next `new-1`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

COUNTED = re.compile(r"(.*?)(\d{1,9})", re.DOTALL)


def proposed_name(names: Iterable[str]) -> str:
    """`T-042` after T-001 to T-041, where at least half of the names count like that, with as many digits as the last has."""
    taken = set(names)
    rows: dict[str, list[str]] = defaultdict(list)
    for name in taken:
        if found := COUNTED.fullmatch(name):
            rows[found[1]].append(found[2])
    row = max(rows, key=lambda one: (len(rows[one]), one), default="new-")
    if 2 * len(rows[row]) < len(taken):
        row = "new-"
    last = max(rows[row], key=int, default="0")
    number = int(last) + 1
    while (name := f"{row}{number:0{len(last)}d}") in taken:
        number += 1
    return name
