"""From a body and its coat to a photo as it is taken in the field: light, water or dust, what is behind and in front, the camera."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ...imaging import prepare
from ...records import PhotoRef
from .fields import Field, Rng, mix, noise, step
from .surfaces import Seen

LONGEST = 1024  # px of a picture that is kept
WATERS = ((0.05, 0.30, 0.42), (0.10, 0.38, 0.36), (0.30, 0.42, 0.30), (0.02, 0.14, 0.26))  # blue, turquoise, green, deep
LANDS = ((0.62, 0.55, 0.44), (0.42, 0.44, 0.25), (0.55, 0.50, 0.40), (0.30, 0.28, 0.22))  # dust, grass, stone, wood
Mask = NDArray[np.bool_]


class Pictures:
    """Free photographs, which lie behind animals; may be none."""

    def __init__(self, refs: Sequence[PhotoRef]):
        self.refs = list(refs)
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def part(self, rng: Rng, size: tuple[int, int]) -> Field:
        """(H, W, 3) light in 0..1: some part of one of them, of `size` (width, height)."""
        place = int(rng.integers(len(self.refs)))
        if place not in self._kept:
            self._kept[place] = prepare(self.refs[place], LONGEST).pixels
        picture = self._kept[place]
        height, width = picture.shape[:2]
        share = min(width / size[0], height / size[1]) * rng.uniform(0.4, 1)
        w, h = max(2, int(share * size[0])), max(2, int(share * size[1]))
        x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        found = cv2.resize(picture[y : y + h, x : x + w], size, interpolation=cv2.INTER_AREA if share > 1 else cv2.INTER_LINEAR)
        return found.astype(np.float32)[:, :: int(rng.choice((1, -1)))] / 255  # type: ignore[no-any-return]


def background(rng: Rng, size: tuple[int, int], wet: bool, pictures: Pictures) -> Field:
    """(H, W, 3): a free photograph, or a ground of this habitat with stones, stems or coral on it."""
    width, height = size
    if pictures.refs and rng.random() < 0.45:
        return pictures.part(rng, size)
    shape = height, width
    near, far = (np.array((WATERS if wet else LANDS)[rng.integers(4)]) * rng.uniform(0.6, 1.5) for _ in range(2))
    rise = step(0, 1, np.linspace(0, 1, height, dtype=np.float32)[:, None] + 0.1 * noise(rng, shape, 100))
    found = mix(tuple(far), tuple(near), rise)
    found *= 1 + rng.uniform(0.05, 0.45) * (noise(rng, shape, rng.uniform(20, 120), slope=rng.uniform(0.3, 1.2)) * rise)[..., None]
    for _ in range(rng.poisson(0.5 if wet else 3)):
        found = clutter(rng, found)[0]
    return found.clip(0, 1)


def clutter(rng: Rng, photo: Field) -> tuple[Field, Mask]:
    """The photo with stones or blades of one colour in it, and where they are."""
    height, width = photo.shape[:2]
    drawn = np.zeros((height, width), np.float32)
    blades = rng.random() < 0.5
    for _ in range(rng.integers(1, 12 if blades else 4)):
        x, y = rng.uniform(0, (width, height))
        if blades:
            t, high = np.linspace(0, 1, 12), rng.uniform(0.2, 0.8) * height
            way = np.stack((x + rng.normal(0, 40) * t + rng.normal(0, 60) * t**2, y - high * t), axis=1)
            cv2.polylines(drawn, [np.rint(way).astype(np.int32)], False, 1.0, int(rng.integers(1, 9)), cv2.LINE_AA)
        else:
            angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
            reach = rng.uniform(0.05, 0.2) * width * rng.uniform(0.6, 1.2, 9)
            way = np.stack((x + reach * np.cos(angle), y + reach * np.sin(angle)), axis=1)
            cv2.fillPoly(drawn, [np.rint(way).astype(np.int32)], 1.0, cv2.LINE_AA)
    tone = np.array(LANDS[rng.integers(4)]) * rng.uniform(0.2, 1.4)
    rough = 1 + 0.25 * noise(rng, (height, width), rng.uniform(5, 40), slope=0.6)
    return mix(photo, (tone * rough[..., None]).astype(np.float32).clip(0, 1), drawn), drawn > 0.3


def limbs(rng: Rng, photo: Field, seen: Seen, colour: NDArray[np.float32], wet: bool) -> Field:
    """Legs, fins or a neck, behind the body and of its colour."""
    vertices, found = seen.vertices[..., :2], photo.copy()
    reach = float(np.ptp(vertices.reshape(-1, 2), axis=0).max())
    for u in rng.uniform(0.05, 0.95, rng.integers(0, 6)):
        start = vertices[rng.integers(len(vertices)) if wet else len(vertices) // 2, int(u * vertices.shape[1])]
        angle = rng.uniform(0, 2 * np.pi) if wet else np.pi / 2 + rng.normal(0, 0.2)
        way = np.array((np.cos(angle), np.sin(angle)))
        across, long = np.array((-way[1], way[0])), reach * rng.uniform(0.2, 0.6)
        thick, thin = reach * rng.uniform(0.03, 0.09), reach * rng.uniform(0.01, 0.04)
        end = start + way * long
        outline = np.stack((start - across * thick, start + across * thick, end + across * thin, end - across * thin))
        drawn: Field = np.zeros(photo.shape[:2], np.float32)
        cv2.fillPoly(drawn, [np.rint(outline).astype(np.int32)], 1.0, cv2.LINE_AA)
        rough = 1 + 0.15 * noise(rng, (len(drawn), len(drawn[0])), 8, slope=0.5)
        tone = (colour * rng.uniform(0.5, 1.1) * rough[..., None]).astype(np.float32)
        found = mix(found, tone.clip(0, 1), cv2.GaussianBlur(drawn, (0, 0), 1))
    return found


def lit(rng: Rng, seen: Seen, skin: Field, wet: bool) -> Field:
    """(H, W, 3): the skin in the sun, under a sky, in a flash, with ripples of light or shadows of leaves on it."""
    normals, shape = np.nan_to_num(seen.normals), seen.depth.shape
    sun = np.array((rng.normal(0, 0.6), -rng.uniform(0.2, 1), -rng.uniform(-0.2, 1)))
    sun /= np.linalg.norm(sun)
    facing = normals @ sun
    strength, sky = rng.uniform(0, 1.5), rng.uniform(0.45, 1.2)
    cast = np.ones(shape, np.float32)
    if wet and rng.random() < 0.5:  # caustics: bright where waves of two lengths fold
        wave = np.abs(noise(rng, shape, rng.uniform(20, 60), band=0.3)) + 0.5 * np.abs(noise(rng, shape, rng.uniform(15, 30), band=0.3))
        cast += rng.uniform(0.3, 1.6) * np.exp(-(wave**2) * 8)
    elif rng.random() < 0.4:
        cast *= 1 - rng.uniform(0.3, 0.9) * step(0, 0.4, noise(rng, shape, rng.uniform(15, 120), slope=1))
    light = sky * (0.6 - 0.4 * normals[..., 1]) + strength * facing.clip(0) * cast
    flash = rng.random() < 0.2
    if flash:
        light = light * 0.4 + rng.uniform(0.6, 1.1) * (-normals[..., 2]).clip(0)
    half = sun - (0, 0, 1.0)
    half = np.array((0, 0, -1.0)) if flash else half / np.linalg.norm(half)
    gloss = rng.uniform(0, 0.6) * (normals @ half).clip(0) ** rng.uniform(8, 60)
    warmth = 1 + rng.normal(0, 0.07, 3)
    return (skin * light[..., None] * warmth + gloss[..., None]).astype(np.float32)  # type: ignore[no-any-return]


def veiled(rng: Rng, photo: Field, mask: Mask, wet: bool) -> Field:
    """Water between camera and animal takes red first and adds its own light, more of it before what is behind; on land, a little dust."""
    veil = np.array((WATERS if wet else LANDS)[rng.integers(4)]) * rng.uniform(0.8, 1.6)
    thick = rng.gamma(1.5, 0.5) if wet else rng.gamma(1, 0.12)
    distance = np.where(mask, 1, rng.uniform(1.2, 3)).astype(np.float32)
    distance = cv2.GaussianBlur(distance, (0, 0), 1) * (1 + 0.15 * noise(rng, mask.shape, 150))
    absorbed = np.array((0.9, 0.35, 0.25) if wet else (0.3, 0.3, 0.35)) * min(thick, 2.2)
    through = np.exp(-absorbed * distance[..., None])
    scattered = 1 - np.exp(-0.35 * min(thick, 2.6) * distance[..., None])
    found = photo * through * (1 - scattered) + veil * scattered
    return found.astype(np.float32)  # type: ignore[no-any-return]


def taken(rng: Rng, photo: Field, longest: int) -> NDArray[np.uint8]:
    """(H, W, 3): what the camera stores, its longer side `longest` px: exposure, blur, fewer pixels, noise, JPEG."""
    photo = photo * rng.uniform(0.25, 0.55) / max(0.05, float(photo.mean()))
    photo = (photo.clip(0, 1) ** rng.uniform(0.7, 1.1)).astype(np.float32)
    if rng.random() < 0.3:
        photo = cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.5, 2))
    if rng.random() < 0.2:
        n, angle = int(rng.integers(3, 12)), rng.uniform(0, np.pi)
        kernel = np.zeros((n, n), np.float32)
        reach = (n - 1) / 2 * np.array((np.cos(angle), np.sin(angle)))
        ends = [tuple(map(int, np.rint((n - 1) / 2 + sign * reach))) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        photo = cv2.filter2D(photo, -1, kernel / kernel.sum())
    height, width = photo.shape[:2]
    share = min(1.0, longest / max(height, width))
    photo = cv2.resize(photo, (max(32, round(width * share)), max(32, round(height * share))), interpolation=cv2.INTER_AREA)
    grain = rng.normal(0, rng.gamma(1.5, 0.008), photo.shape).astype(np.float32)
    pixels = ((photo + grain).clip(0, 1) * 255).round().astype(np.uint8)
    _, coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))])
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
