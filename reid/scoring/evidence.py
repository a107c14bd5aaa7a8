"""From match confidences to one number per pair. Pure NumPy; larger always means more alike.

The Wasserstein score compares the distribution of a pair's confidences with that of pairs of different animals, the null. A distance
has no sign and is undefined for no match at all; both are settled here, once:

* the sign: the area by which the pair's cumulative curve lies to the right of the null's, minus the area by which it lies to the left.
  Where the curves do not cross, and a true match lies right of strangers, this is the 1-Wasserstein distance. Where they cross, the
  distance would add both areas, and a pair would gain by its weak matches being weaker; so a surer match never lowers this score;
* nothing matched is a distribution too, all of it at confidence 0: the lowest score there is, minus the null's mean.

It is measured in two ways: over all keypoints of the query, an unmatched one counting as 0, and over the matched ones alone, where it
does not depend on how many there are.

Scores of different kinds are joined by what they are worth among strangers: each counts by how far it exceeds what four in five pairs of
strangers stay below, in units of their mean excess (peaks over threshold; an exponential tail makes that the logarithm of how rare it is).
So are the opinions of several extractors and matchers on one pair. The joint score is the logarithm of 1 + the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..settings import SCORES

Floats = NDArray[np.floating]
QUANTILES = np.linspace(0, 1, 513)  # steps in which a null distribution is kept
TAIL = 0.8  # the null pairs' scores above this quantile are its tail
GUESS, GUESSED = 0.25, 20  # what the shape is taken for beforehand, and how many of the null's quantiles in the tail that is worth
HEAVIEST = 0.5  # shape of a tail, at most; beyond it a distribution has no variance
MIN_PAIRS = 20  # fewer null pairs say nothing about a tail


@dataclass(frozen=True)
class Evidence:
    """What a pair's matches say, in every way it is measured."""

    excess: float  # how far the scores that the null names exceed strangers', and those of other opinions theirs
    wasserstein: float
    wasserstein_matched: float
    n_matches: int
    shown: int  # sure matches of the opinion that speaks for the pair most; only the first one's are ranked by
    total: float  # of the confidences
    mean: float

    def by(self, score: str) -> float:
        """The value of the score that the settings name."""
        values = (float(np.log1p(self.excess)), self.wasserstein, self.wasserstein_matched, float(self.n_matches), self.total, self.mean)
        return dict(zip(SCORES, values, strict=True))[score]


@dataclass(frozen=True)
class Null:
    """How pairs of different animals score: two distributions of confidences, and of each score over those pairs."""

    all_keypoints: Floats  # (Q,) quantiles of the confidence, unmatched keypoints as 0
    matched: Floats  # (Q,) quantiles of the confidence of matched keypoints; all 0 where nothing ever matched
    scores: dict[str, Floats]  # (Q,) quantiles over pairs, by score
    n_pairs: int
    source: str  # "gallery", or the sentence that says where a shipped default is from
    by: tuple[str, ...] = ()  # the scores that are joined
    others: tuple[Null, ...] = ()  # of the other opinions

    @cached_property
    def tails(self) -> dict[str, tuple[float, float, float]]:
        """By score: where its tail begins, how far those in it exceed that in the mean (1 where there is none), and how heavy it is, the
        shape of a generalised Pareto distribution (0: exponential) by probability-weighted moments (Hosking and Wallis 1987,
        Technometrics). Of the joint score without its logarithm."""
        found = {}
        for name, values in self.scores.items():
            known = _plain(name, values)
            start = float(np.quantile(known, TAIL))
            over = np.sort(known[known > start] - start)  # strictly: of counts, many are equal
            if not len(over):
                found[name] = start, 1.0, 0.0
                continue
            mean, weighted = float(over.mean()), float(np.mean(over * (1 - (np.arange(len(over)) + 0.65) / len(over))))
            shape = 2 - mean / (mean - 2 * weighted) if mean > 2 * weighted else 0.0
            share = len(over) / (len(over) + GUESSED)
            found[name] = start, mean, share * min(max(shape, 0.0), HEAVIEST) + (1 - share) * GUESS
        return found

    def excess(self, score: str, value: float) -> float:
        """How far a pair scores above strangers, in their mean excesses; falls to 0 below where their tail begins (softplus)."""
        start, mean, _ = self.tails[score]
        return float(np.logaddexp(0, (float(_plain(score, np.asarray(value))) - start) / mean))

    def above(self, score: str, value: float) -> float:
        """How likely a pair of strangers scores at least `value`: as often as it did, but in the tail no less than its shape says."""
        known, (start, mean, shape) = _plain(score, self.scores[score]), self.tails[score]
        value = float(_plain(score, np.asarray(value)))
        above = float(np.mean(known >= value))
        in_tail = float(np.mean(known > start))
        if value <= start or not in_tail:
            return above
        scaled = (value - start) / (mean * (1 - shape))
        return max(above, in_tail * float(np.exp(-np.log1p(shape * scaled) / shape if shape else -scaled)))

    def as_json(self) -> dict[str, Any]:
        def short(values: Floats) -> list[float]:
            return [round(float(value), 6) for value in values]

        scores = {name: short(values) for name, values in self.scores.items()}
        confidences = {"all": short(self.all_keypoints), "matched": short(self.matched)}
        about = {"n_pairs": self.n_pairs, "source": self.source, "by": list(self.by), "others": [other.as_json() for other in self.others]}
        return {**about, **confidences, "scores": scores}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Null:
        scores = {name: np.array(values) for name, values in value["scores"].items()}
        others = tuple(map(cls.from_json, value["others"]))
        confidences = np.array(value["all"]), np.array(value["matched"])
        return cls(*confidences, scores, int(value["n_pairs"]), str(value["source"]), tuple(map(str, value["by"])), others)


def _plain(score: str, values: Floats) -> Floats:
    """As it falls off exponentially among strangers: the joint score without its logarithm."""
    plain: Floats = np.expm1(values) if score == "joint" else values
    return plain


def signed_wasserstein(values: Floats, n: int, null: Floats) -> float:
    """How far `values` and `n - len(values)` zeros lie above `null`: the integral of F_null - F over the confidence.

    The integral of the difference of two cumulative distributions is the difference of their means."""
    return float(np.sum(values) / max(n, len(values), 1) - np.mean(null))


def evidence(confidence: Floats, n_keypoints: int, null: Null, min_confidence: float, others: Sequence[Evidence] = ()) -> Evidence:
    """Every score of a pair from its match confidences (S,) and the number of the query's keypoints; `others`: further opinions on it."""
    values = np.asarray(confidence, np.float64)
    n_sure = int((values > min_confidence).sum())
    found = Evidence(
        excess=0.0,
        wasserstein=signed_wasserstein(values, n_keypoints, null.all_keypoints),
        wasserstein_matched=signed_wasserstein(values, len(values), null.matched),
        n_matches=n_sure,
        shown=n_sure,
        total=float(values.sum()),
        mean=float(values.mean()) if len(values) else 0.0,
    )
    own = replace(found, excess=float(sum(null.excess(name, found.by(name)) for name in null.by)))
    loudest = max((own, *others), key=lambda one: one.excess)
    return replace(own, excess=own.excess + sum(other.excess for other in others), shown=loudest.shown)


def estimate_null(
    pairs: Sequence[tuple[Floats, int]],
    min_confidence: float,
    source: str,
    by: tuple[str, ...],
    others: Sequence[Sequence[Evidence]] = (),
    nulls: tuple[Null, ...] = (),
) -> Null | None:
    """The null from pairs of different animals, each its confidences and the query's number of keypoints; None from too few pairs.

    `by` are the scores to be joined, `others` the further opinions on each pair, and `nulls` those that they were judged by."""
    kept = [place for place, (_, n) in enumerate(pairs) if n > 0]
    pairs = [(np.asarray(pairs[place][0], np.float64), pairs[place][1]) for place in kept]
    if len(pairs) < MIN_PAIRS:
        return None
    padded = [np.pad(values, (0, max(0, n - len(values)))) for values, n in pairs]
    matched = np.concatenate([values for values, _ in pairs])
    of_matched = np.quantile(matched, QUANTILES) if len(matched) else np.zeros(2)
    null = Null(np.quantile(np.concatenate(padded), QUANTILES), of_matched, {}, len(pairs), source, (), nulls)
    for names in (by, SCORES):  # what is joined first; then all, the joint one too
        found = [
            evidence(values, n, null, min_confidence, others[place] if others else ())
            for place, (values, n) in zip(kept, pairs, strict=True)
        ]
        scores = {name: np.quantile([one.by(name) for one in found], QUANTILES) for name in names}
        null = replace(null, scores=scores, by=by)
    return null


def stranger_probability(value: float, null: Null, score: str, n_references: int) -> float:
    """How likely the most alike of `n_references` photos of other animals scores at least `value`.

    1 - (1 - p)^n, where p is that one does: the best of thousands lies beyond what a few hundred pairs have shown, hence the
    tail (peaks over threshold). A threshold that holds for 100 references is wrong for 2,000: this one moves with the
    gallery."""
    return float(-np.expm1(n_references * np.log1p(-min(null.above(score, value), 1 - 1e-12))))
