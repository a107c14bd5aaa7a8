"""LightGlue's layers (Lindenberger et al. 2023, arXiv 2306.13643), filled by the published weights: over points of many photos, end to end.

The linear layers see the whole table of points, in blocks, see `blocks`; attention sees one photo or one pair at a time. What is computed
of a photo or pair never depends on the others: not on their number, and not on where in the table it begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import added_in_blocks, product_in_blocks

ROWS = 1024  # of an attention matrix held at a time


@dataclass(frozen=True)
class Shape:
    """How large a network is: what its authors chose, unless the weights are of another."""

    dim: int = 256  # of a point's state
    heads: int = 4  # of attention
    layers: int = 9
    projects: bool = False  # descriptors that are as wide as the state, too; others always

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Shape:
        """Of the weights, by their published names. Raises ValueError if they are not LightGlue's."""
        layers = sum(name.endswith(".final_proj.weight") for name in state)
        if not layers or "posenc.Wr.weight" not in state:
            raise ValueError("these are no weights of LightGlue")
        dim, turned = len(state["log_assignment.0.final_proj.weight"]), 2 * len(state["posenc.Wr.weight"])
        heads = dim // turned  # every head is turned in pairs of its dimensions, all heads alike
        return cls(dim, heads, layers, "input_proj.weight" in state)


class Assignment(nn.Module):
    """A layer's head: what is compared, and whether a point has a match at all."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.matchability = nn.Linear(dim, 1)
        self.final_proj = nn.Linear(dim, dim)


def feed_forward(dim: int) -> nn.Sequential:
    """Of a point's state and its message, one behind the other, to what is added to the state."""
    return nn.Sequential(nn.Linear(2 * dim, 2 * dim), nn.LayerNorm(2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))


class Ends(nn.Module):
    """What comes before the layers and after each of them, in the network that matches and in the one that is trained."""

    def __init__(self, n_dims: int, with_scale_and_angle: bool, shape: Shape) -> None:
        super().__init__()
        self.shape, self.with_scale_and_angle = shape, with_scale_and_angle  # SIFT's weights encode (x, y, scale, angle)
        dim, n_layers = shape.dim, shape.layers
        self.input_proj = nn.Linear(n_dims, dim) if shape.projects or n_dims != dim else nn.Identity()
        self.posenc = nn.ModuleDict({"Wr": nn.Linear(4 if with_scale_and_angle else 2, dim // shape.heads // 2, bias=False)})
        self.log_assignment = nn.ModuleList(Assignment(dim) for _ in range(n_layers))
        self.token_confidence = nn.ModuleList(nn.ModuleDict({"token": nn.Sequential(nn.Linear(dim, 1))}) for _ in range(n_layers - 1))


class _Attention(nn.Module):
    """Self- or cross-attention with its update. The published layers, folded: `project` gives queries, keys and values in one product
    (cross-attention uses one vector for query and key), and the projection of the message is part of the first layer of `ffn`."""

    def __init__(self, shape: Shape, n_projected: int) -> None:
        super().__init__()
        dim, self.heads = shape.dim, shape.heads
        self.project = nn.Linear(dim, n_projected * dim)
        self.ffn = feed_forward(dim)

    def update(self, state: Tensor, attend: Callable[[Tensor, Tensor], None]) -> Tensor:
        """(T, D) float32 -> (T, D); `attend` reads projected points (T, n, H, D / H) and writes their messages (T, H, D / H)."""
        n, dim = state.shape
        both = state.new_empty((n, 2 * dim), dtype=self.project.weight.dtype)
        both[:, :dim] = state
        projected = product_in_blocks(self.project, both[:, :dim]).view(n, -1, self.heads, dim // self.heads)
        attend(projected, both[:, dim:].view(-1, self.heads, dim // self.heads))
        return added_in_blocks(self.ffn, both, to=state)

    def load_folded(self, projections: list[tuple[Tensor, Tensor]], out: tuple[Tensor, Tensor], ffn: dict[str, Tensor]) -> None:
        """Take the published weights: (weight, bias) of each projection, of the message's projection, and of the update."""
        weight, bias = (torch.cat(parts) for parts in zip(*projections))
        first, shift, onward, offset = (one.cpu().double() for one in (ffn["0.weight"], ffn["0.bias"], *out))  # MPS has no float64
        own, message = first.chunk(2, dim=1)
        folded = torch.cat((own, message @ onward), dim=1).float()
        shifted = (shift + message @ offset).float()
        self.project.load_state_dict({"weight": weight, "bias": bias})
        self.ffn.load_state_dict({**ffn, "0.weight": folded, "0.bias": shifted})


class _Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = _Attention(shape, 3)
        self.cross_attn = _Attention(shape, 2)


class Layers(Ends):
    """The layers with their ends. `of` builds them for a file of weights."""

    def __init__(self, n_dims: int, with_scale_and_angle: bool = False, shape: Shape = Shape()):
        super().__init__(n_dims, with_scale_and_angle, shape)
        self.transformers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))

    @classmethod
    def of(cls, state: dict[str, Tensor], n_dims: int) -> Self:
        """The network of a published file, for features of `n_dims` dimensions. Raises ValueError as `load_published` does."""
        state = renamed(state)
        shape = Shape.of(state)
        network = cls(n_dims, state["posenc.Wr.weight"].shape[1] == 4, shape)
        network.load_published(state)
        return network

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Take a published file, older names included. Raises ValueError if it is of another network."""
        state = renamed(state)
        dim, head = self.shape.dim, self.shape.dim // self.shape.heads

        def linear(name: str) -> tuple[Tensor, Tensor]:
            return state[f"{name}.weight"], state[f"{name}.bias"]

        try:
            for i in range(self.shape.layers):
                layer: Any = self.transformers[i]
                for kind in ("self_attn", "cross_attn"):
                    prefix = f"transformers.{i}.{kind}."
                    ffn = {name.removeprefix(f"{prefix}ffn."): value for name, value in state.items() if name.startswith(f"{prefix}ffn.")}
                    if kind == "self_attn":  # published with rows in the order (head, dimension, query / key / value)
                        qkv = [value.view(dim, 3, -1).transpose(0, 1).reshape(3 * dim, -1).squeeze(-1) for value in linear(f"{prefix}Wqkv")]
                        for value in qkv:
                            value[:dim] *= head**-0.5  # the queries carry the scale of attention
                        layer.self_attn.load_folded([(qkv[0], qkv[1])], linear(f"{prefix}out_proj"), ffn)
                    else:
                        weight, bias = (value * head**-0.25 for value in linear(f"{prefix}to_qk"))  # either side, half the scale
                        both = [(weight, bias), linear(f"{prefix}to_v")]
                        layer.cross_attn.load_folded(both, linear(f"{prefix}to_out"), ffn)
            rest = {name: value for name, value in state.items() if not name.startswith("transformers.")}
            found = self.load_state_dict(rest, strict=False)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"these are no weights of this LightGlue ({' '.join(str(error).split())[:80]})") from error
        missing = [name for name in found.missing_keys if not name.startswith("transformers.")]
        if missing:
            raise ValueError(f"these are no weights of this LightGlue: {missing[0]} is missing")

    def lower_precision(self, dtype: torch.dtype) -> Self:
        """Let the layers' products and attention work in `dtype`; everything else stays float32."""
        self.transformers.to(dtype)
        return self

    def attend_self(self, layer: int, state: Tensor, rotation: Tensor, counts: list[int]) -> Tensor:
        """(T, D) of photos of so many points each, with their rotary encoding (T, D / 2H) -> (T, D)."""

        def attend(projected: Tensor, message: Tensor) -> None:
            if is_packed(projected):
                turned = rotate(projected[:, :2], rotation)
                return attend_packed(turned[:, 0], turned[:, 1], projected[:, 2], counts, counts, message)
            for part, turns, out in zip(*(torch.split(one, counts) for one in (projected, rotation, message))):
                if len(part):
                    turned = rotate(part[:, :2], turns)
                    attend_photo(turned[:, 0], turned[:, 1], part[:, 2], out)

        block: Any = self.transformers[layer].self_attn
        updated: Tensor = block.update(state, attend)
        return updated

    def attend_cross(self, layer: int, state: Tensor, counts: list[int]) -> Tensor:
        """(T, D) of photos of so many points each, two a pair -> (T, D)."""

        def attend(projected: Tensor, message: Tensor) -> None:
            parts, out = torch.split(projected, counts), torch.split(message, counts)
            others = [place + 1 - 2 * (place % 2) for place in range(len(parts))]  # of each photo the other one of its pair
            if is_packed(projected):
                swapped = torch.cat([parts[other] for other in others])
                keys = [counts[other] for other in others]
                return attend_packed(projected[:, 0], swapped[:, 0], swapped[:, 1], counts, keys, message)
            for place, other in enumerate(others):
                attend_photo(parts[place][:, 0], parts[other][:, 0], parts[other][:, 1], out[place])

        block: Any = self.transformers[layer].cross_attn
        updated: Tensor = block.update(state, attend)
        return updated


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Older files name their layers `self_attn.0`, newer ones and kornia `transformers.0.self_attn`. LighterGlue's file names them
    `matcher.transformers.0.self_attn`, and holds XFeat's network beside them."""
    if any(name.startswith("matcher.") for name in state):
        state = {name.removeprefix("matcher."): value for name, value in state.items() if name.startswith("matcher.")}
    return {re.sub(r"^(self|cross)_attn\.(\d+)\.", r"transformers.\2.\1_attn.", name): value for name, value in state.items()}


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotary encoding of (T, n, H, D / H) by (T, D / 2H), float32: neighbouring dimensions are a complex number that is turned."""
    pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2)) * rotation[:, None, None]
    return torch.view_as_real(pairs).flatten(start_dim=-2).to(x.dtype)


def attend_photo(q: Tensor, k: Tensor, v: Tensor, message: Tensor) -> None:
    """Attention of one photo's queries (n, H, D / H) to keys and values (m, H, D / H): `message` (n, H, D / H). Queries and keys come
    scaled, see `load_published`."""
    q, k, v = (part.transpose(0, 1) for part in (q, k, v))
    if q.dtype == torch.float32:
        message.copy_(F.scaled_dot_product_attention(q[None], k[None], v[None], scale=1.0)[0].transpose(0, 1))
        return
    for rows, out in zip(torch.split(q, ROWS, dim=1), torch.split(message, ROWS)):
        # on a processor the plain products use its bfloat16, PyTorch's fused attention does not
        out.copy_((torch.bmm(rows, k.transpose(1, 2)).softmax(dim=2) @ v).transpose(0, 1))


def is_packed(projected: Tensor) -> bool:
    """Whether attention of all photos is one call."""
    return projected.is_cuda and projected.dtype != torch.float32


def attend_packed(q: Tensor, k: Tensor, v: Tensor, queries: Sequence[int], keys: Sequence[int], message: Tensor) -> None:
    """As `attend_photo`, of photos of so many queries and keys, end to end, in one call: on a GPU in half precision."""
    from torch.nn.attention.varlen import varlen_attn  # a second to import, for nothing where there is no GPU

    starts = (F.pad(torch.tensor(counts, device=q.device).cumsum(0), (1, 0)).int() for counts in (queries, keys))
    known = _parameters(varlen_attn)
    if "scale" not in known:  # before PyTorch 2.11 it always divides by that
        q = q * q.shape[-1] ** 0.5
    # The sum over the keys in one piece: in how many is else chosen by the longest photo of the batch.
    more: dict[str, Any] = {name: value for name, value in (("scale", 1.0), ("num_splits", 1)) if name in known}
    packed: Any = varlen_attn
    message.copy_(packed(q, k, v, *starts, max(queries), max(keys), **more))


@cache
def _parameters(function: Callable[..., object]) -> frozenset[str]:
    import inspect

    return frozenset(inspect.signature(function).parameters)
