"""A column of dates as people write them. What cannot be read is no date, and counted; day and month are told apart by the whole column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone

from .values import ZEROS, counted, is_given, some

FIRST_YEAR, LAST_YEAR = 1826, 2199  # since there have been photographs
EXCEL = date(1899, 12, 30)  # day 0 of a spreadsheet
SERIALS = 20_000, 80_000  # 1954 to 2119
PIVOT = 69  # of two-digit years: 69 is 1969, 68 is 2068, as POSIX has it
DAY_FIRST = "day/month/year"
ORDERS = {DAY_FIRST: "dmy", "month/day/year": "mdy", "year/month/day": "ymd"}
MONTHS = {
    "jan": 1, "ene": 1, "gen": 1, "feb": 2, "fev": 2, "fév": 2, "mar": 3, "mär": 3, "maa": 3, "mrt": 3, "apr": 4, "abr": 4, "avr": 4,
    "may": 5, "mai": 5, "mei": 5, "mag": 5, "jun": 6, "giu": 6, "jul": 7, "lug": 7, "aug": 8, "ago": 8, "aoû": 8, "aou": 8, "sep": 9,
    "set": 9, "oct": 10, "okt": 10, "ott": 10, "out": 10, "nov": 11, "dec": 12, "dez": 12, "dic": 12, "déc": 12, "juin": 6, "juil": 7,
}  # fmt: skip
TIME = (
    r"(?:(?:\s*T\s*|[\s_,]+(?:at\s+|um\s+)?)(?P<hour>\d{1,2})[:.h](?P<minute>\d{2})(?:[:.m](?P<second>\d{2})(?:[.,](?P<part>\d+))?)?"
    r"\s*(?P<half>[ap])?\.?(?:\s?m\.?)?\s*(?P<offset>z|utc|gmt|[+-]\d{2}:?\d{2})?)?"
)
NAME = r"(?P<name>[^\W\d_]{3,12})"
WEEKDAY = r"(?:[^\W\d_]{2,10}\.?,?\s+)?"
FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        r"(?P<year>\d{4})(?P<between>[-:/.\s])(?P<month>\d{1,2})(?P=between)(?P<day>\d{1,2})" + TIME,
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?:\.0|" + TIME + ")",
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})[T_\s-]?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?(?:\.0)?",
        r"(?P<year>\d{4})(?:\.0)?",
        r"(?P<year>\d{4})[-:/.](?P<month>\d{1,2})",
        r"(?P<month>\d{1,2})[-/.](?P<year>\d{4})",
        WEEKDAY + r"(?P<day>\d{1,2})(?:st|nd|rd|th|[.º])?[-\s./,]*(?:de\s+)?" + NAME + r"\.?[-\s./,']*(?:del?\s+)?"
        r"(?P<year>\d{4}|\d{2})" + TIME,
        WEEKDAY + NAME + r"\.?[-\s./]*(?P<day>\d{1,2})(?:st|nd|rd|th)?[,\s./-]+(?P<year>\d{4}|\d{2})" + TIME,
        r"(?P<year>\d{4})[-\s./]*" + NAME + r"\.?[-\s./]*(?P<day>\d{1,2})" + TIME,
        NAME + r"\.?[-\s./,']+(?P<year>\d{4}|\d{2})",
        r"(?P<a>\d{1,2})(?P<between>[-/.\s])\s?(?P<b>\d{1,2})(?P=between)\s?(?P<c>\d{4}|\d{2})" + TIME,
    )
)  # fmt: skip
SERIAL = re.compile(r"(\d{5})(\.\d+)?")
IN_NAME = re.compile(  # 2019-07-15, 20190715, IMG_20190715_101500, 2019-07-15 at 10.15.00
    r"(?<!\d)(?P<year>(?:19|20)\d{2})(?P<between>[-_.]?)(?P<month>\d{2})(?P=between)(?P<day>\d{2})"
    r"(?:(?:[-_ T]| at )?(?P<hour>\d{2})(?P<colon>[-_.]?)(?P<minute>\d{2})(?P=colon)(?P<second>\d{2}))?(?=\D|$|\d{3}(?:\D|$))"
)


@dataclass(frozen=True)
class When:
    """The days on which a photo may have been taken, and the moment where it is known."""

    first: date
    last: date  # the same day, unless only a month or a year is known
    moment: datetime | None = None


def read_dates(column: str, cells: Sequence[tuple[str, str]]) -> tuple[dict[str, When], list[str]]:
    """(where, text) of a column -> what each readable text says, and notes: how day and month were told apart, what cannot be read."""
    counts = Counter(text for _, text in cells)
    for text in list(counts):
        if not is_given(text) or ZEROS.fullmatch(text) or text.startswith("1899-12-30"):
            del counts[text]
    matches = {text: next((match for form in FORMS if (match := form.fullmatch(text))), None) for text in counts}
    numeric = {text: match for text, match in matches.items() if match is not None and "a" in match.groupdict()}
    orders, notes = _orders(column, numeric, counts)
    found: dict[str, When] = {}
    serials: list[str] = []
    for text in counts:
        match = matches[text]
        when = None
        if match is None:
            when = _serial(text)
            if when is not None:
                serials.append(text)
        elif text in numeric:
            own = sorted(orders, key=lambda order: order != DAY_FIRST) if match["between"] == "." else orders
            when = next((one for order in own if (one := _ordered(match, order)) is not None), None)
        else:
            when = _when(match.groupdict())
        if when is not None:
            found[text] = when
    if serials:
        n = sum(counts[text] for text in serials)
        what = counted(n, "value is a day number of a spreadsheet", "values are day numbers of a spreadsheet")
        notes.append(f"{column}: {what} ({serials[0]} is {found[serials[0]].first})")
    if len(found) < len(counts):
        unread = [(where, text) for where, text in cells if text in counts and text not in found]
        what = counted(len(unread), "date cannot be read and counts", "dates cannot be read and count")
        notes.append(f"{column}: {what} as none ({some([f'{text!r} in {where}' for where, text in unread])}); write dates as 2024-07-31")
    return found, notes


def date_in_name(name: str) -> When | None:
    """The date, and the time where it stands beside it, in the name of a file or a folder."""
    for match in IN_NAME.finditer(name):
        when = _when(match.groupdict())
        if when is not None:
            return when
    return None


def _orders(column: str, numeric: dict[str, re.Match[str]], counts: Counter[str]) -> tuple[list[str], list[str]]:
    """Orders of day, month and year for dates in numbers alone, the one that fits most of the column first; and a note that says so."""
    if not numeric:
        return [], []
    today = date.today() + timedelta(days=1)
    fits: dict[str, set[str]] = {order: set() for order in ORDERS}
    for text, match in numeric.items():
        for order in ORDERS:
            when = _ordered(match, order)
            if when is not None and when.first <= today and (match["between"] != "." or order == DAY_FIRST):
                fits[order].add(text)
    points = {text for text, match in numeric.items() if match["between"] == "."}  # day first by custom, so others weigh more

    def weight(order: str) -> tuple[int, int]:
        return -sum(counts[text] for text in fits[order] - points), -sum(counts[text] for text in fits[order])

    ranked = sorted(ORDERS, key=weight)  # the first of equals is day/month/year
    best = ranked[0]
    others = set().union(*(fits[order] for order in ranked[1:]))
    telling = [text for text in numeric if text in fits[best] - others]
    against = [text for text in numeric if text in others - fits[best]]
    if telling:
        but = f", though {against[0]} can only be another order" if against else ""
        return ranked, [f"{column}: dates are read as {best}, as {telling[0]} tells{but}"]
    text = next(iter(numeric))
    read = _ordered(numeric[text], best)
    as_read = f"; {text} is read as {read.first}" if read else ""
    return ranked, [f"{column}: no date tells day from month, so they are read as {best}{as_read}; if that is wrong, write 2024-07-31"]


def _ordered(match: re.Match[str], order: str) -> When | None:
    places = dict(zip(ORDERS[order], (match["a"], match["b"], match["c"]), strict=True))
    if order == "year/month/day" and len(match["c"]) > 2:
        return None
    return _when({**match.groupdict(), "day": places["d"], "month": places["m"], "year": places["y"]})


def _when(parts: dict[str, str | None]) -> When | None:
    """None for a day that no calendar has."""
    year, month, day = parts["year"] or "", parts.get("month"), parts.get("day")
    full = int(year) if len(year) == 4 else int(year) + (1900 if int(year) >= PIVOT else 2000)
    name = parts.get("name")
    if name:
        month = str(MONTHS.get(name.lower()[:4]) or MONTHS.get(name.lower()[:3], 0))
    if not FIRST_YEAR <= full <= LAST_YEAR:
        return None
    try:
        if month is None:
            return When(date(full, 1, 1), date(full, 12, 31))
        first = date(full, int(month), int(day or 1))
    except ValueError:
        return None
    if day is None:
        return When(first, date(full + first.month // 12, first.month % 12 + 1, 1) - timedelta(days=1))
    return When(first, first, _moment(first, parts))


def _moment(day: date, parts: dict[str, str | None]) -> datetime | None:
    """None where no time of day is given, or midnight to the second, which is what a date alone becomes in a spreadsheet."""
    if not parts.get("hour"):
        return None
    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    half, offset = (parts.get("half") or "").lower(), (parts.get("offset") or "").lower()
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "p" else 0)
    microsecond = int((parts.get("part") or "0")[:6].ljust(6, "0"))
    zone = None
    if offset:
        hours, minutes = (0, 0) if offset[0] not in "+-" else (int(offset[1:3]), int(offset[-2:]))
        if hours > 23 or minutes > 59:
            return None
        zone = timezone((-1 if offset[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))
    try:
        at = time(hour, minute, second, microsecond)
    except ValueError:
        return None
    return None if at == time() and zone is None else datetime.combine(day, at, zone)


def _serial(text: str) -> When | None:
    match = SERIAL.fullmatch(text)
    if match is None or not SERIALS[0] <= int(match[1]) < SERIALS[1]:
        return None
    day = EXCEL + timedelta(days=int(match[1]))
    share = float(match[2] or 0)
    if not share:
        return When(day, day)
    return When(day, day, datetime.combine(day, time()) + timedelta(seconds=min(86399, round(share * 86400))))
