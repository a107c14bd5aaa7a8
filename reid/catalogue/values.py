"""Cells as text, the words that say that nothing is known, and boxes. How notes count and name examples."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any

from ..records import Box

NOTHING = frozenset(
    (
        "na", "n a", "nan", "nat", "none", "null", "nil", "void", "blank", "empty", "missing", "tbd", "tba", "todo", "no data", "nodata",
        "not given", "not available", "not applicable", "not known", "not recorded", "unspecified", "undefined", "undetermined",
        "unknown", "unknow", "unkown", "unknwon", "uknown", "unk",
        # the same in other languages of the field
        "desconocido", "desconocida", "desconhecido", "desconhecida", "inconnu", "inconnue", "unbekannt", "onbekend", "sconosciuto",
        "sconosciuta", "okänd", "ukjent", "ukendt", "tuntematon", "nieznany", "neznámý", "неизвестно", "неизвестный", "不明", "未知",
    )
)  # fmt: skip
ERRORS = frozenset(("#N/A", "#NA", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!"))  # what a spreadsheet writes instead
ARMED = re.compile(r"'*[=+\-@＝＋－＠\t\r\n]")  # what a spreadsheet takes for a formula, behind any marks that were set before it
NUMBER = re.compile(r"[+-]|[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")  # harmless, and common: degrees south and west
ZEROS = re.compile(r"[0\s:/.\-T]*0[0\s:/.\-T]*")  # 0, 0000:00:00: a date that nobody set


def said(text: str) -> str:
    """A word as it is compared: lower case, with one blank for whatever stands between letters; empty where there are none."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFC", text).casefold()).strip()


@lru_cache(65536)
def is_given(text: str) -> bool:
    """Whether a cell holds anything: not where it is blank, nothing but strokes and marks, or a word such as NA, nan, None, unknown."""
    if not text or text in ERRORS:
        return False
    word = said(text)
    if word:
        return word not in NOTHING
    return any(unicodedata.category(letter) == "So" for letter in text)  # a picture is a name, ? and ____ are none


def disarmed(cell: str) -> str:
    """A cell that no spreadsheet runs as a formula: a mark ' goes before = + - @, a tab or a line's end. `rearmed` takes it away again."""
    return f"'{cell}" if ARMED.match(cell) and not NUMBER.fullmatch(cell) else cell


def rearmed(cell: str) -> str:
    """A cell as it was before `disarmed`."""
    return cell[1:] if cell.startswith("'") and ARMED.match(cell) else cell


def as_text(cell: object) -> str:
    """A cell of a spreadsheet or a DataFrame as a csv file would hold it. Lists become JSON, whole numbers lose their .0."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(cell, str):
        return cell.strip()
    if hasattr(cell, "tolist"):  # NumPy's numbers and arrays
        cell = cell.tolist()
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float):
        return "" if math.isnan(cell) else str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, datetime):
        midnight = cell.time() == time() and cell.tzinfo is None
        return cell.date().isoformat() if midnight else cell.isoformat(sep=" ")
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, (list, tuple, dict)):
        return json.dumps(cell, default=_plain)
    return _decoded(cell) if isinstance(cell, bytes) else str(cell).strip()


def _plain(value: Any) -> Any:
    return _decoded(value) if isinstance(value, bytes) else value.tolist() if hasattr(value, "tolist") else str(value)


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def box(text: str) -> Box | None:
    """x, y and two more numbers, from [x, y, w, h] in any brackets, with commas, semicolons or blanks; None for four nan.

    Raises ValueError."""
    plain = re.sub(r"np\.\w+\(|array\(|[\[\](){}]", " ", text)
    if plain.count(";") == 3:
        plain = plain.replace(",", ".")  # 0,1; 0,2; 0,7; 0,6
    parts = [part for part in re.split(r"[\s,;]+", plain) if part]
    numbers = [float("nan") if part.lower() in ("none", "null", "na", "<na>") else float(part) for part in parts]
    if numbers and all(map(math.isnan, numbers)):
        return None
    x, y, width, height = numbers
    if any(map(math.isnan, numbers)):
        raise ValueError("a number is missing")
    return x, y, width, height


def some(names: Iterable[str], most: int = 3) -> str:
    """The first few, and how many more."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most:,} more" if len(every) > most else "")


def counted(n: int, one: str, many: str | None = None) -> str:
    """1 photo, 12 photos."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
