"""Which keypoints of two photos are the same: what a matcher is trained on, and in which order pairs are learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..imaging import warps
from ..imaging.warps import Matrix
from ..records import Features

NEAR = 3.0  # px within which two keypoints are one, and beyond which a keypoint has no partner
UNMATCHED, IGNORED = -1, -2
Partners = tuple[NDArray[np.int64], NDArray[np.int64]]  # of each keypoint: its row in the other photo, UNMATCHED or IGNORED


@dataclass(frozen=True)
class Pair:
    """Two photos, described, and which of their keypoints are the same."""

    features: tuple[Features, Features]
    partners: Partners


@dataclass(frozen=True)
class Warped(Pair):
    """Two views of one crop."""

    homography: Matrix  # takes points of the first view to the second


def truth(first: NDArray[Any], second: NDArray[Any], homography: Matrix) -> Partners:
    """The partners of keypoints (M, 2) and (N, 2) px, which fall within `NEAR` px of each other, may be outside the view, or have none."""
    return assigned(first, second, warps.project(first, homography), warps.project(second, np.linalg.inv(homography)))


def assigned(
    first: NDArray[Any], second: NDArray[Any], there: NDArray[Any], back: NDArray[Any], near: float = NEAR, far: float | None = None
) -> Partners:
    """The partners of keypoints (M, 2) and (N, 2) px that fall `there` (M, 2) in the other photo and `back` (N, 2), infinite where they
    are not seen. Two are one if each is the other's nearest and both ways they fall within `near` px; a keypoint has no partner if none
    lies within `far` px, or else `near`, of where it falls. The rest is ignored."""
    if not len(first) or not len(second):
        return np.full(len(first), UNMATCHED), np.full(len(second), UNMATCHED)
    away, home = distances(there, second), distances(first, back)
    apart, far = np.maximum(away, home), near if far is None else far
    own, others = np.where(away.min(axis=1) > far, UNMATCHED, IGNORED), np.where(home.min(axis=0) > far, UNMATCHED, IGNORED)
    rows, columns = np.arange(len(first)), apart.argmin(axis=1)
    same = (apart.argmin(axis=0)[columns] == rows) & (apart[rows, columns] < near)
    own[same], others[columns[same]] = columns[same], rows[same]
    return own, others


def in_turn(number: int, each: int, together: int) -> tuple[int, int]:
    """Of what, and which of its `each` pairs, is pair `number`: `together` have their turn at a time, and their turns end at different
    times."""
    step, slot = divmod(number, together)
    turn, which = divmod(step + slot * each // together, each)
    return turn * together + slot, which


def distances(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = np.linalg.norm(a[:, None] - b[None], axis=2)
    return found
