"""From scores of different kinds to one: score fusion by what each is worth over impostors. NumPy only.

Wasserstein distances, sums and counts have no common unit, nor have two pipelines. Each score counts by how far it exceeds what four in
five impostors stay below, in the mean excess of their tail (peaks over threshold): where tails are exponential, that is the logarithm of
how rare the score is. The excesses of a pipeline's joined scores add up, and so do those of the pipelines that are fused, each by its
weight. The joint score is the logarithm of 1 + the sum.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .impostors import Floats, ImpostorDistribution

# By matcher: the scores that make up a pipeline's share of the joint score, as measured; of loftr, which is not, the plainest.
JOINED = {
    "lightglue": ("wasserstein", "wasserstein-matched"),
    "nearest": ("sum",),
    "adalam": ("sum",),
    "loftr": ("sum",),
    "cosine": ("sum",),
}


def excess(values: Mapping[str, Floats], impostors: ImpostorDistribution, n: int) -> Floats:
    """(n,) of one pipeline: its weight times the sum of its joined scores' excesses. `values` are its scores by name, (n,) each."""
    total = np.zeros(n)
    for name in impostors.joined:
        total += impostors.excess(name, values[name])
    return impostors.weight * total


def joint(excess: Floats) -> Floats:
    """(R,) the joint score."""
    found: Floats = np.log1p(excess)
    return found
