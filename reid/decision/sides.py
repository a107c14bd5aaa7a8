"""Which side a photo shows, estimated from the photos of its gallery whose side is known: for people to confirm, nothing else rests on it.

Left and right differ in where things are, so a photo is told by what a network sees in each part of it, and so is its mirror image, which
shows the opposite side: it doubles what can be learned from, and no side is preferred. A softmax over the sides, linear, and drawn towards
equal probabilities by as much as suits animals best that are left out, gives the estimate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..catalogue.sides import is_side, mirrored

Floats = NDArray[np.float64]
LEAST = 20  # photos of each of two sides, below which nothing is estimated
MOST = 1000  # photos that are learned from, spread over the gallery
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the draw towards equal probabilities: what a squared weight costs
DIMS = 128  # directions in which layouts differ most, which are learned from
FOLDS = 5  # of animals
TINY = 1e-12  # probability below which nothing is more wrong
SURE = 0.9  # probability from which an estimate is proposed


def learnable(sides: Sequence[str | None]) -> list[int]:
    """Places of the known sides that can be learned from; none where there are fewer than `LEAST` photos of each of two."""
    counts = Counter(side for side in sides if side and is_side(side))
    usual = {side for side, n in counts.items() if n >= LEAST}
    return [place for place, side in enumerate(sides) if side in usual] if len(usual) > 1 else []


@dataclass(frozen=True)
class SideEstimate:
    """Of a photo whose side nobody has said."""

    side: str
    p: float  # its probability


@dataclass(frozen=True)
class SideModel:
    """What was learned, and how it did on animals that it had not seen."""

    sides: tuple[str, ...]
    centre: Floats  # (D,)
    weights: Floats  # (D, K)
    bias: Floats  # (K,)
    strength: float
    left_out: Floats  # (N, K) probabilities of the photos that were learned from, each by what was learned without its animal

    def estimate(self, layouts: NDArray[np.floating]) -> SideEstimate:
        """Of one photo, from the layouts (2, D) of it and of its mirror image."""
        [p] = self.probabilities(layouts[None])
        return SideEstimate(self.sides[int(p.argmax())], float(p.max()))

    def probabilities(self, layouts: NDArray[np.floating]) -> Floats:
        """(N, K) of each side, from the layouts (N, 2, D) of photos and of their mirror images."""
        return _both(_softmax((layouts - self.centre) @ self.weights + self.bias), self.sides)


def learn(layouts: NDArray[np.floating], sides: Sequence[str], animals: Sequence[str]) -> SideModel:
    """From layouts (N, 2, D) of photos and of their mirror images, all of known sides."""
    names = tuple(sorted({*sides, *map(mirrored, sides)}))
    truth = np.array([names.index(side) for side in sides])
    across = np.array([names.index(mirrored(side)) for side in names])
    centre, scale = layouts.mean(axis=(0, 1)), layouts.std(axis=(0, 1)) + 1e-6
    scale *= np.sqrt(layouts.shape[2])
    flat = ((layouts - centre) / scale).reshape(-1, layouts.shape[2]).astype(np.float64)
    values, basis = np.linalg.eigh(flat @ flat.T)  # in which few photos of many numbers are told as well
    values, basis = values[-DIMS:], basis[:, -DIMS:]
    kept = values > 1e-6 * values[-1]
    values, basis = values[kept], basis[:, kept] * np.sqrt(values[kept])
    told = basis.reshape(len(layouts), 2, len(values))
    labels = np.stack([truth, across[truth]], axis=1)
    _, animal = np.unique(animals, return_inverse=True)
    fold = animal % FOLDS
    found: dict[float, Floats] = {}
    for strength in STRENGTHS:
        found[strength] = np.zeros((len(truth), len(names)))
        for part in np.unique(fold):
            own = fold == part
            weights, bias = _fit(told[~own], labels[~own], len(names), strength)
            found[strength][own] = _both(_softmax(told[own] @ weights + bias), names)
    wrong = {one: -float(np.log(p[np.arange(len(truth)), truth] + TINY).mean()) for one, p in found.items()}
    strength = min(STRENGTHS, key=lambda one: (wrong[one], -one))  # where nothing tells, the most cautious
    weights, bias = _fit(told, labels, len(names), strength)
    back = flat.T @ (basis / values) / scale[:, None]
    return SideModel(names, centre.astype(np.float64), back @ weights, bias, strength, found[strength])


def _fit(told: Floats, labels: NDArray[np.intp], n_sides: int, strength: float) -> tuple[Floats, Floats]:
    """Weights (D, K) and biases (K,) of a softmax regression, from (N, 2, D) and (N, 2)."""
    from scipy.optimize import minimize

    rows, wanted = told.reshape(labels.size, told.shape[2]), np.eye(n_sides)[labels.ravel()]

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights, bias = flat[:-n_sides].reshape(-1, n_sides), flat[-n_sides:]
        p = _softmax(rows @ weights + bias)
        slope = rows.T @ (p - wanted) + strength * weights
        value = -np.log(p[wanted > 0] + TINY).sum() + strength * (weights**2).sum() / 2
        return float(value), np.concatenate([slope.ravel(), (p - wanted).sum(axis=0)])

    best = minimize(loss, np.zeros((rows.shape[1] + 1) * n_sides), jac=True, method="L-BFGS-B").x
    return best[:-n_sides].reshape(-1, n_sides), best[-n_sides:]


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return found


def _both(p: Floats, sides: Sequence[str]) -> Floats:
    """(N, K) of probabilities (N, 2, K) of photos and their mirror images."""
    across = [sides.index(mirrored(side)) for side in sides]
    found: Floats = (p[:, 0] + p[:, 1][:, across]) / 2
    return found
