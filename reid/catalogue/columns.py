"""Which column of a table means what: WildlifeDatasets' names, whatever their capitals, and what other tools call the same."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .folders import is_photo
from .table import Table
from .values import counted, is_given, some

COLUMNS = ("path", "identity", "image_id", "date", "orientation", "position", "encounter", "bbox", "segmentation", "mask", "species",
           "site", "split")  # fmt: skip
OTHER_NAMES = {  # without marks and capitals, the likeliest first
    "path": "filepath imagepath photopath file filename imagefile imagefilename imagename photofile encountermediaasset0 mediaasset0 "
    "image photo picture",
    "identity": "individual individualid individualname markedindividualindividualid encounterindividualid identityid identityname animalid "
    "animalname animal name",
    "date": "datetimeoriginal datetime timestamp dateoriginal datetaken photodate capturedate eventdate eventstart sightingdate",
    "orientation": "position viewpoint view side bodyside flank",
    "encounter": "encounterid sighting sightingid encountersightingid occurrenceid eventid event sequenceid seqid",
    "bbox": "boundingbox box",
    "mask": "maskpath maskfile",
    "species": "scientificname",
    "site": "location locationid locationname locality station",
}
GUESSES = frozenset("file image photo picture animal name view side event".split())  # words that may mean something else
CORNERS, SIZES = "corners", "sizes"
BOXES = (
    (SIZES, "bboxx bboxy bboxw bboxh"), (SIZES, "bboxx bboxy bboxwidth bboxheight"), (SIZES, "bbox1 bbox2 bbox3 bbox4"),
    (CORNERS, "x1 y1 x2 y2"), (CORNERS, "xmin ymin xmax ymax"), (CORNERS, "bboxx1 bboxy1 bboxx2 bboxy2"),
    (CORNERS, "bboxxmin bboxymin bboxxmax bboxymax"),
)  # fmt: skip
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
    return re.sub(r"[\W_]+", "", name.casefold())


def meanings(table: Table) -> Columns:
    """What the columns mean; problems are missing, doubled and misspelt ones, notes those that were guessed or mean nothing here."""
    head = table.at(table.header)
    held = {place for _, cells in table.rows for place, cell in enumerate(cells) if cell} if table.rows else set()
    used = [place for place, name in enumerate(table.columns) if name or place in held]
    names = tuple(name or f"column {place + 1}" for place, name in enumerate(table.columns))
    of: dict[str, int] = {}
    problems: list[str] = []
    for place in used:
        meaning = next((known for known in COLUMNS if folded(known) == folded(names[place]) and known != "position"), None)
        if meaning is not None and meaning in of:
            problems.append(f"{head}: column {names[place]!r} stands twice, as {names[of[meaning]]!r}" if names[place] != names[of[meaning]]
                            else f"{head}: column {meaning!r} stands twice")  # fmt: skip
        elif meaning is not None:
            of[meaning] = place
    guessed = _other_names(table, names, [place for place in used if place in held], of)
    kind, box = _box(names, used) if "bbox" not in of else (SIZES, ())
    known = {*of.values(), *box}
    extra = [place for place in used if place not in known and place in held]
    more, others = _misspelt([names[place] for place in extra], of, head)
    problems += [f"{head}: column {name!r} is missing; the table has {some(list(map(repr, names)), most=12)}"
                 for name in ("path", "identity") if name not in of] + more  # fmt: skip
    notes = [f"{table.name}: {some(guessed, most=8)}"] if guessed else []
    if others:
        tail = "it can be used with --where" if len(others) == 1 else "they can be used with --where"
        notes.append(f"{table.name}: {counted(len(others), 'column means', 'columns mean')} nothing here ({some(others, most=8)}); {tail}")
    return Columns(names, of, box, kind == CORNERS, tuple(problems), tuple(notes))


def _other_names(table: Table, names: Sequence[str], used: Sequence[int], of: dict[str, int]) -> list[str]:
    """Find columns by what other tools call them, add them to `of`, and say which."""
    told = []
    for meaning, words in OTHER_NAMES.items():
        if meaning in of:
            continue
        for word in words.split():
            place = next((place for place in used if folded(names[place]) == word and place not in of.values()), None)
            if place is None or not _fits(table, place, meaning):
                continue
            of[meaning] = place
            if word != "position":  # WildlifeDatasets' own
                guess = ", a guess" if word in GUESSES else ""
                told.append(f"column {names[place]!r} is read as {meaning}{guess}")
            break
    return told


def _fits(table: Table, place: int, meaning: str) -> bool:
    """A path looks like a photo's, and an identity does not."""
    if meaning not in ("path", "identity"):
        return True
    cells = [cells[place] for _, cells in table.rows[:LOOKED_AT] if place < len(cells) and is_given(cells[place])]
    n_files = sum(map(is_photo, cells))
    return 2 * n_files >= len(cells) if meaning == "path" else 2 * n_files < max(1, len(cells))


def _box(names: Sequence[str], used: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    places = {folded(names[place]): place for place in reversed(used)}
    for kind, words in BOXES:
        if all(word in places for word in words.split()):
            return kind, tuple(places[word] for word in words.split())
    return SIZES, ()


def _misspelt(extra: Sequence[str], of: dict[str, int], head: str) -> tuple[list[str], list[str]]:
    """(problems, other names): a name like one that the table lacks is likely meant to be it."""
    problems, others = [], []
    missing = [known for known in COLUMNS if known not in of and known != "position"]
    for name in extra:
        near = difflib.get_close_matches(name.lower(), missing, n=1, cutoff=0.8)
        if near:
            problems.append(f"{head}: unknown column {name!r}; did you mean {near[0]!r}?")
        else:
            others.append(repr(name))
    return problems, others
