"""Bodies that bend and bulge, and what a camera sees of them: of every pixel its place (u, v) on the skin. NumPy and OpenCV.

A body is a tube about a spine: u runs along it, 0 to 1 from the head, v around it, 0 to 1 from the back on; both of them are the
coordinates of its coat. A shell is a flat tube, a head a short one. Camera axes: x to the right, y down, z away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .fields import Field, Rng, noise

GRID = 121, 161  # vertices around and along
EDGE = -1e-4  # of a triangle's side, so that no pixel falls between two of them
HIDDEN = 0.02  # body lengths behind what is seen: that far a point is on the same sheet of skin
Pixels = NDArray[np.float64]  # (N, 2) x, y
KINDS = {  # length in radii; height of the cross-section in widths; how blunt the ends are
    "trunk": ((3.5, 5.5), (1.1, 1.6), (3.0, 6.0)),
    "head": ((2.0, 3.2), (0.8, 1.3), (2.0, 3.0)),
    "shell": ((2.0, 2.8), (0.35, 0.6), (2.0, 2.6)),
    "fish": ((4.0, 7.0), (1.2, 2.2), (1.6, 2.4)),
}


@dataclass(frozen=True)
class Body:
    """The shape of a species, at rest. Lengths are in lengths of the spine."""

    radius: Field  # (around, along) from the spine, bulges included
    height: float  # of the cross-section, in widths

    @property
    def aspect(self) -> float:
        """Its girth in lengths: what makes a coat's texels square."""
        return float(2 * np.pi * self.radius.mean() * (1 + self.height) / 2)


@dataclass(frozen=True)
class Seen:
    """A body before a camera."""

    uv: Field  # (H, W, 2) place on the skin, NaN where there is none
    depth: Field  # (H, W) in body lengths, infinite where there is no body, 0 where something is in front of it
    normals: Field  # (H, W, 3) camera axes
    vertices: Field  # (around, along, 3) x, y in px, depth

    def covered(self, mask: NDArray[np.bool_]) -> Seen:
        """With something in front of it where the mask (H, W) says so."""
        uv, depth = np.where(mask[..., None], np.nan, self.uv), np.where(mask, 0, self.depth)
        return Seen(uv.astype(np.float32), depth.astype(np.float32), self.normals, self.vertices)

    def places(self, points: NDArray[Any]) -> Field:
        """(N, 2) u and v at points (N, 2) px, NaN beside the body."""
        columns, rows = np.rint(points).astype(int).clip(0, np.array(self.depth.shape[::-1]) - 1).T
        found: Field = self.uv[rows, columns]
        return found

    def project(self, places: Field) -> Pixels:
        """(N, 2) px of places (N, 2) on the skin, infinite where they are NaN, hidden, or outside the photo."""
        if not len(places):
            return np.zeros((0, 2))
        around, along = GRID
        at = np.nan_to_num(places) * (along - 1, around - 1)
        x, y, depth = cv2.remap(self.vertices, *np.split(at.astype(np.float32), 2, axis=1), cv2.INTER_LINEAR).reshape(-1, 3).T
        height, width = self.depth.shape
        columns, rows = (np.rint(one).astype(int).clip(0, most - 1) for one, most in ((x, width), (y, height)))
        inside = (np.abs(x - (width - 1) / 2) <= width / 2) & (np.abs(y - (height - 1) / 2) <= height / 2)
        seen = inside & (depth < self.depth[rows, columns] + HIDDEN) & ~np.isnan(places[:, 0])
        found: Pixels = np.where(seen[:, None], np.stack((x, y), axis=1), np.inf).astype(np.float64)
        return found


def body(rng: Rng, kind: str) -> Body:
    """A species of this kind."""
    (shortest, longest), heights, blunt = KINDS[kind]
    u = np.linspace(0, 1, GRID[1], dtype=np.float32)
    middle, power = rng.uniform(0.35, 0.65), rng.uniform(*blunt)
    from_middle = np.where(u < middle, (middle - u) / middle, (u - middle) / (1 - middle))
    profile = (1 - from_middle**power).clip(0) ** (1 / rng.uniform(1.6, 2.2))
    radius = profile / rng.uniform(shortest, longest) * bulges(rng, 0.07)
    return Body(radius.astype(np.float32), float(rng.uniform(*heights)))


def bulges(rng: Rng, most: float) -> Field:
    """(around, along) factors about 1; the last row, v = 1, is the first."""
    around, along = GRID
    found = 1 + rng.uniform(0, most) * noise(rng, (around - 1, along), rng.uniform(40, 90))
    return np.concatenate((found, found[:1]))


def posed(one: Body, rng: Rng, bend: float) -> Field:
    """(around, along, 3) vertices, the spine's middle at 0: bent by up to `bend` rad, twisted, its flesh moved."""
    around, along = GRID
    u = np.linspace(-0.5, 0.5, along)
    yaw, pitch = (
        most * (rng.uniform(-1, 1) * u + rng.uniform(-0.3, 0.3) * np.sin(2 * np.pi * (u + rng.random()))) for most in (bend, bend / 2)
    )
    onward = np.stack((np.cos(yaw) * np.cos(pitch), np.sin(pitch), np.sin(yaw) * np.cos(pitch)), axis=1)
    spine = onward.cumsum(axis=0) / along
    spine -= spine[along // 2]
    side = np.stack((-np.sin(yaw), np.zeros(along), np.cos(yaw)), axis=1)
    up = np.cross(onward, side)
    up *= -np.sign(up[along // 2, 1])  # y points down
    angle = np.linspace(0, 2 * np.pi, around)[:, None] + rng.uniform(-0.2, 0.2) * bend * u
    radius = one.radius * bulges(rng, 0.04)
    across = np.sin(angle)[..., None] * side + one.height * np.cos(angle)[..., None] * up
    found: Field = (spine + radius[..., None] * across).astype(np.float32)
    return found


def turned(vertices: Field, azimuth: float, elevation: float, roll: float) -> Field:
    """The body turned about its vertical axis, towards the camera, and in the photo; rad."""
    (ca, sa), (ce, se), (cr, sr) = ((np.cos(angle), np.sin(angle)) for angle in (azimuth, elevation, roll))
    about_y = np.array([[ca, 0, sa], [0, 1, 0], [-sa, 0, ca]])
    about_x = np.array([[1, 0, 0], [0, ce, -se], [0, se, ce]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    found: Field = (vertices @ (about_z @ about_x @ about_y).T).astype(np.float32)
    return found


def render(vertices: Field, size: tuple[int, int], distance: float, extent: float, centre: tuple[float, float]) -> Seen:
    """What a camera `distance` body lengths away sees in a photo of `size` (width, height), the body's longer side `extent` px in it and
    its middle at `centre`."""
    depth = vertices[..., 2] + distance
    plane = vertices[..., :2] / depth[..., None]
    low, high = plane.min(axis=(0, 1)), plane.max(axis=(0, 1))
    flat = (plane - (low + high) / 2) * (extent / (high - low).max()) + centre
    grid = np.concatenate((flat, depth[..., None]), axis=2).astype(np.float32)
    along, around = np.gradient(vertices, axis=1), np.gradient(vertices, axis=0)
    around[0] = around[-1] = (vertices[1] - vertices[-2]) / 2  # v = 0 is v = 1
    normals = np.cross(along, around)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True) + 1e-12
    v, u = np.meshgrid(np.linspace(0, 1, GRID[0]), np.linspace(0, 1, GRID[1]), indexing="ij")
    nearest, values = raster(grid, np.concatenate((u[..., None], v[..., None], normals), axis=2).astype(np.float32), size)
    return Seen(values[..., :2], nearest, values[..., 2:], grid)


def raster(grid: Field, values: NDArray[Any], size: tuple[int, int]) -> tuple[Field, Field]:
    """Triangles of a closed grid (A, B, 3) of x, y, depth: the depth (H, W) of the nearest one at each pixel, infinite where there is none,
    and the grid's values (A, B, C) there, NaN where there is none."""
    (width, height), index = size, np.arange(grid.shape[0] * grid.shape[1]).reshape(grid.shape[:2])
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack(one, axis=2).reshape(-1, 3) for one in ((a, c, b), (b, c, d))])
    corners = grid.reshape(-1, 3)[faces]
    low = np.ceil(corners[..., :2].min(axis=1)).clip(0).astype(int)
    high = np.minimum(np.floor(corners[..., :2].max(axis=1)), (width - 1, height - 1)).astype(int)
    to_second, to_third = (corners[:, i, :2] - corners[:, 0, :2] for i in (1, 2))
    area = _cross(to_second, to_third)
    near = (high >= low).all(axis=1) & (area > 1e-6)  # the skin's inside, and what faces away from the camera, turns the other way
    sides = np.where(near, (high - low + 1).max(axis=1), 0)
    hits = []
    for side in np.unique(sides[near]):
        chosen = np.flatnonzero(sides == side)
        y, x = low[chosen, 1, None] + np.arange(side * side) // side, low[chosen, 0, None] + np.arange(side * side) % side
        beyond = np.stack((x, y), axis=2).astype(np.float32) - corners[chosen, None, 0, :2]
        second = _cross(beyond, to_third[chosen, None]) / area[chosen, None]
        third = _cross(to_second[chosen, None], beyond) / area[chosen, None]
        row, column = np.nonzero((second >= EDGE) & (third >= EDGE) & (second + third <= 1 - EDGE) & (x < width) & (y < height))
        second, third = second[row, column], third[row, column]
        hits.append((y[row, column] * width + x[row, column], chosen[row], np.stack((1 - second - third, second, third), axis=1)))
    nearest = np.full(width * height, np.inf, np.float32)
    found = np.full((width * height, values.shape[2]), np.nan, np.float32)
    if hits:
        pixel, face, share = (np.concatenate(parts) for parts in zip(*hits))
        depth = (corners[face, :, 2] * share).sum(axis=1)
        order = np.argsort(-depth, kind="stable")  # the nearest is written last
        pixel, face, share = pixel[order], face[order], share[order]
        nearest[pixel] = depth[order]
        found[pixel] = np.einsum("ncv,nc->nv", values.reshape(-1, values.shape[2])[faces[face]], share)
    return nearest.reshape(height, width), found.reshape(height, width, -1)


def _cross(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return found
