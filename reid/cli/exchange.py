"""Commands between a gallery and other people's files: import, export."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingsError
from ..formats import READERS, WRITERS
from .options import Cache, Gallery, Join, NamesAsWritten, SkipBad, Table, joined
from .screen import check_writable, decisions_in_words, show

if TYPE_CHECKING:
    from ..formats.importing import Plan

SHOWN = 20  # encounters
HISTORIES = "Capture histories"
Form = StrEnum("Form", list(READERS))  # type: ignore[misc]
To = StrEnum("To", list(WRITERS))  # type: ignore[misc]
Side = StrEnum("Side", ["left", "right", "linked"])


def _import(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Folders, photos, tables, JSON files or zips; gallery/README.md lists the formats.", show_default=False),
    ],
    gallery: Annotated[Path, typer.Option("--gallery", "-g", help="Folder of the gallery; it may be new.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read, check and show everything; write nothing.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the photos into the gallery, instead of naming them where they lie.")] = False,
    column: Annotated[
        list[str] | None, typer.Option(help="What a column of a table means, as in --column identity=Name; nothing after = for none.")
    ] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder of the photos. (default: where the source lies)")] = None,
    form: Annotated[Form | None, typer.Option("--as", help="What the sources are. (default: seen from what they hold)")] = None,
    min_confidence: Annotated[float, typer.Option(help="Boxes of a detector below this confidence are left out.", min=0, max=1)] = 0.2,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out photos and rows that cannot be used, instead of stopping.")
    ] = False,
) -> None:
    """Bring photos, tables and other people's files into a gallery.

    Everything is read and checked first, and every problem is listed with its file, row and column; nothing is written until there is none,
    or until --skip-bad leaves out the photos that cannot be used.
    Then photos get rows in the gallery's metadata.csv; rows that are there stay, only blank cells are filled, and the old table is kept
    beside it. Photos are never changed."""
    from ..catalogue.values import counted, some
    from ..formats import importing, placing
    from ..formats.folders import without_row
    from ..formats.source import Options
    from ..imaging import facts

    if photos is not None and not photos.is_dir():
        raise SettingsError(f"--photos {photos} is not a folder")
    options = Options(photos, _chosen(column), min_confidence=min_confidence)
    with tempfile.TemporaryDirectory(prefix="reid-") as unpacked:
        kind = None if form is None else str(form)
        plan = importing.plan(sources, gallery, facts, options, Path(unpacked), copy=copy, form=kind, skip_bad=skip_bad)
        for note in plan.notes:
            print(f"note: {note}")
        if more := without_row(plan.found):
            print(f"note: {more}")
        _show_encounters(plan)
        for line in plan.left_out:
            print(f"reid: not used: {line}", file=sys.stderr)
        if not plan.changes:
            print(f"nothing to add: {plan.table} holds all {'else' if plan.left_out or plan.alone else 'of it'}")
        elif dry_run:
            print(f"dry run, nothing is written; without --dry-run {plan.table} gets {_gains(plan)}")
        else:
            backup = placing.carry_out(plan, facts)
            before = f"; the table before is {backup.name}" if backup else ""
            print(f"{plan.table} has got {_gains(plan)}; it has {counted(len(plan.rows), 'row')} now{before}")
        if plan.alone:
            alone = counted(len(plan.alone), "file is not copied and lies", "files are not copied and lie")
            print(f"{alone} on the source alone; keep what you need before you empty it: {some(plan.alone, most=8)}")
        if plan.changes and not dry_run and (step := _next_step(plan)):
            print(step)
    raise typer.Exit(1 if plan.left_out else 0)


def _gains(plan: Plan) -> str:
    """What the table and the gallery get, each number with what it counts."""
    from ..catalogue.values import counted
    from ..formats.copying import MASKS, PHOTOS

    n, named = len({entry.file for entry in plan.new}), [entry for entry in plan.new if entry.is_named]
    animals = counted(len({entry.cells["identity"] for entry in named}), "animal")
    of_whom = [f"{len({entry.file for entry in named}):,} named, {animals}"] if named else []
    if len(named) < len(plan.new):
        of_whom.append(f"{len({entry.file for entry in plan.new if not entry.is_named}):,} without a name")
    rows = f" in {len(plan.new):,} rows, one for each animal" if n < len(plan.new) else ""
    gains = [f"{counted(n, 'new photo')} ({'; '.join(of_whom)}){rows}"] if plan.new else []
    if plan.n_own:
        gains.append(f"{counted(plan.n_own, 'photo')} of the gallery's own folders")
    if plan.n_filled:
        gains.append(f"what was blank in {counted(plan.n_filled, 'row')}")
    for what, folder in (("photo", PHOTOS), ("mask", MASKS)):
        if copies := sum(target.is_relative_to(plan.gallery / folder) for _, target in plan.copies):
            gains.append(f"{counted(copies, what)} copied into {plan.gallery / folder}")
    return ", ".join(gains)


def _next_step(plan: Plan) -> str | None:
    """Who is on new photos that nobody has named: the command that asks; None where there are none, or no folder holds them alone."""
    from ..catalogue.values import counted
    from ..formats.copying import PHOTOS

    bare = {entry.file for entry in plan.new if not entry.is_named}
    root = os.path.realpath(plan.gallery)
    copied = os.path.join(root, PHOTOS)
    if not bare or os.path.commonpath([root, common := os.path.commonpath(map(os.path.dirname, bare))]) == common:
        return None
    refs = (*plan.found.references, *plan.found.queries)
    named = [os.path.realpath(os.path.join(root, ref.columns["path"])) for ref in refs if ref.identity is not None]
    if f"{common}{os.sep}".startswith(copied + os.sep) and not any(path.startswith(copied + os.sep) for path in named):
        common = copied  # all that was ever copied waits for a name
    photos = os.path.relpath(common) if common.startswith(os.getcwd() + os.sep) else common
    return f"{counted(len(bare), 'new photo')} without a name; next: " + shlex.join(
        ["reid", "review", photos, "--gallery", str(plan.gallery)]
    )


def _chosen(pairs: list[str] | None) -> dict[str, str]:
    found = {}
    for pair in pairs or []:
        meaning, equals, name = pair.partition("=")
        if not equals or not meaning.strip():
            raise SettingsError(f"--column {pair!r} is not of the form meaning=column, as in identity=Name")
        found[meaning.strip()] = name.strip()
    return found


def _show_encounters(plan: Plan) -> None:
    """Those of new photos that no column says, for people to look at, the earliest first, those without a date last."""
    from rich.markup import escape
    from rich.table import Table as Shown

    new = {entry.draft.path for entry in plan.new}
    derived: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for ref in (*plan.found.references, *plan.found.queries):
        if ref.encounter and not ref.columns.get("encounter"):
            times = derived.setdefault((ref.encounter, ref.identity or ""), ([], []))
            times[ref.path not in new].append(str(ref.taken or ref.date or ""))
    shown = sorted((not max(own), min(own + there), *key, own, there) for key, (own, there) in derived.items() if own)
    if not shown:
        return
    names = ("encounter, as derived", "animal", "new photos", "there before", "first", "last")
    table = Shown(*names, caption="where this is wrong, a column encounter says it")
    for _, first, name, animal, own, there in shown[:SHOWN]:
        table.add_row(escape(name), escape(animal), str(len(own)), str(len(there) or ""), first, max(own + there))
    if len(shown) > SHOWN:
        table.add_row(f"and {len(shown) - SHOWN:,} more")
    show(table)


def _export(
    gallery: Gallery,
    to: Annotated[To, typer.Option(help="Format; gallery/README.md says what each holds.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write; for camtrap-dp, wildbook and secr a new folder.", show_default=False)],
    occasions: Annotated[
        str | None, typer.Option(help="day, month, year, or a table with columns start and end.", rich_help_panel=HISTORIES)
    ] = None,
    side: Annotated[
        Side | None,
        typer.Option(
            help="The side whose photos count; linked: all photos, of animals whose two sides are known.", rich_help_panel=HISTORIES
        ),
    ] = None,
    epsg: Annotated[
        str | None, typer.Option(help="secr: number of a projection in metres, or auto for UTM.", rich_help_panel=HISTORIES)
    ] = None,
    package: Annotated[Path | None, typer.Option(help="camtrap-dp: your package, of which a copy is filled.")] = None,
    species: Annotated[str | None, typer.Option(help="camtrapr, wildbook: species of photos of which the catalogue says none.")] = None,
    site: Annotated[str | None, typer.Option(help="camtrapr, secr, wildbook: site of photos of which the catalogue says none.")] = None,
    submitter: Annotated[str | None, typer.Option(help="wildbook: your user name there.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="wildbook: copy the photos, too, under the names that Wildbook takes.")] = False,
    where: Annotated[list[str] | None, typer.Option(help='Only photos with column=value, as in "site=Bonaire".')] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already, as one exports again each year.")] = False,
    metadata: Table = None,
    cache: Cache = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    """Write the catalogue in a format of others: tables, platforms, capture histories.

    Names, sides, dates and encounters are as the gallery reads them, decisions of people counted in. Capture histories ask for --occasions
    and --side, and say how many animals are known from one side only. What a format cannot hold is said; nothing is left out in silence."""
    from contextlib import closing
    from importlib import import_module

    from .. import catalogue
    from ..errors import GalleryError
    from ..formats.writing import ExportOptions, by_reason, check_ending, refuse_unused
    from ..imaging import facts
    from ..store import Digests

    writer = import_module(f"..formats.{WRITERS[str(to)]}", __package__)
    options = ExportOptions(str(to), occasions, None if side is None else str(side), epsg, package, species, site, submitter, copy)
    refuse_unused(options, writer.TAKES)
    check_ending(str(to), out)
    pictures = out if copy else None
    beside = [out.with_name(f"{out.stem}.{what}.csv") for what in ("occasions", "names")] if str(to) in ("mark", "rmark") else []
    beside += [out.with_suffix(".inp")] if str(to) == "rmark" else []
    table = Path(occasions) if occasions and os.path.exists(occasions) else None
    check_writable(None if pictures or out.is_dir() else out, *beside, reads=(gallery, metadata, table, package), folder=pictures)
    there = [] if force else [str(file) for file in (out, *beside) if file.is_file()]
    if there:
        raise SettingsError(f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already; add --force, or name another file")
    with closing(Digests(cache or gallery / catalogue.FOLDER)) as digests:
        found = catalogue.read(
            gallery, facts, table=metadata, skip_bad=skip_bad, join=joined(join), names_as_written=names_as_written,
            decisions=catalogue.DecisionLog(gallery).effective(), digest=digests.of,
        )  # fmt: skip
    if found.labels is not None:
        print(decisions_in_words(found.labels.about()))
    every = replace(found, references=(*found.references, *found.queries), queries=())
    if where:
        found, said = catalogue.restrict(every, where)
        print(f"filter {said}")
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    written = writer.write(found, out, replace(options, whole=every))
    if written.problems:
        raise GalleryError(f"{len(written.problems)} problems; nothing was written", written.problems)
    for line in (*written.notes, *by_reason(written.left_out)):
        print(line)
    total = len(found.references) + len(found.queries)
    print(f"{written.n_photos} of {total} photos are in {', '.join(map(str, written.files))}")


def add_to(app: typer.Typer) -> None:
    for name, command in (("import", _import), ("export", _export)):
        app.command(name, rich_help_panel="Galleries")(command)
