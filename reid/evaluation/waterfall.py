"""Where the right animal is lost: of each query of a known animal the stage at which it was, in all and by what it had against it.

A funnel: what is lost at one stage does not come to the next, and what is first has come through all of them. Intervals are Wilson's,
with as many trials as there are animals, as though the queries of one animal told no more than one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..decision.verdicts import MATCH, NEW, ODD, UNSURE
from ..records import Candidate, Indexed, Query
from ..scoring import Scores
from ..stages import Selection, Stage, stage
from .circumstances import MIDDLING, SMALL, UNKNOWN, Circumstances, band

if TYPE_CHECKING:
    import pandas

Z = 1.959964  # two-sided 95 %
YEARS = (1, 3)
LOSSES = tuple(one for one in Stage if one != Stage.first)


@dataclass(frozen=True)
class Course:
    """How far the right animal came for one query, and who stood first."""

    query_id: str
    identity: str  # of the right animal
    stage: Stage
    is_finalist: bool  # whether the first pipeline has matched a reference of it in full
    rank: int  # 0 where it has no reference
    right: Candidate | None  # its best reference; where nothing of it was matched, the one that came furthest
    first: Candidate | None
    circumstances: Circumstances
    verdict: str | None = None  # None where there was no reference at all to compare it with

    @classmethod
    def of(
        cls,
        query: Query,
        pool: Sequence[Indexed],
        selections: Sequence[Selection],
        columns: Sequence[Scores],
        score: str,
        candidates: Sequence[Candidate],
        circumstances: Circumstances,
    ) -> Course:
        """Of a query that was identified among `pool`, without its verdict: what was selected for each of its photos, and their scores
        there."""
        identity = str(query.photos[0].ref.identity)
        own = [place for place, item in enumerate(pool) if item.ref.identity == identity]
        rank = next((number for number, one in enumerate(candidates, start=1) if one.identity == identity), 0)
        right = _best(query, pool, own, selections, columns, score) if own else None
        first = candidates[0] if candidates else None
        is_finalist = any(one.finalists & set(own) for one in selections)
        return cls(query.name, identity, stage(selections, set(own), rank == 1), is_finalist, rank, right, first, circumstances)

    @property
    def gap(self) -> float:
        """By how much another animal is ahead."""
        return 0.0 if self.right is None or self.first is None else self.first.score - self.right.score

    def groups(self) -> dict[str, str]:
        about = self.circumstances
        return {
            "view": about.view,
            "size": band(about.pixels, (SMALL, MIDDLING), "px"),
            "photo": about.photo,
            "years": band(about.years, YEARS, "years"),
        }

    def as_json(self) -> dict[str, object]:
        about = self.circumstances
        return {
            "query": self.query_id,
            "individual": self.identity,
            "stage": self.stage.name,
            "finalist": self.is_finalist,
            "rank": self.rank or None,
            "right": self.right and _candidate(self.right),
            "first": self.first and _candidate(self.first),
            "verdict": self.verdict,
            "view": about.view,
            "size": about.pixels,
            "quality": list(about.shortcomings) if about.quality else None,
            "years": None if about.years is None else round(about.years, 3),
        }


@dataclass(frozen=True)
class Row:
    """One group of queries."""

    n: int
    lost: Mapping[Stage, int]  # at each of LOSSES
    first: int
    interval: tuple[float, float] | None  # 95 %, of the share that stands first

    @property
    def share(self) -> float:
        return self.first / self.n

    def as_json(self) -> dict[str, object]:
        lost = {stage.name: n for stage, n in self.lost.items()}
        return {"n": self.n, "lost": lost, "first": self.first, "interval": self.interval and list(self.interval)}


@dataclass(frozen=True)
class Waterfall:
    """The courses of all queries whose animal is in the gallery, be it with photos of the query's own encounter alone."""

    courses: tuple[Course, ...] = ()

    def funnel(self) -> dict[Stage, tuple[int, int, tuple[float, float] | None]]:
        """Of each of LOSSES: lost there, left after it, and the 95 % interval of the share that is left. What the last leaves is first."""
        lost = Counter(one.stage for one in self.courses)
        left, found = len(self.courses), dict[Stage, tuple[int, int, tuple[float, float] | None]]()
        for name in LOSSES:
            left -= lost[name]
            found[name] = lost[name], left, _interval(self.courses, left)
        return found

    def groups(self) -> dict[str, dict[str, Row]]:
        """{group: {value: row}}"""
        found: dict[str, dict[str, list[Course]]] = {}
        for one in self.courses:
            for group, value in one.groups().items():
                found.setdefault(group, {}).setdefault(value, []).append(one)
        return {group: {value: _row(some) for value, some in sorted(values.items(), key=_in_order)} for group, values in found.items()}

    def verdicts(self) -> dict[str, int]:
        """Of the queries whose animal stands first."""
        given = Counter(one.verdict for one in self.courses if one.stage == Stage.first)
        return {verdict: given[verdict] for verdict in (MATCH, UNSURE, NEW, ODD) if given[verdict]}

    @property
    def n_seen_by_others(self) -> int:
        """Queries whose animal stands first though the first pipeline has not matched it in full: a further one has."""
        return sum(one.stage == Stage.first and not one.is_finalist for one in self.courses)

    def worst(self, most: int) -> list[Course]:
        """Lost ones that have a reference to be shown: first those that a person would expect to be found, of the same view and a good
        photo, and of these those that another animal is ahead of by most."""
        lost = [one for one in self.courses if one.stage != Stage.first and one.right is not None]
        return sorted(lost, key=_expected)[:most]

    def as_json(self) -> dict[str, object]:
        funnel = ((name, *values) for name, values in self.funnel().items())
        groups = self.groups().items()
        return {
            "funnel": {name.name: {"lost": lost, "left": left, "interval": ends and list(ends)} for name, lost, left, ends in funnel},
            "verdicts": self.verdicts(),
            "groups": {group: {value: row.as_json() for value, row in values.items()} for group, values in groups},
            "queries": [one.as_json() for one in self.courses],
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row a query, with the columns of the JSON; `right` and `first` as an individual's name, score and reference each."""
        import pandas

        return pandas.json_normalize([one.as_json() for one in self.courses], sep="_")


def _row(some: Sequence[Course]) -> Row:
    counts = Counter(one.stage for one in some)
    first = counts[Stage.first]
    return Row(len(some), {name: counts[name] for name in LOSSES}, first, _interval(some, first))


def _interval(some: Sequence[Course], n: int) -> tuple[float, float] | None:
    """Of the share that `n` of them are."""
    return wilson(n / len(some), len({one.identity for one in some})) if some else None


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of `n` trials (Wilson 1927, JASA)."""
    middle, spread = share + Z**2 / (2 * n), Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low, high = (middle - spread) / (1 + Z**2 / n), (middle + spread) / (1 + Z**2 / n)
    return max(0.0, float(low)), min(1.0, float(high))


def _best(
    query: Query, pool: Sequence[Indexed], own: Sequence[int], selections: Sequence[Selection], columns: Sequence[Scores], score: str
) -> Candidate:
    """Of the references in the places `own` the one with the greatest score; of equals the one that came furthest, of the same view."""

    def order(pair: tuple[int, int]) -> tuple[object, ...]:
        photo, place = query.photos[pair[0]].ref, pool[pair[1]].ref
        came = sum(pair[1] in places for places in selections[pair[0]].stages)
        return -columns[pair[0]].by(score)[pair[1]], -came, photo.orientation != place.orientation, photo.image_id, place.image_id

    photo, place = min(((photo, place) for photo in range(len(columns)) for place in own), key=order)
    found, (of_photo, of_reference) = columns[photo], (query.photos[photo].ref.image_id, pool[place].ref.image_id)
    return Candidate(str(pool[place].ref.identity), float(found.by(score)[place]), int(found.shown[place]), of_reference, of_photo)


def _in_order(item: tuple[str, object]) -> tuple[bool, bool, str]:
    """Of a group's values: the lowest band first, what is not known last."""
    return item[0] == UNKNOWN, not item[0].startswith("under"), item[0]


def _expected(one: Course) -> tuple[object, ...]:
    return one.circumstances.view != "same", bool(one.circumstances.shortcomings), -one.gap, one.query_id


def _candidate(one: Candidate) -> dict[str, object]:
    return {
        "individual": one.identity,
        "score": one.score,
        "n_matches": one.n_matches,
        "reference": one.reference_id,
        "photo": one.photo_id,
    }
