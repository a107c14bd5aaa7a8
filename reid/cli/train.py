"""The command that trains networks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import SettingsError
from ..settings import Device, Precision
from ..training import EMBEDDING, METHODS
from .options import Cache, Table
from .screen import INTERRUPTED, Told, listening

LENGTH, DATA = "How long and how fast", "What is learned from"
if TYPE_CHECKING:
    Network = StrEnum
else:
    Network = StrEnum("Network", [*METHODS, EMBEDDING])


def train(
    context: typer.Context,
    network: Annotated[Network, typer.Argument(help="What is trained.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for weights, log and checkpoint.", show_default=False)],
    photos: Annotated[Path | None, typer.Option(help="Gallery or folder of photos; no labels are needed.", show_default=False)] = None,
    labels: Annotated[bool, typer.Option("--labels", help="lightglue: learn from the animals of a gallery, --gallery.")] = False,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", "-g", help="embedding, --labels: folder of animals whose names are learned from.")
    ] = None,
    metadata: Table = None,
    cache: Cache = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder --out.")] = False,
    begin: Annotated[str | None, typer.Option(help="shipped, scratch, a file of weights, or the extractor to go on from.")] = None,
    extractor: Annotated[str, typer.Option(help="The extractor that LightGlue is trained for.")] = "",
    weights: Annotated[str, typer.Option(help="File of that extractor's weights, from an earlier training.")] = "",
    rendered: Annotated[
        bool, typer.Option("--rendered", help="goodpoint, lightglue: learn from rendered animals, too; the photos then lie behind them.")
    ] = False,
    device: Annotated[Device, typer.Option(help="The device that computes.")] = Device.auto,
    precision: Annotated[Precision, typer.Option(help="fast: bfloat16 where the device is faster with it.")] = Precision.fast,
    steps: Annotated[int | None, typer.Option(help="Steps of each stage.", min=1, rich_help_panel=LENGTH)] = None,
    batch: Annotated[int | None, typer.Option(help="Pairs a step.", min=1, rich_help_panel=LENGTH)] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate, until it falls.", min=1e-9, rich_help_panel=LENGTH)] = None,
    every: Annotated[int, typer.Option(help="Steps between validations, each with a checkpoint.", min=1, rich_help_panel=LENGTH)] = 100,
    side: Annotated[int | None, typer.Option(help="Side of the crops, in pixels, a multiple of 32.", min=64, rich_help_panel=DATA)] = None,
    rotation: Annotated[
        float | None, typer.Option(help="Degrees by which pairs are turned at most.", min=0, max=180, rich_help_panel=DATA)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of crops, warps and noise.", min=0, rich_help_panel=DATA)] = 0,
) -> None:
    """Train features, or a matcher for them, on your own photos; an embedding on a gallery's names.

    Interrupt it at will: --resume goes on. OUT/NETWORK.safetensors holds the weights that were best on every tenth photo, which is held
    out, or, with --labels, on every fifth animal; `--weights`, for a matcher `--lightglue-weights`, uses it in every command."""
    from ..report.plots import save_training
    from ..training.run import labelled
    from ..training.run import train as run

    wanted = {"steps": steps, "batch": batch, "rate": rate, "side": side, "rotation": rotation, "begin": begin}
    if network == EMBEDDING:
        given = [name for name in context.params if (said := context.get_parameter_source(name)) and said.name == "COMMANDLINE"]
        others = [f"--{name}" for name in given if name not in ("network", "out", "gallery", "metadata", "cache", "device")]
        if gallery is None or others:
            told = f", and takes no {' and no '.join(others)}" if others else ""
            raise SettingsError(f"an embedding learns names: --gallery FOLDER, with --out, --metadata, --cache and --device{told}")
        _embedding(gallery, out, metadata, cache, device)
        return
    if labels and (gallery is None or photos):
        raise SettingsError("labels are those of a gallery, whose photos are learned from: --labels --gallery FOLDER, without --photos")
    if not labels and (photos is None or gallery):
        raise SettingsError(f"{network} learns from photos without names: --photos FOLDER")
    own: dict[str, Any] = {"weights": weights, "begin": begin or "shipped", "device": device, "table": metadata, "cache": cache}
    with (
        listening() as listener,
        _resumable(),
        nullcontext() if gallery is None else labelled(str(network), gallery, extractor, **own, listener=listener) as session,
    ):
        file, card = run(
            str(network), photos, out, extractor=extractor, weights=weights, every=every, seed=seed, device=device, precision=precision,
            resume=resume, rendered=rendered, labels=session, progress=listener.progress, note=listener.note,
            **{name: value for name, value in wanted.items() if value is not None},
        )  # fmt: skip
    print(f"the weights of step {card['step']} of {card['steps']} were best (score {card['score']:.3f}) and are in {file}")
    if not card["step"]:
        print("nothing that was learned is better than what it began with, which is what the file holds")
    print(f"how it went: {save_training(out)}")


def _embedding(gallery: Path, out: Path, table: Path | None, cache: Path | None, device: Device) -> None:
    from ..training import embedding

    with listening() as listener:
        file, card = embedding.train(gallery, out, table=table, cache=cache, device=device, listener=listener)
    n = f"{card['n_photos']} photos of {card['n_animals']} animals, {card['n_met_again']} of them met again"
    print(f"learned from {n}; the weights are in {file}")
    first, without = (f"{100 * card[name]:.0f} %" for name in ("first", "first_without"))
    print(f"of animals that were left out, {first} of photos found theirs first among the others; {without} by the network as it is")


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("reid: interrupted; the same command with --resume goes on from the last validation", file=sys.stderr)
        raise Told(INTERRUPTED) from None


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel="Networks")(train)
