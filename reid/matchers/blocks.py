"""Layers that look at one row at a time: a row gets the same value whoever stands beside it, and however many they are.

Libraries choose the kernel of a product, and how it splits the sum over the inner dimension, by the number of rows. So a table of rows is
cut into blocks of one fixed number of rows, the last one is padded, and every product that is ever computed has the same shape. What is
left is the place within a block: kernels treat all rows of a block alike, which a test tries under every instruction set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Rows of a block. On a processor measured: fewer cost up to a quarter of the speed with AMX, which packs the weights anew for each block;
# more are wasted on a pair that is matched alone. A GPU has more to fill.
ROWS = {"cpu": 1024, "mps": 1024, "cuda": 8192}


def in_blocks(layers: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """What `layers` make of each row of (T, C): (T, D), or (T,)."""
    parts = [layers(block) for _, block in _blocks(rows)]
    return torch.cat(parts)[: len(rows)] if len(parts) > 1 else parts[0][: len(rows)]


def added_in_blocks(layers: Callable[[Tensor], Tensor], rows: Tensor, to: Tensor) -> Tensor:
    """What `layers` make of each row of (T, C), added to (T, D)."""
    total = torch.empty_like(to)
    for place, block in _blocks(rows):
        torch.add(to[place], layers(block)[: len(to[place])], out=total[place])
    return total


def product_in_blocks(layer: nn.Linear, rows: Tensor) -> Tensor:
    """A linear layer's product with each row of (T, C): (T, D). As `in_blocks`, but nothing is copied."""
    n_rows = ROWS[rows.device.type]
    products = rows.new_empty((max(1, -(-len(rows) // n_rows)) * n_rows, layer.out_features))
    for place, block in _blocks(rows):
        torch.addmm(layer.bias, block, layer.weight.T, out=products[place])
    return products[: len(rows)]


def dot_in_blocks(layer: nn.Linear, rows: Tensor) -> Tensor:
    """The product of a linear layer of one output with each row of (T, C): (T,). A sum of each row by itself: of a product with one
    column libraries give each thread a part, and its rows other rounding."""
    return in_blocks(lambda block: (block * layer.weight[0]).sum(dim=1), rows) + layer.bias


def _blocks(rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of the table and their places in it; at least one, and the last padded with zeros."""
    n_rows = ROWS[rows.device.type]
    for start in range(0, max(1, len(rows)), n_rows):
        block = rows[start : start + n_rows]
        missing = n_rows - len(block)
        yield slice(start, start + n_rows), F.pad(block, (0, 0, 0, missing)) if missing else block
