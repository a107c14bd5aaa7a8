"""Capture histories: which animal was met on which occasion, for every writer of them. Occasions and side are said, never guessed.

Where nobody says which days were sampled, an occasion is a day, month or year in which any photo was taken, of whatever animal: one without
a photo may have had no camera. A table of intervals says it, and may hold occasions on which nothing was met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from ..catalogue import Gallery
from ..catalogue.columns import folded
from ..catalogue.dates import When, read_dates
from ..catalogue.sides import SAY_IT, flank, names_a_view
from ..catalogue.table import read_table
from ..catalogue.values import counted, some
from ..errors import GalleryError, SettingsError
from ..records import PhotoRef
from .described import photos, whens
from .writing import ExportOptions, by_reason, csv_bytes

NOBODY = "nobody has named the animal; `reid review` asks who it is"
NO_SIDE = f"nobody has said the side; say it {SAY_IT}"
ODD_SIDE = f"the side that is said is no word known here; say left or right {SAY_IT}"
ONE_SIDE = "the animal is known from one side only, and may be another one's other side; --side left or right counts it"
NO_DATE = "nobody has said the date; say it in the column date"
VAGUE = "the date is a month or a year, of no one occasion; say the day in the column date"
OUTSIDE = "taken on a day of none of the occasions; nothing is to be done, unless the table of them lacks one"
ASKED = ("occasions", "side")  # options, by every writer of histories
UNITS = ("day", "month", "year")
SIDES = ("left", "right", "linked")


@dataclass(frozen=True)
class Occasion:
    name: str
    first: date
    last: date  # the last day of it


@dataclass(frozen=True)
class Capture:
    """One photo that counts."""

    identity: str
    occasion: int  # place among the occasions, from 0
    ref: PhotoRef


@dataclass(frozen=True)
class Histories:
    """What capture-recapture starts from."""

    occasions: tuple[Occasion, ...]
    captures: tuple[Capture, ...]
    linked: str  # how many animals are known from one side only
    photos_on: tuple[tuple[int, bool], ...]  # of each photo of one occasion, whether it counts or not: its place, and whether it is named
    notes: tuple[str, ...]  # how the table of occasions was read
    left_out: tuple[tuple[str, str], ...]

    @property
    def identities(self) -> list[str]:
        return sorted({one.identity for one in self.captures})

    def rows(self) -> dict[str, str]:
        """The history of each animal: a 1 for each occasion on which it was met, a 0 for each other."""
        met = {(one.identity, one.occasion) for one in self.captures}
        return {name: "".join("01"[(name, place) in met] for place in range(len(self.occasions))) for name in self.identities}

    def told(self, met: Collection[int]) -> list[str]:
        """The notes, and one of the occasions with photos on which no animal was `met`: the 0 of every animal may be nothing but work that
        is left to do."""
        n_photos, n_named = Counter(place for place, _ in self.photos_on), Counter(place for place, named in self.photos_on if named)
        empty = sorted(n_photos.keys() - met)
        each = [f"{self.occasions[one].name} ({counted(n_photos[one], 'photo')}, {n_named[one]:,} of known animals)" for one in empty]
        what = counted(len(empty), "occasion has", "occasions have")
        return [*self.notes, *([f"{what} photos and a 0 for every animal, since none of them counts: {some(each)}"] if empty else [])]

    def table(self) -> bytes:
        """The occasions as csv: name, first and last day, days from its first day to that of the next."""
        gaps = [str((after.first - one.first).days) for one, after in zip(self.occasions, self.occasions[1:])]
        rows = [(one.name, one.first.isoformat(), one.last.isoformat(), gap) for one, gap in zip(self.occasions, [*gaps, ""])]
        return csv_bytes(("occasion", "start", "end", "days_to_next"), rows)


def histories(gallery: Gallery, options: ExportOptions) -> Histories:
    """Raises SettingsError where occasions or the side are not said, GalleryError where nothing is left."""
    if options.occasions is None:
        raise SettingsError("what is an occasion? say --occasions day, month or year, or name a table with the columns start and end")
    if options.side not in SIDES:
        raise SettingsError("which side counts? say --side left, --side right, or --side linked for animals whose two sides are linked")
    refs = photos(gallery)
    dated = list(zip(refs, whens(refs), strict=True))
    named = {ref.identity for ref in refs if ref.identity}
    sides = _sides(photos(options.whole or gallery))
    unlinked = {name for name, seen in sides.items() if len(seen) == 1} & named
    kept: list[tuple[PhotoRef, When | None]] = []
    left_out: list[tuple[str, str]] = []
    for ref, when in dated:
        reason = NOBODY if ref.identity is None else _wrong_side(ref, options.side, unlinked)
        if reason:
            left_out.append((ref.image_id, reason))
        else:
            kept.append((ref, when))
    occasions, notes = _occasions(options.occasions, [when for _, when in dated if when is not None])
    captures = []
    for ref, when in kept:
        place = _place(occasions, when)
        if place is None:
            left_out.append((ref.image_id, NO_DATE if when is None else OUTSIDE if when.first == when.last else VAGUE))
        else:
            assert ref.identity is not None
            captures.append(Capture(ref.identity, place, ref))
    if not captures:
        raise GalleryError(f"no photo counts for --side {options.side} and --occasions {options.occasions}", tuple(by_reason(left_out)))
    linked = _linked_note(options.side, len(unlinked), len(named), sorted(unlinked))
    if options.side == "linked" and sides and (bare := sorted({one.identity for one in captures} - sides.keys())):
        what = counted(len(bare), "animal counts", "animals count")
        linked += f"; {what} of which no photo says left or right ({some(bare)}), and may be another one's other side: say it {SAY_IT}"
    on = [(place, ref.identity is not None) for ref, when in dated if (place := _place(occasions, when)) is not None]
    return Histories(tuple(occasions), tuple(captures), linked, tuple(on), tuple(notes), tuple(left_out))


def _sides(refs: Sequence[PhotoRef]) -> dict[str, set[str]]:
    """Of each animal with a photo of its left or right side, which are known. One with a single side may stand in the catalogue a second
    time, for the other."""
    sides: dict[str, set[str]] = {}
    for ref in refs:
        side = flank(ref.orientation)
        if ref.identity is not None and side is not None:
            sides.setdefault(ref.identity, set()).add(side)
    return sides


def _wrong_side(ref: PhotoRef, side: str | None, unlinked: set[str]) -> str:
    if side == "linked":
        return ONE_SIDE if ref.identity in unlinked else ""
    if flank(ref.orientation) == side:
        return ""
    if not names_a_view(ref.orientation):
        return NO_SIDE if ref.orientation is None else ODD_SIDE
    return f"of another side than --side {side} counts; nothing is to be done"


def _linked_note(side: str, n: int, n_named: int, names: Sequence[str]) -> str:
    what = f"{n} of {counted(n_named, 'animal')} {'is' if n == 1 else 'are'} unlinked, known from the left or from the right side only"
    shown = f" ({some(names)})" if names else ""
    if not n:
        return what
    if side == "linked":
        return f"{what}{shown}; they are left out, since two of them may be one animal"
    return f"{what}{shown}; of each animal only its {side} side counts"


def _place(occasions: Sequence[Occasion], when: When | None) -> int | None:
    """The occasion on which a photo was taken; None where it may have been taken on another, or on none."""
    if when is None:
        return None
    return next((place for place, one in enumerate(occasions) if one.first <= when.first <= when.last <= one.last), None)


def _occasions(said: str, dated: Sequence[When]) -> tuple[list[Occasion], list[str]]:
    """And how they were read. Raises GalleryError, SettingsError."""
    if said not in UNITS:
        return _intervals(Path(said))
    found = {_unit(when.first, said) for when in dated if _unit(when.first, said) == _unit(when.last, said)}
    return [Occasion(*one) for one in sorted(found, key=lambda one: one[1])], []


def _unit(day: date, unit: str) -> tuple[str, date, date]:
    if unit == "day":
        return day.isoformat(), day, day
    if unit == "year":
        return f"{day:%Y}", date(day.year, 1, 1), date(day.year, 12, 31)
    after = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return f"{day:%Y-%m}", day.replace(day=1), after - timedelta(days=1)


def _intervals(file: Path) -> tuple[list[Occasion], list[str]]:
    """Of a table with the columns `start` and `end` (the last day), and perhaps `occasion`, its name: both are written in one order of day
    and month. Raises GalleryError, SettingsError."""
    if not file.is_file():
        raise SettingsError(f"--occasions {file} is none of {', '.join(UNITS)}, and there is no such table")
    table = read_table(file)
    places = {folded(name): place for place, name in enumerate(table.columns)}
    missing = [name for name in ("start", "end") if name not in places]
    if missing:
        raise GalleryError(f"{file}: column {missing[0]!r} is missing; a table of occasions has start, end and perhaps occasion")
    both = [(where, _cell(cells, places[name])) for name in ("start", "end") for where, cells in table.rows]
    days, notes = read_dates(f"{file}, start and end", both)
    problems: list[str] = []
    found: list[Occasion] = []
    for number, (where, cells) in enumerate(table.rows, start=1):
        start, end = (days.get(_cell(cells, places[name])) for name in ("start", "end"))
        for name, when in (("start", start), ("end", end)):
            if when is None:
                problems.append(f"{file}, {where}: {_cell(cells, places[name])!r} is no day (column {name})")
        if start is None or end is None:
            continue
        if end.last < start.first:
            problems.append(f"{file}, {where}: it ends before it starts (column end)")
        elif found and start.first <= found[-1].last:
            problems.append(f"{file}, {where}: it starts before the occasion above has ended (column start)")
        else:
            name = _cell(cells, places["occasion"]) if "occasion" in places else ""
            found.append(Occasion(name or str(number), start.first, end.last))
    if problems or not found:
        raise GalleryError(f"{file}: {counted(len(problems), 'problem')}" if problems else f"{file} names no occasion", tuple(problems))
    return found, notes


def _cell(cells: Sequence[str], place: int) -> str:
    return cells[place] if place < len(cells) else ""
