"""When and where an animal was seen, as SVG. Classes are styled by the app's sheet, since its pages allow no style of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup

LEFT, RIGHT, ROW, TOP = 70, 20, 26, 12  # px
WIDE = 720
MAP = 300  # px a side
KM_PER_DEGREE = 111.32  # of latitude, and of longitude at the equator
BARS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 50, 100, 500, 1000, 5000)  # km


@dataclass(frozen=True)
class Seen:
    """An occasion on which an animal was met."""

    day: date
    sides: tuple[str, ...]  # empty where nobody knows
    said: str  # for people
    position: tuple[float, float] | None = None  # degrees north and east


def timeline(seen: Sequence[Seen]) -> Markup | None:
    """A dot for each occasion and side, a row for each side; None where nothing is dated."""
    if not seen:
        return None
    rows = sorted({side for one in seen for side in one.sides or ("",)}, key=lambda side: (side == "", side))
    first, last = min(one.day for one in seen), max(one.day for one in seen)
    start, end = date(first.year, 1, 1).toordinal(), date(last.year + 1, 1, 1).toordinal()
    high = TOP + ROW * len(rows)

    def x(day: date) -> float:
        return LEFT + (WIDE - LEFT - RIGHT) * (day.toordinal() - start) / (end - start)

    parts: list[Markup] = []
    every = math.ceil((last.year - first.year + 1) / 10)
    for year in range(first.year, last.year + 2):
        at = x(date(year, 1, 1))
        parts.append(Markup('<path class="grid" d="M{:.1f} {}V{}"/>').format(at, TOP, high))
        if (year - first.year) % every == 0 and year <= last.year:
            parts.append(Markup('<text x="{:.1f}" y="{}">{}</text>').format(at + 3, high + 15, year))
    for number, side in enumerate(rows):
        y = TOP + ROW * number + ROW // 2
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, y, WIDE - RIGHT))
        parts.append(Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(LEFT - 8, y + 4, side[:10] or "no side"))
        for one in seen:
            if side in (one.sides or ("",)):
                parts.append(
                    Markup('<circle class="dot" cx="{:.1f}" cy="{}" r="5"><title>{}</title></circle>').format(x(one.day), y, one.said)
                )
    label = f"Seen from {first} to {last}"
    return Markup('<svg class="timeline" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDE, high + 22, label, Markup("").join(parts)
    )


def chart(seen: Sequence[Seen]) -> Markup | None:
    """Where it was seen, joined in the order of time, with a bar of kilometres; None without two coordinates or one."""
    placed = sorted((one for one in seen if one.position is not None), key=lambda one: one.day)
    if not placed:
        return None
    points = [one.position for one in placed if one.position is not None]
    origin = points[0][1]  # the way round the earth that is short: 179.9 and -179.9 are neighbours
    around = [(north, origin + (east - origin + 180) % 360 - 180) for north, east in points]
    middle_north = (min(north for north, _ in points) + max(north for north, _ in points)) / 2
    squeeze = max(0.01, math.cos(math.radians(middle_north)))
    flat = [(east * squeeze * KM_PER_DEGREE, -north * KM_PER_DEGREE) for north, east in around]
    xs, ys = [x for x, _ in flat], [y for _, y in flat]
    span = max(max(xs) - min(xs), max(ys) - min(ys), 0.05)
    scale, middle = 0.76 * MAP / span, ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    drawn = [(MAP / 2 + (x - middle[0]) * scale, MAP / 2 + (y - middle[1]) * scale) for x, y in flat]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in drawn)
    dots = [
        Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="5"><title>{}: {:.5f}, {:.5f}</title></circle>').format(
            x, y, one.said, *point
        )
        for (x, y), one, point in zip(drawn, placed, points)
    ]
    bar = max((km for km in BARS if km * scale <= MAP / 2), default=BARS[0])
    length = f"{bar:g} km" if bar >= 1 else f"{1000 * bar:g} m"
    parts = [
        Markup('<rect class="sea" width="{0}" height="{0}" rx="6"/><path class="way" d="{1}"/>').format(MAP, path),
        *dots,
        Markup('<path class="bar" d="M12 {0}v6h{1:.1f}v-6"/><text x="12" y="{2}">{3}</text>').format(
            MAP - 20, bar * scale, MAP - 26, length
        ),
        Markup('<text x="{}" y="20" text-anchor="end">N ↑</text>').format(MAP - 12),
    ]
    return Markup('<svg class="map" viewBox="0 0 {0} {0}" role="img" aria-label="{1}">{2}</svg>').format(
        MAP, f"Where it was seen, {len(placed)} places, north is up", Markup("").join(parts)
    )
