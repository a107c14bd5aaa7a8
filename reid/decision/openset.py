"""Known or new: three probabilities and a verdict, calibrated on photos of the gallery itself.

A photo of the gallery is asked about without the photos of its encounter: once with its animal there through another encounter, which
is a query of a known animal, and once without its animal, which is a query of a new one. From how the first individual stands in these
queries a logistic model learns how likely it is right, another or none. The verdict rests on ranks among the same queries (conformal
p-values; Vovk, Gammerman and Shafer 2005; Bates et al. 2023): of new animals at most the promised share is called a match, whatever the
model is worth, as long as new queries are like the gallery's own. Pure NumPy and SciPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError

Floats = NDArray[np.float64]
MATCH, UNSURE, NEW, ODD = "match", "unsure", "new", "odd"
RIGHT, WRONG, ABSENT = "right", "wrong", "absent"  # what the first individual of a calibration query is; absent: its animal is not there
FOLDS = 5  # of animals: how a query stands is judged by what the other folds have taught
PENALTY = 1.0  # of the squared weights of standardised evidence, in queries
LEAST = 20  # queries of known and of new animals; fewer carry no model


@dataclass(frozen=True)
class Standing:
    """How the first individual of a query stands: what the decision is made of. More of each never speaks against it."""

    score: float  # its best reference's
    margin: float  # above the best of any other individual
    deviations: float  # above the mean of the other individuals, in their standard deviations
    matches: float  # logarithm of 1 + the matches that are sure


NAMES = tuple(field.name for field in fields(Standing))


def standing(scores: Sequence[float], n_matches: int) -> Standing:
    """From the individuals' scores, best first; one that has no rival stands a rival's width above nothing."""
    best, others = scores[0], np.asarray(scores[1:], np.float64)
    spread = float(others.std()) if len(others) > 1 else 0.0
    mean, second = (float(others.mean()), float(others[0])) if len(others) else (0.0, 0.0)
    return Standing(best, best - second, (best - mean) / spread if spread > 0 else 0.0, math.log1p(n_matches))


@dataclass(frozen=True)
class Trial:
    """One calibration query and what came of it."""

    animal: str
    standing: Standing
    outcome: str  # RIGHT, WRONG or ABSENT


@dataclass(frozen=True)
class Model:
    """The logit that an outcome is as asked, from standardised evidence."""

    mean: Floats  # (E,)
    spread: Floats  # (E,)
    weights: Floats  # (E,) none below 0
    bias: float

    def logit(self, evidence: Floats) -> Floats:
        """(N, E) -> (N,)."""
        logits: Floats = ((evidence - self.mean) / self.spread) @ self.weights + self.bias
        return logits


def fit(evidence: Floats, outcome: NDArray[np.bool_], weight: Floats) -> Model:
    """Penalised logistic regression of `outcome` (N,) on `evidence` (N, E) with weights that are never negative."""
    from scipy.optimize import minimize
    from scipy.special import expit

    mean, spread = evidence.mean(axis=0), evidence.std(axis=0)
    spread[spread < 1e-6] = 1  # constant, but for rounding
    x = np.column_stack(((evidence - mean) / spread, np.ones(len(evidence))))
    sign = np.where(outcome, 1.0, -1.0)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = sign * (x @ parameters)
        slope = -sign * weight * expit(-z)
        penalised = np.append(parameters[:-1], 0)
        return float(weight @ np.logaddexp(0, -z) + PENALTY / 2 * penalised @ penalised), x.T @ slope + PENALTY * penalised

    bounds = [(0, None)] * evidence.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(x.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x
    return Model(mean, spread, found[:-1], float(found[-1]))


@dataclass(frozen=True)
class Decision:
    """What one query's standing means."""

    verdict: str  # MATCH, UNSURE, NEW or ODD
    p_match: float
    p_other: float
    p_new: float
    interval: tuple[float, float]  # of p_match, Venn-ABERS (Vovk and Petej 2014)
    p_if_new: float  # the share of new animals whose first individual stands as well or better (conformal p-value)
    p_if_known: float  # the share of known animals whose first individual stands no better


@dataclass(frozen=True)
class Calibration:
    """What the gallery's own photos teach about the first individual of a query."""

    known: Model  # the animal is in the gallery
    right: Model  # the first individual is it, if it is
    of_known: Floats  # (K,) `strength` of queries of known animals, ascending; by models that have not seen the animal
    of_right: NDArray[np.bool_]  # (K,) whether the first individual was right
    of_new: Floats  # (M,) the same of queries whose animal was taken away
    prior: float  # probability that the next animal is new
    labels: tuple[str, ...] = ()  # of the references it was made with, a name for each photo with its label, sorted

    def decide(self, where: Standing, max_false_match: float, max_false_new: float, prior: float | None = None) -> Decision:
        """`match` where no more than `max_false_match` of new animals stand as well, `new` where no more than `max_false_new` of known
        animals stand as badly, `unsure` where neither is so, `odd` where both are."""
        evidence = np.array([_vector(where)])
        known = float(self.known.logit(evidence)[0]) + _log_odds(1 - (self.prior if prior is None else prior))
        p_known = 1 / (1 + math.exp(-known))
        p_right = 1 / (1 + math.exp(-float(self.right.logit(evidence)[0])))
        t = float(strength(self.known, self.right, evidence)[0])
        p_if_new = (1 + int((self.of_new >= t).sum())) / (len(self.of_new) + 1)
        p_if_known = (1 + int((self.of_known <= t).sum())) / (len(self.of_known) + 1)
        is_match, is_new = p_if_new <= max_false_match, p_if_known <= max_false_new
        verdict = (ODD if is_new else MATCH) if is_match else (NEW if is_new else UNSURE)
        p_match = p_known * p_right
        low, high = self._interval(t, prior)
        return Decision(verdict, p_match, p_known - p_match, 1 - p_known, (min(low, p_match), max(high, p_match)), p_if_new, p_if_known)

    def _interval(self, t: float, prior: float | None) -> tuple[float, float]:
        """Isotonic fits of being right with the query among them, once as wrong and once as right: where its probability lies."""
        from scipy.optimize import isotonic_regression

        new = self.prior if prior is None else prior
        strengths = np.concatenate((self.of_known, self.of_new, [t]))
        n_known, n_new = len(self.of_known), len(self.of_new)
        weights = np.concatenate((np.full(n_known, (1 - new) / n_known), np.full(n_new, new / n_new), [1 / (n_known + n_new)]))
        order = np.argsort(strengths, kind="stable")
        ends = []
        for own in (0.0, 1.0):
            outcome = np.concatenate((self.of_right, np.zeros(n_new), [own]))
            fitted = isotonic_regression(outcome[order], weights=weights[order]).x
            ends.append(float(fitted[np.flatnonzero(order == n_known + n_new)[0]]))
        return ends[0], ends[1]

    def carries(self, max_false_match: float, max_false_new: float) -> None:
        """Raises SettingsError for a promise that so few calibration queries cannot keep; 0 never gives the verdict."""
        for name, rate, n, of in (
            ("max_false_match", max_false_match, len(self.of_new), "new"),
            ("max_false_new", max_false_new, len(self.of_known), "known"),
        ):
            if 0 < rate * (n + 1) < 1:
                least = math.ceil(1 / (n + 1) * 1e4) / 1e4
                raise SettingsError(
                    f"{name} {rate:g} takes {math.ceil(1 / max(rate, 1e-9)) - 1} calibration queries of {of} animals, and there are {n}; "
                    f"{least:g} is the least that they can promise"
                )

    def about(self) -> dict[str, Any]:
        """What people should know of it."""
        right = float(self.of_right.mean())
        about = {"n_known": len(self.of_known), "n_new": len(self.of_new), "top1": right, "prior_new": self.prior}
        return about | {"n_references": len(self.labels)}

    def as_json(self) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, Model):
                return {name: plain(part) for name, part in vars(value).items()}
            return [round(float(one), 6) for one in value] if isinstance(value, np.ndarray) else value

        return {"evidence": list(NAMES), **{name: plain(value) for name, value in vars(self).items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        if value["evidence"] != list(NAMES):
            raise ValueError("a calibration of other evidence")
        models = {
            name: Model(**{part: np.array(value[name][part]) for part in ("mean", "spread", "weights")}, bias=float(value[name]["bias"]))
            for name in ("known", "right")
        }
        return cls(
            **models,
            of_known=np.array(value["of_known"], float),
            of_right=np.array(value["of_right"], bool),
            of_new=np.array(value["of_new"], float),
            prior=float(value["prior"]),
            labels=tuple(map(str, value["labels"])),
        )


def _vector(where: Standing) -> list[float]:
    return [getattr(where, name) for name in NAMES]


def _log_odds(p: float) -> float:
    return math.log(p / (1 - p))


def strength(known: Model, right: Model, evidence: Floats) -> Floats:
    """(N,) the logarithm of the probability that the first individual is right, were half of the animals new: by it queries are ranked."""
    total: Floats = -np.logaddexp(0, -known.logit(evidence)) - np.logaddexp(0, -right.logit(evidence))
    return total


def calibrate(trials: Sequence[Trial], prior: float, labels: Sequence[str] = ()) -> Calibration | None:
    """From calibration queries; None from too few, or of too few animals."""
    evidence = np.array([_vector(trial.standing) for trial in trials]).reshape(len(trials), len(NAMES))
    absent = np.array([trial.outcome == ABSENT for trial in trials], bool)
    right = np.array([trial.outcome == RIGHT for trial in trials], bool)
    known = {trial.animal for trial in trials if trial.outcome != ABSENT}
    if absent.sum() < LEAST or (~absent).sum() < LEAST or len(known) < FOLDS:
        return None
    animals = sorted({trial.animal for trial in trials}, key=lambda animal: (animal not in known, animal))
    fold_of = {animal: number % FOLDS for number, animal in enumerate(animals)}  # some known ones in each
    fold = np.array([fold_of[trial.animal] for trial in trials])

    def models(chosen: NDArray[np.bool_]) -> tuple[Model, Model]:
        there = chosen & ~absent
        weight = np.where(absent, there.sum() / max(1, (chosen & absent).sum()), 1.0)  # as many new as known
        return fit(evidence[chosen], ~absent[chosen], weight[chosen]), fit(evidence[there], right[there], np.ones(there.sum()))

    strengths = np.zeros(len(trials))
    for number in range(FOLDS):
        own = fold == number
        strengths[own] = strength(*models(~own), evidence[own])
    order = np.argsort(strengths, kind="stable")
    there = order[~absent[order]]
    known_model, right_model = models(np.ones(len(trials), bool))
    return Calibration(
        known_model, right_model, strengths[there], right[there], strengths[order[absent[order]]], prior, tuple(sorted(labels))
    )


def uncalibrated(p_stranger: float, match_below: float, new_above: float) -> str:
    """The verdict of a gallery that nothing is calibrated on: `match` where the best of as many strangers would hardly score as high, `new`
    where they easily would, `unsure` between."""
    if p_stranger <= match_below:
        return MATCH
    return NEW if p_stranger >= new_above else UNSURE


def good_turing(n_encounters: Sequence[int]) -> float:
    """The probability that the next encounter is of an animal never seen, from how often each known one was met: those met once, of all
    encounters (Good 1953, Biometrika, eq. 9). Kept off 0 and 1 by half an encounter."""
    once, total = sum(n == 1 for n in n_encounters), sum(n_encounters)
    return (once + 0.5) / (total + 1)


def new_together(p_if_known: Sequence[float | None], rate: float) -> list[bool]:
    """Which queries make a list of new animals of which at most `rate` are expected to be known ones: Benjamini and Hochberg (1995) on
    conformal p-values (Bates et al. 2023). A list that a verdict alone would make, each query by itself, keeps no such promise."""
    from scipy.stats import false_discovery_control

    places = [place for place, p in enumerate(p_if_known) if p is not None]
    adjusted = false_discovery_control([p_if_known[place] for place in places]) if places else ()
    listed = {place for place, p in zip(places, adjusted) if p <= rate}
    return [place in listed for place in range(len(p_if_known))]


def reasons(decision: Decision, calibration: Calibration) -> tuple[str, ...]:
    """Why this verdict, in sentences for people."""
    n_new, n_known = len(calibration.of_new), len(calibration.of_known)
    as_well, as_badly = round(decision.p_if_new * (n_new + 1)) - 1, round(decision.p_if_known * (n_known + 1)) - 1
    return (
        f"Of {n_new} photos whose animal had been taken out of the gallery, {as_well} had a first individual that stood as well as here.",
        f"Of {n_known} photos whose animal was in the gallery, {as_badly} had a first individual that stood no better.",
    )
