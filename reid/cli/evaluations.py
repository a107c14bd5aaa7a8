"""Commands that measure how often answers are right, and find what makes them so: evaluate, compare, tune."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..settings import Settings
from .options import FEATURES, PROMISES, SEARCH, At, Cache, Engine, Gallery, Join, NamesAsWritten, SkipBad, Table, names_in, opening, takes
from .screen import calibration_in_words, check_writable, report_failures, show, write_json

if TYPE_CHECKING:
    from ..evaluation.run import Evaluated
    from ..evaluation.summary import Evaluation
    from ..report.waterfall import Lost
    from ..session import Session

Json = Annotated[Path | None, typer.Option(help="Write the figures as JSON.")]
Limit = Annotated[int | None, typer.Option(help="Only the first so many queries.", min=1)]


@takes(*FEATURES, *SEARCH, *PROMISES, "calibration_queries")
def evaluate(
    gallery: Gallery,
    settings: Settings,
    engine: Engine,
    metadata: Table = None,
    json: Json = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots: CMC, ROC, reliability, scores.")] = None,
    stages: Annotated[bool, typer.Option("--stages", help="Show at which stage the right animal is lost.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write where the right animal is lost, one HTML page with pictures of the worst queries.")
    ] = None,
    limit: Limit = None,
    cache: Cache = None,
    features: At = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    """Measure how often the answers are right.

    Every row of the table whose column `split` says query is identified among the others, calibrated on them."""
    from ..evaluation import run

    check_writable(json, report, reads=(gallery, metadata), folder=plots)
    with opening(gallery, settings, metadata, cache, skip_bad, join, names_as_written, engine=engine, features=features) as opened:
        done = run.evaluate(opened, limit=limit)
        found = done.evaluation
        _say(found, stages)
        report_failures(found.failures)
        sys.stdout.flush()
        if json is not None:  # the tables are out already, whatever happens here
            write_json(json, found.as_json())
        if plots is not None:
            from ..report import plots as plotting

            print("plots:", *plotting.save_all(done.answers, plots))
        if report is not None:
            _write_report(done, opened, report)
            print(f"the report is in {report}")
    raise typer.Exit(1 if found.failures else 0)


def _say(found: Evaluation, with_stages: bool) -> None:
    from ..report import tables

    for table in (*tables.of_evaluation(found), *(tables.of_waterfall(found.waterfall) if with_stages else ())):
        show(table)
    seconds = found.seconds_per_query
    speed = "all matched before" if seconds is None else f"{seconds:.1f} s a query (median)"
    print(f"{found.figures['n_known']} queries of known animals, {found.figures['n_new']} of new ones; {speed}")
    if found.calibration is not None:
        print(calibration_in_words(found.calibration))
    for verdict, row in found.verdicts.items():
        print(f"verdict {verdict}: {row['right']} known and right, {row['wrong']} known and wrong, {row['new']} new")


def _write_report(done: Evaluated, opened: Session, file: Path) -> None:
    from ..report import waterfall
    from ..store import write_atomically

    page = waterfall.as_html(done.evaluation, opened.root.resolve().name, _worst(done, opened))
    write_atomically(file, page.encode("utf-8", "backslashreplace"))


def _worst(done: Evaluated, opened: Session) -> Iterator[Lost]:
    """The worst lost queries, drawn when they are asked for, each pair by the pipeline that spoke for it most in this evaluation."""
    from ..report import pictures
    from ..report.waterfall import MOST, Lost

    references = {item.ref.image_id: item for item in opened.references}
    worst = done.evaluation.waterfall.worst(MOST)
    for number, one in enumerate(worst, start=1):
        pairs = ((opened.queries[pair.photo_id], references[pair.reference_id]) for pair in (one.right, one.first) if pair is not None)
        views = (opened.view(*pair, judges=done.judges) for pair in pairs)
        right, first = (pictures.of_pair(view, None, opened.settings.score.min_confidence) for view in views)
        opened.work.listener.progress("lost queries drawn", number, len(worst))
        yield Lost(one, right, first)


@takes(*(name for name in (*FEATURES, *SEARCH) if name not in ("extractor", "matcher")), fuse="none")
def compare(
    gallery: Gallery,
    settings: Settings,
    extractors: Annotated[str, typer.Option(help="Names from `reid models`, with commas between.")] = "aliked-n16, disk, sift",
    matchers: Annotated[str, typer.Option(help="lightglue, nearest, adalam, loftr, cosine, with commas between.")] = "lightglue, nearest",
    metadata: Table = None,
    json: Json = None,
    limit: Limit = None,
    cache: Cache = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    """Find out which features and which matcher recognise these animals best.

    Each extractor is evaluated with each matcher on the same queries."""
    from ..matchers import able
    from ..report import tables

    which = names_in(extractors, "extractor"), names_in(matchers, "matcher")
    check_writable(json, reads=(gallery, metadata))
    if settings.extract.weights:  # of the extractor that is compared, not of the settings' own
        settings = settings.replace(extractor=which[0][0], matcher=able(which[0][0])[-1])
    with opening(gallery, settings, metadata, cache, skip_bad, join, names_as_written) as opened:
        found = opened.compare(*which, limit=limit)
    if found.evaluations:
        show(tables.of_comparison(found.evaluations))
    for name, reason in found.left_out.items():
        print(f"reid: left out {name}: {reason}", file=sys.stderr)
    if json is not None:
        write_json(json, found.as_json())
    failures = tuple(dict.fromkeys(failure for one in found.evaluations.values() for failure in one.failures))
    report_failures(failures)
    raise typer.Exit(2 if not found.evaluations else 1 if found.left_out or failures else 0)


@takes(*(name for name in (*FEATURES, *SEARCH) if name != "score"), preset=True)
def tune(
    gallery: Gallery,
    settings: Settings,
    out: Annotated[Path | None, typer.Option(help="Write what was found as a TOML file for --config.")] = None,
    pipelines: Annotated[str | None, typer.Option(help="extractor+matcher, several with commas between. (default: five that ship)")] = None,
    queries: Annotated[int, typer.Option(help="Most photos of the gallery that are tried.", min=20)] = 100,
    metadata: Table = None,
    cache: Cache = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    """Find out which pipelines recognise the animals of this gallery, and what each should count.

    The gallery's own photos are identified without their encounter, by every pipeline, with and without masks. It takes a while, may be
    interrupted at any time and goes on where it stopped."""
    from ..evaluation import tune as tuning
    from ..report import tables
    from ..store import write_atomically

    names = names_in(pipelines, "pipeline") if pipelines else list(tuning.PIPELINES)
    check_writable(out, reads=(gallery, metadata))
    with opening(gallery, settings, metadata, cache, skip_bad, join, names_as_written) as opened:
        found = tuning.tune(opened, names, queries)
    show(tables.of_tuning(found))
    for name, reason in found.left_out.items():
        print(f"reid: left out {name}: {reason}", file=sys.stderr)
    if not found.changes:
        print("nothing is better than the settings as they are by more than a standard error, on animals that had no part in finding it")
    elif out is None:
        print(f"better by more than a standard error; `--out FILE.toml` writes this for --config:\n\n{found.as_toml()}", end="")
    if out is not None:
        write_atomically(out, found.as_toml().encode())
        print(f"{out}: {'these settings' if found.changes else 'the settings as they are'}, for `reid calibrate --config {out}` and so on")
    report_failures(found.failures)
    raise typer.Exit(1 if found.left_out or found.failures else 0)


def add_to(app: typer.Typer) -> None:
    for command in (evaluate, compare, tune):
        app.command(rich_help_panel="Measuring")(command)
