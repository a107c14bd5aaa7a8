"""From how the best individual stands to the probabilities of right, another and new: two penalised logistic regressions.

The first says whether the animal is in the gallery, the second whether the best individual is it, if it is. Both read the same evidence,
of which more never speaks against: their weights are never negative. The prior moves the odds of the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Candidate
from .prior import log_odds

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
PENALTY = 1.0  # of the squared weights of standardised evidence, in encounters
LEAST = 20  # encounters of known and of new animals; fewer carry no model
MOST_DEVIATIONS = 20.0  # of a standing; beyond it nothing more is said
DUST = 1e-9  # differences between scores below this share of them are rounding


@dataclass(frozen=True)
class Standing:
    """How the best individual of a query stands: what the decision is made of."""

    score: float  # its best reference's
    margin: float  # above the best of any other individual
    deviations: float  # above the mean of the other individuals, in their standard deviations; 0 to MOST_DEVIATIONS
    matches: float  # logarithm of 1 + the matches that are sure


NAMES = tuple(field.name for field in fields(Standing))


def standing(scores: Sequence[float], n_matches: int) -> Standing:
    """From the individuals' scores, best first. One without a rival has its whole score as margin.

    Deviations are 0 where fewer than two rivals show how scores spread, or where the best is not above the rest; they are MOST_DEVIATIONS
    at most, which is also what stands above rivals that do not spread at all, such as those that nothing matches."""
    best, others = scores[0], np.asarray(scores[1:], np.float64)
    margin = best - float(others[0]) if len(others) else best
    deviations = 0.0
    if len(others) > 1:
        dust = DUST * max(abs(best), float(np.abs(others).max()))
        above, spread = best - float(others.mean()), float(others.std())
        if above > dust:
            deviations = min(MOST_DEVIATIONS, above / spread) if spread > dust else MOST_DEVIATIONS
    return Standing(best, margin, deviations, math.log1p(n_matches))


def standing_of(candidates: Sequence[Candidate]) -> Standing:
    """How the first of these individuals stands, best first."""
    return standing([candidate.score for candidate in candidates], candidates[0].n_matches)


def table(standings: Sequence[Standing]) -> Floats:
    """(N, E) the evidence of each."""
    rows = [[getattr(one, name) for name in NAMES] for one in standings]
    return np.array(rows, np.float64).reshape(len(rows), len(NAMES))


@dataclass(frozen=True)
class Logistic:
    """The logit of an outcome, from standardised evidence."""

    mean: Floats  # (E,)
    spread: Floats  # (E,)
    weights: Floats  # (E,) none below 0
    bias: float

    def logit(self, evidence: Floats) -> Floats:
        """(N, E) -> (N,). A row gets the same, whatever the others are."""
        logits: Floats = ((evidence - self.mean) / self.spread * self.weights).sum(axis=1) + self.bias
        return logits

    def as_json(self) -> dict[str, object]:
        arrays = {name: getattr(self, name).tolist() for name in ("mean", "spread", "weights")}
        return {**arrays, "bias": self.bias}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Logistic:
        mean, spread, weights = (np.array(value[name], np.float64) for name in ("mean", "spread", "weights"))
        return cls(mean, spread, weights, float(value["bias"]))


def fit_logistic(evidence: Floats, outcome: Bools, weight: Floats) -> Logistic:
    """Penalised logistic regression of `outcome` (N,) on `evidence` (N, E) with weights that are never negative.

    Half an encounter of each outcome with mean evidence is added, so that an outcome that never varies does not become certain."""
    from scipy.optimize import minimize
    from scipy.special import expit

    mean = np.average(evidence, axis=0, weights=weight)
    spread = np.sqrt(np.average((evidence - mean) ** 2, axis=0, weights=weight))
    spread[spread < 1e-6] = 1  # constant, but for rounding
    x = np.column_stack(((evidence - mean) / spread, np.ones(len(evidence))))
    x = np.vstack((x, np.eye(x.shape[1])[[-1, -1]]))
    sign = np.append(np.where(outcome, 1.0, -1.0), (1.0, -1.0))
    weight = np.append(weight, (0.5, 0.5))

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = sign * (x @ parameters)
        slope = -sign * weight * expit(-z)
        penalised = np.append(parameters[:-1], 0)
        return float(weight @ np.logaddexp(0, -z) + PENALTY / 2 * penalised @ penalised), x.T @ slope + PENALTY * penalised

    bounds = [(0, None)] * evidence.shape[1] + [(None, None)]
    options = {"ftol": 1e-12, "gtol": 1e-8}
    found = minimize(loss, np.zeros(x.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B", options=options).x
    return Logistic(mean, spread, found[:-1], float(found[-1]))


@dataclass(frozen=True)
class OpenSetModel:
    """Whether the animal is in the gallery, and whether the best individual is it."""

    known: Logistic  # the animal is in the gallery, were half of the animals new
    right: Logistic  # the best individual is it, if it is there

    def strength(self, evidence: Floats) -> Floats:
        """(N,) by which queries are ranked: the log probability that the best individual is right, were half of the animals new."""
        total: Floats = -np.logaddexp(0, -self.known.logit(evidence)) - np.logaddexp(0, -self.right.logit(evidence))
        return total

    def chances(self, evidence: Floats, prior_new: float) -> Floats:
        """(N, 3) the probabilities of right, another and new."""
        known, right = self._logits(evidence, prior_new)
        p_known, p_new, p_right, p_wrong = (np.exp(-np.logaddexp(0, -logit)) for logit in (known, -known, right, -right))
        return np.column_stack((p_known * p_right, p_known * p_wrong, p_new))

    def logit_match(self, evidence: Floats, prior_new: float) -> Floats:
        """(N,) the logit of the probability of right."""
        known, right = self._logits(evidence, prior_new)
        log_p = np.minimum(-np.logaddexp(0, -known) - np.logaddexp(0, -right), -1e-12)
        found: Floats = log_p - np.log(-np.expm1(log_p))
        return found

    def _logits(self, evidence: Floats, prior_new: float) -> tuple[Floats, Floats]:
        return self.known.logit(evidence) + log_odds(1 - prior_new), self.right.logit(evidence)

    def as_json(self) -> dict[str, object]:
        return {"known": self.known.as_json(), "right": self.right.as_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> OpenSetModel:
        return cls(Logistic.from_json(value["known"]), Logistic.from_json(value["right"]))


def fit(evidence: Floats, absent: Bools, right: Bools, weight: Floats) -> OpenSetModel:
    """From calibration queries: their evidence (N, E), whether the animal is absent and whether the best individual is right, (N,) each.

    New animals count together as much as known ones."""
    there = ~absent
    balance = weight[there].sum() / max(float(weight[absent].sum()), 1e-9)
    balanced = np.where(absent, balance * weight, weight)
    return OpenSetModel(
        fit_logistic(evidence, there, balanced),
        fit_logistic(evidence[there], right[there], weight[there]),
    )
