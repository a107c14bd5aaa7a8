"""How often a gallery's answers are right: every query row of its table against the reference rows that are not of its encounter."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .. import scoring, stages
from ..decision.reasons import of_share
from ..devices import versions
from ..errors import GalleryError, SettingsError, WeightsError
from ..records import UNKNOWN, Candidate, Failure, Indexed, Query
from ..scoring import Scores
from ..session import Session
from ..settings import ScoreName
from ..stages import Finding, Judges, Workspace
from . import answers as figures
from .answers import Answer
from .circumstances import Circumstances
from .summary import Evaluation, comparison
from .waterfall import Course, Waterfall

if TYPE_CHECKING:
    import pandas as pd

CHANCES = ("verdict", "p_match", "p_other", "p_new")


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


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, and what its figures are of."""

    evaluation: Evaluation
    answers: tuple[Answer, ...]
    judges: Judges  # by which the queries were judged, whatever the gallery's stored calibration is


def evaluate(session: Session, *, limit: int | None = None) -> Evaluated:
    """Identify every query row, or the first `limit` of them.

    The references are calibrated first, for this evaluation alone, unless `calibration_queries` is 0 or they are too few. Raises
    GalleryError for a table without queries."""
    work, settings = session.work, session.settings
    named = [ref for ref in session.gallery.queries if ref.identity is not None]
    _check(session)
    if len(named) < len(session.gallery.queries):
        n = len(session.gallery.queries) - len(named)
        work.listener.note(f"left out {n} queries whose identity is {UNKNOWN!r}: nobody can say if an answer is right")
    references = session.references
    items, failed = session.read(named[:limit])
    items, unusable, _ = session.extract_all(items, len(references))
    session.queries = {item.ref.image_id: item for item in items}
    failures = [*session.failures, *failed, *unusable]
    stages.update_index(references, work.first)
    impostors = session.impostors
    learns = settings.decide.calibration_queries and not stages.by_heart(references, work)
    if learns:
        session.match_ahead(impostors)
    judges = (stages.learn(references, work, impostors) if learns else None) or Judges(impostors)
    calibration = judges.calibration
    if calibration is not None:
        calibration.carries(settings.decide.max_false_match, settings.decide.max_false_new)
    queries = stages.queries(items, settings.score.encounters, labelled=True)
    ask = partial(_tried, references=references, animals=frozenset(session.gallery.identities), work=work, judges=judges)
    found: dict[str, list[Answer]] = {score: [] for score in ScoreName}
    courses, seconds = list[Course](), list[float]()
    tried = list(session.engine.map(ask, queries, "queries", key=lambda query: query.photos[0].digest))
    decided, share = stages.together([one.finding for one in tried if one.finding], work, judges)
    if share is not None:  # on which every chance rests
        work.listener.note(of_share(share))
    rankings = iter(decided)
    for one in tried:
        ranking = next(rankings) if one.finding else None
        for score, answer in one.answers.items():
            chances = {name: getattr(ranking, name) for name in CHANCES} if score == settings.score.score else {}
            found[score].append(replace(answer, **chances))
        if one.course:
            courses.append(replace(one.course, verdict=ranking.verdict if ranking else None))
        seconds += filter(None, [one.seconds])
        failures += filter(None, [one.failure])
    evaluation = Evaluation.of(
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
        waterfall=Waterfall(tuple(courses)),
    )
    return Evaluated(evaluation, tuple(found[settings.score.score]), judges)


def _check(session: Session) -> None:
    if not session.gallery.queries:
        raise GalleryError(f"the table of {session.root} has no row whose column `split` says query or test; evaluation needs some")


@dataclass(frozen=True)
class _Tried:
    """What came of one query."""

    answers: Mapping[ScoreName, Answer]  # by each score, undecided; none where there was nothing to compare it with
    course: Course | None  # where its animal is in the gallery
    failure: Failure | None = None
    finding: Finding | None = None  # by the score of the settings
    seconds: float | None = None  # None where some of it was matched before


def _tried(
    queries: Sequence[Query], references: Sequence[Indexed], animals: frozenset[str], work: Workspace, judges: Judges
) -> Iterator[_Tried]:
    """Each query against the references that are not of its encounter."""
    own = work.settings.score.score
    for done, query in enumerate(queries):
        work.listener.progress("queries", done, len(queries))
        pool = stages.without_encounter(query.photos, references)
        truth = query.photos[0].ref.identity
        about = Circumstances.of(query, [item.ref for item in pool if item.ref.identity == truth])
        if not pool:
            course = Course.of(query, (), (), (), own, (), about) if truth in animals else None
            yield _Tried({}, course, Failure(query.name, f"{query.name} has no reference of another encounter"))
            continue
        started, before = time.monotonic(), [one.n_matched for one in work.pipelines]
        compared = [stages.compare(photo, pool, work, judges.impostors) for photo in query.photos]
        selections, columns = [one.selection for one in compared], [one.scores for one in compared]
        columns = stages.look_again(query.photos, pool, columns, work, judges.impostors)
        is_new = all(one.n_matched > n for one, n, weight in zip(work.pipelines, before, judges.impostors.weights, strict=True) if weight)
        seconds = time.monotonic() - started if is_new else None
        answers = {score: _answer(query, stages.rank(query.photos, pool, columns, score), pool, columns, score) for score in ScoreName}
        answers[own] = replace(answers[own], groups=about.groups())
        finding = stages.judge(query, pool, [one.comparable for one in selections], columns, work, judges)
        ranked = finding.ranking.candidates
        course = Course.of(query, pool, selections, columns, own, ranked, about) if truth in animals else None
        yield _Tried(answers, course, None, replace(finding, ranking=replace(finding.ranking, candidates=ranked[:1])), seconds)
    work.listener.progress("queries", len(queries), len(queries))


def compare(session: Session, extractors: Sequence[str], matchers: Sequence[str], *, limit: int | None = None) -> Comparison:
    """`evaluate` each extractor with each matcher on the same queries, without a calibration. Raises GalleryError where there are none."""
    if not extractors or not matchers:
        raise SettingsError("name at least one extractor and one matcher")
    _check(session)
    evaluations, left_out = {}, {}
    for extractor in extractors:
        for matcher in matchers:
            settings = session.settings.replace(extractor=extractor, matcher=matcher, calibration_queries=0)
            name = f"{extractor} + {matcher}"
            session.work.listener.note(name)
            try:
                with session.with_settings(settings) as one:
                    found = evaluate(one, limit=limit).evaluation
                    evaluations[found.pipelines] = found
            except (SettingsError, WeightsError, GalleryError) as error:  # it cannot work together, or here, or its weights are not here
                left_out[name] = str(error)
    return Comparison(evaluations, left_out)


def _answer(query: Query, candidates: Sequence[Candidate], pool: Sequence[Indexed], columns: Sequence[Scores], score: str) -> Answer:
    truth = query.photos[0].ref.identity
    right = np.array([item.ref.identity == truth for item in pool])
    precision = figures.average_precision(scoring.best_of(columns, score), right) if right.any() else None
    names = [one.identity for one in candidates]
    shown = names[: names.index(truth) + 1] if truth in names else names[:1]  # what figures are made of; all would fill the memory
    return Answer(truth, tuple(shown), candidates[0].score, average_precision=precision)
