"""Matchers: features of a query and of references in, matches with a confidence in 0..1 out. `create` knows which pairs can work.

What a pair gets is a function of the pair: never of the other references. Matchers know nothing of identities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import devices, retrieval, weights
from ..errors import SettingsError
from ..extractors import REGISTRY as EXTRACTORS
from ..extractors import entry, weights_digest
from ..records import Features
from ..settings import ExtractSettings, MatchSettings, Precision, Verify
from ..store.description import constants

if TYPE_CHECKING:
    import torch

MATCHERS = {
    "lightglue": "LightGlue (Lindenberger 2023): attention over both photos' keypoints",
    "nearest": "mutual nearest neighbours with ratio test (Lowe 2004)",
    "adalam": "AdaLAM (Cavalli 2020): nearest neighbours whose surroundings move with them",
    "loftr": "LoFTR (Sun 2021): attention over all cells of both photos, of the extractor loftr alone",
    "cosine": "the cosine of both photos' vectors, of the extractor embedding alone",
}
OWN: dict[str, tuple[str, ...]] = {  # settings that change the matches of one matcher alone
    "lightglue": ("depth_confidence", "width_confidence"), "nearest": ("ratio",), "adalam": ("ratio",), "loftr": (), "cosine": (),
}  # fmt: skip

COARSE_KEYPOINTS = 256  # the strongest, that a coarse look sees. With 128 LightGlue chooses worse than votes of descriptors do
COARSE_LAYERS = 3  # of LightGlue
Matches = tuple[np.ndarray, np.ndarray]  # indices (S, 2) int32 into both photos' keypoints, confidence (S,) float32 in 0..1
Found = tuple[int, Matches]  # a reference's place, and what matches there


class Matcher(Protocol):
    """What every matcher offers."""

    def match(self, query: Features, references: Sequence[Features]) -> Iterator[Found]:
        """For each reference its place among them and its matches, in the order in which they are ready."""
        ...

    def coarse(self, query: Features, references: Sequence[Features]) -> Iterator[tuple[int, float]]:
        """For each reference its place and how alike a coarse look finds it; larger is more alike. Much quicker than `match` where that is
        slow."""
        ...


def able(extractor: str) -> list[str]:
    """The matchers that can compare this extractor's features."""
    if entry(extractor).votes_for:
        return ["cosine"]
    unable = {"lightglue": not entry(extractor).lightglue, "loftr": extractor != "loftr", "cosine": True}
    return [name for name in MATCHERS if not unable.get(name)]


def weights_name(extract: ExtractSettings, match: MatchSettings) -> str | None:
    """The weights that the matcher needs for this extractor, "lightglue" for a file of one's own; SettingsError if the two cannot work
    together."""
    if match.matcher not in MATCHERS:
        raise SettingsError(f"unknown matcher {match.matcher!r}; known: {', '.join(MATCHERS)}")
    line = entry(extract.extractor)
    if bool(line.votes_for) != (match.matcher == "cosine"):
        one = "one vector a photo" if line.votes_for else "local features"
        others = " or ".join(able(extract.extractor))
        raise SettingsError(f"{extract.extractor} has {one}, which {match.matcher} cannot compare; use --matcher {others}")
    if match.matcher == "loftr":
        if extract.extractor != "loftr":
            raise SettingsError(f"the matcher loftr compares the cells of --extractor loftr, not the features of {extract.extractor}")
        return line.weights
    if match.matcher != "lightglue":
        return None
    if match.lightglue_weights:
        _check_trained_for(extract, match)
        return "lightglue"
    if not line.lightglue:
        others = ", ".join(name for name, other in EXTRACTORS.items() if other.lightglue)
        raise SettingsError(
            f"there is no LightGlue for {extract.extractor}; use --matcher {' or '.join(able(extract.extractor))}, train one (reid train "
            f"lightglue --extractor {extract.extractor}), or take an extractor that has one: {others}"
        )
    if extract.weights and line.lightglue[0] == f"{extract.extractor}-lightglue":  # GLAMpoints' is SIFT's, whose descriptors stay the same
        raise SettingsError(
            f"there is no LightGlue for {extract.extractor} with weights of one's own; use --matcher nearest, or train one (reid train "
            f"lightglue --extractor {extract.extractor} --weights {extract.weights})"
        )
    return line.lightglue[0]


def _check_trained_for(extract: ExtractSettings, match: MatchSettings) -> None:
    """SettingsError unless LightGlue's weights, a file or a name of `weights.REGISTRY`, are for the features that the settings name."""
    file = match.lightglue_weights
    if file in weights.REGISTRY:
        if file not in entry(extract.extractor).lightglue or extract.weights:
            raise SettingsError(f"{file} is no LightGlue for {extract.extractor}{' with weights of its own' if extract.weights else ''}")
        return
    card = weights.card(Path(file))
    if card["network"] != "lightglue":
        raise SettingsError(f"{file} holds weights of {card['network']}, not of lightglue")
    if card.get("extractor") != extract.extractor:
        raise SettingsError(f"{file} was trained for {card.get('extractor')}, not for {extract.extractor}; name that extractor")
    if card.get("extractor_weights") != weights_digest(extract):
        raise SettingsError(f"{file} was trained for other weights of {extract.extractor}; name those (--weights), or train it for these")


def n_finalists(extract: ExtractSettings, match: MatchSettings, is_first: bool = True) -> int | None:
    """How many references are matched in full, where quicker looks choose them, by the first pipeline or by one beside it; None where all
    are."""
    if not match.coarse or weights_name(extract, match) is None:
        return None
    return retrieval.coarse.FINALISTS if is_first else retrieval.coarse.BESIDE


def create(extract: ExtractSettings, match: MatchSettings, device: str) -> Matcher:
    """The matcher that the settings name, its weights loaded, on `device`."""
    name = weights_name(extract, match)
    adapter: Any = import_module(f".{match.matcher}", __package__)
    matcher: Matcher = (
        adapter.create(match, device) if name is None else adapter.create(match, device, name, entry(extract.extractor).n_dims)
    )
    model = verification(match)
    if model is None:
        return matcher
    from .verified import VerifiedMatcher

    return VerifiedMatcher(matcher, model)


def verification(match: MatchSettings) -> str | None:
    """The model that matches have to agree with; None where they need not. LightGlue's attention has seen the geometry, and on turtles a
    model adds nothing to it; AdaLAM looks at it itself; nearest neighbours have not."""
    if match.verify == Verify.auto:
        return "affine" if match.matcher == "nearest" else None
    return None if match.verify == Verify.none else str(match.verify)


def dtype(match: MatchSettings, device: str) -> torch.dtype:
    """What products and attention are computed in: float32 if the settings want it, else the fastest on `device`, which is bfloat16 on a
    processor that computes in it. Only LightGlue has a choice."""
    import torch

    if match.precision == Precision.full or match.matcher != "lightglue":
        return torch.float32
    if device == "cuda":  # attention over pairs of unequal length needs an Ampere GPU or later
        return torch.float16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float32
    return torch.bfloat16 if device == "cpu" and devices.native_bfloat16(device) else torch.float32


def numerics(match: MatchSettings, device: str) -> str:
    """What about the machine changes matches, see `devices.numerics`."""
    return devices.numerics(device, dtype(match, device))


def describe(extract: ExtractSettings, match: MatchSettings) -> dict[str, object]:
    """All that changes the matches of two photos, their features given and the machine apart. JSON-able."""
    model, own = verification(match), match.lightglue_weights if match.matcher == "lightglue" else ""
    return {
        "matcher": match.matcher,
        "weights": weights.digest(weights_name(extract, match), own),
        "verify": model,
        **{name: getattr(match, name) for name in OWN[match.matcher]},
        "constants": constants(f"{__name__}.{match.matcher}", *([f"{__name__}.verified"] if model else [])),
    }


def describe_coarse(extract: ExtractSettings, match: MatchSettings) -> dict[str, object]:
    """All that changes a coarse look at two photos, likewise. JSON-able."""
    found = describe(extract, match) | {"keypoints": COARSE_KEYPOINTS, "layers": COARSE_LAYERS}
    for name in ("depth_confidence", "width_confidence"):  # it runs its layers whole
        found.pop(name, None)
    return found


def no_match() -> Matches:
    return np.zeros((0, 2), np.int32), np.zeros(0, np.float32)


def strongest(features: Features, n: int = COARSE_KEYPOINTS) -> Features:
    """The strongest keypoints of a photo."""
    from dataclasses import fields, replace

    names = [field.name for field in fields(Features) if isinstance(getattr(features, field.name), np.ndarray)]
    few: dict[str, Any] = {name: getattr(features, name)[:n] for name in names}
    return replace(features, **few)


def totals(found: Iterable[Found]) -> Iterator[tuple[int, float]]:
    """How alike references are by the sum of their matches' confidences."""
    return ((place, float(confidence.sum())) for place, (_, confidence) in found)
