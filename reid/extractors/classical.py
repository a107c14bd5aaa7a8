"""Detectors from before the networks, as the tables of the literature have them beside those: rows of the feature benchmark alone.

All but ORB find keypoints without descriptors, which is (N, 0) in their `Features`. ORB's bits are -1 and 1 over 16, a unit vector, so
that the greatest cosine is the least Hamming distance, exactly.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..records import Features, Photo
from . import Extractor, strongest

NMS_RADIUS = 4  # px, as SuperPoint's and GoodPoint's here
BLOCK, APERTURE, K = 4, 3, 0.04  # of the structure tensor (OpenCV); Harris's constant
FAST_THRESHOLD, ORB_THRESHOLD = 10, 5  # grey levels
Grey = NDArray[np.uint8]  # (H, W)


def _harris(grey: Grey) -> NDArray[Any]:
    """Harris and Stephens 1988, Alvey."""
    return np.asarray(cv2.cornerHarris(grey, BLOCK, APERTURE, K))


def _shi_tomasi(grey: Grey) -> NDArray[Any]:
    """Shi and Tomasi 1994, CVPR."""
    return np.asarray(cv2.cornerMinEigenVal(grey, BLOCK, ksize=APERTURE))


def _fast(grey: Grey) -> NDArray[Any]:
    """Rosten and Drummond 2006, ECCV."""
    scores = np.zeros(grey.shape, np.float32)
    for point in cv2.FastFeatureDetector_create(FAST_THRESHOLD).detect(grey, None):
        scores[round(point.pt[1]), round(point.pt[0])] = point.response
    return scores


MAPS: dict[str, Callable[[Grey], NDArray[Any]]] = {"harris": _harris, "shi-tomasi": _shi_tomasi, "fast": _fast}
NAMES = (*MAPS, "orb", "random")


class Classical(Extractor):
    """One of NAMES: the strongest local maxima of its score map, ORB's own points, or points thrown at random."""

    def __init__(self, name: str, max_keypoints: int):
        self.name, self.max_keypoints = name, max_keypoints

    def extract(self, photo: Photo) -> Features:
        """Features with whole-pixel keypoints, ORB's apart."""
        if self.name == "orb":
            return self._orb(photo)
        if self.name == "random":
            rng = np.random.default_rng(zlib.crc32(photo.image_id.encode()))
            scores = rng.random(photo.pixels.shape[:2])
            rows, columns = np.nonzero(scores > 0)
        else:
            scores = MAPS[self.name](_grey(photo))
            window = np.ones((2 * NMS_RADIUS + 1, 2 * NMS_RADIUS + 1), np.uint8)
            rows, columns = np.nonzero((scores == cv2.dilate(scores, window)) & (scores > 0))
        points = np.stack((columns, rows), axis=1)
        return strongest(photo, self.name, self.max_keypoints, points, scores[rows, columns], np.zeros((len(points), 0)))

    def _orb(self, photo: Photo) -> Features:
        """Rublee 2011, ICCV."""
        detector: Any = cv2.ORB_create(nfeatures=self.max_keypoints, fastThreshold=ORB_THRESHOLD)
        mask = None if photo.mask is None else photo.mask.astype(np.uint8)
        found, raw = detector.detectAndCompute(_grey(photo), mask)
        bits = np.unpackbits(raw if found else np.zeros((0, 32), np.uint8), axis=1)
        table = np.array([(*point.pt, point.response) for point in found], np.float32).reshape(-1, 3)
        return strongest(photo, self.name, self.max_keypoints, table[:, :2], table[:, 2], (2.0 * bits - 1) / 16)


def _grey(photo: Photo) -> Grey:
    grey: Grey = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    return grey
