"""The command that finds animals under two names and photos under a wrong one, and writes down what is decided of them: duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DecisionError, GalleryError, SettingsError
from ..settings import Settings
from .options import (
    FEATURES,
    SEARCH,
    At,
    Cache,
    Engine,
    Gallery,
    Join,
    NamesAsWritten,
    Observer,
    SkipBad,
    Table,
    observer_or_user,
    opening,
    takes,
)
from .screen import check_writable, report_failures, show, write_csv

if TYPE_CHECKING:
    from ..catalogue import Decision, Kind
    from ..records import Health, PhotoRef
    from ..session import Session
    from ..stages import PairView

COLUMNS = ("suspicion", "individual", "other", "p_same", "score", "own_score", "photo", "reference")
Row = tuple[str, str, str, float | str, float | str, float | str, str, str]


@takes(*FEATURES, *SEARCH)
def duplicates(
    gallery: Gallery,
    settings: Settings,
    engine: Engine,
    csv: Annotated[Path | None, typer.Option(help="Write a CSV file, a row for each suspicion.")] = None,
    matches: Annotated[Path | None, typer.Option(help="Folder for a picture of each pair's matching marks.")] = None,
    merge: Annotated[
        tuple[str, str] | None, typer.Option(help="Decide that two animals are one; it is called by the first name.", show_default=False)
    ] = None,
    keep_apart: Annotated[
        tuple[str, str] | None, typer.Option(help="Decide that two animals are two; they are not named again.", show_default=False)
    ] = None,
    queries: Annotated[int | None, typer.Option(help="Try only so many photos. (default: all)", min=1)] = None,
    observer: Observer = None,
    metadata: Table = None,
    cache: Cache = None,
    features: At = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    """Find animals of a gallery that may be one, and photos that may have a wrong name.

    Each photo of the calibrated gallery is identified without its encounter. Animals that somebody has called new, and that were met once
    since, are shown with the animal that each is most like, however little. With --merge or --keep-apart nothing is looked for: the
    decision is written down, and `reid decisions --undo` takes it back."""
    check_writable(csv, reads=(gallery, metadata), folder=matches)
    with opening(gallery, settings, metadata, cache, skip_bad, join, names_as_written, engine=engine, features=features) as opened:
        if merge is not None or keep_apart is not None:
            _decide(opened, merge, keep_apart, observer_or_user(observer))
            return
        found = opened.health(queries or len(opened.references))
        if found is None:
            raise GalleryError(f"{gallery} is not calibrated, and nothing says which likeness is suspicious; run `reid calibrate` before")
        rows = list(_suspicions(found))
        show(_as_table(rows, found.n_queries))
        if csv is not None:
            write_csv(csv, COLUMNS, rows)
        if matches is not None:
            _draw(opened, rows, matches)
        report_failures(opened.failures)
        raise typer.Exit(1 if opened.failures else 0)


def _suspicions(found: Health) -> Iterator[Row]:
    for suspicion, pairs in (("one animal", found.twins), ("called new", found.newcomers)):
        for pair in pairs:
            yield suspicion, *pair.identities, round(pair.p_same, 4), "", "", *pair.references
    for one in found.mislabels:
        like = one.looks_like
        scores = round(like.score, 3), round(one.score, 3)
        yield "wrong name", one.identity, like.identity, "", *scores, one.reference_id, like.reference_id


def _as_table(rows: Sequence[Row], n_queries: int) -> object:
    from rich.markup import escape
    from rich.table import Table as Columns

    if not rows:
        return f"nothing is suspicious about the labels of {n_queries} photos or encounters that were tried"
    table = Columns("suspicion", "individual", "may be", "P(same)", "score", "with its own", "photo", "looks like")
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row))
    table.caption = (
        f"{n_queries} photos or encounters were tried. These are suspicions, not findings: look at the pictures of --matches, "
        "then decide with --merge or --keep-apart"
    )
    return table


def _draw(opened: Session, rows: Sequence[Row], folder: Path) -> None:
    from ..report import pictures

    by_id = {item.ref.image_id: item for item in opened.references}
    for number, (suspicion, own, other, *_, photo, reference) in enumerate(rows, start=1):
        pair: PairView = opened.view(by_id[photo], by_id[reference])
        picture = pictures.of_pair(pair, (f"{own} ({photo})\n{suspicion}?", f"{other} ({reference})"), opened.settings.score.min_confidence)
        pictures.save(picture, folder / f"{number:03d} {pictures.file_name(f'{own} {other}')}")


def _decide(opened: Session, merge: tuple[str, str] | None, keep_apart: tuple[str, str] | None, observer: str) -> None:
    if merge is not None and keep_apart is not None:
        raise SettingsError("give --merge or --keep-apart, not both at once")
    from ..catalogue import Kind

    kind, names = (Kind.MERGE, merge) if merge is not None else (Kind.DIFFERENT, keep_apart or ("", ""))
    done = decide_of_animals(opened, kind, names, observer)
    what = f"{names[1]} is {names[0]}" if merge is not None else f"{names[0]} and {names[1]} are two animals"
    print(f"decision {done.number} by {done.observer}: {what}; `reid decisions --take-back {done.number}` takes it back")


def decide_of_animals(opened: Session, kind: Kind, names: tuple[str, str], observer: str) -> Decision:
    """Write down a merge, or that two animals are different, by the first photo of each. Raises DecisionError."""
    from ..catalogue import Kind

    first: dict[str | None, PhotoRef] = {}
    for ref in sorted(opened.gallery.references, key=lambda ref: ref.image_id):
        first.setdefault(ref.identity, ref)
    for name in names:
        if name not in first:
            raise DecisionError(f"no animal is called {name!r}; names are those that `reid duplicates` shows")
    if names[0] == names[1]:
        raise DecisionError(f"{names[0]!r} is one animal already; name two")
    found = opened.gallery.labels
    before = None if found is None else found.animals_apart.get((min(names), max(names)))
    if before is not None and kind is Kind.MERGE:
        told = f"decision {before} keeps {names[0]} and {names[1]} apart"
        raise DecisionError(f"{told}; take it back first, with `reid decisions --take-back {before}`")
    keys = [opened.key(first[name]) for name in names]
    evidence = {"animals": list(names)}
    return opened.decisions.append(kind, keys, observer=observer, value=names[0] if kind is Kind.MERGE else "", evidence=evidence)


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel="Decisions")(duplicates)
