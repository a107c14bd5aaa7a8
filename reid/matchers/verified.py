"""A matcher whose matches are dropped unless one motion explains them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..imaging.geometry import inliers
from ..records import Features
from . import Found, Matcher

DOUBTFUL = 0.1  # matches of no more confidence have no say in the motion, and are dropped
TOLERANCE = {"affine": 0.05, "homography": 0.05, "fundamental": 0.01}  # of the reference's longest side: heads are neither flat nor rigid


class VerifiedMatcher:
    """Of another matcher's matches those that agree with one motion: "affine", "homography" or "fundamental"."""

    def __init__(self, matcher: Matcher, model: str):
        self.matcher, self.model = matcher, model

    def match(self, query: Features, references: Sequence[Features]) -> Iterator[Found]:
        """Each reference's place with its indices and confidences."""
        for place, (indices, confidence) in self.matcher.match(query, references):
            reference = references[place]
            kept = np.flatnonzero(confidence > DOUBTFUL)
            rows = indices[kept]
            tolerance = TOLERANCE[self.model] * max(reference.size)
            kept = kept[inliers(query.keypoints[rows[:, 0]], reference.keypoints[rows[:, 1]], self.model, tolerance)]
            yield place, (indices[kept], confidence[kept])

    def coarse(self, query: Features, references: Sequence[Features]) -> Iterator[tuple[int, float]]:
        """The matcher's own; a motion is estimated for full matches alone."""
        return self.matcher.coarse(query, references)
