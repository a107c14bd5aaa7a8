"""Which photos belong to one encounter: one occasion on which an animal was met.

A promise must never rest on photos of one burst, so that every photo has an encounter: the table's, else that of its animal and date, else
all photos of the animal are of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

from ..records import PhotoRef
from . import dates

UNDATED = " (undated)"  # behind the name of an encounter of which no date is known
GAP = timedelta(hours=1)  # photos of one animal no further apart are of one encounter, over midnight, too


def derive(refs: Sequence[PhotoRef], taken: Callable[[Path], datetime | None]) -> tuple[list[PhotoRef], dict[str, int]]:
    """The photos, each with its encounter, and how many encounters were found in which way. `taken` reads a photo's own time, and is asked
    only where nothing else is known."""
    found = list(refs)
    ways: dict[str, set[str]] = {}
    open_places: dict[str, list[int]] = {}
    for place, ref in enumerate(refs):
        if ref.encounter is not None:
            ways.setdefault("the column encounter", set()).add(ref.encounter)
        else:
            animal = ref.identity or f"unnamed in {ref.path.parent}"
            open_places.setdefault(animal, []).append(place)
    for animal, places in open_places.items():
        timed: list[tuple[datetime, int]] = []
        dated: dict[tuple[date, str], list[int]] = {}
        nothing: list[int] = []
        for place in places:
            day, time, way = _when(refs[place], taken)
            found[place] = replace(refs[place], date=day, taken=time)
            if time is not None:
                timed.append((time.replace(tzinfo=None), place))
            elif day is not None:
                dated.setdefault((day, way), []).append(place)
            else:
                nothing.append(place)
        for (day, way), group in dated.items():
            same_day = [time for time, _ in timed if time.date() == day]
            if same_day:  # some photos of that day have a time: those without are of its first encounter
                timed += [(min(same_day), place) for place in group]
            else:
                _name(found, group, f"{animal} {day.isoformat()}", ways, way)
        for time, group in _bursts(sorted(timed)):
            _name(found, group, f"{animal} {time.isoformat(' ', 'minutes')}", ways, "times of photos")
        if nothing:
            _name(found, nothing, f"{animal}{UNDATED}", ways, "nothing but the animal, all whose undated photos count as one")
    return found, {way: len(names) for way, names in ways.items()}


def _when(ref: PhotoRef, taken: Callable[[Path], datetime | None]) -> tuple[date | None, datetime | None, str]:
    """The day, the time of day where it is known, and how they are known."""
    if ref.taken is not None or ref.date is not None:
        return ref.date or (ref.taken.date() if ref.taken else None), ref.taken, "dates"
    time = taken(ref.path)
    if time is not None:
        return time.date(), time, "times of photos"
    day, time = dates.in_name(ref.path.stem)
    if day is None:
        day, time = dates.in_name(ref.path.parent.name)
    return day, time, "dates in file names"


def _bursts(timed: Sequence[tuple[datetime, int]]) -> list[tuple[datetime, list[int]]]:
    """Photos in order of time, cut where the gap is larger than GAP; each group with its first time."""
    groups: list[tuple[datetime, list[int]]] = []
    before: datetime | None = None
    for time, place in timed:
        if before is None or time - before > GAP:
            groups.append((time, []))
        groups[-1][1].append(place)
        before = time
    return groups


def _name(found: list[PhotoRef], places: Sequence[int], name: str, ways: dict[str, set[str]], way: str) -> None:
    for place in places:
        found[place] = replace(found[place], encounter=name)
    ways.setdefault(way, set()).add(name)
