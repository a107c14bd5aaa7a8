"""Calibration queries drawn from known distributions, for the tests of the decision."""

from __future__ import annotations

import numpy as np

from reid.decision import ABSENT, RIGHT, WRONG, Calibration, Standing, Trial
from reid.decision.conformal import Fold, Ranked
from reid.decision.model import Logistic, OpenSetModel, table


def stands(strength: float) -> Standing:
    """Evidence that says one thing in four ways."""
    return Standing(strength, strength / 2, strength, max(0.0, strength))


def crowd(seed: int, n: int = 150) -> list[Trial]:
    """`n` animals, each once known and once new; how the best individual stands tells the two apart, not surely."""
    rng = np.random.default_rng(seed)
    trials = []
    for animal in range(n):
        right = rng.random() < 0.8
        trials.append(Trial(f"{animal}", "1", stands(rng.normal(2 if right else 0)), RIGHT if right else WRONG))
        trials.append(Trial(f"{animal}", "1", stands(rng.normal(0)), ABSENT))
    return trials


def of_four(rng: np.random.Generator, n: int, share_right: float, of_right: float, of_wrong: float) -> list[Trial]:
    """`n` known animals and then `n` new ones with four pieces of evidence, independent of one another: means of the right, of the wrong,
    and 0 of the new."""
    right = rng.random(n) < share_right
    evidence = rng.normal(size=(2 * n, 4))
    evidence[:n] += np.where(right, of_right, of_wrong)[:, None]
    outcomes = [RIGHT if one else WRONG for one in right] + [ABSENT] * n
    return [Trial(f"{place % n}", "1", Standing(*map(float, row)), outcome) for place, (row, outcome) in enumerate(zip(evidence, outcomes))]


FLAT = OpenSetModel(*[Logistic(np.zeros(4), np.ones(4), np.array([1.0, 0, 0, 0]), 0.0)] * 2)  # reads the score and nothing else


def made(known: list[float], new: list[float]) -> Calibration:
    """One of these scores, in a single fold; the prior is even."""

    def ranked(scores: list[float]) -> Ranked:
        return Ranked.of(FLAT.strength(table([Standing(score, 0, 0, 0) for score in scores])), np.ones(len(scores)))

    return Calibration(FLAT, (Fold(FLAT, ranked(known), ranked(new)),) * 1, 0.5, 1.0)
