"""GoodPoint's training (arXiv 2006.01030): two warps of one photo, and what they agree on becomes the target of both.

Of each heatmap the maxima of cells, 32 px in the first image and 16 px in the second, are matched by place and by descriptor; where both
name the same point it is a keypoint, half way between the two. The released code departs from the paper; followed here, with the known
mistakes mended: each term reads its own image's heatmap, maxima in the borders of a warp are none, the descriptors' grid does not drift,
and both heatmaps are smoothed on purpose before they are compared, which the code got from a sampling that shrank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .. import weights
from ..extractors.cells import CELL, sample
from ..extractors.goodpoint import LEAK, GoodPoint, heatmap
from ..extractors.superpoint import load_network
from ..imaging import warps
from ..imaging.noise import disturb
from ..imaging.warps import Strength
from ..records import PhotoRef
from . import Choices, pairs, validation
from .loop import Forward, Task
from .pairs import Pair, Warped, Way, inside
from .photos import Crops

CELLS = 32, 16  # px a side of the cells whose maxima are matched, of the first and of the second image
NEAR = 4.0  # px within which two points may be one
FAR = 7.0  # px beyond which a descriptor's nearest neighbour is wrong
LOOKALIKE = 0.2  # mean cosine to random points of the image above which a descriptor says too little
SHUFFLES = 8
KEYPOINTS, DESCRIPTORS, HEATMAPS = 0.5, 1.0, 2000.0  # weights of the three parts of the loss
WARM = 0.3  # share of a run begun from SuperPoint in which ReLU turns into leaky ReLU


@dataclass(frozen=True)
class Recipe:
    """How pairs are made and what is learned from them."""

    strength: Strength = field(default_factory=Strength)
    rule: str = "paper"  # keep a point if both neighbours are one and near; "code": unless they differ and are near
    noise: bool = True


def pair(crops: Crops, number: int, recipe: Recipe) -> Warped:
    """The pair of this number."""
    change = disturb if recipe.noise else lambda image, rng: image
    return pairs.draw(crops, number, partial(warps.sample, strength=recipe.strength), change)


def maxima(scores: Tensor, valid: Tensor, cell: int) -> Tensor:
    """[N x 2] px: the highest valid pixel of each cell of `cell` px a side; cells without a valid pixel have none."""
    width = scores.shape[1]
    blocks = scores.masked_fill(~valid, -1).unfold(0, cell, cell).unfold(1, cell, cell).reshape(-1, cell * cell)
    value, place = blocks.max(dim=1)
    number = torch.arange(len(blocks), device=scores.device)
    per_row = width // cell
    found = torch.stack((number % per_row * cell + place % cell, number // per_row * cell + place // cell), dim=1)
    return found[value >= 0].float()


def targets(
    scores: Tensor, valid: Tensor, descriptors: Tensor, ways: tuple[Way, Way], rule: str
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Keypoints [K x 2] of either image, in whole px, and what was matched on the way: `projected` [N x 2] px in the second image, `own`
    [N x 2] in the first, `others` [M x 2], `by_place` and `by_descriptor` [N] into them, `distance` [N] px by place."""
    there, back = ways
    own, others = (maxima(one.detach(), ok, cell) for one, ok, cell in zip(scores, valid, CELLS))
    projected = there(own)
    seen = inside(projected, valid[1])
    own, projected = own[seen], projected[seen]
    if not len(own) or not len(others):
        empty = own.new_zeros((0, 2))
        return empty, empty, {"own": own[:0], "projected": projected[:0], "others": others}
    apart = torch.cdist(projected, others)
    distance, by_place = apart.min(dim=1)
    with torch.no_grad():
        likeness = sample(descriptors[0], own) @ sample(descriptors[1], others).T
    by_descriptor = likeness.argmax(dim=1)
    same, near = by_place == by_descriptor, distance <= NEAR
    keep = same & near if rule == "paper" else same | ~near
    second = ((projected + others[by_place]) / 2)[keep].round()
    second = second[inside(second, valid[1])]
    first = back(second).round()
    both = inside(first, valid[0])
    about = {"own": own, "projected": projected, "others": others, "by_place": by_place, "by_descriptor": by_descriptor}
    return first[both], second[both], about | {"distance": distance}


def loss(logits: Tensor, descriptors: Tensor, batch: Sequence[Pair], rule: str, generator: torch.Generator) -> dict[str, Tensor]:
    """The three parts and their weighted sum, means over the pairs; of [2B x ...] outputs, a pair's images one behind the other."""
    parts: dict[str, list[Tensor]] = {name: [] for name in ("keypoints", "descriptors", "heatmaps")}
    maps, device = heatmap(logits), logits.device
    n_kept = 0
    for number, one in enumerate(batch):
        place = slice(2 * number, 2 * number + 2)
        valid, ways = torch.from_numpy(one.valid).to(device), one.ways(logits)
        own, theirs, matched = targets(maps[place], valid, descriptors[place], ways, rule)
        n_kept += len(own)
        zero = logits.sum() * 0
        parts["keypoints"].append(_likelihood(maps[place], own, theirs) if len(own) else zero)
        parts["heatmaps"].append(_difference(maps[place], valid, ways))
        parts["descriptors"].append(_contrast(descriptors[place], matched, generator) if "distance" in matched else zero)
    means = {name: torch.stack(values).mean() for name, values in parts.items()}
    total = KEYPOINTS * means["keypoints"] + DESCRIPTORS * means["descriptors"] + HEATMAPS * means["heatmaps"]
    return {"loss": total, **means, "kept": torch.tensor(n_kept / max(1, len(batch)))}


def create(photos: Sequence[PhotoRef], held_out: Sequence[PhotoRef], choices: Choices) -> Task:
    """What `loop.train` needs. It begins with "superpoint", "shipped", "scratch" or a file of weights."""
    recipe = Recipe(Strength(rotation=np.deg2rad(choices.rotation)))
    torch.manual_seed(choices.seed)
    if choices.begin == "superpoint":
        own = from_superpoint()
    else:
        own = GoodPoint()
        if choices.begin != "scratch":
            own.load_state_dict(weights.load("goodpoint", "" if choices.begin == "shipped" else choices.begin))
    crops, others = Crops(photos, choices.side, choices.seed), Crops(held_out, choices.side, choices.seed + 1)
    return task(crops, others, recipe, own, warm=choices.begin == "superpoint")


def task(crops: Crops, others: Crops, recipe: Recipe, own: GoodPoint, *, warm: bool = False) -> Task:
    """The task of training `own` on pairs from `crops`, judged on pairs from `others`. `warm`: it comes with ReLU, to become leaky."""
    held_out = [pair(others, validation.HELD_OUT + number, recipe) for number in range(validation.N_HELD_OUT)]

    def of_batch(forward: Forward, batch: list[Pair], generator: torch.Generator) -> dict[str, Tensor]:
        images = torch.from_numpy(np.concatenate([one.images for one in batch])[:, None])
        logits, descriptors = forward(images.to(next(own.parameters()).device))
        return loss(logits, descriptors, batch, recipe.rule, generator)

    def before(share: float) -> None:
        set_leak(own, LEAK * min(1.0, share / WARM) if warm else LEAK)

    def of_held_out() -> dict[str, float]:
        set_leak(own, LEAK)
        return validation.judge_dense(own, heatmap, held_out)

    torch.nn.Module.to(own, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Task("goodpoint", own, partial(pair, crops, recipe=recipe), of_batch, of_held_out, {"rule": recipe.rule}, before=before)


def set_leak(network: GoodPoint, leak: float) -> None:
    for module in network.modules():
        if isinstance(module, torch.nn.LeakyReLU):
            module.negative_slope = leak


def from_superpoint() -> GoodPoint:
    """GoodPoint begun from the open weights of SuperPoint (MIT), whose network it is but for the channel "no keypoint", which is dropped.

    The same function with ReLU; a leak of 0.01 at once would drown it, so training lets it in by and by. The last convolution has no
    batch norm here (folded), the logits have leaky ReLU before theirs (a bias lifts them above 0, and out again), and the batch norms
    add 1e-5, not 1e-3, to the variance (their factors make up for it)."""
    theirs: Any = load_network()
    head, last = theirs.detector[1], theirs.descriptor[1]
    lift = (6 * head.bn.running_var.sqrt() - head.bn.running_mean).clamp(min=0)
    head.conv.bias.data += lift
    head.bn.running_mean += lift
    theirs.descriptor[1] = fuse_conv_bn_eval(last.conv, last.bn)
    for norm in theirs.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            variance: Any = norm.running_var
            norm.weight.data *= ((variance + 1e-5) / (variance + norm.eps)).sqrt()
    state = theirs.state_dict()
    for name in [name for name in state if name.startswith("detector.1.") and state[name].ndim]:
        state[name] = state[name][: CELL**2]
    own = GoodPoint()
    own.load_state_dict({name.replace(".conv.", ".0.").replace(".bn.", ".2."): value for name, value in state.items()})
    return own


def _likelihood(maps: Tensor, own: Tensor, theirs: Tensor) -> Tensor:
    """Negative logarithm of the probability at the targets, mean of both images."""
    values = [one[at[:, 1].long(), at[:, 0].long()] for one, at in zip(maps, (own, theirs))]
    return -torch.stack([torch.log(value + 1e-7).mean() for value in values]).mean()


def _difference(maps: Tensor, valid: Tensor, ways: tuple[Way, Way]) -> Tensor:
    """Mean squared difference of the smoothed heatmaps, each warped onto the other, where both are valid; the sum of both ways."""
    smooth = F.avg_pool2d(maps[:, None], 3, stride=1, padding=1, count_include_pad=False)
    total = maps.sum() * 0
    for here, way in enumerate(ways[::-1]):  # pixels of the other image, read from this one
        height, width = maps.shape[1:]
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        pixels = torch.stack((columns, rows), dim=2).reshape(-1, 2).to(maps)
        read = way(pixels)
        grid = ((read + 0.5) / maps.new_tensor([width, height]) * 2 - 1).reshape(1, height, width, 2)
        warped = F.grid_sample(smooth[here : here + 1], grid, align_corners=False)[0, 0]
        seen = inside(read, valid[here]).reshape(height, width) & valid[1 - here]
        if seen.any():
            total = total + ((warped - smooth[1 - here, 0]) ** 2)[seen].mean()
    return total


def _contrast(descriptors: Tensor, matched: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """Descriptors of one place alike; of places taken for each other, and of random places, not."""
    ours, theirs = sample(descriptors[0], matched["own"]), sample(descriptors[1], matched["others"])
    at_place = sample(descriptors[1], matched["projected"])  # the code takes the nearest keypoint, however far it is
    alike = (1 - (ours * at_place).sum(dim=1)).mean()
    wrong = (matched["by_place"] != matched["by_descriptor"]) & (matched["distance"] >= FAR)
    taken = (ours * theirs[matched["by_descriptor"]]).sum(dim=1)
    mistaken = taken[wrong].mean() if wrong.any() else alike * 0
    orders = [torch.randperm(len(theirs), generator=generator)[: len(ours)].to(ours.device) for _ in range(SHUFFLES)]
    n = min(len(ours), len(theirs))
    chance = torch.stack([(ours[:n] * theirs[order[:n]]).sum(dim=1) for order in orders]).mean(dim=0)
    common = chance > LOOKALIKE
    return alike + mistaken + (chance[common].mean() if common.any() else alike * 0)
