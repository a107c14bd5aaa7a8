"""What light, lens and sensor do to a photo, drawn at random: the filters of GoodPoint (arXiv 2006.01030) and of GLAMpoints (ICCV 2019)
at their released codes' values.

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


def faint(image: Image, rng: np.random.Generator) -> Image:
    """Additive, Gaussian, of a deviation up to 1."""
    return image + rng.normal(0, rng.uniform(0, 1), image.shape).astype(np.float32)


def brightness(image: Image, rng: np.random.Generator) -> Image:
    return image + np.float32(rng.uniform(-50, 50))


def shade(
    image: Image, rng: np.random.Generator, kernels: tuple[int, int] = (45, 85), depths: tuple[float, float] = (-0.25, 0.45)
) -> Image:
    """20 ellipses of shadow or light, blurred together by a kernel of so many px."""
    height, width = image.shape
    shadow = np.zeros((height, width), np.float32)
    least, most = min(image.shape) / 20, min(image.shape) / 4
    for _ in range(20):
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = int(max(1, rng.uniform(least, most))), int(max(1, rng.uniform(least, most)))
        cv2.ellipse(shadow, centre, axes, float(rng.uniform(0, 90)), 0, 360, 1.0, -1)
    kernel = int(rng.integers(*kernels)) | 1
    depth = rng.uniform(*depths)
    shaded: Image = (image * (1 - depth * cv2.GaussianBlur(shadow, (kernel, kernel), 0))).astype(np.float32)
    return shaded


def salt_and_pepper(image: Image, rng: np.random.Generator) -> Image:
    """2 % of the pixels white, 2 % black."""
    drawn = rng.random(image.shape)
    return np.where(drawn < 0.02, 255, np.where(drawn > 0.98, 0, image)).astype(np.float32)


def motion_blur(image: Image, rng: np.random.Generator, n: int = 5) -> Image:
    """Along a row, a column or a diagonal, `n` px, odd, Gaussian weights."""
    weights = cv2.getGaussianKernel(n, -1).ravel()
    kernel = np.zeros((n, n))
    place, middle = np.arange(n), np.full(n, n // 2)
    rows, columns = ((middle, place), (place, middle), (place, place), (place, place[::-1]))[rng.integers(4)]
    kernel[rows, columns] = weights
    blurred: Image = cv2.filter2D(image, -1, kernel / kernel.sum()).astype(np.float32)
    return blurred


def contrast(image: Image, rng: np.random.Generator) -> Image:
    """The range scaled about its middle."""
    middle = (float(image.max()) + float(image.min())) / 2
    return ((image - middle) * rng.uniform(0.6, 1.05) + middle).astype(np.float32)


def stretch(image: Image, rng: np.random.Generator) -> Image:
    """The light scaled about its mean."""
    mean = float(image.mean())
    return ((image - mean) * rng.uniform(0.5, 1.5) + mean).astype(np.float32)


def gamma(image: Image, rng: np.random.Generator) -> Image:
    return (255 * (image.clip(0, 255) / 255) ** rng.uniform(0.8, 1.2)).astype(np.float32)


def invert(image: Image, rng: np.random.Generator) -> Image:
    """Black for white, from the brightest pixel."""
    inverted: Image = image.max() - image
    return inverted


def nothing(image: Image, rng: np.random.Generator) -> Image:
    return image


def deep_shade(image: Image, rng: np.random.Generator) -> Image:
    return shade(image, rng, (250, 350), (-0.5, 0.8))


def long_blur(image: Image, rng: np.random.Generator) -> Image:
    """Motion of 3 to 15 px."""
    return motion_blur(image, rng, 3 + 2 * int(rng.integers(7)))


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


CHANGES: tuple[Callable[[Image, np.random.Generator], Image], ...] = (
    faint, brightness, stretch, deep_shade, long_blur, gamma, nothing,
)  # fmt: skip
N_CHANGES = 3


def change(image: Image, rng: np.random.Generator, inversion: bool = False) -> Image:
    """Three of GLAMpoints' filters, one after the other; inversion is one of them on request."""
    filters = (*CHANGES, invert) if inversion else CHANGES
    for number in rng.choice(len(filters), N_CHANGES, replace=False):
        image = filters[number](image, rng).clip(0, 255)
    return image
