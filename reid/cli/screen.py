"""What commands print: progress, tables, failures, and sentences that several of them say."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError

if TYPE_CHECKING:
    from ..engines import Run
    from ..records import Failure
    from ..stages import Listener, Stage

INTERRUPTED = 130  # exit status
UNHEARD = 30.0  # seconds after which a run that tells how far it is every few seconds is not there any more
DRAWN = 0.1  # seconds after which a bar is drawn again: each photo of a million may tell of itself
SILENT = 30.0  # seconds after which a stage says how far it is where there is no terminal


class Told(SystemExit):
    """The end of a command that was interrupted and has said how to go on."""


@contextmanager
def listening() -> Iterator[Listener]:
    """A listener that draws progress bars, with speed and time left, on a terminal; without one it prints a line a stage, and
    one now and then in a long one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from ..stages import Listener

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn()

    class Bars(Listener):
        def __init__(self) -> None:
            self.tasks: dict[str, TaskID] = {}
            self.drawn: dict[str, float] = {}  # when, each by itself: a stage goes on within another
            self.told = time.monotonic()

        def progress(self, what: str, done: int, total: int) -> None:
            if what in self.tasks and done < total and time.monotonic() - self.drawn[what] < DRAWN:
                return
            self.drawn[what] = time.monotonic()
            if what not in self.tasks:
                self.tasks[what] = bars.add_task(what, total=total, speed="")
            task = next(task for task in bars.tasks if task.id == self.tasks[what])
            speed = f"{task.speed:.2g}/s" if task.speed else ""
            bars.update(task.id, completed=done, total=total, speed=speed)
            if done >= total:
                bars.remove_task(self.tasks.pop(what))
            if not console.is_terminal and what != "pairs" and (done >= total or time.monotonic() - self.told > SILENT):
                self.told = time.monotonic()
                console.print(f"{what}: {total if done >= total else f'{done} of {total}'}", markup=False, highlight=False)

        def note(self, text: str) -> None:
            console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield Bars()


def show(*values: Any) -> None:
    """Print tables, or text, on standard output."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 140).print(*values, soft_wrap=not hasattr(values[0], "columns"), highlight=False)


def report_failures(failures: Sequence[Failure]) -> None:
    for failure in failures:
        print(f"reid: not used: {failure.reason}", file=sys.stderr)


def write_json(file: Path, value: Mapping[str, object]) -> None:
    from ..store import write_atomically

    write_atomically(file, (json.dumps(value, indent=1, default=dict) + "\n").encode())


def write_csv(file: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table without formulas, whole or not at all."""
    from ..formats.writing import csv_bytes
    from ..store import write_atomically

    write_atomically(file, csv_bytes(columns, rows))


def check_writable(*files: Path | None, reads: Sequence[Path | None] = (), folder: Path | None = None) -> None:
    """Refuse, before work starts, a place where nothing can be written, two outputs of one name, and what would overwrite a photo, a
    table that is read or any log of decisions, or put pictures (into `folder`) where they would be read as photos the next time. Many disks
    take a name in capitals for the same."""
    from .. import catalogue

    sources = {os.path.realpath(path) for path in reads if path is not None}
    tables = {os.path.realpath(table) for source in sources if os.path.isdir(source) and (table := catalogue.find_table(Path(source)))}
    taken: set[str] = set()
    for file in filter(None, files):
        real = os.path.realpath(file)
        if os.path.isdir(real):
            raise SettingsError(f"{file} is a folder; name a file to write")
        within = os.path.exists(real) and catalogue.is_photo(real) and any(_is_within(real, source) for source in sources)
        if within or any(_is_same(real, one) for one in sources | tables):
            raise SettingsError(f"{file} is a photo or a table that is read; name another file to write")
        if os.path.basename(real).casefold() in catalogue.OWN:
            raise SettingsError(f"{file} is the name of a log of decisions; name another file to write")
        if real.casefold() in taken:
            raise SettingsError(f"{file} is to be written twice; name a file for each")
        _check_place(file, real)
        taken.add(real.casefold())
    if folder is not None:
        real = os.path.realpath(folder)
        if os.path.exists(real) and not os.path.isdir(real):
            raise SettingsError(f"{folder} is a file; name a folder for the pictures")
        _check_place(folder, real)
        inside = next((source for source in sources if os.path.isdir(source) and _is_within(real, source)), None)
        if inside is not None:
            raise SettingsError(f"{folder} lies in {inside}, where its pictures would be read as photos; name a folder elsewhere")


def _is_same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:  # one is not there
        return path == other


def _is_within(real: str, folder: str) -> bool:
    return any(_is_same(str(above), folder) for above in (Path(real), *Path(real).parents))


def _check_place(path: Path, real: str) -> None:
    """Refuse a place where nothing can be written: below a file, or where there is no right to."""
    if os.path.exists(real) and not os.path.isfile(real):  # a folder, or a pipe or a device, which is written into
        above = real
    else:
        above = os.path.dirname(real)
        while not os.path.lexists(above):
            above = os.path.dirname(above)
        if not os.path.isdir(above):
            raise SettingsError(f"{path} cannot be written: {above} is no folder; name another place")
    if not os.access(above, os.W_OK):
        raise SettingsError(f"{path} cannot be written: {above} is read-only; make it writable, or name another place")


def impostors_in_words(source: str, n_pairs: int) -> str:
    return f"from {n_pairs} pairs of different animals of this gallery" if source == "gallery" else f"from {source}"


def calibration_in_words(about: Mapping[str, Any]) -> str:
    pairs = [" = ".join(pair) for pair in about["twins_left_out"]]
    left_out = f"; {len(pairs)} pairs of names that are probably one animal were left out: {', '.join(pairs)}" if pairs else ""
    single = " by 1 photo" if about["top1_by_photos"] else ""
    larger = "".join(f"; by {n} photos of an encounter for {100 * top1:.0f} %" for n, top1 in about["top1_by_photos"].items())
    decided = "" if about.get("decisions") is None else f"; {decisions_in_words(about['decisions'])}"
    right = f"the first individual was right{single} for {100 * about['top1']:.0f} %{larger}"
    return (
        f"calibrated on {about['n_known']} encounters with known animals ({right}) and {about['n_new']} with animals taken out, as if they "
        f"were new{left_out}; {100 * about['prior_new']:.3g} % of the animals to come are expected to be new{decided}"
        + "".join(f"\n{note}" for note in about["notes"])
    )


def losses_in_words(losses: Mapping[Stage, int]) -> str:
    """Where the calibration queries lose their animal, of those that have another encounter."""
    lost = {stage.name: n for stage, n in losses.items()}
    n = sum(lost.values()) - lost["reference"]
    in_view = n - lost["view"]
    listed = in_view - lost["shortlist"]
    return (
        f"of {n} calibration queries whose animal has another encounter {in_view} have a reference of a compatible view, {listed} one on "
        f"the shortlist, {listed - lost['finalists']} one that the first pipeline matches in full; for {lost['first']} it stands first"
    )


def decisions_in_words(about: Mapping[str, Any]) -> str:
    decisions = "1 decision" if about["n"] == 1 else f"{about['n']} decisions, the last of them number {about['last']}"
    return f"labels are those of the table and of {decisions}"


def run_in_words(run: Run) -> Iterator[str]:
    """A run on a cluster, in lines: how far it is, what its workers are at, what has failed."""
    now = time.time()
    ago = f"{now - run.updated:.0f} s ago"
    heard = f"{run.ended}, {ago}" if run.ended else f"heard of {ago}"
    if not run.ended and now - run.updated > UNHEARD:
        is_between = run.done == run.total  # what follows the process that asks may do by itself, and tells nothing meanwhile
        why = "the process that asks works by itself, or is killed" if is_between else "killed, or its machine is gone"
        heard = f"last heard of {ago}: {why}. If it is killed, run the same command again, and it goes on"
    yield f"{run.name}: {run.what}: {run.done} of {run.total}{', ' if run.machines else ''}{run.speed()}; {heard}"
    for one in run.workers:
        yield f"{one['worker']}: shard {one['shard']}, {one['n']} of them, for {now - one['since']:.0f} s"
    for one in run.lost:
        yield f"lost {now - one['when']:.0f} s ago: {one['worker']} with shard {one['shard']}, {one['n']} of them: {one['reason']}"
    for reason in run.unused:
        yield f"not used: {reason}"
