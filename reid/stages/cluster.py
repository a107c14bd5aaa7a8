"""Photos without a catalogue -> groups, one an animal: every photo is a query among all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import catalogue, decision, scoring
from ..catalogue import Decision
from ..records import Failure, Indexed, PhotoFacts, Query
from ..scoring import ImpostorDistribution
from .match import update_index
from .queries import queries
from .score import compare
from .score import impostors as measured_impostors
from .workspace import Workspace

STEPS = 60  # of the bisection for a threshold
Work = Callable[[Sequence[Indexed]], Iterator[NDArray[np.float64]]]
Share = Callable[[Work, Sequence[Indexed]], Iterable[NDArray[np.float64]]]  # what work gives for each, whoever does it


@dataclass(frozen=True)
class Likeness:
    """Another photo, and how alike it is."""

    item: Indexed
    score: float
    p_impostor: float  # how likely the best of as many photos of other animals would look at least as alike


@dataclass(frozen=True)
class Grouped:
    """A photo in its group."""

    item: Indexed
    group: int
    like: Likeness | None  # the photo of its group that it is most like; None where there is none that it can be compared with
    other: Likeness | None  # the photo outside its group that it is most like


@dataclass(frozen=True)
class Grouping:
    """All photos of a folder in groups."""

    photos: tuple[Grouped, ...]  # under the names that were decided
    written: tuple[str | None, ...]  # the names that the table gives them, which have not been used
    impostors: ImpostorDistribution  # by which they are judged
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class PairScores:
    """How alike every two photos are."""

    scores: NDArray[np.float64]  # (N, N), symmetric: the better of both directions; nan where a pair cannot be compared
    n_compared: NDArray[np.intp]  # (N,) how many others each photo was compared with

    @classmethod
    def of(cls, rows: Iterable[NDArray[np.float64]]) -> PairScores:
        """From what `likeness` finds of each photo."""
        scores = np.stack(list(rows))
        return cls(np.fmax(scores, scores.T), (~np.isnan(scores)).sum(axis=1))


def likeness(
    queries: Sequence[Indexed], items: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution
) -> Iterator[NDArray[np.float64]]:
    """(N,) how alike each query finds the photos, coarse to fine; nan where it is compared with none: copies of it, opposite sides."""
    for done, query in enumerate(queries):
        work.listener.progress("photos compared", done, len(queries))
        scores = np.full(len(items), np.nan)
        places = [place for place, other in enumerate(items) if other.digest != query.digest]
        others = [items[place] for place in places]
        found = compare(query, others, work, impostors)
        values = found.scores.by(work.settings.score.score)
        for place in found.selection.comparable:
            scores[places[place]] = values[place]
        yield scores
    work.listener.progress("photos compared", len(queries), len(queries))


def grouping(
    items: Sequence[Indexed],
    written: tuple[str | None, ...],
    decisions: Sequence[Decision],
    work: Workspace,
    facts: Callable[[Path], PhotoFacts],
    failures: tuple[Failure, ...],
    share: Share,
) -> Grouping:
    """Photos in groups, by their marks and by decisions alone, not by what is `written`. With the setting `encounters` the photos of an
    encounter are one animal. `share` has the photos compared, each with all."""
    decided = catalogue.labels(items, decisions)
    named = []
    for item, name in zip(items, decided.identities, strict=True):
        side = decided.sides.get(item.digest, item.ref.orientation) or None
        named.append(Indexed(replace(item.ref, identity=name, orientation=side), item.digest))
    impostors = measured_impostors(named, work)
    update_index(named, work.first)
    found = PairScores.of(share(partial(likeness, items=named, work=work, impostors=impostors), named))
    names = sorted(set(filter(None, decided.identities)))
    together = [Query(name, tuple(item for item in named if item.ref.identity == name)) for name in names]
    if work.settings.score.encounters:
        together += queries(named, True, facts)
    groups = cluster(named, found, together, decided.apart, work, impostors)
    return Grouping(tuple(groups), written, impostors, failures)


def cluster(
    items: Sequence[Indexed],
    found: PairScores,
    together: Sequence[Query],
    apart: Sequence[tuple[str, str]],
    work: Workspace,
    impostors: ImpostorDistribution,
) -> list[Grouped]:
    """Groups at the score where the best of as many impostors would be with the probability `match_below`. The photos of each query of
    `together`, which are among `items`, are one animal; photos of `apart` (digests), of two names and two boxes of one photo are not."""
    place = {id(item): i for i, item in enumerate(items)}
    by_digest: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        by_digest.setdefault(item.digest, []).append(i)
    must = [pair for query in together for pair in pairwise(place[id(photo)] for photo in query.photos)]
    must += [pair for alike in by_digest.values() for pair in pairwise(alike)]  # copies
    cannot = [(a, b) for one, other in apart for a in by_digest.get(one, ()) for b in by_digest.get(other, ())]
    in_photo: dict[Path, list[int]] = {}
    for i, item in enumerate(items):
        in_photo.setdefault(item.ref.path, []).append(i)
    cannot += [pair for boxes in in_photo.values() for pair in combinations(boxes, 2)]
    one_of = {item.ref.identity: i for i, item in enumerate(items) if item.ref.identity is not None}
    cannot += combinations(one_of.values(), 2)
    name = work.settings.score.score
    n = max(int(np.median(found.n_compared)), 1)
    threshold = score_at(work.settings.decide.match_below, found.scores, impostors, name, n)
    group = decision.groups(found.scores, threshold, must, cannot)

    def most_like(i: int, places: NDArray[np.intp]) -> Likeness | None:
        known = places[(places != i) & ~np.isnan(found.scores[i, places])]
        if not len(known):
            return None
        best = int(known[np.argmax(found.scores[i, known])])  # of several the first
        score = float(found.scores[i, best])
        return Likeness(items[best], score, scoring.impostor_probability(score, impostors, name, max(int(found.n_compared[i]), 1)))

    return [
        Grouped(item, int(own), most_like(i, np.flatnonzero(group == own)), most_like(i, np.flatnonzero(group != own)))
        for i, (item, own) in enumerate(zip(items, group, strict=True))
    ]


def score_at(p: float, scores: NDArray[np.float64], impostors: ImpostorDistribution, name: str, n: int) -> float:
    """The score that the best of `n` impostors reaches with the probability `p`; above all `scores` where even the highest is likelier."""
    low, high = float(np.nanmin(scores, initial=0.0)), float(np.nanmax(scores, initial=0.0)) + 1
    for _ in range(STEPS):
        middle = (low + high) / 2
        if scoring.impostor_probability(middle, impostors, name, n) > p:
            low = middle
        else:
            high = middle
    return high
