"""Which column of a table means what: WildlifeDatasets' names, whatever their capitals, and what other tools call the same."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from .dates import read_dates
from .folders import is_photo
from .table import Table
from .values import counted, is_given, some

COLUMNS = ("path", "identity", "image_id", "date", "orientation", "encounter", "bbox", "segmentation", "mask", "species", "site", "split")
SYNONYMS = {  # of each meaning the likeliest first; capitals, accents, blanks and strokes do not matter
    "file_path": "path", "image_path": "path", "file_name": "path", "file": "path", "image": "path", "photo": "path",
    "individual": "identity", "individual_id": "identity", "individual_name": "identity", "animal_id": "identity",
    "animal_name": "identity", "animal": "identity", "name": "identity",
    "date_time_original": "date", "datetime": "date", "timestamp": "date", "date_taken": "date", "event_date": "date",
    "position": "orientation", "viewpoint": "orientation", "side": "orientation", "view": "orientation", "flank": "orientation",
    "encounter_id": "encounter", "sighting": "encounter", "sighting_id": "encounter", "event_id": "encounter",
    "box": "bbox", "bounding_box": "bbox", "scientific_name": "species", "location": "site", "location_id": "site", "station": "site",
    # German, French, Spanish, Portuguese and Italian; no word that is English, too, and means something else (data, art, local)
    "datei": "path", "dateiname": "path", "fichier": "path", "archivo": "path", "ficheiro": "path", "arquivo": "path", "foto": "path",
    "individuum": "identity", "individu": "identity", "individuo": "identity", "tier": "identity", "datum": "date", "fecha": "date",
    "seite": "orientation", "côté": "orientation", "lado": "orientation", "lato": "orientation",
    "sichtung": "encounter", "begegnung": "encounter", "rencontre": "encounter", "avistamiento": "encounter", "encuentro": "encounter",
    "avistamento": "encounter", "avvistamento": "encounter", "tierart": "species", "espèce": "species", "especie": "species",
    "specie": "species", "fundort": "site", "ort": "site", "lieu": "site", "lugar": "site", "sitio": "site", "luogo": "site",
}  # fmt: skip
METRES = (("x", "utm_x", "easting"), ("y", "utm_y", "northing"))  # where a site or a photo is: pages and exports read it
DEGREES = (
    ("latitude", "decimal_latitude", "lat", "gps_latitude"),
    ("longitude", "decimal_longitude", "lon", "lng", "long", "gps_longitude"),
)
SURE = ("position", "viewpoint", "side")  # that need no remark
GUESSES = ("file", "image", "photo", "animal", "name", "view", "foto", "tier", "datum")  # words that may mean something else
OTHERS = ("daten", "seiten", "update", "patch")  # that are spelt nearly like a meaning, and are none
SIZES, CORNERS = "sizes", "corners"
PARTS = {  # four columns that hold a box
    ("bbox_x", "bbox_y", "bbox_w", "bbox_h"): SIZES, ("bbox_x", "bbox_y", "bbox_width", "bbox_height"): SIZES,
    ("bbox1", "bbox2", "bbox3", "bbox4"): SIZES, ("x1", "y1", "x2", "y2"): CORNERS, ("xmin", "ymin", "xmax", "ymax"): CORNERS,
}  # fmt: skip
LOOKED_AT = 200  # rows from which a guess is checked


@dataclass(frozen=True)
class Columns:
    """Places of the columns by their meaning."""

    names: tuple[str, ...]  # as the table writes them; those without a name get one
    of: dict[str, int]
    box: tuple[int, ...]  # four columns that hold a box, where no column holds all of it
    corners: bool  # whether they hold two corners, not a corner and a size
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def name(self, meaning: str) -> str:
        return self.names[self.of[meaning]]


def folded(name: str) -> str:
    """Without capitals, accents, blanks and strokes."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFD", name.casefold()))  # which takes letters and accents apart


READ = frozenset(map(folded, ("camera", *METRES[0], *METRES[1], *DEGREES[0], *DEGREES[1])))  # that are no photo's labels
NEVER_MISSPELT = frozenset(map(folded, (*SYNONYMS, *OTHERS)))


def meanings(table: Table, chosen: Mapping[str, str] = {}) -> Columns:
    """What the columns mean; problems are missing, doubled and misspelt ones, notes those that were guessed or are the user's own.

    `chosen` names the column of a meaning, or none where nothing says it; it goes before every guess."""
    head = table.at(table.header)
    held = {place for _, cells in table.rows for place, cell in enumerate(cells) if cell} if table.rows else set()
    used = [place for place, name in enumerate(table.columns) if name or place in held]
    names = tuple(name or f"column {place + 1}" for place, name in enumerate(table.columns))
    of: dict[str, int] = {}
    problems: list[str] = []
    for one, name in chosen.items():
        if name in names:
            of[one] = names.index(name)
        elif name:
            problems.append(f"{head}: column {name!r} is missing; the table has {some(list(map(repr, names)), most=12)}")
    free = [place for place in used if place in held and place not in of.values()]
    for place in free:
        meaning = next((known for known in COLUMNS if folded(known) == folded(names[place])), None)
        if meaning in chosen:
            continue
        if meaning is not None and meaning in of:
            as_what = f", as {names[of[meaning]]!r}" if names[place] != names[of[meaning]] else ""
            problems.append(f"{head}: column {names[place]!r} appears twice{as_what}")
        elif meaning is not None:
            of[meaning] = place
    guessed = _other_names(table, names, free, of, chosen)
    for place in used:  # an empty column means something where no other does
        meaning = next((known for known in COLUMNS if folded(known) == folded(names[place])), None)
        if meaning is not None and meaning not in chosen and place not in held:
            of.setdefault(meaning, place)
    kind, box = _box(names, used) if of.get("bbox") not in held else (SIZES, ())
    known = {*of.values(), *box}
    extra = [place for place in used if place not in known and place in held]
    more, others = _misspelt([names[place] for place in extra], {*of, *chosen}, head)
    problems += [f"{head}: column {name!r} is missing; the table has {some(list(map(repr, names)), most=12)}"
                 for name in ("path", "identity") if name not in of and chosen.get(name) != ""] + more  # fmt: skip
    notes = [f"{table.name}: {some(guessed, most=8)}"] if guessed else []
    if others:
        what = f"{counted(len(others), 'further column')} ({some(others, most=8)})"
        notes.append(f"{table.name}: {what}, for --where, and kept by exports to tables")
    return Columns(names, of, box, kind == CORNERS, tuple(problems), tuple(notes))


def _other_names(table: Table, names: Sequence[str], used: Sequence[int], of: dict[str, int], chosen: Mapping[str, str]) -> list[str]:
    """Find columns by what other tools call them, add them to `of`, and say which."""
    told = []
    for word, meaning in SYNONYMS.items():
        place = next((place for place in used if folded(names[place]) == folded(word) and place not in of.values()), None)
        if meaning in of or meaning in chosen or place is None or not _fits(table, place, word, meaning):
            continue
        of[meaning] = place
        if word not in SURE:
            told.append(f"column {names[place]!r} is taken for {meaning!r}{', a guess' if word in GUESSES else ''}")
    return told


def _fits(table: Table, place: int, word: str, meaning: str) -> bool:
    """A path looks like a photo's, and an identity does not; a datum may be that of coordinates, and no date."""
    if meaning not in ("path", "identity") and word != "datum":
        return True
    cells = [cells[place] for _, cells in table.rows[:LOOKED_AT] if place < len(cells) and is_given(cells[place])]
    if word == "datum":
        return bool(read_dates(word, [("", cell) for cell in cells])[0])
    n_files = sum(map(is_photo, cells))
    return 2 * n_files >= len(cells) if meaning == "path" else 2 * n_files < max(1, len(cells))


def _box(names: Sequence[str], used: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    places = {folded(names[place]): place for place in reversed(used)}
    for words, kind in PARTS.items():
        if all(folded(word) in places for word in words):
            return kind, tuple(places[folded(word)] for word in words)
    return SIZES, ()


def _misspelt(extra: Sequence[str], of: Container[str], head: str) -> tuple[list[str], list[str]]:
    """(problems, other names): a name like one that the table lacks is likely meant to be it."""
    problems, others = [], []
    missing = [known for known in COLUMNS if known not in of]
    for name in extra:
        near = [] if folded(name) in NEVER_MISSPELT else difflib.get_close_matches(name.lower(), missing, n=1, cutoff=0.8)
        if near:
            problems.append(f"{head}: unknown column {name!r}; did you mean {near[0]!r}?")
        elif folded(name) not in READ:
            others.append(repr(name))
    return problems, others
