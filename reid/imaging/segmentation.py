"""Where the animal is, guessed from the pixels: GrabCut (Rother, Kolmogorov and Blake 2004, ACM TOG; OpenCV), started from an ellipse.

It supposes that the animal covers the middle of the photo, or of its box, and is coloured unlike what is around it. Where that fails it
says so by None. A mask of one's own, in the gallery's table, is better.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LONGEST = 256  # px at which the cut is made
ELLIPSE = 0.72, 0.72  # of the photo's width and height: likely the animal
CORE = 0.35, 0.2  # the same: surely the animal
BORDER = 0.06  # of the photo's width and height: never the animal
ROUNDS = 4
LEAST = 0.03  # share of the photo beside the core; less is no animal but a failure
WAY = (LONGEST, ELLIPSE, CORE, BORDER, ROUNDS, LEAST)  # what a mask depends on


def foreground(pixels: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """(H, W) True on what stands out from the rim of (H, W, 3) RGB pixels; None where nothing does. The same pixels, the same mask."""
    height, width = pixels.shape[:2]
    factor = min(1.0, LONGEST / max(width, height))
    size = max(8, round(width * factor)), max(8, round(height * factor))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    x, y = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in size))  # -1..1
    likely = np.full(small.shape[:2], cv2.GC_BGD, np.uint8)
    likely[np.maximum(abs(x), abs(y)) < 1 - 2 * BORDER] = cv2.GC_PR_BGD
    likely[(x / ELLIPSE[0]) ** 2 + (y / ELLIPSE[1]) ** 2 < 1] = cv2.GC_PR_FGD
    core = (x / CORE[0]) ** 2 + (y / CORE[1]) ** 2 < 1
    likely[core] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(small, likely, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # a photo of one colour
        return None
    found = (likely == cv2.GC_FGD) | (likely == cv2.GC_PR_FGD)
    if (found & ~core).mean() < LEAST:
        return None
    mask: NDArray[np.bool_] = cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
    return mask
