"""A picture of one pair's matches: both upright photos side by side, a line from each mark to its counterpart.

Points come in pixels of the prepared photos and are drawn on the upright ones, so that crop, resize and EXIF rotation cannot mislead.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .. import imaging
from ..catalogue.values import counted
from ..records import Features, PairMatches, PhotoRef
from ..stages import PairView
from ..store import write_atomically

HEIGHT, GAP, BAR, FINE = 480, 12, 54, 4  # px: of a panel, between panels, of the caption; sub-pixel bits of a drawn point
MOST, COVER = 80, 0.6  # lines drawn, the surest; how much a line hides of the photo
INK, PAPER, OUTLINE = (245, 245, 245), (24, 28, 32), (255, 106, 213)
Masks = tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]


def draw_matches(
    query: PhotoRef,
    reference: PhotoRef,
    features: tuple[Features, Features],
    matches: PairMatches,
    captions: tuple[str, str] | None,
    min_confidence: float = 0.5,
    masks: Masks = (None, None),
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB. Lines run from yellow (doubtful) to green (sure), at most the MOST surest above `min_confidence`. The outlines
    of `masks` (H, W) of the prepared photos are drawn, too."""
    left, at_left = _panel(query, features[0], masks[0])
    right, at_right = _panel(reference, features[1], masks[1])
    shift = left.shape[1] + GAP
    canvas = np.full((HEIGHT + BAR, shift + right.shape[1], 3), PAPER, np.uint8)
    canvas[BAR:, : left.shape[1]] = left
    canvas[BAR:, shift:] = right
    shown = np.flatnonzero(matches.confidence > min_confidence)
    shown = shown[np.argsort(matches.confidence[shown], kind="stable")[-MOST:]]  # the surest last, on top
    starts = at_left[matches.indices[shown, 0]] + (0, BAR)
    ends = at_right[matches.indices[shown, 1]] + (shift, BAR)
    colours = [_colour(float(confidence), min_confidence) for confidence in matches.confidence[shown]]
    lined = canvas.copy()
    for start, end, colour in zip(starts, ends, colours):
        cv2.line(lined, _fixed(start), _fixed(end), colour, 1, cv2.LINE_AA, FINE)
    canvas = cv2.addWeighted(lined, COVER, canvas, 1 - COVER, 0)
    for point, colour in zip([*starts, *ends], colours * 2):
        cv2.circle(canvas, _fixed(point), 3 << FINE, colour, 1, cv2.LINE_AA, FINE)
    return canvas[BAR:] if captions is None else _captioned(canvas, shift, captions)


def of_pair(pair: PairView, captions: tuple[str, str] | None, min_confidence: float, masks: Masks = (None, None)) -> NDArray[np.uint8]:
    """`draw_matches` of a pair as a session gives it; the second caption is told how many matches are drawn, and whose they are."""
    if captions is not None:
        captions = captions[0], f"{captions[1]}, {drawn(pair.matches, min_confidence)} by {pair.pipeline}"
    return draw_matches(pair.query, pair.reference, pair.features, pair.matches, captions, min_confidence, masks)


def drawn(matches: PairMatches, min_confidence: float) -> str:
    """How many matches a picture shows, of how many: 12 matches, 80 of 143 matches."""
    n = int((matches.confidence > min_confidence).sum())
    return counted(n, "match", "matches") if n <= MOST else f"{MOST} of {n:,} matches"


def _panel(ref: PhotoRef, features: Features, mask: NDArray[np.bool_] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The upright photo HEIGHT px high, its box and mask outlined, and the keypoints on it, (N, 2) px."""
    full = imaging.photo_size(ref.path)
    pixels = imaging.decode(ref.path, at_least=HEIGHT * max(1, max(full) // min(full) + 1)).pixels
    size = max(1, round(full[0] * HEIGHT / full[1])), HEIGHT
    panel = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if pixels.shape[0] > HEIGHT else cv2.INTER_LINEAR)
    scale = np.array(size) / full

    def placed(points: NDArray[np.generic]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (imaging.to_upright(points, features.size, full, ref) + 0.5) * scale - 0.5
        return found

    if mask is not None:
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        lines = [np.rint(placed(one[:, 0])).astype(np.int32) for one in outlines]
        cv2.polylines(panel, lines, True, OUTLINE, 2, cv2.LINE_AA)
    if ref.crop is not None:
        x0, y0, x1, y1 = imaging.pixel_box(ref.crop, full)
        corners = np.rint(np.array([(x0, y0), (x1 - 1, y1 - 1)]) * scale).astype(int)
        cv2.rectangle(panel, tuple(map(int, corners[0])), tuple(map(int, corners[1])), INK, 1, cv2.LINE_AA)
    return panel, placed(features.keypoints)


def _colour(confidence: float, lowest: float) -> tuple[int, int, int]:
    sure = (confidence - lowest) / max(1e-6, 1 - lowest)
    return int(255 * (1 - sure)), int(200 + 30 * sure), int(60 * sure + 20)


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    """A point in OpenCV's fixed-point pixels."""
    x, y = np.rint(point * (1 << FINE))
    return int(x), int(y)


def _captioned(canvas: NDArray[np.uint8], shift: int, captions: tuple[str, str]) -> NDArray[np.uint8]:
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=17)
    for x, width, caption in ((8, shift - GAP, captions[0]), (shift + 8, canvas.shape[1] - shift, captions[1])):
        lines = [_fitting(draw, line, font, width - 16) for line in caption.split("\n")]
        draw.multiline_text((x, 6), "\n".join(lines), INK, font=font, spacing=4)
    return np.array(image)


def _fitting(draw: ImageDraw.ImageDraw, line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if draw.textlength(line, font=font) <= width:
        return line
    while line and draw.textlength(line + "...", font=font) > width:
        line = line[:-1]
    return line + "..."


def save(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a PNG, whole or not at all. Raises StoreError."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="PNG")
    write_atomically(path, data.getvalue())


def file_name(image_id: str) -> str:
    """A PNG's name that no path in an id can lead astray: `a/b.jpg` -> `a__b.jpg.png`."""
    name = re.sub(r"[^\w.\- ()#]", "_", image_id.replace("/", "__"))
    return f"{'_' if name.startswith('.') else ''}{name}.png"
