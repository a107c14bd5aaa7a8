"""Which photos were taken on one occasion: as the table says, else derived, so that no promise rests on frames of one burst.

Photos of one animal are of one encounter where the table, or their names, date them to one day, and where their cameras' times follow one
another within an hour, over midnight, too; of photos without a name, which may show many animals, their times alone count where they have
some. A photo that may be of several encounters makes them one: of a year alone, all of that year; of
no date, all of its animal. Photos whose encounter the table leaves blank join the one that it gives to others of the same animal and day.
An undated query is of an encounter by itself, since the table has set it apart. Unnamed photos go with those of their own folder, by
their dates; without a date they stand by themselves.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise

from .dates import When
from .values import counted

APART = timedelta(hours=1)  # between photos of two encounters
COLUMN = "from the column encounter"
TABLE, EXIF, NAME = "by dates of the table", "by times of photos", "by dates in names of files or folders"
NOTHING = "of animals that have photos without a date, all photos of such an animal as one (give dates, or a column encounter)"
ALONE = "of undated photos that are queries or unnamed, each by itself"
WAYS = (COLUMN, TABLE, EXIF, NAME, NOTHING, ALONE)


@dataclass(slots=True)
class Sighting:
    """What is known of one photo's occasion."""

    image_id: str
    identity: str | None
    folder: str  # of an animal without a name; its whole path, since two may have one name
    given: str | None  # the table's encounter
    when: When | None
    way: str  # TABLE, EXIF or NAME, where `when` is known
    is_query: bool = False  # a split that the table says is one, where no date is known


def derive(photos: Sequence[Sighting]) -> tuple[list[str], list[str]]:
    """The encounter of each photo; and a note that says how many there are and how they were found, unless the table gives all of them."""
    encounters = [photo.given or "" for photo in photos]
    taken = {photo.given for photo in photos if photo.given}
    counts = Counter({COLUMN: len(taken)})
    owners: dict[tuple[bool, str], list[int]] = {}
    for place, photo in enumerate(photos):
        owners.setdefault((photo.identity is not None, photo.identity or photo.folder), []).append(place)
    for (is_animal, owner), places in owners.items():
        given = _Given([photos[place] for place in places]) if counts[COLUMN] else None
        waiting: list[int] = []
        for place in places:
            photo = photos[place]
            if photo.given:
                continue
            if photo.when is None and (photo.is_query or not is_animal):
                encounters[place] = free_name(photo.image_id, taken)
                counts[ALONE] += 1
            elif given and (found := given.of(photo)):
                encounters[place] = found
            else:
                waiting.append(place)
        for group in _groups(photos, waiting):
            name, way = _name(owner if is_animal else os.path.basename(owner), [photos[place] for place in group])
            counts[way] += 1
            free = free_name(name, taken)
            for place in group:
                encounters[place] = free
    if counts.total() == counts[COLUMN]:
        return encounters, []
    ways = ", ".join(f"{counts[way]:,} {way}" for way in WAYS if counts[way])
    return encounters, [f"{counted(counts.total(), 'encounter')}: {ways}"]


def occasions(times: Sequence[datetime | None]) -> list[list[int]]:
    """Places of photos that were taken within an hour of one another, by their cameras' clocks; all of them where one has no time."""
    whens = [None if time is None else When(time.date(), time.date(), time) for time in times]
    photos = [Sighting(str(place), None, "", None, when, EXIF) for place, when in enumerate(whens)]
    return _groups(photos, range(len(photos)))


class _Given:
    """The encounters that the table gives to an animal's photos: those of the same day, or of no other, belong to them."""

    def __init__(self, photos: Iterable[Sighting]):
        self.by_day: dict[date, str] = {}
        self.names: set[str] = set()
        for photo in photos:
            if photo.given:
                self.names |= set() if photo.is_query else {photo.given}
                if photo.when is not None and photo.when.first == photo.when.last:
                    self.by_day.setdefault(photo.when.first, photo.given)

    def of(self, photo: Sighting) -> str | None:
        if photo.when is None:
            return next(iter(self.names)) if len(self.names) == 1 else None
        return self.by_day.get(photo.when.first) if photo.when.first == photo.when.last else None


class _Union:
    """Places that belong together (a disjoint-set forest)."""

    def __init__(self, places: Iterable[int]):
        self.above = {place: place for place in places}

    def root(self, place: int) -> int:
        while self.above[place] != place:
            self.above[place] = place = self.above[self.above[place]]
        return place

    def unite(self, places: Iterable[int]) -> None:
        first = None
        for place in places:
            if first is None:
                first = self.root(place)
            self.above[self.root(place)] = first

    def groups(self) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for place in self.above:
            found.setdefault(self.root(place), []).append(place)
        return list(found.values())


def _groups(photos: Sequence[Sighting], places: Sequence[int]) -> list[list[int]]:
    """Photos of one animal, or unnamed ones of one folder, in encounters."""
    dated = [(place, when) for place in places if (when := photos[place].when) is not None]
    clocks = sorted((clock, place) for place, when in dated if (clock := _clock(when)) is not None)
    days: dict[tuple[date, date], list[int]] = {}
    timed: list[tuple[int, When]] = []
    for place, when in dated:
        if when.moment is None or (photos[place].way != EXIF and photos[place].identity is not None):
            days.setdefault((when.first, when.last), []).append(place)
        else:
            timed.append((place, when))
    if not clocks and all(first == last for first, last in days) and sum(map(len, days.values())) == len(places):
        return list(days.values())  # whole days and nothing else
    union = _Union(places)
    for (before, one), (after, other) in pairwise(clocks):
        if after - before <= APART:
            union.unite((one, other))
    for (first, last), alike in days.items():
        union.unite(alike)
        if first != last:  # a month or a year
            union.unite([alike[0], *(place for place, when in dated if when.first <= last and first <= when.last)])
    for place, when in timed:
        if same_day := days.get((when.first, when.last)):
            union.unite((same_day[0], place))
    undated = [place for place in places if photos[place].when is None]
    if undated:
        union.unite([*undated, *(place for place in places if not photos[place].is_query)])
    return union.groups()


def _clock(when: When) -> datetime | None:
    """What the camera's clock showed, whatever its zone."""
    return None if when.moment is None else when.moment.replace(tzinfo=None)


def _name(owner: str, photos: Sequence[Sighting]) -> tuple[str, str]:
    """For people: the animal or folder and the first day, with the time where it is known; and how that is known."""
    owner, (only, *others) = owner or "unnamed", photos
    if not others and only.when is not None and only.when.moment is None and only.when.first == only.when.last:  # most of an archive
        return f"{owner}, {only.when.first.isoformat()}", only.way
    dated = [
        (when.first, datetime.min if when.moment is None else when.moment.replace(tzinfo=None), when.last, photo.way)
        for photo in photos
        if (when := photo.when) is not None
    ]
    if len(dated) < len(photos):
        return f"{owner}, undated", NOTHING
    first, clock, last, way = min(dated)
    if clock != datetime.min:
        return f"{owner}, {clock.isoformat(' ', 'minutes')}", way
    if first == last:
        return f"{owner}, {first.isoformat()}", way
    return f"{owner}, {first:%Y}" if first.month != last.month else f"{owner}, {first:%Y-%m}", way


def free_name(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where it is taken, and taken from now on."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    taken.add(free)
    return free
