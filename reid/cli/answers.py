"""Commands that answer who is on a photo: identify, novelty."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..settings import Settings
from .options import FEATURES, GALLERY, PROMISES, SEARCH, At, Cache, Engine, Gallery, Join, NamesAsWritten, SkipBad, Table, opening, takes
from .screen import calibration_in_words, check_writable, decisions_in_words, report_failures, show

if TYPE_CHECKING:
    from ..records import Report
    from ..report.html import Exhibit
    from ..session import Session

ALL = (*FEATURES, *SEARCH, *PROMISES, "top")


def _identify(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos, to identify.", show_default=False)],
    gallery: Gallery,
    settings: Settings,
    engine: Engine,
    csv: Annotated[Path | None, typer.Option(help="Write a CSV file, one row for each candidate.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON; gallery/README.md describes the schema.")] = None,
    matches: Annotated[Path | None, typer.Option(help="Folder for a picture of each query's matching marks.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the novelty report, one HTML page with pictures.")] = None,
    where: Annotated[list[str] | None, typer.Option(help='Search only references with column=value, as in "site=Bonaire".')] = None,
    orientation: Annotated[str | None, typer.Option(help="Search only references of this side or view.", rich_help_panel=GALLERY)] = None,
    metadata: Table = None,
    cache: Cache = None,
    features: At = None,
    skip_bad: SkipBad = False,
    join: Join = None,
    names_as_written: NamesAsWritten = False,
) -> None:
    from ..report import tables
    from ..store import write_atomically

    check_writable(csv, json, report, reads=(*photos, gallery, metadata), folder=matches)
    with opening(gallery, settings, metadata, cache, skip_bad, join, names_as_written, engine=engine, features=features) as opened:
        found = opened.identify(photos, where=where or (), orientation=orientation)
        about = found.gallery
        said = f", filter {about['filter']}" if about["filter"] else ""
        print(f"searched {about['n_references']} photos of {about['n_individuals']} individuals{said}")
        if isinstance(about["decisions"], Mapping):
            print(decisions_in_words(about["decisions"]))
        if isinstance(about["calibration"], Mapping):
            print(calibration_in_words(about["calibration"]))
        elif about["impostors"] != "gallery":
            print(f"the gallery is too small to know how pairs of different animals score; judged by {about['impostors']}")
        if found.rankings:
            show(tables.as_table(found))
            _remark(found, opened)
            if of_copies := _of_copies(found, opened, photos):
                print(of_copies)
        report_failures(found.failures)
        sys.stdout.flush()
        for path, text in ((csv, tables.as_csv), (json, tables.as_json)):  # the table is out already, whatever happens here
            if path is not None:
                write_atomically(path, text(found))
        if matches is not None:
            _draw_all(found, opened, matches)
        if report is not None:
            from ..report import html

            page = html.as_html(found, _Exhibits(found, opened), opened.judges.impostors, opened.health())
            write_atomically(report, page.encode("utf-8", "backslashreplace"))
            print(f"the report is in {report}")
    raise typer.Exit(0 if not found.failures else 1 if found.rankings else 2)


def _remark(found: Report, opened: Session) -> None:
    """What stands below the table."""
    from .. import imaging
    from ..decision import reasons

    for ranking in found.rankings:
        faults = min(map(imaging.shortcomings, ranking.quality), key=len, default=())  # of the best photo
        if faults:
            print(f"{ranking.query_id} is {', '.join(faults)}: known animals are recognised on fewer of such photos")
    if found.new_share is not None:
        print(reasons.of_share(found.new_share))
    folders = [os.path.dirname(ranking.query_id) for ranking in found.rankings]
    if len(set(folders)) < len(folders) and not opened.settings.score.encounters:
        print("if photos of a folder, taken within an hour, show one animal, --encounter asks for them together and recognises more")
    if found.gallery["calibration"] is None:
        way_out = "`reid calibrate`, with the same options for features, matching and --encounter, gives that"
        if lacking := opened.too_few:
            way_out = f"nothing gives that of a gallery so small: {lacking}"
        elif found.gallery["filter"]:
            way_out = "a calibration is of the whole gallery, and only a part of it was searched"
        print(
            "P(impostor): how likely the best of as many photos of other animals looks at least as alike. It is not the probability that "
            f"the animal is new; {way_out}"
        )


def _of_copies(found: Report, opened: Session, photos: Sequence[Path]) -> str | None:
    """What asks who is on photos that are in the gallery, without a name; None where there are none."""
    from ..catalogue.values import counted

    named = {item.digest for item in opened.references if item.ref.identity is not None}  # in another row
    bare = {item.ref.image_id for item in opened.references if item.ref.identity is None and item.digest not in named}
    n = sum(not bare.isdisjoint(ranking.in_gallery) for ranking in found.rankings)
    if not n:
        return None
    places = photos if len(photos) < 4 else dict.fromkeys(path if path.is_dir() else path.parent for path in photos)
    command = shlex.join(["reid", "review", *map(str, places), "--gallery", str(opened.root)])
    what = counted(n, "query is a photo", "queries are photos")
    return f"{what} that the gallery holds already, without a name; next: {command}"


def _draw_all(report: Report, opened: Session, folder: Path) -> None:
    """A picture of each query's best pair."""
    from ..report import pictures

    taken: set[str] = set()
    by_id = {item.ref.image_id: item for item in opened.references}
    for done, ranking in enumerate(report.rankings):
        opened.work.listener.progress("pictures drawn", done, len(report.rankings))
        best = ranking.candidates[0]
        name = pictures.file_name(ranking.query_id)
        while name.casefold() in taken:
            name = f"_{name}"
        taken.add(name.casefold())
        whose = f"{best.identity} ({best.reference_id})" if best.is_individual else best.called
        captions = (f"{ranking.query_id}\nverdict: {ranking.verdict}", f"{whose}\nscore {best.score:.3f}")
        pair = opened.view(opened.queries[best.photo_id], by_id[best.reference_id])
        pictures.save(pictures.of_pair(pair, captions, opened.settings.score.min_confidence), folder / name)
    opened.work.listener.progress("pictures drawn", len(report.rankings), len(report.rankings))


class _Exhibits(Mapping[str, "Sequence[Exhibit]"]):
    """A query's exhibits, drawn when they are needed: hundreds of queries with five pictures each would not fit in memory."""

    def __init__(self, report: Report, opened: Session):
        self.rankings = {ranking.query_id: ranking for ranking in report.rankings}
        self.opened, self.n_drawn = opened, 0
        self.references = {item.ref.image_id: item for item in opened.references}

    def __getitem__(self, query_id: str) -> Sequence[Exhibit]:
        from ..report import pictures
        from ..report.html import MOST, Exhibit

        found = []
        for candidate in self.rankings[query_id].candidates[:MOST]:
            query, reference = self.opened.queries[candidate.photo_id], self.references[candidate.reference_id]
            picture = pictures.of_pair(self.opened.view(query, reference), None, self.opened.settings.score.min_confidence)
            confidence, n_keypoints = self.opened.confidences(query, reference)
            found.append(Exhibit(candidate, picture, confidence, n_keypoints))
        self.n_drawn += 1
        self.opened.work.listener.progress("queries drawn in the report", self.n_drawn, len(self))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.rankings)

    def __len__(self) -> int:
        return len(self.rankings)


def add_to(app: typer.Typer) -> None:
    app.command(
        "identify",
        rich_help_panel="Answers",
        help="Say who is on each photo: the individuals of the gallery, best first, and a verdict.",
    )(takes(*ALL)(_identify))
    app.command(
        "novelty",
        rich_help_panel="Answers",
        help="Write the novelty report: one HTML page with pictures, the animals that are likeliest to be new first.\n\n"
        "Where the gallery is calibrated, it also names photos of the gallery that may have a wrong label, and animals that may be one.",
    )(takes(*ALL, required="report", without=("matches",))(_identify))
