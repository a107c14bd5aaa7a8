"""Which photos were taken on one occasion: as the table says, else derived, so that no promise rests on frames of one burst.

Photos of one animal that may be of one day are of one encounter, and so are photos within an hour of each other, over midnight. A photo
of which no day is known may be of any, so it joins all photos of its animal. An unnamed photo joins only photos of its own folder, by
their dates; without a date it stands by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from .dates import When
from .values import counted

APART = timedelta(hours=1)  # between photos of two encounters that go over midnight
TABLE, EXIF, NAME = "dates of the table", "EXIF dates", "dates in names of files or folders"
SOURCES = (TABLE, EXIF, NAME)


@dataclass(slots=True)
class Sighting:
    """What is known of one photo's occasion."""

    image_id: str
    identity: str | None
    folder: str
    given: str | None  # the table's encounter
    when: When | None
    source: str  # of SOURCES, where `when` is known
    is_query: bool = False  # a split that the table says is one, where no date is known


def derive(photos: Sequence[Sighting]) -> tuple[list[str], str]:
    """The encounter of each photo, and a sentence that says how many there are and how they were found."""
    encounters = [photo.given or "" for photo in photos]
    taken = {photo.given for photo in photos if photo.given}
    counts: Counter[str] = Counter({"from the column encounter": len(taken)})
    of_owner: dict[tuple[str, str], list[int]] = {}
    for place, photo in enumerate(photos):
        owner = ("animal", photo.identity) if photo.identity is not None else ("folder", photo.folder)
        of_owner.setdefault(owner, []).append(place)
    n_alone = 0
    for (kind, owner), places in of_owner.items():
        given = _Given([photos[place] for place in places if photos[place].given])
        waiting = []
        for place in places:
            photo = photos[place]
            if photo.given:
                continue
            if photo.when is None and photo.identity is None:
                encounters[place] = _free(photo.image_id, taken)
                n_alone += 1
            elif joined := given.of(photo):
                encounters[place] = joined
            else:
                waiting.append(place)
        for group in _groups(photos, waiting, is_animal=kind == "animal"):
            members = [photos[place] for place in group]
            name = _free(_name(owner, members), taken)
            for place in group:
                encounters[place] = name
            undated = any(photo.when is None for photo in members)
            source = next(photo.source for photo in sorted(members, key=lambda photo: SOURCES.index(photo.source))) if not undated else ""
            counts[f"by {source}" if source else ""] += 1
    return encounters, _said(counts, n_alone)


class _Given:
    """The encounters that the table gives an animal: a photo of the same day belongs to them."""

    def __init__(self, photos: Iterable[Sighting]):
        self.names: dict[bool, set[str]] = {False: set(), True: set()}  # of references and of queries
        self.by_day: dict[date, str] = {}
        for photo in photos:
            assert photo.given is not None
            self.names[photo.is_query].add(photo.given)
            if photo.when is not None and photo.when.first == photo.when.last:
                self.by_day.setdefault(photo.when.first, photo.given)

    def of(self, photo: Sighting) -> str | None:
        if photo.when is None:
            names = self.names[photo.is_query]
            return next(iter(names)) if len(names) == 1 else None
        return self.by_day.get(photo.when.first) if photo.when.first == photo.when.last else None


def _groups(photos: Sequence[Sighting], places: Sequence[int], is_animal: bool) -> list[list[int]]:
    """Photos of one animal, or unnamed ones of one folder, in encounters, the earliest first."""
    dated = sorted((place for place in places if photos[place].when is not None), key=lambda place: _order(photos[place]))
    groups: list[list[int]] = []
    reach: date | None = None  # the last day that the group may be of
    latest: datetime | None = None
    for place in dated:
        when = photos[place].when
        assert when is not None
        moment = _clock(when)
        in_reach = reach is not None and when.first <= reach
        within = moment is not None and latest is not None and moment - latest <= APART
        if groups and (in_reach or within):
            groups[-1].append(place)
            reach = max(reach or when.last, when.last)
            latest = max(latest, moment) if latest and moment else moment or latest
        else:
            groups.append([place])
            reach, latest = when.last, moment
    for is_query in (False, True):
        undated = [place for place in places if photos[place].when is None and photos[place].is_query is is_query]
        if undated and is_animal:
            own = [group for group in groups if any(photos[place].is_query is is_query for place in group)]
            groups = [group for group in groups if group not in own]
            groups.append([place for group in own for place in group] + undated)
    return groups


def _order(photo: Sighting) -> tuple[date, datetime, date]:
    assert photo.when is not None
    return photo.when.first, _clock(photo.when) or datetime.min, photo.when.last


def _clock(when: When) -> datetime | None:
    """What the camera's clock showed, whatever its zone."""
    return None if when.moment is None else when.moment.replace(tzinfo=None)


def _name(owner: str, photos: Sequence[Sighting]) -> str:
    """For people: the animal or folder, and the first day."""
    days = [photo.when for photo in photos if photo.when is not None]
    if len(days) < len(photos):
        return f"{owner}, undated"
    first = min(days, key=lambda when: (when.first, when.last))
    if first.first == first.last:
        day = first.first.isoformat()
    else:
        day = f"{first.first:%Y}" if first.first.month != first.last.month else f"{first.first:%Y-%m}"
    return f"{owner or 'unnamed'}, {day}"


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    taken.add(free)
    return free


def _said(counts: Counter[str], n_alone: int) -> str:
    parts = [f"{counts[how]:,} {how}" for how in ("from the column encounter", *(f"by {source}" for source in SOURCES)) if counts[how]]
    if counts[""]:
        parts.append(f"{counts['']:,} of animals that have photos without a date (all photos of such an animal are one; give dates or a column encounter)")
    if n_alone:
        parts.append(f"{n_alone:,} of undated, unnamed photos")
    return f"{counted(counts.total() + n_alone, 'encounter')}: {', '.join(parts)}"
