"""Which matches one motion explains: a robust model by MAGSAC++ (Barath et al. 2020, CVPR; OpenCV), and its inliers.

An animal's side is neither flat nor rigid, so a model is evidence beside the matches and discards nothing.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MODELS = {"affine": 3, "homography": 4, "fundamental": 7}  # matches that determine one; one more can contradict it
ITERATIONS, CONFIDENCE = 1000, 0.999


def inliers(query: NDArray[Any], reference: NDArray[Any], model: str, tolerance: float) -> NDArray[np.bool_]:
    """(S,) True for the matches, (S, 2) px in each photo, that agree with the best `model` within `tolerance` px in the reference.

    None agree where there are too few matches to contradict a model. The same matches give the same answer (OpenCV seeds its own)."""
    if len(query) <= MODELS[model]:
        return np.zeros(len(query), bool)
    a, b = (np.ascontiguousarray(points, np.float64) for points in (query, reference))
    how: dict[str, Any] = {"confidence": CONFIDENCE, "maxIters": ITERATIONS}
    try:
        if model == "affine":
            _, agree = cv2.estimateAffine2D(a, b, method=cv2.USAC_MAGSAC, ransacReprojThreshold=tolerance, **how)
        elif model == "homography":
            _, agree = cv2.findHomography(a, b, cv2.USAC_MAGSAC, tolerance, **how)
        else:
            _, agree = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, tolerance, CONFIDENCE, ITERATIONS)
    except cv2.error:  # points on a line, or all in one place
        agree = None
    return np.zeros(len(a), bool) if agree is None else agree.ravel().astype(bool)
