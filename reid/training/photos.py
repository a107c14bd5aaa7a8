"""Photos to train on: crops of one size, grey, from a folder, a gallery or drawings. The same seed and step give the same crop."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import catalogue
from ..errors import PhotoError
from ..imaging import facts, prepare
from ..records import PhotoRef

LONGEST = 1024  # px of a photo that is kept in memory
KEPT = 400  # photos kept, 0.3 GB
LEAST_SPREAD = 8.0  # of the light in 0..255: a crop with less shows nothing
TRIES = 10


class Crops:
    """Random crops of photos, each photo as often as any other."""

    def __init__(self, refs: Sequence[PhotoRef], side: int, seed: int):
        if not refs:
            raise PhotoError("no photo to train on")
        self.refs, self.side, self.seed = list(refs), side, seed
        self._kept: OrderedDict[int, tuple[NDArray[np.uint8], NDArray[np.bool_]]] = OrderedDict()

    def crop(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The crop of this number: (side, side) light in 0..255, and where it may have keypoints.

        A crop covers between `side` px and all of the photo's shorter side; a photo that is smaller is enlarged."""
        rng = np.random.default_rng((self.seed, number))
        for _ in range(TRIES):
            light, mask = self._photo(int(rng.integers(len(self.refs))))
            height, width = light.shape
            taken = int(rng.uniform(min(self.side, height, width), min(height, width) + 1))
            x, y = int(rng.integers(width - taken + 1)), int(rng.integers(height - taken + 1))
            window = np.s_[y : y + taken, x : x + taken]
            how = cv2.INTER_AREA if taken > self.side else cv2.INTER_CUBIC
            found = cv2.resize(light[window], (self.side, self.side), interpolation=how).astype(np.float32)
            if found.std() >= LEAST_SPREAD:
                break
        return found, cv2.resize(mask[window].astype(np.uint8), (self.side, self.side), interpolation=cv2.INTER_NEAREST).astype(bool)

    def _photo(self, place: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        if place not in self._kept:
            photo = prepare(self.refs[place], LONGEST)
            light = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
            self._kept[place] = light, np.ones(light.shape, bool) if photo.mask is None else photo.mask
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(place)
        return self._kept[place]


def split(refs: Sequence[PhotoRef]) -> tuple[list[PhotoRef], list[PhotoRef]]:
    """Photos to learn from and photos to be judged on, every tenth; of fewer than ten all are both, in other crops."""
    held_out = list(refs[::10]) if len(refs) >= 10 else list(refs)
    return [ref for ref in refs if len(refs) < 10 or ref not in held_out], held_out


def unlabelled(folder: Path, note: Callable[[str], None] = lambda text: None) -> list[PhotoRef]:
    """The photos to learn from in a folder, see `catalogue.unlabelled`; its notes are told. Raises GalleryError for what is no folder."""
    found = catalogue.unlabelled(folder, facts)
    for text in found.notes:
        note(text)
    return list(found.references)
