"""The command that shows what people have decided, and takes it back: decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DecisionError, SettingsError
from ..settings import Settings
from .options import Cache, Gallery, Join, NamesAsWritten, Observer, SkipBad, Table, observer_or_user, opening, takes
from .screen import check_writable, decisions_in_words, show, write_csv

if TYPE_CHECKING:
    from ..catalogue import Decision

SHOWN = 40  # decisions on the screen; --csv has all
SHOWN_AFTER = 5  # once one was taken back or brought back
COLUMNS = ("number", "when", "observer", "kind", "photos", "value", "counts", "undoes", "digests", "evidence")


@takes(preset=False)
def decisions(
    gallery: Gallery,
    settings: Settings,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back the observer's last decision, or all that were taken at once; again, what was before.")
    ] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Bring back what the observer's last --undo took.")] = False,
    take_back: Annotated[int | None, typer.Option(help="Take back the decision of this number alone, whoever made it.", min=1)] = None,
    observer: Observer = None,
    csv: Annotated[Path | None, typer.Option(help="Write the whole history as CSV.")] = None,
    metadata: Table = None,
    cache: Cache = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    """Show what people have decided about a gallery, and what of it contradicts; take decisions back.

    Nothing is ever lost: a decision that is taken back stays in the history, and so does who took it back."""
    if undo + redo + (take_back is not None) > 1:
        raise SettingsError("give one of --undo, --redo and --take-back")
    check_writable(csv, reads=(gallery, metadata))
    with opening(gallery, settings, metadata, cache, skip_bad, join, names_as_written) as opened:
        log, who = opened.decisions, observer_or_user(observer)
        done = None
        if undo or redo or take_back is not None:
            done = log.redo(who) if redo else log.undo(who, *filter(None, (take_back,)))
            if done is None:
                raise DecisionError(f"{who} has nothing to {'bring back' if redo else 'take back'}; --observer names somebody else")
        history = log.history()
        if done is not None:
            print(_done(done, history))
        counting = {one.number for one in log.effective()}
        if csv is not None:
            write_csv(csv, COLUMNS, _table(history, counting))
        if not history:
            print(f"nobody has decided anything about {gallery}")
            return
        _show_history(history, counting, SHOWN if done is None else SHOWN_AFTER)
        found = opened.gallery.labels
        if found is not None:
            print(decisions_in_words(found.about()))
            for one in found.contradictions:
                print(f"contradiction: {one}")


def _done(undo: Decision, history: Sequence[Decision]) -> str:
    """What an undo, with what was written down at once with it, has changed."""
    from ..catalogue.decisions import at_once, effective

    ends = at_once(undo, history)[0].number - 1, undo.number
    before, now = ({one.number for one in effective(history[:end])} for end in ends)
    changes = {"took back": before - now, "brought back": now - before}
    return "; ".join(f"{what} {_said([history[number - 1] for number in numbers])}" for what, numbers in changes.items() if numbers)


def _said(taken: Sequence[Decision]) -> str:
    """Decisions in words."""
    from ..catalogue.decisions import at_once
    from ..catalogue.values import counted, some

    taken = sorted(taken, key=lambda one: one.number)
    rows = list(_rows(taken, set()))
    what = some([" ".join(filter(None, (kind, value, photos))) for _, _, _, kind, photos, value, _ in rows])
    numbers = f"decision {rows[0][0]}"
    if len(rows) > 1 and len(at_once(taken[0], taken)) == len(rows):
        numbers = f"{counted(len(rows), 'decision')} that were taken at once, {rows[0][0]} to {rows[-1][0]},"
    elif len(rows) > 1:
        numbers = f"{counted(len(rows), 'decision')}, {', '.join(row[0] for row in rows[:-1])} and {rows[-1][0]},"
    return f"{numbers} by {' and '.join(dict.fromkeys(who for _, _, who, *_ in rows))}: {what}"


def _rows(history: Sequence[Decision], counting: set[int]) -> Iterator[tuple[str, ...]]:
    for one in history:
        what = f"takes back {one.undoes}" if one.undoes is not None else ", ".join(photo.image_id for photo in one.photos)
        counts = "" if one.undoes is not None else "yes" if one.number in counting else "taken back"
        yield str(one.number), one.when.isoformat(" ", "seconds"), one.observer, str(one.kind), what, one.value, counts


def _show_history(history: Sequence[Decision], counting: set[int], most: int) -> None:
    from rich.markup import escape
    from rich.table import Table as Columns

    from ..decision.reasons import of_estimated_side

    table = Columns("number", "when", "who", "what", "photos", "value", "counts")
    for one, (*row, value, counts) in list(zip(history, _rows(history, counting), strict=True))[-most:]:
        estimated = of_estimated_side(one.evidence)
        table.add_row(*map(escape, (*row, f"{value} ({estimated})" if estimated else value, counts)))
    if len(history) > most:
        table.caption = f"the last {most} of {len(history):,}; --csv writes all of them"
    show(table)


def _table(history: Sequence[Decision], counting: set[int]) -> Iterator[tuple[object, ...]]:
    import json

    for one, row in zip(history, _rows(history, counting), strict=True):
        digests = " ".join(photo.digest for photo in one.photos)
        yield (*row, one.undoes or "", digests, json.dumps(one.evidence, ensure_ascii=False))


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel="Decisions")(decisions)
