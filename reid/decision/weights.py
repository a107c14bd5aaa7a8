"""What each fused pipeline is worth on a gallery's animals, learned from its calibration queries.

A pipeline that knows nothing of these animals must not outvote one that does. The weights are those by which the calibration queries are
answered best, told by a softmax over all individuals and one more that stands for "none of them" (open-set softmax): with its animal in the
gallery a query should choose it, without its animal none. A weight leaves its default only where the queries say so beyond chance, by
more than one standard error over animals (the one-standard-error rule of Breiman et al. 1984), so that few queries change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVELS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # that a weight can have, beside the first pipeline's 1
ROUNDS = 3  # in which each weight is tried, at most
LEAST_ANIMALS = 10  # with an encounter to be found; fewer say nothing of what a pipeline is worth
PENALTY = 1e-3  # of the squared slope of the softmax


@dataclass(frozen=True)
class Evidence:
    """A calibration query: how far each pair exceeds impostors, pipeline by pipeline."""

    excess: Floats  # (P, R) of each pipeline with each reference, not weighted
    individuals: NDArray[np.intp]  # (R,) each reference's, as numbers from 0 on
    own: int  # the query's individual among them; -1 where it has no other encounter
    animal: str


def learn(queries: Sequence[Evidence], default: Sequence[float]) -> tuple[float, ...]:
    """The weights of the pipelines, the first one's is 1; the `default` where the queries do not say otherwise."""
    found = tuple(default)
    if len(found) < 2 or len({one.animal for one in queries if one.own >= 0}) < LEAST_ANIMALS:
        return found
    losses = _losses(queries, found)
    for _ in range(ROUNDS):
        before = found
        for place in range(1, len(found)):
            tried = {level: (*found[:place], level, *found[place + 1 :]) for level in LEVELS if level != found[place]}
            each = {weights: _losses(queries, weights) for weights in tried.values()}
            best = min(each, key=lambda weights: float(each[weights].mean()))
            gain = losses - each[best]
            if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
                found, losses = best, each[best]
        if found == before:
            break
    return found


def _losses(queries: Sequence[Evidence], weights: Sequence[float]) -> Floats:
    """(A,) of each animal the mean loss of its queries, by the softmax that suits all of them best."""
    from scipy.optimize import minimize

    scores = [_by_individual(one, weights) for one in queries]
    counts = np.array([len(one) for one in scores])
    flat, query = np.concatenate(scores), np.repeat(np.arange(len(scores)), counts)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    own = np.array([place + one.own if one.own >= 0 else -1 for place, one in zip(starts.tolist(), queries)])
    known = own >= 0
    own_score = np.where(known, flat[own], 0.0)

    def terms(parameters: Floats) -> tuple[Floats, Floats]:
        """(Q,) the loss of each query with its animal, 0 where that has no other encounter, and without."""
        slope, none = parameters
        logits = slope * flat
        top = np.maximum.reduceat(logits, starts)
        total = np.logaddexp(top + np.log(np.add.reduceat(np.exp(logits - top[query]), starts)), none)
        share = np.where(known, np.exp(np.minimum(slope * own_score - total, -1e-9)), 0.0)
        rest = total + np.log1p(-share)
        return np.where(known, total - slope * own_score, 0.0), rest - none

    def loss(parameters: Floats) -> float:
        with_it, without = terms(parameters)
        return float(with_it[known].mean() + without.mean() + PENALTY * parameters[0] ** 2)

    start = np.array([1.0, flat.max() + np.log(counts.mean())])
    fitted = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-5})
    with_it, without = terms(fitted.x)
    each = np.where(known, (with_it + without) / 2, without / 2)
    _, place = np.unique([one.animal for one in queries], return_inverse=True)
    found: Floats = np.bincount(place, each) / np.bincount(place)
    return found


def _by_individual(one: Evidence, weights: Sequence[float]) -> Floats:
    """(I,) the joint score of each individual, by its best reference."""
    joint = np.log1p(np.asarray(weights) @ one.excess)
    best = np.zeros(int(one.individuals.max(initial=-1)) + 1)
    np.maximum.at(best, one.individuals, joint)
    return best
