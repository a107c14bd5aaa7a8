"""What each fused pipeline is worth on a gallery's animals, learned from its calibration queries.

A pipeline that knows nothing of these animals must not outvote one that does. The weights are those by which the calibration queries are
answered best, told by a softmax over all individuals and one more that stands for "none of them" (open-set softmax): with its animal in the
gallery a query should choose it, without its animal none. A weight leaves its default only where the queries say so beyond chance, by
more than one standard error over animals (the one-standard-error rule of Breiman et al. 1984), so that few queries change nothing. A
calibration goes `half_way`, since what some dozens of animals say is half chance, and none goes to 0: finalists are chosen by all together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVELS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # that a weight can have, beside the first pipeline's 1
ROUNDS = 3  # in which each weight is tried, at most
LEAST_ANIMALS = 10  # with an encounter to be found; fewer say nothing of what a pipeline is worth
PENALTY = 1e-3  # of the squared slope of the softmax


@dataclass(frozen=True)
class Evidence:
    """A calibration query: how far each pair exceeds impostors, pipeline by pipeline."""

    excess: Floats  # (P, R) of each pipeline with each reference, not weighted
    individuals: tuple[str, ...]  # of each of the R references
    animal: str  # the query's

    def __post_init__(self) -> None:
        names, place = np.unique(self.individuals, return_inverse=True)
        own = np.flatnonzero(names == self.animal)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "place", place)
        object.__setattr__(self, "own", int(own[0]) if len(own) else -1)

    names: NDArray[np.str_] = field(init=False)  # (I,) the individuals, sorted
    place: NDArray[np.intp] = field(init=False)  # (R,) each reference's among them
    own: int = field(init=False)  # the query's among them; -1 where it has no other encounter

    def scores(self, weights: Sequence[float]) -> Floats:
        """(I,) the joint score of each individual, by its best reference; of weights that add up to 1, so that only their ratios count."""
        best = np.zeros(len(self.names))
        np.maximum.at(best, self.place, np.log1p(np.asarray(weights) @ self.excess / sum(weights)))
        return best


def learn(queries: Sequence[Evidence], default: Sequence[float], fixed: int = 0) -> tuple[float, ...]:
    """The weights of the pipelines: the `default` where the queries do not say otherwise, that of the `fixed` one in any case."""
    found = tuple(default)
    if len(found) < 2 or len({one.animal for one in queries if one.own >= 0}) < LEAST_ANIMALS:
        return found
    losses = losses_of([(one, found) for one in queries])
    for _ in range(ROUNDS):
        before = found
        for place in (place for place in range(len(found)) if place != fixed):
            others = [(*found[:place], level, *found[place + 1 :]) for level in LEVELS if level != found[place]]
            tried = {weights: losses_of([(one, weights) for one in queries]) for weights in others}
            best = min(tried, key=lambda weights: float(tried[weights].mean()))
            if is_better(tried[best], losses):
                found, losses = best, tried[best]
        if found == before:
            break
    return found


def half_way(learned: Sequence[float], default: Sequence[float]) -> tuple[float, ...]:
    """Geometric means of what was learned and the default: as much of the way as so few animals are believed."""
    return tuple(own if weight == own else float(np.sqrt(own * weight)) for weight, own in zip(learned, default, strict=True))


def is_better(losses: Floats, than: Floats) -> bool:
    """Whether the losses of the same animals (A,) are lower by more than a standard error."""
    gain = than - losses
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def losses_of(answered: Sequence[tuple[Evidence, Sequence[float]]]) -> Floats:
    """(A,) of each animal, by name, the mean loss of its queries, each answered by weights of its own, by the softmax that suits all of
    them best."""
    from scipy.optimize import minimize

    queries = [one for one, _ in answered]
    scores = [one.scores(weights) for one, weights in answered]
    counts = np.array([len(one) for one in scores])
    flat, query = np.concatenate(scores), np.repeat(np.arange(len(scores)), counts)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    own = np.array([place + one.own if one.own >= 0 else -1 for place, one in zip(starts.tolist(), queries)])
    known = own >= 0
    own_score = np.where(known, flat[own], 0.0)

    def terms(parameters: Floats) -> tuple[Floats, Floats]:
        """(Q,) the loss of each query with its animal, 0 where that has no other encounter, and without it."""
        slope, none = parameters
        logits = slope * flat
        top = np.maximum.reduceat(logits, starts)
        total = np.logaddexp(top + np.log(np.add.reduceat(np.exp(logits - top[query]), starts)), none)
        share = np.where(known, np.exp(np.minimum(slope * own_score - total, -1e-9)), 0.0)
        return np.where(known, total - slope * own_score, 0.0), total + np.log1p(-share) - none

    _, animal, n_queries = np.unique([one.animal for one in queries], return_inverse=True, return_counts=True)

    def by_animal(parameters: Floats) -> Floats:
        with_it, without = terms(parameters)
        found: Floats = np.bincount(animal, with_it + without) / n_queries
        return found

    def loss(parameters: Floats) -> float:
        return float(by_animal(parameters).mean() + PENALTY * parameters[0] ** 2)

    start = np.array([1.0, flat.max() + np.log(counts.mean())])
    return by_animal(minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-5}).x)
