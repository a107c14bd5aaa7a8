"""LightGlue (Lindenberger et al. 2023, arXiv 2306.13643): one query against many references, over the published weights.

The pairs of a batch lie end to end in one table of tokens: the linear layers see the whole table, attention sees one photo or one
pair at a time. So nothing is padded, and each pair stops and drops points by itself: it gets what it gets alone.

The references of a query run a race: a heat over the first layers with few keypoints decides who is matched in full.
Keypoints, rotary encoding, the running state and the assignment are float32; products and attention have half of it where that is faster.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import weights
from ..errors import WeightsError
from ..records import Features
from ..scoring.ranking import first
from ..settings import Settings
from . import Matches, dtype, race

ROWS = 1024  # of an attention matrix held at a time
AT_ONCE = {"cpu": 8, "mps": 8, "cuda": 64}  # pairs in one table of tokens
Found = tuple[int, Matches]  # a reference's place, and what matches there


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


class _Attention(nn.Module):
    """Self- or cross-attention with its update. The published layers, folded: `project` gives queries, keys and values in one product
    (cross-attention uses one vector for query and key), and the projection of the message is part of the first layer of `ffn`."""

    def __init__(self, shape: Shape, n_projected: int) -> None:
        super().__init__()
        dim, self.heads = shape.dim, shape.heads
        self.project = nn.Linear(dim, n_projected * dim)
        self.ffn = feed_forward(dim)

    def update(self, state: Tensor, attend: Callable[[Tensor, Tensor], None]) -> Tensor:
        """(T, D) float32 -> (T, D); `attend` reads projected tokens (T, n, H, D / H) and writes their messages (T, H, D / H)."""
        n, dim = state.shape
        both = state.new_empty((n, 2 * dim), dtype=self.project.weight.dtype)
        both[:, :dim] = state
        projected = self.project(both[:, :dim]).view(n, -1, self.heads, dim // self.heads)
        attend(projected, both[:, dim:].view(-1, self.heads, dim // self.heads))
        updated: Tensor = state + self.ffn(both)
        return updated

    def load_folded(self, projections: list[tuple[Tensor, Tensor]], out: tuple[Tensor, Tensor], ffn: dict[str, Tensor]) -> None:
        """Take the published weights: (weight, bias) of each projection, of the message's projection, and of the update."""
        weight, bias = (torch.cat(parts) for parts in zip(*projections))
        own, message = ffn["0.weight"].double().chunk(2, dim=1)
        folded = torch.cat((own, message @ out[0].double()), dim=1).float()
        shifted = (ffn["0.bias"].double() + message @ out[1].double()).float()
        self.project.load_state_dict({"weight": weight, "bias": bias})
        self.ffn.load_state_dict({**ffn, "0.weight": folded, "0.bias": shifted})


class _Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = _Attention(shape, 3)
        self.cross_attn = _Attention(shape, 2)


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
    """What comes before the layers and after each of them, in the network here and in the one that is trained."""

    def __init__(self, n_dims: int, with_scale_and_angle: bool, shape: Shape) -> None:
        super().__init__()
        self.shape, self.with_scale_and_angle = shape, with_scale_and_angle  # SIFT's weights encode (x, y, scale, angle)
        dim, n_layers = shape.dim, shape.layers
        self.input_proj = nn.Linear(n_dims, dim) if shape.projects or n_dims != dim else nn.Identity()
        self.posenc = nn.ModuleDict({"Wr": nn.Linear(4 if with_scale_and_angle else 2, dim // shape.heads // 2, bias=False)})
        self.log_assignment = nn.ModuleList(Assignment(dim) for _ in range(n_layers))
        self.token_confidence = nn.ModuleList(nn.ModuleDict({"token": nn.Sequential(nn.Linear(dim, 1))}) for _ in range(n_layers - 1))


@dataclass(eq=False)
class _Photo:
    """The points of one photo after all that depends on it alone: projection, rotary encoding and the first self-attention."""

    state: Tensor  # (n, D) float32
    rotation: Tensor  # (n, D / 2H) complex64, the rotary encoding


@dataclass
class _Table:
    """The points that are still in play, of pairs laid end to end: query, reference, query, reference, ..."""

    state: Tensor  # (T, D) float32
    rotation: Tensor  # (T, D / 2H) complex64
    rows: Tensor  # (T,) which keypoint of its photo each is
    pairs: list[int]  # where each pair is in the caller's list
    n_points: list[int]  # of both photos of each pair, before any was dropped
    counts: list[int]  # points of each photo, two for a pair

    def select(self, keep: Tensor, going_on: Sequence[bool], counts: list[int]) -> _Table:
        """The points of `keep` and the pairs that go on; `counts` as they are then."""
        pairs = [pair for pair, stays in zip(self.pairs, going_on) if stays]
        n_points = [n for n, stays in zip(self.n_points, going_on) if stays]
        rows = torch.nonzero(keep)[:, 0]
        return _Table(self.state[rows], self.rotation[rows], self.rows[rows], pairs, n_points, counts)


def _join(tables: Sequence[_Table]) -> _Table:
    def together(name: str) -> Any:
        parts = [getattr(table, name) for table in tables]
        return torch.cat(parts) if isinstance(parts[0], Tensor) else [value for part in parts for value in part]

    return _Table(*(together(field.name) for field in fields(_Table)))


class LightGlue(Ends):
    """The network. `load_published` gives it its weights, `encode` and `match` run it."""

    def __init__(self, n_dims: int, with_scale_and_angle: bool = False, shape: Shape = Shape()):
        super().__init__(n_dims, with_scale_and_angle, shape)
        self.transformers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))

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

    @classmethod
    def of(cls, state: dict[str, Tensor], n_dims: int) -> LightGlue:
        """The network of a published file, for features of `n_dims` dimensions. Raises ValueError as `load_published` does."""
        state = renamed(state)
        shape = Shape.of(state)
        network = cls(n_dims, state["posenc.Wr.weight"].shape[1] == 4, shape)
        network.load_published(state)
        return network

    @property
    def device(self) -> torch.device:
        return self.log_assignment[0].final_proj.weight.device  # type: ignore[union-attr,return-value]

    def lower_precision(self, dtype: torch.dtype) -> LightGlue:
        """Let the layers' products and attention work in `dtype`; everything else stays float32."""
        self.transformers.to(dtype)
        return self

    @torch.inference_mode()
    def encode(self, photos: Sequence[Features]) -> list[_Photo]:
        """What depends on one photo alone, of each: projection, rotary encoding and the first self-attention."""
        counts = [len(one) for one in photos]
        points = np.concatenate([places(one, self.with_scale_and_angle) for one in photos])
        angle = self.posenc["Wr"](self._sent(points))
        rotation = torch.polar(torch.ones_like(angle), angle)
        state = self.input_proj(self._sent(np.concatenate([one.descriptors for one in photos])).float())
        state = self._attend_self(0, state, rotation, counts) if len(state) else state
        return [_Photo(*parts) for parts in zip(torch.split(state, counts), torch.split(rotation, counts))]

    def _sent(self, values: np.ndarray) -> Tensor:
        """On the network's device; to a GPU while it works on what was sent before."""
        here = torch.from_numpy(values)
        return here.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else here.to(self.device)

    @torch.inference_mode()
    def match(
        self,
        query: _Photo,
        references: Iterable[_Photo],
        depth_confidence: float = -1,
        width_confidence: float = -1,
        n_layers: int | None = None,
        at_once: int = 8,
    ) -> Iterator[Found]:
        """Mutual best assignments of each pair with its place among the references, in the order in which they are ready.

        `depth_confidence` and `width_confidence` are the paper's thresholds of early stopping and pruning; -1 turns them off. After
        `n_layers`, if not all, the pairs are assigned by that layer's head. What a pair gets does not depend on which others share its
        table, nor on `at_once`, beyond rounding. At most twice `at_once` pairs are held at a time, however many references there are."""
        n_layers = min(n_layers or self.shape.layers, self.shape.layers)
        empty: list[int] = []
        for table in self._start(query, references, at_once, empty):
            for layer in range(n_layers):
                table, finished = self._advance(layer, table, depth_confidence, width_confidence)
                yield from finished
                if not table.pairs:
                    break
            else:
                yield from self._assign(n_layers - 1, table)
        yield from ((place, _no_match()) for place in empty)

    def _start(self, query: _Photo, references: Iterable[_Photo], at_once: int, empty: list[int]) -> Iterator[_Table]:
        """Tables of `at_once` pairs; the places of pairs without a point on one side go to `empty`."""
        n = len(query.state)
        rows = torch.arange(n, device=self.device)
        places = enumerate(references)
        while block := list(islice(places, at_once)):
            empty += [place for place, photo in block if not (n and len(photo.state))]
            tables = [
                _Table(
                    torch.cat((query.state, photo.state)), torch.cat((query.rotation, photo.rotation)),
                    torch.cat((rows, torch.arange(m, device=self.device))), [place], [n + m], [n, m],
                )
                for place, photo in block if n and (m := len(photo.state))
            ]  # fmt: skip
            if tables:
                yield _join(tables)

    def _advance(self, layer: int, table: _Table, depth_confidence: float, width_confidence: float) -> tuple[_Table, list[Found]]:
        """One layer; the pairs that are finished leave the table. Section 3.3 of the paper, pair by pair: pairs that are sure enough
        stop, the others drop the points that are surely unmatchable."""
        state = table.state if layer == 0 else self._attend_self(layer, table.state, table.rotation, table.counts)
        table.state = self._attend_cross(layer, state, table.counts)
        if layer == self.shape.layers - 1 or (depth_confidence <= 0 and width_confidence <= 0):
            return table, []
        threshold = 0.8 + 0.1 * math.exp(-4 * layer / self.shape.layers)
        token: Any = self.token_confidence[layer]
        head: Any = self.log_assignment[layer]
        sure = token["token"](table.state)[:, 0].sigmoid()
        keep = torch.ones_like(sure, dtype=torch.bool)
        if width_confidence > 0:
            keep = head.matchability(table.state)[:, 0].sigmoid() > 1 - width_confidence
            if depth_confidence > 0:
                keep |= sure <= threshold
        photo = torch.repeat_interleave(torch.tensor(table.counts, device=keep.device))
        sums = torch.stack((keep, sure < threshold)).float()
        kept, unsure = torch.zeros(2, len(table.counts), device=keep.device).index_add_(1, photo, sums).int().tolist()
        stop = [depth_confidence > 0 and 1 - (a + b) / n > depth_confidence for a, b, n in zip(unsure[::2], unsure[1::2], table.n_points)]
        finished = []
        if any(stop):
            ends = torch.tensor([stops for stops in stop for _ in range(2)], device=keep.device)[photo]
            counts = [n for i, n in enumerate(table.counts) if stop[i // 2]]
            finished = self._assign(layer, table.select(ends, stop, counts))
            keep &= ~ends
        finished += [(pair, _no_match()) for pair, stops, *n in zip(table.pairs, stop, kept[::2], kept[1::2]) if not stops and not min(n)]
        going_on = [not stops and min(n) > 0 for stops, *n in zip(stop, kept[::2], kept[1::2])]
        if all(going_on) and sum(kept) == len(keep):
            return table, finished
        keep &= torch.tensor([goes for goes in going_on for _ in range(2)], device=keep.device)[photo]
        return table.select(keep, going_on, [n for i, n in enumerate(kept) if going_on[i // 2]]), finished

    def _attend_self(self, layer: int, state: Tensor, rotation: Tensor, counts: list[int]) -> Tensor:
        def attend(projected: Tensor, message: Tensor) -> None:
            turned = rotate(projected[:, :2], rotation)
            _attention(turned[:, 0], turned[:, 1], projected[:, 2], counts, counts, message)

        block: Any = self.transformers[layer].self_attn
        updated: Tensor = block.update(state, attend)
        return updated

    def _attend_cross(self, layer: int, state: Tensor, counts: list[int]) -> Tensor:
        others = [n for query, reference in zip(counts[::2], counts[1::2]) for n in (reference, query)]

        def attend(projected: Tensor, message: Tensor) -> None:
            parts = torch.split(projected, counts)
            swapped = torch.cat([part for query, reference in zip(parts[::2], parts[1::2]) for part in (reference, query)])
            _attention(projected[:, 0], swapped[:, 0], swapped[:, 1], counts, others, message)

        block: Any = self.transformers[layer].cross_attn
        updated: Tensor = block.update(state, attend)
        return updated

    def _assign(self, layer: int, table: _Table) -> list[Found]:
        """Equations 6 to 8: similarity, dual softmax, matchability; keep what is the best of its row and of its column."""
        head: Any = self.log_assignment[layer]
        projected = torch.split(head.final_proj(table.state) / self.shape.dim**0.25, table.counts)
        certainty = torch.split(F.logsigmoid(head.matchability(table.state)[:, 0]), table.counts)
        partners, confidences = [], []
        for i in range(0, len(projected), 2):
            similarity = projected[i] @ projected[i + 1].T
            scores = similarity.log_softmax(dim=1).add_(similarity.log_softmax(dim=0)).add_(certainty[i][:, None]).add_(certainty[i + 1])
            best, column = scores.max(dim=1)
            mutual = scores.max(dim=0).indices[column] == torch.arange(len(best), device=best.device)
            partners.append(torch.where(mutual, column, -1))
            confidences.append(best.exp().clamp(max=1))
        partner, confidence = torch.cat(partners).cpu().numpy(), torch.cat(confidences).cpu().numpy()
        rows = np.split(table.rows.cpu().numpy(), np.cumsum(table.counts)[:-1])
        ends = np.cumsum([len(part) for part in partners])[:-1]
        found = []
        for i, (pair, chosen, sure) in enumerate(zip(table.pairs, np.split(partner, ends), np.split(confidence, ends))):
            matched = chosen >= 0
            indices = np.stack((rows[2 * i][matched], rows[2 * i + 1][chosen[matched]]), axis=1).astype(np.int32)
            found.append((pair, (indices, sure[matched])))
        return found


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Older files name their layers `self_attn.0`, newer ones and kornia `transformers.0.self_attn`. LighterGlue's file names them
    `matcher.transformers.0.self_attn`, and holds XFeat's network beside them."""
    if any(name.startswith("matcher.") for name in state):
        state = {name.removeprefix("matcher."): value for name, value in state.items() if name.startswith("matcher.")}
    return {re.sub(r"^(self|cross)_attn\.(\d+)\.", r"transformers.\2.\1_attn.", name): value for name, value in state.items()}


def places(features: Features, with_scale_and_angle: bool) -> np.ndarray:
    """(n, 2) float32 of the keypoints, -1 to 1 along the photo's longer side; (n, 4) with their scale and angle."""
    size = np.array(features.size, np.float32)
    points: np.ndarray = (features.keypoints - size / 2) / (size.max() / 2)
    if not with_scale_and_angle:
        return points
    assert features.scales is not None and features.angles is not None
    return np.concatenate((points, np.stack((features.scales, features.angles), axis=1)), axis=1)


def _no_match() -> Matches:
    return np.zeros((0, 2), np.int32), np.zeros(0, np.float32)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotary encoding of (T, n, H, D / H) by (T, D / 2H), float32: neighbouring dimensions are a complex number that is turned."""
    pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2)) * rotation[:, None, None]
    return torch.view_as_real(pairs).flatten(start_dim=-2).to(x.dtype)


def _attention(q: Tensor, k: Tensor, v: Tensor, queries: list[int], keys: list[int], message: Tensor) -> None:
    """Attention of each photo's queries to its keys: (T, H, D / H), and twice (S, H, D / H) -> `message` (T, H, D / H). Queries and keys
    come scaled, see `load_folded`."""
    if q.is_cuda and q.dtype != torch.float32:
        return _attend_packed(q, k, v, queries, keys, message)
    parts: Any = (torch.split(part.transpose(0, 1), counts, dim=1) for part, counts in ((q, queries), (k, keys), (v, keys)))
    for (one_q, one_k, one_v), out in zip(zip(*parts), torch.split(message, queries)):
        if q.dtype == torch.float32:
            out.copy_(F.scaled_dot_product_attention(one_q[None], one_k[None], one_v[None], scale=1.0)[0].transpose(0, 1))
            continue
        for rows, part in zip(
            torch.split(one_q, ROWS, dim=1), torch.split(out, ROWS)
        ):  # on a processor the plain products use its bfloat16, PyTorch's
            part.copy_((torch.bmm(rows, one_k.transpose(1, 2)).softmax(dim=2) @ one_v).transpose(0, 1))  # fused attention does not


def _attend_packed(q: Tensor, k: Tensor, v: Tensor, queries: list[int], keys: list[int], message: Tensor) -> None:
    """The same in one call, on a GPU in half precision."""
    from torch.nn.attention.varlen import varlen_attn  # a second to import, for nothing where there is no GPU

    starts = (F.pad(torch.tensor(counts, device=q.device).cumsum(0), (1, 0)).int() for counts in (queries, keys))
    scaled = q * q.shape[-1] ** 0.5  # it divides by that, and older versions cannot be told otherwise
    packed: Any = varlen_attn
    message.copy_(packed(scaled, k, v, *starts, max(queries), max(keys)))


class LightGlueMatcher:
    """The matcher of `reid`: features in, matches of every reference out."""

    def __init__(self, settings: Settings, weights_name: str, n_dims: int, device: str):
        self.confidences = settings.depth_confidence, settings.width_confidence
        self.race = race(settings)
        self.at_once = AT_ONCE[device]
        state = weights.load(weights_name, settings.lightglue_weights)
        try:
            self.network = LightGlue.of(state, n_dims)
        except ValueError as error:
            raise WeightsError(f"{settings.lightglue_weights or weights_name}: {error}") from error
        self.network.eval().to(device)
        self.network.lower_precision(dtype(settings, device))

    def match(self, query: Features, references: Sequence[Features], animals: Sequence[str | None] | None = None) -> Iterator[Found]:
        """Each reference's place with its indices and confidences, in the order in which they are ready; those that lose the race have
        no matches. Each animal's best photo finishes before any animal's second."""
        chosen = list(range(len(references)))
        if self.race and len(references) > self.race[2]:
            n_keypoints, n_layers, n_finalists = self.race
            few = partial(_strongest, n=n_keypoints)
            totals = np.zeros(len(references))
            for place, (_, confidence) in self._match(few(query), map(few, references), (-1, -1), n_layers):
                totals[place] = confidence.sum()
            chosen = sorted(first(totals, animals or [None] * len(references), n_finalists))
            yield from ((place, _no_match()) for place in sorted(set(range(len(references))) - set(chosen)))
        for place, found in self._match(query, (references[place] for place in chosen), self.confidences):
            yield chosen[place], found

    def _match(
        self, query: Features, references: Iterable[Features], confidences: tuple[float, float], n_layers: int | None = None
    ) -> Iterator[Found]:
        [own] = self.network.encode([query])
        return self.network.match(own, self._encoded(references), *confidences, n_layers, self.at_once)

    def _encoded(self, references: Iterable[Features]) -> Iterator[_Photo]:
        rest = iter(references)
        while block := list(islice(rest, self.at_once)):
            yield from self.network.encode(block)


def _strongest(features: Features, n: int) -> Features:
    """The keypoints that run the heat."""
    names = [field.name for field in fields(Features) if isinstance(getattr(features, field.name), np.ndarray)]
    few: dict[str, Any] = {name: getattr(features, name)[:n] for name in names}
    return replace(features, **few)
