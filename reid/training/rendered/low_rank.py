"""Low-rank updates (Hu et al. 2021, arXiv 2106.09685): of each linear layer's weights only a product of two thin matrices is learned, so
that a network trained on on drawings cannot go far from what it learned from photographs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

RANK = 16


class LowRank(nn.Module):
    """Weights (M, N) with up (M, R) times down (R, N) added, which is nothing at first."""

    def __init__(self, weight: Tensor, rank: int):
        super().__init__()
        rows, columns = weight.shape
        rank = min(rank, rows, columns)
        self.up, self.down = nn.Parameter(torch.zeros(rows, rank)), nn.Parameter(torch.randn(rank, columns) * columns**-0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def attach(network: nn.Module, rank: int = RANK) -> None:
    """Let nothing of the network be learned but a low-rank update of each linear layer that has a bias."""
    network.requires_grad_(False)
    for layer in [one for one in network.modules() if isinstance(one, nn.Linear) and one.bias is not None]:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


def merged(network: nn.Module) -> dict[str, Tensor]:
    """The network's weights by the names that they had before, updates added."""
    state = {name: value for name, value in network.state_dict().items() if ".parametrizations." not in name}
    updated = {f"{name}.weight": layer.weight for name, layer in network.named_modules() if parametrize.is_parametrized(layer, "weight")}
    return state | {name: weight.detach().float() for name, weight in updated.items()}
