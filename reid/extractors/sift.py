"""SIFT (Lowe 2004) from OpenCV, with RootSIFT descriptors (Arandjelovic and Zisserman 2012)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..records import Features, Photo
from ..settings import ExtractSettings
from . import Extractor, strongest

CONTRAST = 0.005  # least of a keypoint; low, since the strongest are chosen afterwards and field photos are murky
EDGE = 10  # most of the ratio of curvatures


def root(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 128) RootSIFT of unit length (0 where SIFT is 0): the square root of SIFT divided by its sum."""
    found: NDArray[np.float32] = np.sqrt(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-6))
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)
    return found


class SiftExtractor(Extractor):
    """The strongest extrema of the difference of Gaussians; a point with two orientations is two keypoints."""

    def __init__(self, extract: ExtractSettings):
        self.name, self.max_keypoints = extract.extractor, extract.max_keypoints
        self.detector: Any = cv2.SIFT_create(nfeatures=0, contrastThreshold=CONTRAST, edgeThreshold=EDGE)

    def extract(self, photo: Photo) -> Features:
        """Features with scales (px) and angles (rad) and 128-dimensional descriptors."""
        grey = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY)
        mask = None if photo.mask is None else photo.mask.astype(np.uint8)
        found = sorted(self.detector.detect(grey, mask), key=lambda p: (-p.response, p.pt, p.size, p.angle))[: self.max_keypoints]
        table = np.array([(*p.pt, p.response, p.size, p.angle) for p in found], np.float32).reshape(-1, 5)
        descriptors = self._describe(grey, found) if found else np.zeros((0, 128), np.float32)
        keypoints = table[:, :2].clip(-0.5, np.array(photo.size, np.float32) - 0.5)
        return strongest(
            photo, self.name, self.max_keypoints, keypoints, table[:, 2], descriptors, scales=table[:, 3], angles=np.deg2rad(table[:, 4])
        )

    def _describe(self, grey: NDArray[np.uint8], found: Sequence[cv2.KeyPoint]) -> NDArray[np.float32]:
        """(N, 128) unit descriptors of the keypoints."""
        described, raw = self.detector.compute(grey, found)
        assert len(described) == len(found)  # OpenCV drops none that its own detector found
        return root(raw)


def create(extract: ExtractSettings, device: str) -> SiftExtractor:
    return SiftExtractor(extract)
