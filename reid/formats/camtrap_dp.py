"""Camtrap DP 1.0: a folder with datapackage.json, deployments, media and observations (a zip is unpacked first).

In: a row for each observation of an animal, with its photo. Out: the user's own package again, a copy of it, with `individualID` filled.
Deployments and media stay as they are, since nothing here knows them better. https://camtrap-dp.tdwg.org"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from ..catalogue import Gallery, is_photo
from ..catalogue.table import Table, read_csv, read_table
from ..catalogue.values import counted, disarmed
from ..errors import GalleryError, PhotoError, SettingsError
from ..imaging import photo_size
from ..records import PhotoRef
from .archive import leads_out, unpacked_if_zip
from .described import given, photos
from .source import Look, Options, Row, Source, of_rows
from .writing import ExportOptions, Written, check_free, write_folder

TAKES = ("package",)
PACKAGE = "datapackage.json"
TABLES = {
    "deployments": ("deploymentID",),
    "media": ("mediaID", "deploymentID", "timestamp", "filePath"),
    "observations": ("observationID", "deploymentID", "observationLevel", "observationType"),
}
MISSING = ("", "NA", "NaN", "nan")  # the values that the standard names; `blank` is a type of observation
BOX = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")
MEANINGS = {
    "path": "filePath", "identity": "individualID", "date": "timestamp", "encounter": "eventID", "bbox": ", ".join(BOX),
    "species": "scientificName", "site": "locationName",
}  # fmt: skip
KEPT = ("observationID", "mediaID", "deploymentID", "count", "lifeStage", "sex", "behavior", "observationTags", "observationComments")
SAME_BOX = 0.5  # intersection over union from which two boxes are of one animal
Cells = Mapping[str, str]


@dataclass(frozen=True)
class Package:
    """The tables of a package, rows with their lines."""

    root: Path
    files: Mapping[str, Path]
    tables: Mapping[str, Table]

    def rows(self, name: str) -> Iterator[tuple[str, Cells]]:
        """Cells that say nothing are blank."""
        table = self.tables[name]
        for where, cells in table.rows:
            given = ("" if value in MISSING else value for value in cells)
            yield f"{self.files[name].name}, {where}", dict.fromkeys(table.columns, "") | dict(zip(table.columns, given))


def recognises(look: Look) -> bool:
    return (look.path / PACKAGE).is_file() if look.is_folder else look.path.name == PACKAGE


def opened(path: Path) -> Package:
    """Raises GalleryError, with every table or column that is missing."""
    root = path if path.is_dir() else path.parent
    value = Look(root / PACKAGE).json
    listed = value.get("resources") if isinstance(value, dict) else None
    resources = {str(one.get("name")): one.get("path") for one in listed if isinstance(one, dict)} if isinstance(listed, list) else {}
    files, tables, problems = {}, {}, []
    for name, columns in TABLES.items():
        there = resources.get(name, f"{name}.csv")
        parts = PurePosixPath(there).parts if isinstance(there, str) else ("..",)
        if not parts or ".." in parts or PurePosixPath(str(there)).is_absolute() or "://" in str(there) or "\\" in str(there):
            problems.append(f"{root / PACKAGE}: resource {name} lies at {there!r}, not in the package; fetch it, and write its place")
            continue
        files[name] = root / str(there)
        try:
            tables[name] = read_table(files[name])
        except GalleryError as error:
            problems += [*error.problems, str(error)]
            continue
        except ValueError:  # a name that no file system takes
            problems.append(f"{root / PACKAGE}: resource {name} lies at {there!r}, which is no name of a file")
            continue
        missing = [column for column in columns if column not in tables[name].columns]
        problems += [f"{files[name]}: column {column!r} is missing" for column in missing]
    if problems:
        raise GalleryError(f"{root}: {counted(len(problems), 'problem')}", tuple(problems))
    return Package(root, files, tables)


def read(look: Look, options: Options) -> Source:
    package = opened(look.path)
    deployments = {row["deploymentID"]: row for _, row in package.rows("deployments")}
    media = {row["mediaID"]: row for _, row in package.rows("media")}
    problems: list[str] = []
    passed: Counter[str] = Counter()
    rows: list[Row] = []
    later: list[tuple[str, Cells]] = []
    for where, row in package.rows("observations"):
        if row["observationType"] != "animal":
            passed[f"observation of type {row['observationType'] or 'none'}"] += 1
        elif _is_group(row):
            passed["observation of several animals (count)"] += 1
        elif not row.get("mediaID"):
            later.append((where, row))
        elif row["mediaID"] not in media:
            problems.append(f"{package.root}, {where}: there is no medium {row['mediaID']!r} in media.csv (column mediaID)")
        else:
            rows.append((where, _cells(row, media[row["mediaID"]], deployments)))
    covered = {row["mediaID"] for _, row in rows}
    by_time = _ByTime(media.values()) if later else None
    for where, row in later:  # of an event: every photo of it that no observation names by itself
        own = [one for one in by_time.of(row) if one["mediaID"] not in covered] if by_time else []
        rows += [(where, _cells(row, one, deployments)) for one in own]
        if not own:
            passed["observation of an event without photos of its own"] += 1
    images = [(where, row) for where, row in rows if is_photo(PurePosixPath(row["filePath"].replace("\\", "/")).name)]
    passed["observation of a film or a sound"] = len(rows) - len(images)
    plural = {what: what.replace("observation", "observations", 1) for what in passed}
    notes = [f"{package.root}: {counted(n, what, plural[what])} left out" for what, n in passed.items() if n]
    look = Look(package.root)
    return of_rows(look, options, MEANINGS, images, notes, problems)


def _cells(row: Cells, medium: Cells, deployments: Mapping[str, Cells]) -> dict[str, str]:
    deployment = deployments.get(medium["deploymentID"], {})
    path = medium["filePath"]
    if "://" in path:  # an address; the photo is looked for by its name
        path = medium.get("fileName") or path.rpartition("/")[2]
    box = [row.get(name, "") for name in BOX]
    return {
        "filePath": path,
        "individualID": row.get("individualID", ""),
        "timestamp": medium["timestamp"] or row.get("eventStart", ""),
        "eventID": row.get("eventID", ""),
        MEANINGS["bbox"]: f"[{', '.join(value or 'nan' for value in box)}]" if any(box) else "",
        "scientificName": row.get("scientificName", ""),
        "locationName": deployment.get("locationName") or deployment.get("locationID") or medium["deploymentID"],
        **{name: row[name] for name in KEPT if row.get(name)},
        "mediaID": medium["mediaID"],
        **{name: deployment[name] for name in ("latitude", "longitude", "cameraID") if deployment.get(name)},
    }


class _ByTime:
    """The media of each deployment in the order of their times."""

    def __init__(self, media: Iterable[Cells]):
        self.media: dict[str, list[tuple[datetime, Cells]]] = {}
        for medium in media:
            if (at := _moment(medium["timestamp"])) is not None:
                self.media.setdefault(medium["deploymentID"], []).append((at, medium))
        for own in self.media.values():
            own.sort(key=lambda one: one[0])

    def of(self, observation: Cells) -> list[Cells]:
        """What the event's camera took between its first and its last moment."""
        start, end = (_moment(observation.get(name)) for name in ("eventStart", "eventEnd"))
        own = self.media.get(observation["deploymentID"], [])
        if start is None or end is None:
            return []
        first, last = bisect_left(own, start, key=lambda one: one[0]), bisect_right(own, end, key=lambda one: one[0])
        return [medium for _, medium in own[first:last]]


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text or "").astimezone()
    except (ValueError, OverflowError):
        return None


def write(gallery: Gallery, out: Path, options: ExportOptions) -> Written:
    if options.package is None:
        raise SettingsError("camtrap-dp fills individualID in a package that you have; name its folder with --package")
    check_free(out)
    with tempfile.TemporaryDirectory(prefix="reid-") as folder:
        return _filled(gallery, opened(unpacked_if_zip(options.package, Path(folder) / "package")), out)


def _filled(gallery: Gallery, package: Package, out: Path) -> Written:
    media = {row["mediaID"]: row for _, row in package.rows("media")}
    found = _Photos(photos(gallery), package.root, list(media.values()))
    by_time = _ByTime(media.values())
    n_of = Counter(_scene(row) for _, row in package.rows("observations") if row["observationType"] == "animal")
    as_written = read_csv(package.files["observations"])
    head, *raw = (cells for _, cells in as_written.rows if any(cell.strip() for cell in cells))
    columns = head + [name for name in ("individualID", "classificationMethod", "classifiedBy") if name not in head]
    lines: list[list[str]] = []
    notes: list[str] = []
    n_filled = n_known = n_groups = 0
    for (where, row), cells in zip(package.rows("observations"), raw, strict=True):
        line = [*cells, *[""] * (len(columns) - len(cells))]
        own = [media[row["mediaID"]]] if row.get("mediaID") in media else []
        own = own or ([] if row.get("mediaID") else by_time.of(row))
        identity = found.identity(own, row, alone=n_of[_scene(row)] == 1) if row["observationType"] == "animal" else None
        if identity is not None and _is_group(row):
            identity = None
            n_groups += 1
        given = row.get("individualID", "")
        if identity is not None and given and given != identity:
            notes.append(f"{where}: individualID {given!r} stays, though the catalogue says {identity!r}")
        elif identity is not None and not given:
            line[columns.index("individualID")] = disarmed(identity)
            n_filled += 1
            if not row.get("classifiedBy") and not row.get("classificationMethod"):
                line[columns.index("classificationMethod")], line[columns.index("classifiedBy")] = "human", _version()
        n_known += bool(given)
        lines.append(line)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", delimiter=as_written.separator)
    writer.writerow(columns)
    writer.writerows(lines)
    files = _others(package) | {_name(package, "observations"): text.getvalue().encode("utf-8", "backslashreplace")}
    written = write_folder(out, files)
    told = f"individualID filled in {counted(n_filled, 'observation')}, {n_known} had one already; photos were not copied"
    if n_groups:
        what = counted(n_groups, "observation of several animals (count) is", "observations of several animals (count) are")
        notes.append(f"{what} left alone: individualID is of one")
    return Written(written, (told, *notes), (), found.n_used)


def _scene(observation: Cells) -> tuple[str, ...]:
    """What an observation is of: a photo, or an event."""
    if observation.get("mediaID"):
        return (observation["mediaID"],)
    return tuple(observation.get(name, "") for name in ("deploymentID", "eventID", "eventStart", "eventEnd"))


def _is_group(observation: Cells) -> bool:
    """Whether it counts several animals."""
    return _float(observation.get("count", "")) > 1


def _version() -> str:
    from .. import __version__

    return f"reid {__version__}"


def _name(package: Package, table: str) -> str:
    return package.files[table].relative_to(package.root).as_posix()


def _others(package: Package) -> dict[str, bytes]:
    """The description and the tables of the package, as they are."""
    value = json.loads((package.root / PACKAGE).read_bytes())
    paths = [one.get("path") for one in value.get("resources", []) if isinstance(one, dict)]
    names = [PACKAGE, *(path for path in paths if isinstance(path, str) and "://" not in path), *(_name(package, name) for name in TABLES)]
    inside = [name for name in dict.fromkeys(names) if not leads_out(name) and (package.root / name).is_file()]
    return {name: (package.root / name).read_bytes() for name in inside}


class _Photos:
    """The photos of a gallery, as a package names them: by their places, else by their names where no other photo has the same."""

    def __init__(self, refs: Sequence[PhotoRef], root: Path, media: Sequence[Cells]):
        self.root = root
        self.n_of_name = Counter(map(_name_of, media))
        self.by_file: dict[str, list[PhotoRef]] = {}
        self.by_name: dict[str, set[str]] = {}
        self.n_used = 0
        for ref in refs:
            file = os.path.realpath(ref.path)
            self.by_file.setdefault(file, []).append(ref)
            self.by_name.setdefault(os.path.basename(file).casefold(), set()).add(file)

    def identity(self, media: Sequence[Cells], observation: Cells, *, alone: bool) -> str | None:
        """The one animal that its photos show: in its box where both have one, else only where it is the `alone` observation of its photo
        or event; None where there is none, more than one, or one of another species."""
        box = [_float(observation.get(name, "")) for name in BOX]
        species = observation.get("scientificName", "").casefold()
        names: set[str | None] = set()
        for medium in media:
            refs = self._of(medium)
            boxed = [ref for ref in refs if ref.crop is not None]
            if boxed and not any(map(math.isnan, box)):
                refs = [ref for ref in boxed if _overlap(ref, box) >= SAME_BOX]
            elif not alone:
                return None
            own = {given(ref, "species").casefold() for ref in refs}
            if species and own - {species, ""}:
                return None
            names |= {ref.identity for ref in refs}
        if len(names) != 1:
            return None
        (name,) = names
        self.n_used += len(media) if name is not None else 0
        return name

    def _of(self, medium: Cells) -> list[PhotoRef]:
        path = medium["filePath"].replace("\\", "/")
        file = os.path.realpath(self.root / path) if "://" not in path and "\0" not in path else ""
        if file in self.by_file:
            return self.by_file[file]
        name = _name_of(medium)
        files = self.by_name.get(name, set())
        return self.by_file[next(iter(files))] if len(files) == self.n_of_name[name] == 1 else []


def _name_of(medium: Cells) -> str:
    return (medium.get("fileName") or medium["filePath"].replace("\\", "/").rpartition("/")[2]).casefold()


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _overlap(ref: PhotoRef, box: Sequence[float]) -> float:
    """Intersection over union of a photo's box and one in fractions; 0 where the photo has none."""
    if ref.crop is None:
        return 0.0
    try:
        width, height = photo_size(ref.path)
    except PhotoError:
        return 0.0
    x, y, w, h = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    a, b, c, d = ref.crop
    inner = max(0.0, min(x + w, a + c) - max(x, a)) * max(0.0, min(y + h, b + d) - max(y, b))
    union = w * h + c * d - inner
    return inner / union if union > 0 else 0.0
