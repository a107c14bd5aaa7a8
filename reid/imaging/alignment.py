"""Two photos of one thing, aligned: matches in, a homography or affine motion between the upright photos out, and their mosaic.

The motion takes pixels of the upright query to the upright reference. What holds no motion, or one that no camera makes, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import AlignmentError
from ..records import Features, PairMatches, PhotoRef
from .decode import decode, photo_size
from .geometry import estimate, project, visible
from .prepare import prepared_size, resizing, to_upright

TOLERANCE = 0.005  # of the reference's longest side
ITERATIONS = 10_000
LEAST, SHARE = 8.0, 0.3  # there are more inliers than this and this share of the matches in the overlap (Brown and Lowe 2007, IJCV)
MOST_SCALE = 8.0  # times that the query may be larger or smaller
MOST = 3072  # px a side of the mosaic
Matrix = NDArray[np.float64]  # (3, 3)


@dataclass(frozen=True)
class Alignment:
    """How the query lies on the reference."""

    motion: Matrix  # takes pixels of the upright query to the upright reference
    sizes: tuple[tuple[int, int], tuple[int, int]]  # (width, height) of both upright photos, px
    n_matches: int
    n_inliers: int


def register(
    refs: tuple[PhotoRef, PhotoRef], features: tuple[Features, Features], matches: PairMatches, min_confidence: float, model: str
) -> Alignment:
    """By the matches above `min_confidence`. Raises AlignmentError."""
    sizes = photo_size(refs[0].path), photo_size(refs[1].path)
    rows = matches.indices[matches.confidence > min_confidence]
    first, second = (
        to_upright(one.keypoints[rows[:, side]], one.size, sizes[side], ref) for side, (one, ref) in enumerate(zip(features, refs))
    )
    motion, agree = estimate(first, second, model, TOLERANCE * max(sizes[1]), iterations=ITERATIONS)
    names = f"{refs[0].path} and {refs[1].path}"
    if motion is None:
        raise AlignmentError(f"{names} cannot be aligned: {len(rows)} matches hold no {model}; try another --extractor, or more keypoints")
    n_near, n_inliers = int(visible(first, motion, sizes[1]).sum()), int(agree.sum())
    if n_inliers <= LEAST + SHARE * n_near:
        why = f"{n_inliers} of {len(rows)} matches agree on a {model}, which chance could do"
        raise AlignmentError(f"{names} cannot be aligned: {why}; try another --extractor, or more keypoints")
    if not is_plausible(motion, sizes):
        raise AlignmentError(f"{names} cannot be aligned: the {model} that {n_inliers} matches agree on folds or stretches the photo; "
                             "photos of something that is neither flat nor far have none")  # fmt: skip
    return Alignment(motion, sizes, len(rows), n_inliers)


def is_plausible(motion: Matrix, sizes: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    """Whether a camera could have moved so: no mirror, no corner of the query behind it, and not many times larger or smaller.

    Three corners keep their turn if the determinant and their depths have a product above 0, so all four do if no depth differs in sign."""
    if not np.isfinite(motion).all():
        return False
    moved = project(_corners(sizes[0]), motion)
    sides = np.roll(moved, -1, axis=0) - moved
    turns = sides[:, 0] * np.roll(sides, -1, axis=0)[:, 1] - sides[:, 1] * np.roll(sides, -1, axis=0)[:, 0]
    area = cv2.contourArea(moved.astype(np.float32)) / (sizes[0][0] * sizes[0][1])
    return bool((turns > 0).all() and MOST_SCALE**-2 < area < MOST_SCALE**2)


def mosaic(paths: tuple[Path, Path], found: Alignment) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: both photos on one canvas as the reference sees it, no side above MOST px, black where neither has anything. Where
    both have, each counts by how far it is from its edge (feathering)."""
    to_canvas, size = canvas(found)
    total = np.zeros((size[1], size[0], 3), np.float32)
    weights = np.zeros((size[1], size[0]), np.float32)
    for path, full, motion in zip(paths, found.sizes, (found.motion, np.eye(3))):
        pixels = decode(path, at_least=MOST).pixels
        small = prepared_size(full, MOST)
        pixels = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
        inner = cv2.distanceTransform(np.pad(np.ones(small[::-1], np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        way = to_canvas @ motion @ np.linalg.inv(resizing(full, small))
        weight = cv2.warpPerspective(inner, way, size)
        total += cv2.warpPerspective(pixels, way, size, borderMode=cv2.BORDER_REPLICATE).astype(np.float32) * weight[..., None]
        weights += weight
    return (total / np.maximum(weights, 1e-6)[..., None]).round().clip(0, 255).astype(np.uint8)


def canvas(found: Alignment) -> tuple[Matrix, tuple[int, int]]:
    """What takes pixels of the upright reference to the canvas that holds both photos, and its size (width, height)."""
    outline = np.vstack((project(_corners(found.sizes[0]), found.motion), _corners(found.sizes[1])))
    low, high = outline.min(axis=0), outline.max(axis=0)
    factor = min(1.0, MOST / float((high - low).max()))
    width, height = (max(1, int(side)) for side in np.floor((high - low) * factor))
    shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])  # the outline's corner to (0, 0), then to the corner of a pixel
    grow: Any = np.array([[factor, 0, -0.5], [0, factor, -0.5], [0, 0, 1]])
    return grow @ shift, (width, height)


def _corners(size: tuple[int, int]) -> NDArray[np.float64]:
    """(4, 2) px of the photo's outline, in order around it."""
    width, height = size
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64) - 0.5
