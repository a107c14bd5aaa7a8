"""Coats: what a species' individuals have in common, and what each has alone. A coat is a picture (around, along, 3) of light in 0..1.

What is common comes from the species' generator: the kind of pattern, its colours and scale, where plates lie about, eyes and folds.
What an individual has alone, from its own: where just each plate, stripe and spot is, and its scars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from .fields import Field, Rng, mix, noise, step

ALONG = 640  # texels of a coat along the body
AROUND = 256, 1280  # at least and at most, around it
SCALES = 32, 120  # texels between neighbouring marks
Colour = tuple[float, ...]
GROUNDS = (  # ground and pattern: brown and ochre, russet and cream, grey and white, black and yellow, olive and dark, sand and black
    ((0.20, 0.13, 0.08), (0.78, 0.62, 0.34)), ((0.62, 0.32, 0.13), (0.92, 0.86, 0.74)), ((0.32, 0.34, 0.37), (0.85, 0.86, 0.84)),
    ((0.09, 0.09, 0.10), (0.88, 0.72, 0.18)), ((0.42, 0.42, 0.22), (0.14, 0.13, 0.09)), ((0.75, 0.62, 0.42), (0.13, 0.10, 0.08)),
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """The coat of a species."""

    seed: tuple[int, ...]
    pattern: Callable[[Rng, Rng, tuple[int, int], float], Field]
    shape: tuple[int, int]  # texels (around, along)
    scale: float  # texels between neighbouring marks, about
    colours: tuple[Colour, Colour]
    contrast: float  # of the pattern, 0 to 1
    belly: Colour
    mottled: float  # how much the ground varies


def family(rng: Rng, seed: tuple[int, ...], aspect: float) -> Family:
    """A species whose body has a girth of `aspect` lengths."""
    ground, other = (tuple(np.clip(rng.normal(colour, 0.06), 0.03, 0.97)) for colour in GROUNDS[rng.integers(len(GROUNDS))])
    shape = int(np.clip(ALONG * aspect, *AROUND)), ALONG
    pattern = tuple(PATTERNS)[rng.choice(len(PATTERNS), p=np.array(list(PATTERNS.values())) / sum(PATTERNS.values()))]
    belly = tuple(0.5 * (np.array(ground) + rng.uniform(0.4, 0.9)))
    scale = float(np.exp(rng.uniform(*np.log(SCALES))))
    return Family(seed, pattern, shape, scale, (ground, other), rng.uniform(0.5, 1), belly, rng.uniform(0.03, 0.15))


def coat(one: Family, rng: Rng) -> Field:
    """The coat of the individual that `rng` draws."""
    common = np.random.default_rng(one.seed)
    ground, other = one.colours
    share = one.pattern(common, rng, one.shape, one.scale) * one.contrast
    v = np.linspace(0, 1, one.shape[0], dtype=np.float32)[:, None]
    below = step(0.24, 0.1, np.abs(v - 0.5) + 0.03 * noise(common, one.shape, 150))
    skin = mix(mix(ground, one.belly, below * common.uniform(0, 1)), other, share)
    skin *= 1 + one.mottled * noise(common, one.shape, 60, slope=0.5)[..., None]
    skin *= 1 + 0.08 * noise(rng, one.shape, 3, stretch=common.uniform(0.2, 3))[..., None]  # hairs and pores
    _landmarks(skin, common)
    _scars(skin, rng)
    return skin.clip(0.01, 1)


def plates(common: Rng, own: Rng, shape: tuple[int, int], scale: float) -> Field:
    """Scutes with seams between them: the species says about where they lie, some of an individual's are moved, split or fused."""
    around, along = shape
    scale *= 1.2
    rows, columns = max(3, round(around / scale)), max(4, round(along / scale))
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    centres = np.stack((x + 0.5 + 0.5 * (y % 2), y + 0.5), axis=2).reshape(-1, 2) + common.uniform(-0.2, 0.2, (rows * columns, 2))
    centres = centres + own.normal(0, 0.22, centres.shape)
    centres = np.concatenate((centres[own.random(len(centres)) > 0.12], own.uniform(0, 1, (len(centres) // 10, 2)) * (columns, rows)))
    centres = centres * (along / columns, around / rows)
    bent = 0.12 * scale
    xx, yy = np.meshgrid(np.arange(along, dtype=np.float32), np.arange(around, dtype=np.float32))
    points = np.stack((xx + bent * noise(own, shape, scale), yy + bent * noise(own, shape, scale)), axis=2).reshape(-1, 2)
    apart, which = cKDTree(np.concatenate([centres + (0, turn * around) for turn in (-1, 0, 1)])).query(points, k=2)
    seam = (apart[:, 1] - apart[:, 0]).reshape(shape).astype(np.float32)
    width = scale * common.uniform(0.08, 0.3)
    shade = common.uniform(0, 0.3) * own.standard_normal(len(centres)).astype(np.float32)[which[:, 0] % len(centres)].reshape(shape)
    growth = common.uniform(0, 0.25) * np.sin(apart[:, 0].reshape(shape) / scale * common.uniform(8, 20)).astype(np.float32)
    light = step(1.0 * width, 0.4 * width, seam) + (shade + growth) * step(width, 2 * width, seam)
    return light.clip(-0.3, 1)  # type: ignore[no-any-return]


def stripes(common: Rng, own: Rng, shape: tuple[int, int], scale: float) -> Field:
    """Across the body, thin, each of its own length, some of them forked; a few spots."""
    around, along = shape
    n, width = round(along / scale * common.uniform(0.7, 1.2)), common.uniform(0.06, 0.2)
    found = np.zeros(shape, np.float32)
    lean, top = common.uniform(-1.5, 1.5), common.uniform(0.0, 0.08)
    for at in (np.arange(n) + 0.5 + own.normal(0, 0.18, n)) / n * along:
        for side in (1, -1):  # down either flank
            v = np.arange(own.uniform(top, top + 0.05), own.uniform(0.18, 0.42), 0.01)
            x = at + lean * scale * v + own.normal(0, 0.12) * scale + np.cumsum(own.normal(0, 0.05 * scale, len(v)))
            line = np.stack((x, side * v * around % around), axis=1)
            thick = max(1, round(scale * width * own.uniform(0.6, 1.4)))
            _line(found, line, thick, own.uniform(0.5, 1))
            if own.random() < 0.2:
                fork = line[len(v) // 2 :]
                fork = fork + np.linspace((0, 0), (own.uniform(-0.7, 0.7) * scale, 0), len(fork))
                _line(found, fork, thick, 0.8)
    _dots(found, own, int(common.integers(0, 20)), scale * 0.1)
    rough = 0.5 + 0.5 * step(-1.5, 0.5, noise(own, shape, 8))  # breaks
    return cv2.GaussianBlur(found, (0, 0), 1.5) * rough  # type: ignore[no-any-return]


def bands(common: Rng, own: Rng, shape: tuple[int, int], scale: float) -> Field:
    """A zebra's or a tiger's: waves of one length, mostly across the body."""
    waves = noise(own, shape, scale, band=common.uniform(0.1, 0.3), stretch=common.uniform(0.15, 0.45))
    return step(-0.2, 0.2, waves - common.uniform(-0.4, 0.6))


def mazes(common: Rng, own: Rng, shape: tuple[int, int], scale: float) -> Field:
    """Waves of one length in all directions: spots, holes or a labyrinth, as a reaction and diffusion leaves them (Turing 1952)."""
    return step(-0.15, 0.15, noise(own, shape, scale, band=common.uniform(0.1, 0.2)) - common.uniform(-1, 1))


def spots(common: Rng, own: Rng, shape: tuple[int, int], scale: float) -> Field:
    """Dots or rosettes of several sizes."""
    found = np.zeros(shape, np.float32)
    hollow, size = common.random() < 0.35, common.uniform(0.12, 0.35)
    _dots(found, own, int(common.uniform(0.5, 1.1) * shape[0] * shape[1] / scale**2), size * scale, hollow)
    return cv2.GaussianBlur(found, (0, 0), 1.2)  # type: ignore[no-any-return]


def blotches(common: Rng, own: Rng, shape: tuple[int, int], scale: float) -> Field:
    """Ragged patches of all sizes."""
    return step(-0.1, 0.1, noise(own, shape, 3 * scale, slope=common.uniform(0.6, 1.2)) - common.uniform(-0.8, 0.8))


PATTERNS = {plates: 4, stripes: 2, bands: 1, mazes: 1, spots: 2, blotches: 1}  # and how often a species has each


def _line(field: Field, points: np.ndarray, thick: int, value: float) -> None:
    cv2.polylines(field, [np.rint(points * 8).astype(np.int32)], False, value, thick, cv2.LINE_AA, 3)


def _dots(field: Field, rng: Rng, n: int, radius: float, hollow: bool = False) -> None:
    height, width = field.shape
    for x, y in rng.uniform(0, (width, height), (n, 2)):
        axes = np.maximum(1, radius * rng.uniform(0.5, 1.5, 2)).astype(int)
        thick = max(1, int(axes.min() * 0.35)) if hollow else -1
        start, sweep = rng.uniform(0, 360), rng.uniform(200, 360) if hollow else 360
        at, tilt, value = (int(x), int(y)), rng.uniform(0, 180), rng.uniform(0.6, 1)
        cv2.ellipse(field, at, tuple(map(int, axes)), tilt, start, start + sweep, value, thick, cv2.LINE_AA)


def _landmarks(skin: Field, common: Rng) -> None:
    """What every individual of a species has at one place: eyes, and a few folds."""
    around, along = skin.shape[:2]
    if common.random() < 0.6:
        u, v, radius = common.uniform(0.08, 0.3), common.uniform(0.15, 0.35), int(common.uniform(12, 40))
        for side in (v, 1 - v):
            at = (int(u * along), int(side * around))
            lid = int(radius * common.uniform(1.2, 1.7)), tuple(common.uniform(0.1, 0.6) * skin.mean(axis=(0, 1)).astype(float) * 2)
            cv2.circle(skin, at, *lid, -1, cv2.LINE_AA)
            cv2.circle(skin, at, radius, tuple(common.uniform(0.02, 0.12, 3)), -1, cv2.LINE_AA)
    for _ in range(common.integers(0, 5)):
        u, v = common.uniform(0, 1, 2)
        x = (u + np.linspace(0, common.uniform(-0.2, 0.2), 20)) * along
        y = (v + np.cumsum(common.normal(0, 0.008, 20))) * around
        dark = np.zeros((around, along), np.float32)
        _line(dark, np.stack((x, y), axis=1), int(common.integers(2, 6)), 1)
        skin *= 1 - 0.5 * cv2.GaussianBlur(dark, (0, 0), 2)[..., None]


def _scars(skin: Field, rng: Rng) -> None:
    around, along = skin.shape[:2]
    for _ in range(rng.poisson(2.5)):
        n = int(rng.integers(3, 12))
        turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, n))
        way = rng.uniform(0, (along, around)) + np.cumsum(rng.uniform(3, 12) * np.stack((np.cos(turn), np.sin(turn)), axis=1), axis=0)
        mark = np.zeros((around, along), np.float32)
        _line(mark, way, int(rng.integers(1, 5)), 1)
        skin[:] = mix(skin, tuple(np.full(3, rng.choice((0.08, 0.8)))), 0.8 * cv2.GaussianBlur(mark, (0, 0), 0.8))
