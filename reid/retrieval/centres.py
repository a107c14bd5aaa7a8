"""Where inverted lists have their centres: where they are many they are found in two steps, and so are those next to many descriptors.

Descriptors have the length of 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANY = 2**12  # lists; for more than these two steps are worth it
LOOKED_IN = 3  # groups of centres in which a descriptor's nearest is looked for
STEPS = 10  # of k-means, as FAISS has it for lists
Rows = NDArray[np.floating[Any]]


def found(sample: Rows, n: int) -> NDArray[np.float32]:
    """(n, D) centres for descriptors of which these are some: of groups first, then in each group as many as it has of the sample."""
    groups = _means(sample[:: max(1, len(sample) // 2**16)].astype(np.float32), _n_groups(n))
    own = np.concatenate([(part.astype(np.float32) @ groups.T).argmax(axis=1) for part in np.array_split(sample, 1 + len(sample) // 2**15)])
    bounds = np.rint(np.cumsum(np.bincount(own, minlength=len(groups))) * (n / len(sample))).astype(int)
    order, ends = np.argsort(own, kind="stable"), np.cumsum(np.bincount(own, minlength=len(groups)))
    members = np.split(order, ends[:-1])
    numbers = np.diff(bounds, prepend=0).tolist()
    return np.concatenate([_means(sample[rows].astype(np.float32), k) for rows, k in zip(members, numbers) if k])


def _n_groups(n: int) -> int:
    return int(2 ** round(np.log2(n) / 2))


def _means(rows: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    import faiss

    clusters = faiss.Kmeans(
        rows.shape[1], n, niter=STEPS, spherical=True, min_points_per_centroid=1, max_points_per_centroid=len(rows)
    )  # fmt: skip
    clusters.train(rows)
    centres: NDArray[np.float32] = clusters.centroids
    return centres


def nearest(quantizer: Any) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """What finds the centre next to each of many descriptors."""
    if quantizer.ntotal > MANY:
        return _Nearest(quantizer.reconstruct_n(0, quantizer.ntotal))
    return lambda rows: quantizer.search(rows, 1)[1].ravel()


class _Nearest:
    """Finds the centre next to a descriptor, or one of the next, among the groups of centres that are next to it."""

    def __init__(self, centres: NDArray[np.float32]):
        self._groups = _means(centres, _n_groups(len(centres)))
        own = (centres @ self._groups.T).argmax(axis=1)
        self._numbers = np.split(np.argsort(own, kind="stable"), np.cumsum(np.bincount(own, minlength=len(self._groups)))[:-1])
        self._members = [np.ascontiguousarray(centres[numbers].T) for numbers in self._numbers]

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """(N,) numbers of centres."""
        to_groups = rows @ self._groups.T
        each, groups = np.arange(len(rows)), []
        for _ in range(LOOKED_IN):
            groups.append(to_groups.argmax(axis=1).astype(np.uint16))
            to_groups[each, groups[-1]] = -np.inf
        group = np.concatenate(groups)
        places = np.argsort(group, kind="stable")
        best, lists = np.full(len(group), -np.inf, np.float32), np.zeros(len(group), np.int64)
        ends = np.cumsum(np.bincount(group, minlength=len(self._members)))
        for members, numbers, start, end in zip(self._members, self._numbers, [0, *ends[:-1]], ends):
            if start < end and len(numbers):
                place = places[start:end]
                similarity = rows[place % len(rows)] @ members
                first = similarity.argmax(axis=1)
                best[place], lists[place] = similarity[np.arange(len(first)), first], numbers[first]
        first = best.reshape(LOOKED_IN, -1).argmax(axis=0)
        nearest: NDArray[np.int64] = lists.reshape(LOOKED_IN, -1)[first, each]
        return nearest
