"""LightGlue (Lindenberger et al. 2023, arXiv 2306.13643), by the published weights or by one's own: the default matcher.

`lightglue_layers` is what the weights fill, `lightglue_network` matches one query against many references.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from .. import weights
from ..errors import WeightsError
from ..records import Features
from ..settings import MatchSettings
from . import COARSE_LAYERS, Found, dtype, strongest, totals
from .lightglue_network import Encoded, LightGlue

AT_ONCE = {"cpu": 8, "mps": 8, "cuda": 64}  # pairs in one table of points
NO_EFFECT = {"AT_ONCE": "a pair gets in a table what it gets alone", "COARSE_LAYERS": "of a coarse look, which says so itself"}


class LightGlueMatcher:
    """Features in, matches of every reference out."""

    def __init__(self, match: MatchSettings, weights_name: str, n_dims: int, device: str):
        self.confidences = match.depth_confidence, match.width_confidence
        self.at_once = AT_ONCE[device]
        state = weights.load(weights_name, match.lightglue_weights)
        try:
            self.network = LightGlue.of(state, n_dims)
        except ValueError as error:
            raise WeightsError(f"{match.lightglue_weights or weights_name}: {error}") from error
        self.network.eval().to(device)
        self.network.lower_precision(dtype(match, device))

    def match(self, query: Features, references: Sequence[Features]) -> Iterator[Found]:
        """Each reference's place with its indices and confidences, in the order in which they are ready."""
        return self._match(query, references, *self.confidences)

    def coarse(self, query: Features, references: Sequence[Features]) -> Iterator[tuple[int, float]]:
        """The sum of the confidences that the head of an early layer gives the strongest keypoints' matches."""
        return totals(self._match(strongest(query), map(strongest, references), -1, -1, COARSE_LAYERS))

    def _match(
        self, query: Features, references: Iterable[Features], depth: float, width: float, n_layers: int | None = None
    ) -> Iterator[Found]:
        [own] = self.network.encode([query])
        return self.network.match(own, self._encoded(references), depth, width, n_layers, self.at_once)

    def _encoded(self, references: Iterable[Features]) -> Iterator[Encoded]:
        rest = iter(references)
        while block := list(islice(rest, self.at_once)):
            yield from self.network.encode(block)


def create(match: MatchSettings, device: str, weights_name: str, n_dims: int) -> LightGlueMatcher:
    return LightGlueMatcher(match, weights_name, n_dims, device)
