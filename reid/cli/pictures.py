"""Commands about two photos: show, align."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..settings import Settings
from .options import FEATURES, takes
from .screen import check_writable, listening

Query = Annotated[Path, typer.Argument(help="A photo.", show_default=False)]


class Model(StrEnum):
    """Motions by which one photo is laid on another."""

    homography = "homography"
    affine = "affine"


@takes(*(name for name in FEATURES if name not in ("fuse", "embedding")))
def show(
    query: Query,
    reference: Annotated[Path, typer.Argument(help="Another photo.", show_default=False)],
    settings: Settings,
    out: Annotated[Path | None, typer.Option(help="The picture. (default: QUERY-REFERENCE-matches.png here)")] = None,
    outline: Annotated[bool, typer.Option("--outline", help="Draw where the animal was found, too: marks beside it do not count.")] = False,
) -> None:
    """Draw the matching marks of two photos, by one pipeline.

    `identify` draws a pair by whichever of its pipelines speaks for it most."""
    from .. import session, stages
    from ..report import pictures

    out = out or Path(f"{query.stem}-{reference.stem}-matches.png")
    check_writable(out, reads=(query, reference))
    with listening() as listener:
        pair = session.open_pair(query, reference, settings, listener)
        masks: pictures.Masks = (None, None)
        if outline:
            first = stages.Pipeline(settings.pipelines()[0], out.parent, listener)
            masks = (first.prepare(pair.query).mask, first.prepare(pair.reference).mask)
    least = settings.score.min_confidence
    pictures.save(pictures.of_pair(pair, (query.name, reference.name), least, masks), out)
    print(f"drawn in {out}: {pictures.drawn(pair.matches, least)} above {least} by {pair.pipeline}")


@takes(*(name for name in FEATURES if name not in ("fuse", "embedding")))
def align(
    query: Query,
    reference: Annotated[Path, typer.Argument(help="Another photo, which stays as it is.", show_default=False)],
    settings: Settings,
    out: Annotated[Path | None, typer.Option(help="The mosaic. (default: QUERY-REFERENCE-mosaic.png here)")] = None,
    model: Annotated[Model, typer.Option(help="The motion that lays one photo on the other.")] = Model.homography,
) -> None:
    """Lay one photo on another, of something flat or far away, and draw both as one."""
    from .. import session
    from ..imaging import alignment
    from ..report import pictures

    out = out or Path(f"{query.stem}-{reference.stem}-mosaic.png")
    check_writable(out, reads=(query, reference))
    with listening() as listener:
        pair = session.open_pair(query, reference, settings.replace(verify="none"), listener)
    found = alignment.register((pair.query, pair.reference), pair.features, pair.matches, settings.score.min_confidence, model)
    picture = alignment.mosaic((query, reference), found)
    pictures.save(picture, out)
    height, width = picture.shape[:2]
    print(f"{found.n_inliers} of {found.n_matches} matches agree on one {model}; the mosaic, {width} x {height} px, is in {out}")


def add_to(app: typer.Typer) -> None:
    for command in (show, align):
        app.command(rich_help_panel="Two photos")(command)
