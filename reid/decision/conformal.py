"""Ranks among calibration queries, and what they promise.

A model ranks its own training data too favourably, so each calibration query is ranked by a model that has not seen its animal: animals are
dealt into folds, and the model of a fold has learned from the other folds. A new query is measured by the same rule: under the model of
each fold it is compared with the calibration queries of that fold, and the counts are pooled (cross-conformal prediction, Vovk 2015, Annals
of Mathematics and Artificial Intelligence; CV+, Barber et al. 2021, Annals of Statistics). So both sides of a comparison always come from
one model, which has seen neither of them.

What is guaranteed, for a new query that is exchangeable with the calibration queries of its kind (one photo of each encounter, one
encounter of each animal): within one fold the p-value is exact, P(p <= a) <= a, whatever the model is worth. Pooled over the folds the
error rate is about a, usually somewhat below, and never more than about twice a: a mean of p-values keeps 2 a. Several photos of an
encounter share its unit of weight; several encounters of one animal are counted one by one, though they are alike. Nothing is promised for
photos unlike the gallery's own. The weights of fused pipelines (see `weights`) are a few levels chosen on all calibration queries before
these are ranked, which new queries were not: where they were learned the guarantee holds as nearly as so few choices disturb it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .model import Floats, OpenSetModel

FOLDS = 5  # of animals
SAME = 1e-9  # strengths no further apart are equal


@dataclass(frozen=True)
class Ranked:
    """Calibration queries of one kind in one fold, by strength."""

    strengths: Floats  # (N,) ascending
    weights: Floats  # (N,) those of an encounter add up to 1

    @classmethod
    def of(cls, strengths: Floats, weights: Floats) -> Ranked:
        order = np.argsort(strengths, kind="stable")
        return cls(strengths[order], weights[order])

    @property
    def total(self) -> float:
        """The number of encounters."""
        return float(self.weights.sum())

    def at_most(self, strength: Floats) -> Floats:
        """(T,) encounters that are no stronger."""
        return self._before(np.searchsorted(self.strengths, strength + SAME, side="right"))

    def at_least(self, strength: Floats) -> Floats:
        """(T,) encounters that are as strong or stronger."""
        return self.total - self._before(np.searchsorted(self.strengths, strength - SAME, side="left"))

    def _before(self, places: Any) -> Floats:
        counted: Floats = np.append(0.0, np.cumsum(self.weights))[places]
        return counted

    def as_json(self) -> dict[str, object]:
        return {"strengths": self.strengths.tolist(), "weights": self.weights.tolist()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ranked:
        return cls(np.array(value["strengths"], np.float64), np.array(value["weights"], np.float64))


@dataclass(frozen=True)
class Fold:
    """A model that has not seen the animals of a fold, and the calibration queries of those animals by it."""

    model: OpenSetModel
    known: Ranked
    new: Ranked

    def as_json(self) -> dict[str, object]:
        return {"model": self.model.as_json(), "known": self.known.as_json(), "new": self.new.as_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Fold:
        return cls(OpenSetModel.from_json(value["model"]), Ranked.from_json(value["known"]), Ranked.from_json(value["new"]))


def fold_of(animals: Sequence[str], known: set[str]) -> dict[str, int]:
    """The fold of each animal, by name; those with known trials are dealt first, so that each fold has some."""
    ordered = sorted(set(animals), key=lambda animal: (animal not in known, animal))
    return {animal: number % FOLDS for number, animal in enumerate(ordered)}


def p_values(folds: Sequence[Fold], evidence: Floats) -> tuple[Floats, Floats]:
    """(N,) of each query: the share of new animals that stand as well or better, and of known ones that stand no better, the query itself
    counted among them."""
    as_well = as_badly = np.zeros(len(evidence))
    for fold in folds:
        strength = fold.model.strength(evidence)
        as_well = as_well + fold.new.at_least(strength)
        as_badly = as_badly + fold.known.at_most(strength)
    n_new, n_known = (round(sum(ranked.total for ranked in kind)) for kind in zip(*((fold.new, fold.known) for fold in folds)))
    # whole numbers but for the dust of adding thirds
    return (1 + np.round(as_well, 9)) / (n_new + 1), (1 + np.round(as_badly, 9)) / (n_known + 1)


def jackknife(whole: float, without: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The interval of an estimate from those made without one group each: delete-a-group jackknife, Student's t with one degree of freedom
    fewer than groups. It lies around `whole`."""
    from scipy.special import stdtrit

    k = len(without)
    error = float(np.sqrt((k - 1) / k * np.sum((np.asarray(without) - whole) ** 2)))
    reach = float(stdtrit(k - 1, (1 + level) / 2)) * error
    return whole - reach, whole + reach
