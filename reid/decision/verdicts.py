"""Match, unsure, new or odd: of one query, and of the lists that many queries make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..records import IdentityRanking

MATCH, UNSURE, NEW, ODD = "match", "unsure", "new", "odd"
LIKELIER = 0.5  # a verdict is not given against a probability below this


@dataclass(frozen=True)
class Decision:
    """What one query's standing means."""

    verdict: str  # MATCH, UNSURE, NEW or ODD
    p_match: float  # the three sum to one
    p_other: float
    p_new: float
    interval: tuple[float, float]  # of p_match, 95 %: what another sample of calibration queries might have made of it
    p_if_new: float  # the share of new animals whose best individual stands as well or better (conformal p-value)
    p_if_known: float  # the share of known animals whose best individual stands no better
    n_as_well: int  # of the calibration's encounters of new animals: those whose best individual stands as well or better
    n_as_badly: int  # of known ones: those whose best individual stands no better


def verdict_of(p_if_new: float, p_if_known: float, p_match: float, p_new: float, max_false_match: float, max_false_new: float) -> str:
    """`match` where no more than `max_false_match` of new animals stand as well and P(match) is at least 1/2; `new` where no more than
    `max_false_new` of known animals stand as badly and P(new) is at least 1/2; `odd` where both ranks are that small; else `unsure`.

    The ranks keep the promises, whatever the prior is. The probabilities, which know the prior, can only withhold a verdict."""
    like_known, like_new = p_if_new <= max_false_match, p_if_known <= max_false_new
    if like_known and like_new:
        return ODD
    if like_known and p_match >= LIKELIER:
        return MATCH
    return NEW if like_new and p_new >= LIKELIER else UNSURE


def uncalibrated(p_impostor: float, match_below: float, new_above: float) -> str:
    """The verdict where nothing is calibrated: `match` where the best of as many impostors would hardly score as high, `new` where it
    easily would, `unsure` between. It promises nothing."""
    if p_impostor <= match_below:
        return MATCH
    return NEW if p_impostor >= new_above else UNSURE


def listed(p_values: Sequence[float | None], rate: float) -> list[bool]:
    """Which queries make a list of which at most `rate` are expected not to belong there: Benjamini and Hochberg (1995), on conformal
    p-values (Bates et al. 2023). None takes no part.

    Verdicts that hold each for itself make no such list: of 100 new animals, 5 % false matches are 5, and they may be the whole list."""
    places = np.array([place for place, p in enumerate(p_values) if p is not None], int)
    p = np.array([p for p in p_values if p is not None], float)
    order = np.argsort(p, kind="stable")
    small = p[order] <= rate * np.arange(1, len(p) + 1) / max(1, len(p)) + 1e-12
    n = int(np.flatnonzero(small)[-1]) + 1 if small.any() else 0
    chosen = set(places[order[:n]].tolist())
    return [place in chosen for place in range(len(p_values))]


def with_lists(rankings: Sequence[IdentityRanking], max_false_match: float, max_false_new: float) -> tuple[IdentityRanking, ...]:
    """The rankings of one run, each told whether it is on the list of its verdict: of matches, of which at most `max_false_match` are
    expected to be new animals, or of new animals, of which at most `max_false_new` are expected to be known ones.

    A query with another verdict takes part with a p-value of 1, so that no list holds what the verdict withholds."""
    on = [False] * len(rankings)
    for verdict, name, rate in ((MATCH, "p_if_new", max_false_match), (NEW, "p_if_known", max_false_new)):
        p_values = [getattr(one, name) if one.verdict == verdict or getattr(one, name) is None else 1.0 for one in rankings]
        on = [was or now for was, now in zip(on, listed(p_values, rate))]
    return tuple(replace(one, listed=None if one.p_new is None else chosen) for one, chosen in zip(rankings, on))
