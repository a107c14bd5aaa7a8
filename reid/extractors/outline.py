"""Where the animal is: a network that knows what animals look like, and a decoder that has seen where rendered ones end.

The network is EfficientNet-Lite0 (Tan and Le, ICML 2019; Google's lite variant: no squeeze-and-excitation, ReLU6), as trained on
ImageNet. The decoder joins its maps from coarse to fine (feature pyramid, Lin et al., CVPR 2017) and was trained by this project, on
rendered animals alone, while the network was held (`reid train outline`). What is looked for is skin with a pattern: legs and horns may
be left out.
"""

from __future__ import annotations

import hashlib
from functools import cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import weights

LONGEST = 320  # px of the longer side of what the network is shown
STRIDE = 32  # px, of its coarsest map: both sides are multiples of it
FINEST = 4  # px, of its finest, and of the mask
NO_EFFECT = {"KEPT": "what is computed again comes out the same"}
STAGES = (  # kernel, stride, expansion, channels, blocks
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip
STEM = 32  # channels
TAPS = {2: 24, 4: 40, 10: 112, 15: 320}  # channels of the blocks whose maps are joined, the finest first
WIDTH = 32  # channels of the decoder
LIKELY = 0.4  # probability from which a place is the animal's: what is left out costs more than what is let in
COMPANION = 0.25  # parts smaller than this share of the largest are left out
KEPT = 10_000  # masks in memory, 5 KB each
RIM = 0.02  # of the longer side, by which the mask is widened: a keypoint at the outline has the animal beside it


class _Conv(nn.Conv2d):
    """Padded as TensorFlow does ("same"), where the network was trained: of an even side that is halved, more behind than before."""

    def forward(self, x: Tensor) -> Tensor:
        whole = self.kernel_size[0] - self.stride[0]
        before = whole // 2
        return super().forward(F.pad(x, (before, whole - before) * 2))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Inverted residual (Sandler et al., CVPR 2018). The names are those of the file of weights."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = ins * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(ins, wide, 1, bias=False), _norm(wide)
        self._depthwise_conv, self._bn1 = _Conv(wide, wide, kernel, stride, groups=wide, bias=False), _norm(wide)
        self._project_conv, self._bn2 = nn.Conv2d(wide, outs, 1, bias=False), _norm(outs)
        self.expands, self.adds = expansion > 1, stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """[B x 3 x H x W] RGB in -1..1, sides multiples of 32 -> the maps of `TAPS`, at a 4th, 8th, 16th and 32nd of the size."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Conv(3, STEM, 3, 2, bias=False), _norm(STEM)
        blocks: list[nn.Module] = []
        ins = STEM
        for kernel, stride, expansion, outs, number in STAGES:
            for i in range(number):
                blocks.append(_Block(ins, outs, kernel, 1 if i else stride, expansion))
                ins = outs
        self._blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, found = F.relu6(self._bn0(self._conv_stem(images))), []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in TAPS:
                found.append(x)
        return found


class Decoder(nn.Module):
    """The encoder's maps -> logits [B x H/4 x W/4] that a place shows the animal."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(c, affine=False) for c in TAPS.values()])
        self.lateral = nn.ModuleList([nn.Conv2d(c, WIDTH, 1) for c in TAPS.values()])
        self.mix = nn.ModuleList([_mixed() for _ in TAPS])
        self.around, self.whole = _mixed(2), nn.Linear(TAPS[max(TAPS)], WIDTH)
        self.last = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        maps = [norm(one) for norm, one in zip(self.norms, maps)]
        y = self.mix[-1](self.lateral[-1](maps[-1]))
        y = y + self.around(y) + self.whole(maps[-1].mean(dim=(2, 3)))[:, :, None, None]
        for lateral, mix, one in reversed(list(zip(self.lateral[:-1], self.mix[:-1], maps[:-1]))):
            y = mix(F.interpolate(y, size=one.shape[2:], mode="bilinear") + lateral(one))
        return self.last(y)[:, 0]  # type: ignore[no-any-return]


def _mixed(dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)
    )


def encoder() -> Encoder:
    """With ImageNet's weights, which are held. Raises WeightsError where they are not on this machine."""
    network = Encoder()
    wanted = set(network.state_dict())
    network.load_state_dict({name: value for name, value in weights.load("efficientnet-lite0").items() if name in wanted})
    return network.eval().requires_grad_(False)


def shown(pixels: NDArray[np.uint8]) -> Tensor:
    """[3 x H x W] in -1..1 of (H, W, 3) RGB pixels, as large as they are."""
    return (torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() - 127) / 128


class Outline:
    """Both networks on a device."""

    def __init__(self, device: str):
        self.device, self.encoder, self.decoder = device, encoder(), Decoder()
        self._found: dict[tuple[bytes, tuple[int, ...]], tuple[NDArray[np.bool_] | None]] = {}
        self.decoder.load_state_dict(weights.load("outline"))
        for network in (self.encoder, self.decoder.eval()):
            torch.nn.Module.to(network, device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def likely(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(h, w) probability that a place of (H, W, 3) RGB pixels shows the animal, a place for `FINEST` px of what is shown."""
        found: NDArray[np.float32] = self.decoder(self._maps(pixels))[0].sigmoid().cpu().numpy()
        return found

    @torch.inference_mode()
    def pooled(self, pixels: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """(992,) what ImageNet's network sees of the animal in (H, W, 3) RGB pixels, in the part that the mask (H, W), not empty, covers:
        of each of its maps, the finest first, the mean of every channel on the mask, then its standard deviation."""
        if mask is not None:
            x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
            window = np.s_[y : y + height, x : x + width]
            pixels, mask = pixels[window], mask[window]
        found = []
        for one in self._maps(pixels):
            here = np.ones(one.shape[2:], np.float32) if mask is None else _share(mask, one.shape[2:])
            weight = torch.from_numpy(here / here.sum()).to(self.device)
            mean = (one[0] * weight).sum(dim=(1, 2))
            spread = ((one[0] - mean[:, None, None]) ** 2 * weight).sum(dim=(1, 2)).sqrt()
            found += [mean, spread]
        values: NDArray[np.float32] = torch.cat(found).cpu().numpy()
        return values

    def _maps(self, pixels: NDArray[np.uint8]) -> list[Tensor]:
        """The encoder's of (H, W, 3) pixels, `LONGEST` px long."""
        size = np.array(pixels.shape[1::-1])
        width, height = (max(2, round(side)) * STRIDE for side in size * (LONGEST / size.max() / STRIDE))
        small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        maps: list[Tensor] = self.encoder(shown(small)[None].to(self.device, memory_format=torch.channels_last))
        return maps

    def foreground(self, pixels: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
        """(H, W) True on the animal in (H, W, 3) RGB pixels; None where there is none to be seen. Every extractor asks for the same photos:
        the last `KEPT` answers stay in memory."""
        key = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest(), pixels.shape
        known = self._found.get(key)
        if known is None:
            known = (tidied(self.likely(pixels) > LIKELY),)
            if len(self._found) >= KEPT:
                self._found.clear()
            self._found[key] = known
        [mask] = known
        if mask is None:
            return None
        grown = cv2.resize(mask.astype(np.float32), pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        found: NDArray[np.bool_] = grown > 0.5
        return found

    def forget(self) -> None:
        """Look at the next photo anew, whether or not it was seen before."""
        self._found.clear()


def _share(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """How much of each place of a map (h, w) lies on the mask (H, W)."""
    found: NDArray[np.float32] = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    return found


def tidied(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest part of (h, w) and those not much smaller, widened by `RIM`, without holes; None of an empty mask."""
    number, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    if number < 2:
        return None
    large = np.isin(labels, 1 + np.flatnonzero(areas >= COMPANION * areas.max()))
    _, beside = cv2.connectedComponents(cv2.copyMakeBorder((~widened(large)).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1))
    found: NDArray[np.bool_] = beside[1:-1, 1:-1] != beside[0, 0]
    return found


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(h, w) True on the animal -> with `RIM` around it."""
    radius = max(1, round(RIM * max(mask.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    wide: NDArray[np.bool_] = cv2.dilate(mask.astype(np.uint8), disc) > 0
    return wide


@cache
def create(device: str) -> Outline:
    """One a process and device. Raises WeightsError where weights are not on this machine."""
    return Outline(device)
