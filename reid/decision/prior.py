"""How probable a new animal is before anybody has looked at the photo."""

from __future__ import annotations

import math
from collections.abc import Sequence


def good_turing(n_encounters: Sequence[int]) -> float:
    """The probability that the next encounter is of an animal never seen, from the number of encounters of each known one: those of
    animals with a single encounter, of all encounters (Good 1953, Biometrika, eq. 9). Kept off 0 and 1 by half an encounter."""
    once, total = sum(n == 1 for n in n_encounters), sum(n_encounters)
    return (once + 0.5) / (total + 1)


def log_odds(p: float) -> float:
    """The logarithm of p / (1 - p)."""
    return math.log(p / (1 - p))
