"""GoodPoint trained on on rendered animals: two photos of one individual, whose skin says what is the same, three times in four; the rest
warped photographs, so that nothing is forgotten. Of another individual of the species, and beside the animal, nothing is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import SettingsError
from ...evaluation.answers import auroc
from ...evaluation.metrics import harmonic_mean
from ...extractors.cells import CellExtractor
from ...extractors.goodpoint import heatmap
from ...matchers.nearest import NearestMatcher
from ...records import Photo, PhotoRef
from ...settings import MatchSettings
from .. import Choices, goodpoint, validation
from ..loop import Plan, Task
from ..pairs import Pair
from ..validation import HELD_OUT, N_HELD_OUT
from . import album
from .conditions import Pictures
from .partners import INDIVIDUALS

SIDE = 480  # px of a rendered photo
LARGEST = 288  # px of a crop: the shorter side of a photo is at least as long
WARPED = 4  # every fourth pair is of a warped photograph
N_SPECIES, N_VIEWS, N_KEYPOINTS = 6, 3, 512  # that it is judged on; photos of each individual, keypoints of each photo
POOL = "pool"  # folder of what was rendered, in one for all that it depends on


def stages(
    photos: Sequence[PhotoRef],
    held_out: Sequence[PhotoRef],
    choices: Choices,
    plan: Plan,
    out: Path,
    progress: Callable[[str, int, int], None],
) -> Iterator[Task]:
    """One; what it renders is kept in a folder of `out`. Raises as `goodpoint.create` does, and SettingsError for crops that are too
    large."""
    if choices.side > LARGEST:
        raise SettingsError(f"side is {choices.side}; of rendered photos it is at most {LARGEST}")
    warped = goodpoint.create(photos, held_out, choices)
    seen, others = (album.of(Pictures(refs), SIDE, choices.side, choices.seed + i, out / POOL) for i, refs in enumerate((photos, held_out)))
    for done in range(N_SPECIES):
        others.kept(HELD_OUT + done)
        progress("species to be judged on", done + 1, N_SPECIES)
    couples = [others.couple(HELD_OUT + i % N_SPECIES, i * album.N_COUPLES // N_HELD_OUT, i) for i in range(N_HELD_OUT)]

    def pair(number: int) -> Pair:
        rank, rest = divmod(number, WARPED)
        found: Pair = seen.pair(rank * (WARPED - 1) + rest - 1) if rest else warped.pair(rank)
        return found

    def validate() -> dict[str, float]:
        found = {"warped": warped.validate()["score"], "auroc": told_apart(warped.network, others, plan.device)}
        on_skin = validation.judge_dense(warped.network, heatmap, couples)
        return on_skin | found | {"score": harmonic_mean(on_skin["score"], *found.values())}

    yield replace(warped, pair=pair, validate=validate, about={**warped.about, "species": album.N_SPECIES})


def told_apart(network: Any, photos: album.Album, device: str) -> float:
    """How often two photos of one individual have a larger sum of confidences of nearest neighbours than two of different individuals of
    its species, the mean over held-out species; by whole photos and the keypoints that are found in them."""
    extractor = CellExtractor("goodpoint", network, heatmap, N_KEYPOINTS, device)
    matcher, found = NearestMatcher(MatchSettings(), device), []
    for species in range(HELD_OUT, HELD_OUT + N_SPECIES):
        views = [(who, photos.view(species, who, number).pixels) for who in range(INDIVIDUALS) for number in range(N_VIEWS)]
        features = [(who, extractor.extract(Photo("", np.repeat(grey[..., None], 3, axis=2)))) for who, grey in views]
        sums: tuple[list[float], list[float]] = [], []
        for (who, one), (whose, other) in combinations(features, 2):
            [(_, (_, confidence))] = matcher.match(one, [other])
            sums[who == whose].append(float(confidence.sum()))
        found.append(auroc(sums[1], sums[0]))
    return float(np.mean(found))
