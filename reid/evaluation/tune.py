"""Which pipelines, and with what weights, recognise the animals of one gallery: learned from its own photos.

Each calibration query is answered by every pipeline, with and without masks of what stands out (`segment`). The best single pipeline comes
first; others join it only where they help beyond chance (`decision/weights.py`), and the settings as they are stay unless what was found is
better beyond chance on animals that had no part in finding it (cross-validation over animals).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import stages
from ..decision.weights import LEAST_ANIMALS, Evidence, is_better, learn, losses_of
from ..errors import GalleryError, SettingsError, WeightsError
from ..session import Session
from ..settings import GROUP_OF, Settings
from .answers import Answer, intervals, summarize

if TYPE_CHECKING:
    import pandas as pd

PIPELINES = ("aliked-n16+lightglue", "sift+nearest", "aliked-n16+nearest", "goodpoint+nearest", "goodpoint+lightglue")
QUERIES = 100  # calibration queries, unless told otherwise
FOLDS = 5
SHOWN = ("top1", "top5", "auroc")
Weights = tuple[float, ...]
Choice = tuple[bool, Weights]  # whether masks are guessed, and the weights of the pipelines
Found = Mapping[bool, Sequence[Evidence]]  # the same queries without and with masks


@dataclass(frozen=True)
class Tried:
    """What some pipelines make of the calibration queries."""

    name: str
    figures: Mapping[str, float | None]  # SHOWN, n_known and n_new
    intervals: Mapping[str, tuple[float, float] | None]  # 95 %, over animals


@dataclass(frozen=True)
class Tuning:
    """What was tried on a gallery, and which settings are best for it."""

    rows: tuple[Tried, ...]  # each pipeline by itself, then the settings as they are, then what was found, cross-validated
    changes: Mapping[str, object]  # of the settings, by name; none where they are best as they are
    left_out: Mapping[str, str]  # pipelines that could not be tried, and why

    def as_toml(self) -> str:
        """A file for `--config`."""
        lines = ["# Found by `reid tune` on the photos of one gallery, for its animals."]
        for group in dict.fromkeys(GROUP_OF[name] for name in self.changes):
            lines += ["", f"[{group}]"]
            lines += [f"{name} = {_toml(value)}" for name, value in self.changes.items() if GROUP_OF[name] == group]
        return "\n".join(lines) + "\n"

    def to_frame(self) -> pd.DataFrame:
        """A row for each that was tried: `pipelines`, `top1`, `top5`, `auroc`, each with `_low` and `_high`, `n_known`, `n_new`."""
        import pandas

        rows = []
        for one in self.rows:
            ends = {name: one.intervals.get(name) or (None, None) for name in SHOWN}
            bounds = {f"{name}_{end}": ends[name][place] for name in SHOWN for place, end in enumerate(("low", "high"))}
            rows.append({"pipelines": one.name, **one.figures, **bounds})
        return pandas.DataFrame(rows)


def tune(session: Session, pipelines: Sequence[str] = PIPELINES, queries: int = QUERIES) -> Tuning:
    """Try every pipeline on the gallery's own photos. Raises GalleryError where too few animals were met twice.

    Matches are stored as they are found, so that whatever is interrupted goes on where it stopped."""
    settings = session.settings.replace(calibration_queries=queries, score="joint")
    own = dict(zip(map(_name, settings.pipelines()), settings.pipeline_weights(), strict=True))
    names, left_out = _usable(settings, list(dict.fromkeys((*own, *pipelines))))
    found = {}
    for segment in (False, True):
        session.work.listener.note(f"pipelines {'with' if segment else 'without'} masks of what stands out")
        with session.with_settings(_settings(settings, (segment, (1.0,) * len(names)), names)) as one:
            found[segment] = list(stages.evidence(one.references, one.work, one.impostors))
    return choose(found, names, (settings.extract.segment, tuple(own.get(name, 0.0) for name in names)), settings, left_out)


def choose(found: Found, names: Sequence[str], now: Choice, settings: Settings, left_out: Mapping[str, str] | None = None) -> Tuning:
    """The settings that are best for the animals of these queries; `now` are those as they are. Raises GalleryError for too few animals."""
    common = {one.animal for one in found[False]} & {one.animal for one in found[True]}
    found = {segment: [one for one in queries if one.animal in common] for segment, queries in found.items()}
    animals = sorted({one.animal for one in found[False] if one.own >= 0})
    if len(animals) < LEAST_ANIMALS:
        raise GalleryError(
            f"{len(animals)} animals of the calibration queries were met again, and tuning takes {LEAST_ANIMALS}; dates or a column "
            "`encounter` tell encounters apart"
        )
    singles = [(segment, tuple(float(name == one) for one in names)) for segment in found for name in names]
    rows = [_tried(_in_words(choice, names), _answered(found, lambda _, choice=choice: choice)) for choice in singles]  # type: ignore[misc]
    before = _answered(found, lambda _: now)
    rows.append(_tried(f"the settings as they are: {_in_words(now, names)}", before))
    fold = {animal: number % FOLDS for number, animal in enumerate(np.random.default_rng(0).permutation(sorted(common)).tolist())}
    by_fold = [_best({s: [one for one in q if fold[one.animal] != number] for s, q in found.items()}, singles) for number in range(FOLDS)]
    unseen = _answered(found, lambda animal: by_fold[fold[animal]])
    best = _best(found, singles)
    rows.append(_tried(f"found: {_in_words(best, names)}", unseen))
    better = is_better(losses_of(unseen), losses_of(before)) and best != now
    return Tuning(tuple(rows), _changes(settings, best, names) if better else {}, left_out or {})


def _best(found: Found, singles: Sequence[Choice]) -> Choice:
    """The best single pipeline, with masks or without, and what helps it beyond chance."""

    def loss(choice: Choice) -> float:
        return float(losses_of(_answered(found, lambda _: choice)).mean())

    segment, weights = min(singles, key=loss)
    joined = [(one, learn(found[one], weights, weights.index(1.0))) for one in dict.fromkeys((segment, *found))]
    return min(joined, key=loss)


def _answered(found: Found, choice_of: Callable[[str], Choice]) -> list[tuple[Evidence, Weights]]:
    """Each query, answered by what is chosen for its animal."""
    choices = {one.animal: choice_of(one.animal) for one in found[False]}
    return [(one, choices[one.animal][1]) for segment, queries in found.items() for one in queries if choices[one.animal][0] == segment]


def _tried(name: str, answered: Sequence[tuple[Evidence, Weights]]) -> Tried:
    answers = []
    for one, weights in answered:
        scores = one.scores(weights)
        order = sorted(range(len(scores)), key=lambda place: (-scores[place], one.names[place]))
        for without in (False, True):
            ranked = [place for place in order if not (without and place == one.own)]
            if ranked and (without or one.own >= 0):
                names = tuple(str(one.names[place]) for place in ranked)
                answers.append(Answer(one.animal, names, float(scores[ranked[0]])))
    return Tried(name, summarize(answers, SHOWN), intervals(answers, SHOWN))


def _usable(settings: Settings, names: list[str]) -> tuple[list[str], dict[str, str]]:
    """Those of the pipelines that can work here, and why the others cannot."""
    from .. import extractors, matchers

    usable, left_out = [], {}
    for name in names:
        try:
            one = _settings(settings, (False, (1.0,)), [name])
            extractors.weights_digest(one.extract)
            matchers.weights_name(one.extract, one.match)
            usable.append(name)
        except (SettingsError, WeightsError) as error:
            left_out[name] = str(error)
    return usable, left_out


def _settings(settings: Settings, choice: Choice, names: Sequence[str]) -> Settings:
    return settings.replace(**_changes(settings, choice, names))


def _changes(settings: Settings, choice: Choice, names: Sequence[str]) -> dict[str, object]:
    """What of the settings makes them this choice."""
    segment, weights = choice
    first = weights.index(1.0)
    extractor, _, matcher = names[first].partition("+")
    others = [f"{name}*{weight:g}" for place, (name, weight) in enumerate(zip(names, weights)) if weight and place != first]
    wanted = {"extractor": extractor, "segment": segment, "matcher": matcher, "fuse": ",".join(others) or "none"}
    if (extractor, matcher) != (settings.extract.extractor, settings.match.matcher):
        wanted |= {"weights": "", "lightglue_weights": ""}
    return wanted


def _name(settings: Settings) -> str:
    return f"{settings.extract.extractor}+{settings.match.matcher}"


def _in_words(choice: Choice, names: Sequence[str]) -> str:
    segment, weights = choice
    parts = [name if weight == 1 else f"{name} * {weight:g}" for name, weight in zip(names, weights) if weight]
    return ", ".join(parts) + (", with masks" if segment else "")


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'
