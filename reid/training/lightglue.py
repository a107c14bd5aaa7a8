"""LightGlue's training for any features (Lindenberger et al. 2023, arXiv 2306.13643), its first stage: pairs whose homography is known.

Views of a photo are warped, disturbed and described, and the keypoints of two of them that fall on one another are to be matched. A view
is drawn as for GoodPoint, with more rotation, and then placed inside its crop, as LightGlue's authors place theirs: nothing beyond the
photo is seen, no false corner comes from a border, and an extractor need not describe what a mask then drops.

It begins with nothing, or with the LightGlue of another extractor. Then attention stays as that one learned it, from millions of pairs
and from scenes that were photographed from all sides; what comes before it and after it is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import extractors, weights
from ..errors import SettingsError, WeightsError
from ..evaluation import metrics
from ..imaging import warps
from ..imaging.noise import disturb
from ..imaging.warps import Matrix, Strength
from ..matchers.lightglue_layers import Ends, Shape, feed_forward, renamed, rotate
from ..matchers.lightglue_network import LightGlue, places
from ..matchers.verified import DOUBTFUL
from ..records import Features, Photo, PhotoRef
from ..settings import ExtractSettings
from . import Choices
from .loop import Forward, Plan, Task
from .photos import Crops
from .truth import IGNORED, NEAR, UNMATCHED, Pair, Warped, distances, in_turn, truth

SMALL = Shape(128, 4, 6)  # trains in hours on a processor; the published networks are six times as large
N_KEYPOINTS = 256  # a view
VIEWS = 6  # of a crop, which make 15 pairs: describing a view costs more than learning from a pair
COUPLES = sorted(combinations(range(VIEWS), 2), key=lambda couple: couple[::-1])  # a view is first needed as late as can be
TOGETHER = 32  # crops in turn: neighbouring pairs are of different ones
OFTEN = 0.2  # probability of each filter of the noise: three in ten of ALIKED's keypoints have a partner; two at GoodPoint's half
AROUND = 1.25  # sides of a view that the crop it lies in has
N_HELD_OUT, HELD_OUT = 48, 10**6  # pairs that it is judged on, and the number of the first
N_FITTED, FITTED = 150, 2 * 10**6  # crops in which two extractors' keypoints are compared, and the number of the first
MOST = 1024  # keypoints of such a crop
SAME = 1.5  # px within which two extractors have found the same
RIDGE = 1e-3  # of the mean variance of a dimension
Progress = Callable[[str, int, int], None]  # what, how many, of how many


class Pairs:
    """Pairs by their number, of crops that are `AROUND` times as large as a view."""

    def __init__(self, crops: Crops, extractor: extractors.Extractor, strength: Strength):
        self.crops, self.extractor, self.strength = crops, extractor, strength
        self._view = lru_cache(TOGETHER * VIEWS)(self._described)

    def pair(self, number: int) -> Warped:
        """Of crop `number` modulo `TOGETHER` while it has its turn; the turns of different crops end at different times."""
        crop, couple = in_turn(number, len(COUPLES), TOGETHER)
        (first, there), (second, back) = (self._view(crop, view) for view in COUPLES[couple])
        homography = np.linalg.inv(back) @ there
        return Warped((first, second), truth(first.keypoints, second.keypoints, homography), homography)

    def _described(self, crop_number: int, view: int) -> tuple[Features, Matrix]:
        """The features of a view and its homography, which takes its pixels to those of the crop."""
        crop, mask = self.crops.crop(crop_number)
        rng = np.random.default_rng((self.crops.seed, crop_number, 1 + view))
        size = (round(len(crop) / AROUND),) * 2
        way = place_inside(warps.sample(rng, size, self.strength), size, len(crop), rng)
        light = disturb(warps.warp(crop, way, size), rng, OFTEN)
        animal = None if mask.all() else warps.warp(mask.astype(np.uint8), way, size) > 0
        return self.extractor.extract(_photo(f"{crop_number}-{view}", light, animal)), way


def _photo(name: str, light: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> Photo:
    """What an extractor takes, of light (H, W) in 0..255."""
    return Photo(name, np.repeat(light.round().astype(np.uint8)[:, :, None], 3, axis=2), mask)


def place_inside(way: Matrix, size: tuple[int, int], side: int, rng: np.random.Generator) -> Matrix:
    """The homography moved to a random place where its view of `size` lies inside a crop of `side` px, shrunk if it is too large."""
    width, height = size
    corners = warps.project(np.array([[0, 0], [width, 0], [0, height], [width, height]]) - 0.5, way)
    extent = np.ptp(corners, axis=0)
    factor = min(1.0, float((side / extent).min()))
    shift = rng.uniform(0, (side - factor * extent).clip(0)) - 0.5 - factor * corners.min(axis=0)
    return np.array([[factor, 0, shift[0]], [0, factor, shift[1]], [0, 0, 1]]) @ way


class _SelfAttention(nn.Module):
    """Of flat points [T x D] of P photos with N each."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.Wqkv, self.out_proj = nn.Linear(shape.dim, 3 * shape.dim), nn.Linear(shape.dim, shape.dim)
        self.ffn = feed_forward(shape.dim)

    def forward(self, state: Tensor, rotation: Tensor, seen: Tensor) -> Tensor:
        n, dim = state.shape
        weight = self.Wqkv.weight.view(dim, 3, dim).transpose(0, 1).reshape(3 * dim, dim)  # published: head, dimension, query / key / value
        projected = F.linear(state, weight, self.Wqkv.bias.view(dim, 3).T.reshape(-1)).view(n, 3, self.heads, -1)
        turned = rotate(projected[:, :2], rotation)
        message = self.out_proj(_attend(turned[:, 0], turned[:, 1], projected[:, 2], seen))
        return state + self.ffn(torch.cat((state, message), dim=1))  # type: ignore[no-any-return]


class _CrossAttention(nn.Module):
    """The same; the photos of the second half are those that the first half is matched with."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.to_qk, self.to_v, self.to_out = (nn.Linear(shape.dim, shape.dim) for _ in range(3))
        self.ffn = feed_forward(shape.dim)

    def forward(self, state: Tensor, seen: Tensor) -> Tensor:
        both, value = (project(state).view(len(state), self.heads, -1) for project in (self.to_qk, self.to_v))
        message = self.to_out(_attend(both, _swapped(both), _swapped(value), _swapped(seen)))
        return state + self.ffn(torch.cat((state, message), dim=1))  # type: ignore[no-any-return]


class _Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = _SelfAttention(shape), _CrossAttention(shape)


def _attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """[T x H x D / H] each -> messages [T x D]; each photo's points attend to those that are `seen` [P x N] of their own row."""
    q, k, v = (one.view(*seen.shape, *one.shape[1:]).transpose(1, 2) for one in (q, k, v))
    mask = None if seen.all() else seen[:, None, None]
    if q.is_cpu and torch.is_autocast_enabled("cpu"):  # the plain products use its bfloat16, PyTorch's fused attention does not
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        message = (scores if mask is None else scores.masked_fill(~mask, -1e4)).softmax(dim=3) @ v
    else:
        message = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    found: Tensor = message.transpose(1, 2).reshape(seen.numel(), -1)
    return found


def _swapped(values: Tensor) -> Tensor:
    """The second half first."""
    return torch.cat(values.chunk(2)[::-1])


class Network(Ends):
    """LightGlue with the parameters, and their names, of the published files, run on a batch at every layer of which it is judged."""

    def __init__(self, n_dims: int, with_scale_and_angle: bool = False, shape: Shape = SMALL):
        super().__init__(n_dims, with_scale_and_angle, shape)
        self.transformers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        turns: Any = self.posenc["Wr"].weight
        nn.init.normal_(turns)

    def forward(self, descriptors: Tensor, points: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[2B x N x C], [2B x N x 2 or 4] as `places` gives them, [2B x N] which are there; a pair's photos are B rows apart.

        -> of all L layers what is compared [L x 2B x N x D] and the logit of having a match [L x 2B x N]; of all but the last the logit
        of being sure [L-1 x 2B x N]."""
        turns: Any = self.posenc["Wr"].weight
        angle = (points.flatten(0, 1)[:, None] * turns).sum(dim=2)  # no product of matrices: those may be in half precision
        rotation = torch.polar(torch.ones_like(angle), angle)
        seen = present.clone()
        seen[:, 0] = True  # where no point is there one must be attended to, for a number to come out
        state = self.input_proj(descriptors.flatten(0, 1)).float()
        compared, matchable, sure = [], [], []
        for number, layer in enumerate(self.transformers):
            block: Any = layer
            state = block.cross_attn(block.self_attn(state, rotation, seen), seen)
            head: Any = self.log_assignment[number]
            compared.append((head.final_proj(state) / self.shape.dim**0.25).view(*present.shape, -1))
            matchable.append(head.matchability(state).view(present.shape))
            if number < self.shape.layers - 1:
                token: Any = self.token_confidence[number]
                sure.append(token["token"](state.detach()).view(present.shape))
        return torch.stack(compared), torch.stack(matchable), torch.stack(sure)


def batch(pairs: Sequence[Pair], with_scale_and_angle: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the network takes, and the partners [2B x N]; photos with fewer points are padded, their partners there are IGNORED."""
    photos = [one.features[side] for side in (0, 1) for one in pairs]
    partners = [one.partners[side] for side in (0, 1) for one in pairs]
    n = max(1, *map(len, photos))

    def padded(values: Sequence[NDArray[Any]], dtype: Any, fill: int = 0) -> Tensor:
        table = np.full((len(values), n, *values[0].shape[1:]), fill, dtype)
        for row, value in zip(table, values):
            row[: len(value)] = value
        return torch.from_numpy(table).to(device)

    points = [places(one, with_scale_and_angle) for one in photos]
    present = [np.ones(len(one), bool) for one in photos]
    return (
        padded([one.descriptors for one in photos], np.float32), padded(points, np.float32), padded(present, bool, False),
        padded(partners, np.int64, IGNORED),
    )  # fmt: skip


def loss(outputs: tuple[Tensor, Tensor, Tensor], present: Tensor, partners: Tensor) -> dict[str, Tensor]:
    """Negative log-likelihood of the assignment (section 3.4), the mean over the layers, and the cross-entropy of being sure: of the
    assignment that a layer gives a point being the last layer's. `last` is the last layer's likelihood alone."""
    compared, matchable, sure = outputs
    likelihoods, assigned = [], []
    for features, logit in zip(compared, matchable):
        likelihood, choice = _assignment(features, logit, present, partners)
        likelihoods.append(likelihood)
        assigned.append(choice)
    of_last = torch.stack(assigned[:-1]) == assigned[-1]
    wrong = F.binary_cross_entropy_with_logits(sure, of_last.float(), reduction="none") * present
    confidence = (wrong.sum(dim=2) / present.sum(dim=1).clamp(min=1)).mean()
    assignment = torch.stack(likelihoods).mean()
    return {"loss": assignment + confidence, "assignment": assignment, "last": likelihoods[-1], "confidence": confidence}


def _assignment(compared: Tensor, matchable: Tensor, present: Tensor, partners: Tensor) -> tuple[Tensor, Tensor]:
    """One layer's likelihood, and the row in the other photo that it gives each point [2B x N], -1 for none."""
    (own, others), (here, there), (a, b) = compared.chunk(2), present.chunk(2), F.logsigmoid(matchable).chunk(2)
    both = here[:, :, None] & there[:, None]
    similarity = (own @ others.transpose(1, 2)).masked_fill(~both, -1e4)  # finite: a row without a point has no NaN for a gradient
    of_row, of_column = similarity.logsumexp(dim=2), similarity.logsumexp(dim=1)
    first, _ = partners.chunk(2)
    matched, column = first >= 0, first.clamp(min=0)
    likely = 2 * similarity.gather(2, column[:, :, None])[:, :, 0] - of_row + a + (b - of_column).gather(1, column)
    alone = F.logsigmoid(-matchable)
    none = partners == UNMATCHED
    lost, n_lost = (one.sum(dim=1).view(2, -1).sum(dim=0) for one in (alone * none, none))
    positive = (likely * matched).sum(dim=1) / matched.sum(dim=1).clamp(min=1)
    likelihood = -0.5 * (positive + lost / n_lost.clamp(min=1)).mean()
    with torch.no_grad():
        scores = 2 * similarity - of_row[:, :, None] - of_column[:, None] + a[:, :, None] + b[:, None]
        best = [scores.max(dim=2), scores.max(dim=1)]
        values, rows = (torch.cat([getattr(one, name) for one in best]) for name in ("values", "indices"))
        choice = torch.where(values > alone, rows, -1)
    return likelihood, choice


def validate(network: Network, pairs: Sequence[Warped]) -> dict[str, float]:
    """Of the matches above 0.1 the share that is right within 3 px, `accuracy` (a card's `precision` is the run's), of the true matches
    the share that is found, `recall`, and `score`, their harmonic mean; over all pairs together, by the network that matches in use."""
    glue = LightGlue.of({name: value.detach() for name, value in network.state_dict().items()}, pairs[0].features[0].descriptors.shape[1])
    return judged(glue.eval().to(next(network.parameters()).device), pairs)


def judged(glue: LightGlue, pairs: Sequence[Warped]) -> dict[str, float]:
    """The same of the network that matches."""
    n_found = n_right = n_recalled = n_true = 0
    for one in pairs:
        query, reference = glue.encode(one.features)
        [(_, (indices, confidence))] = glue.match(query, [reference])
        rows, columns = indices[confidence > DOUBTFUL].T
        n_found += len(rows)
        n_right += metrics.correct(one.features[0].keypoints[rows], one.features[1].keypoints[columns], one.homography, NEAR).sum()
        n_recalled += (one.partners[0][rows] == columns).sum()
        n_true += (one.partners[0] >= 0).sum()
    accuracy, recall = float(n_right / max(1, n_found)), float(n_recalled / max(1, n_true))
    return {"accuracy": accuracy, "recall": recall, "score": metrics.harmonic_mean(accuracy, recall)}


def stages(
    photos: Sequence[PhotoRef], held_out: Sequence[PhotoRef], choices: Choices, plan: Plan, out: Path, progress: Progress
) -> Iterator[Task]:
    """One: `create` is minutes of work before the first step, which `progress` is told of."""
    yield create(photos, held_out, choices, progress)


def create(photos: Sequence[PhotoRef], held_out: Sequence[PhotoRef], choices: Choices, progress: Progress = lambda *done: None) -> Task:
    """What `loop.train` needs. It begins with "scratch", with "shipped", which is the extractor's own, with the published LightGlue of
    another extractor, whose name is given, or with a file of weights, whose shape it keeps."""
    if not choices.extractor:
        raise SettingsError("whose features is LightGlue trained for? Name them: --extractor goodpoint")
    settings = ExtractSettings(extractor=choices.extractor, weights=choices.weights, max_keypoints=N_KEYPOINTS)
    about = {"extractor": choices.extractor, "extractor_weights": extractors.weights_digest(settings)}
    extractor = extractors.create(settings, choices.device)
    strength, side = Strength(rotation=np.deg2rad(choices.rotation)), round(choices.side * AROUND)
    learned, others = (Pairs(Crops(refs, side, choices.seed + i), extractor, strength) for i, refs in enumerate((photos, held_out)))
    torch.manual_seed(choices.seed)
    judged = []
    for done in range(1, N_HELD_OUT + 1):
        judged.append(others.pair(HELD_OUT + done - 1))
        progress("pairs to be judged on", done, N_HELD_OUT)
    if choices.begin in extractors.REGISTRY:
        network = adapted(choices.begin, settings, learned.crops, choices.device, progress)
    else:
        network = begun(choices, judged[0].features[0])
    return task(network, learned, judged, about)


def task(network: Network, learned: Pairs, judged: Sequence[Warped], about: dict[str, Any]) -> Task:
    """The task of training `network` on pairs of `learned`, judged on `judged`."""

    def of_batch(forward: Forward, pairs: list[Pair], generator: torch.Generator) -> dict[str, Tensor]:
        *inputs, partners = batch(pairs, network.with_scale_and_angle, next(network.parameters()).device)
        return loss(forward(*inputs), inputs[2], partners)

    shape = {"dim": network.shape.dim, "heads": network.shape.heads, "layers": network.shape.layers, "keypoints": N_KEYPOINTS}
    return Task("lightglue", network, learned.pair, of_batch, lambda: validate(network, judged), {**about, **shape})


def begun(choices: Choices, example: Features) -> Network:
    """The network to train for features like `example`."""
    n_dims = example.descriptors.shape[1]
    if choices.begin == "scratch":
        return Network(n_dims, example.scales is not None and example.angles is not None)
    published = extractors.entry(choices.extractor).lightglue
    if choices.begin == "shipped" and not published:
        raise SettingsError(f"there is no LightGlue for {choices.extractor} to begin with; leave out --begin")
    state = renamed(weights.load(published[0]) if choices.begin == "shipped" else weights.load("lightglue", choices.begin))
    try:
        network = Network(n_dims, state["posenc.Wr.weight"].shape[1] == 4, Shape.of(state))
        network.load_state_dict({name: state[name] for name in network.state_dict()})
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{choices.begin} holds no LightGlue for {choices.extractor}; leave out --begin") from error
    return network


def adapted(other: str, settings: ExtractSettings, crops: Crops, device: str, progress: Progress = lambda *done: None) -> Network:
    """The LightGlue published for the extractor `other`, whose layers are no longer trained, behind a projection of the descriptors of
    `settings`. It takes them, by least squares over the keypoints that both extractors find, to what the other's become there."""
    published = extractors.entry(other).lightglue
    if not published:
        raise SettingsError(f"there is no LightGlue for {other} to begin with; name an extractor that has one, or leave out --begin")
    state = renamed(weights.load(published[0]))
    if state["posenc.Wr.weight"].shape[1] == 4:
        raise SettingsError(f"the LightGlue of {other} needs scales and angles; begin with that of aliked-n16, disk or superpoint")
    own, theirs = (extractors.create(replace(one, max_keypoints=MOST), device) for one in (settings, ExtractSettings(extractor=other)))
    found = []
    for done in range(1, N_FITTED + 1):
        found.append(_both(own, theirs, crops.crop(FITTED + done - 1)))
        progress(f"crops that {settings.extractor} and {other} describe", done, N_FITTED)
    described, wanted = (np.concatenate(parts).astype(np.float64) for parts in zip(*found))
    if len(described) < described.shape[1]:
        raise SettingsError(f"{settings.extractor} and {other} find too few keypoints in common ({len(described)}); take --begin scratch")
    if "input_proj.weight" in state:
        wanted = wanted @ state["input_proj.weight"].double().numpy().T + state["input_proj.bias"].double().numpy()
    weight, bias = fit(described, wanted)
    state |= {"input_proj.weight": torch.from_numpy(weight).float(), "input_proj.bias": torch.from_numpy(bias).float()}
    network = Network(described.shape[1], shape=Shape.of(state))
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    network.transformers.requires_grad_(False)
    return network


def _both(
    own: extractors.Extractor, theirs: extractors.Extractor, crop: tuple[NDArray[np.float32], NDArray[np.bool_]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The descriptors (n, C) and (n, D) that two extractors give the keypoints which both find."""
    light, mask = crop
    photo = _photo("crop", light.clip(0, 255), None if mask.all() else mask)
    here, there = own.extract(photo), theirs.extract(photo)
    if not len(here) or not len(there):
        return here.descriptors[:0], there.descriptors[:0]
    rows, partners = np.arange(len(here)), (apart := distances(here.keypoints, there.keypoints)).argmin(axis=1)
    same = (apart.argmin(axis=0)[partners] == rows) & (apart[rows, partners] < SAME)
    return here.descriptors[same], there.descriptors[partners[same]]


def fit(given: NDArray[np.float64], wanted: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight (D, C) and bias (D,) with which `given` (n, C) comes closest to `wanted` (n, D): ridge regression about the means."""
    middle, target = given.mean(axis=0), wanted.mean(axis=0)
    centred = given - middle
    spread = centred.T @ centred / len(given)
    spread += RIDGE * np.trace(spread) / len(spread) * np.eye(len(spread))
    weight = np.linalg.solve(spread, centred.T @ (wanted - target) / len(given)).T
    return weight, target - weight @ middle
