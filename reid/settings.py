"""Settings: frozen, typed, strict. One loader; the command line gives it values, nothing is merged a second time.

Settings.load("fast.toml", max_keypoints=256) -> Settings
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SettingsError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("fast", "full")
SIDES = ("compatible", "all")
VERIFY = ("auto", "none", "affine", "homography", "fundamental")
SCORES = ("joint", "wasserstein", "wasserstein-matched", "n_matches", "sum", "mean")
EXACT: dict[str, Any] = {"shortlist": 0, "race": False, "precision": "full", "depth_confidence": -1.0, "width_confidence": -1.0}  # every
# reference through every layer in float32: what the faster settings are measured against
PRESETS: dict[str, dict[str, Any]] = {  # ways to trade seconds for right answers
    "fast": {"shortlist": 64, "also": "none"},
    "balanced": {},
    "best": {"max_keypoints": 1024},
}


@dataclass(frozen=True)
class Settings:
    """Everything that changes an answer, and the device. `configs/default.toml` holds the same values with comments."""

    extractor: str = "aliked-n16"
    matcher: str = "lightglue"
    weights: str = ""  # file of weights for the extractor, from `reid train`; empty: the published ones
    lightglue_weights: str = ""  # the same for LightGlue
    also: str = "sift+nearest"  # further opinions that the joint score takes in, extractor+matcher,extractor+matcher; "none"
    max_keypoints: int = 512  # per photo, the strongest
    resize: int = 640  # longest side of the prepared photo, px
    enlarge: bool = True  # smaller photos are enlarged to it; otherwise they are left as they are
    encounters: bool = False  # the photos of one encounter are one query: each animal counts by the best of all their pairs
    equalize: bool = False  # even out light and haze before features are extracted (CLAHE)
    sides: str = "compatible"  # where the side is known, compare no left with right; "all" compares every pair
    mirror: bool = False  # compare opposite sides, too, one of them mirrored
    rotations: int = 1  # ways in which the query is turned, 1, 2 or 4: LightGlue holds up to 45 degrees
    segment: bool = False  # guess where the animal is (GrabCut) and drop the keypoints beside it; masks in the table win
    device: str = "auto"
    score: str = "joint"
    min_confidence: float = 0.5  # a match above it counts in n_matches and is drawn
    top: int = 5  # individuals shown
    null_pairs: int = 200  # pairs of different animals that the null distribution is estimated from
    calibration_queries: int = 300  # photos of the gallery that are asked about to calibrate it; 0: never
    max_false_match: float = 0.05  # of new animals at most this share is called a match
    max_false_new: float = 0.05  # of known animals at most this share is called new
    prior_new: float = -1.0  # probability that the next animal is new; -1: estimated from the gallery (Good-Turing)
    match_below: float = 0.005  # where nothing is calibrated: `match` if strangers would look as alike with at most this probability
    new_above: float = 0.5  # the same: `new` if they would with at least this one
    depth_confidence: float = 0.9  # LightGlue stops early when this share of points is sure; -1 runs every layer
    width_confidence: float = 0.95  # LightGlue drops points this surely unmatchable; -1 keeps all. Its authors' setting for speed
    shortlist: int = 200  # references that are looked at by the matcher, those with most votes of descriptors; 0: all
    race: bool = True  # LightGlue: a heat with few keypoints and layers chooses those that are matched in full; false matches all
    precision: str = "fast"  # LightGlue: half precision where the device is faster with it; full is float32 throughout
    verify: str = "auto"  # keep the matches that one motion of this kind explains; auto: affine for nearest, none for the others
    ratio: float = 0.8  # nearest, adalam: Lowe's ratio at which a match is as likely right as wrong

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kinds: Any = {"int": int, "float": (int, float), "str": str, "bool": bool}[str(field.type)]
            if not isinstance(value, kinds) or (isinstance(value, bool) and field.type != "bool"):
                raise SettingsError(f"{field.name} is {value!r}, not of type {field.type}")
        for name, choices in (("device", DEVICES), ("score", SCORES), ("precision", PRECISIONS), ("sides", SIDES), ("verify", VERIFY)):
            if getattr(self, name) not in choices:
                raise SettingsError(f"unknown {name} {getattr(self, name)!r}; known: {', '.join(choices)}")
        for pair in self._others:
            if len(pair) != 2:
                raise SettingsError(f"also has {'+'.join(pair)!r}, which is not extractor+matcher; example: sift+nearest")
        if self.prior_new != -1 and self.prior_new < 0.001:
            raise SettingsError(f"prior_new is {self.prior_new}; it lies between 0.001 and 0.999, or is -1 to be estimated")
        if self.rotations not in (1, 2, 4):
            raise SettingsError(f"rotations is {self.rotations}; it is 1, 2 or 4")
        for name, low, high in (
            ("max_keypoints", 8, 20000), ("resize", 64, 8192), ("top", 1, 10**6), ("shortlist", 0, 10**7), ("null_pairs", 0, 10**6),
            ("min_confidence", 0, 1),
            ("calibration_queries", 0, 10**6), ("max_false_match", 0, 1), ("max_false_new", 0, 1), ("prior_new", -1, 0.999),
            ("match_below", 0, 1), ("new_above", 0, 1), ("depth_confidence", -1, 1), ("width_confidence", -1, 1), ("ratio", 0.1, 1),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}; it lies between {low} and {high}")
        if self.match_below > self.new_above:
            raise SettingsError(f"match_below {self.match_below} is above new_above {self.new_above}; no verdict would be unsure")

    @classmethod
    def load(cls, file: str | Path | None = None, preset: str | None = None, **overrides: Any) -> Settings:
        """The defaults, then the preset, then what the TOML file says, then every override that is not None. Unknown names raise."""
        values: dict[str, Any] = {}
        if preset is not None and preset not in PRESETS:
            raise SettingsError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
        if file is not None:
            try:
                values = tomllib.loads(Path(file).read_text(encoding="utf-8"))
            except OSError as error:
                raise SettingsError(f"{file}: cannot be read ({error.strerror})") from error
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise SettingsError(f"{file}: not a TOML file ({error})") from error
        prefix = f"{file}: " if file is not None else ""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in [*values, *overrides]:
            if name not in known:
                raise SettingsError(f"{prefix}unknown setting {name!r}; known: {', '.join(known)}")
        values = PRESETS[preset or "balanced"] | values | {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**values)
        except SettingsError as error:
            raise SettingsError(f"{prefix}{error}") from None

    @property
    def _others(self) -> list[list[str]]:
        if self.also.strip() == "none":
            return []
        return [[part.strip() for part in pair.split("+")] for pair in self.also.split(",")]

    def others(self) -> list[Settings]:
        """What each further opinion is formed by; one that is the first opinion over again is none, and only the joint score takes them in.

        They match what they are given, upright."""
        pairs = {(one, other) for one, other in self._others} - {(self.extractor, self.matcher)}
        upright = self.replace(also="none", shortlist=0, rotations=1, weights="", lightglue_weights="")
        return [upright.replace(extractor=one, matcher=other) for one, other in sorted(pairs) if self.score == "joint"]

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Settings:
        return dataclasses.replace(self, **changes)
