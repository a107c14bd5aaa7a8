"""How right groups of photos are, where the animals are known: over pairs of photos."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

FIGURES = {"precision": "of the pairs that were grouped, right", "recall": "of the pairs of one animal, grouped",
           "rand": "adjusted Rand index"}  # fmt: skip


def agreement(found: Sequence[Hashable], truth: Sequence[Hashable]) -> dict[str, float | None]:
    """Pairwise precision and recall, and the adjusted Rand index (Hubert and Arabie 1985, J. Classification): 0 by chance, 1 where both
    agree. None where there is nothing to divide by."""
    rows, columns = (np.unique([str(one) for one in names], return_inverse=True)[1] for names in (found, truth))
    table = np.zeros((rows.max(initial=-1) + 1, columns.max(initial=-1) + 1))
    np.add.at(table, (rows, columns), 1)
    both, grouped, true = (float(np.sum(n * (n - 1) / 2)) for n in (table, table.sum(axis=1), table.sum(axis=0)))
    total = len(found) * (len(found) - 1) / 2
    expected = grouped * true / total if total else 0.0
    most = (grouped + true) / 2
    return {
        "precision": both / grouped if grouped else None,
        "recall": both / true if true else None,
        "rand": (both - expected) / (most - expected) if most != expected else None,
    }
