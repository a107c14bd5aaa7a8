"""How many of many photos show animals never seen: an estimate for all of them together, which no verdict of one photo gives, and which is
the prior of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ..records import NewShare
from .prior import log_odds

MANY = 20  # encounters; of fewer nothing is said
WORTH = 10  # encounters that the gallery's own prior counts as, beside them
REACH = 1.92  # below the greatest log likelihood the interval of 95 % ends: half of chi-squared's quantile with one degree of freedom


def share_of_new(p_new: Sequence[float], prior: float, encounters: Sequence[str | None] | None = None) -> NewShare | None:
    """From P(new) of each query, which assumes `prior`; None of fewer encounters than MANY.

    The share of greatest likelihood, which is what expectation and maximisation converge to (Saerens et al. 2002, Neural Computation), and
    its profile's interval. Queries of one encounter, where it is known, count as one together, as when a calibration is learned, and
    encounters are taken for independent. The `prior` that comes with it is the likeliest share if WORTH more encounters had been seen, of
    which the share assumed was new for certain."""
    from scipy.optimize import brentq, minimize_scalar

    units = [place if one is None else one for place, one in enumerate(encounters or [None] * len(p_new))]
    n_of = Counter(units)
    if len(n_of) < MANY:
        return None
    weights = np.array([1 / n_of[unit] for unit in units])
    certain = np.clip(np.asarray(p_new, np.float64), 1e-12, 1 - 1e-12)
    times = np.expm1(np.log(certain) - np.log1p(-certain) - log_odds(prior))  # likelihood if it is new over that if it is known, less 1

    def likelihood(share: float) -> float:
        return float(weights @ np.log1p(share * times))

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
    return NewShare(best, low, high, greatest(with_prior), len(certain), len(n_of))
