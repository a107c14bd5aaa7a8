"""Options that commands share: the gallery, said the same way everywhere, and an option for each setting.

A command with a parameter `settings` gets its options by `@takes(...)`. Closed sets are enums, so that help, completion and errors list
them; the ten options that matter first stand first, the others in panels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import SettingsError
from ..settings import GROUP_OF, PRESETS, Settings
from .screen import listening

if TYPE_CHECKING:
    from ..session import Session

EXTRACT, MATCH, DECIDE, GALLERY = "Features", "Matching and ranking", "Verdict", "Gallery and what is stored"
CLUSTER = "Cluster"
PANELS = {"extract": EXTRACT, "match": MATCH, "score": MATCH, "decide": DECIDE, "": None}
FIRST = ("device", "top", "encounters")  # settings that stand among the first options
DEFAULTS = Settings()

Gallery = Annotated[
    Path, typer.Option("--gallery", "-g", help="Folder of known animals: a folder for each, or a metadata.csv.", show_default=False)
]
Table = Annotated[
    Path | None,
    typer.Option("--metadata", help="Table of the gallery: csv, xlsx or parquet. (default: the folder's own)", rich_help_panel=GALLERY),
]
Cache = Annotated[Path | None, typer.Option(help="Folder for what is computed. (default: .reid in the gallery)", rich_help_panel=GALLERY)]
At = Annotated[
    str | None,
    typer.Option(
        "--features", help="URL where features are kept, too, for all who name it: s3://bucket/folder, ...", rich_help_panel=GALLERY
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out rows of the table that have a problem, instead of stopping.", rich_help_panel=GALLERY)
]
Join = Annotated[
    list[str] | None,
    typer.Option(help="Read one name as another, as in --join luna=Luna; several times for several names.", rich_help_panel=GALLERY),
]
NamesAsWritten = Annotated[
    bool,
    typer.Option("--names-as-written", help='Take words such as "unknown" or "NA" for names of animals.', rich_help_panel=GALLERY),
]

EngineName = StrEnum("EngineName", ["local", "ray"])
Engine = Callable[..., Any]  # an `engines.Opener`

Observer = Annotated[str | None, typer.Option(help="Who decides. (default: the user's name on this computer)")]

HELP = {  # of every setting, each of which has an option
    "extractor": "Local features; `reid models` lists them.",
    "weights": "File of weights for the extractor, from `reid train`.",
    "max_keypoints": "Keypoints of a photo, the strongest.",
    "resize": "Longest side to which photos are resized, in pixels.",
    "enlarge": "Whether smaller photos are enlarged to --resize.",
    "equalize": "Even out light and haze before features are extracted.",
    "segment": "Find where the animal is, and drop the keypoints beside it.",
    "matcher": "How features are matched; `reid models` lists the matchers.",
    "lightglue_weights": "LightGlue's weights: a file from `reid train`, or a name of `reid models` (aliked-lightglue: as published).",
    "shortlist": "Match only so many references, those with most votes; 0: all.",
    "embedding": "Beside votes chooses the shortlist: ImageNet's network, a file from `reid train embedding`, or none.",
    "second_look": "How many individuals that stand first are looked at again at most, the photo laid on theirs; 0: none.",
    "coarse": "Whether a coarse look at the shortlist chooses the references that are matched in full.",
    "verify": "Keep only matches that agree with one motion of this kind; auto: affine for nearest, none for the others.",
    "ratio": "Lowe's ratio of nearest and adalam, at which a match is as likely right as wrong.",
    "precision": "fast: half precision where the device is faster with it; full: float32.",
    "depth_confidence": "LightGlue stops early when this share of points is sure; -1 runs every layer.",
    "width_confidence": "LightGlue drops points that are this surely unmatchable; -1 keeps all.",
    "sides": "compatible: no left is compared with a right where sides are known; all: every pair is.",
    "mirror": "Compare opposite sides, too, one of them mirrored.",
    "rotations": "Ways in which the query is turned: 1, 2 or 4.",
    "score": "What references are ranked by.",
    "fuse": "Further pipelines whose scores are fused: extractor + matcher or extractor + matcher * weight, with commas between; or none.",
    "min_confidence": "Matches above it are counted and drawn.",
    "impostor_pairs": "Pairs of different animals that the impostor distribution is measured on.",
    "encounters": "Take the photos of one encounter as one query; where no encounter is known, those of one folder.",
    "calibration_queries": "Most queries that calibrate the gallery: photos, or encounters with --encounter.",
    "max_false_match": "Share of new animals that may be called a match, about.",
    "max_false_new": "Share of known animals that may be called new, about.",
    "prior_new": "Probability that the next animal is new; -1: estimated from the gallery, and from 20 encounters or more together.",
    "match_below": "Not calibrated: a match if P(impostor) is at most this. Also what keeps photos of one encounter apart.",
    "new_above": "Not calibrated: new if P(impostor) is at least this.",
    "device": "The device that computes; auto takes the fastest.",
    "top": "Individuals shown for each photo.",
}
NAMES = {"encounters": "encounter"}  # options that are called otherwise than their setting
PREPARED = ("max_keypoints", "resize", "enlarge", "equalize", "segment")
LIGHTGLUE = ("lightglue_weights", "precision", "depth_confidence", "width_confidence")
FEATURES = ("device", "extractor", "weights", *PREPARED, "matcher", "ratio", *LIGHTGLUE, "fuse", "min_confidence", "embedding")
SEARCH = ("score", "verify", "encounters", "sides", "mirror", "rotations", "shortlist", "coarse", "second_look", "impostor_pairs")
PROMISES = ("max_false_match", "max_false_new", "prior_new", "match_below", "new_above")
Preset = StrEnum("Preset", list(PRESETS))  # type: ignore[misc]


def takes(*names: str, preset: bool = True, required: str = "", without: tuple[str, ...] = (), **otherwise: str) -> Callable[
    [Callable[..., None]], Callable[..., None]
]:  # fmt: skip
    """For a command with a parameter `settings`: it gets an option for each of these settings, `--preset` and `--config`; with a parameter
    `engine` those of where the work is done.

    One of its own options may be `required`, and some left out (`without`). `otherwise` are this command's own defaults of settings."""
    base = Settings.of(**otherwise)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: Any) -> None:
            chosen = {name: given.pop(name) for name in names}
            config, presets = given.pop("config"), given.pop("preset", None) or []
            if far:
                given["engine"] = opener(**{name: given.pop(name) for name in ENGINE})
            command(settings=Settings.load(config, [str(one) for one in presets], base, **chosen), **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())
        far = any(one.name == "engine" for one in own)
        own = [one for one in own if one.name not in ("settings", "engine", *without)]
        own = [one.replace(default=inspect.Parameter.empty) if one.name == required else one for one in own]
        shared = [_config(), *([_preset()] if preset else []), *(_option(name, base) for name in names)]
        shared += list(inspect.signature(opener, eval_str=True).parameters.values()) if far else []
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + shared
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def _parameter(name: str, kind: Any, told: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, told])


def _config() -> inspect.Parameter:
    return _parameter("config", Path | None, typer.Option(help="TOML file with settings; options given here win over it."))


def _preset() -> inspect.Parameter:
    told = typer.Option(help="Trade speed for right answers; may be given several times, the later one wins. (default: balanced)")
    return _parameter("preset", list[Preset] | None, told)


def _option(name: str, base: Settings) -> inspect.Parameter:
    default, usual = DEFAULTS.get(name), base.get(name)
    kind: Any = type(default) if isinstance(default, StrEnum) else type(usual)
    option = NAMES.get(name, name).replace("_", "-")
    flag = [f"--{option}/--no-{option}" if default is True else f"--{option}"]
    shown = str(usual).replace(",", ", ").replace("+", " + ")  # so that narrow terminals break it, and do not cut it
    said = HELP[name] + (f" (default: {shown})" if kind is not bool and usual != "" else " (default: yes)" if default is True else "")
    panel = None if name in FIRST else PANELS[GROUP_OF[name]]
    return _parameter(name, kind | None, typer.Option(*flag, help=said, rich_help_panel=panel))


def opener(
    *,
    engine: Annotated[
        EngineName, typer.Option(help="Where the work is done: in this process, or on a Ray cluster.", rich_help_panel=CLUSTER)
    ] = EngineName.local,
    address: Annotated[
        str | None, typer.Option(help="Of the cluster, host:port. (default: this machine's, else one is started)", rich_help_panel=CLUSTER)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Most workers. (default: as many as there is room for)", min=1, rich_help_panel=CLUSTER)
    ] = None,
    cpus_per_worker: Annotated[float, typer.Option(help="Processors of each worker.", min=0.01, rich_help_panel=CLUSTER)] = 1,
    gpus_per_worker: Annotated[
        float, typer.Option(help="GPUs of each worker; 0.5: two workers share one.", min=0, rich_help_panel=CLUSTER)
    ] = 0,
) -> Engine:
    """Where the work is done. Raises SettingsError for options of a cluster without one."""
    from .. import engines

    given = (address, workers, cpus_per_worker, gpus_per_worker) != (None, None, 1, 0)
    if engine is EngineName.local and given:
        raise SettingsError("--address, --workers, --cpus-per-worker and --gpus-per-worker are of a cluster; say --engine ray, too")
    if engine is EngineName.local:
        return engines.local
    return engines.ray(address, workers=workers, cpus=cpus_per_worker, gpus=gpus_per_worker)


ENGINE = tuple(inspect.signature(opener).parameters)


def names_in(text: str, what: str) -> list[str]:
    """Names with commas between. Raises SettingsError where there is none."""
    found = list(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
    if not found:
        raise SettingsError(f"name at least one {what}")
    return found


def joined(pairs: list[str] | None) -> dict[str, str]:
    """What `--join` says. Raises SettingsError."""
    found = {}
    for pair in pairs or []:
        name, equals, other = pair.partition("=")
        if not equals or not name.strip() or not other.strip():
            raise SettingsError(f"--join {pair!r} is not of the form name=other name")
        found[name.strip()] = other.strip()
    return found


@contextmanager
def opening(
    gallery: Path,
    settings: Settings,
    table: Path | None,
    cache: Path | None,
    skip_bad: bool,
    join: list[str] | None,
    names_as_written: bool,
    engine: Engine | None = None,
    features: str | None = None,
) -> Iterator[Session]:
    """The gallery that a command's options name, with a listener of its own. Raises as `session.open`."""
    from .. import engines, session

    with (
        listening() as listener,
        session.open(
            gallery, settings, table=table, cache=cache, features=features, skip_bad=skip_bad, join=joined(join),
            names_as_written=names_as_written, listener=listener, engine=engine or engines.local,
        ) as opened,
    ):  # fmt: skip
        yield opened


def observer_or_user(observer: str | None) -> str:
    """What `--observer` says, or the user's name. Raises SettingsError where nobody can be named."""
    import getpass

    try:
        found = (observer or getpass.getuser()).strip()
    except (OSError, KeyError):
        found = ""
    if not found:
        raise SettingsError("this computer does not say who you are; give your name with --observer")
    return found
