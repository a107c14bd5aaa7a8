"""What a query had against it: view, quality and size of its photos, the years since its animal was last seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .. import imaging
from ..errors import PhotoError
from ..records import PhotoRef, Quality, Query

DAYS = 365.25  # in a year
GOOD, BAD = "good", "small, blurred, dark, bright or flat"
UNKNOWN = "unknown"
SMALL, MIDDLING = 250, 400  # px


@dataclass(frozen=True)
class Circumstances:
    """Of one query and the references of its animal."""

    sides: tuple[str | None, ...]  # of the query's photos
    own_sides: tuple[str | None, ...]  # of the references
    years: float | None  # to the reference that is nearest in time; None without dates
    years_since: int | None  # calendar years since the last reference
    quality: tuple[Quality, ...]  # of the photos; none where they are gone since they were indexed

    @classmethod
    def of(cls, query: Query, own: Sequence[PhotoRef]) -> Circumstances:
        refs = [photo.ref for photo in query.photos]
        days, before = ([ref.date for ref in some if ref.date] for some in (refs, own))
        nearest = min((abs((day - other).days) for day in days for other in before), default=None)
        try:
            quality = tuple(imaging.quality(ref) for ref in refs)
        except PhotoError:
            quality = ()
        return cls(
            tuple(ref.orientation for ref in refs),
            tuple(ref.orientation for ref in own),
            None if nearest is None else nearest / DAYS,
            abs(max(days).year - max(before).year) if days and before else None,
            quality,
        )

    @property
    def pixels(self) -> int | None:
        """The longest side of the animal, in the photo where it is largest."""
        return max((one.pixels for one in self.quality), default=None)

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """What is wrong with the best of the photos."""
        return min((imaging.shortcomings(one) for one in self.quality), key=len, default=())

    @property
    def view(self) -> str:
        """Whether a reference shows the `same` view; `other`, where all are known to be of others; else `unknown`."""
        if set(_known(self.sides)) & set(_known(self.own_sides)):
            return "same"
        return UNKNOWN if None in (*self.sides, *self.own_sides) or not self.own_sides else "other"

    @property
    def photo(self) -> str:
        return UNKNOWN if not self.quality else BAD if self.shortcomings else GOOD

    def in_words(self) -> str:
        """`same view, 312 px, blurred, 2.1 years to the nearest reference`"""
        years = [] if self.years is None else [f"{self.years:.1f} years to the nearest reference"]
        size = [] if self.pixels is None else [f"{self.pixels} px"]
        return ", ".join((f"{self.view} view", *size, *(one for one in self.shortcomings if not one.startswith("small")), *years))

    def groups(self) -> dict[str, str]:
        """What the figures of an evaluation are broken down by; what is not known is left out."""
        groups = {}
        if any(self.sides):
            groups["side"] = ", ".join(sorted(map(str, set(self.sides))))
            if self.own_sides:
                groups["view"] = self.view
        if self.pixels is not None:
            groups["photo"] = self.photo
            groups["size"] = "250 px or more" if self.pixels >= SMALL else "less than 250 px"
        if self.years_since is not None:
            groups["years"] = str(self.years_since)
        return groups


def band(value: float | None, limits: Sequence[float], unit: str) -> str:
    """In words: `under 250 px`, `250 to 400 px`, `400 px or more`."""
    if value is None:
        return UNKNOWN
    place = int(np.searchsorted(limits, value, side="right"))
    if place == 0:
        return f"under {limits[0]:g} {unit.removesuffix('s') if limits[0] == 1 else unit}"
    return f"{limits[place - 1]:g} {unit} or more" if place == len(limits) else f"{limits[place - 1]:g} to {limits[place]:g} {unit}"


def _known(sides: Iterable[str | None]) -> list[str]:
    return [side for side in sides if side]
