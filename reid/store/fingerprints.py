"""Every fingerprint is made here, from descriptions of everything that changes a result: settings, thresholds, weights, precision, format.

Rooms describe themselves (`extractors.describe`, `matchers.describe`, `scoring.describe`, ...); nothing is listed by hand a second time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

FORMAT = 4  # part of every fingerprint: raise it when what is stored changes its meaning
Description = Mapping[str, object]  # JSON-able


def fingerprint(*parts: Any) -> str:
    """16 hex digits that change when any of the (JSON-able) parts does."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Fingerprints:
    """Of what one pipeline stores."""

    features: Description
    matches: Description  # of a pair in full, given its features
    coarse: Description  # of a coarse look at a pair, beside what `matches` says

    @cached_property
    def of_features(self) -> str:
        return fingerprint(FORMAT, self.features)

    @cached_property
    def of_matches(self) -> str:
        return fingerprint(self.of_features, self.matches)

    @cached_property
    def of_coarse(self) -> str:
        return fingerprint(self.of_matches, self.coarse)


@dataclass(frozen=True)
class AnswerFingerprints:
    """Of what is inferred from the matches of several pipelines."""

    pipelines: Sequence[Fingerprints]
    score: Description  # from matches to scores
    search: Description  # which references are matched
    decide: Description  # from scores to calibrations
    promise: Description  # from calibrations to verdicts

    @cached_property
    def of_scores(self) -> str:
        return fingerprint([one.of_matches for one in self.pipelines], self.score)

    @cached_property
    def of_calibration(self) -> str:
        return fingerprint(self.of_scores, [one.of_coarse for one in self.pipelines], self.search, self.decide)

    @cached_property
    def of_answers(self) -> str:
        return fingerprint(self.of_calibration, self.promise)
