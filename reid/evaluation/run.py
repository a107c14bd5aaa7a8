"""How often a gallery's answers are right: every query row of its table against the reference rows that are not of its encounter."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import imaging, scoring, stages
from ..errors import GalleryError, PhotoError, SettingsError, WeightsError
from ..records import UNKNOWN, Candidate, Failure, Indexed, Query
from ..scoring import Scores
from ..session import Session, versions
from ..settings import ScoreName
from ..stages import Judges
from . import answers as figures
from .answers import Answer
from .summary import Evaluation, comparison

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Comparison:
    """Evaluations of several pipelines on the same queries."""

    evaluations: Mapping[str, Evaluation]  # by the pipeline's name
    left_out: Mapping[str, str]  # pipelines that cannot work here, and why

    def as_json(self) -> dict[str, object]:
        return {name: found.as_json() for name, found in self.evaluations.items()}

    def to_frame(self) -> pd.DataFrame:
        """A row a pipeline, see `summary.comparison`."""
        return comparison(self.evaluations)


def evaluate(session: Session, *, limit: int | None = None) -> tuple[Evaluation, list[Answer]]:
    """Identify every query row, or the first `limit` of them: the figures, and the answers that they are of.

    The references are calibrated first, for this evaluation alone, unless `calibration_queries` is 0 or they are too few. Raises
    GalleryError for a table without queries."""
    work, settings = session.work, session.settings
    named = [ref for ref in session.gallery.queries if ref.identity is not None]
    if not session.gallery.queries:
        raise GalleryError(f"the table of {session.root} has no row whose column `split` says query or test; evaluation needs some")
    if len(named) < len(session.gallery.queries):
        n = len(session.gallery.queries) - len(named)
        work.listener.note(f"left out {n} queries whose identity is {UNKNOWN!r}: nobody can say if an answer is right")
    references = session.references
    items, failed = stages.read(named[:limit], work.digests, work.listener)
    items, unusable, _ = stages.extract(items, work.pipelines)
    failures = [*session.failures, *failed, *unusable]
    stages.update_index(references, work.first)
    impostors = session.impostors
    calibration = stages.learn(references, work, impostors) if settings.decide.calibration_queries else None
    if calibration is not None:
        calibration.carries(settings.decide.max_false_match, settings.decide.max_false_new)
    judges = Judges(impostors, calibration)
    found: dict[str, list[Answer]] = {score: [] for score in ScoreName}
    seconds = []
    queries = stages.queries(items, settings.score.encounters, labelled=True)
    for done, query in enumerate(queries):
        work.listener.progress("queries", done, len(queries))
        pool = stages.without_encounter(query.photos, references)
        if not pool:
            failures.append(Failure(query.name, f"{query.name} has no reference of another encounter"))
            continue
        started, before = time.monotonic(), [one.n_matched for one in work.pipelines]
        columns = [stages.compare(photo, pool, work, impostors) for photo in query.photos]
        if all(one.n_matched > n for one, n in zip(work.pipelines, before, strict=True)):
            seconds.append(time.monotonic() - started)
        for score in ScoreName:
            candidates = stages.rank(query.photos, pool, columns, score)
            found[score].append(_answer(query, candidates, pool, columns, score))
            if score == settings.score.score:
                ranking = stages.judge(query, candidates, pool, work, judges)
                chances = {name: getattr(ranking, name) for name in ("verdict", "p_match", "p_other", "p_new")}
                found[score][-1] = replace(found[score][-1], **chances, groups=_groups(query, pool))
    work.listener.progress("queries", len(queries), len(queries))
    return Evaluation.of(
        found,
        settings.score.score,
        pipelines=", fused with ".join(one.name for one in work.pipelines),
        n_references=len(references),
        calibration=None if calibration is None else calibration.about(),
        decisions=None if session.gallery.labels is None else session.gallery.labels.about(),
        failures=failures,
        seconds_per_query=float(np.median(seconds)) if seconds else None,
        settings=settings.as_dict(),
        fingerprint=session.fingerprint,
        versions=versions(),
    ), found[settings.score.score]


def compare(session: Session, extractors: Sequence[str], matchers: Sequence[str], *, limit: int | None = None) -> Comparison:
    """`evaluate` each extractor with each matcher on the same queries, without a calibration."""
    if not extractors or not matchers:
        raise SettingsError("name at least one extractor and one matcher")
    evaluations, left_out = {}, {}
    for extractor in extractors:
        for matcher in matchers:
            settings = session.settings.replace(extractor=extractor, matcher=matcher, calibration_queries=0)
            name = f"{extractor} + {matcher}"
            session.work.listener.note(name)
            try:
                with session.with_settings(settings) as one:
                    found, _ = evaluate(one, limit=limit)
                    evaluations[found.pipelines] = found
            except (SettingsError, WeightsError) as error:  # it cannot work together, or its weights are not here
                left_out[name] = str(error)
    return Comparison(evaluations, left_out)


def _answer(query: Query, candidates: Sequence[Candidate], pool: Sequence[Indexed], columns: Sequence[Scores], score: str) -> Answer:
    truth = query.photos[0].ref.identity
    right = np.array([item.ref.identity == truth for item in pool])
    precision = figures.average_precision(scoring.best_of(columns, score), right) if right.any() else None
    return Answer(truth, tuple(one.identity for one in candidates), candidates[0].score, average_precision=precision)


def _groups(query: Query, pool: Sequence[Indexed]) -> dict[str, str]:
    """What the figures are broken down by: a reference of the same view, a good photo, the years since the last reference."""
    refs = [photo.ref for photo in query.photos]
    own = [item.ref for item in pool if item.ref.identity == refs[0].identity]
    groups = {}
    if any(ref.orientation for ref in refs):
        groups["side"] = ", ".join(sorted({str(ref.orientation) for ref in refs}))
        if own:
            groups["view"] = "same" if {ref.orientation for ref in refs} & {ref.orientation for ref in own} else "other"
    try:
        qualities = [imaging.quality(ref) for ref in refs]
        good = not all(imaging.shortcomings(one) for one in qualities)
        groups["photo"] = "good" if good else "small, blurred, dark, bright or flat"
        groups["size"] = "250 px or more" if max(one.pixels for one in qualities) >= 250 else "less than 250 px"
    except PhotoError:
        pass  # gone since it was indexed: it counts without these groups
    days = [ref.date for ref in refs if ref.date]
    before = [ref.date for ref in own if ref.date]
    if days and before:
        groups["years"] = str(abs(max(days).year - max(before).year))
    return groups
