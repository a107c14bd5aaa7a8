"""Dates as people, cameras and spreadsheets write them. A date that cannot be read is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

FIRST_YEAR, LAST_YEAR = 1900, 2100
EXCEL = date(1899, 12, 30)  # day 0 of Excel's serial numbers
MONTHS = {name: number for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)}
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s*([ap]m)?", re.IGNORECASE)
_THREE = re.compile(r"(\d{1,4})[./:\-](\d{1,2})[./:\-](\d{1,4})")
_IN_NAME = re.compile(r"(?<!\d)(\d{4})[-_.]?(\d{2})[-_.]?(\d{2})(?:[-_ T]?(\d{2})[-_.]?(\d{2})[-_.]?(\d{2}))?(?!\d)")


@dataclass(frozen=True)
class Dates:
    """The dates of a column, or None where a cell holds none."""

    days: tuple[date | None, ...]
    times: tuple[datetime | None, ...]  # where a time of day is written, too
    unread: tuple[int, ...]  # places of cells that hold something that is no date
    order: str | None  # "day/month" or "month/day" where the column had to decide; None where no cell is open to both
    guessed: bool = False  # no cell decides it


def read(cells: Sequence[str]) -> Dates:
    """The whole column at once: whether 01/08 is in January or in August is decided by all cells together."""
    firsts = [_first_two(cell) for cell in cells]
    day_first = any(pair is not None and pair[0] > 12 for pair in firsts)
    month_first = any(pair is not None and pair[1] > 12 for pair in firsts)
    is_open = any(pair is not None for pair in firsts)
    days: list[date | None] = []
    times: list[datetime | None] = []
    unread = []
    for place, cell in enumerate(cells):
        day = _day(cell, day_first=day_first or not month_first)
        if cell and day is None and not _is_zero(cell):
            unread.append(place)
        days.append(day)
        times.append(_with_time(day, cell))
    order = ("month/day" if month_first and not day_first else "day/month") if is_open else None
    return Dates(tuple(days), tuple(times), tuple(unread), order, is_open and day_first == month_first)


def in_name(name: str) -> tuple[date | None, datetime | None]:
    """The date that a file's name holds, such as 2019-07-15, 20190715 or IMG_20190715_101500, and the time where there is one."""
    for match in _IN_NAME.finditer(name):
        day = _valid(*(int(part) for part in match.groups()[:3]))
        if day is None:
            continue
        if match[4] is None:
            return day, None
        hour, minute, second = (int(part) for part in match.groups()[3:])
        if hour < 24 and minute < 60 and second < 60:
            return day, datetime(day.year, day.month, day.day, hour, minute, second)
        return day, None
    return None, None


def _is_zero(cell: str) -> bool:
    """0000:00:00, as cameras without a clock write it."""
    return not cell.strip("0:-/. T")


def _first_two(cell: str) -> tuple[int, int] | None:
    """The first two numbers of a date whose year comes last."""
    match = _THREE.match(cell)
    return (int(match[1]), int(match[2])) if match and len(match[1]) <= 2 and len(match[3]) in (2, 4) else None


def _day(cell: str, day_first: bool) -> date | None:
    cell = cell.strip()
    if re.fullmatch(r"\d{4}", cell):
        return _valid(int(cell), 1, 1)
    if re.fullmatch(r"\d{8}", cell):
        return _valid(int(cell[:4]), int(cell[4:6]), int(cell[6:]))
    if re.fullmatch(r"\d{5}(\.\d+)?", cell):
        return _between(EXCEL + timedelta(days=int(float(cell))))
    if match := re.fullmatch(r"(\d{4})[-/](\d{1,2})", cell):
        return _valid(int(match[1]), int(match[2]), 1)
    if match := re.match(r"(\d{1,2})[-./ ]([A-Za-z]{3})[a-z]*[-./, ]+(\d{2}|\d{4})\b", cell):
        return _valid(_year(match[3]), MONTHS.get(match[2].lower(), 0), int(match[1]))
    if match := re.match(r"([A-Za-z]{3})[a-z]*[-./ ]+(\d{1,2}),?[-./ ]+(\d{4})\b", cell):
        return _valid(int(match[3]), MONTHS.get(match[1].lower(), 0), int(match[2]))
    if not (match := _THREE.match(cell)) or not re.fullmatch(r"|[ T].*", cell[match.end() :]):
        return None
    one, two, three = match[1], match[2], match[3]
    if len(one) == 4:
        return _valid(int(one), int(two), int(three))
    if len(three) not in (2, 4):
        return None
    day, month = (int(one), int(two)) if day_first else (int(two), int(one))
    return _valid(_year(three), month, day)


def _year(text: str) -> int:
    return int(text) if len(text) == 4 else 2000 + int(text) if int(text) < 70 else 1900 + int(text)


def _valid(year: int, month: int, day: int) -> date | None:
    try:
        return _between(date(year, month, day))
    except ValueError:
        return None


def _between(day: date) -> date | None:
    return day if FIRST_YEAR <= day.year <= LAST_YEAR else None


def _with_time(day: date | None, cell: str) -> datetime | None:
    match = _TIME.search(cell, 8) if day is not None and len(cell) > 10 else None
    if match is None or day is None:
        return None
    hour = int(match[1]) % 12 + (12 if match[4].lower() == "pm" else 0) if match[4] else int(match[1])
    if hour > 23 or int(match[2]) > 59 or int(match[3] or 0) > 59:
        return None
    return datetime(day.year, day.month, day.day, hour, int(match[2]), int(match[3] or 0))
