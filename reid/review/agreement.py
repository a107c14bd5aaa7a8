"""What two observers say of the same pairs, and how far they agree. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from ..catalogue import Decision, Kind
from .tasks import shown

WORDS = {Kind.SAME: "same", Kind.MERGE: "same", Kind.DIFFERENT: "different", Kind.CANNOT_TELL: "cannot tell"}


@dataclass(frozen=True)
class Agreement:
    """Two observers, on the pairs that both have judged."""

    observers: tuple[str, str]
    n_pairs: int
    n_agreed: int
    kappa: float | None  # Cohen (1960): agreement beyond chance; None where chance alone would agree on everything
    disagreed: tuple[tuple[Decision, Decision], ...]


def agreements(decisions: Iterable[Decision]) -> list[Agreement]:
    """Of every two observers who have judged a pair in common; the newest word of each counts."""
    said: dict[str, dict[frozenset[str], Decision]] = {}
    for one in decisions:
        if one.kind in WORDS:
            said.setdefault(one.observer, {})[frozenset(shown(one))] = one
    found = []
    for first, second in combinations(sorted(said), 2):
        both = [(said[first][pair], said[second][pair]) for pair in said[first] if pair in said[second]]
        if both:
            words = [(WORDS[one.kind], WORDS[other.kind]) for one, other in both]
            differ = tuple(pair for pair, (one, other) in zip(both, words) if one != other)
            found.append(Agreement((first, second), len(both), len(both) - len(differ), kappa(words), differ))
    return found


def kappa(pairs: list[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two columns of words."""
    n = len(pairs)
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(first[word] * second[word] for word in first) / n**2
    return None if chance == 1 else (sum(one == other for one, other in pairs) / n - chance) / (1 - chance)
