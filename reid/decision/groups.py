"""Photos of which nobody knows the animals -> groups, one an animal. Pure NumPy and SciPy, on scores of pairs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

METHOD = "average"  # linkage: two groups are joined by the mean over all pairs between them
EPSILON = 1e-9


def groups(
    scores: NDArray[np.float64],
    threshold: float,
    must: Iterable[tuple[int, int]] = (),
    cannot: Iterable[tuple[int, int]] = (),
    method: str = METHOD,
) -> NDArray[np.intp]:
    """(N,) the group of each photo, numbered from 0 in the order of their first photos.

    `scores` (N, N) is symmetric, larger is more alike, nan where a pair cannot be compared: such a pair speaks neither for one animal nor
    against it. Groups are joined from the most alike down (hierarchical clustering) as long as what they have in common is above the
    `threshold`. Photos of `must` are one animal, those of `cannot` are not; who gives both for one pair gets them apart."""
    from scipy.cluster.hierarchy import fcluster, linkage  # a tenth of a second, which other commands need not wait for
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial.distance import squareform

    n = len(scores)
    if n < 2:
        return np.zeros(n, np.intp)
    top = float(np.nanmax(scores, initial=threshold))
    cut = top - threshold + EPSILON
    distance = np.where(np.isnan(scores), cut + EPSILON, top - scores)
    rows, columns = np.array([*must], np.intp).reshape(-1, 2).T
    _, whole = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), (n, n)), directed=False)
    distance[whole[:, None] == whole] = 0
    never = (cut + 1) * n * n  # no mean with one of these in it comes near the threshold
    for a, b in cannot:
        distance[a, b] = distance[b, a] = never
    found = fcluster(linkage(squareform(distance, checks=False), method), cut, "distance")
    _, first, group = np.unique(found, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return np.asarray(order[group], np.intp)
