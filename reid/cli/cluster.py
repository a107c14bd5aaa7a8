"""The command for photos without a catalogue: cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..settings import Settings
from .options import FEATURES, SEARCH, At, Cache, Engine, SkipBad, Table, takes
from .screen import check_writable, impostors_in_words, listening, report_failures, write_csv

if TYPE_CHECKING:
    from ..records import Indexed
    from ..stages import Grouped

COLUMNS = ("path", "identity", "n_photos", "like", "score", "p_impostor", "other", "p_other")


@takes(*FEATURES, *(name for name in SEARCH if name != "second_look"), "match_below")
def cluster(
    photos: Annotated[Path, typer.Argument(help="Folder of photos.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The groups, a CSV file with a row for each photo.", show_default=False)],
    settings: Settings,
    engine: Engine,
    metadata: Table = None,
    cache: Cache = None,
    features: At = None,
    skip_bad: SkipBad = False,
) -> None:
    """Sort photos of animals that nobody has named yet into groups, one an animal.

    Every photo is compared with all others; names of folders and tables do not count, decisions do. Where a table gives names, they are
    compared with the groups. The file can be corrected and kept as the folder's metadata.csv."""
    from .. import session
    from ..evaluation.groups import agreement

    check_writable(out, reads=(photos, metadata))
    with (
        listening() as listener,
        session.open(
            photos, settings, table=metadata, cache=cache, features=features, skip_bad=skip_bad, listener=listener, engine=engine
        ) as opened,
    ):  # fmt: skip
        done = opened.cluster()
    found, impostors = done.photos, done.impostors
    names = _names(found)
    rows = [dict(zip(COLUMNS, _row(one, name, names, photos))) for one, name in zip(found, names, strict=True)]
    write_csv(out, COLUMNS, [[row[name] for name in COLUMNS] for row in sorted(rows, key=lambda row: (row["identity"], row["path"]))])
    sizes = Counter(names)
    alone = sum(n == 1 for n in sizes.values())
    print(f"{len(found)} photos are in {len(sizes) - alone} groups, and {alone} alone; they are in {out}")
    print(f"judged by impostors {impostors_in_words(impostors.source, impostors.n_pairs)}")
    print(
        "nothing here is calibrated: photos are in one group where, in the mean of their pairs, impostors look as alike with a probability "
        f"of {settings.decide.match_below:g} at most. Look at the pairs before you believe it"
    )
    known = [(name, one) for name, one in zip(names, done.written, strict=True) if one is not None]
    if known:
        figures = agreement([name for name, _ in known], [one for _, one in known])
        shown = {name: "-" if value is None else f"{value:.3f}" for name, value in figures.items()}
        print(
            f"of {len(known)} photos that the table names, {len({one for _, one in known})} animals: pairwise precision "
            f"{shown['precision']}, recall {shown['recall']}, adjusted Rand index {shown['rand']}"
        )
    report_failures(done.failures)
    raise typer.Exit(1 if done.failures else 0)


def _names(found: Sequence[Grouped]) -> list[str]:
    """Of each photo's group: the decided name, or a number, the largest groups first."""
    sizes = Counter(one.group for one in found)
    decided = {one.group: one.item.ref.identity for one in found if one.item.ref.identity}
    order = sorted(sizes, key=lambda group: (-sizes[group], group))
    width = len(str(len(order)))
    numbers = {group: f"group-{number:0{width}d}" for number, group in enumerate(order, start=1)}
    return [decided.get(one.group) or numbers[one.group] for one in found]


def _row(one: Grouped, name: str, names: list[str], root: Path) -> tuple[object, ...]:
    from .. import catalogue

    def shown(item: Indexed) -> str:
        return catalogue.way(item.ref.path, root)

    found: list[object] = [shown(one.item), name, names.count(name)]
    like = (None, None, None) if one.like is None else (shown(one.like.item), round(one.like.score, 3), f"{one.like.p_impostor:.4g}")
    other = (None, None) if one.other is None else (shown(one.other.item), f"{one.other.p_impostor:.4g}")
    return *found, *like, *other


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel="Decisions")(cluster)
