"""All commands together, and how the program ends."""

from __future__ import annotations

import difflib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ..errors import GalleryError, ReidError
from . import answers, cluster, decisions, duplicates, evaluations, exchange, galleries, models, pictures, review, speed, train, upkeep
from .screen import INTERRUPTED, Told


class Commands(TyperGroup):
    """All commands; a value that an option does not know is told in plain words, with the one that may be meant."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # Pydantic's words
            if wrong := re.fullmatch(r"'(.*)' is not one of (.*)\.", error.message, re.DOTALL):
                near = difflib.get_close_matches(wrong[1].lower(), re.findall(r"'([^']*)'", wrong[2]), n=1)
                error.message += f" Did you mean {near[0]}?" if near else ""
            raise


app = typer.Typer(cls=Commands, help="Recognise individual animals from photographs.", no_args_is_help=True, pretty_exceptions_enable=False)
for group in (galleries, upkeep, exchange, answers, review, duplicates, decisions, cluster, evaluations, pictures, train, speed):
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
    warnings.filterwarnings("ignore", module="PIL")  # of photos that are damaged, which is told
    pipes: list[_Pipe] = []
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed, as by >&-
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.isatty():  # on Windows a console, which takes text and no bytes
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # file names may hold bytes that are no text
        else:
            pipes.append(_Pipe(stream.fileno(), "w", closefd=False))
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(pipes[-1]), stream.encoding, "backslashreplace", line_buffering=True))
    try:
        run()
    except GalleryError as error:
        for note in error.notes:
            print(f"note: {note}", file=sys.stderr)
        _fail(*error.problems, str(error))
    except ReidError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}; mend that and run again, what is stored stays")
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED and not isinstance(end, Told):  # Typer has made it of a KeyboardInterrupt
            _interrupted()
        folder = _gallery_meant(sys.argv[1:]) if end.code == 2 else None
        if folder is not None:
            print(f"reid: did you mean --gallery {folder}?", file=sys.stderr)
        raise
    finally:
        sys.stdout.flush()
        if any(pipe.is_full for pipe in pipes):
            _fail("not all could be written to the standard output, which is full; what was to be stored is")


def _gallery_meant(words: list[str]) -> str | None:
    """The folder after a command that takes no folder but its gallery, where that is not said."""
    if words[:1] not in (["index"], ["calibrate"], ["evaluate"], ["compare"]) or {"--gallery", "-g"} & set(words):
        return None
    return next((word for word in words[1:] if os.path.isdir(word)), None)


class _Pipe(io.FileIO):
    """A stream whose reader may leave, as `| head` does, or that may be full: the work goes on, and its files are written."""

    is_full = False

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)
        except OSError:
            self.is_full = True
            return len(data)


def _interrupted() -> NoReturn:
    print("reid: interrupted; what is stored stays, run the same command again to go on", file=sys.stderr)
    sys.exit(INTERRUPTED)


def _fail(*lines: str) -> None:
    for line in lines:
        print(f"reid: {line}", file=sys.stderr)
    sys.exit(2)
