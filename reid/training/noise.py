"""What light, lens and sensor do to a photo, drawn at random: the filters of GoodPoint (arXiv 2006.01030) at its released code's values.

Images are (H, W) float32, light in 0..255.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
LEAST_SPREAD = 0.1  # of the deviation before: a filter that leaves less has drowned the image, and is taken back


def gaussian(image: Image, rng: np.random.Generator) -> Image:
    """Additive, of variance 30."""
    return image + rng.normal(0, np.sqrt(30), image.shape).astype(np.float32)


def brightness(image: Image, rng: np.random.Generator) -> Image:
    return image + np.float32(rng.uniform(-50, 50))


def shade(image: Image, rng: np.random.Generator) -> Image:
    """20 ellipses of shadow or light, blurred together."""
    height, width = image.shape
    shadow = np.zeros((height, width), np.float32)
    least, most = min(image.shape) / 20, min(image.shape) / 4
    for _ in range(20):
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = int(max(1, rng.uniform(least, most))), int(max(1, rng.uniform(least, most)))
        cv2.ellipse(shadow, centre, axes, float(rng.uniform(0, 90)), 0, 360, 1.0, -1)
    kernel = int(rng.integers(45, 85)) | 1
    depth = rng.uniform(-0.25, 0.45)
    shaded: Image = (image * (1 - depth * cv2.GaussianBlur(shadow, (kernel, kernel), 0))).astype(np.float32)
    return shaded


def salt_and_pepper(image: Image, rng: np.random.Generator) -> Image:
    """2 % of the pixels white, 2 % black."""
    drawn = rng.random(image.shape)
    return np.where(drawn < 0.02, 255, np.where(drawn > 0.98, 0, image)).astype(np.float32)


def motion_blur(image: Image, rng: np.random.Generator) -> Image:
    """Along a row, a column or a diagonal, 5 px, Gaussian weights."""
    weights = cv2.getGaussianKernel(5, -1).ravel()
    kernel = np.zeros((5, 5))
    place = np.arange(5)
    rows, columns = ((np.full(5, 2), place), (place, np.full(5, 2)), (place, place), (place, place[::-1]))[rng.integers(4)]
    kernel[rows, columns] = weights
    blurred: Image = cv2.filter2D(image, -1, kernel / kernel.sum()).astype(np.float32)
    return blurred


def contrast(image: Image, rng: np.random.Generator) -> Image:
    """The range scaled about its middle."""
    middle = (float(image.max()) + float(image.min())) / 2
    return ((image - middle) * rng.uniform(0.6, 1.05) + middle).astype(np.float32)


FILTERS: tuple[Callable[[Image, np.random.Generator], Image], ...] = (
    gaussian, brightness, shade, salt_and_pepper, motion_blur, contrast,
)  # fmt: skip


def disturb(image: Image, rng: np.random.Generator, often: float = 0.5) -> Image:
    """Each filter in turn with probability `often`."""
    for apply in FILTERS:
        before = float(image.std())
        if rng.random() < often and before >= 0.01:
            after = apply(image, rng).clip(0, 255)
            image = after if after.std() >= LEAST_SPREAD * before else image
    return image
