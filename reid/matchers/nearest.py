"""Mutual nearest neighbours with Lowe's ratio test (IJCV 2004), for every extractor.

The confidence is a logistic function of the ratio of the distances to the nearest and the second nearest neighbour, the worse of
both directions: 0.5 at Lowe's ratio, so that counting matches above 0.5 is his test, and the doubtful ones still form a distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from ..records import Features
from ..settings import MatchSettings
from . import Found, Matches, no_match, strongest, totals

SPREAD = 0.04  # the ratio's change that takes the confidence from 0.5 to 0.73


class NearestMatcher:
    """Exhaustive search; every mutual nearest pair is a match, with its confidence."""

    def __init__(self, match: MatchSettings, device: str):
        self.ratio, self.device = match.ratio, device

    def match(self, query: Features, references: Iterable[Features]) -> Iterator[Found]:
        """Each reference's place with its indices and confidences, in order."""
        mine = torch.from_numpy(query.descriptors.astype(np.float32)).to(self.device)
        for place, reference in enumerate(references):
            theirs = torch.from_numpy(reference.descriptors.astype(np.float32)).to(self.device)
            yield place, self._match_pair(mine, theirs)

    def coarse(self, query: Features, references: Sequence[Features]) -> Iterator[tuple[int, float]]:
        """The sum of the confidences of the strongest keypoints' matches."""
        return totals(self.match(strongest(query), map(strongest, references)))

    @torch.inference_mode()
    def _match_pair(self, mine: torch.Tensor, theirs: torch.Tensor) -> Matches:
        if not len(mine) or not len(theirs):
            return no_match()
        likeness = mine @ theirs.T  # cosines
        best, best_back = likeness.amax(dim=1, keepdim=True), likeness.amax(dim=0, keepdim=True)
        rows, columns = _once(*torch.nonzero((likeness == best) & (likeness == best_back), as_tuple=True))
        confidence = self._confidence(likeness, rows, columns)
        return torch.stack((rows, columns), dim=1).cpu().numpy().astype(np.int32), confidence.cpu().numpy()

    def _confidence(self, likeness: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """(S,) of the pairs of these rows and columns of the cosines (N, M)."""
        first = likeness[rows, columns]
        along, across = likeness[rows], likeness[:, columns].T
        number = torch.arange(len(rows), device=rows.device)
        along[number, columns] = across[number, rows] = -torch.inf
        ratio = torch.maximum(_ratio(first, along), _ratio(first, across))
        return torch.sigmoid((self.ratio - ratio) / SPREAD)


def _once(rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Equal descriptors are each other's nearest several times over: the first pair of each row, and of those the first of each column."""
    for own in (0, 1):
        _, first = np.unique((rows, columns)[own].cpu().numpy(), return_index=True)
        kept = torch.from_numpy(np.sort(first)).to(rows.device)
        rows, columns = rows[kept], columns[kept]
    return rows, columns


def _ratio(first: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Distance to the nearest (S,) over that to the nearest of the others (S, N), unit vectors by their cosines; 1, no evidence, where
    there is no other, or one as near."""
    if others.shape[1] < 2:
        return torch.ones_like(first)
    nearest, second = ((2 - 2 * cosine).clamp(min=0).sqrt() for cosine in (first, others.amax(dim=1)))
    return torch.where(nearest < second, nearest / second.clamp(min=1e-9), 1.0)


def create(match: MatchSettings, device: str) -> NearestMatcher:
    return NearestMatcher(match, device)
