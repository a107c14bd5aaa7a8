"""Photos of species that are rendered once and kept, in grey, and pairs of crops of them with the ways between their pixels."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...store import fingerprint, write_atomically
from ..pairs import MARGIN, OUTSIDE, Mapped
from ..truth import in_turn
from . import coats, conditions, fields, scenes, surfaces
from .fields import Rng
from .partners import INDIVIDUALS, VIEWS
from .scenes import Scenes, View
from .surfaces import Seen

COUPLES = tuple(combinations(range(VIEWS), 2))  # of one individual's photos
TOGETHER = 3  # species in turn: a batch has several pairs of each, of several individuals
TRIES = 200  # places of the first photo that are looked for in the second
PARTS = 4  # in which a crop is looked for: OpenCV takes fewer than 32768 places at a time
N_SPECIES = 40  # after which the first comes again, in other crops
DRAWS = coats, conditions, fields, scenes, surfaces  # the code that what is kept depends on


class Album:
    """Photos and pairs by number; `folder` keeps a file a species, 12 to 18 MB."""

    def __init__(self, scenes: Scenes, side: int, folder: Path):
        self.scenes, self.side, self.folder = scenes, side, folder

    def view(self, species: int, individual: int, number: int) -> View:
        """As `Scenes.view` gives it, in grey (H, W), places and depths in half precision; normals are not kept."""
        with np.load(self.kept(species)) as file:
            grey, uv, depth, vertices, longest = (file[f"{name}-{individual}-{number}"] for name in NAMES)
        normals = np.broadcast_to(np.float32(np.nan), (*depth.shape, 3))
        return View(grey, Seen(uv.astype(np.float32), depth.astype(np.float32), normals, vertices), int(longest))

    def kept(self, species: int) -> Path:
        """The file of this species, which is rendered if there is none."""
        file = self.folder / f"{self.scenes.seed}-{species:06d}.npz"
        if not file.exists():
            found: dict[str, NDArray[Any]] = {}
            for individual, number in np.ndindex(INDIVIDUALS, VIEWS):
                one = self.scenes.view(species, individual, number)
                grey, half = cv2.cvtColor(one.pixels, cv2.COLOR_RGB2GRAY), np.float16
                values = grey, one.seen.uv.astype(half), one.seen.depth.astype(half), one.seen.vertices, np.array(one.longest)
                found |= {f"{name}-{individual}-{number}": value for name, value in zip(NAMES, values)}
            keep(file, **found)
        return file

    def pair(self, number: int) -> Mapped:
        """Of species `number` modulo `TOGETHER` while it has its turn; the next pair of a species is of another individual."""
        species, which = in_turn(number, N_COUPLES, TOGETHER)
        return self.couple(species % N_SPECIES, which, number)

    def couple(self, species: int, which: int, number: int) -> Mapped:
        """Couple `which` of this species, in the crops that this number draws."""
        rng = np.random.default_rng((self.scenes.seed, number, 2))
        views = rng.permutation(COUPLES[which // INDIVIDUALS])
        individual = which % INDIVIDUALS
        first, second = (self.view(species, individual, int(one)) for one in views)
        return crops((first, second), self.side, rng, (species, individual))


NAMES = "grey", "uv", "depth", "vertices", "longest"
N_COUPLES = INDIVIDUALS * len(COUPLES)


def of(pictures: conditions.Pictures, side: int, crop: int, seed: int, folder: Path) -> Album:
    """The album of photos `side` px long in a folder of `folder` for all that they depend on."""
    return Album(Scenes(pictures, side, seed), crop, folder / drawn(pictures, side, INDIVIDUALS, VIEWS))


def drawn(pictures: conditions.Pictures, *about: int) -> str:
    """The name of all that rendered photos depend on: the pictures behind them, the code that draws, and numbers."""
    code = [Path(str(module.__file__)).read_text() for module in DRAWS]
    return fingerprint(*about, [ref.image_id for ref in pictures.refs], code)


def keep(file: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays into one compressed file, whole or not at all."""
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **arrays)
    write_atomically(file, data.getvalue())


def crops(views: tuple[View, View], side: int, rng: Rng, who: tuple[int, int]) -> Mapped:
    """`side` px of two photos of one individual, grey and no smaller, about a place that both show if there is one."""
    first, second = (view.seen for view in views)
    on_skin = np.argwhere(~np.isnan(first.uv[..., 0]))[:, ::-1]
    here = on_skin[rng.integers(len(on_skin), size=TRIES)] if len(on_skin) else np.zeros((1, 2))
    there = second.project(first.places(here))
    both = np.flatnonzero(np.isfinite(there[:, 0]))
    sizes = [np.array(view.pixels.shape[::-1]) for view in views]
    about = (here[both[0]], there[both[0]]) if len(both) else [size / 2 for size in sizes]
    corners = [np.rint(middle - side / 2).astype(int).clip(0, size - side) for middle, size in zip(about, sizes)]
    windows = [np.s_[y : y + side, x : x + side] for x, y in corners]
    skin = [~np.isnan(seen.uv[window][..., 0]) for seen, window in zip((first, second), windows)]
    return Mapped(
        np.stack([view.pixels[window] / np.float32(255) for view, window in zip(views, windows)]),
        np.stack([_inner(one) for one in skin]),
        np.stack([_map(first, second, windows[0], corners[1]), _map(second, first, windows[1], corners[0])]),
        np.stack([_inner(~one) for one in skin]),
        who,
    )


def _map(here: Seen, there: Seen, window: tuple[slice, slice], corner: NDArray[np.int64]) -> NDArray[np.float32]:
    """(H, W, 2) px in a crop that begins at `corner`, of the pixels of a window."""
    rows, columns = np.mgrid[window]
    pixels = np.stack((columns, rows), axis=2)
    found = np.concatenate([there.project(here.places(part.reshape(-1, 2))) for part in np.array_split(pixels, PARTS)]).reshape(
        pixels.shape
    )
    found = np.where(np.isfinite(found), found - corner, OUTSIDE)
    return found.astype(np.float32)


def _inner(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is `MARGIN` px from the mask's border, and from the crop's."""
    kernel = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    found: NDArray[np.bool_] = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    return found
