"""Drawn shapes whose corners are known: what MagicPoint learns a detector from (DeTone 2018, arXiv 1712.07629, section 4).

Lines, polygons, ellipses, stars, checkerboards, stripes, boxes or noise on a background of blobs; drawn four times as large (the open
implementation draws eight times as large, which takes four times as long), blurred, and made smaller. What would touch an earlier shape
is not drawn: no corner is hidden, and no two shapes make one that nobody has noted. Pure NumPy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.warps import project

SIZE = 160, 120  # width and height of what is returned
SCALE = 4  # drawn px per px of that
WIDTH, HEIGHT = SIZE[0] * SCALE, SIZE[1] * SCALE
BLUR = 11  # px of the Gaussian kernel, as drawn
N_BLOBS, BLOBS, SMOOTH = 100, (0.02, 0.031), (75, 250)  # of the background: how many, radius in widths, px of the box that blurs it
CONTRAST = 30  # of 255, between colours that meet, at the least
GAP = 5  # px kept free about a shape, of the small image
SHARPEST, BLUNTEST = 0.35, 2.5  # rad inside a corner of a polygon

Points = NDArray[np.float64]  # (N, 2) px, x and y


class Canvas:
    """A background, what is drawn on it, and the corners of that; in px as drawn."""

    def __init__(self, rng: np.random.Generator):
        self.rng, self.points = rng, np.zeros((0, 2))
        noise = rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
        self.image: NDArray[np.uint8] = (noise > rng.integers(256)).astype(np.uint8) * 255
        self.light = int(self.image.mean())  # of the background
        for _ in range(N_BLOBS):
            radius = int(WIDTH * rng.uniform(*BLOBS))
            cv2.circle(self.image, self.place(), radius, self.colour(), -1)
        kernel = int(rng.integers(*SMOOTH))
        self.image = cv2.blur(self.image, (kernel, kernel))
        self.light = int(self.image.mean())
        self._taken = np.zeros((SIZE[1], SIZE[0]), np.uint8)

    def place(self) -> tuple[int, int]:
        return int(self.rng.integers(WIDTH)), int(self.rng.integers(HEIGHT))

    def colour(self, *others: int) -> int:
        """One that can be told from the background and from others."""
        while True:
            found = int(self.rng.integers(256))
            if all(abs(found - other) >= CONTRAST for other in (self.light, *others)):
                return found

    def room(self, outline: Points) -> bool:
        """Whether nothing is drawn where this outline, of two points or more, would be; from now on it is taken."""
        small, mask = np.rint(outline / SCALE).astype(np.int32), np.zeros_like(self._taken)
        cv2.fillPoly(mask, [small], 1)
        cv2.polylines(mask, [small], True, 1, 2 * GAP)
        free = not (mask & self._taken).any()
        if free:
            self._taken |= mask
        return free

    def fill(self, outline: Points, colour: int) -> None:
        cv2.fillPoly(self.image, [np.rint(outline).astype(np.int32)], colour)

    def line(self, ends: Points, colour: int) -> None:
        thickness = int(self.rng.uniform(0.01, 0.025) * HEIGHT)
        cv2.polylines(self.image, [np.rint(ends).astype(np.int32)], False, colour, thickness)

    def note(self, corners: Points) -> None:
        self.points = np.vstack((self.points, np.rint(corners)))


def lines(canvas: Canvas) -> None:
    """Up to ten; their ends are corners."""
    for _ in range(canvas.rng.integers(1, 11)):
        ends = np.array([canvas.place(), canvas.place()], np.float64)
        if np.linalg.norm(ends[0] - ends[1]) > HEIGHT / 8 and canvas.room(ends):
            canvas.line(ends, canvas.colour())
            canvas.note(ends)


def polygon(canvas: Canvas, least: float = 0.15, most: float = 0.5) -> None:
    """Of three to six corners, none of them nearly straight; its radius between these shares of the height."""
    rng = canvas.rng
    while True:
        n, radius = int(rng.integers(3, 7)), HEIGHT * rng.uniform(least, most)
        around = (np.arange(n) + rng.uniform(-0.4, 0.4, n)) * 2 * np.pi / n + rng.uniform(0, 2 * np.pi)
        corners = canvas.place() + radius * rng.uniform(0.5, 1, (n, 1)) * np.stack((np.cos(around), np.sin(around)), axis=1)
        inside = _angles(corners)
        if inside.min() > SHARPEST and inside.max() < BLUNTEST:
            break
    if canvas.room(corners):
        canvas.fill(corners, canvas.colour())
        canvas.note(corners)


def polygons(canvas: Canvas) -> None:
    """Up to thirty, smaller."""
    for _ in range(canvas.rng.integers(2, 31)):
        polygon(canvas, 0.07, 0.2)


def ellipses(canvas: Canvas) -> None:
    """Up to twenty, without a corner."""
    rng = canvas.rng
    for _ in range(rng.integers(1, 21)):
        axes = rng.uniform(0.03, 0.2, 2) * HEIGHT
        outline = cv2.ellipse2Poly(canvas.place(), tuple(int(axis) for axis in axes), int(rng.integers(180)), 0, 360, 3)
        if canvas.room(outline):
            canvas.fill(outline, canvas.colour())


def star(canvas: Canvas) -> None:
    """Three to six rays; their ends and where they meet are corners."""
    rng = canvas.rng
    n = int(rng.integers(3, 7))
    around = (np.arange(n) + rng.uniform(-0.3, 0.3, n)) * 2 * np.pi / n + rng.uniform(0, 2 * np.pi)
    centre = np.array([WIDTH, HEIGHT]) * rng.uniform(0.25, 0.75, 2)
    ends = centre + HEIGHT * rng.uniform(0.15, 0.5, (n, 1)) * np.stack((np.cos(around), np.sin(around)), axis=1)
    colour = canvas.colour()
    for end in ends:
        canvas.line(np.array([centre, end]), colour)
    canvas.note(np.vstack((centre, ends)))


def checkerboard(canvas: Canvas) -> None:
    """Three to seven fields a side, of two colours that vary a little."""
    columns, rows = canvas.rng.integers(3, 8, 2)
    _board(canvas, np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))


def stripes(canvas: Canvas) -> None:
    """Four to ten side by side, of unequal widths; the ends of their borders are corners."""
    widths = canvas.rng.uniform(0.4, 1, canvas.rng.integers(4, 11))
    _board(canvas, np.concatenate(([0], np.cumsum(widths) / widths.sum())), np.array([0, 1]))


def cube(canvas: Canvas) -> None:
    """A box of which three faces are seen, in three colours, and so seven corners."""
    rng = canvas.rng
    while True:
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))  # its last row is where each axis of the box points in depth
        if np.abs(turn[2]).min() > 0.25:
            break
    half = rng.uniform(0.12, 0.3, 3) * HEIGHT
    near = np.sign(turn[2])  # the corner towards us
    centre = np.array([WIDTH, HEIGHT]) * rng.uniform(0.3, 0.7, 2)
    corners = {signs: centre + turn[:2] @ (half * near * signs) for signs in product((1, -1), repeat=3)}
    colours: list[int] = []
    for axis in range(3):
        around = [(1, 1), (1, -1), (-1, -1), (-1, 1)]
        face = [corners[*pair[:axis], 1, *pair[axis:]] for pair in around]
        colours.append(canvas.colour(*colours))
        canvas.fill(np.array(face), colours[-1])
    canvas.note(np.array([corner for signs, corner in corners.items() if signs != (-1, -1, -1)]))


def gaussian_noise(canvas: Canvas) -> None:
    """Nothing but noise, without a corner."""
    grains = canvas.rng.normal(canvas.light, 80, (SIZE[1], SIZE[0])).clip(0, 255).astype(np.uint8)
    canvas.image = cv2.resize(grains, (WIDTH, HEIGHT))


SHAPES: dict[Callable[[Canvas], None], float] = {  # and how often each is drawn, against the others
    lines: 1, polygon: 1, polygons: 1, ellipses: 0.3, star: 1, checkerboard: 1, stripes: 0.2, cube: 1, gaussian_noise: 0.1,
}  # fmt: skip


def draw(seed: int, number: int, shape: Callable[[Canvas], None] | None = None) -> tuple[NDArray[np.float32], Points]:
    """The drawing of this number: (120, 160) light in 0..255, and its corners. Of one `shape`, or of any."""
    rng = np.random.default_rng((seed, number))
    if shape is None:
        often = np.array(list(SHAPES.values()))
        shape = list(SHAPES)[rng.choice(len(SHAPES), p=often / often.sum())]
    canvas = Canvas(rng)
    shape(canvas)
    image = cv2.resize(cv2.GaussianBlur(canvas.image, (BLUR, BLUR), 0), SIZE, interpolation=cv2.INTER_LINEAR)
    points = (canvas.points + 0.5) / SCALE - 0.5
    inside = np.all((points >= 0) & (points <= np.array(SIZE) - 1), axis=1)
    return image.astype(np.float32), points[inside]


def _angles(corners: Points) -> Points:
    """[N] rad inside each corner, given in order."""
    back, on = np.roll(corners, 1, axis=0) - corners, np.roll(corners, -1, axis=0) - corners
    turn = np.arctan2(back[:, 1], back[:, 0]) - np.arctan2(on[:, 1], on[:, 0])
    found: Points = turn % (2 * np.pi)
    return found


def _board(canvas: Canvas, columns: Points, rows: Points) -> None:
    """Fields between lines given in 0..1, seen from aslant."""
    rng = canvas.rng
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    angle, sides = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.1, 2) * HEIGHT
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    seen = ((square - 0.5) * sides + rng.uniform(-0.12, 0.12, (4, 2)) * sides) @ turn.T
    seen += np.array([WIDTH, HEIGHT]) * rng.uniform(0.35, 0.65, 2)
    way = cv2.getPerspectiveTransform(square.astype(np.float32), seen.astype(np.float32))
    first = canvas.colour()
    colours = first, canvas.colour(first)
    for (i, (left, right)), (j, (top, bottom)) in product(enumerate(pairwise(columns)), enumerate(pairwise(rows))):
        colour = int(np.clip(colours[(i + j) % 2] + rng.integers(-CONTRAST // 4, CONTRAST // 4 + 1), 0, 255))
        canvas.fill(project(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), way), colour)
    canvas.note(project(np.array(list(product(columns, rows))), way))
