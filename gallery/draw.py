"""Draw the sample gallery: pictures of sea turtle heads, made up by this script.

No photograph is used.  Every animal is a random number: it fixes the shape of the head, the colours and the pattern of
scutes (the scales of the head), which differs between the left and the right side, as it does in nature.  Every picture
is a second random number: it fixes the pose, the light, the water and the background, which therefore tells nothing
about the animal.

A picture is made in four steps:

1.  `_skin` paints the skin of one animal as a flat map (along the head x around the head): irregular Voronoi cells with
    light seams, growth lines, speckles, blotches and scratches; then neck, shell, beak, mouth and eyes.
2.  `_trace` finds, for each pixel, the point where its ray meets the head, a tube with a profile and rounded sides.
3.  `draw_turtle` lights these points (sun, sky, ripples of light, relief of the scutes) before a background.
4.  `_develop` adds what the camera does: white balance, contrast, blur, drifting particles, sensor noise.

    python draw.py [FOLDER]

writes turtles/, queries/ and metadata.csv into FOLDER (without it: beside this script).  The same library versions write
the same bytes each time.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import PchipInterpolator
from scipy.spatial import cKDTree

Array = NDArray[np.floating[Any]]
Colour = Array | tuple[float, ...]

SEED = 2024
NAMES = [
    "amber", "basil", "clover", "dune", "ember", "fern", "ginger", "hazel", "indigo",
    "juniper", "kelp", "lagoon", "maple", "nori", "olive", "pepper", "quill", "reef",
]  # fmt: skip
SINGLE = {"fern": "right", "maple": "left", "quill": "left"}  # animals with one photo, and its side
EXTRA = {"basil", "kelp"}  # animals with a third encounter, which has two photos of the left side
QUERIES = [  # identity and side; the last are of animals that no reference shows
    ("amber", "left"), ("clover", "right"), ("ember", "left"), ("hazel", "right"),
    ("kelp", "left"), ("nori", "right"), ("reef", "right"), ("quill", "left"),
    ("new-1", "left"), ("new-1", "left"), ("new-2", "right"), ("new-3", "left"),
]  # fmt: skip
SITES = ["North Reef", "Palm Cove", "Old Jetty"]
SIZES = [(600, 450), (560, 420), (640, 428), (520, 390), (450, 600), (576, 432), (420, 560), (600, 400)]
SIDEWAYS = {"turtles/dune": 6, "turtles/lagoon": 8, "queries/q05": 6}  # first photo here: stored sideways, EXIF orientation

X0, X1 = -1.0, 2.6  # the tube: tip of the beak, middle of the shell
GIRTH = 0.47  # length on the skin for one radian around the head
AROUND = 2 * np.pi * GIRTH
DENSITY = 250  # texels for one unit of length
SQUARE = 0.45  # how square the cross-section is (0: an ellipse)
EYE = (-0.45, 0.13)
PIVOT = np.array([-0.15, 0.02, 0.0], np.float32)

# Side view: x, top, bottom, half width.
PROFILE = np.array([
    (-1.00, -0.15, -0.25, 0.03), (-0.985, -0.07, -0.32, 0.07), (-0.955, 0.01, -0.355, 0.10), (-0.925, 0.06, -0.335, 0.125),
    (-0.895, 0.10, -0.315, 0.145), (-0.84, 0.16, -0.35, 0.18), (-0.70, 0.27, -0.41, 0.25), (-0.45, 0.395, -0.46, 0.35),
    (-0.20, 0.48, -0.50, 0.43), (0.05, 0.525, -0.525, 0.475), (0.27, 0.51, -0.51, 0.47), (0.47, 0.44, -0.45, 0.42),
    (0.65, 0.37, -0.41, 0.37), (0.85, 0.35, -0.42, 0.37), (0.98, 0.40, -0.46, 0.46), (1.03, 0.52, -0.50, 0.62),
    (1.12, 0.66, -0.54, 0.80), (1.40, 0.88, -0.62, 1.10), (2.00, 1.10, -0.72, 1.40), (2.60, 1.20, -0.75, 1.50),
])  # fmt: skip


@dataclass(frozen=True)
class Skin:
    """The shape and the unrolled skin of one animal."""

    table: Array  # (n, 3): middle, half height and half width along the head
    map: NDArray[np.uint8]  # (rows around, columns along, 4): red, green, blue, relief
    eye: Array  # (rows, columns): 1 on the eyeball


def _noise(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 3, stretch: float = 1.0) -> Array:
    """Smooth noise with mean 0 and deviation 1; `cell` is the size of its largest blobs in pixels."""
    height, width = shape
    out: Array = np.zeros(shape, np.float32)
    for octave in range(octaves):
        size = cell / 2**octave
        grid = rng.standard_normal((int(height / size) + 3, int(width / (size * stretch)) + 3)).astype(np.float32)
        out += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    out = (out - out.mean()) / (out.std() + 1e-6)
    return out


def _step(low: float, high: float, value: Array) -> Array:
    """0 below `low`, 1 above `high` (or the reverse when low > high), smooth between."""
    t: Array = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _mix(a: Colour, b: Colour, weight: Array) -> Array:
    """`a` where the weight is 0, `b` where it is 1; both are colours or pictures."""
    first = np.asarray(a, np.float32)
    return first + (np.asarray(b, np.float32) - first) * weight[..., None]


def _scutes(rng: np.random.Generator) -> Array:
    """Centres (x, length around) of the scutes: denser towards the neck and the throat, a ring around each eye."""
    size = rng.uniform(0.105, 0.14)
    points: list[tuple[float, float]] = []
    for phi in (0.32, np.pi - 0.32):
        points.append((EYE[0], phi * GIRTH))
        for angle in rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(0.7, 1.15, 7)):
            radius = rng.uniform(0.2, 0.26)
            points.append((EYE[0] + radius * np.cos(angle), phi * GIRTH + radius * np.sin(angle)))
    placed = np.array(points)
    for x, v in rng.uniform((X0 - 0.1, -0.25 * AROUND), (X1 + 0.1, 0.75 * AROUND), (9000, 2)):
        low = -np.sin(v / GIRTH)  # 1 under the throat, -1 on the crown
        radius = size * (1 - 0.22 * min(low, 0)) * (1 - 0.5 * max(low, 0)) * (1 - 0.55 * np.clip((x - 0.35) / 0.35, 0, 1))
        away = np.abs(placed - (x, v))
        away[:, 1] = np.minimum(away[:, 1], AROUND - away[:, 1])
        if np.hypot(away[:, 0], away[:, 1]).min() > radius * rng.uniform(0.75, 1.3):
            placed = np.vstack([placed, (x, v)])
    return placed


def _cells(rng: np.random.Generator, x: Array, v: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """For each texel: the number of its scute, the distance to the nearest seam, the distance to the centre."""
    centres = _scutes(rng)
    label = np.arange(len(centres))
    near = np.asarray(cKDTree(centres).query(centres, k=2)[1])[:, 1]
    for i in np.flatnonzero(rng.random(len(centres)) < 0.1):  # a few neighbours are fused
        label[label == label[i]] = label[near[i]]
    tree = cKDTree(np.concatenate([centres, centres + (0, AROUND), centres - (0, AROUND)]))
    bent = np.stack([axis + 0.016 * _noise(rng, x.shape, 45) for axis in (x, v)], -1)  # bent seams
    distance, index = (np.asarray(part) for part in tree.query(bent.reshape(-1, 2), k=3))
    own, fused = index[:, 0], label[index[:, 1] % len(centres)] == label[index[:, 0] % len(centres)]
    other, far = np.where(fused, index[:, 2], index[:, 1]), np.where(fused, distance[:, 2], distance[:, 1])
    seam = (far**2 - distance[:, 0] ** 2) / (2 * np.linalg.norm(tree.data[own] - tree.data[other], axis=1))
    cell = label[own % len(centres)]
    seam[label[other % len(centres)] == cell] = 0.06
    shape = x.shape
    return cell.reshape(shape), seam.reshape(shape).astype(np.float32), distance[:, 0].reshape(shape).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _skin(identity_seed: int) -> Skin:
    """Paint one animal."""
    rng = np.random.default_rng([SEED, 1, identity_seed])
    shape = (int(AROUND * DENSITY), int((X1 - X0) * DENSITY))
    along = np.linspace(X0, X1, shape[1], dtype=np.float32)
    top, bottom, wide = (PchipInterpolator(PROFILE[:, 0], PROFILE[:, k])(along) for k in (1, 2, 3))
    high, broad = rng.uniform(0.94, 1.06), rng.uniform(0.95, 1.05)
    table = np.stack([(top + bottom) / 2, (top - bottom) / 2 * high, wide * broad], 1).astype(np.float32)
    phi = np.linspace(-np.pi / 2, 1.5 * np.pi, shape[0], endpoint=False, dtype=np.float32)[:, None]  # 0: left, pi/2: crown
    quad = (SQUARE * np.cos(phi) * np.sin(phi)) ** 2 + 1e-6
    x = np.broadcast_to(along, shape)
    y = table[:, 0] + table[:, 1] * np.sin(phi) * np.sqrt((1 - np.sqrt(1 - 4 * quad)) / (2 * quad))
    lateral = np.broadcast_to(np.abs(np.cos(phi)), shape)
    cell, edge, inward = _cells(rng, x, np.broadcast_to(phi * GIRTH, shape))

    # Colours of this animal: dark and light scute, seam and underside.
    warm = rng.uniform(-1, 1)
    dark = np.array([0.28 + 0.10 * warm, 0.165 - 0.005 * warm, 0.10 - 0.03 * warm]) * rng.uniform(0.65, 1.2)
    light = np.array([0.66 + 0.14 * warm, 0.42 - 0.01 * warm, 0.21 - 0.06 * warm]) * rng.uniform(0.85, 1.15)
    pale = np.array([0.90, 0.80, 0.58 + rng.uniform(-0.12, 0.14)]) * rng.uniform(0.85, 1.06)

    # Scutes: a tone and a rim for each, growth lines, light and dark speckles, blotches of pigment.
    draws = (rng.beta(1.1, 1.4, 9999), rng.uniform(0, 0.9, 9999), rng.normal(0, 0.4, 9999))
    tone, rim, spotted = (draw.astype(np.float32)[cell] for draw in draws)
    grain = _noise(rng, shape, 9)
    rings = np.sin(edge * rng.uniform(260, 420) + 1.3 * _noise(rng, shape, 25, 2))
    weight = 0.1 + 0.55 * tone + 0.13 * _noise(rng, shape, 70, 4) + 0.10 * grain + 0.06 * rings + 0.5 * rim * _step(0.055, 0.0, edge)
    colour = _mix(dark, light, np.clip(weight, 0, 1.2))
    for amount, tint, strength in ((0.0016, pale, 0.75), (0.0022, dark * 0.35, 0.85)):
        dots = np.zeros(shape, np.float32)
        for row, column in np.argwhere(rng.random(shape) < amount * rng.uniform(0.5, 1.6)):
            cv2.circle(dots, (int(column), int(row)), int(rng.integers(1, 4)), rng.uniform(0.3, 1), -1, cv2.LINE_AA)
        colour = _mix(colour, tint, strength * cv2.GaussianBlur(dots, (0, 0), 0.7))
    colour = _mix(colour, dark * 0.45, 0.75 * _step(1.0, 1.5, _noise(rng, shape, 38) + spotted))
    colour *= (1 + 0.10 * _noise(rng, shape, 5, 2) * (0.3 + np.clip(inward * 8, 0, 1)))[..., None]

    # Seams, and the pale underside.
    seam = _step(1.5, 0.4, edge / np.maximum(rng.uniform(0.006, 0.011) * (1 + 0.35 * _noise(rng, shape, 40, 2)), 0.003))
    below = _step(-0.16, -0.36, y + 0.05 * _noise(rng, shape, 60)) * 0.8
    colour = _mix(_mix(colour, pale * 0.95, below), pale, seam * (0.9 - 0.45 * below))
    colour = _mix(colour, dark, 0.6 * below * seam)
    relief = 0.5 * _step(0.0, 0.03, edge) + 0.035 * grain + 0.03 * rings

    # Neck: small scales that lose themselves in wrinkled skin.
    neck = _step(0.42, 0.85, x + 0.07 * _noise(rng, shape, 60, 2))
    folds = _noise(rng, shape, 46, 3, stretch=0.3)
    colour = _mix(colour, 0.4 * pale + 0.35 * light, 0.72 * neck)
    colour *= (1 + neck * (0.12 * folds + 0.06 * grain))[..., None]
    relief = relief * (1 - 0.4 * neck) + 0.2 * neck * folds

    # Shell: a row of plates along its front edge, then larger ones, all with rays.
    shell = _step(0.99, 1.01, x + 0.012 * _noise(rng, shape, 50, 2)) * _step(-0.12, -0.02, y)
    count = int(rng.integers(9, 13))
    border = 1.30 + 0.01 * np.cos(2 * count * phi)
    beat = np.where(x < border, phi * count, phi * count * 0.4 + 1) / np.pi
    joint = np.minimum(np.abs(beat - np.round(beat)) * np.where(x < border, 0.3, 0.7), np.abs(x - border))
    rays = _noise(rng, shape, 26, 3, stretch=4) + 0.5 * _noise(rng, shape, 70, 3)
    plate = _mix(dark * 0.8, light * 1.1, np.clip(0.35 + 0.35 * rays, 0, 1))
    plate = _mix(plate, pale * 0.8, 0.8 * _step(0.018, 0.006, joint))
    plate = _mix(plate, pale * 0.9, 0.6 * _step(1.018, 1.008, x))
    colour = _mix(colour, plate, shell)
    relief += shell * (0.5 + 0.3 * _step(0.0, 0.03, joint) - relief)

    # Beak: horny sheath with streaks, above and below the line of the mouth.
    mouth = -0.275 + 0.055 * np.sin((x + 0.95) * 4.0) - 0.45 * np.clip(x + 0.33, 0, 1)
    top_edge = 0.01 - 0.46 * (x + 0.78) + 0.02 * _noise(rng, shape, 50, 2)
    beak = _step(0.012, -0.012, y - top_edge) * _step(-0.36, -0.42, x + 0.02 * _noise(rng, shape, 40, 2))
    beak *= _step(-0.43, -0.39, y - 0.10 * (x + 0.8))
    streaks = _noise(rng, shape, 80, 3, stretch=0.14)
    colour = _mix(colour, _mix(pale * (0.92, 0.85, 0.72), dark, np.clip(0.38 + 0.26 * streaks, 0, 1)), beak)
    relief += beak * (0.55 + 0.03 * streaks - relief)
    front = _step(-0.20, -0.25, x) * _step(-0.95, -0.92, x) * _step(0.15, 0.3, lateral)
    line, lip = (front * np.exp(-(((y - mouth) / width) ** 2)) for width in (0.011, 0.04))
    nostril = np.exp(-(((x + 0.87) / 0.02) ** 2 + ((y - 0.035) / 0.014) ** 2))
    colour = _mix(_mix(colour, dark * 0.8, 0.35 * lip), (0.05, 0.035, 0.03), np.maximum(0.9 * line, nostril))
    relief -= 0.5 * line + 0.5 * nostril

    # Eyes: lids with fine wrinkles around a dark ball.
    dx, dy, slant = x - EYE[0], y - EYE[1], 0.3
    u, v = (dx * np.cos(slant) - dy * np.sin(slant)) / 0.125, (dx * np.sin(slant) + dy * np.cos(slant)) / 0.098
    round_ = np.hypot(u, v) + 3 * (lateral < 0.3)
    lid = _step(1.62, 1.42, round_ + 0.05 * _noise(rng, shape, 18, 2))
    wrinkle = np.sin(round_ * 21 + 0.8 * _noise(rng, shape, 14, 2))
    colour = _mix(colour, 0.5 * dark + 0.28 * light, lid * 0.92)
    colour *= (1 + lid * (0.14 * wrinkle + 0.08 * grain))[..., None]
    opening = np.maximum(round_, np.hypot(u, v + 0.35) + 0.02)
    colour = _mix(colour, 0.6 * pale, 0.55 * np.exp(-(((opening - 1.1) / 0.06) ** 2)))
    ball = _step(1.04, 0.96, opening)
    iris = _step(0.5, 0.58, np.hypot(u * 1.15, v * 0.9 + 0.1)) * _step(1.0, 0.85, opening)
    colour = _mix(colour, (0.03, 0.025, 0.025), ball)
    colour = _mix(colour, (0.34, 0.22, 0.10), 0.8 * iris * ball)
    relief += lid * (0.75 + 0.35 * np.exp(-(((round_ - 1.15) / 0.16) ** 2)) + 0.05 * wrinkle - relief)
    relief += ball * (0.75 - relief)

    # Scratches.
    marks, t = np.zeros(shape, np.float32), np.linspace(0, 1, 12)[:, None]
    for _ in range(int(rng.integers(3, 11))):
        start = rng.uniform((0.05, 0.1), (0.5, 0.9)) * shape[::-1]
        curve = start + t * rng.normal(0, 38, 2) + t * (1 - t) * rng.normal(0, 14, 2)
        cv2.polylines(marks, [np.round(curve * 16).astype(np.int32)], False, rng.uniform(0.4, 0.9), 1, cv2.LINE_AA, 4)
    marks *= 1 - lid
    colour = _mix(colour, pale, 0.7 * marks)
    relief -= 0.2 * marks
    packed = np.dstack([np.clip(colour, 0, 1), np.clip(relief * 0.6 + 0.2, 0, 1)])
    return Skin(table, np.round(packed * 255).astype(np.uint8), (ball * (round_ < 2)).astype(np.float32))


def _shape(table: Array, p: Array) -> Array:
    """Below 0 inside the head, above 0 outside, for points (..., 3)."""
    place = (p[..., 0] - X0) * ((len(table) - 1) / (X1 - X0))
    row = table[np.clip(place, 0, len(table) - 1).astype(np.int32)]
    a: Array = np.minimum(((p[..., 1] - row[..., 0]) / row[..., 1]) ** 2, 2)
    b: Array = np.minimum((p[..., 2] / row[..., 2]) ** 2, 2)
    value: Array = a + b - SQUARE**2 * a * b - 1 + np.maximum(X0 - p[..., 0], 0) * 40
    return value


def _trace(table: Array, turn: Array, sx: Array, sy: Array) -> tuple[NDArray[np.bool_], Array, Array]:
    """Where the rays of the pixels at (sx, sy) hit the head: (hit or not, points on the head, depth towards the camera)."""

    def at(px: Array, py: Array, depth: Any) -> Array:
        size = 1 - depth / 7.0  # a little perspective
        return np.stack([px * size, py * size, np.broadcast_to(np.float32(depth), px.shape)], -1) @ turn.T + PIVOT

    coarse, step = 3, 0.06
    px, py = sx[::coarse, ::coarse], sy[::coarse, ::coarse]
    first = np.full(px.shape, -9.0, np.float32)
    for depth in np.arange(2.4, -1.6, -step, dtype=np.float32):
        free = first < -8
        first[free] = np.where(_shape(table, at(px[free], py[free], depth)) < 0, depth, -9.0)
    near = cv2.dilate(first, np.ones((3, 3), np.uint8))
    start = np.repeat(np.repeat(near, coarse, 0), coarse, 1)[: sx.shape[0], : sx.shape[1]]
    rows, columns = np.nonzero(start > -8)
    px, py, begin = sx[rows, columns], sy[rows, columns], start[rows, columns] + step
    found = np.full(px.shape, -9.0, np.float32)
    for k in range(40):
        todo = np.flatnonzero(found < -8)
        ahead = begin[todo] - k * step
        found[todo] = np.where(_shape(table, at(px[todo], py[todo], ahead)) < 0, ahead, -9.0)
    ok = found > -8
    rows, columns, px, py, low = rows[ok], columns[ok], px[ok], py[ok], found[ok]
    high = low + step
    for _ in range(7):
        middle = (low + high) * np.float32(0.5)
        inside = _shape(table, at(px, py, middle)) < 0
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    hit = np.zeros(sx.shape, bool)
    hit[rows, columns] = True
    return hit, at(px, py, low), low


def _blade(rng: np.random.Generator, width: int, height: int, foot: float, length: float) -> tuple[NDArray[np.int32], Array]:
    """Outline (in 1/16 pixel) and colour of a blade of seagrass that stands at the row `foot`."""
    t = np.linspace(0, 1, 14)[:, None]
    sway = rng.normal(0.1, 0.25) * t**1.6 + 0.05 * np.sin(5 * t + rng.uniform(0, 6))
    path = (rng.uniform(-0.05, 1.05) * width, foot) + length * np.hstack([sway, -t])
    half = np.hstack([rng.uniform(0.004, 0.009) * height * (1 - 0.8 * t), 0 * t])
    outline = np.round(np.vstack([path - half, (path + half)[::-1]]) * 16).astype(np.int32)
    return outline, np.array([0.22, 0.38, 0.16], np.float32) * rng.uniform(0.5, 1.3)


def _background(rng: np.random.Generator, width: int, height: int, water: Array) -> Array:
    """Open water, sand, rocks or seagrass, out of focus."""
    shape = (height, width)
    v = np.linspace(0, 1, height, dtype=np.float32)[:, None] * np.ones((1, width), np.float32)
    glow = rng.uniform(0.25, 0.6)
    out = water * (1 + glow * (1 - v) ** 1.5 - 0.35 * v)[..., None]
    out = out * (1 + 0.07 * _noise(rng, shape, width / 3, 4))[..., None]
    kind = rng.choice(["open", "sand", "rocks", "grass"], p=[0.2, 0.25, 0.3, 0.25])
    ground = rng.uniform(0.5, 0.85)
    if kind != "open":
        sand = np.array([0.62, 0.60, 0.46], np.float32) * rng.uniform(0.6, 0.95) * 0.55 + water * 0.5
        ripple = _noise(rng, shape, height / 16, 3, stretch=5) * 0.09 + _noise(rng, shape, 7, 2) * 0.04
        horizon = ground + 0.02 * _noise(rng, (1, width), width / 4, 2)
        out = _mix(out, sand * (1 + ripple)[..., None], _step(-0.03, 0.10, v - horizon) * 0.9)
    if kind == "rocks":
        for base in np.sort(rng.uniform(ground, 1.1, int(rng.integers(4, 11)))):
            size = rng.uniform(0.07, 0.22) * width * (0.5 + base - ground)
            centre = np.array([rng.uniform(0, width), base * height])
            angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
            bumps = np.ones(40)
            for k in range(1, 7):
                bumps += rng.normal(0, 0.14 / k) * np.sin(k * angle + rng.uniform(0, 6))
            outline = centre + size * np.stack([np.cos(angle) * 1.3, np.sin(angle) * 0.8], 1) * bumps[:, None]
            mask = np.zeros(shape, np.float32)
            cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
            rock = np.array([0.34, 0.31, 0.25], np.float32) * rng.uniform(0.7, 1.5) + rng.uniform(-0.04, 0.06, 3).astype(np.float32)
            lit = 1.15 - 0.7 * np.clip((v * height - centre[1]) / size + 0.3, -0.6, 1)
            surface = rock * (lit + 0.16 * _noise(rng, shape, 26, 4))[..., None]
            out = _mix(out, surface * 0.65 + water * 0.3, mask)
    if kind == "grass":
        for _ in range(int(rng.integers(50, 140))):
            outline, blade = _blade(rng, width, height, height * rng.uniform(ground, 1.15), rng.uniform(0.12, 0.5) * height)
            cv2.fillPoly(out, [outline], tuple(float(c) for c in blade * 0.6 + water * 0.4), cv2.LINE_AA, 4)
    rays = _noise(rng, (1, 2 * width), width / 9, 3)[0]
    slant = rng.uniform(-0.6, 0.6)
    sx = np.clip(np.arange(width) + width / 2 + slant * height * v, 0, 2 * width - 1).astype(np.int32)
    out *= (1 + rng.uniform(0, 0.16) * np.clip(rays[sx], 0, 2) * (1 - v) ** 0.7)[..., None]
    return cv2.GaussianBlur(out, (0, 0), rng.uniform(1.2, 3.0)).astype(np.float32)


def _ripples(rng: np.random.Generator, size: int = 384) -> Array:
    """The net of light that waves throw: bright where smooth noise crosses zero."""
    a, b = (np.exp(-5 * np.abs(_noise(rng, (size, size), cell, 2))) for cell in (90, 62))
    net: Array = a + b + 1.5 * a * b
    return net


def _develop(rng: np.random.Generator, image: Array, water: Array, murk: float) -> NDArray[np.uint8]:
    """What lies before the lens and what the camera makes of it."""
    height, width = image.shape[:2]
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    image = image * (1 + rng.uniform(0.0, 0.6) * np.array([0.16, 0.0, -0.1], np.float32))  # white balance
    corner = (columns / width - 0.5) ** 2 + (rows / height - 0.5) ** 2
    image = (image * (rng.uniform(0.95, 1.25) * (1 - 0.35 * corner))[..., None]).clip(0) ** rng.uniform(0.8, 0.98)
    for _ in range(int(rng.integers(2, 6)) if rng.random() < 0.2 else 0):  # seagrass in front of the head
        outline, blade = _blade(rng, width, height, 1.1 * height, rng.uniform(0.5, 1.1) * height)
        mask = np.zeros((height, width), np.float32)
        cv2.fillPoly(mask, [outline], 1.0, cv2.LINE_AA, 4)
        image = _mix(image, 0.8 * blade + 0.2 * water, 0.95 * cv2.GaussianBlur(mask, (0, 0), 1.5))
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.45, 0.95 + 0.6 * murk)).astype(np.float32)
    for _ in range(int(rng.integers(10, 70 + int(120 * murk)))):  # drifting particles
        x, y, radius, bright = rng.uniform((0, 0, 0.5, 0.05), (width, height, 2.6, 0.4))
        part = (slice(max(int(y) - 9, 0), int(y) + 10), slice(max(int(x) - 9, 0), int(x) + 10))
        spot = np.exp(-((columns[part[1]] - x) ** 2 + (rows[part[0]] - y) ** 2) / (2 * radius**2))
        image[part] += (bright / radius * spot)[..., None] * (0.5 + water)
    noise = rng.standard_normal((height, width, 1), np.float32) + 0.4 * rng.standard_normal((height, width, 3), np.float32)
    return np.round(np.clip(image + rng.uniform(0.008, 0.03) * noise, 0, 1) * 255).astype(np.uint8)


def draw_turtle(identity_seed: int, side: str, photo_seed: int, size: tuple[int, int] = (600, 450)) -> NDArray[np.uint8]:
    """Draw one side ("left" or "right") of one animal; returns RGB (height, width, 3).

    The same `identity_seed` is the same animal (the gallery uses those below 100).  `photo_seed` decides everything else:
    pose, light, water, background.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side must be left or right, not {side!r}")
    width, height = size
    skin = _skin(int(identity_seed))
    rng = np.random.default_rng([SEED, 2, int(photo_seed)])
    water = np.array([rng.uniform(0.05, 0.16), rng.uniform(0.30, 0.46), rng.uniform(0.38, 0.58)], np.float32) * rng.uniform(0.75, 1.15)
    image = _background(rng, width, height, water)

    # Pose, and the ray of every pixel.
    yaw, tilt, roll = np.radians([rng.uniform(-25, 25), rng.uniform(-16, 18), np.clip(rng.normal(0, 10), -20, 20)])
    yaw += 0 if side == "left" else np.pi
    unit = min(width * rng.uniform(0.35, 0.44) * (1.24 if height > width else 1), height * 0.62)
    beak = width * rng.uniform(0.05, 0.15) + 0.87 * unit  # from the border that the beak points to, to the pivot
    cx, cy = beak if side == "left" else width - beak, height * rng.uniform(0.44, 0.56)
    c, s = np.cos, np.sin
    about_y = np.array([[c(yaw), 0, s(yaw)], [0, 1, 0], [-s(yaw), 0, c(yaw)]])
    about_x = np.array([[1, 0, 0], [0, c(tilt), -s(tilt)], [0, s(tilt), c(tilt)]])
    about_z = np.array([[c(roll), -s(roll), 0], [s(roll), c(roll), 0], [0, 0, 1]])
    turn = (about_y @ about_x @ about_z).astype(np.float32)
    gx, gy = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    hit, p, depth = _trace(skin.table, turn, (gx - np.float32(cx)) / np.float32(unit), (np.float32(cy) - gy) / np.float32(unit))

    # Normals, and the skin at each point.
    base, eps = _shape(skin.table, p), 0.012
    normal: Array = np.stack([_shape(skin.table, p + eps * np.eye(3, dtype=np.float32)[k]) - base for k in range(3)], -1)
    normal[:, 0] = np.clip(normal[:, 0], -0.08, 0.08)
    normal = (normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6)) @ turn
    place = (p[:, 0] - X0) * ((len(skin.table) - 1) / (X1 - X0))
    row = skin.table[np.clip(place, 0, len(skin.table) - 1).astype(np.int32)]
    phi = np.arctan2((p[:, 1] - row[:, 0]) / row[:, 1], p[:, 2] / row[:, 2])
    mx, my = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    mx[hit] = place
    my[hit] = ((phi + np.pi / 2) % (2 * np.pi)) / (2 * np.pi) * len(skin.map)
    sharp = max(0.3, 0.45 * DENSITY / unit - 0.15)
    texture = cv2.remap(cv2.GaussianBlur(skin.map, (0, 0), sharp), mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    eye = cv2.remap(skin.eye, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[hit]
    colour: Array = texture[hit][:, :3].astype(np.float32) / 255
    bump = texture[..., 3].astype(np.float32) / 255
    slope = np.stack([cv2.Sobel(bump, cv2.CV_32F, 1, 0, scale=1 / 8)[hit], -cv2.Sobel(bump, cv2.CV_32F, 0, 1, scale=1 / 8)[hit]], -1)
    normal[:, :2] -= 2.2 * np.clip(slope, -0.2, 0.2)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)

    # A film of silt and algae, another each time.
    murk = 0.8 * rng.beta(1.3, 2.4)
    film = _step(0.0, 1.5, _noise(rng, (height, width), unit * 0.16, 5))[hit] * rng.uniform(0.1, 0.85) * (1 - eye)
    colour = _mix(colour, (0.36, 0.37, 0.25), film)

    # Light.
    sun = np.array([rng.uniform(-0.7, 0.7), rng.uniform(0.6, 1.1), rng.uniform(0.1, 1.0)], np.float32)
    sun /= np.linalg.norm(sun)
    lit = np.clip((normal @ sun + 0.15) / 1.15, 0, 1)
    scale = rng.uniform(110, 190)
    cam = (p - PIVOT) @ turn
    mx[hit], my[hit] = (cam[:, 0] + 0.4 * cam[:, 1]) * scale, (cam[:, 2] + 0.45 * cam[:, 1]) * scale
    web = cv2.remap(_ripples(rng), mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)[hit]
    strength = rng.uniform(0.0, 0.8)
    direct = lit * (0.95 + strength * (web - 0.75) * _step(-0.1, 0.5, normal[:, 1] + 0.15))
    sky = 0.5 + 0.5 * normal[:, 1]
    lamp = np.array([1.0, 0.97, 0.88], np.float32) * rng.uniform(0.95, 1.25)
    ambient = (0.35 + 0.65 * water / water.max()) * rng.uniform(0.34, 0.5)
    half = (sun + (0, 0, 1)) / np.linalg.norm(sun + (0, 0, 1))
    shine = np.clip(normal @ half.astype(np.float32), 0, 1)
    colour = colour * (direct[:, None] * lamp + (0.35 + 0.65 * sky)[:, None] * ambient)
    colour += (0.10 * shine**18)[:, None]
    if np.any(eye > 0.5):  # the sun in the eye
        spot = cam[eye > 0.5, :2].mean(0) + 0.05 * sun[:2]
        colour += (0.9 * eye * np.exp(-((cam[:, :2] - spot) ** 2).sum(1) / 0.016**2))[:, None]

    # Water between the head and the camera, thicker towards the neck.
    haze = 0.1 + 0.75 * murk
    path = haze * (1.0 - 0.45 * depth) + 1.1 * _step(0.8, 2.0, p[:, 0]) * (0.3 + haze)
    through = np.exp(-path[:, None] * np.array([1.9, 0.85, 0.7], np.float32))
    image[hit] = colour * through + water * 1.15 * (1 - through)
    return _develop(rng, image, water, murk)


@dataclass(frozen=True)
class Photo:
    """A row of metadata.csv and the seeds of its picture."""

    path: str
    identity: str
    date: str
    orientation: str
    encounter: str
    site: str
    split: str
    seeds: tuple[int, int]


def plan() -> list[Photo]:
    """Which photos there are: who, where, when."""
    rng = np.random.default_rng([SEED, 3])
    first = dt.date(2019, 3, 1)
    met: list[tuple[dt.date, str, str, list[str]]] = []
    for name in NAMES:
        days = np.sort(rng.choice(np.arange(0, 1200, 17), 2 + (name in EXTRA) - (name in SINGLE), replace=False))
        for day in days:
            sides = [SINGLE[name]] if name in SINGLE else ["left", "right"]
            sides = [*sides, "left"] if name in EXTRA and day == days[-1] else sides
            met.append((first + dt.timedelta(int(day)), name, "gallery", sides))
    for name, side in QUERIES:
        met.append((first + dt.timedelta(int(rng.integers(1250, 1700))), name, "query", [side]))
    met.sort(key=lambda row: (row[0], row[1]))
    numbers = iter(np.random.default_rng([SEED, 4]).permutation(len(QUERIES)) + 1)
    seed_of = {name: k + 1 for k, name in enumerate([*NAMES, *sorted({n for n, _ in QUERIES} - set(NAMES))])}
    photos: list[Photo] = []
    for k, (day, name, split, sides) in enumerate(met):
        site = SITES[int(rng.integers(len(SITES)))]
        for side in sides:
            path = f"turtles/{name}/{day}-{side}.jpg" if split == "gallery" else f"queries/q{next(numbers):02d}.jpg"
            if any(photo.path == path for photo in photos):
                path = path.replace(".jpg", "-2.jpg")
            seeds = (seed_of[name], 1000 + len(photos))
            photos.append(Photo(path, name, str(day), side, f"e{k + 1:03d}", site, split, seeds))
    return sorted(photos, key=lambda photo: (photo.split, photo.path))


def main() -> None:
    """Write the gallery."""
    parser = argparse.ArgumentParser(description="Draw the sample gallery.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    root: Path = parser.parse_args().folder
    cv2.setNumThreads(1)
    sideways = dict(SIDEWAYS)
    photos = plan()
    for photo in sorted(photos, key=lambda photo: photo.seeds):  # by animal: its skin is painted once
        target = root / photo.path
        target.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(draw_turtle(photo.seeds[0], photo.orientation, photo.seeds[1], SIZES[photo.seeds[1] % len(SIZES)]))
        options: dict[str, Any] = {}
        key = next((key for key in sideways if photo.path.startswith(key)), None)
        if key is not None:
            exif = Image.Exif()
            exif[0x0112] = sideways.pop(key)
            image = image.transpose(Image.Transpose.ROTATE_90 if exif[0x0112] == 6 else Image.Transpose.ROTATE_270)
            options["exif"] = exif
        image.save(target, quality=85, **options)
    with open(root / "metadata.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "identity", "date", "orientation", "encounter", "site", "split"])
        writer.writerows([p.path, p.identity, p.date, p.orientation, p.encounter, p.site, p.split] for p in photos)


if __name__ == "__main__":
    main()
