"""Which references are worth matching: the query's descriptors vote, every reference is heard.

A keypoint votes for a reference where it has its mutual nearest neighbour there, by as much as that neighbour is nearer than the
keypoint's neighbours in other references are (local naive Bayes nearest neighbour, McCann and Lowe 2012, CVPR). What is in every photo
votes for none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .records import Features

BACKGROUND = 10  # a keypoint's neighbour in so many references lies nearer than what it votes against


class Shortlist:
    """Descriptors of references, in memory: 128 KiB for 512 of them in half precision."""

    def __init__(self, device: str, dtype: torch.dtype):
        self.device, self.dtype = device, dtype
        self.descriptors: dict[str, Tensor] = {}  # (N, D) by the photo's digest

    def add(self, digest: str, features: Features) -> None:
        self.descriptors[digest] = torch.from_numpy(features.descriptors.astype(np.float32)).to(self.device, self.dtype)

    @torch.inference_mode()
    def votes(self, query: Features, digests: Sequence[str]) -> NDArray[np.float32]:
        """(R,) what the query's keypoints give to each of these references; more is more alike."""
        if not len(query) or not digests:
            return np.zeros(len(digests), np.float32)
        mine = torch.from_numpy(query.descriptors.astype(np.float32)).to(self.device, self.dtype)
        nearest, mutual = (torch.stack(parts) for parts in zip(*(_compare(mine, self.descriptors[digest]) for digest in digests)))
        background = nearest.topk(min(BACKGROUND + 1, len(digests)), dim=0).values[-1]
        votes: NDArray[np.float32] = ((nearest - background).clamp(min=0) * mutual).sum(dim=1).cpu().numpy()
        return votes


def _compare(mine: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """(M,) similarity of each keypoint's nearest neighbour in a reference, and whether the two choose each other."""
    if not len(theirs):
        return mine.new_full((len(mine),), -1, dtype=torch.float32), torch.zeros(len(mine), dtype=torch.bool, device=mine.device)
    similarity = mine @ theirs.T
    nearest, index = similarity.max(dim=1)
    return nearest.float(), similarity.argmax(dim=0)[index] == torch.arange(len(mine), device=mine.device)
