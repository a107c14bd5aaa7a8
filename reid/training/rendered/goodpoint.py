"""GoodPoint trained on on rendered animals: two photos of one individual, whose skin says what is the same, three times in four; the rest
warped photographs, so that nothing is forgotten. Of another individual of the species, and beside the animal, nothing is the same.

Its own recipe asks that descriptors of one place be alike, and learns nothing from these pairs. Here each keypoint has to tell its place
from all others by cross-entropy (InfoNCE, van den Oord et al. 2018), and the heatmaps are held where they were: what is found stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SettingsError
from ...evaluation.answers import auroc
from ...evaluation.metrics import harmonic_mean
from ...extractors.cells import CellExtractor, peaks, sample
from ...extractors.goodpoint import heatmap
from ...matchers.nearest import NearestMatcher
from ...records import Photo, PhotoRef
from ...settings import MatchSettings
from .. import Choices, goodpoint, validation
from ..loop import Forward, Plan, Task, in_precision
from ..pairs import Pair, inside
from ..validation import HELD_OUT, N_HELD_OUT
from . import album
from .conditions import Pictures
from .partners import INDIVIDUALS

SIDE = 480  # px of a rendered photo
LARGEST = 288  # px of a crop: the shorter side of a photo is at least as long
WARPED = 4  # every fourth pair is of a warped photograph
POINTS, BESIDE = 160, 80  # the strongest keypoints of an image that are learned from; those beside its animal
APART = 12.0  # px beyond which two places are not one
TEMPERATURE = 0.07  # of the cosines
HELD = 2.0  # weight of what holds the heatmaps
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
    before = deepcopy(warped.network).eval().requires_grad_(False).to(plan.device)
    seen, others = (album.of(Pictures(refs), SIDE, choices.side, choices.seed + i, out / POOL) for i, refs in enumerate((photos, held_out)))
    for done in range(N_SPECIES):
        others.kept(HELD_OUT + done)
        progress("species to be judged on", done + 1, N_SPECIES)
    couples = [others.couple(HELD_OUT + i % N_SPECIES, i * album.N_COUPLES // N_HELD_OUT, i) for i in range(N_HELD_OUT)]

    def pair(number: int) -> Pair:
        rank, rest = divmod(number, WARPED)
        found: Pair = seen.pair(rank * (WARPED - 1) + rest - 1) if rest else warped.pair(rank)
        return found

    def of_batch(forward: Forward, batch: list[Pair], generator: torch.Generator) -> dict[str, Tensor]:
        images = torch.from_numpy(np.concatenate([one.images for one in batch])[:, None]).to(plan.device)
        with torch.no_grad():
            held, _ = in_precision(before, plan)(images)
        logits, descriptors = forward(images)
        return loss(logits, descriptors, held, batch)

    def validate() -> dict[str, float]:
        found = {"warped": warped.validate()["score"], "auroc": told_apart(warped.network, others, plan.device)}
        on_skin = validation.judge_dense(warped.network, heatmap, couples)
        return on_skin | found | {"score": harmonic_mean(on_skin["score"], *found.values())}

    def keep_norms(share: float) -> None:
        """Batch norms stay as they were: rendered crops are not what photos are like."""
        warped.before(1.0)
        warped.network.eval()

    about = {**warped.about, "species": album.N_SPECIES}
    yield replace(warped, pair=pair, loss=of_batch, validate=validate, before=keep_norms, about=about)


def loss(logits: Tensor, descriptors: Tensor, held: Tensor, batch: Sequence[Pair]) -> dict[str, Tensor]:
    """Of [2B x ...] outputs, a pair's images one behind the other, and the logits `held` that the network began with, whose keypoints these
    are: `descriptors`, the cross-entropy, a mean over keypoints, `heatmaps`, the divergence from what they were, a mean over cells, and
    their weighted sum."""
    maps, device = heatmap(held), logits.device

    def of(image: int, mask: Any, most: int) -> Tensor:
        """[N x 2] px of an image's strongest keypoints in the mask."""
        points, scores = peaks(maps[image], torch.from_numpy(mask).to(device))
        return points[scores.topk(min(most, len(scores))).indices]

    points = [of(2 * i + j, one.valid[j], POINTS) for i, one in enumerate(batch) for j in range(2)]
    wrong, n_right, n_points = logits.sum() * 0, 0, 0
    for i, one in enumerate(batch):
        strange = [
            (2 * k, mask, BESIDE if other is one else POINTS) for k, other in enumerate(batch) if (mask := one.elsewhere(other)) is not None
        ]
        for j, way in enumerate(one.ways(logits)):
            here, there, others = points[2 * i + j], way(points[2 * i + j]), points[2 * i + 1 - j]
            seen = inside(there, torch.from_numpy(one.valid[1 - j]).to(device))
            here, there = here[seen], there[seen]
            own, theirs = descriptors[2 * i + j], descriptors[2 * i + 1 - j]
            asked = sample(own, here)
            rivals = [
                *_rivals(asked, sample(theirs, others), torch.cdist(there, others) > APART),
                *_rivals(asked, asked, torch.cdist(here, here) > APART),
            ]
            for image, mask, most in strange:
                at = sample(descriptors[image + 1 - j], of(image + 1 - j, mask[1 - j], most))
                rivals += _rivals(asked, at, torch.ones((len(asked), len(at)), dtype=torch.bool, device=device))
            right = (asked * sample(theirs, there)).sum(dim=1, keepdim=True)
            likeness = torch.cat((right, *rivals), dim=1) / TEMPERATURE
            wrong = wrong + F.cross_entropy(likeness, torch.zeros(len(here), dtype=torch.long, device=device), reduction="sum")
            n_right += int((likeness.argmax(dim=1) == 0).sum())
            n_points += len(here)
    moved = F.kl_div(logits.log_softmax(dim=1), held.softmax(dim=1), reduction="none").sum(dim=1).mean()
    told = wrong / max(1, n_points)
    return {"loss": told + HELD * moved, "descriptors": told, "heatmaps": moved, "right": torch.tensor(n_right / max(1, n_points))}


def _rivals(asked: Tensor, others: Tensor, apart: Tensor) -> list[Tensor]:
    """[[N x M]] cosines to places that are other ones, where they are `apart` [N x M]; none where there are no places."""
    return [(asked @ others.T).masked_fill(~apart, -torch.inf)] if len(others) else []


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
