"""What a photo can show, measured: size, sharpness, light; and what is wrong with it, in words."""

from __future__ import annotations

import cv2
import numpy as np

from ..records import PhotoRef, Quality
from .borders import picture
from .decode import photo_size
from .prepare import pixel_box, prepare

QUALITY_SIDE = 640  # px to which a photo is brought to be judged, whatever the settings
SMALL, BLURRED, DARK, BRIGHT, FLAT = 250, 4.0, 0.28, 0.75, 0.1  # px, and as in `Quality`; of turtles fewer such photos are recognised


def quality(ref: PhotoRef) -> Quality:
    """What the photo of `ref` can show, info bars and borders apart. Raises PhotoError."""
    pixels = prepare(ref, QUALITY_SIDE, enlarge=True).pixels
    x0, y0, x1, y1 = picture(pixels)
    shown = np.array((x1 - x0, y1 - y0)) / (pixels.shape[1], pixels.shape[0])
    pixels = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    light = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = cv2.Laplacian(cv2.GaussianBlur(light, (0, 0), 1.0), cv2.CV_32F)
    size = photo_size(ref.path)
    if ref.crop is not None:
        left, top, right, bottom = pixel_box(ref.crop, size)
        size = right - left, bottom - top
    return Quality(round(max(shown * size)), float(edges.var()), float(light.mean() / 255), float(light.std() / 255))


def shortcomings(seen: Quality) -> tuple[str, ...]:
    """What is wrong with a photo, in words; nothing where it is good."""
    words = {
        f"small ({seen.pixels} px)": seen.pixels < SMALL,
        "blurred": seen.sharpness < BLURRED,
        "dark": seen.brightness < DARK,
        "overexposed": seen.brightness > BRIGHT,
        "low in contrast": seen.contrast < FLAT,
    }
    return tuple(word for word, is_so in words.items() if is_so)
