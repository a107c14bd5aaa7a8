"""Which pipelines, and with what weights, recognise the animals of one gallery: learned from its own photos.

Each calibration query is answered by every pipeline, with and without masks of the animal (`segment`). The best single pipeline comes
first; others join it only where they help by more than a standard error (`decision/weights.py`), and the settings as they are stay unless
what was found is better by more than one on animals that had no part in finding it (cross-validation over animals).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from .. import extractors, matchers, stages
from ..decision.conformal import FOLDS, fold_of
from ..decision.weights import LEAST_ANIMALS, Evidence, is_better, learn, losses_of
from ..errors import GalleryError, SettingsError, WeightsError
from ..records import Failure
from ..session import Session
from ..settings import Settings
from .answers import Answer, intervals, summarize

if TYPE_CHECKING:
    import pandas as pd

PIPELINES = ("aliked-n16+lightglue", "sift+nearest", "aliked-n16+nearest", "goodpoint+nearest", "goodpoint+lightglue")
QUERIES = 100  # calibration queries, unless told otherwise
LEAST = -(-LEAST_ANIMALS * FOLDS // (FOLDS - 1))  # animals that were met again, so that each training fold has LEAST_ANIMALS
TOO_FEW = (
    "{n} animals of the {queries} calibration queries were met again, and tuning takes "
    f"{LEAST}; more --queries, or dates or a column `encounter`, which tell encounters apart"
)
SHOWN = ("top1", "top5", "auroc")


@dataclass(frozen=True)
class Choice:
    """Pipelines to be fused."""

    segment: bool  # whether masks are guessed
    weights: tuple[float, ...]  # of the pipelines
    first: int  # the place of the one that comes first: whose shortlist it is


Found = Mapping[bool, Sequence[Evidence]]  # the same queries without and with masks


@dataclass(frozen=True)
class Fusion:
    """What some pipelines make of the calibration queries."""

    name: str
    figures: Mapping[str, float | None]  # SHOWN, n_known and n_new
    intervals: Mapping[str, tuple[float, float] | None]  # 95 %, over animals


@dataclass(frozen=True)
class Tuning:
    """What was tried on a gallery, and which settings are best for it."""

    rows: tuple[Fusion, ...]  # each pipeline by itself, then the settings as they are, then what was found, cross-validated
    changes: Mapping[str, object]  # of the settings, by name; none where they are best as they are
    settings: Settings  # with these changes
    left_out: Mapping[str, str] = field(default_factory=dict)  # pipelines that could not be tried, and why
    failures: tuple[Failure, ...] = ()  # photos that could not be used

    def as_toml(self) -> str:
        """A file for `--config`: what of features, matching and scores is not the default."""
        lines = ["# Found by `reid tune` on the photos of one gallery, for its animals."]
        for group in ("extract", "match", "score"):
            own, usual = getattr(self.settings, group), getattr(Settings(), group)
            told = [f"{one.name} = {_toml(value)}" for one in fields(own) if (value := getattr(own, one.name)) != getattr(usual, one.name)]
            lines += ["", f"[{group}]", *told] if told else []
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

    All match what is on the shortlist of the settings' first pipeline. Matches are stored as they are found, so that whatever is
    interrupted goes on where it stopped."""
    _check(session, queries)
    settings = session.settings.replace(calibration_queries=queries, score="joint")
    own = dict(zip(map(_name, settings.pipelines()), settings.pipeline_weights(), strict=True))
    wanted, left_out = _usable(settings, list(dict.fromkeys((*own, *pipelines))))
    together = settings.replace(**_changes(settings, Choice(False, (1.0,) * len(wanted), 0), wanted))
    names = list(map(_name, together.pipelines()))  # in the order of the evidence
    found, failures = {}, tuple[Failure, ...]()
    for segment in (False, True):
        session.work.listener.note(f"pipelines {'with' if segment else 'without'} masks of the animal")
        with session.with_settings(together.replace(segment=segment)) as one:
            found[segment] = list(stages.evidence(one.references, one.work, one.impostors))
            failures = failures or one.failures
    now = Choice(settings.extract.segment, tuple(own.get(name, 0.0) for name in names), 0)
    return replace(choose(found, names, now, session.settings), left_out=left_out, failures=failures)


def _check(session: Session, queries: int) -> None:
    """Before anything is matched. Raises GalleryError."""
    references = session.references
    n_encounters = stages.n_encounters(references)
    chosen = stages.calibration_queries(references, session.work, queries)
    animals = {str(query.photos[0].ref.identity) for query in chosen}
    if (n := sum(n_encounters[animal] > 1 for animal in animals)) < LEAST:
        raise GalleryError(TOO_FEW.format(n=n, queries=len(chosen)))


def choose(found: Found, names: Sequence[str], now: Choice, settings: Settings) -> Tuning:
    """The settings that are best for the animals of these queries; `now` are those as they are. Raises GalleryError for too few animals."""
    common = {one.animal for one in found[False]} & {one.animal for one in found[True]}
    found = {segment: [one for one in queries if one.animal in common] for segment, queries in found.items()}
    again = {one.animal for one in found[False] if one.own >= 0}
    if len(again) < LEAST:
        raise GalleryError(TOO_FEW.format(n=len(again), queries=len(found[False])))
    singles = [Choice(segment, tuple(float(name == one) for one in names), first) for segment in found for first, name in enumerate(names)]
    rows = [_row(_in_words(choice, names), _answered(found, dict.fromkeys(common, choice))) for choice in singles]
    before = _answered(found, dict.fromkeys(common, now))
    rows.append(_row(f"the settings as they are: {_in_words(now, names)}", before))
    fold = fold_of(sorted(common), again)
    by_fold = [_best({s: [one for one in q if fold[one.animal] != number] for s, q in found.items()}, singles) for number in range(FOLDS)]
    unseen = _answered(found, {animal: by_fold[number] for animal, number in fold.items()})
    best = _best(found, singles)
    rows.append(_row(f"found: {_in_words(best, names)}", unseen))
    changes = _changes(settings, best, names) if is_better(losses_of(unseen), losses_of(before)) and best != now else {}
    return Tuning(tuple(rows), changes, settings.replace(**changes))


def _best(found: Found, singles: Sequence[Choice]) -> Choice:
    """The best single pipeline, with masks or without, and what helps it by more than a standard error."""

    def loss(choice: Choice) -> float:
        return float(losses_of([(one, choice.weights) for one in found[choice.segment]]).mean())

    single = min(singles, key=loss)
    joined = [replace(single, segment=one, weights=learn(found[one], single.weights, single.first)) for one in found]
    return min(joined, key=loss)


def _answered(found: Found, choices: Mapping[str, Choice]) -> list[tuple[Evidence, tuple[float, ...]]]:
    """Each query, answered by what is chosen for its animal."""
    return [
        (one, choices[one.animal].weights)
        for segment, queries in found.items()
        for one in queries
        if choices[one.animal].segment == segment
    ]


def _row(name: str, answered: Sequence[tuple[Evidence, Sequence[float]]]) -> Fusion:
    answers = []
    for one, weights in answered:
        scores = one.scores(weights)
        order = sorted(range(len(scores)), key=lambda place: (-scores[place], one.names[place]))
        for without in (False, True):
            ranked = [place for place in order if not (without and place == one.own)]
            if ranked and (without or one.own >= 0):
                names = tuple(str(one.names[place]) for place in ranked)
                answers.append(Answer(one.animal, names, float(scores[ranked[0]])))
    return Fusion(name, summarize(answers, SHOWN), intervals(answers, SHOWN))


def _usable(settings: Settings, names: list[str]) -> tuple[list[str], dict[str, str]]:
    """Those of the pipelines that can work here, and why the others cannot."""
    usable, left_out = [], {}
    for name in names:
        try:
            one = settings.replace(**_changes(settings, Choice(False, (1.0,), 0), [name]))
            extractors.weights_digest(one.extract)
            matchers.weights_name(one.extract, one.match)
            usable.append(name)
        except (SettingsError, WeightsError) as error:
            left_out[name] = str(error)
    return usable, left_out


def _changes(settings: Settings, choice: Choice, names: Sequence[str]) -> dict[str, object]:
    """What of the settings makes them this choice."""
    own = choice.weights[choice.first]
    extractor, _, matcher = names[choice.first].partition("+")
    others = [
        f"{name}*{weight / own:g}" for place, (name, weight) in enumerate(zip(names, choice.weights)) if weight and place != choice.first
    ]
    wanted = {"extractor": extractor, "segment": choice.segment, "matcher": matcher, "fuse": ",".join(others) or "none", "score": "joint"}
    if (extractor, matcher) != (settings.extract.extractor, settings.match.matcher):
        wanted |= {"weights": "", "lightglue_weights": ""}
    return wanted


def _name(settings: Settings) -> str:
    return f"{settings.extract.extractor}+{settings.match.matcher}"


def _in_words(choice: Choice, names: Sequence[str]) -> str:
    first = choice.first
    order = [first, *(place for place in range(len(names)) if place != first)]
    parts = [names[place] if place == first else f"{names[place]} * {choice.weights[place]:g}" for place in order if choice.weights[place]]
    return ", ".join(parts) + (", with masks" if choice.segment else "")


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # of a boolean, a number or a text: TOML's
