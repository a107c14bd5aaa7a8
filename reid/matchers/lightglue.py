"""LightGlue (Lindenberger et al. 2023, arXiv 2306.13643): one query against many references, over the published weights.

The pairs of a batch lie end to end in one table of tokens: the linear layers see the whole table, attention sees one photo or one
pair at a time. So nothing is padded, and each pair stops and drops points by itself: it gets what it gets alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
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
PAIRS_AT_ONCE = 4  # pairs in one table of tokens; on two CPU cores 1 to 8 measured alike, a GPU wants more
Matches = tuple[np.ndarray, np.ndarray]  # indices (S, 2) int32, confidence (S,) float32


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.Wqkv = nn.Linear(DIM, 3 * DIM)
        self.out_proj = nn.Linear(DIM, DIM)
        self.ffn = nn.Sequential(nn.Linear(2 * DIM, 2 * DIM), nn.LayerNorm(2 * DIM), nn.GELU(), nn.Linear(2 * DIM, DIM))


class _CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_qk = nn.Linear(DIM, DIM)
        self.to_v = nn.Linear(DIM, DIM)
        self.to_out = nn.Linear(DIM, DIM)
        self.ffn = nn.Sequential(nn.Linear(2 * DIM, 2 * DIM), nn.LayerNorm(2 * DIM), nn.GELU(), nn.Linear(2 * DIM, DIM))


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = _SelfAttention()
        self.cross_attn = _CrossAttention()


class _Assignment(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matchability = nn.Linear(DIM, 1)
        self.final_proj = nn.Linear(DIM, DIM)


@dataclass
class _Tokens:
    """Points of one or several photos, end to end."""

    state: Tensor  # (T, 256)
    cosine: Tensor  # (T, 64) of the rotary encoding, float32
    sine: Tensor  # (T, 64)


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
    """The network. `match` runs it; parameters are named as in the published files."""

    def __init__(self, n_dims: int, with_scale_and_angle: bool = False):
        super().__init__()
        self.with_scale_and_angle = with_scale_and_angle  # SIFT's weights encode (x, y, scale, angle)
        self.input_proj = nn.Linear(n_dims, DIM) if n_dims != DIM else nn.Identity()
        self.posenc = nn.ModuleDict({"Wr": nn.Linear(4 if with_scale_and_angle else 2, DIM // HEADS // 2, bias=False)})
        self.transformers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.log_assignment = nn.ModuleList(_Assignment() for _ in range(LAYERS))
        self.token_confidence = nn.ModuleList(nn.ModuleDict({"token": nn.Sequential(nn.Linear(DIM, 1))}) for _ in range(LAYERS - 1))

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Load a published file, older names included; every parameter must be in it."""
        state = {re.sub(r"^(self|cross)_attn\.(\d+)\.", r"transformers.\2.\1_attn.", name): value for name, value in state.items()}
        found = self.load_state_dict(state, strict=False)
        if found.missing_keys:
            raise ValueError(f"these are no weights of this LightGlue: {found.missing_keys[0]} is missing")

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
        angle = self.posenc["Wr"](points.to(device)).repeat_interleave(2, dim=1)
        state = self.input_proj(torch.from_numpy(features.descriptors.astype(np.float32)).to(device))
        tokens = _Tokens(state, angle.cos(), angle.sin())
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
        tokens = _Tokens(*(torch.cat([getattr(part, name) for part in parts]) for name in ("state", "cosine", "sine")))
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
        block: Any = self.transformers[layer].self_attn
        # the published projection interleaves (head, dim, q/k/v)
        q, k, v = block.Wqkv(tokens.state).unflatten(1, (HEADS, DIM // HEADS, 3)).unbind(dim=3)  # (T, H, 64) each
        cosine, sine = tokens.cosine[:, None], tokens.sine[:, None]
        q, k = _rotate(q, cosine, sine), _rotate(k, cosine, sine)
        context = torch.cat([_attention(*part) for part in zip(*(torch.split(x, counts) for x in (q, k, v)))])
        return _update(block.ffn, tokens.state, block.out_proj(context))

    def _attend_cross(self, layer: int, state: Tensor, counts: list[tuple[int, int]]) -> Tensor:
        block: Any = self.transformers[layer].cross_attn
        flat = [n for pair in counts for n in pair]
        keys = torch.split(block.to_qk(state).unflatten(1, (HEADS, -1)), flat)
        values = torch.split(block.to_v(state).unflatten(1, (HEADS, -1)), flat)
        context = []
        for i in range(0, len(flat), 2):
            context += [_attention(keys[i], keys[i + 1], values[i + 1]), _attention(keys[i + 1], keys[i], values[i])]
        return _update(block.ffn, state, block.to_out(torch.cat(context)))

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
            tokens = _Tokens(tokens.state[keep], tokens.cosine[keep], tokens.sine[keep])
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


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary encoding of neighbouring dimensions: (T, H, 64)."""
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(start_dim=-2)
    return x * cosine + turned * sine


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(n, H, 64), (m, H, 64), (m, H, 64) -> (n, 256)."""
    q, k, v = (x.transpose(0, 1)[None].contiguous() for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v)
    return out[0].transpose(0, 1).flatten(start_dim=1)


def _update(ffn: nn.Module, state: Tensor, message: Tensor) -> Tensor:
    updated: Tensor = state + ffn(torch.cat((state, message), dim=1))
    return updated


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
