"""From scores of photos to a ranking of individuals: each by its best reference, ties by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .records import Candidate, Score


def rank(scores: Sequence[Score], identities: Mapping[str, str | None]) -> tuple[Candidate, ...]:
    """Individuals, best first; `identities` maps a reference to its individual, an unnamed animal's photo stands for itself."""
    best: dict[str, Candidate] = {}
    for score in sorted(scores, key=lambda score: (-score.value, score.reference_id)):
        identity = identities[score.reference_id] or f"unknown ({score.reference_id})"
        best.setdefault(identity, Candidate(identity, score.value, score.n_matches, score.reference_id))
    return tuple(sorted(best.values(), key=lambda candidate: (-candidate.score, candidate.identity)))
