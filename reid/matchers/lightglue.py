"""LightGlue (Lindenberger et al. 2023, arXiv 2306.13643): one query against many references, over the published weights.

The pairs of a batch lie end to end in one table of tokens: the linear layers see the whole table, attention sees one photo or one
pair at a time. So nothing is padded, and each pair stops and drops points by itself: it gets what it gets alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import weights
from ..config import Settings
from ..records import Features

DIM, HEADS, LAYERS = 256, 4, 9
PAIRS_AT_ONCE = 8  # pairs in one table of tokens
Matches = tuple[np.ndarray, np.ndarray]  # indices (S, 2) int32, confidence (S,) float32


class _Attention(nn.Module):
    """Self- or cross-attention with its update. The published layers, folded: `project` gives queries, keys and values in one product
    (cross-attention uses one vector for query and key), and the projection of the message is part of the first layer of `ffn`."""

    def __init__(self, n_projected: int) -> None:
        super().__init__()
        self.project = nn.Linear(DIM, n_projected * DIM)
        self.ffn = nn.Sequential(nn.Linear(2 * DIM, 2 * DIM), nn.LayerNorm(2 * DIM), nn.GELU(), nn.Linear(2 * DIM, DIM))

    def update(self, state: Tensor, context: Callable[[Tensor], Iterable[Tensor]]) -> Tensor:
        """(T, 256) -> (T, 256); `context` turns projected tokens (T, n, H, 64) into messages (1, H, n, 64), together one a token."""
        both = state.new_empty((len(state), 2 * DIM))
        both[:, :DIM] = state
        start = 0
        for part in context(self.project(state).view(len(state), -1, HEADS, DIM // HEADS)):
            stop = start + part.shape[2]
            both[start:stop, DIM:].view(-1, HEADS, DIM // HEADS).copy_(part[0].transpose(0, 1))
            start = stop
        updated: Tensor = state + self.ffn(both)
        return updated

    def load_folded(self, projections: list[tuple[Tensor, Tensor]], out: tuple[Tensor, Tensor], ffn: dict[str, Tensor]) -> None:
        """Take the published weights: (weight, bias) of each projection, of the message's projection, and of the update."""
        weight, bias = (torch.cat(parts) for parts in zip(*projections))
        message = ffn["0.weight"][:, DIM:].double()
        folded = torch.cat((ffn["0.weight"][:, :DIM].double(), message @ out[0].double()), dim=1).float()
        shifted = (ffn["0.bias"].double() + message @ out[1].double()).float()
        self.project.load_state_dict({"weight": weight, "bias": bias})
        self.ffn.load_state_dict({**ffn, "0.weight": folded, "0.bias": shifted})


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = _Attention(3)
        self.cross_attn = _Attention(2)


class _Assignment(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matchability = nn.Linear(DIM, 1)
        self.final_proj = nn.Linear(DIM, DIM)


@dataclass
class _Tokens:
    """Points of one or several photos, end to end."""

    state: Tensor  # (T, 256)
    rotation: Tensor  # (T, 32) complex64, the rotary encoding


@dataclass
class _Pair:
    """Where a pair is in the caller's list, and which of its points are still in play."""

    position: int
    n_points: int  # of both photos, before any was dropped
    query_rows: Tensor  # (n,)
    reference_rows: Tensor  # (m,)

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.query_rows), len(self.reference_rows)


class LightGlue(nn.Module):
    """The network. `load_published` gives it its weights, `encode` and `match` run it."""

    def __init__(self, n_dims: int, with_scale_and_angle: bool = False):
        super().__init__()
        self.with_scale_and_angle = with_scale_and_angle  # SIFT's weights encode (x, y, scale, angle)
        self.input_proj = nn.Linear(n_dims, DIM) if n_dims != DIM else nn.Identity()
        self.posenc = nn.ModuleDict({"Wr": nn.Linear(4 if with_scale_and_angle else 2, DIM // HEADS // 2, bias=False)})
        self.transformers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.log_assignment = nn.ModuleList(_Assignment() for _ in range(LAYERS))
        self.token_confidence = nn.ModuleList(nn.ModuleDict({"token": nn.Sequential(nn.Linear(DIM, 1))}) for _ in range(LAYERS - 1))

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Take a published file, older names included. Raises ValueError if it is of another network."""
        state = {re.sub(r"^(self|cross)_attn\.(\d+)\.", r"transformers.\2.\1_attn.", name): value for name, value in state.items()}

        def linear(name: str) -> tuple[Tensor, Tensor]:
            return state[f"{name}.weight"], state[f"{name}.bias"]

        try:
            for i in range(LAYERS):
                layer: Any = self.transformers[i]
                for kind in ("self_attn", "cross_attn"):
                    prefix = f"transformers.{i}.{kind}."
                    ffn = {name.removeprefix(f"{prefix}ffn."): value for name, value in state.items() if name.startswith(f"{prefix}ffn.")}
                    if kind == "self_attn":  # published with rows in the order (head, dimension, query / key / value)
                        qkv = [value.view(DIM, 3, -1).transpose(0, 1).reshape(3 * DIM, -1).squeeze(-1) for value in linear(f"{prefix}Wqkv")]
                        layer.self_attn.load_folded([(qkv[0], qkv[1])], linear(f"{prefix}out_proj"), ffn)
                    else:
                        both = [linear(f"{prefix}to_qk"), linear(f"{prefix}to_v")]
                        layer.cross_attn.load_folded(both, linear(f"{prefix}to_out"), ffn)
            rest = {name: value for name, value in state.items() if not name.startswith("transformers.")}
            found = self.load_state_dict(rest, strict=False)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"these are no weights of this LightGlue ({' '.join(str(error).split())[:80]})") from error
        missing = [name for name in found.missing_keys if not name.startswith("transformers.")]
        if missing:
            raise ValueError(f"these are no weights of this LightGlue: {missing[0]} is missing")

    @property
    def device(self) -> torch.device:
        return self.log_assignment[0].final_proj.weight.device  # type: ignore[union-attr,return-value]

    @torch.inference_mode()
    def encode(self, features: Features) -> _Tokens:
        """What depends on one photo alone: projection, rotary encoding and the first self-attention."""
        device = self.device
        size = torch.tensor(features.size, dtype=torch.float32)
        points = (torch.from_numpy(features.keypoints.copy()) - size / 2) / (size.max() / 2)
        if self.with_scale_and_angle:
            assert features.scales is not None and features.angles is not None
            points = torch.cat((points, torch.from_numpy(np.stack((features.scales, features.angles), axis=1))), dim=1)
        angle = self.posenc["Wr"](points.to(device))
        state = self.input_proj(torch.from_numpy(features.descriptors.astype(np.float32)).to(device))
        tokens = _Tokens(state, torch.polar(torch.ones_like(angle), angle))
        if len(state):
            tokens.state = self._attend_self(0, tokens, [len(state)])
        return tokens

    @torch.inference_mode()
    def match(self, query: _Tokens, references: list[_Tokens], depth_confidence: float = -1, width_confidence: float = -1) -> list[Matches]:
        """Mutual best assignments of each pair, whatever their confidence; -1 turns early stopping or pruning off.

        A pair's result does not depend on the others beyond rounding (float32: about 1e-6 of a confidence)."""
        empty = np.zeros((0, 2), np.int32), np.zeros(0, np.float32)
        results: list[Matches] = [empty for _ in references]
        pairs = []
        for i, reference in enumerate(references):
            n, m = len(query.state), len(reference.state)
            if n and m:
                pairs.append(_Pair(i, n + m, torch.arange(n, device=self.device), torch.arange(m, device=self.device)))
        if not pairs:
            return results
        parts = [part for pair in pairs for part in (query, references[pair.position])]
        tokens = _Tokens(torch.cat([part.state for part in parts]), torch.cat([part.rotation for part in parts]))
        for layer in range(LAYERS):
            if layer > 0:  # the first one is done in `encode`
                tokens.state = self._attend_self(layer, tokens, [n for pair in pairs for n in pair.counts])
            tokens.state = self._attend_cross(layer, tokens.state, [pair.counts for pair in pairs])
            if layer == LAYERS - 1:
                for pair, state in zip(pairs, torch.split(tokens.state, [sum(pair.counts) for pair in pairs])):
                    self._assign(layer, state, pair, results)
            else:
                tokens, pairs = self._stop_and_prune(layer, tokens, pairs, depth_confidence, width_confidence, results)
                if not pairs:
                    break
        return results

    def _attend_self(self, layer: int, tokens: _Tokens, counts: list[int]) -> Tensor:
        def context(projected: Tensor) -> Iterator[Tensor]:
            turned = _rotate(projected[:, :2], tokens.rotation)
            for qk, v in zip(torch.split(turned, counts), torch.split(projected[:, 2], counts)):
                yield _attention(qk[:, 0], qk[:, 1], v)

        block: Any = self.transformers[layer].self_attn
        updated: Tensor = block.update(tokens.state, context)
        return updated

    def _attend_cross(self, layer: int, state: Tensor, counts: list[tuple[int, int]]) -> Tensor:
        def context(projected: Tensor) -> Iterator[Tensor]:
            parts = torch.split(projected, [n for pair in counts for n in pair])
            for query, reference in zip(parts[::2], parts[1::2]):
                yield _attention(query[:, 0], reference[:, 0], reference[:, 1])
                yield _attention(reference[:, 0], query[:, 0], query[:, 1])

        block: Any = self.transformers[layer].cross_attn
        updated: Tensor = block.update(state, context)
        return updated

    def _stop_and_prune(
        self, layer: int, tokens: _Tokens, pairs: list[_Pair], depth_confidence: float, width_confidence: float, results: list[Matches]
    ) -> tuple[_Tokens, list[_Pair]]:
        """Section 3.3 of the paper, pair by pair: assign the pairs that are sure enough, drop surely unmatchable points of the rest."""
        if depth_confidence <= 0 and width_confidence <= 0:
            return tokens, pairs
        threshold = 0.8 + 0.1 * math.exp(-4 * layer / LAYERS)
        token: Any = self.token_confidence[layer]
        head: Any = self.log_assignment[layer]
        sure = token["token"](tokens.state)[:, 0].sigmoid()
        keep = torch.ones_like(sure, dtype=torch.bool)
        if width_confidence > 0:
            keep = head.matchability(tokens.state)[:, 0].sigmoid() > 1 - width_confidence
            if depth_confidence > 0:
                keep |= sure <= threshold
        going_on, start = [], 0
        for pair in pairs:
            n, m = pair.counts
            here, start = slice(start, start + n + m), start + n + m
            if depth_confidence > 0 and 1 - int((sure[here] < threshold).sum()) / pair.n_points > depth_confidence:
                self._assign(layer, tokens.state[here], pair, results)
                keep[here] = False
                continue
            kept = keep[here]
            left = _Pair(pair.position, pair.n_points, pair.query_rows[kept[:n]], pair.reference_rows[kept[n:]])
            if min(left.counts):
                going_on.append(left)
            else:  # one side has nothing left to match
                keep[here] = False
        if not bool(keep.all()):
            tokens = _Tokens(tokens.state[keep], tokens.rotation[keep])
        return tokens, going_on

    def _assign(self, layer: int, state: Tensor, pair: _Pair, results: list[Matches]) -> None:
        """Equations 6 to 8: similarity, dual softmax, matchability; keep what is the best of its row and of its column."""
        head: Any = self.log_assignment[layer]
        n = len(pair.query_rows)
        projected = head.final_proj(state) / DIM**0.25
        similarity = projected[:n] @ projected[n:].T
        certainty = F.logsigmoid(head.matchability(state)[:, 0])
        scores = similarity.log_softmax(dim=1) + similarity.log_softmax(dim=0) + certainty[:n, None] + certainty[None, n:]
        best, column = scores.max(dim=1)
        rows = torch.arange(n, device=scores.device)
        rows = rows[scores.max(dim=0).indices[column] == rows]
        indices = torch.stack((pair.query_rows[rows], pair.reference_rows[column[rows]]), dim=1)
        confidence = best[rows].exp().clamp(max=1)
        results[pair.position] = indices.cpu().numpy().astype(np.int32), confidence.cpu().numpy().astype(np.float32)


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotary encoding of (T, n, H, 64) by (T, 32): neighbouring dimensions are a complex number that is turned."""
    pairs = torch.view_as_complex(x.view(*x.shape[:-1], -1, 2)) * rotation[:, None, None]
    return torch.view_as_real(pairs).flatten(start_dim=-2)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(n, H, 64), (m, H, 64), (m, H, 64) -> (1, H, n, 64)."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v)


class LightGlueMatcher:
    """The matcher of `reid`: features in, matches of every reference out."""

    def __init__(self, settings: Settings, weights_name: str, n_dims: int, device: str):
        self.depth_confidence, self.width_confidence = settings.depth_confidence, settings.width_confidence
        self.network = LightGlue(n_dims, with_scale_and_angle=weights_name == "sift-lightglue")
        self.network.load_published(weights.load(weights_name))
        self.network.eval().to(device)

    def match(self, query: Features, references: Iterable[Features]) -> Iterator[Matches]:
        """Indices and confidences of the query with each reference, in order, a few references at a time."""
        encoded = self.network.encode(query)
        batch: list[_Tokens] = []
        for reference in references:
            batch.append(self.network.encode(reference))
            if len(batch) == PAIRS_AT_ONCE:
                yield from self._run(encoded, batch)
                batch = []
        if batch:
            yield from self._run(encoded, batch)

    def _run(self, query: _Tokens, batch: list[_Tokens]) -> list[Matches]:
        return self.network.match(query, batch, self.depth_confidence, self.width_confidence)
