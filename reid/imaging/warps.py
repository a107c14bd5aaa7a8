"""Random homographies, and what they do to images and points. Pure NumPy and OpenCV.

A homography maps pixels of the warped image to pixels of the source, (0, 0) at the centre of the top-left pixel; points go the other
way, by its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import project as project

Matrix = NDArray[np.float64]  # (3, 3)


@dataclass(frozen=True)
class Strength:
    """How far the sampler of GoodPoint (arXiv 2006.01030, released code) goes, at a side of 256 px."""

    corner: float = 14.0  # px that each corner moves at most, in x and in y
    perspective: float = 85.0  # px that one side is stretched at most
    scale: tuple[float, float] = (0.8, 1.3)
    rotation: float = 0.08  # rad at most, either way
    side: int = 256  # px, of which these pixels are


def sample(rng: np.random.Generator, size: tuple[int, int], strength: Strength) -> Matrix:
    """A random homography of an image of `size` (width, height): corners jittered, one side stretched, then scaled and turned."""
    width, height = size
    unit = min(size) / strength.side
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    moved = corners + rng.uniform(-strength.corner, strength.corner, (4, 2)) * unit
    stretch = rng.uniform(0, strength.perspective) * unit
    along, side = rng.integers(2), rng.integers(2)  # whether left and right or top and bottom, and which of the two
    outward = np.where(corners[:, along] > 0, 1.0, -1.0)
    of_side = (corners[:, 1 - along] > 0) == bool(side)
    moved[of_side, along] += stretch * outward[of_side]
    centre = np.array([width, height]) / 2
    angle, factor = rng.uniform(-strength.rotation, strength.rotation), rng.uniform(*strength.scale)
    turn = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (moved - centre) @ turn.T + centre
    half = 0.5  # corners lie on the outline of the pixels
    found: Matrix = cv2.getPerspectiveTransform((corners - half).astype(np.float32), (moved - half).astype(np.float32))
    return found


@dataclass(frozen=True)
class Factors:
    """How far each factor of GLAMpoints' warps (ICCV 2019, released configuration) goes, at a side of 256 px."""

    rotation: float = np.pi / 6  # rad at most, either way
    translation: float = 20.0  # px at most, either way in x and in y
    shear: float = 0.2  # at most, either way in x and in y
    scale: tuple[float, float] = (0.7, 1.3)  # in x and in y, independently
    perspective: tuple[float, float] = (1e-6, 5e-4)  # 1/px, in x and in y; the code has one sign only, here it is either
    side: int = 256  # px, of which these pixels are


def product(rng: np.random.Generator, size: tuple[int, int], factors: Factors) -> Matrix:
    """A random homography of an image of `size` (width, height): about its centre perspective, scale and shear, then moved and turned."""
    unit = min(size) / factors.side
    angle = rng.uniform(-factors.rotation, factors.rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    move, shear, scale, tilt = np.eye(3), np.eye(3), np.eye(3), np.eye(3)
    move[:2, 2] = rng.uniform(-factors.translation, factors.translation, 2) * unit
    shear[[0, 1], [1, 0]] = rng.uniform(-factors.shear, factors.shear, 2)
    scale[[0, 1], [0, 1]] = rng.uniform(*factors.scale, 2)
    tilt[2, :2] = rng.uniform(*factors.perspective, 2) * rng.choice((-1, 1), 2) / unit
    centre = np.eye(3)
    centre[:2, 2] = (np.array(size) - 1) / 2
    forward = centre @ turn @ move @ shear @ scale @ tilt @ np.linalg.inv(centre)
    found: Matrix = np.linalg.inv(forward / forward[2, 2])
    return found


@dataclass(frozen=True)
class Patch:
    """How far the sampler of the open SuperPoint (rpautrat/SuperPoint) goes, in shares of the image's sides."""

    share: float = 0.85  # of the sides that the patch has, which fills the warped image
    perspective: float = 0.2  # that its corners move at most
    scaling: float = 0.2  # about 1, either way at most
    rotation: float = np.pi / 2  # rad at most, either way
    overflow: float = 0.05  # that it is moved beyond the image's edge at most


def patch(rng: np.random.Generator, size: tuple[int, int], limits: Patch) -> Matrix:
    """A random homography of an image of `size` (width, height): a patch of it, tapered, scaled, moved and turned, fills the warped image.

    Perspective and scale are truncated normal, of two deviations at most; the patch may leave the image."""
    square = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float64)
    left, right, taper = (_truncated(rng, limits.perspective) for _ in range(3))
    corners = (square - 0.5) * limits.share + 0.5 + np.array([[left, taper], [right, -taper], [left, -taper], [right, taper]])
    middle = corners.mean(axis=0)
    corners = (corners - middle) * (1 + _truncated(rng, limits.scaling)) + middle
    least, most = -corners.min(axis=0) - limits.overflow, 1 - corners.max(axis=0) + limits.overflow
    corners = (corners + least + (most - least) * rng.random(2)) * size
    angle, middle = rng.uniform(-limits.rotation, limits.rotation), corners.mean(axis=0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = (corners - middle) @ turn.T + middle
    half = 0.5  # corners lie on the outline of the pixels
    found: Matrix = cv2.getPerspectiveTransform((square * size - half).astype(np.float32), (corners - half).astype(np.float32))
    return found


def _truncated(rng: np.random.Generator, most: float) -> float:
    """Normal, its deviation half of `most`, drawn again beyond that."""
    while abs(found := rng.normal(0, most / 2)) > most:
        pass
    return float(found)


def warp(image: NDArray[Any], homography: Matrix, size: tuple[int, int] | None = None) -> NDArray[Any]:
    """The warped image, of `size` (width, height) or as large as the source; outside the source it is 0."""
    wanted = size or (image.shape[1], image.shape[0])
    warped: NDArray[Any] = cv2.warpPerspective(image, homography, wanted, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return warped


def inverse(homography: Matrix) -> Matrix:
    return np.asarray(np.linalg.inv(homography), np.float64)


def valid(homography: Matrix, source: tuple[int, int], size: tuple[int, int], margin: int = 0) -> NDArray[np.bool_]:
    """(H, W) where the warped image shows the source, `margin` px or more from where that ends."""
    whole = warp(np.full((source[1], source[0]), 255, np.uint8), homography, size) > 254
    if not margin:
        return whole
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    eroded: NDArray[np.uint8] = cv2.erode(np.pad(whole.astype(np.uint8), 1), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return eroded[1:-1, 1:-1].astype(bool)
