"""ALIKED (Zhao et al. 2023, arXiv 2304.03608): the published weights, with nothing computed that no keypoint reads.

The published network upsamples four feature maps to the photo's size, joins them, and reads scores and descriptors from the result. Here
scores are formed at each map's own size and then upsampled (a 1 x 1 convolution and an upsampling commute), and the joined map is formed
only where a descriptor reads it. The features are those of kornia's network, within the rounding that a test states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .. import weights
from ..records import Features, Photo
from ..settings import ExtractSettings
from . import Extractor, as_batch, entry, half_precision, strongest

RADIUS = 2  # px, of the window in which a keypoint is the maximum
TEMPERATURE = 0.1  # of the soft maximum that gives a keypoint its sub-pixel position
STRIDE = 32  # px, of the coarsest map: photos are padded to a multiple of it
POOLS = 1, 2, 4, 4  # px of the map before that become one of each map
DEFORMABLE = 2  # the maps from which on convolutions are deformable
NORM_EPS = 1e-5  # of the batch norms
State = Mapping[str, Tensor]


def _convolution(state: State, name: str, norm: str = "", pads: bool = True) -> nn.Conv2d:
    """The published convolution of this name, with the batch norm that follows it folded in."""
    weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
    if norm:
        mean, variance, scale, shift = (state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        weight, bias = fuse_conv_bn_weights(weight, bias, mean, variance, NORM_EPS, scale, shift)
    side = weight.shape[2]
    found = nn.Conv2d(weight.shape[1], weight.shape[0], side, padding=side // 2 if pads else 0, bias=bias is not None)
    found.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return found


class _Block(nn.Module):
    """Two convolutions, and what they leave out added."""

    def __init__(self, state: State, number: int):
        super().__init__()
        name, kind = f"block{number + 1}", _Deformable if number >= DEFORMABLE else _convolution
        self.conv1, self.conv2 = (kind(state, f"{name}.conv{i}", norm=f"{name}.bn{i}") for i in (1, 2))
        self.beside = _convolution(state, f"{name}.downsample") if f"{name}.downsample.weight" in state else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.selu(self.conv1(x), inplace=True))
        return F.selu(y if self.beside is None else y + self.beside(x), inplace=True)


class _Deformable(nn.Module):
    """A deformable convolution, 3 x 3 (Dai et al. 2017, arXiv 1703.06211): each tap reads the map where its offset says."""

    def __init__(self, state: State, name: str, norm: str):
        super().__init__()
        self.offset_conv, self.regular_conv = _convolution(state, f"{name}.offset_conv"), _convolution(state, f"{name}.regular_conv", norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H, W)."""
        n, _, height, width = x.shape
        furthest = max(height, width) / 4
        offset = self.offset_conv(x).clamp(-furthest, furthest).view(n, 9, 2, height, width).permute(0, 3, 4, 1, 2)  # (B, H, W, 9, dy dx)
        rows, columns = torch.meshgrid(_steps(height, x), _steps(width, x), indexing="ij")
        taps_y, taps_x = torch.meshgrid(_steps(3, x) - 1, _steps(3, x) - 1, indexing="ij")
        xy = torch.stack(
            (columns[..., None] + taps_x.flatten() + offset[..., 1], rows[..., None] + taps_y.flatten() + offset[..., 0]), dim=-1
        )
        pixels, share = _neighbours(xy.view(-1, 2), (width, height))
        first = torch.arange(0, n * height * width, height * width, device=x.device).repeat_interleave(height * width * 9)  # of its map
        read = _weighted(_table(x), first[:, None] + pixels[..., 1] * width + pixels[..., 0], share).view(n * height * width, -1)
        weight = self.regular_conv.weight.permute(0, 2, 3, 1).flatten(start_dim=1)  # as `read`: taps, then channels
        return F.linear(read, weight, self.regular_conv.bias).view(n, height, width, -1).permute(0, 3, 1, 2)


class _Network(nn.Module):
    """Photo in, keypoints, scores and descriptors out."""

    def __init__(self, state: State):
        super().__init__()
        self.blocks = nn.ModuleList(_Block(state, number) for number in range(len(POOLS)))
        self.levels = nn.ModuleList(_convolution(state, f"conv{number + 1}") for number in range(len(POOLS)))
        first, *rest = (_convolution(state, f"score_head.{number}") for number in (0, 2, 4, 6))
        self.score_head = nn.Sequential(first, *(layer for conv in rest for layer in (nn.SELU(inplace=True), conv)))
        around, here = (_convolution(state, f"desc_head.offset_conv.{number}", pads=False) for number in (0, 2))
        self.offsets = nn.Sequential(around, nn.SELU(inplace=True), here)
        self.sampled = _convolution(state, "desc_head.sf_conv")
        self.joined = nn.Parameter(state["desc_head.agg_weights"])
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor, most: int, masks: Sequence[Tensor | None]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(B, 3, H, W) in 0..1 -> of each keypoints (N, 2) px, scores (N,), descriptors (N, D); the `most` strongest maxima, whatever
        their score, that lie on its mask (H, W)."""
        height, width = images.shape[2:]
        left, top = (-width % STRIDE) // 2, (-height % STRIDE) // 2
        padded = F.pad(images, (left, -width % STRIDE - left, top, -height % STRIDE - top), mode="replicate")
        maps = self._maps(padded.contiguous(memory_format=torch.channels_last))
        found = []
        for number, scores in enumerate(self._scores(maps)[:, top : top + height, left : left + width]):
            keypoints, strength = _maxima(scores, most, masks[number])
            own = [level[number : number + 1] for level in maps]
            descriptors = self._describe(own, keypoints, (width, height), (left, top))
            found.append((keypoints, strength, descriptors))
        return found

    def _maps(self, x: Tensor) -> list[Tensor]:
        """Four maps (B, D / 4, h, w) of the padded photo: at its size, a half, an eighth and a thirty-second of it."""
        maps: list[Tensor] = []
        with half_precision(x.device.type):
            for block, level, pool in zip(self.blocks, self.levels, POOLS):
                x = block(F.avg_pool2d(x, pool) if pool > 1 else x)
                maps.append(F.selu(level(x), inplace=True).float())
        return maps

    def _scores(self, maps: list[Tensor]) -> Tensor:
        """(B, H, W) score maps of the padded photos."""
        size = maps[0].shape[2:]
        layers: Any = self.score_head
        first, *rest = layers
        total = None
        for level, weight in zip(maps, first.weight.chunk(len(maps), dim=1)):
            part = F.conv2d(level, weight)
            part = part if part.shape[2:] == size else F.interpolate(part, size, mode="bilinear", align_corners=True)
            total = part if total is None else total.add_(part)
        for layer in rest:
            total = layer(total)
        return total.sigmoid()[:, 0]  # type: ignore[union-attr]

    def _describe(self, maps: list[Tensor], keypoints: Tensor, size: tuple[int, int], corner: tuple[int, int]) -> Tensor:
        """(N, D) unit descriptors: 3 x 3 points around a keypoint say where further points are read, and those are joined."""
        if not len(keypoints):
            return keypoints.new_zeros((0, self.joined.shape[-1]))
        tables = [_table(level) for level in maps]
        sizes = [(level.shape[3], level.shape[2]) for level in maps]
        limit = torch.tensor(size, device=keypoints.device) - 1

        def dense(xy: Tensor) -> Tensor:
            """(M, 2) whole pixels of the photo -> (M, D) unit vectors of the joined map."""
            on_padded = xy + torch.tensor(corner, device=xy.device)
            full = torch.tensor(sizes[0], device=xy.device) - 1
            read = [tables[0][on_padded[:, 1] * sizes[0][0] + on_padded[:, 0]]]
            for table, its_size in zip(tables[1:], sizes[1:]):
                read.append(_read(table, its_size, on_padded * ((torch.tensor(its_size, device=xy.device) - 1) / full)))
            return F.normalize(torch.cat(read, dim=1), dim=1)

        around = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")[::-1], dim=-1).to(keypoints.device)
        start = torch.minimum((keypoints.long() - 0.5).long(), limit - 3).clamp(min=0)  # as published, the last row and column left out
        patches = dense((start[:, None, None] + around).view(-1, 2)).view(len(keypoints), 3, 3, -1).permute(0, 3, 1, 2)
        offset = self.offsets(patches).clamp(-max(size) / 4, max(size) / 4)
        places = (keypoints[:, None] + offset.view(len(keypoints), 2, -1).transpose(1, 2)).reshape(-1, 2)
        neighbours, share = _neighbours(places, size)
        distinct, index = torch.unique(neighbours[..., 1] * size[0] + neighbours[..., 0], return_inverse=True)
        table = dense(torch.stack((distinct % size[0], distinct // size[0]), dim=1))
        read = F.selu(F.linear(_weighted(table, index, share), self.sampled.weight.flatten(start_dim=1)), inplace=True)
        return F.normalize(read.view(len(keypoints), -1) @ self.joined.flatten(end_dim=1), dim=1)


def _maxima(scores: Tensor, most: int, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The strict local maxima of a score map (H, W) on the mask (H, W), strongest first: positions (N, 2) px below the pixel, scores (N,)
    read there."""
    height, width = scores.shape
    side = 2 * RADIUS + 1
    inner = scores[RADIUS:-RADIUS, RADIUS:-RADIUS]
    highest = F.max_pool2d(F.max_pool2d(scores[None, None], (side, 1), stride=1), (1, side), stride=1)[0, 0]
    rows, columns = torch.nonzero(inner == highest, as_tuple=True)  # their window starts there
    window = scores.unfold(0, side, 1).unfold(1, side, 1)[rows, columns].flatten(start_dim=1)
    strict = (window == window.amax(dim=1, keepdim=True)).sum(dim=1) == 1
    rows, columns, window = rows[strict], columns[strict], window[strict]
    share = ((window - window.amax(dim=1, keepdim=True)) / TEMPERATURE).softmax(dim=1)
    steps = _steps(side, scores) - RADIUS
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij")[::-1], dim=-1).view(-1, 2)
    keypoints, strength = torch.stack((columns, rows), dim=1) + RADIUS + share @ grid, window[:, side * RADIUS + RADIUS]
    if mask is not None:
        columns, rows = keypoints.round().long().unbind(dim=1)
        keypoints, strength = keypoints[mask[rows, columns]], strength[mask[rows, columns]]
    keypoints = keypoints[torch.sort(strength, descending=True, stable=True).indices[:most]]
    return keypoints, _read(scores.reshape(-1, 1), (width, height), keypoints)[:, 0]


def _steps(n: int, like: Tensor) -> Tensor:
    return torch.arange(n, device=like.device, dtype=torch.float32)


def _table(level: Tensor) -> Tensor:
    """(B, C, H, W) -> (B H W, C)."""
    return level.permute(0, 2, 3, 1).flatten(end_dim=2)


def _neighbours(xy: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The four pixels around each point, (M, 4, 2) whole px, and their bilinear shares (M, 4); those outside the map have none."""
    limit = torch.tensor(size, device=xy.device) - 1
    low = xy.floor()
    part = xy - low
    corners = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=xy.device)
    pixels = low.long()[:, None] + corners
    share = torch.where(corners == 1, part[:, None], 1 - part[:, None]).prod(dim=2)
    inside = ((pixels >= 0) & (pixels <= limit)).all(dim=2)
    return torch.minimum(pixels.clamp(min=0), limit), share * inside


def _weighted(table: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Rows of a table (R, C) at (M, K), each times its share, added up: (M, C)."""
    return F.embedding_bag(index, table, per_sample_weights=share.to(table.dtype), mode="sum")


def _read(table: Tensor, size: tuple[int, int], xy: Tensor) -> Tensor:
    """A map (H W, C) read at points (M, 2) px, bilinearly, 0 outside."""
    pixels, share = _neighbours(xy, size)
    return _weighted(table, pixels[..., 1] * size[0] + pixels[..., 0], share)


class AlikedExtractor(Extractor):
    """The strongest maxima of ALIKED's score map, whatever their score: a murky photo gets as many keypoints as a clear one."""

    def __init__(self, extract: ExtractSettings, device: str):
        self.name, self.device, self.max_keypoints = extract.extractor, device, extract.max_keypoints
        self.network = _Network(weights.load(str(entry(self.name).weights))).eval().to(device)

    @torch.inference_mode()
    def _together(self, photos: Sequence[Photo]) -> list[Features]:
        """Features with sub-pixel keypoints; descriptors have 128 dimensions (t16: 64)."""
        masks = [None if photo.mask is None else torch.tensor(photo.mask, device=self.device) for photo in photos]
        found = self.network(as_batch(photos, self.device), self.max_keypoints, masks)
        return [
            strongest(photo, self.name, self.max_keypoints, *(part.cpu().numpy() for part in parts)) for photo, parts in zip(photos, found)
        ]


def create(extract: ExtractSettings, device: str) -> AlikedExtractor:
    return AlikedExtractor(extract, device)
