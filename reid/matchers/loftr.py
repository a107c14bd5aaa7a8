"""LoFTR's attention over the cells of two photos (Sun et al. 2021, arXiv 2104.00680): kornia's network, the authors' outdoor weights.

The extractor of the same name makes the cells. The confidence is the coarse stage's own, a softmax over either photo's cells; every mutual
best pair is a match, the doubtful ones, which LoFTR drops at 0.2, as well: they are what a distribution is made of. One pair at a time, so
that none depends on its company.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ..extractors.loftr import CELL, network
from ..records import Features
from ..settings import MatchSettings
from . import Found, Matches, no_match, strongest, totals

TEMPERATURE = 0.1  # of the softmax, as trained
BORDER = 2  # cells at the photo's edge that match nothing: what they see is half padding


class LoftrMatcher:
    """Features of the extractor `loftr` in, matches out."""

    def __init__(self, device: str):
        self.device = device
        self.attention = network().loftr_coarse.to(device)

    def match(self, query: Features, references: Iterable[Features]) -> Iterator[Found]:
        """Each reference's place with its indices and confidences, in order."""
        for place, reference in enumerate(references):
            yield place, self._match_pair(query, reference) if len(query) and len(reference) else no_match()

    def coarse(self, query: Features, references: Sequence[Features]) -> Iterator[tuple[int, float]]:
        """The sum of the confidences of the strongest cells' matches."""
        return totals(self.match(strongest(query), map(strongest, references)))

    @torch.inference_mode()
    def _match_pair(self, query: Features, reference: Features) -> Matches:
        mine, theirs = self.attention(*(self._cells(one)[None] for one in (query, reference)))
        likeness = mine[0] @ theirs[0].T / (mine.shape[2] * TEMPERATURE)
        surely = likeness.softmax(dim=0) * likeness.softmax(dim=1)
        best, rows = surely.argmax(dim=1), torch.arange(len(query), device=self.device)
        confidence = surely[rows, best]
        kept = (surely.argmax(dim=0)[best] == rows) & (confidence > 0) & self._inside(query) & self._inside(reference)[best]
        return torch.stack((rows, best), dim=1)[kept].int().cpu().numpy(), confidence[kept].cpu().numpy()

    def _cells(self, photo: Features) -> Tensor:
        """(N, 256): the cells' vectors, at their length again, and where they lie."""
        descriptors, scores, keypoints = (
            torch.tensor(values, device=self.device).float() for values in (photo.descriptors, photo.scores, photo.keypoints)
        )
        return descriptors * scores[:, None] + encoded(keypoints / CELL)

    def _inside(self, photo: Features) -> Tensor:
        """(N,) bool: the cells that are off the photo's edge."""
        place = torch.tensor(photo.keypoints, device=self.device) / CELL
        last = (torch.tensor(photo.size, device=self.device) - 1) // CELL
        return ((place >= BORDER) & (place <= last - BORDER)).all(dim=1)


def encoded(places: Tensor) -> Tensor:
    """(N, 256) sines and cosines of the places (N, 2) of cells, x before y. The wavelengths are not those that the paper means: the
    weights were trained with a slip that has them grow by e^2 (github.com/zju3dv/LoFTR/issues/41)."""
    steps = torch.exp(-2 * torch.arange(64, device=places.device, dtype=torch.float32))
    angles = (places[:, None] + 1) * steps[:, None]
    return torch.stack((angles.sin(), angles.cos()), dim=3).flatten(1)


def create(match: MatchSettings, device: str, weights_name: str, n_dims: int) -> LoftrMatcher:
    return LoftrMatcher(device)
