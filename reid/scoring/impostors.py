"""How pairs of photos of different animals score: the impostor distribution. NumPy only.

A score alone says little: 12 sure matches may be many or few. What it is worth is read off impostors, pairs of photos that show different
animals, measured on the gallery itself. The scores of those pairs are kept as they are, one value a pair, so that every figure made from
them knows how many pairs it rests on. The match confidences behind them are kept as quantiles: they are drawn as curves, and their mean is
the zero of the signed Wasserstein distance.

The best of thousands of references lies beyond anything that a few hundred pairs have shown. There the tail takes over: what exceeds the
80 % quantile follows a generalised Pareto distribution (peaks over threshold).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError

Floats = NDArray[np.floating]
QUANTILES = np.linspace(0, 1, 513)  # at which a distribution of confidences is kept
MIN_PAIRS = 20  # fewer pairs say nothing about a tail
TAIL = 0.8  # the scores above this quantile are the tail
GUESS, GUESSED = 0.25, 20  # the tail's shape before any pair is seen, and how many pairs in the tail that guess is worth
HEAVIEST = 0.5  # shape of a tail, at most; beyond it a distribution has no variance
GALLERY = "gallery"  # the source of a distribution that was measured on the gallery it judges
SHIPPED = "impostors.json"  # distributions for galleries that are too small for their own
FALLBACK = "aliked-n16"  # the extractor whose shipped distribution serves extractors that have none


@dataclass(frozen=True)
class Tail:
    """The upper end of a score's distribution over impostors."""

    start: float  # the score where it begins
    mean: float  # how far the scores in it exceed that, in the mean; 1 where none does
    shape: float  # of a generalised Pareto distribution; 0 is exponential


@dataclass(frozen=True)
class ImpostorDistribution:
    """How pairs of different animals score: the confidences of their matches, and every score of every pair."""

    all_keypoints: Floats  # (Q,) quantiles of the confidence over the query's keypoints, unmatched ones as 0
    matched: Floats  # (Q,) quantiles of the confidence of matched keypoints; all 0 where nothing ever matched
    scores: Mapping[str, Floats] = field(default_factory=dict)  # (P,) by score: one value a pair, ascending
    source: str = GALLERY  # GALLERY, or the words that say where a shipped one was measured
    joined: tuple[str, ...] = ()  # the scores of this pipeline that count in the joint score
    fused: tuple[ImpostorDistribution, ...] = ()  # of the further pipelines
    weight: float = 1.0  # what this pipeline counts in the joint score, beside others

    def __post_init__(self) -> None:
        for name in ("all_keypoints", "matched"):
            object.__setattr__(self, name, _kept(getattr(self, name)))
        scores = {name: _kept(np.sort(np.asarray(values, np.float64))) for name, values in self.scores.items()}
        object.__setattr__(self, "scores", MappingProxyType(scores))

    @property
    def weights(self) -> tuple[float, ...]:
        """What this pipeline counts, then each that is fused with it."""
        return self.weight, *(one.weight for one in self.fused)

    @property
    def n_pairs(self) -> int:
        return max(map(len, self.scores.values()), default=0)

    @cached_property
    def tails(self) -> Mapping[str, Tail]:
        """By score; of the joint score without its logarithm.

        The shape is that of the probability-weighted moments (Hosking and Wallis 1987, Technometrics), drawn towards GUESS as if GUESSED
        more pairs had been seen in the tail."""
        return {name: _tail(plain(name, values)) for name, values in self.scores.items()}

    def excess(self, score: str, values: Floats) -> Floats:
        """(R,) how far pairs score above impostors, in the mean excess of their tail; falls to 0 below where the tail begins (softplus)."""
        tail = self.tails[score]
        found: Floats = np.logaddexp(0, (plain(score, np.asarray(values, np.float64)) - tail.start) / tail.mean)
        return found

    def above(self, score: str, value: float) -> float:
        """How likely one impostor scores at least `value`: as often as they did, and in the tail no less than its shape says."""
        known, tail = plain(score, self.scores[score]), self.tails[score]
        at = float(plain(score, np.asarray(value, np.float64)))
        as_seen = float(np.mean(known >= at))
        in_tail = float(np.mean(known > tail.start))
        if at <= tail.start or not in_tail:
            return as_seen
        scaled = (at - tail.start) / (tail.mean * (1 - tail.shape))
        rest = float(np.exp(-np.log1p(tail.shape * scaled) / tail.shape if tail.shape else -scaled))
        return max(as_seen, in_tail * rest)

    def as_json(self) -> dict[str, object]:
        """JSON-able, and exact: `from_json` gives the same numbers, bit for bit."""
        return {
            "source": self.source,
            "joined": list(self.joined),
            "all_keypoints": self.all_keypoints.tolist(),
            "matched": self.matched.tolist(),
            "scores": {name: values.tolist() for name, values in self.scores.items()},
            "fused": [one.as_json() for one in self.fused],
            "weight": self.weight,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ImpostorDistribution:
        """Raises KeyError, TypeError or ValueError for anything else than what `as_json` has made."""
        return cls(
            all_keypoints=np.array(value["all_keypoints"], np.float64),
            matched=np.array(value["matched"], np.float64),
            scores={str(name): np.array(values, np.float64) for name, values in value["scores"].items()},
            source=str(value["source"]),
            joined=tuple(map(str, value["joined"])),
            fused=tuple(map(cls.from_json, value["fused"])),
            weight=float(value["weight"]),
        )


def impostor_probability(value: float, impostors: ImpostorDistribution, score: str, n_references: int) -> float:
    """How likely the best of `n_references` photos of other animals scores at least `value`: 1 - (1 - p)^n, where p is that one does.

    A threshold that holds for 100 references is wrong for 2,000; this probability moves with the gallery. `n_references` counts every
    reference that the query was compared with once, however many turns and mirror images of the query were tried: a pair's score is that of
    its best variant, of impostors as of the query. Where a query has several photos, a reference counts once for each of them."""
    return float(-np.expm1(n_references * np.log1p(-min(impostors.above(score, value), 1 - 1e-12))))


def shipped(pipelines: Sequence[tuple[str, str]], weights: Sequence[float]) -> ImpostorDistribution:
    """The distribution that ships for these pipelines, (extractor, matcher) each, those after the first fused with it by their weights.

    An extractor that has none is served by FALLBACK's with the same matcher. The joint score of several is taken to be as high as where all
    are at their highest together, which no gallery exceeds. Raises GalleryError for a matcher that none ships for."""
    known = json.loads(resources.files(__package__).joinpath(SHIPPED).read_text("utf-8"))
    found = []
    for extractor, matcher in pipelines:
        name = next((name for name in (f"{extractor}+{matcher}", f"{FALLBACK}+{matcher}") if name in known), None)
        if name is None:
            raise GalleryError(
                f"the gallery has fewer than {MIN_PAIRS} pairs of different animals, and no impostor distribution ships for {matcher}; "
                "add animals, or choose another matcher"
            )
        found.append(ImpostorDistribution.from_json({"weight": 1.0, **known[name]}))
    own, *others = (replace(one, weight=weight) for one, weight in zip(found, weights, strict=True))
    if not others:
        return own
    n = min(one.n_pairs for one in found)
    joint = np.log1p(sum(one.weight * np.expm1(np.quantile(one.scores["joint"], np.linspace(0, 1, n))) for one in (own, *others)))
    return replace(own, scores={**own.scores, "joint": joint}, fused=tuple(others))


def plain(score: str, values: Floats) -> Floats:
    """A score as it falls off exponentially over impostors: the joint score without its logarithm, the others as they are."""
    found: Floats = np.expm1(values) if score == "joint" else values
    return found


def _tail(known: Floats) -> Tail:
    start = float(np.quantile(known, TAIL))
    over = np.sort(known[known > start] - start)  # strictly: of counts, many are equal
    n = len(over)
    if not n:
        return Tail(start, 1.0, 0.0)
    mean, weighted = float(over.mean()), float(np.mean(over * (1 - (np.arange(n) + 0.65) / n)))
    measured = 2 - mean / (mean - 2 * weighted) if mean > 2 * weighted else 0.0
    share = n / (n + GUESSED)
    return Tail(start, mean, share * min(max(measured, 0.0), HEAVIEST) + (1 - share) * GUESS)


def _kept(values: Floats) -> Floats:
    """A read-only copy."""
    kept = np.array(values, np.float64)
    kept.flags.writeable = False
    return kept
