"""Points under a homography, and which matches one motion explains: a robust model by MAGSAC++ (Barath et al. 2020, CVPR; OpenCV).

An animal's side is neither flat nor rigid; who calls decides what becomes of matches that disagree (`matchers/verified` drops them).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[Any]  # (N, 2) px, x and y
MODELS = {"affine": 3, "homography": 4, "fundamental": 7}  # matches that determine one; one more can contradict it
ITERATIONS, CONFIDENCE = 1000, 0.999


def project(points: Points, homography: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 2) where the homography takes points."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    away = np.hstack((points, np.ones((len(points), 1)))) @ np.asarray(homography).T
    found: NDArray[np.float64] = away[:, :2] / away[:, 2:]
    return found


def visible(points: Points, homography: NDArray[Any], size: tuple[int, int], mask: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """(N,) whether the homography takes a point into an image of `size` (width, height), nearest to one of its pixels, and onto its mask
    (H, W) if it has one."""
    away = project(points, homography)
    inside: NDArray[np.bool_] = np.all((away >= -0.5) & (away < np.array(size) - 0.5), axis=1)
    if mask is not None:
        columns, rows = np.floor(away[inside] + 0.5).astype(int).T
        inside[inside] = mask[rows, columns]
    return inside


def inliers(query: NDArray[Any], reference: NDArray[Any], model: str, tolerance: float) -> NDArray[np.bool_]:
    """(S,) True for the matches, (S, 2) px in each photo, that agree with the best `model` within `tolerance` px in the reference.

    None agree where there are too few matches to contradict a model. The same matches give the same answer (OpenCV seeds its own)."""
    return estimate(query, reference, model, tolerance)[1]


def estimate(
    query: NDArray[Any],
    reference: NDArray[Any],
    model: str,
    tolerance: float,
    *,
    method: int = cv2.USAC_MAGSAC,
    iterations: int = ITERATIONS,
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    """The best `model` itself, (3, 3), which takes points of the query to the reference (a fundamental matrix: to lines), and what agrees
    with it, as `inliers` says; None where none does. `method` is one of OpenCV's, such as cv2.RANSAC."""
    nothing = None, np.zeros(len(query), bool)
    if len(query) <= MODELS[model]:
        return nothing
    a, b = (np.ascontiguousarray(points, np.float64) for points in (query, reference))
    how: dict[str, Any] = {"confidence": CONFIDENCE, "maxIters": iterations}
    try:
        if model == "affine":
            found, agree = cv2.estimateAffine2D(a, b, method=method, ransacReprojThreshold=tolerance, **how)
            found = None if found is None else np.vstack((found, (0, 0, 1)))
        elif model == "homography":
            found, agree = cv2.findHomography(a, b, method, tolerance, **how)
        else:
            found, agree = cv2.findFundamentalMat(a, b, method, tolerance, CONFIDENCE, iterations)
    except cv2.error:  # points on a line, or all in one place
        return nothing
    return nothing if found is None or agree is None else (found, agree.ravel().astype(bool))
