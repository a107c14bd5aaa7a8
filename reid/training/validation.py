"""How good a network's keypoints and descriptors are on pairs that it does not learn from, the same for every network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..evaluation import metrics
from ..extractors.cells import peaks, sample
from ..imaging.geometry import visible
from .pairs import Pair

N_HELD_OUT, HELD_OUT = 24, 10**6  # pairs that a network is judged on, and the number of the first
N_KEYPOINTS = 300  # of each image
THERE = np.eye(3)  # the way of points that are in the other image already
Found = tuple[Tensor, Tensor]  # keypoints [N x 2] px, unit descriptors [N x D]


def judge(pairs: Sequence[Pair], find: Callable[[Pair], Sequence[Found]]) -> dict[str, float]:
    """Means over pairs of repeatability, accuracy of mutual nearest neighbours and coverage; `score` is their harmonic mean.

    `find` gives what is found in a pair's first and second image."""
    rows = []
    for one in pairs:
        (first, ours), (second, theirs) = find(one)
        matches = mutual(ours @ theirs.T).cpu().numpy()
        a, b = first.cpu().numpy(), second.cpu().numpy()
        size = one.images.shape[2], one.images.shape[1]
        there, back = one.ways(torch.empty(0, dtype=torch.float64))
        away, home = (way(points.cpu().double()).numpy() for way, points in ((there, first), (back, second)))
        right = metrics.correct(away[matches[:, 0]], b[matches[:, 1]], THERE)
        seen = visible(away, THERE, size), visible(home, THERE, size)
        repeated = metrics.repeatability(away[seen[0]], b[seen[1]], THERE)
        covered = metrics.coverage(a[matches[:, 0]][right], size, one.valid[0])
        rows.append((repeated, right.mean() if len(right) else 0.0, covered))
    repeated, accuracy, covered = (float(value) for value in np.nanmean(rows, axis=0))
    score = metrics.harmonic_mean(repeated, accuracy, covered)
    return {"repeatability": repeated, "accuracy": accuracy, "coverage": covered, "score": score}


def judge_dense(network: nn.Module, heatmap: Callable[[Tensor], Tensor], pairs: Sequence[Pair]) -> dict[str, float]:
    """`judge` of a network of SuperPoint's kind: logits, of which `heatmap` makes score maps [B x H x W], and coarse descriptors."""
    device = next(network.parameters()).device

    def find(one: Pair) -> list[Found]:
        logits, descriptors = network(torch.from_numpy(one.images[:, None]).to(device))
        valid = torch.from_numpy(one.valid).to(device)
        found = [best(*peaks(scores, ok)) for scores, ok in zip(heatmap(logits), valid)]
        return [(points, sample(own, points)) for own, points in zip(descriptors, found)]

    return judge(pairs, find)


def mutual(likeness: Tensor) -> Tensor:
    """[M x 2] rows and columns of [N x K] that are each other's best, the first of equals."""
    if not likeness.numel():
        return torch.zeros((0, 2), dtype=torch.long, device=likeness.device)
    there, back = likeness.argmax(dim=1), likeness.argmax(dim=0)
    rows = torch.arange(len(there), device=likeness.device)
    return torch.stack((rows, there), dim=1)[back[there] == rows]


def best(keypoints: Tensor, scores: Tensor) -> Tensor:
    """The N_KEYPOINTS of [N x 2] keypoints with the highest of [N] scores."""
    return keypoints[scores.topk(min(N_KEYPOINTS, len(scores))).indices]
