"""What cameras, scanners and editors put around a picture, the same on photos of different animals: info bars and plain borders.

A band along a whole side of a photo is one where most of each row has one colour, to within what JPEG and resizing do to it, and where the
picture begins at a straight line. Skies and dark water drift, and end where they like. What is in doubt is taken for picture: a bar that is
overlooked costs little, an animal that is cut off much.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..records import Photo

ALIKE, SAME = 8, 2  # levels of 255, in every channel, that a pixel may be off the band's colour: near text, and away from it
LEAST, MOST = 0.01, 0.2  # of the side across it, how wide a band is
OUTERMOST, BAND, FLAT = 0.7, 0.6, 0.45  # share that is `ALIKE` of the first rows, and of the whole band; share of it that is the `SAME`
STRAIGHT = 0.65  # share of the columns in which the colour ends at the line
BLUR = 3  # px to either side of the line within which it ends; they go with the band
THIN = 0.06  # of the side across it: in a wider band text stands free, and a head or a fin above a straight back does not
REACHING, WAY = 0.06, 0.9  # share of its columns that may be off its colour for more than so much of the way from its middle to the line
INK, MARKED = 64, 0.01  # levels that a text or a logo is off the band's colour, and the share of the band that it covers
COLUMNS = 160  # that are looked at


LEFT_OUT = "an info bar or a border around the picture is left out"


def without_borders(photo: Photo) -> Photo:
    """With what lies around its picture left out of its mask, and said so; as it is where most of its mask lies there, for then it is the
    animal that looks like a band."""
    x0, y0, x1, y1 = picture(photo.pixels)
    if (x0, y0, x1, y1) == (0, 0, *photo.size):
        return photo
    inside = np.zeros(photo.pixels.shape[:2], bool)
    inside[y0:y1, x0:x1] = True
    if photo.mask is not None and not mostly_within(photo.mask, inside):
        return photo
    return replace(photo, mask=inside if photo.mask is None else photo.mask & inside, flaws=(*photo.flaws, LEFT_OUT))


def mostly_within(mask: NDArray[np.bool_], inside: NDArray[np.bool_]) -> bool:
    """Whether half of the mask or more lies inside of another."""
    return bool(2 * (mask & inside).sum() >= mask.sum())


def picture(pixels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in px of what is left of (H, W, 3) without info bars and borders: usually all of it. One band alone, without a mark on
    it, may be the sky above a level sea, and is left in: there is nothing on it to be recognised."""
    cut = [0, 0, 0, 0]  # px at the top, at the right, at the bottom, on the left
    height, width = pixels.shape[:2]
    any_marked = False
    for side in (*range(4), *range(4)):  # twice: a bar may lie within a border
        inner = pixels[cut[0] : height - cut[2], cut[3] : width - cut[1]]
        n, marked = _band(np.rot90(inner, side))
        cut[side] += n
        any_marked |= marked
    if not any_marked and sum(map(bool, cut)) < 2:
        return 0, 0, width, height
    return cut[3], cut[0], width - cut[1], height - cut[2]


def _band(pixels: NDArray[np.uint8]) -> tuple[int, bool]:
    """Rows of the band at the top, 0 where there is none, and whether there is a mark on it."""
    height, width = pixels.shape[:2]
    least, most = max(BLUR, round(LEAST * height)), round(MOST * height)
    rows = pixels[: most + BLUR, :: max(1, width // COLUMNS)].astype(np.int16)
    colour = np.median(rows[:least].reshape(-1, 3), axis=0)
    if (np.abs(rows[:least] - colour).max(axis=2) <= ALIKE).mean() < OUTERMOST:
        return 0, False
    off = np.abs(rows - colour).max(axis=2)
    alike = off <= ALIKE
    ends = (alike[: -2 * BLUR] & ~alike[2 * BLUR :]).mean(axis=1) >= STRAIGHT
    for n in BLUR + np.flatnonzero(ends)[::-1]:
        way = ~alike[n // 2 : n - BLUR]
        is_free = n <= THIN * height or (way.sum(axis=0) > WAY * len(way)).mean() <= REACHING
        if n >= least and is_free and alike[:n].mean() >= BAND and (off[:n] <= SAME).mean() >= FLAT:
            return int(n), bool((off[: max(1, n - 2 * BLUR)] > INK).mean() > MARKED)
    return 0, False
