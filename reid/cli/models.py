"""Commands about the networks' weights."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingsError
from .screen import listening, show

if TYPE_CHECKING:
    from ..stages import Listener

app = typer.Typer(help="List the networks' weights, and fetch those that are not here.", invoke_without_command=True)


@app.callback()
def models(context: typer.Context) -> None:
    """List every network: whether it is here, its size, sha256, licence and source."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from .. import extractors, matchers, weights

    table = Table("weights", "for", "here", "MB", "sha256", "licence", "source")
    for entry in weights.REGISTRY.values():
        file = weights.locate(entry)
        n_bytes = file.stat().st_size if file else entry.n_bytes
        size = f"{n_bytes / 1e6:.1f}" if n_bytes else "not stated"
        table.add_row(entry.name, entry.used_by, "yes" if file else "no", size, entry.sha256[:12], entry.licence, entry.source)
    if any(entry.n_bytes is None and weights.locate(entry) is None for entry in weights.REGISTRY.values()):
        table.caption = "not stated: the publisher gives no size; it is known once the file is here"
    show(table)
    lines = [f"  {name}: {line.about}; {', '.join(matchers.able(name))}" for name, line in extractors.REGISTRY.items()]
    print("extractors, and the matchers each works with:", *lines, sep="\n")
    print("matchers:", *(f"  {name}: {about}" for name, about in matchers.MATCHERS.items()), sep="\n")
    print(f"`reid models fetch NAME` brings what is not here into {weights.cache_folder()}")


@app.command()
def fetch(names: Annotated[list[str], typer.Argument(help="Names from `reid models`.", show_default=False)]) -> None:
    """Fetch weights, check their sha256 and keep them. A download that was cut off goes on where it stopped."""
    from .. import weights

    unknown = [name for name in names if name not in weights.REGISTRY]
    if unknown:
        raise SettingsError(f"unknown weights {unknown[0]!r}; known: {', '.join(weights.REGISTRY)}")
    with listening() as listener:
        for name in names:
            here = weights.locate(weights.REGISTRY[name])
            if here is None or weights.sha256(here) != weights.REGISTRY[name].sha256:
                here = weights.fetch(name, partial(_bytes, listener, name))
            print(f"{name}: {here}")


def _bytes(listener: Listener, name: str, done: int, total: int | None) -> None:
    listener.progress(f"bytes of {name}", done, total or done + 1)
