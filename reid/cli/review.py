"""The command that opens the review app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from ..settings import Settings
from .options import (
    FEATURES,
    PROMISES,
    SEARCH,
    Cache,
    Gallery,
    Join,
    NamesAsWritten,
    Observer,
    SkipBad,
    Table,
    joined,
    observer_or_user,
    takes,
)

SERVER = "Server"


def _review(
    gallery: Gallery,
    settings: Settings,
    photos: Annotated[list[Path] | None, typer.Argument(help="Photos, or folders of photos. (default: those of earlier runs)")] = None,
    observer: Observer = None,
    blind: Annotated[bool, typer.Option("--blind", help="Judge what other observers have judged, without seeing what they said.")] = False,
    budget: Annotated[int, typer.Option(help="Stop after so many answers; 0: no end.", min=0)] = 0,
    browser: Annotated[bool, typer.Option(help="Open the browser.", rich_help_panel=SERVER)] = True,
    port: Annotated[
        int | None, typer.Option(help="Port. (default: 8420, or any that is free)", min=0, max=65535, rich_help_panel=SERVER)
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address of this machine in a network, for other devices there.", rich_help_panel=SERVER)
    ] = "127.0.0.1",
    cert: Annotated[Path | None, typer.Option(help="Certificate for --host (PEM).", rich_help_panel=SERVER)] = None,
    key: Annotated[Path | None, typer.Option(help="Private key of --cert (PEM).", rich_help_panel=SERVER)] = None,
    without_tls: Annotated[
        bool, typer.Option("--without-tls", help="Use --host without encryption: whoever listens reads all.", rich_help_panel=SERVER)
    ] = False,
    metadata: Table = None,
    cache: Cache = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    try:
        from ..review.desk import Desk
        from ..review.serve import check_host, serve
        from ..review.worker import Progress
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette", "uvicorn"):
            raise
        raise SettingsError(f"the review app needs {error.name}; pip install 'animal-reid[review]'") from error
    from .. import session

    check_host(host, cert, key, without_tls)
    progress = Progress()
    with session.open(
        gallery,
        settings,
        table=metadata,
        cache=cache,
        skip_bad=skip_bad,
        join=joined(join),
        names_as_written=names_as_written,
        listener=progress,
    ) as opened:
        desk = Desk(opened, progress, observer=observer_or_user(observer), photos=photos or (), budget=budget, blind=blind)
        serve(desk, host=host, port=port, cert=cert, key=key, browser=browser)


def add_to(app: typer.Typer) -> None:
    app.command(
        "review",
        rich_help_panel="Answers",
        help="Open the review app: look at pairs of photos in the browser, and say what they show.",
    )(takes(*FEATURES, *SEARCH, *PROMISES)(_review))
