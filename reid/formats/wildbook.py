"""Wildbook's sheets, bulk import and standard export: a row an encounter of one animal, its photos in `Encounter.mediaAsset0`, `1`, ...

A file name may hold only English letters, digits, periods and spaces: photos get such names, `names.csv` beside the sheet maps them, and
a sheet that comes back is read by that map. Sheets of at most 200 encounters; columns without data are dropped.
https://wildbook.docs.wildme.org, WildbookStandardFormat.xlsx"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path, PurePosixPath

from ..catalogue import Gallery
from ..catalogue.columns import DEGREES, folded
from ..catalogue.dates import When
from ..catalogue.table import read_table
from ..catalogue.values import is_given, some
from ..errors import GalleryError
from ..records import PhotoRef
from .described import cell, described, photos, whens
from .source import Look, Options, Row, Source, of_rows
from .spreadsheets import SUFFIXES
from .writing import ExportOptions, Written, check_free, csv_bytes, plain_names, write_folder, xlsx_writer

TAKES = ("species", "site", "submitter", "copy")
ASSET = re.compile(r"encounter\.mediaasset(\d+)", re.IGNORECASE)
MOST_ENCOUNTERS = 200  # of a sheet
NAMES = "names.csv"
PARTS = {"Encounter.year": (1826, 2199), "Encounter.month": (1, 12), "Encounter.day": (1, 31), "Encounter.hour": (0, 23),
         "Encounter.minutes": (0, 59)}  # fmt: skip
EXTRAS = {  # columns of a catalogue that Wildbook has, too, with the values it takes
    "Encounter.sex": ("sex", ("male", "female", "unknown")),
    "Encounter.lifeStage": ("lifeStage", ("adult", "juvenile", "unknown")),
    "Encounter.livingStatus": ("livingStatus", ("alive", "dead")),
    "Encounter.decimalLatitude": ("latitude", ()),
    "Encounter.decimalLongitude": ("longitude", ()),
    "Encounter.behavior": ("behavior", ()),
    "Encounter.verbatimLocality": ("verbatimLocality", ()),
    "Encounter.country": ("country", ()),
    "Encounter.researcherComments": ("researcherComments", ()),
    "Encounter.sightingRemarks": ("sightingRemarks", ()),
}
PLACES = {names[0]: names for names in DEGREES}
INDIVIDUAL = ("MarkedIndividual.individualID", "Encounter.individualID")
SIGHTING = ("Encounter.sightingID", "Sighting.sightingID")
MEANINGS = {
    "path": "Encounter.mediaAsset", "identity": INDIVIDUAL[0], "date": "date", "encounter": SIGHTING[0],
    "species": "genus and specificEpithet", "site": "Encounter.locationID",
}  # fmt: skip
READ = {*INDIVIDUAL, *SIGHTING, *PARTS, "Encounter.dateInMilliseconds", "Encounter.genus", "Encounter.specificEpithet",
        "Encounter.locationID", "Encounter.submitterID", "Encounter.state"}  # fmt: skip


def recognises(look: Look) -> bool:
    if look.is_folder or look.path.suffix.lower() not in SUFFIXES:
        return False
    return any(ASSET.fullmatch(name) for name in look.table.columns)


def read(look: Look, options: Options) -> Source:
    table = look.table
    kept = {folded(name): name for name in READ}
    columns = [kept.get(folded(name), name) for name in table.columns]
    assets = {place: match[1] for place, name in enumerate(columns) if (match := ASSET.fullmatch(name))}
    original = _map(look.path.parent / NAMES)
    rows: list[Row] = []
    problems: list[str] = []
    for where, cells in table.rows:
        row = {name: value for name, value in zip(columns, cells) if value and not ASSET.fullmatch(name)}
        try:
            day = _date(row)
        except ValueError as error:
            problems.append(f"{look.path}, {where}: {error}")
            day = ""
        of_encounter = {
            INDIVIDUAL[0]: _first(row, INDIVIDUAL),
            "date": day,
            SIGHTING[0]: _first(row, SIGHTING) or f"{look.path.stem} {where}",
            "genus and specificEpithet": " ".join(filter(None, (_first(row, (f"Encounter.{x}",)) for x in ("genus", "specificEpithet")))),
            "Encounter.locationID": row.get("Encounter.locationID", ""),
            **{EXTRAS[name][0] if name in EXTRAS else name: value for name, value in row.items() if name and name not in READ},
        }
        files = [(number, cells[place]) for place, number in assets.items() if place < len(cells) and cells[place]]
        if not files:
            problems.append(f"{look.path}, {where}: no photo (column Encounter.mediaAsset0)")
        for number, file in files:
            rows.append((f"{where}, mediaAsset{number}", {"Encounter.mediaAsset": original.get(file, file), **of_encounter}))
    return of_rows(look, options, MEANINGS, rows, table.notes, problems)


def _first(row: Mapping[str, str], names: Sequence[str]) -> str:
    return next((row[name] for name in names if row.get(name)), "")


def _date(row: Mapping[str, str]) -> str:
    """Year, month, day, hour and minutes as far as they are given; else the moment in milliseconds since 1970. Raises ValueError."""
    numbers: list[int] = []
    for name, (least, most) in PARTS.items():
        text = row.get(name, "")
        if not text:
            break
        if not re.fullmatch(r"[0-9]{1,4}", text) or not least <= int(text) <= most:
            raise ValueError(f"{text!r} is no number from {least} to {most} (column {name})")
        numbers.append(int(text))
    if not numbers:
        text = row.get("Encounter.dateInMilliseconds", "")
        try:
            return datetime.fromtimestamp(int(text) / 1000, UTC).isoformat(sep=" ") if text else ""
        except (ValueError, OverflowError, OSError) as error:
            raise ValueError(f"{text!r} is no moment in milliseconds (column Encounter.dateInMilliseconds)") from error
    year, month, day, hour, minute = numbers + [0] * (5 - len(numbers))
    if len(numbers) > 2:
        try:
            datetime(year, month, day)
        except ValueError as error:
            raise ValueError(f"there is no day {year}-{month:02}-{day:02} (column Encounter.day)") from error
    parts = (f"{year}", f"-{month:02}", f"-{day:02}", f" {hour:02}", f":{minute:02}")
    return "".join(parts[: 5 if len(numbers) == 4 else len(numbers)])


def _map(file: Path) -> dict[str, str]:
    """Paths by the names that Wildbook was given."""
    if not file.is_file():
        return {}
    table = read_table(file)
    if table.columns[:2] != ("file", "path"):
        return {}
    return {cells[0]: cells[1] for _, cells in table.rows if len(cells) > 1}


def write(gallery: Gallery, out: Path, options: ExportOptions) -> Written:
    check_free(out)
    _, rows = described(gallery)
    refs = photos(gallery)
    encounters = [ref.encounter or "" for ref in refs]  # derived ones, too
    groups: dict[tuple[str, str, str], list[int]] = {}
    for place, row in enumerate(rows):
        unnamed = row["path"] if refs[place].identity is None else ""  # photos of nobody are not known to show one animal
        groups.setdefault((encounters[place], row["identity"], unnamed), []).append(place)
    names = _names({row["path"] for row in rows})
    sightings = plain_names({name: name for name in encounters}, "A-Za-z0-9_-")
    found, problems, left_out = [], [], []
    lacking: dict[str, list[str]] = {}  # first photos of encounters, by what is not said of them
    dates = whens(refs)
    for (encounter, identity, _), places in groups.items():
        own = [rows[place] for place in places]
        known = [when for place in places if (when := dates[place]) is not None]
        if not known:
            left_out += [(one["path"], "the encounter has no year, which Wildbook needs; say it in the column date") for one in own]
            continue
        cells = _row([refs[place] for place in places], own, min(known, key=_first_day), options)
        cells[INDIVIDUAL[0]] = "" if refs[places[0]].identity is None else identity
        cells[SIGHTING[0]] = sightings[encounter]
        for name, option in (("Encounter.genus", "species"), ("Encounter.locationID", "site")):
            if not cells[name]:
                lacking.setdefault(option, []).append(own[0]["path"])
        if cells["Encounter.genus"] and not cells["Encounter.specificEpithet"]:
            alone = f"Wildbook needs a genus and an epithet, as in 'Chelonia mydas', not {cells['Encounter.genus']!r} (column species)"
            problems.append(f"{own[0]['path']}: {alone}")
        for column, (name, allowed) in EXTRAS.items():
            value = str(cells[column])
            if allowed and value and value not in allowed:
                problems.append(f"{own[0]['path']}: {name} {value!r} is none of {', '.join(allowed)} (column {name})")
        own_files = list(dict.fromkeys(names[one["path"]] for one in own))
        found.append(cells | {f"Encounter.mediaAsset{number}": file for number, file in enumerate(own_files)})
    for option, paths in lacking.items():
        problems.append(f"{some(paths)}: Wildbook needs a {option} (column {option}); write it, or give --{option}")
    if problems:
        return Written((), (), tuple(problems))
    sheets = [found[start : start + MOST_ENCOUNTERS] for start in range(0, len(found), MOST_ENCOUNTERS)]
    if not sheets:
        raise GalleryError("no encounter has a year, which Wildbook needs; give the photos dates")
    written_sheets = {f"encounters{'' if len(sheets) == 1 else f'-{n}'}.xlsx": _sheet(sheet) for n, sheet in enumerate(sheets, start=1)}
    mapped = sorted((name, path) for path, name in names.items())
    copies = [(ref.path, f"photos/{names[row['path']]}") for ref, row in zip(refs, rows, strict=True)] if options.copy else []
    written = write_folder(out, {**written_sheets, NAMES: csv_bytes(("file", "path"), mapped)}, list(dict.fromkeys(copies)))
    n_changed = sum(name != PurePosixPath(path).name for path, name in names.items())
    notes = [
        f"Wildbook takes names of letters, digits, periods and blanks: {n_changed} of {len(names)} photos go there under such a name, "
        f"which {NAMES} leads back to your own; your photos keep theirs"
    ]
    if not options.copy:
        notes.append("photos were not copied; --copy puts them beside the sheet, under the names that the sheet has")
    return Written(written, tuple(notes) if n_changed or not options.copy else (), (), len(rows) - len(left_out), tuple(left_out))


def _first_day(when: When) -> tuple[object, str]:
    return when.first, "" if when.moment is None else when.moment.isoformat()


def _row(refs: Sequence[PhotoRef], rows: Sequence[Mapping[str, str]], when: When, options: ExportOptions) -> dict[str, object]:
    """The cells of one encounter, all of Wildbook's columns; blank where nothing is known."""
    species = next((row["species"] for row in rows if row["species"]), options.species or "")
    genus, _, epithet = species.partition(" ")
    exact = when.first == when.last
    row: dict[str, object] = {
        "Encounter.genus": genus,
        "Encounter.specificEpithet": epithet,
        "Encounter.year": when.first.year,
        "Encounter.month": when.first.month if when.first.month == when.last.month else "",
        "Encounter.day": when.first.day if exact else "",
        "Encounter.hour": "" if when.moment is None else when.moment.hour,
        "Encounter.minutes": "" if when.moment is None else when.moment.minute,
        "Encounter.locationID": next((row["site"] for row in rows if row["site"]), options.site or ""),
        "Encounter.submitterID": options.submitter or "",
        "Encounter.state": "unapproved",
    }
    for column, (name, _) in EXTRAS.items():
        named = PLACES.get(name, (name,))
        row[column] = next((value for ref in refs if (value := cell(ref.columns, *named)) and is_given(value)), "")
        if name in PLACES:
            with suppress(ValueError):  # text stays text
                number = float(str(row[column]))
                row[column] = number if isfinite(number) else row[column]
    return row


def _names(paths: set[str]) -> dict[str, str]:
    stems = plain_names({path: PurePosixPath(path).stem for path in sorted(paths)}, "A-Za-z0-9. ", " ")
    return {path: stem + PurePosixPath(path).suffix for path, stem in stems.items()}


def _sheet(rows: Sequence[Mapping[str, object]]) -> Callable[[Path], None]:
    assets = dict.fromkeys(name for row in rows for name in row if ASSET.fullmatch(name))
    ordered = sorted(assets, key=lambda name: int(name.removeprefix("Encounter.mediaAsset")))
    names = [*ordered, *(name for name in rows[0] if name not in assets)]
    columns = [name for name in names if any(row.get(name, "") != "" for row in rows)]
    return xlsx_writer(columns, [[row.get(name, "") for name in columns] for row in rows], "encounters")
