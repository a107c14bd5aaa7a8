"""How good keypoints and matches are where the true homography is known. Pure NumPy; figures are NaN where they are undefined.

A homography takes points of the first image to the second. V1 are the points of the first image that lie inside the second, V2 the other
way round. Distances are in pixels of the second image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..imaging.geometry import Points, project

RADIUS = 25  # px of the discs that coverage counts
EPS = 3.0  # px
INSET = 50  # px from the corners where a registration is judged
CLASSES = "acceptable", "inaccurate", "failed"  # registrations
ACCEPTABLE = 10.0, 30.0  # px below which an acceptable registration's median and largest error lie


def repeatability(first: Points, second: Points, homography: NDArray[Any], eps: float = EPS) -> float:
    """Of points V1 and V2, the share that has one of the other within `eps` px (DeTone 2018, section 7.1; symmetric).

    To be called with visible points, the strongest of them."""
    if not len(first) or not len(second):
        return 0.0 if len(first) or len(second) else float("nan")
    away = project(first, homography)
    there, _ = cKDTree(second).query(away)
    back, _ = cKDTree(away).query(second)
    return float(((there <= eps).sum() + (back <= eps).sum()) / (len(first) + len(second)))


def replication(first: Points, second: Points, homography: NDArray[Any], eps: float = EPS) -> float:
    """The share of all points of the first image that have one of the second within `eps` px: GoodPoint's measure (arXiv 2006.01030),
    one way and without regard to what can be seen."""
    if not len(first):
        return float("nan")
    return float((cKDTree(second).query(project(first, homography))[0] <= eps).mean()) if len(second) else 0.0


def by_chance(n: float, size: tuple[int, int], eps: float = EPS, share: float = 1.0) -> float:
    """The repeatability of `n` points thrown at random on a `share` of an image of `size`: 1 - exp(-n pi eps^2 / area)."""
    return float(-np.expm1(-n * np.pi * eps**2 / (size[0] * size[1] * share))) if share > 0 else float("nan")


def correct(first: Points, second: Points, homography: NDArray[Any], eps: float = EPS) -> NDArray[np.bool_]:
    """(M,) which matches, given by their points in either image, lie within `eps` px of the truth."""
    errors = project(first, homography) - np.asarray(second, np.float64).reshape(-1, 2)
    right: NDArray[np.bool_] = np.linalg.norm(errors, axis=1) <= eps
    return right


def matching_score(indices: NDArray[Any], right: NDArray[np.bool_], first_seen: NDArray[np.bool_], second_seen: NDArray[np.bool_]) -> float:
    """Of the points of an image that the other one shows, (N,) `first_seen` and `second_seen`, the share in correct matches; mean of both
    images (DeTone 2018, appendix; GLAMpoints, arXiv 1908.06812, counts the first alone). Matches (M, 2) name a point once."""
    rows = indices[right].reshape(-1, 2).T
    shares = [seen[own].sum() / seen.sum() if seen.any() else 0.0 for seen, own in zip((first_seen, second_seen), rows)]
    return float(np.mean(shares))


def coverage(points: Points, size: tuple[int, int], mask: NDArray[np.bool_] | None = None, radius: int = RADIUS) -> float:
    """The share of an image of `size` (width, height), or of its mask, that lies in discs about the points of correct matches."""
    drawn = np.zeros((size[1], size[0]), np.uint8)
    for x, y in np.asarray(points).reshape(-1, 2):
        cv2.circle(drawn, (round(float(x)), round(float(y))), radius, 1, -1)
    covered = drawn.astype(bool)
    return float(covered.mean()) if mask is None else float(covered[mask].mean()) if mask.any() else float("nan")


def harmonic_mean(*shares: float) -> float:
    """0 where one of them is."""
    return 0.0 if min(shares) <= 0 else float(len(shares) / sum(1 / share for share in shares))


def corner_error(found: NDArray[Any] | None, homography: NDArray[Any], size: tuple[int, int]) -> float:
    """Mean distance of the four corners of the first image, of `size` (width, height), under the homography found and the true one;
    infinite where none was found."""
    if found is None or not np.isfinite(found).all():
        return float("inf")
    width, height = size
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float64)
    error = float(np.linalg.norm(project(corners, found) - project(corners, homography), axis=1).mean())
    return error if np.isfinite(error) else float("inf")


def area_under_curve(errors: Sequence[float] | NDArray[Any], limit: float) -> float:
    """(1 / limit) times the integral up to `limit` px of the share of errors that are no larger, by trapezoids from (0, 0) on
    (SuperGlue, Sarlin 2020, section 5.1). It is not the share within `limit` px. Infinite errors count; NaN without any."""
    if not len(errors):
        return float("nan")
    ordered = np.sort(np.asarray(errors, np.float64))
    within = ordered[ordered < limit]
    share = np.arange(len(within) + 1) / len(ordered)
    ends, heights = np.concatenate(([0.0], within, [limit])), np.append(share, share[-1])
    return float((np.diff(ends) * (heights[1:] + heights[:-1]) / 2).sum() / limit)


def registration_errors(found: NDArray[Any] | None, homography: NDArray[Any], size: tuple[int, int]) -> tuple[float, float]:
    """Median (MEE) and largest (MAE) error, px, at six points of the first image, of `size` (width, height): its corners, 50 px further in,
    and the middle of its width at a quarter and three quarters of its height (GLAMpoints' code); infinite without a homography."""
    if found is None or not np.isfinite(found).all() or not np.any(found):
        return float("inf"), float("inf")
    width, height = size
    right, bottom = width - INSET, height - INSET
    at = [(INSET, INSET), (right, INSET), (INSET, bottom), (right, bottom), (width / 2, height / 4), (width / 2, 3 * height / 4)]
    points = np.array(at, np.float64)
    errors = np.linalg.norm(project(points, found) - project(points, homography), axis=1)
    return float(np.median(errors)), float(errors.max())


def registration_class(median: float, largest: float) -> str:
    """GLAMpoints' class of a registration (arXiv 1908.06812) by its MEE and MAE: failed is one without a homography."""
    if not np.isfinite((median, largest)).all():
        return "failed"
    return "acceptable" if median < ACCEPTABLE[0] and largest < ACCEPTABLE[1] else "inaccurate"
