"""Settings: frozen, typed, strict, in groups. One loader; the command line gives it values, nothing is merged a second time.

Settings.load("own.toml", presets=["fast"], max_keypoints=256) -> Settings

Every name is in one group only, so that a flat name is enough to set it: `Settings.of(max_keypoints=256)`, `settings.replace(rotations=4)`.
`configs/default.toml` holds the same values with comments.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from .errors import SettingsError


class Device(StrEnum):
    """What computes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(StrEnum):
    """`fast` is half precision where the device is faster with it."""

    fast = "fast"
    full = "full"


class Sides(StrEnum):
    """`compatible` compares no left with a right."""

    compatible = "compatible"
    all = "all"


class Verify(StrEnum):
    """The motion that matches have to agree with."""

    auto = "auto"
    none = "none"
    affine = "affine"
    homography = "homography"
    fundamental = "fundamental"


class ScoreName(StrEnum):
    """By what references are ranked."""

    joint = "joint"
    wasserstein = "wasserstein"
    wasserstein_matched = "wasserstein-matched"
    n_matches = "n_matches"
    sum = "sum"
    mean = "mean"


class _Checked:
    """A group of settings that checks the type and the range of its fields."""

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            value, default = getattr(self, one.name), one.default
            if isinstance(default, StrEnum):
                try:
                    object.__setattr__(self, one.name, type(default)(value))
                except ValueError:
                    raise SettingsError(f"unknown {one.name} {value!r}; known: {', '.join(type(default))}") from None
                continue
            kinds: Any = (int, float) if isinstance(default, float) else type(default)
            if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool):
                raise SettingsError(f"{one.name} is {value!r}, not of type {type(default).__name__}")
            low, high = one.metadata.get("range", (None, None))
            if low is not None and not low <= value <= high:
                raise SettingsError(f"{one.name} is {value}; it lies between {low} and {high}")


def _weight(value: float) -> float:
    if not 0 <= value <= 100:
        raise ValueError(value)
    return value


def _within(default: Any, low: float, high: float) -> Any:
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class ExtractSettings(_Checked):
    """From a photo to its features."""

    extractor: str = "aliked-n16"
    weights: str = ""  # file of weights for the extractor, from `reid train`; empty: the published ones
    max_keypoints: int = _within(512, 8, 20_000)  # per photo, the strongest
    resize: int = _within(640, 64, 8192)  # longest side of the prepared photo, px
    enlarge: bool = True  # smaller photos are enlarged to it; otherwise they are left as they are
    equalize: bool = False  # even out light and haze before features are extracted (CLAHE)
    segment: bool = True  # find where the animal is and drop the keypoints beside it; masks in the table win


@dataclass(frozen=True)
class MatchSettings(_Checked):
    """From the features of a query and of references to their matches."""

    matcher: str = "lightglue"
    lightglue_weights: str = ""  # LightGlue's weights: a file from `reid train`, or a name of `reid models`; empty: the extractor's own
    shortlist: int = _within(200, 0, 10**7)  # references that the matcher looks at, those with most votes of descriptors; 0: all
    embedding: str = "network"  # one vector a photo, which chooses the shortlist together with the votes: ImageNet's, or a file's; or none
    coarse: bool = True  # of the shortlist only finalists are matched in full; false matches all of it
    second_look: int = _within(5, 0, 1000)  # individuals that stand first and are looked at again, at most; 0: none
    verify: Verify = Verify.auto  # keep the matches that one motion of this kind explains; auto: affine for nearest, none for the others
    ratio: float = _within(0.8, 0.1, 1)  # nearest, adalam: Lowe's ratio at which a match is as likely right as wrong
    precision: Precision = Precision.fast  # LightGlue: half precision where the device is faster with it; full is float32 throughout
    depth_confidence: float = _within(0.9, -1, 1)  # LightGlue stops early when this share of points is sure; -1 runs every layer
    width_confidence: float = _within(
        0.95, -1, 1
    )  # LightGlue drops points this surely unmatchable; -1 keeps all. Its authors' setting for speed
    sides: Sides = Sides.compatible  # where the side is known, compare no left with right; "all" compares every pair
    mirror: bool = False  # compare opposite sides, too, one of them mirrored
    rotations: int = 1  # ways in which the query is turned, 1, 2 or 4: LightGlue holds up to 45 degrees

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rotations not in (1, 2, 4):
            raise SettingsError(f"rotations is {self.rotations}; it is 1, 2 or 4")
        if not self.embedding:
            raise SettingsError("embedding is empty; it is network, none or the file of one")


@dataclass(frozen=True)
class ScoreSettings(_Checked):
    """From matches to a ranking of individuals."""

    score: ScoreName = ScoreName.joint
    fuse: str = "aliked-n16+nearest*0.5,goodpoint+lightglue*0.5,goodpoint+nearest,sift+nearest*0.5"  # further pipelines, fused:
    # extractor+matcher*weight, what it counts beside the first one, 1 if nothing is said; or "none". `reid calibrate` and `reid tune` learn
    # weights from a gallery's animals
    min_confidence: float = _within(0.5, 0, 1)  # a match above it counts in n_matches and is drawn, of a picture the 80 surest
    impostor_pairs: int = _within(200, 0, 10**6)  # pairs of different animals that the impostor distribution is measured on
    encounters: bool = False  # the photos of one encounter are one query: each animal counts by the best of all their pairs

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.fused

    @property
    def fused(self) -> dict[tuple[str, str], float]:
        """The weight of each further pipeline, by its extractor and matcher. Raises SettingsError for what cannot be read."""
        found: dict[tuple[str, str], float] = {}
        for one in self.fuse.split(",") if self.fuse.strip() != "none" else []:
            read = re.fullmatch(r"\s*([^+*\s]+)\s*\+\s*([^+*\s]+)\s*(?:\*\s*([0-9.]+)\s*)?", one)
            try:
                extractor, matcher, weight = read.groups("1") if read else ("", "", "")
                found[extractor, matcher] = _weight(float(weight))
            except ValueError:
                raise SettingsError(
                    f"fuse has {one.strip()!r}, which is not extractor+matcher or extractor+matcher*weight, a weight between 0 and 100; "
                    "example: sift+nearest*0.5"
                ) from None
        return found


@dataclass(frozen=True)
class DecideSettings(_Checked):
    """From a ranking to a verdict."""

    calibration_queries: int = _within(300, 0, 10**6)  # most queries that calibrate: photos, or encounters; evaluate: 0 for none
    max_false_match: float = _within(0.05, 0, 1)  # share of new animals called a match, about; see decision/conformal.py
    max_false_new: float = _within(0.05, 0, 1)  # share of known animals called new, about
    prior_new: float = -1.0  # probability that the next animal is new; -1: estimated from the gallery and from many queries together
    match_below: float = _within(0.005, 0, 1)  # not calibrated: `match` if impostors look as alike with at most this probability
    new_above: float = _within(0.5, 0, 1)  # not calibrated: `new` if they do with at least this one

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prior_new != -1 and not 0.001 <= self.prior_new <= 0.999:
            raise SettingsError(f"prior_new is {self.prior_new}; it lies between 0.001 and 0.999, or is -1 to be estimated")
        if self.match_below > self.new_above:
            raise SettingsError(f"match_below {self.match_below} is above new_above {self.new_above}; no verdict would be unsure")


@dataclass(frozen=True)
class Settings:
    """Everything that changes an answer, in groups, and the device. Raises SettingsError for what cannot be used."""

    extract: ExtractSettings = ExtractSettings()
    match: MatchSettings = MatchSettings()
    score: ScoreSettings = ScoreSettings()
    decide: DecideSettings = DecideSettings()
    device: Device = Device.auto
    top: int = 5  # individuals shown

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "device", Device(self.device))
        except ValueError:
            raise SettingsError(f"unknown device {self.device!r}; known: {', '.join(Device)}") from None
        if not isinstance(self.top, int) or isinstance(self.top, bool) or not 1 <= self.top <= 10**6:
            raise SettingsError(f"top is {self.top!r}; it is a whole number from 1 to 1000000")

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """The defaults with these changed, by their flat names."""
        return cls().replace(**values)

    @classmethod
    def load(cls, file: str | Path | None = None, presets: Iterable[str] = (), base: Settings | None = None, **overrides: Any) -> Settings:
        """`base` or the defaults, then each preset in turn, then what the TOML file says, then every override that is not None."""
        found = base or cls()
        for name in presets:
            if name not in PRESETS:
                raise SettingsError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
            found = found.replace(**PRESETS[name])
        if file is not None:
            try:
                found = found.replace(**_flat(_read(Path(file))))
            except SettingsError as error:
                raise SettingsError(f"{file}: {error}") from None
        return found.replace(**{name: value for name, value in overrides.items() if value is not None})

    def replace(self, **changes: Any) -> Settings:
        """With these changed, by their flat names; a whole group can be given by its own."""
        for name in changes:
            if name not in GROUP_OF and name not in GROUPS:
                raise SettingsError(f"unknown setting {name!r}; known: {', '.join(GROUP_OF)}")
        for name, kind in GROUPS.items():
            if name in changes and name not in GROUP_OF and not isinstance(changes[name], kind):
                raise SettingsError(f"{name} is {changes[name]!r}; it is a group of settings")
        whole = [name for name, value in changes.items() if not GROUP_OF.get(name) or (name in GROUPS and isinstance(value, _Checked))]
        values: dict[str, Any] = {name: changes.pop(name) for name in whole}
        for group in GROUPS:
            own = {name: value for name, value in changes.items() if GROUP_OF[name] == group}
            if own:
                values[group] = dataclasses.replace(values.get(group, getattr(self, group)), **own)
        return dataclasses.replace(self, **values)

    def get(self, name: str) -> Any:
        """The value of a flat name."""
        return getattr(getattr(self, GROUP_OF[name]) if GROUP_OF[name] else self, name)

    def pipelines(self) -> tuple[Settings, ...]:
        """This pipeline, then those that are fused with it, each as settings of its own; only the joint score fuses.

        A further pipeline matches photos as they are, with the published weights. A repeat of the first pipeline is dropped, and what
        counts nothing."""
        own = self.replace(fuse="none")
        plain = own.replace(shortlist=0, rotations=1, mirror=False, weights="", lightglue_weights="", embedding="none")
        return own, *(plain.replace(extractor=extractor, matcher=matcher) for extractor, matcher in self._further())

    def pipeline_weights(self) -> tuple[float, ...]:
        """What each of `pipelines` counts in the joint score."""
        return 1.0, *(self.score.fused[pair] for pair in self._further())

    def _further(self) -> list[tuple[str, str]]:
        if self.score.score != ScoreName.joint:
            return []
        first = self.extract.extractor, self.match.matcher
        return sorted(pair for pair, weight in self.score.fused.items() if pair != first and weight > 0)

    def as_dict(self) -> dict[str, Any]:
        """{group: {name: value}}, and the settings of no group; JSON-able."""
        return dataclasses.asdict(self)


GROUPS: dict[str, type] = {
    "extract": ExtractSettings, "match": MatchSettings, "score": ScoreSettings, "decide": DecideSettings,
}  # fmt: skip
# The group of every flat name; "" for those of none. `score` is the name of a group and of a setting in it.
GROUP_OF: dict[str, str] = {one.name: group for group, kind in GROUPS.items() for one in fields(kind)} | {"device": "", "top": ""}
EXACT: dict[str, Any] = {"shortlist": 0, "coarse": False, "precision": "full", "depth_confidence": -1.0, "width_confidence": -1.0}  # every
# reference through every layer in float32: what the faster settings are measured against
PRESETS: dict[str, dict[str, Any]] = {  # ways to trade seconds for right answers; several can be given, the later ones win
    "fast": {"matcher": "nearest", "fuse": "goodpoint+nearest*0.5,sift+nearest*0.5", "second_look": 0},
    "balanced": {},
    "best": {"max_keypoints": 1024},
    "exact": EXACT,
}


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"not a TOML file ({error})") from error


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says, by flat names; each stands in its group's table, those of no group at the top."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in GROUPS and isinstance(value, dict):
            for own, one in value.items():
                if GROUP_OF.get(own) != name:
                    known = ", ".join(setting for setting, group in GROUP_OF.items() if group == name)
                    raise SettingsError(f"unknown setting {own!r} in [{name}]; known: {known}")
                found[own] = one
        elif GROUP_OF.get(name):
            raise SettingsError(f"{name} stands in no table; write it under [{GROUP_OF[name]}]")
        else:
            found[name] = value
    return found
