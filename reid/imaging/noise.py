"""What light, lens and sensor do to a photo, drawn at random: the filters of GoodPoint (arXiv 2006.01030), of GLAMpoints (ICCV 2019) and
of the open SuperPoint (rpautrat/SuperPoint) at their released codes' values.

Images are (H, W) float32, light in 0..255.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Filter = Callable[[Image, np.random.Generator], Image]
LEAST_SPREAD = 0.1  # of the deviation before: a filter that leaves less has drowned the image, and is taken back


def gaussian(image: Image, rng: np.random.Generator, sigma: float = 30**0.5) -> Image:
    """Additive."""
    return image + rng.normal(0, sigma, image.shape).astype(np.float32)


def faint(image: Image, rng: np.random.Generator) -> Image:
    """Additive, Gaussian, of a deviation up to 1."""
    return image + rng.normal(0, rng.uniform(0, 1), image.shape).astype(np.float32)


def brightness(image: Image, rng: np.random.Generator, most: float = 50) -> Image:
    return image + np.float32(rng.uniform(-most, most))


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


def salt_and_pepper(image: Image, rng: np.random.Generator, share: float = 0.04) -> Image:
    """Of this share of the pixels half are white, half black."""
    drawn = rng.random(image.shape)
    return np.where(drawn < share / 2, 255, np.where(drawn > 1 - share / 2, 0, image)).astype(np.float32)


def motion_blur(image: Image, rng: np.random.Generator, n: int = 5) -> Image:
    """Along a row, a column or a diagonal, `n` px, odd, Gaussian weights."""
    weights = cv2.getGaussianKernel(n, -1).ravel()
    kernel = np.zeros((n, n))
    place, middle = np.arange(n), np.full(n, n // 2)
    rows, columns = ((middle, place), (place, middle), (place, place), (place, place[::-1]))[rng.integers(4)]
    kernel[rows, columns] = weights
    blurred: Image = cv2.filter2D(image, -1, kernel / kernel.sum()).astype(np.float32)
    return blurred


def contrast(image: Image, rng: np.random.Generator, factors: tuple[float, float] = (0.6, 1.05)) -> Image:
    """The range scaled about its middle."""
    middle = (float(image.max()) + float(image.min())) / 2
    return ((image - middle) * rng.uniform(*factors) + middle).astype(np.float32)


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


FILTERS: tuple[Filter, ...] = (
    gaussian, brightness, shade, salt_and_pepper, motion_blur, contrast,
)  # fmt: skip


def disturb(image: Image, rng: np.random.Generator, often: float = 0.5) -> Image:
    """Each filter in turn with probability `often`."""
    for apply in FILTERS:
        if rng.random() < often and image.std() >= 0.01:
            image = _unless_drowned(image, apply(image, rng))
    return image


def _unless_drowned(before: Image, after: Image) -> Image:
    after = after.clip(0, 255)
    return after if after.std() >= LEAST_SPREAD * before.std() else before


CHANGES: tuple[Filter, ...] = (
    faint, brightness, stretch, deep_shade, long_blur, gamma, nothing,
)  # fmt: skip
N_CHANGES = 3


def change(image: Image, rng: np.random.Generator, inversion: bool = False) -> Image:
    """Three of GLAMpoints' filters, one after the other; inversion is one of them on request."""
    filters = (*CHANGES, invert) if inversion else CHANGES
    for number in rng.choice(len(filters), N_CHANGES, replace=False):
        image = filters[number](image, rng).clip(0, 255)
    return image


def six(light: float, factors: tuple[float, float], sigma: float, longest: int) -> tuple[Filter, ...]:
    """The open SuperPoint's filters: light added up to `light`, contrast within `factors`, Gaussian noise of a deviation up to `sigma`,
    salt and pepper, shade, and motion of 3 to `longest` px."""
    return (
        partial(brightness, most=light),
        partial(contrast, factors=factors),
        lambda image, rng: gaussian(image, rng, rng.uniform(0, sigma)),
        lambda image, rng: salt_and_pepper(image, rng, rng.uniform(0, 0.0035)),
        partial(shade, kernels=(50, 100), depths=(-0.5, 0.8)),
        lambda image, rng: motion_blur(image, rng, 3 + 2 * int(rng.integers((longest - 1) // 2))),
    )


ON_SHAPES, ON_PHOTOS = six(75, (0.3, 1.8), 15, 7), six(50, (0.3, 1.5), 10, 3)


def all_of(filters: tuple[Filter, ...], image: Image, rng: np.random.Generator) -> Image:
    """Each filter once, in any order."""
    for number in rng.permutation(len(filters)):
        image = _unless_drowned(image, filters[number](image, rng))
    return image
