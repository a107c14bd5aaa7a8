"""Pairs of rendered photos, described: which keypoints are the same spot of skin. What is described is kept in a file a species."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from ... import extractors
from ...extractors import outline
from ...records import Features, Photo
from ...store import write_atomically
from ..truth import UNMATCHED, Pair, Partners, assigned, in_turn
from .scenes import Scenes, View

INDIVIDUALS, VIEWS = 4, 6  # of a species
IMPOSTORS = 60  # pairs of two individuals, beside as many of one and the same
TOGETHER = 6  # species in turn
N_SPECIES = 64  # after which the first comes again: to render one takes as long as to learn from a hundred pairs
OF_KEYPOINTS = "keypoints", "scores", "descriptors", "scales", "angles"  # as `Features` has them; not all extractors the last two
NEAR, FAR = 3.0, 8.0  # px within which two keypoints are one, beyond which they are not; as many more as a photo was enlarged


@dataclass(frozen=True)
class Couple(Pair):
    """Two photos of a species."""

    same: bool  # individual


def partners(first: Features, second: Features, views: tuple[View, View]) -> Partners:
    """Of the keypoints of two photos of one individual: where the skin under each is in the other photo says so. What is hidden there, or
    lies beside the animal, has no partner."""
    here, there = (view.seen for view in views)
    to, back = there.project(here.places(first.keypoints)), here.project(there.places(second.keypoints))
    enlarged = max(1.0, max(max(view.pixels.shape) / view.longest for view in views) / 2)
    return assigned(first.keypoints, second.keypoints, to, back, NEAR * enlarged, FAR * enlarged)


class Species:
    """The pairs of species, by number; `folder` keeps what was described."""

    def __init__(self, scenes: Scenes, extractor: extractors.Extractor, folder: Path):
        self.scenes, self.extractor, self.folder = scenes, extractor, folder
        self.of = lru_cache(2 * TOGETHER)(self._of)

    def pair(self, number: int) -> Couple:
        """Of species `number` modulo `TOGETHER` while it has its turn."""
        species, which = in_turn(number, N_COUPLES, TOGETHER)
        return self.of(species % N_SPECIES)[which]

    def _of(self, number: int) -> list[Couple]:
        """All pairs of this species, in any order."""
        file = self.folder / f"{self.scenes.seed}-{number:06d}.safetensors"
        if not file.exists():
            write_atomically(file, save(self._described(number)))
        return _read(file.read_bytes(), self.extractor.name)

    def _described(self, number: int) -> dict[str, NDArray[Any]]:
        views = [self.scenes.view(number, *divmod(i, VIEWS)) for i in range(INDIVIDUALS * VIEWS)]
        masks = [outline.widened(np.isfinite(view.seen.uv[..., 0])) for view in views]  # as photos are matched in use
        features = [self.extractor.extract(Photo(f"{number}-{i}", view.pixels, mask)) for i, (view, mask) in enumerate(zip(views, masks))]
        rng = np.random.default_rng((self.scenes.seed, number, 0, 1))
        alike = [(a, b) for a, b in combinations(range(len(views)), 2) if a // VIEWS == b // VIEWS]
        others = [(a, b) for a, b in combinations(range(len(views)), 2) if a // VIEWS != b // VIEWS]
        others = [others[i] for i in rng.permutation(len(others))[:IMPOSTORS]]
        couples = [(alike + others)[i][:: int(rng.choice((1, -1)))] for i in rng.permutation(N_COUPLES)]
        rows: list[NDArray[np.int64]] = []
        for a, b in couples:
            one = a // VIEWS == b // VIEWS
            n, m = len(features[a]), len(features[b])
            rows += partners(features[a], features[b], (views[a], views[b])) if one else (np.full(n, UNMATCHED), np.full(m, UNMATCHED))
        of_keypoints = [name for name in OF_KEYPOINTS if getattr(features[0], name) is not None]
        return {
            "sizes": np.array([one.size for one in features]), "counts": np.array([len(one) for one in features]),
            "couples": np.array(couples), "partners": np.concatenate(rows).astype(np.int16),
            **{name: np.concatenate([getattr(one, name) for one in features]) for name in of_keypoints},
        }  # fmt: skip


N_COUPLES = INDIVIDUALS * VIEWS * (VIEWS - 1) // 2 + IMPOSTORS


def _read(data: bytes, kind: str) -> list[Couple]:
    table = load(data)
    ends = np.cumsum(table["counts"])[:-1]
    parts = (np.split(table[name], ends) for name in OF_KEYPOINTS if name in table)
    photos = [Features(kind, (int(w), int(h)), *rest) for (w, h), *rest in zip(table["sizes"], *parts)]
    couples: list[list[int]] = table["couples"].tolist()
    rows = iter(np.split(table["partners"].astype(np.int64), np.cumsum([len(photos[i]) for couple in couples for i in couple])))
    return [Couple((photos[a], photos[b]), (next(rows), next(rows)), a // VIEWS == b // VIEWS) for a, b in couples]
