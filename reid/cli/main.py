"""All commands together, and how the program ends."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..errors import GalleryError, ReidError
from . import answers, evaluations, galleries, models, pictures, speed, train

app = typer.Typer(help="Recognise individual animals from photographs.", no_args_is_help=True, pretty_exceptions_enable=False)
for group in (galleries, answers, evaluations, pictures, train, speed):
    group.add_to(app)
app.add_typer(models.app, name="models", rich_help_panel="Networks")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        from .. import __version__

        print(f"reid {__version__}")
        raise typer.Exit()


def main(run: Callable[[], Any] = app) -> None:
    """Run the command line; a user's mistake is one line on standard error, never a traceback."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # threads that wait give the processor away: two runs at once do not fight for it
    for stream in (sys.stdout, sys.stderr):  # file names may hold bytes that are no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        run()
    except GalleryError as error:
        _fail(*error.problems, str(error))
    except ReidError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("reid: interrupted; what is stored stays, run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `reid ... | head`
        sys.stderr.close()
        sys.exit(0)


def _fail(*lines: str) -> None:
    for line in lines:
        print(f"reid: {line}", file=sys.stderr)
    sys.exit(2)
