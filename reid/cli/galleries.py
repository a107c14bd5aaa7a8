"""Commands that prepare a gallery: index, calibrate."""

from __future__ import annotations

from typing import Annotated

import typer

from ..settings import Settings
from .options import FEATURES, SEARCH, At, Cache, Engine, Gallery, Join, NamesAsWritten, SkipBad, Table, opening, takes
from .screen import calibration_in_words, impostors_in_words, losses_in_words, report_failures


@takes(*FEATURES)
def index(
    gallery: Gallery,
    settings: Settings,
    engine: Engine,
    check: Annotated[
        bool, typer.Option("--check", help="Read every photo and every stored file again: for photos that were changed in place.")
    ] = False,
    metadata: Table = None,
    cache: Cache = None,
    features: At = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    """Extract and store the features of a gallery.

    Interrupt it at will: the same command goes on where it stopped. A photo whose size and time of change are as before is taken to be the
    same; --check reads it."""
    from ..catalogue.values import counted
    from ..formats.folders import without_row

    with opening(gallery, settings, metadata, cache, skip_bad, join, names_as_written, engine=engine, features=features) as opened:
        done = opened.index(check=check)
        if metadata is None and (more := without_row(opened.gallery)):
            opened.work.listener.note(more)
    print(f"{done.n_photos} photos of {done.n_individuals} individuals are indexed in {done.folder} ({done.n_extracted} of them now)")
    if not check:
        print("photos whose size and time of change are as before were not read again; --check reads them all")
    if done.impostors is not None:
        print(f"impostor distribution: {impostors_in_words(done.impostors.source, done.impostors.n_pairs)}")
    if done.calibration is not None:
        print(calibration_in_words(done.calibration.about()))
        if done.losses is not None:
            print(losses_in_words(done.losses))
    elif done.n_photos:
        lacking = opened.too_few
        print(f"not calibrated: {lacking or 'no probabilities before `reid calibrate` has been run'}")
    if done.recall is not None and done.recall.n_queries:
        kept = f"the {done.recall.length} of {done.n_photos} references that a photo is matched with"
        print(f"shortlist: {kept} hold its animal in {100 * done.recall.share:.0f} % of {done.recall.n_queries} tries on this gallery")
    if done.n_to_estimate:
        print(f"sides: nobody has said that of {counted(done.n_to_estimate, 'photo')}; `reid review` estimates and proposes it")
    report_failures(done.failures)
    raise typer.Exit(2 if not done.n_photos else 1 if done.failures else 0)


@takes(*FEATURES, *SEARCH, "calibration_queries")
def calibrate(
    gallery: Gallery,
    settings: Settings,
    engine: Engine,
    metadata: Table = None,
    cache: Cache = None,
    features: At = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    """Learn from a gallery's own photos what a score is worth.

    Photos of the gallery are identified without their encounter, and without their animal. `identify` with the same settings then gives
    probabilities. Interrupt it at will: the same command goes on where it stopped."""
    with opening(gallery, settings, metadata, cache, skip_bad, join, names_as_written, engine=engine, features=features) as opened:
        found = opened.calibrate()
        failures, losses = opened.failures, opened.losses()
    print(calibration_in_words(found.about()))
    if losses is not None:
        print(losses_in_words(losses))
    report_failures(failures)
    raise typer.Exit(1 if failures else 0)


def add_to(app: typer.Typer) -> None:
    for command in (index, calibrate):
        app.command(rich_help_panel="Galleries")(command)
