"""GLAMpoints' training (Truong et al., ICCV 2019): points whose match the known homography confirms are rewarded, false ones are not.

The peaks of both score maps are described and matched, mutual nearest neighbours without a ratio test. A right match sets its point's
score to 1; of the wrong ones as many, drawn at random, set theirs to 0; nothing else has a gradient. The paper learns from the first
image's map alone, here both teach. Of the released code's mistakes three are mended: pairs are fresh at every step, a match is
right within 3 px, and of two close peaks one is kept. Added: peaks that the other image cannot show are neither right nor wrong.

Batch normalisation keeps the mean and variance that it begins with, and learns its scale and shift. Normalised by each batch, whose
statistics are others than those in use, networks stayed below their untrained beginning for 500 steps; without, they are above it after 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import weights
from ..evaluation import metrics
from ..extractors.glampoints import GlamPoints, describe, single_peaks
from ..imaging import warps
from ..imaging.noise import change
from ..imaging.warps import Factors, Matrix
from ..records import PhotoRef
from . import Choices, pairs, validation
from .loop import Forward, Task
from .pairs import Pair, Warped
from .photos import Crops
from .validation import Found, mutual

RADIUS = 10  # px, among the peaks that are learned from, wider than in use: among many, one is near by chance, wherever the peak is


@dataclass(frozen=True)
class Recipe:
    """How pairs are made."""

    factors: Factors = field(default_factory=Factors)
    inversion: bool = False  # the paper's filter: 1 in 100 matches is right if one image is inverted, so half of its pairs teach nothing


def pair(crops: Crops, number: int, recipe: Recipe) -> Warped:
    """The pair of this number."""
    return pairs.draw(crops, number, partial(warps.product, factors=recipe.factors), partial(change, inversion=recipe.inversion))


def shared(one: Warped) -> NDArray[np.bool_]:
    """(2, H, W) where either image has valid pixels that the other shows, too."""
    back: Matrix = np.asarray(np.linalg.inv(one.homography), np.float64)
    seen = [warps.warp(other.astype(np.uint8), way) > 0 for other, way in zip(one.valid[::-1], (one.homography, back))]
    found: NDArray[np.bool_] = one.valid & np.stack(seen)
    return found


def described(one: Pair, keypoints: Sequence[Tensor]) -> list[Found]:
    """Keypoints [N x 2] px of either image with their descriptors [N x 128]."""
    light = (one.images * 255).round().astype(np.uint8)
    return [(points, torch.from_numpy(describe(grey, points.cpu().numpy()))) for grey, points in zip(light, keypoints)]


def rewards(
    first: Tensor, second: Tensor, homography: NDArray[np.float64], size: tuple[int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Of matches, given by their whole-pixel points [M x 2] in this image and in the other, to which the homography leads: the scores
    that this one, of `size` (width, height), should have, and where it learns (bool), both [H x W]."""
    right = torch.from_numpy(metrics.correct(first.numpy(), second.numpy(), homography))
    columns, rows = first.long().unbind(dim=1)
    reward = torch.zeros((size[1], size[0]))
    reward[rows[right], columns[right]] = 1
    wrong = torch.nonzero(~right)[:, 0]
    drawn = wrong[torch.randperm(len(wrong), generator=generator)[: int(right.sum())]]
    learned = reward > 0
    learned[rows[drawn], columns[drawn]] = True
    return reward, learned


def loss(scores: Tensor, others: Tensor, batch: Sequence[Warped], generator: torch.Generator) -> dict[str, Tensor]:
    """The squared error where an image learns, its mean over the pixels and over a pair's images, and sum over the pairs; of score maps
    [B x H x W] of the first and the second images. Beside it the right and the wrong points learned from, means over the images."""
    total, right, wrong = scores.sum() * 0, 0.0, 0.0
    for own, other, one in zip(scores, others, batch):
        valid = torch.from_numpy(shared(one)).to(own.device)
        keypoints = [single_peaks(each.detach(), ok, RADIUS)[0].cpu() for each, ok in zip((own, other), valid)]
        (first, ours), (second, theirs) = described(one, keypoints)
        rows, columns = mutual(ours @ theirs.T).unbind(dim=1)
        size = own.shape[1], own.shape[0]
        back: Matrix = np.asarray(np.linalg.inv(one.homography), np.float64)
        sides = (own, first[rows], second[columns], one.homography), (other, second[columns], first[rows], back)
        for scored, here, there, way in sides:
            reward, learned = (each.to(own.device) for each in rewards(here, there, way, size, generator))
            total = total + 0.5 * ((scored - reward) ** 2 * learned).sum() / (learned.sum() + 1e-6)
            right, wrong = right + 0.5 * float(reward.sum()), wrong + 0.5 * float((learned & (reward == 0)).sum())
    return {"loss": total, "right": torch.tensor(right / len(batch)), "wrong": torch.tensor(wrong / len(batch))}


def validate(network: GlamPoints, held_out: Sequence[Warped]) -> dict[str, float]:
    """What `validation.judge` says of the highest peaks, as close together as the extractor has them."""
    device = next(network.parameters()).device

    def find(one: Pair) -> list[Found]:
        scores = network(torch.from_numpy(one.images[:, None]).to(device))
        return described(one, [validation.best(*single_peaks(*each)) for each in zip(scores, torch.from_numpy(one.valid).to(device))])

    return validation.judge(held_out, find)


def create(photos: Sequence[PhotoRef], held_out: Sequence[PhotoRef], choices: Choices) -> Task:
    """What `loop.train` needs. It begins with "shipped", "scratch" or a file of weights."""
    torch.manual_seed(choices.seed)
    own = GlamPoints()
    if choices.begin != "scratch":
        own.load_state_dict(weights.load("glampoints", "" if choices.begin == "shipped" else choices.begin))
    crops, others = Crops(photos, choices.side, choices.seed), Crops(held_out, choices.side, choices.seed + 1)
    return task(crops, others, Recipe(Factors(rotation=np.deg2rad(choices.rotation))), own)


def task(crops: Crops, others: Crops, recipe: Recipe, own: GlamPoints) -> Task:
    """The task of training `own` on pairs from `crops`, judged on pairs from `others`."""
    held_out = [pair(others, validation.HELD_OUT + number, recipe) for number in range(validation.N_HELD_OUT)]

    def of_batch(forward: Forward, batch: list[Warped], generator: torch.Generator) -> dict[str, Tensor]:
        images = torch.from_numpy(np.stack([one.images for one in batch])).to(next(own.parameters()).device)
        first, second = forward(images.flatten(0, 1)[:, None]).unflatten(0, (-1, 2)).unbind(dim=1)
        return loss(first, second, batch, generator)

    def keep_statistics(share: float) -> None:
        for module in own.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    torch.nn.Module.to(own, memory_format=torch.channels_last)  # type: ignore[call-overload]
    about, learned = {"inversion": recipe.inversion}, partial(pair, crops, recipe=recipe)
    return Task("glampoints", own, learned, of_batch, partial(validate, own, held_out), about, before=keep_statistics)
