"""From match confidences to one number per pair. Pure NumPy; larger always means more alike.

The Wasserstein score compares the distribution of a pair's confidences with that of pairs of different animals, the null. A distance
has no sign and is undefined for no match at all; both are settled here, once:

* the sign: the area by which the pair's cumulative curve lies to the right of the null's, minus the area by which it lies to the left.
  Where the curves do not cross, and a true match lies right of strangers, this is the 1-Wasserstein distance. Where they cross, the
  distance would add both areas, and a pair would gain by its weak matches being weaker; so a surer match never lowers this score;
* nothing matched is a distribution too, all of it at confidence 0: the lowest score there is, minus the null's mean.

It is measured in two ways. Over all keypoints of the query, an unmatched one counting as 0, it ranks best. Over the matched ones alone
it does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import SCORES

Floats = NDArray[np.floating]
QUANTILES = np.linspace(0, 1, 513)  # steps in which a null distribution is kept
TAIL = 0.8  # the null pairs' scores above this quantile are taken to fall off exponentially
MIN_PAIRS = 20  # fewer null pairs say nothing about a tail


@dataclass(frozen=True)
class Evidence:
    """What a pair's matches say, in every way it is measured."""

    wasserstein: float
    wasserstein_matched: float
    n_matches: int
    total: float  # of the confidences
    mean: float

    def by(self, score: str) -> float:
        """The value of the score that the settings name."""
        values = (self.wasserstein, self.wasserstein_matched, float(self.n_matches), self.total, self.mean)
        return dict(zip(SCORES, values, strict=True))[score]


@dataclass(frozen=True)
class Null:
    """How pairs of different animals score: two distributions of confidences, and of each score over those pairs."""

    all_keypoints: Floats  # (Q,) quantiles of the confidence, unmatched keypoints as 0
    matched: Floats  # (Q,) quantiles of the confidence of matched keypoints; all 0 where nothing ever matched
    scores: dict[str, Floats]  # (Q,) quantiles over pairs, by score
    n_pairs: int
    source: str  # "gallery", or the sentence that says where a shipped default is from

    def as_json(self) -> dict[str, Any]:
        def short(values: Floats) -> list[float]:
            return [round(float(value), 6) for value in values]

        scores = {name: short(values) for name, values in self.scores.items()}
        confidences = {"all": short(self.all_keypoints), "matched": short(self.matched)}
        return {"n_pairs": self.n_pairs, "source": self.source, **confidences, "scores": scores}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Null:
        scores = {name: np.array(values) for name, values in value["scores"].items()}
        return cls(np.array(value["all"]), np.array(value["matched"]), scores, int(value["n_pairs"]), str(value["source"]))


def signed_wasserstein(values: Floats, n: int, null: Floats) -> float:
    """How far `values` and `n - len(values)` zeros lie above `null`: the integral of F_null - F over the confidence.

    The integral of the difference of two cumulative distributions is the difference of their means."""
    return float(np.sum(values) / max(n, len(values), 1) - np.mean(null))


def evidence(confidence: Floats, n_keypoints: int, null: Null, min_confidence: float) -> Evidence:
    """Every score of a pair from its match confidences (S,) and the number of the query's keypoints."""
    values = np.asarray(confidence, np.float64)
    return Evidence(
        wasserstein=signed_wasserstein(values, n_keypoints, null.all_keypoints),
        wasserstein_matched=signed_wasserstein(values, len(values), null.matched),
        n_matches=int((values > min_confidence).sum()),
        total=float(values.sum()),
        mean=float(values.mean()) if len(values) else 0.0,
    )


def estimate_null(pairs: Sequence[tuple[Floats, int]], min_confidence: float, source: str) -> Null | None:
    """The null from pairs of different animals, each its confidences and the query's number of keypoints; None from too few pairs."""
    pairs = [(np.asarray(values, np.float64), n) for values, n in pairs if n > 0]
    if len(pairs) < MIN_PAIRS:
        return None
    padded = [np.pad(values, (0, max(0, n - len(values)))) for values, n in pairs]
    matched = np.concatenate([values for values, _ in pairs])
    of_matched = np.quantile(matched, QUANTILES) if len(matched) else np.zeros(2)
    bare = Null(np.quantile(np.concatenate(padded), QUANTILES), of_matched, {}, len(pairs), source)
    found = [evidence(values, n, bare, min_confidence) for values, n in pairs]
    scores = {name: np.quantile([one.by(name) for one in found], QUANTILES) for name in SCORES}
    return Null(bare.all_keypoints, bare.matched, scores, len(pairs), source)


def stranger_probability(value: float, null: Null, score: str, n_references: int) -> float:
    """How likely the most alike of `n_references` photos of other animals scores at least `value`.

    1 - F(value)^n, where F is the null pairs' distribution; above its 80 % quantile it falls off exponentially (peaks over threshold
    with shape 0), since the best of thousands lies beyond what a few hundred pairs have shown. A threshold that holds for 100
    references is wrong for 2,000: this one moves with the gallery."""
    known = null.scores[score]
    start = float(np.quantile(known, TAIL))
    tail = known[known > start]  # strictly: of counts, many are equal
    above = float(np.mean(known >= value))
    if value > start and len(tail):
        above = max(above, len(tail) / len(known) * float(np.exp(-(value - start) / np.mean(tail - start))))
    return float(-np.expm1(n_references * np.log1p(-min(above, 1 - 1e-12))))
