"""One vector a photo: what ImageNet's network sees of the animal, or, with weights, what of it tells the animals of a gallery apart.

The means and deviations of the network's maps on the animal (`Outline.pooled`) are standardised by how the maps vary over the rendered
animals that the outline was learned from. `reid train embedding` learns a projection of them (`training/embedding.py`). The vector is the
descriptor of one keypoint, in the middle of the animal.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import weights
from ..errors import WeightsError
from ..records import Features, Photo
from ..settings import ExtractSettings
from . import Extractor, entry, outline, strongest, weights_digest

NAME = "embedding"
LEAST_SPREAD = 0.01  # added to a deviation, in units of the map's own, before its logarithm is taken


class Embedding(Extractor):
    """A unit vector of 992 numbers."""

    name = NAME

    def __init__(self, extract: ExtractSettings, device: str):
        self.outline = outline.create(device)
        norms: Any = self.outline.decoder.norms
        parts = [[part.cpu().numpy() for part in (norm.running_mean, (norm.running_var + norm.eps).sqrt())] for norm in norms]
        self.centre = np.concatenate([(mean, np.zeros_like(mean)) for mean, _ in parts], axis=None)
        self.scale = np.concatenate([(scale, scale) for _, scale in parts], axis=None)
        self.is_mean = np.concatenate([np.repeat((True, False), len(mean)) for mean, _ in parts])
        self.projection = projection(extract) if extract.weights else None

    def extract(self, photo: Photo) -> Features:
        """One keypoint; none where the mask is empty."""
        mask = np.ones(photo.pixels.shape[:2], bool) if photo.mask is None else photo.mask
        places = np.argwhere(mask)[:, ::-1]
        if not len(places):
            return strongest(photo, NAME, 1, places, np.zeros(0), np.zeros((0, len(self.centre))))
        middle = np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))
        return strongest(photo, NAME, 1, places[middle], np.ones(1), self.vector(photo.pixels, mask)[None])

    def vector(self, pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Of (H, W, 3) RGB pixels and the mask (H, W) of the animal."""
        seen = (self.outline.pooled(pixels, mask) - self.centre) / self.scale
        found = np.where(self.is_mean, seen, np.log(np.maximum(seen, 0) + LEAST_SPREAD))
        if self.projection is not None:
            mean, axes = self.projection
            found = (found / np.linalg.norm(found) - mean) @ axes
        unit: NDArray[np.float32] = (found / np.linalg.norm(found)).astype(np.float32)
        return unit


def projection(extract: ExtractSettings) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean (V,) and the axes (V, V) that `reid train embedding` has left in the settings' file of weights.

    Raises WeightsError for another file, and for one that was learned of another network's vectors."""
    state, card = weights.load(NAME, extract.weights), weights.card(Path(extract.weights))
    shapes = [tuple(state[name].shape) for name in ("mean", "axes") if name in state]
    n = entry(NAME).n_dims
    if card.get("extractor_weights") != weights_digest(replace(extract, weights="")) or shapes != [(n,), (n, n)]:
        raise WeightsError(f"{extract.weights} was learned of vectors that this version of reid does not make; train it again")
    if not all(state[name].isfinite().all() for name in ("mean", "axes")):
        raise WeightsError(f"{extract.weights} is damaged: not all of its numbers are finite; train it again")
    return state["mean"].numpy(), state["axes"].numpy()


def create(extract: ExtractSettings, device: str) -> Embedding:
    return Embedding(extract, device)
