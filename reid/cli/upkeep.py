"""Commands that look after what is stored and what is being computed: check, gc, status."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .options import Cache, Gallery, SkipBad, Table
from .screen import listening


def check(
    gallery: Gallery,
    repair: Annotated[
        bool, typer.Option("--repair", help="Delete damaged files that are computed again. Never a decision, never a photo.")
    ] = False,
    cache: Cache = None,
) -> None:
    """Read everything that is stored for a gallery, and its photos, and say what is damaged.

    Photos are compared with the sha256 that they had when they were last read. Exit status 1 where something is damaged and stays so."""
    from .. import session
    from ..store import remove

    n, n_left = 0, 0
    with listening() as listener, session.open(gallery, cache=cache, listener=listener) as opened:
        for damage in opened.check():
            n += 1
            print(f"reid: {damage.path} {damage.advice}", file=sys.stderr)
            for path in damage.computed if repair else ():
                remove(path)
            n_left += not repair or not damage.computed or damage.path.exists()
        folder = opened.work.folder
    repaired = f", {n - n_left} of them deleted" if repair else ""
    print(f"{n} damaged{repaired}: files stored in {folder}, and photos" if n else f"everything stored in {folder} is as it was written")
    raise typer.Exit(1 if n_left else 0)


def gc(
    gallery: Gallery,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing, say what would go.")] = False,
    older_than: Annotated[
        float, typer.Option(min=0, help="Days without use after which what settings have stored goes; see gallery/README.md.")
    ] = 90,
    metadata: Table = None,
    cache: Cache = None,
    skip_bad: SkipBad = False,
) -> None:
    """Delete what is stored and nobody needs any more: of photos that are gone, of settings that were not used, of killed runs.

    Nothing that was touched in the last hour, no calibration and no decision. What turns out to be needed is computed again."""
    from rich.filesize import decimal

    from .. import session

    with listening() as listener, session.open(gallery, table=metadata, cache=cache, skip_bad=skip_bad, listener=listener) as opened:
        found = opened.collect(unused_for=older_than, dry_run=dry_run)
        folder = opened.work.folder
    for kind, (n_files, n_bytes) in found.items():
        print(f"{kind}: {n_files} files, {decimal(n_bytes)}")
    total = decimal(sum(n_bytes for _, n_bytes in found.values()))
    print(f"{total} {'would be' if dry_run else 'are'} freed in {folder}" if found else f"nothing in {folder} is to be freed")


def status(
    gallery: Gallery,
    runs: Annotated[int, typer.Option("--runs", help="Say it of so many runs, the last ones.", min=1)] = 3,
    cache: Cache = None,
) -> None:
    """Say what runs for a gallery on a cluster (--engine ray), where, how fast, and what has failed there and why."""
    from .. import engines, session
    from .screen import run_in_words

    with listening() as listener, session.open(gallery, cache=cache, listener=listener) as opened:
        found, folder = engines.runs(opened.work.folder), opened.work.folder
    for run in found[:runs]:
        print("\n  ".join(run_in_words(run)))
    if not found:
        print(f"nothing that was run with --engine ray has stored anything in {folder}")


def add_to(app: typer.Typer) -> None:
    for command in (check, gc, status):
        app.command(rich_help_panel="Galleries")(command)
