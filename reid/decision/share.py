"""How many of many photos show animals never seen: an estimate for all of them together, which no verdict of one photo gives, and which is
the prior of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..records import NewShare
from .prior import log_odds

MANY = 20  # queries; of fewer nothing is said
WORTH = 10  # queries that the gallery's own prior counts as, beside them
REACH = 1.92  # below the greatest log likelihood the interval of 95 % ends: half of chi-squared's quantile with one degree of freedom


def share_of_new(p_new: Sequence[float], prior: float) -> NewShare | None:
    """From P(new) of each query, which assumes `prior`; None of fewer than MANY.

    The share of greatest likelihood, which is what expectation and maximisation converge to (Saerens et al. 2002, Neural Computation), and
    its profile's interval. Queries are taken for independent: where many are of one animal the interval is too narrow. The `prior` that
    comes with it is the likeliest share if WORTH more queries had been seen, of which the share assumed was new for certain."""
    from scipy.optimize import brentq, minimize_scalar

    if len(p_new) < MANY:
        return None
    certain = np.clip(np.asarray(p_new, np.float64), 1e-12, 1 - 1e-12)
    times = np.expm1(np.log(certain) - np.log1p(-certain) - log_odds(prior))  # likelihood if it is new over that if it is known, less 1

    def likelihood(share: float) -> float:
        return float(np.log1p(share * times).sum())

    def with_prior(share: float) -> float:
        return likelihood(share) + WORTH * float(prior * np.log(share) + (1 - prior) * np.log1p(-share))

    least, most = 1e-9, 1 - 1e-9

    def greatest(of: Callable[[float], float]) -> float:
        return float(minimize_scalar(lambda share: -of(share), bounds=(least, most), method="bounded").x)

    best = greatest(likelihood)

    def above(share: float) -> float:
        return likelihood(share) - likelihood(best) + REACH

    low = 0.0 if above(least) >= 0 else float(brentq(above, least, best))
    high = 1.0 if above(most) >= 0 else float(brentq(above, best, most))
    return NewShare(best, low, high, greatest(with_prior), len(certain))
