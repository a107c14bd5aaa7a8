"""What is no outline of an animal, told before anything is drawn: COCO's polygons and run lengths. `imaging.masks` draws them."""

from __future__ import annotations

import ast
import json
from typing import Any

MOST = 1 << 40  # px


def outline_fault(text: str) -> str | None:
    """What is wrong with polygons or run lengths, in words; None where nothing is."""
    try:
        value = json.loads(text) if '"' in text or text.startswith("[") else ast.literal_eval(text)  # pandas writes {'size': ...}
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return f"{text[:30]!r} can be read neither as polygons nor as run lengths"
    if isinstance(value, dict):
        return _run_lengths(value)
    polygons = value if value and isinstance(value[0], list) else [value]
    return next((fault for polygon in polygons if (fault := _polygon(polygon))), None)


def _polygon(value: Any) -> str | None:
    if not isinstance(value, list) or not all(_is_number(one) for one in value):
        return "holds what is no number; a polygon is [x1, y1, x2, y2, ...]"
    if len(value) % 2:
        return f"has {len(value)} coordinates, an odd number; a polygon is [x1, y1, x2, y2, ...]"
    return f"has {len(value) // 2} points; a polygon has at least 3" if len(value) < 6 else None


def _run_lengths(value: dict[Any, Any]) -> str | None:
    size, counts = value.get("size"), value.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(_is_count(one) for one in size)):
        return f"has the size {size!r}; run lengths have [height, width]"
    if isinstance(counts, (str, bytes)):
        return None if counts else "has no counts"
    if not isinstance(counts, list) or not counts or not all(_is_count(one) for one in counts):
        return "has counts that are no list of whole numbers"
    n = size[0] * size[1]
    return None if sum(counts) == n else f"has counts of {sum(counts):,} px, and {size[0]} x {size[1]} are {n:,}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MOST  # nan is not below


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST
