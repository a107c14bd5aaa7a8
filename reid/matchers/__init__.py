"""Matchers: features of a query and of references in, matches with a confidence in 0..1 out. `create` knows which pairs can work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import devices, weights
from ..errors import SettingsError
from ..extractors import REGISTRY as EXTRACTORS
from ..extractors import entry, weights_digest
from ..records import Features
from ..settings import Settings

if TYPE_CHECKING:
    import torch

MATCHERS = {
    "lightglue": "LightGlue (Lindenberger 2023): attention over both photos' keypoints",
    "nearest": "mutual nearest neighbours with ratio test (Lowe 2004)",
    "adalam": "AdaLAM (Cavalli 2020): nearest neighbours whose surroundings move with them",
}


RACES = {"aliked-lightglue": (256, 3, 32)}  # LightGlue by its weights: keypoints and layers of the heat, references matched in full;
RACE = (256, 3, 48)  # all others. A heat of 128 keypoints chooses worse than votes of descriptors do
DOUBTFUL = 0.1  # matches of no more confidence have no say in the motion
TOLERANCE = {"affine": 0.05, "homography": 0.05, "fundamental": 0.01}  # of the reference's longest side: heads are neither flat nor rigid
Matches = tuple[np.ndarray, np.ndarray]  # indices (S, 2) int32 into both photos' keypoints, confidence (S,) float32 in 0..1


class Matcher(Protocol):
    """What every matcher offers."""

    def match(
        self, query: Features, references: Sequence[Features], animals: Sequence[str | None] | None = None
    ) -> Iterator[tuple[int, Matches]]:
        """For each reference its place among them and its matches, in the order in which they are ready. `animals` tells whose photo each
        reference is, None where nobody knows, to a matcher that chooses among them."""
        ...


def weights_name(settings: Settings) -> str | None:
    """The weights that the settings' matcher needs for their extractor, "lightglue" for a file of one's own; SettingsError if the two
    cannot work together."""
    if settings.matcher not in MATCHERS:
        raise SettingsError(f"unknown matcher {settings.matcher!r}; known: {', '.join(MATCHERS)}")
    line = entry(settings.extractor)
    if settings.matcher != "lightglue":
        return None
    if settings.lightglue_weights:
        _check_trained_for(settings)
        return "lightglue"
    if line.lightglue is None:
        able = ", ".join(name for name, other in EXTRACTORS.items() if other.lightglue)
        raise SettingsError(
            f"there is no LightGlue for {settings.extractor}; use --matcher nearest, train one (reid train lightglue --extractor "
            f"{settings.extractor}), or take an extractor that has one: {able}"
        )
    if settings.weights and line.lightglue == f"{settings.extractor}-lightglue":  # GLAMpoints' is SIFT's, whose descriptors stay the same
        raise SettingsError(
            f"there is no LightGlue for {settings.extractor} with weights of one's own; use --matcher nearest, or train one (reid train "
            f"lightglue --extractor {settings.extractor} --weights {settings.weights})"
        )
    return line.lightglue


def _check_trained_for(settings: Settings) -> None:
    """SettingsError unless the file of LightGlue's weights was trained for the features that the settings name."""
    file = settings.lightglue_weights
    card = weights.card(Path(file))
    if card["network"] != "lightglue":
        raise SettingsError(f"{file} holds weights of {card['network']}, not of lightglue")
    if card.get("extractor") != settings.extractor:
        raise SettingsError(f"{file} was trained for {card.get('extractor')}, not for {settings.extractor}; name that extractor")
    if card.get("extractor_weights") != weights_digest(settings):
        raise SettingsError(f"{file} was trained for other weights of {settings.extractor}; name those (--weights), or train it for these")


def race(settings: Settings) -> tuple[int, int, int] | None:
    """Keypoints and layers of the heat, and how many references are then matched in full; None where nobody races."""
    name = weights_name(settings)
    return RACES.get(name, RACE) if settings.race and name is not None else None


def create(settings: Settings, device: str) -> Matcher:
    """The matcher that the settings name, its weights loaded, on `device`."""
    from . import adalam, lightglue, nearest

    name = weights_name(settings)
    matcher: Any = (
        {"nearest": nearest.NearestMatcher, "adalam": adalam.AdalamMatcher}[settings.matcher](settings, device)
        if name is None
        else lightglue.LightGlueMatcher(settings, name, entry(settings.extractor).n_dims, device)
    )
    model = verification(settings)
    return matcher if model is None else _Verified(matcher, model)


def verification(settings: Settings) -> str | None:
    """The model that matches have to agree with; None where they need not. LightGlue's attention has seen the geometry, and on turtles a
    model adds nothing to it; AdaLAM looks at it itself; nearest neighbours have not."""
    if settings.verify == "auto":
        return "affine" if settings.matcher == "nearest" else None
    return None if settings.verify == "none" else settings.verify


class _Verified:
    """A matcher whose matches are dropped unless one motion explains them."""

    def __init__(self, matcher: Matcher, model: str):
        self.matcher, self.model = matcher, model

    def match(
        self, query: Features, references: Sequence[Features], animals: Sequence[str | None] | None = None
    ) -> Iterator[tuple[int, Matches]]:
        from ..imaging.geometry import inliers

        for place, (indices, confidence) in self.matcher.match(query, references, animals):
            reference = references[place]
            kept = np.flatnonzero(confidence > DOUBTFUL)
            rows = indices[kept]
            tolerance = TOLERANCE[self.model] * max(reference.size)
            kept = kept[inliers(query.keypoints[rows[:, 0]], reference.keypoints[rows[:, 1]], self.model, tolerance)]
            yield place, (indices[kept], confidence[kept])


def dtype(settings: Settings, device: str) -> torch.dtype:
    """What products and attention are computed in: float32 if the settings want it, else the fastest on `device`, which is bfloat16 on a
    processor that computes in it."""
    import torch

    if settings.precision == "full":
        return torch.float32
    if device == "cuda":  # attention over pairs of unequal length needs an Ampere GPU or later
        return torch.float16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float32
    return torch.bfloat16 if device == "cpu" and devices.native_bfloat16(device) else torch.float32
