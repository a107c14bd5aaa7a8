"""LightGlue as it matches: one query against many references.

The pairs of a batch lie end to end in one table of points, nothing is padded, and each pair stops and drops points by itself: it gets what
it gets alone. Keypoints, rotary encoding, the running state and the assignment are float32; products and attention have half of it where
that is faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import devices
from ..records import Features
from . import Found, no_match
from .blocks import dot_in_blocks, product_in_blocks
from .lightglue_layers import Layers

WAY_OUT = "take fewer keypoints (--max-keypoints), or let the processor compute (--device cpu)"


@dataclass(eq=False)
class Encoded:
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

    @classmethod
    def of(cls, query: Encoded, block: Sequence[tuple[int, Encoded]]) -> _Table:
        """Of pairs whose photos all have points."""
        photos = [photo for _, reference in block for photo in (query, reference)]
        counts = [len(photo.state) for photo in photos]
        rows = torch.arange(max(counts), device=query.state.device)
        return cls(
            torch.cat([photo.state for photo in photos]), torch.cat([photo.rotation for photo in photos]),
            torch.cat([rows[:n] for n in counts]), [place for place, _ in block],
            [a + b for a, b in zip(counts[::2], counts[1::2])], counts,
        )  # fmt: skip

    def select(self, keep: Tensor, going_on: Sequence[bool], counts: list[int]) -> _Table:
        """The points of `keep` and the pairs that go on; `counts` as they are then."""
        pairs = [pair for pair, stays in zip(self.pairs, going_on) if stays]
        n_points = [n for n, stays in zip(self.n_points, going_on) if stays]
        rows = torch.nonzero(keep)[:, 0]
        return _Table(self.state[rows], self.rotation[rows], self.rows[rows], pairs, n_points, counts)


class LightGlue(Layers):
    """The network. `of` gives it its weights, `encode` and `match` run it."""

    @property
    def device(self) -> torch.device:
        return self.log_assignment[0].final_proj.weight.device  # type: ignore[union-attr,return-value]

    @torch.inference_mode()
    def encode(self, photos: Sequence[Features]) -> list[Encoded]:
        """What depends on one photo alone, of each: projection, rotary encoding and the first self-attention."""
        counts = [len(one) for one in photos]
        points = self._sent(np.concatenate([places(one, self.with_scale_and_angle) for one in photos]))
        state = self._sent(np.concatenate([one.descriptors for one in photos])).float()
        state = product_in_blocks(self.input_proj, state) if isinstance(self.input_proj, torch.nn.Linear) else state
        rotation = torch.cat([self._rotation(part) for part in torch.split(points, counts)])
        state = self.attend_self(0, state, rotation, counts) if len(state) else state
        return [Encoded(*parts) for parts in zip(torch.split(state, counts), torch.split(rotation, counts))]

    def _rotation(self, points: Tensor) -> Tensor:
        """(n, D / 2H) complex64 of `places`. Multiplied and added one by one: few terms, of which a product of matrices says in no fixed
        order how they are added."""
        turns: Any = self.posenc["Wr"].weight
        angle = points[:, :1] * turns[:, 0]
        for i in range(1, turns.shape[1]):
            angle = angle + points[:, i : i + 1] * turns[:, i]
        return torch.polar(torch.ones_like(angle), angle)

    def _sent(self, values: np.ndarray) -> Tensor:
        """On the network's device; to a GPU while it works on what was sent before."""
        here = torch.from_numpy(values)
        return here.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else here.to(self.device)

    @torch.inference_mode()
    def match(
        self,
        query: Encoded,
        references: Iterable[Encoded],
        depth_confidence: float = -1,
        width_confidence: float = -1,
        n_layers: int | None = None,
        at_once: int = 8,
    ) -> Iterator[Found]:
        """Mutual best assignments of each pair with its place among the references, in the order in which they are ready.

        `depth_confidence` and `width_confidence` are the paper's thresholds of early stopping and pruning; -1 turns them off. After
        `n_layers`, if not all, the pairs are assigned by that layer's head. What a pair gets does not depend on which others share its
        table, nor on `at_once`. At most twice `at_once` pairs are held at a time, however many references there are. Raises
        SettingsError where half of `at_once` is still too much for the device's memory."""
        n_layers = min(n_layers or self.shape.layers, self.shape.layers)
        match = partial(self._match, query, confidences=(depth_confidence, width_confidence), n_layers=n_layers)
        numbered = enumerate(references)
        while block := list(islice(numbered, at_once)):
            full = [(place, photo) for place, photo in block if len(query.state) and len(photo.state)]
            yield from devices.in_halves(match, full, WAY_OUT)
            yield from ((place, no_match()) for place, photo in block if not (len(query.state) and len(photo.state)))

    def _match(self, query: Encoded, block: Sequence[tuple[int, Encoded]], confidences: tuple[float, float], n_layers: int) -> list[Found]:
        """The pairs of one table."""
        table, found = _Table.of(query, block), []
        for layer in range(n_layers):
            table, finished = self._advance(layer, table, *confidences)
            found += finished
            if not table.pairs:
                return found
        return found + self._assign(n_layers - 1, table)

    def _advance(self, layer: int, table: _Table, depth_confidence: float, width_confidence: float) -> tuple[_Table, list[Found]]:
        """One layer; the pairs that are finished leave the table. Section 3.3 of the paper, pair by pair: pairs that are sure enough
        stop, the others drop the points that are surely unmatchable."""
        state = table.state if layer == 0 else self.attend_self(layer, table.state, table.rotation, table.counts)
        table.state = self.attend_cross(layer, state, table.counts)
        if layer == self.shape.layers - 1 or (depth_confidence <= 0 and width_confidence <= 0):
            return table, []
        threshold = _logit(0.8 + 0.1 * math.exp(-4 * layer / self.shape.layers))
        token: Any = self.token_confidence[layer]
        head: Any = self.log_assignment[layer]
        sure = dot_in_blocks(token["token"][0], table.state)  # a logit, as the thresholds are
        keep = torch.ones_like(sure, dtype=torch.bool)
        if width_confidence > 0:
            keep = dot_in_blocks(head.matchability, table.state) > _logit(1 - width_confidence)
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
        finished += [(pair, no_match()) for pair, stops, *n in zip(table.pairs, stop, kept[::2], kept[1::2]) if not stops and not min(n)]
        going_on = [not stops and min(n) > 0 for stops, *n in zip(stop, kept[::2], kept[1::2])]
        if all(going_on) and sum(kept) == len(keep):
            return table, finished
        keep &= torch.tensor([goes for goes in going_on for _ in range(2)], device=keep.device)[photo]
        return table.select(keep, going_on, [n for i, n in enumerate(kept) if going_on[i // 2]]), finished

    def _assign(self, layer: int, table: _Table) -> list[Found]:
        """Equations 6 to 8: similarity, dual softmax, matchability; keep what is the best of its row and of its column."""
        head: Any = self.log_assignment[layer]
        projected = torch.split(product_in_blocks(head.final_proj, table.state) / self.shape.dim**0.25, table.counts)
        certainty = [F.logsigmoid(part) for part in torch.split(dot_in_blocks(head.matchability, table.state), table.counts)]
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


def places(features: Features, with_scale_and_angle: bool) -> np.ndarray:
    """(n, 2) float32 of the keypoints, -1 to 1 along the photo's longer side; (n, 4) with their scale and angle."""
    size = np.array(features.size, np.float32)
    points: np.ndarray = (features.keypoints - size / 2) / (size.max() / 2)
    if not with_scale_and_angle:
        return points
    assert features.scales is not None and features.angles is not None
    return np.concatenate((points, np.stack((features.scales, features.angles), axis=1)), axis=1)


def _logit(probability: float) -> float:
    return float(torch.tensor(probability, dtype=torch.float64).logit())
