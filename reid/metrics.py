"""How good keypoints and matches are where the true homography is known. Pure NumPy; figures are NaN where they are undefined.

A homography takes points of the first image to the second. V1 are the points of the first image that lie inside the second, V2 the other
way round. Distances are in pixels of the second image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Points = NDArray[Any]  # (N, 2) px, x and y
RADIUS = 25  # px of the discs that coverage counts
EPS = 3.0  # px


def project(points: Points, homography: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 2) where the homography takes points."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    away = np.hstack((points, np.ones((len(points), 1)))) @ np.asarray(homography).T
    found: NDArray[np.float64] = away[:, :2] / away[:, 2:]
    return found


def visible(points: Points, homography: NDArray[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N,) whether the homography takes a point into an image of `size` (width, height): nearest to one of its pixels."""
    away = project(points, homography)
    inside: NDArray[np.bool_] = np.all((away >= -0.5) & (away < np.array(size) - 0.5), axis=1)
    return inside


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


def by_chance(n: int, size: tuple[int, int], eps: float = EPS) -> float:
    """The repeatability of `n` points thrown at random: 1 - exp(-n pi eps^2 / area)."""
    return float(-np.expm1(-n * np.pi * eps**2 / (size[0] * size[1])))


def correct(first: Points, second: Points, homography: NDArray[Any], eps: float = EPS) -> NDArray[np.bool_]:
    """(M,) which matches, given by their points in either image, lie within `eps` px of the truth."""
    errors = project(first, homography) - np.asarray(second, np.float64).reshape(-1, 2)
    right: NDArray[np.bool_] = np.linalg.norm(errors, axis=1) <= eps
    return right


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
