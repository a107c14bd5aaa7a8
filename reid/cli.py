"""The command line: parses, calls, prints. Everything slow is imported when a command runs, so that `--help` answers at once.

Exit status: 0 all done; 1 some photos could not be used; 2 nothing could be done (usage, settings, gallery, weights, disk);
130 interrupted.
"""

from __future__ import annotations

import inspect
import io
import json as jsons
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import GalleryError, ReidError, SettingsError, WeightsError
from .settings import DEVICES, EXACT, PRESETS, SCORES, VERIFY, Settings
from .training import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .calls import Answers
    from .pipeline import Listener
    from .records import Failure, Health, PairMatches, Report
    from .report.html import Exhibit
    from .scoring import Null

app = typer.Typer(
    help="Recognise individual animals from photographs.", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
models = typer.Typer(help="The networks' weights: what is here, where it is from, and how to fetch the rest.", invoke_without_command=True)
app.add_typer(models, name="models")

DEFAULTS = Settings()


def choices(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


Gallery = Annotated[Path, typer.Argument(help="Folder of known animals: a folder per individual, or a metadata.csv.", show_default=False)]
Cache = Annotated[Path | None, typer.Option(help="Folder for what is computed. (default: .reid in the gallery)")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out rows of the table that have a problem, instead of stopping.")]

HELP = {  # of the settings that have an option
    "extractor": "Local features; `reid models` lists them.",
    "matcher": "lightglue, nearest or adalam.",
    "weights": "File of weights for the extractor, from `reid train`.",
    "lightglue_weights": "The same for LightGlue.",
    "also": "Further opinions for the joint score: extractor+matcher, several with commas between, or none.",
    "max_keypoints": "Keypoints a photo, the strongest.",
    "resize": "Longest side of the photos worked on, in pixels.",
    "enlarge": "Enlarge smaller photos to that, or leave them as they are. (default: enlarge)",
    "equalize": "Even out light and haze before features are extracted.",
    "segment": "Guess where the animal is, and drop the keypoints beside it.",
    "device": f"{choices(DEVICES)}.",
    "score": f"{choices(SCORES)}.",
    "encounters": "The photos of one encounter, or of one folder where none is known, are one query.",
    "verify": f"{choices(VERIFY)}: keep the matches that one motion of this kind explains; auto is affine for nearest, else none.",
    "sides": "compatible: compare no left with right where sides are known; all: compare every pair.",
    "mirror": "Compare opposite sides, too, one of them mirrored.",
    "rotations": "Ways in which the query is turned: 1, 2 or 4.",
    "shortlist": "Match only so many references; 0: all.",
    "top": "Individuals shown for each photo.",
    "calibration_queries": "Photos of the gallery that are asked about to calibrate it.",
    "max_false_match": "Share of new animals that may be called a match.",
    "max_false_new": "Share of known animals that may be called new.",
    "prior_new": "Probability that the next animal is new; -1: estimated from the gallery.",
}
PREPARED = "max_keypoints", "resize", "enlarge", "equalize", "segment", "device"
FEATURES = ("extractor", "matcher", "weights", "lightglue_weights", "also", *PREPARED)
ANSWERS = ("preset", *FEATURES, "score", "verify", "encounters", "sides", "mirror", "rotations", "shortlist", "exact")
PROMISES = "max_false_match", "max_false_new", "prior_new"


def takes(*names: str, required: str = "", without: str = "", **otherwise: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """For a command with a parameter `settings`: it gets an option for each of these settings, and `--config`.

    One of its own options may be `required`, and one left out. `otherwise` are settings of this command alone where neither the command
    line nor a file gives them."""
    kinds = {field.name: type(getattr(DEFAULTS, field.name)) for field in fields(Settings)}

    def option(name: str) -> inspect.Parameter:
        if name == "preset":
            told = typer.Option(help=f"{choices(tuple(PRESETS))}: what is given up for speed. (default: balanced)")
            return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, told])
        if name == "exact":
            told = typer.Option("--exact", help="Match every reference through every layer in float32, however long it takes.")
            return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, told])
        option_name = "encounter" if name == "encounters" else name
        switch = f"--{option_name}/--no-{option_name}" if getattr(DEFAULTS, name) is True else f"--{option_name}"
        flag = [switch] if kinds[name] is bool else []
        usual = (DEFAULTS.as_dict() | otherwise)[name]
        told = typer.Option(*flag, help=HELP[name] + ("" if flag or usual == "" else f" (default: {usual})"))
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kinds[name] | None, told])

    told = typer.Option(help="TOML file with settings; options given here win over it.")
    config = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, told])

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: Any) -> None:
            chosen = {name: given.pop(name) for name in names}
            exact = EXACT if chosen.pop("exact", False) else {}
            if given["config"] is None:
                chosen = {name: otherwise.get(name) if value is None else value for name, value in chosen.items()}
            command(settings=Settings.load(given.pop("config"), **(chosen | exact)), **given)

        own = [one for one in inspect.signature(command, eval_str=True).parameters.values() if one.name not in ("settings", without)]
        own = [one.replace(default=inspect.Parameter.empty) if one.name == required else one for one in own]
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + [config, *map(option, names)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


@contextmanager
def _listening() -> Iterator[Listener]:
    """A listener that draws progress bars, with speed and time left, on a terminal; without one it prints a line a stage."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from .pipeline import Listener

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn()

    class Bars(Listener):
        def __init__(self) -> None:
            self.tasks: dict[str, TaskID] = {}

        def progress(self, what: str, done: int, total: int) -> None:
            if what not in self.tasks:
                self.tasks[what] = bars.add_task(what, total=total, speed="")
            task = next(task for task in bars.tasks if task.id == self.tasks[what])
            speed = f"{task.speed:.2g}/s" if task.speed else ""
            bars.update(task.id, completed=done, total=total, speed=speed)
            if done >= total:
                if not console.is_terminal and what != "pairs":
                    console.print(f"{total} {what}", markup=False, highlight=False)
                bars.remove_task(self.tasks.pop(what))

        def note(self, text: str) -> None:
            console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield Bars()


def _print(*values: Any) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 140).print(*values, soft_wrap=not hasattr(values[0], "columns"), highlight=False)


def _report_failures(failures: Sequence[Failure]) -> None:
    for failure in failures:
        print(f"reid: not used: {failure.reason}", file=sys.stderr)


@app.command()
@takes(*FEATURES)
def index(
    gallery: Gallery,
    settings: Settings,
    cache: Cache = None,
    skip_bad: SkipBad = False,
) -> None:
    """Extract and store the features of a gallery. Interrupt it at will: it goes on where it stopped."""
    from . import calls

    with _listening() as listener:
        done = calls.index(gallery, settings, cache=cache, skip_bad=skip_bad, listener=listener)
    print(f"{done.n_photos} photos of {done.n_individuals} individuals are indexed in {done.folder} ({done.n_extracted} of them now)")
    if done.null is not None:
        print(f"null distribution: {_null_in_words(done.null.source, done.null.n_pairs)}")
    if done.calibration is not None:
        print(_calibration_in_words(done.calibration.about()))
    elif done.n_photos:
        print("not calibrated: no probabilities before `reid calibrate` has been run")
    if done.recall is not None and done.recall.n_queries:
        kept = f"the {done.recall.length} of {done.n_photos} references that a photo is matched with"
        print(f"shortlist: {kept} hold its animal in {100 * done.recall.share:.0f} % of {done.recall.n_queries} tries on this gallery")
    _report_failures(done.failures)
    raise typer.Exit(1 if done.failures else 0)


def _null_in_words(source: str, n_pairs: int | None = None) -> str:
    return f"from {n_pairs} pairs of different animals of this gallery" if source == "gallery" and n_pairs else f"from {source}"


def _ask(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos, to identify.", show_default=False)],
    gallery: Annotated[Path, typer.Option(help="Folder of known animals.", show_default=False)],
    csv: Annotated[Path | None, typer.Option(help="Write a row a candidate.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything, in the schema that the README describes.")] = None,
    matches: Annotated[Path | None, typer.Option(help="Folder for a picture of each query's matching marks.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the novelty report, one HTML page with pictures.")] = None,
    where: Annotated[list[str] | None, typer.Option(help='Search only references with column=value, such as "site=Bonaire".')] = None,
    orientation: Annotated[str | None, typer.Option(help="Search only references of this side or view.")] = None,
    settings: Settings = DEFAULTS,
    cache: Cache = None,
    skip_bad: SkipBad = False,
) -> None:
    from . import calls, imaging
    from .report import tables
    from .store import write_atomically

    _check_writable(csv, json, report)
    with _listening() as listener:
        found, answers = calls.identify_and_keep(
            photos, gallery, settings, where=where or (), orientation=orientation, cache=cache, skip_bad=skip_bad, listener=listener
        )
    about = found.gallery
    said = f", filter {about['filter']}" if about["filter"] else ""
    print(f"searched {about['n_references']} photos of {about['n_individuals']} individuals{said}")
    calibration = about["calibration"]
    if isinstance(calibration, dict):
        print(_calibration_in_words(calibration))
    elif about["null"] != "gallery":
        print(f"the gallery is too small to know how strangers score; judged by {about['null']}")
    if found.rankings:
        _print(tables.as_table(found))
        for ranking in found.rankings:
            faults = min(map(imaging.shortcomings, ranking.quality), key=len, default=())  # of the best photo
            if faults:
                print(f"{ranking.query_id} is {', '.join(faults)}: even of known animals fewer such photos are recognised")
        if calibration is None:
            print(
                "strangers: how likely the best of as many photos of other animals looks at least as alike (not the probability of being "
                "new, which takes `reid calibrate`)"
            )
    _report_failures(found.failures)
    sys.stdout.flush()
    for path, text in ((csv, tables.as_csv), (json, tables.as_json)):  # the table is out already, whatever happens here
        if path is not None:
            write_atomically(path, text(found).encode("utf-8", "backslashreplace"))
    if matches is not None:
        with _listening() as listener:
            _draw_all(found, answers, matches, listener)
    if report is not None:
        from .report import html

        with _listening() as listener:
            write_atomically(
                report, html.as_html(found, _Exhibits(found, answers, listener), *_judges(answers)).encode("utf-8", "backslashreplace")
            )
        print(f"the report is in {report}")
    raise typer.Exit(1 if found.failures else 0)


ASKING = (*ANSWERS, *PROMISES, "top")
app.command("identify", help="Who is on each photo? Ranks the individuals of the gallery and says match, unsure or new.")(
    takes(*ASKING)(_ask)
)
app.command(
    "novelty",
    help="Which animals are new? Writes the novelty report: one HTML page to send, with pictures, the likeliest to be new first.\n\n"
    "Where the gallery is calibrated, it also names photos of the gallery that may have a wrong label, and animals that may be one.",
)(takes(*ASKING, required="report", without="matches")(_ask))


def _write_json(file: Path, value: dict[str, Any]) -> None:
    from .store import write_atomically

    write_atomically(file, (jsons.dumps(value, indent=1) + "\n").encode())


def _check_writable(*files: Path | None) -> None:
    """Refuse, before work starts, a name that no file can have."""
    for file in files:
        if file is not None and file.is_dir():
            raise SettingsError(f"{file} is a folder; name a file to write")


def _judges(answers: Answers) -> tuple[Null, Health | None]:
    """What a report's answers were judged by, and what that says about the gallery."""
    from . import rehearsal

    assert answers.null is not None
    if answers.calibration is None:
        return answers.null, None
    return answers.null, rehearsal.health(answers.pipeline, answers.everything, answers.null, answers.calibration)


class _Exhibits(Mapping[str, "Sequence[Exhibit]"]):
    """A query's exhibits, drawn when they are asked for: hundreds of queries with five pictures each would not fit in memory."""

    def __init__(self, report: Report, answers: Answers, listener: Listener):
        self.rankings = {ranking.query_id: ranking for ranking in report.rankings}
        self.answers, self.listener, self.n_drawn = answers, listener, 0

    def __getitem__(self, query_id: str) -> Sequence[Exhibit]:
        from .report.html import MOST, Exhibit

        found = []
        for candidate in self.rankings[query_id].candidates[:MOST]:
            picture, _ = _picture(self.answers, candidate.photo_id, candidate.reference_id, None)
            run, query = self.answers.pipeline, self.answers.queries[candidate.photo_id]
            [confidence] = run.confidences(query, [self.answers.references[candidate.reference_id]])
            found.append(Exhibit(candidate, picture, confidence.astype(float), len(run.load(query))))
        self.n_drawn += 1
        self.listener.progress("pages of the report", self.n_drawn, len(self))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.rankings)

    def __len__(self) -> int:
        return len(self.rankings)


def _calibration_in_words(about: dict[str, Any]) -> str:
    return (
        f"calibrated on {about['n_known']} photos of animals that were met twice (the first individual was right in "
        f"{100 * about['top1']:.0f} %) and on {about['n_new']} whose animal was taken out; the next animal is new with probability "
        f"{about['prior_new']:.2f} before it is looked at"
    )


@app.command()
@takes(*ANSWERS, "calibration_queries")
def calibrate(
    gallery: Gallery,
    metadata: Annotated[Path | None, typer.Option(help="Table of the gallery. (default: GALLERY/metadata.csv)")] = None,
    settings: Settings = DEFAULTS,
    cache: Cache = None,
    skip_bad: SkipBad = False,
) -> None:
    """Learn from the gallery's own photos what a score is worth: photos are asked about without their encounter and without their animal.

    `identify` with the same settings then gives probabilities. Interrupt it at will: it goes on where it stopped."""
    from . import calls

    with _listening() as listener:
        found, failures = calls.calibrate(gallery, settings, table=metadata, cache=cache, skip_bad=skip_bad, listener=listener)
    print(_calibration_in_words(found.about()))
    _report_failures(failures)
    raise typer.Exit(1 if failures else 0)


def _draw_all(report: Report, answers: Answers, folder: Path, listener: Listener) -> None:
    from .report import pictures

    taken: set[str] = set()
    for done, ranking in enumerate(report.rankings):
        listener.progress("pictures", done, len(report.rankings))
        best = ranking.candidates[0]
        captions = (f"{ranking.query_id}\nverdict: {ranking.verdict}", f"{best.identity} ({best.reference_id})\nscore {best.score:.3f}")
        name = pictures.file_name(ranking.query_id)
        while name in taken:
            name = f"_{name}"
        taken.add(name)
        _draw(answers, best.photo_id, best.reference_id, captions, folder / name)
    listener.progress("pictures", len(report.rankings), len(report.rankings))


def _picture(answers: Answers, query_id: str, reference_id: str, captions: tuple[str, str] | None) -> tuple[NDArray[np.uint8], PairMatches]:
    """One pair, drawn by the opinion that speaks for it most, and its matches."""
    from .report import pictures

    query, reference = answers.queries[query_id], answers.references[reference_id]
    run = answers.pipeline if answers.null is None else answers.pipeline.speaker(query, reference, answers.null)
    query, found = run.match_pair(query, reference)
    features = run.load(query), run.load(reference)
    if captions is not None:
        captions = captions[0], f"{captions[1]}, {int((found.confidence > run.settings.min_confidence).sum())} matches"
    return pictures.draw_matches(query.ref, reference.ref, features, found, captions, run.settings.min_confidence), found


def _draw(answers: Answers, query_id: str, reference_id: str, captions: tuple[str, str], path: Path) -> int:
    """Write a picture of one pair; returns the number of matches above the settings' `min_confidence`."""
    picture, found = _picture(answers, query_id, reference_id, captions)
    _save(picture, path)
    return int((found.confidence > answers.pipeline.settings.min_confidence).sum())


def _save(picture: NDArray[np.uint8], path: Path) -> None:
    from .errors import StoreError
    from .report import pictures

    try:
        pictures.save(picture, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


@app.command()
@takes(*FEATURES)
def show(
    query: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    reference: Annotated[Path, typer.Argument(help="Another photo.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The picture. (default: QUERY-REFERENCE-matches.png here)")] = None,
    settings: Settings = DEFAULTS,
) -> None:
    """Draw the matching marks of two photos."""
    import tempfile

    from . import calls

    out = out or Path(f"{query.stem}-{reference.stem}-matches.png")
    with tempfile.TemporaryDirectory() as folder, _listening() as listener:
        answers = calls.show(query, reference, settings, cache=folder, listener=listener)
        a, b = next(iter(answers.queries)), next(iter(answers.references))
        n = _draw(answers, a, b, (query.name, reference.name), out)
        answers.pipeline.digests.close()
    print(f"{n} matches above {settings.min_confidence} are drawn in {out}")


@app.command()
@takes(*FEATURES)
def align(
    query: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    reference: Annotated[Path, typer.Argument(help="Another photo, which stays as it is.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The mosaic. (default: QUERY-REFERENCE-mosaic.png here)")] = None,
    model: Annotated[str, typer.Option(help="homography or affine.")] = "homography",
    settings: Settings = DEFAULTS,
) -> None:
    """Lay one photo on another, of something flat or far away, and draw both as one."""
    from .stages import align as alignment

    out = out or Path(f"{query.stem}-{reference.stem}-mosaic.png")
    _check_writable(out)
    with _listening() as listener:
        found, picture = alignment.align(query, reference, settings, model=model, listener=listener)
    _save(picture, out)
    height, width = picture.shape[:2]
    print(f"{found.n_inliers} of {found.n_matches} matches agree on one {model}; the mosaic, {width} x {height} px, is in {out}")


@app.command()
@takes(*ANSWERS, *PROMISES, "calibration_queries")
def evaluate(
    gallery: Gallery,
    metadata: Annotated[Path | None, typer.Option(help="Table with a split column. (default: GALLERY/metadata.csv)")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots: CMC, ROC, reliability, scores.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many queries.", min=1)] = None,
    settings: Settings = DEFAULTS,
    cache: Cache = None,
) -> None:
    """How often is the answer right? Asks about every query row of the table, calibrated on its reference rows."""
    from . import calls
    from .report import tables

    _check_writable(json)
    with _listening() as listener:
        found, answers = calls.evaluate(gallery, settings, table=metadata, cache=cache, limit=limit, listener=listener)
    for table in tables.of_evaluation(found):
        _print(table)
    seconds = found["seconds_per_query"]
    speed = "all matched before" if seconds is None else f"{seconds:.1f} s a query (median)"
    print(f"{found['n_known']} queries of known animals, {found['n_new']} of new ones; {speed}")
    if isinstance(found["calibration"], dict):
        print(_calibration_in_words(found["calibration"]))
    for verdict, row in found["verdicts"].items():
        print(f"verdict {verdict}: {row['right']} known and right, {row['wrong']} known and wrong, {row['new']} new")
    if json is not None:
        _write_json(json, found)
    if plots is not None:
        from .report import plots as plotting

        print("plots:", *plotting.save_all(answers, plots))
    for failure in found["failures"]:
        print(f"reid: not used: {failure['reason']}", file=sys.stderr)
    raise typer.Exit(1 if found["failures"] else 0)


@app.command()
@takes(*(name for name in ANSWERS if name not in ("extractor", "matcher")), also="none")
def compare(
    gallery: Gallery,
    extractors: Annotated[str, typer.Option(help="Names from `reid models`, with commas.")] = "aliked-n16,disk,sift",
    matchers: Annotated[str, typer.Option(help="lightglue, nearest, adalam, with commas.")] = "lightglue,nearest",
    metadata: Annotated[Path | None, typer.Option(help="Table with a split column. (default: GALLERY/metadata.csv)")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures of each.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many queries.", min=1)] = None,
    settings: Settings = DEFAULTS,
    cache: Cache = None,
) -> None:
    """Which features and which matcher recognise these animals best? Evaluates each pair on the same queries, as a table."""
    from . import calls
    from .report import tables

    if not extractors.strip(", ") or not matchers.strip(", "):
        raise SettingsError("name at least one extractor and one matcher")
    _check_writable(json)
    found: dict[str, Any] = {}
    missing = []
    for extractor in filter(None, map(str.strip, extractors.split(","))):
        for matcher in filter(None, map(str.strip, matchers.split(","))):
            one = settings.replace(extractor=extractor, matcher=matcher, calibration_queries=0)
            name = calls.opinions(one)
            try:
                with _listening() as listener:
                    listener.note(name)
                    found[name], _ = calls.evaluate(gallery, one, table=metadata, cache=cache, limit=limit, listener=listener)
            except (SettingsError, WeightsError) as error:  # it cannot work together, or its weights are not here
                missing.append(f"{extractor} + {matcher}: {error}")
    if found:
        _print(tables.of_comparison(found))
    for line in missing:
        print(f"reid: left out {line}", file=sys.stderr)
    if json is not None:
        _write_json(json, found)
    raise typer.Exit(2 if not found else 1 if missing else 0)


@app.command()
@takes(*FEATURES)
def bench(
    what: Annotated[str, typer.Argument(help="matching, extraction, shortlist or identify.", show_default=False)],
    gallery: Annotated[Path | None, typer.Option(help="Photos to measure on. (default: drawn noise)")] = None,
    json: Annotated[Path | None, typer.Option(help="Write rows and machine.")] = None,
    settings: Settings = DEFAULTS,
    cache: Cache = None,
) -> None:
    """How fast is it on this machine, beside kornia's networks? Both run in turn; a ratio above 1 says that reid is faster."""
    from rich.table import Table

    from .evaluation import speed as benchmark

    if what not in benchmark.BENCHES:
        raise SettingsError(f"unknown benchmark {what!r}; known: {', '.join(benchmark.BENCHES)}")
    with _listening() as listener:
        found = benchmark.run(what, gallery, settings, cache, listener)
    here = found["machine"]
    title = f"{here['processor']}, {here['threads']} threads, {here['instructions']}, fast precision {here['precision']}"
    table = Table("what", "unit", "reid", "kornia", "ratio", title=title)
    for row in found["rows"]:
        figures = ("-" if row[key] is None else f"{row[key]:.4g}" for key in ("ours", "peer", "ratio"))
        table.add_row(row["name"], row["unit"], *figures)
    _print(table)
    if json is not None:
        _write_json(json, found)


@app.command()
def features(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Sequences as HPatches or Oxford has them.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Your own gallery or folder of photos instead, warped at random.")] = None,
    extractors: Annotated[
        str,
        typer.Option(
            help="With commas: names from `reid models`, NAME=FILE for weights from `reid train`, harris, shi-tomasi, fast, orb or random."
        ),
    ] = "aliked-n16,disk,sift,orb,harris,random",
    protocol: Annotated[str, typer.Option(help="oxford: photos at --resize; hpatches: as SuperPoint was measured.")] = "oxford",
    resize: Annotated[int, typer.Option(help="Longest side of the photos, in pixels.", min=64, max=8192)] = 640,
    max_keypoints: Annotated[int, typer.Option(help="Keypoints a photo, the strongest.", min=8, max=20000)] = 1000,
    limit: Annotated[int, typer.Option(help="Only so many of your own photos.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Of the warps.", min=0)] = 0,
    device: Annotated[str, typer.Option(help=f"{choices(DEVICES)}.")] = "auto",
    json: Annotated[Path | None, typer.Option(help="Write the figures.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots: repeatability, matches, homographies.")] = None,
) -> None:
    """How good are local features where the true homography is known? Repeatability, matches and homographies of each, as tables."""
    from .evaluation import features as benchmark
    from .report import tables

    names = list(dict.fromkeys(filter(None, map(str.strip, extractors.split(",")))))
    if not names:
        raise SettingsError("name at least one extractor")
    _check_writable(json)
    with _listening() as listener:
        found, measured = benchmark.run(
            folder, names, photos=photos, protocol_name=protocol, resize=resize, max_keypoints=max_keypoints, limit=limit, seed=seed,
            device=device, listener=listener,
        )  # fmt: skip
    for table in tables.of_features(found["rows"]):
        _print(table)
    for row in found["rows"]:
        if row["n_undefined"] and row["change"] == "all":
            print(f"{row['extractor']}: {row['n_undefined']} of {row['n_pairs']} pairs have no point in both photos, and no repeatability")
    if json is not None:
        _write_json(json, found)
    if plots is not None:
        from .report import plots as plotting

        print("plots:", *plotting.save_features(found["rows"], measured, plots))


@app.command()
def train(
    network: Annotated[str, typer.Argument(help=f"{choices(tuple(METHODS))}.", show_default=False)],
    photos: Annotated[Path, typer.Option(help="Gallery or folder of photos; no labels are needed.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for weights, log and checkpoint.", show_default=False)],
    steps: Annotated[int | None, typer.Option(help="How long, each stage of it.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Pairs a step.", min=1)] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate, until it falls.", min=1e-9)] = None,
    side: Annotated[int | None, typer.Option(help="Side of the crops, in pixels, a multiple of 32.", min=64)] = None,
    rotation: Annotated[float | None, typer.Option(help="Degrees by which pairs are turned at most.", min=0, max=180)] = None,
    begin: Annotated[str | None, typer.Option(help="shipped, scratch, a file of weights, or the extractor to go on from.")] = None,
    extractor: Annotated[str, typer.Option(help="Whose features LightGlue is trained for.")] = "",
    weights: Annotated[str, typer.Option(help="File of that extractor's weights, from an earlier training.")] = "",
    every: Annotated[int, typer.Option(help="Steps between validations, each with a checkpoint.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Of crops, warps and noise.", min=0)] = 0,
    device: Annotated[str, typer.Option(help=f"{choices(DEVICES)}.")] = "auto",
    precision: Annotated[str, typer.Option(help="fast: bfloat16 where the device is faster with it; full: float32.")] = "fast",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
) -> None:
    """Train features, or a matcher for them, on your own photos. Interrupt it at will: --resume goes on.

    OUT/NETWORK.safetensors holds the weights that were best on every tenth photo, which is held out; `--weights`, for a
    matcher `--lightglue-weights`, takes it everywhere."""
    from .report.plots import save_training
    from .training.run import train as run

    wanted = {"steps": steps, "batch": batch, "rate": rate, "side": side, "rotation": rotation, "begin": begin}
    with _listening() as listener, _resumable():
        file, card = run(
            network, photos, out, extractor=extractor, weights=weights, every=every, seed=seed, device=device, precision=precision,
            resume=resume, progress=listener.progress, note=listener.note,
            **{name: value for name, value in wanted.items() if value is not None},
        )  # fmt: skip
    print(f"the weights of step {card['step']} of {card['steps']} were best (score {card['score']:.3f}) and are in {file}")
    print(f"how it went: {save_training(out)}")


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("reid: interrupted; the same command with --resume goes on from the last validation", file=sys.stderr)
        raise typer.Exit(130) from None


@models.callback()
def models_list(context: typer.Context) -> None:
    """Every network: is it here, its size, sha256, licence and source."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from . import extractors, matchers, weights

    table = Table("weights", "for", "here", "MB", "sha256", "licence", "source")
    for entry in weights.REGISTRY.values():
        here = "yes" if weights.locate(entry) else "no"
        size = f"{entry.n_bytes / 1e6:.1f}" if entry.n_bytes else "?"
        table.add_row(entry.name, entry.used_by, here, size, entry.sha256[:12], entry.licence, entry.source)
    _print(table)
    lines = [
        f"  {name}: {line.about}; {'lightglue, ' if line.lightglue else ''}nearest, adalam" for name, line in extractors.REGISTRY.items()
    ]
    print("extractors, and the matchers each works with:", *lines, sep="\n")
    print("matchers:", *(f"  {name}: {about}" for name, about in matchers.MATCHERS.items()), sep="\n")
    print(f"`reid models fetch NAME` brings what is not here into {weights.cache_folder()}")


@models.command("fetch")
def models_fetch(names: Annotated[list[str], typer.Argument(help="Names from `reid models`.", show_default=False)]) -> None:
    """Fetch weights, check their sha256 and keep them. A download cut off goes on where it stopped."""
    from . import weights

    unknown = [name for name in names if name not in weights.REGISTRY]
    if unknown:
        raise SettingsError(f"unknown weights {unknown[0]!r}; known: {', '.join(weights.REGISTRY)}")
    with _listening() as listener:
        for name in names:
            here = weights.locate(weights.REGISTRY[name])
            if here is None or weights.sha256(here) != weights.REGISTRY[name].sha256:
                here = weights.fetch(name, partial(_bytes, listener, name))
            print(f"{name}: {here}")


def _bytes(listener: Listener, name: str, done: int, total: int | None) -> None:
    listener.progress(f"bytes of {name}", done, total or done + 1)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"reid {installed('reid')}")
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
