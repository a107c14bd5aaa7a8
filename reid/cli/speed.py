"""Commands that measure features and speed: features, bench."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..settings import Device, Settings
from .options import FEATURES, Cache, names_in, takes
from .screen import check_writable, listening, show, write_json


class Bench(StrEnum):
    """What can be timed."""

    matching = "matching"
    extraction = "extraction"
    shortlist = "shortlist"
    identify = "identify"


class Protocol(StrEnum):
    """Ways in which features are measured in the literature."""

    oxford = "oxford"
    hpatches = "hpatches"


@takes(*(name for name in FEATURES if name != "fuse"))
def bench(
    what: Annotated[Bench, typer.Argument(help="What is timed.", show_default=False)],
    settings: Settings,
    gallery: Annotated[Path | None, typer.Option("--gallery", "-g", help="Photos to measure on. (default: drawn noise)")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the rows and what they were measured on as JSON.")] = None,
    cache: Cache = None,
) -> None:
    """Time this machine, beside kornia's networks.

    Both run in turn; a ratio above 1 says that reid is faster."""
    from rich.table import Table

    from ..evaluation import speed

    check_writable(json)
    with listening() as listener:
        found = speed.run(what, gallery, settings, cache, listener)
    here = found["machine"]
    title = f"{here['processor']}, {here['threads']} threads, {here['instructions']}, fast precision {here['precision']}"
    table = Table("what", "unit", "reid", "kornia", "ratio", title=title)
    for row in found["rows"]:
        figures = ("-" if row[key] is None else f"{row[key]:.4g}" for key in ("ours", "peer", "ratio"))
        table.add_row(row["name"], row["unit"], *figures)
    show(table)
    if json is not None:
        write_json(json, found)


def features(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Sequences as HPatches or Oxford has them.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Your own gallery or folder of photos instead, warped at random.")] = None,
    extractors: Annotated[
        str,
        typer.Option(
            help="With commas between: names from `reid models`, NAME=FILE for weights from `reid train`, harris, shi-tomasi, fast, orb "
            "or random."
        ),
    ] = "aliked-n16, disk, sift, orb, harris, random",
    protocol: Annotated[Protocol, typer.Option(help="oxford: photos at --resize; hpatches: as SuperPoint was measured.")] = Protocol.oxford,
    resize: Annotated[int, typer.Option(help="Longest side of the photos, in pixels.", min=64, max=8192)] = 640,
    max_keypoints: Annotated[int, typer.Option(help="Keypoints of a photo, the strongest.", min=8, max=20000)] = 1000,
    limit: Annotated[int, typer.Option(help="Only so many of your own photos.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the random warps.", min=0)] = 0,
    device: Annotated[Device, typer.Option(help="The device that computes.")] = Device.auto,
    json: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots: repeatability, matches, homographies.")] = None,
) -> None:
    """Measure local features where the true homography is known.

    Tables of repeatability, matches and homographies, a row an extractor."""
    from ..evaluation import features as benchmark
    from ..report import tables

    names = names_in(extractors, "extractor")
    check_writable(json, folder=plots)
    with listening() as listener:
        found, measured = benchmark.run(
            folder, names, photos=photos, protocol_name=protocol, resize=resize, max_keypoints=max_keypoints, limit=limit, seed=seed,
            device=device, listener=listener,
        )  # fmt: skip
    for table in tables.of_features(found["rows"]):
        show(table)
    for row in found["rows"]:
        if row["n_undefined"] and row["change"] == "all":
            print(f"{row['extractor']}: {row['n_undefined']} of {row['n_pairs']} pairs have no point in both photos, and no repeatability")
    if json is not None:
        write_json(json, found)
    if plots is not None:
        from ..report import plots as plotting

        print("plots:", *plotting.save_features(found["rows"], measured, plots))


def add_to(app: typer.Typer) -> None:
    for command in (bench, features):
        app.command(rich_help_panel="Measuring")(command)
