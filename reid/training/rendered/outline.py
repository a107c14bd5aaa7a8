"""The outline's decoder trained on rendered animals, each of another species: which pixels show skin, in the crops that a number draws.

ImageNet's network is held. What it has learned of photographs is why a decoder that never saw one finds the animals in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ... import weights
from ...extractors import outline
from ...records import PhotoRef
from .. import Choices
from ..loop import Forward, Plan, Task
from ..validation import HELD_OUT
from . import album
from .conditions import Pictures
from .fields import Field, Rng
from .scenes import Scenes

SIDE = 384  # px of a rendered photo
N_PHOTOS, N_JUDGED = 1000, 96  # that are learned from, after which the first comes again in another crop; that are held out
CLOSEST = 0.3  # of a photo's sides, that a crop has at least
PLAIN, PARTS, SIZES = 0.6, 3, (0.04, 0.3)  # share of the crops with plain parts, how many at most, how large, of the side
GREY = 0.5  # share of the crops with other colours
OVERLAP = 0.5  # weight of the overlap (Dice loss, Milletari et al., 3DV 2016) beside the cross-entropy
QUALITY = 95  # of the JPEG that a rendered photo is kept as
POOL = "pool"

Shown = tuple[NDArray[np.uint8], Field]  # (H, W, 3) pixels and (h, w) share of a place that is skin


class Stills:
    """Rendered photos by number, with what of them is skin; `folder` keeps a file a photo, 60 KB."""

    def __init__(self, scenes: Scenes, folder: Path):
        self.scenes, self.folder = scenes, folder

    def photo(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """(H, W, 3) RGB and (H, W) bool; rendered if it is not kept yet."""
        file = self.folder / f"{self.scenes.seed}-{number:07d}.npz"
        if not file.exists():
            one = self.scenes.view(number, 0, 0)
            _, jpeg = cv2.imencode(".jpg", one.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            album.keep(file, jpeg=jpeg, skin=np.isfinite(one.seen.depth))
        with np.load(file) as kept:
            return cv2.imdecode(kept["jpeg"], cv2.IMREAD_COLOR)[..., ::-1], kept["skin"]


def stills(pictures: Pictures, seed: int, folder: Path) -> Stills:
    """In a folder of `folder` for all that they depend on."""
    return Stills(Scenes(pictures, SIDE, seed), folder / album.drawn(pictures, SIDE, QUALITY))


def crop(photo: NDArray[np.uint8], skin: NDArray[np.bool_], side: int, rng: Rng) -> Shown:
    """A part of a photo, as square as it comes out, mirrored or not, in other light, some with parts that have no pattern."""
    share = np.exp(rng.uniform(np.log(CLOSEST), 0))
    size = (np.array(skin.shape) * share * (1, rng.uniform(0.8, 1))).astype(int)
    y, x = rng.integers(skin.shape - size + 1)
    window = np.s_[y : y + size[0], x : x + size[1]]
    pixels = cv2.resize(photo[window], (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    found = cv2.resize(skin[window].astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        pixels, found = pixels[:, ::-1], found[:, ::-1]
    if rng.random() < PLAIN and (found > 0.5).any():
        pixels = plain(pixels, found, rng)
    if rng.random() < GREY:
        mean = pixels.mean(axis=2, keepdims=True)
        pixels = mean + (pixels - mean) * rng.uniform(0, 1.2)
    pixels = pixels * rng.uniform(0.7, 1.3) + rng.uniform(-25, 25)
    place = side // outline.FINEST
    return pixels.clip(0, 255).astype(np.uint8), cv2.resize(np.ascontiguousarray(found), (place, place), interpolation=cv2.INTER_AREA)


def plain(pixels: Field, skin: Field, rng: Rng) -> Field:
    """With eyes, beaks and bare parts: ellipses, or sectors of them, of a colour of their own, on (H, W) skin of (H, W, 3) pixels."""
    side = skin.shape[0]
    rows, columns = np.nonzero(skin > 0.5)
    colour = pixels[rows, columns].mean(axis=0)
    for _ in range(rng.integers(1, PARTS + 1)):
        one, length = rng.integers(len(rows)), side * np.exp(rng.uniform(*np.log(SIZES)))
        axes = int(length) + 1, int(length * rng.uniform(0.5, 1)) + 1
        until = 360 if rng.random() < 0.7 else rng.uniform(90, 270)
        part = cv2.ellipse(np.zeros_like(skin), (int(columns[one]), int(rows[one])), axes, rng.uniform(0, 180), 0, until, 1, -1)
        part = cv2.GaussianBlur(part, (0, 0), rng.uniform(0.7, 6)) * skin * rng.uniform(0.6, 1)
        rough = cv2.GaussianBlur(rng.normal(0, 1, skin.shape).astype(np.float32), (0, 0), rng.uniform(1, 8)) * rng.uniform(0, 60)
        fill = colour * rng.uniform(0.1, 1.7) + rng.normal(0, 12, 3) + rough[..., None]
        pixels = pixels + (fill - pixels) * part[..., None]
    return pixels.astype(np.float32)


def loss(logits: Tensor, skin: Tensor) -> dict[str, Tensor]:
    """Of [B x h x w] logits and shares of skin: the cross-entropy, what is missing of the overlap, and their weighted sum."""
    entropy, likely = F.binary_cross_entropy_with_logits(logits, skin), logits.sigmoid()
    both, each = (likely * skin).sum(dim=(1, 2)), (likely**2).sum(dim=(1, 2)) + (skin**2).sum(dim=(1, 2))
    missing = (1 - (2 * both + 1) / (each + 1)).mean()
    return {"loss": entropy + OVERLAP * missing, "entropy": entropy, "missing": missing}


def overlap(found: NDArray[np.bool_], skin: NDArray[np.bool_]) -> float:
    """Intersection over union; 1 of two masks that are both empty."""
    either = int((found | skin).sum())
    return float((found & skin).sum() / either) if either else 1.0


def stages(
    photos: Sequence[PhotoRef],
    held_out: Sequence[PhotoRef],
    choices: Choices,
    plan: Plan,
    out: Path,
    progress: Callable[[str, int, int], None],
) -> Iterator[Task]:
    """One; what it renders is kept in a folder of `out`. It begins with "scratch", "shipped" or a file of weights."""
    torch.manual_seed(choices.seed)
    decoder, seen = outline.Decoder(), outline.encoder().to(plan.device)
    if choices.begin != "scratch":
        decoder.load_state_dict(weights.load("outline", "" if choices.begin == "shipped" else choices.begin))
    learned, others = (stills(Pictures(refs), choices.seed + i, out / POOL) for i, refs in enumerate((photos, held_out)))
    judged: list[Shown] = []
    for number in range(N_JUDGED):
        judged.append(crop(*others.photo(HELD_OUT + number), choices.side, np.random.default_rng((choices.seed, number, 1))))
        progress("animals to be judged on", number + 1, N_JUDGED)

    def pair(number: int) -> Shown:
        return crop(*learned.photo(number % N_PHOTOS), choices.side, np.random.default_rng((choices.seed, number, 0)))

    def maps(pixels: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        with torch.no_grad():
            found: list[Tensor] = seen(torch.stack([outline.shown(one) for one in pixels]).to(plan.device))
        return found

    def of_batch(forward: Forward, batch: list[Shown], generator: torch.Generator) -> dict[str, Tensor]:
        skin = torch.from_numpy(np.stack([one for _, one in batch])).to(plan.device)
        return loss(forward(maps([pixels for pixels, _ in batch])), skin)

    def validate() -> dict[str, float]:
        likely = [decoder(maps([pixels]))[0].sigmoid().cpu().numpy() for pixels, _ in judged]
        shared = [overlap(one > 0.5, skin > 0.5) for one, (_, skin) in zip(likely, judged)]
        return {"score": float(np.mean(shared)), "worst tenth": float(np.quantile(shared, 0.1))}

    yield Task("outline", decoder, pair, of_batch, validate, {"n_rendered": N_PHOTOS})
