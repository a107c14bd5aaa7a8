"""Commands that measure how often answers are right: evaluate, compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..settings import Settings
from .options import FEATURES, PROMISES, SEARCH, Cache, Gallery, Join, NamesAsWritten, SkipBad, Table, joined, names_in, takes
from .screen import calibration_in_words, check_writable, listening, report_failures, show, write_json

Json = Annotated[Path | None, typer.Option(help="Write the figures as JSON.")]
Limit = Annotated[int | None, typer.Option(help="Only the first so many queries.", min=1)]


@takes(*FEATURES, *SEARCH, *PROMISES, "calibration_queries")
def evaluate(
    gallery: Gallery,
    settings: Settings,
    metadata: Table = None,
    json: Json = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots: CMC, ROC, reliability, scores.")] = None,
    limit: Limit = None,
    cache: Cache = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    """Measure how often the answers are right.

    Every row of the table whose column `split` says query is identified among the others, calibrated on them."""
    from .. import session
    from ..evaluation import run
    from ..report import tables

    check_writable(json, reads=(gallery, metadata), folder=plots)
    with (
        listening() as listener,
        session.open(
            gallery, settings, table=metadata, cache=cache, skip_bad=skip_bad, join=joined(join), names_as_written=names_as_written,
            listener=listener,
        ) as opened,
    ):  # fmt: skip
        found, answers = run.evaluate(opened, limit=limit)
    for table in tables.of_evaluation(found):
        show(table)
    seconds = found.seconds_per_query
    speed = "all matched before" if seconds is None else f"{seconds:.1f} s a query (median)"
    print(f"{found.figures['n_known']} queries of known animals, {found.figures['n_new']} of new ones; {speed}")
    if found.calibration is not None:
        print(calibration_in_words(found.calibration))
    for verdict, row in found.verdicts.items():
        print(f"verdict {verdict}: {row['right']} known and right, {row['wrong']} known and wrong, {row['new']} new")
    if json is not None:
        write_json(json, found.as_json())
    if plots is not None:
        from ..report import plots as plotting

        print("plots:", *plotting.save_all(answers, plots))
    report_failures(found.failures)
    raise typer.Exit(1 if found.failures else 0)


@takes(*(name for name in (*FEATURES, *SEARCH) if name not in ("extractor", "matcher")), fuse="none")
def compare(
    gallery: Gallery,
    settings: Settings,
    extractors: Annotated[str, typer.Option(help="Names from `reid models`, with commas between.")] = "aliked-n16,disk,sift",
    matchers: Annotated[str, typer.Option(help="lightglue, nearest, adalam, with commas between.")] = "lightglue,nearest",
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
    from .. import session
    from ..report import tables

    which = names_in(extractors, "extractor"), names_in(matchers, "matcher")
    check_writable(json, reads=(gallery, metadata))
    with (
        listening() as listener,
        session.open(
            gallery, settings, table=metadata, cache=cache, skip_bad=skip_bad, join=joined(join), names_as_written=names_as_written,
            listener=listener,
        ) as opened,
    ):  # fmt: skip
        found = opened.compare(*which, limit=limit)
    if found.evaluations:
        show(tables.of_comparison(found.evaluations))
    for name, reason in found.left_out.items():
        print(f"reid: left out {name}: {reason}", file=sys.stderr)
    if json is not None:
        write_json(json, found.as_json())
    raise typer.Exit(2 if not found.evaluations else 1 if found.left_out else 0)


def add_to(app: typer.Typer) -> None:
    for command in (evaluate, compare):
        app.command(rich_help_panel="Measuring")(command)
