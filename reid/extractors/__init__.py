"""Local features. `create` gives the extractor that the settings name; a new network is one file and one line here.

An extractor takes a prepared `Photo` and returns `Features`, strongest keypoint first, at most `max_keypoints` of them, all on the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import devices, weights
from ..errors import SettingsError
from ..records import Features, Photo
from ..settings import ExtractSettings
from ..store.description import constants

if TYPE_CHECKING:
    import torch

    from .outline import Outline

WAY_OUT = "take smaller photos (--resize), or let the processor compute (--device cpu)"


class Extractor:
    """What every extractor offers. Each writes either `extract`, for one photo, or `_together`, for several of one size."""

    name: str

    def extract(self, photo: Photo) -> Features:
        [found] = self.extract_all([photo])
        return found

    def extract_all(self, photos: Sequence[Photo]) -> list[Features]:
        """Of photos of one size, together; each gets what it gets alone. SettingsError where half of them are still too much for the
        device's memory."""
        return devices.in_halves(self._together, photos, WAY_OUT)

    def _together(self, photos: Sequence[Photo]) -> list[Features]:
        return [self.extract(photo) for photo in photos]


@dataclass(frozen=True)
class ExtractorEntry:
    """A line of the registry: where the adapter is, what it needs and what can match its features."""

    module: str
    about: str
    weights: str | None = None  # name in `weights.REGISTRY`; None where nothing is learned
    lightglue: tuple[str, ...] = ()  # LightGlue's weights for these features, in `weights.REGISTRY`, the default first
    n_dims: int = 128
    trained_here: bool = False  # `reid train` makes weights for it, which the setting `weights` names
    parts: tuple[str, ...] = ()  # names in `weights.REGISTRY` of the further networks that it is made of
    halved: bool = False  # on a GPU it computes in `half_precision`
    votes_for: int | None = None  # photos, where a descriptor is the whole photo's: those that are most alike
    on_device: bool = True  # False: it is OpenCV's, and the processor's wherever the settings want it


REGISTRY: dict[str, ExtractorEntry] = {
    "aliked-n16": ExtractorEntry("aliked", "ALIKED, 16 samples (Zhao 2023), the default", "aliked-n16",
                                 ("aliked-animals-lightglue", "aliked-lightglue"), halved=True),
    "aliked-n16rot": ExtractorEntry("aliked", "ALIKED trained with more rotation", "aliked-n16rot",
                                    ("aliked-lightglue", "aliked-animals-lightglue"), halved=True),
    "aliked-n32": ExtractorEntry("aliked", "ALIKED, 32 samples", "aliked-n32",
                                 ("aliked-lightglue", "aliked-animals-lightglue"), halved=True),
    "aliked-t16": ExtractorEntry("aliked", "ALIKED, the tiny network", "aliked-t16", n_dims=64, halved=True),
    "disk": ExtractorEntry("disk", "DISK (Tyszkiewicz 2020)", "disk", ("disk-lightglue",)),
    "sift": ExtractorEntry("sift", "SIFT (Lowe 2004) with RootSIFT descriptors (Arandjelovic 2012)", None, ("sift-lightglue",),
                           on_device=False),
    "superpoint": ExtractorEntry("superpoint", "SuperPoint, the open weights (DeTone 2018; Pautrat, Sarlin)", "superpoint",
                                 ("superpoint-lightglue",), n_dims=256, trained_here=True),
    "goodpoint": ExtractorEntry("goodpoint", "GoodPoint (Belikov 2020), trained by this project", "goodpoint",
                                ("goodpoint-lightglue",), n_dims=256, trained_here=True),
    "glampoints": ExtractorEntry("glampoints", "GLAMpoints (Truong 2019) with RootSIFT, trained by this project", "glampoints",
                                 ("sift-lightglue",), trained_here=True),
    "xfeat": ExtractorEntry("xfeat", "XFeat (Potje 2024), a small and fast network", "xfeat", ("xfeat-lightglue",), n_dims=64),
    "dog-hardnet": ExtractorEntry("dog_hardnet", "SIFT's keypoints with HardNet's descriptors (Mishchuk 2017)", "hardnet"),
    "dog-sosnet": ExtractorEntry("dog_hardnet", "SIFT's keypoints with SOSNet's descriptors (Tian 2019)", "sosnet"),
    "keynet-affnet-hardnet": ExtractorEntry("keynet", "Key.Net's keypoints in affine frames (Mishkin 2018) with HardNet's descriptors",
                                            "keynet", parts=("affnet", "orinet", "hardnet")),
    "embedding": ExtractorEntry("embedding", "one vector a photo, of ImageNet's EfficientNet-Lite0; with weights, of a gallery's animals",
                                n_dims=992, trained_here=True, parts=("efficientnet-lite0", "outline"), votes_for=2**14),
    "loftr": ExtractorEntry("loftr", "the cells of LoFTR (Sun 2021), for the matcher loftr", "loftr", n_dims=256),
}  # fmt: skip


def entry(name: str) -> ExtractorEntry:
    """The registry's line for `name`, or SettingsError naming those there are."""
    if name not in REGISTRY:
        raise SettingsError(f"unknown extractor {name!r}; known: {', '.join(REGISTRY)}")
    return REGISTRY[name]


def weights_digest(extract: ExtractSettings) -> str | None:
    """The sha256 of the extractor's weights, those of several joined; None where nothing is learned. SettingsError where it cannot take
    those of the settings."""
    line = entry(extract.extractor)
    if extract.weights and not line.trained_here:
        able = ", ".join(name for name, other in REGISTRY.items() if other.trained_here)
        raise SettingsError(f"{extract.extractor} takes no weights of one's own; these do: {able}")
    found = weights.digest(line.weights, extract.weights), *map(weights.digest, line.parts)
    return "+".join(filter(None, found)) or None


def create(extract: ExtractSettings, device: str) -> Extractor:
    """The extractor that the settings name, its weights loaded, on `device`."""
    adapter: Any = import_module(f".{entry(extract.extractor).module}", __package__)
    extractor: Extractor = adapter.create(extract, device)
    return extractor


def numerics(extract: ExtractSettings, device: str) -> str:
    """What about the machine changes features, see `devices.numerics`."""
    import torch

    line = entry(extract.extractor)
    return devices.numerics(device if line.on_device else "cpu", torch.float16 if line.halved and device == "cuda" else torch.float32)


def describe(extract: ExtractSettings) -> dict[str, object]:
    """All that changes the features of a photo, the machine apart. JSON-able."""
    from ..imaging import borders
    from ..imaging.prepare import CLIP_LIMIT, SPECK, TILES

    return {
        **{name: getattr(extract, name) for name in ("extractor", "max_keypoints", "resize", "enlarge")},
        "weights": weights_digest(extract),
        **({"votes_for": votes} if (votes := entry(extract.extractor).votes_for) else {}),
        "speck": SPECK,
        "borders": constants(borders.__name__),
        "equalize": {"clip_limit": CLIP_LIMIT, "tiles": TILES} if extract.equalize else None,
        "segment": _of_outline() if extract.segment else None,
        "constants": constants(f"{__name__}.{entry(extract.extractor).module}"),
    }


def _of_outline() -> dict[str, object]:
    return constants(f"{__name__}.outline") | {"weights": [weights.digest(name) for name in ("efficientnet-lite0", "outline")]}


def segmenter(device: str) -> Outline:
    """What tells the animal from what is around it; one a process and device. Raises WeightsError where weights are missing."""
    from .outline import create

    return create(device)


def as_batch(photos: Sequence[Photo], device: str) -> torch.Tensor:
    """Photos of one size as (B, 3, H, W) float32 in 0..1, on the device."""
    import torch

    pixels = torch.from_numpy(np.stack([photo.pixels for photo in photos]))
    return (pixels.pin_memory() if device == "cuda" else pixels).to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255


def half_precision(device: str) -> torch.autocast:
    """Convolutions in float16 on a GPU, float32 elsewhere. Measured on 16 photographs, 0.15 % of ALIKED's keypoints move by more than half
    a pixel; of the others' descriptors 99 in 100 keep a cosine of 0.9999 (bfloat16: 1.7 %, 0.998)."""
    import torch

    return torch.autocast(device, torch.float16, enabled=device == "cuda")


def chosen(photo: Photo, max_keypoints: int, keypoints: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.intp]:
    """Rows of the `max_keypoints` highest-scoring keypoints (N, 2) that lie on the photo's mask, best first, ties by position."""
    keep = np.arange(len(keypoints))
    if photo.mask is not None:
        columns, rows = np.rint(keypoints).astype(int).clip(0, np.array(photo.size) - 1).T
        keep = keep[photo.mask[rows, columns]]
    order = np.lexsort((keypoints[keep, 0], keypoints[keep, 1], -scores[keep]))
    return keep[order[:max_keypoints]]


def strongest(
    photo: Photo,
    kind: str,
    max_keypoints: int,
    keypoints: NDArray[Any],
    scores: NDArray[Any],
    descriptors: NDArray[Any],
    **more: NDArray[Any],
) -> Features:
    """The `max_keypoints` highest-scoring keypoints that lie on the photo's mask, ties by position, as a record."""
    keypoints = np.asarray(keypoints, np.float32).reshape(-1, 2)
    scores = np.asarray(scores, np.float32)
    keep = chosen(photo, max_keypoints, keypoints, scores)
    rest = {name: values[keep] for name, values in more.items()}
    return Features(kind, photo.size, keypoints[keep], scores[keep], np.asarray(descriptors)[keep], **rest)
