"""A folder per individual, or a table -> PhotoRefs: what a gallery knows of its photos. Nothing is decoded here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GalleryError, PhotoError
from ..records import PhotoRef
from . import encounters, folders, rows, table, words
from .rows import Facts

if TYPE_CHECKING:
    import pandas as pd

FOLDER = ".reid"  # everything that reid writes is under it
MOST_HINTS = 5  # pairs of names that are shown


@dataclass(frozen=True)
class Gallery:
    """What a folder or a table holds. `notes` are for the user's eyes: files passed over, rows left out, what was guessed."""

    root: Path
    references: tuple[PhotoRef, ...]
    queries: tuple[PhotoRef, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def identities(self) -> list[str]:
        return sorted({ref.identity for ref in self.references if ref.identity})


def read(
    root: Path,
    facts: Facts,
    *,
    table: Path | pd.DataFrame | None = None,
    skip_bad: bool = False,
    join: Mapping[str, str] | None = None,
    names_as_written: bool = False,
) -> Gallery:
    """The gallery at `root`, by its own table, the one that is given, or its folders; every photo has an encounter.

    `facts` gives what a photo's header says, and is asked only where it is needed. `join` maps names to the names they are to be read as.
    Raises GalleryError with every problem found; with `skip_bad` bad rows become notes instead."""
    if not root.is_dir():
        raise GalleryError(f"{root} is not a folder; a gallery is a folder with a folder per individual, or with a metadata.csv")
    joined = {words.clean(name): words.clean(other) for name, other in (join or {}).items()}
    if isinstance(table, Path) and not table.is_file():
        raise GalleryError(f"the table {table} does not exist")
    source = table if table is not None else find_table(root)
    if source is None:
        references, notes = folders.references(root)
        named = [_named(ref, joined, names_as_written) for ref in references]
        n_unknown = sum(ref.identity is None for ref in named)
        if n_unknown:
            notes.append(f"{n_unknown} photos are taken as unnamed, since their folder says so; --names-as-written takes it for a name")
        queries: list[PhotoRef] = []
    else:
        named, queries, notes = _of_table(root, source, facts, skip_bad, joined, names_as_written)

    def taken(path: Path) -> datetime | None:
        try:
            return facts(path).taken
        except PhotoError:
            return None  # it is named when it is decoded

    everything, ways = encounters.derive([*named, *queries], taken)
    with_encounters, queries = everything[: len(named)], [_apart(ref) for ref in everything[len(named) :]]
    if any(way != "the column encounter" for way in ways):
        how = ", ".join(f"{n} by {way}" for way, n in sorted(ways.items()))
        notes.append(f"{sum(ways.values())} encounters: {how}")
    notes += _hints(named, joined)
    references_found, queries_found = _unique_ids(with_encounters), _unique_ids(queries)
    return Gallery(root, tuple(references_found), tuple(queries_found), tuple(notes))


def _apart(query: PhotoRef) -> PhotoRef:
    """A query of which neither date nor encounter is known is of one by itself: the table has set it apart from the references."""
    undated = (query.encounter or "").endswith(encounters.UNDATED)
    return replace(query, encounter=f"{query.image_id}{encounters.UNDATED}") if undated else query


def find_table(root: Path) -> Path | None:
    """The gallery's own table; None where folders say which photo is whose. Raises GalleryError where there are two."""
    return table.find(root)


def unlabelled(root: Path, facts: Facts) -> Gallery:
    """The references of a gallery with a table, which has boxes and masks; every photo under any other folder, whoever it shows.

    Raises GalleryError for what is no folder."""
    if not root.is_dir():
        raise GalleryError(f"{root} is not a folder; name a gallery, or a folder of photos")
    if find_table(root) is None:
        return Gallery(root, tuple(PhotoRef(str(path), path) for path in folders.photos_in(root)[0]))
    return read(root, facts)


def _named(ref: PhotoRef, joined: Mapping[str, str], names_as_written: bool) -> PhotoRef:
    name = ref.identity or ""
    unknown = name == "unknown" or (not names_as_written and words.is_unknown(name))
    return replace(ref, identity=None if unknown else joined.get(name, name))


def _of_table(
    root: Path, source: Path | pd.DataFrame, facts: Facts, skip_bad: bool, joined: Mapping[str, str], names_as_written: bool
) -> tuple[list[PhotoRef], list[PhotoRef], list[str]]:
    read_table = table.read(source)
    where, problems, notes = rows.columns_of(read_table)
    title = str(source) if isinstance(source, Path) else read_table.name
    if problems:
        raise GalleryError(f"{title}: {len(problems)} problem(s)", tuple([*notes, *problems]))
    found = rows.read(root, read_table, where, facts, joined, names_as_written)
    if found.problems and not skip_bad:
        message = f"{title}: {len(found.problems)} problem(s); mend the table, or leave the bad rows out with --skip-bad"
        raise GalleryError(message, tuple([*notes, *found.notes, *found.problems]))
    if not found.references:
        raise GalleryError(f"{title} names no usable reference photo", tuple([*notes, *found.notes, *found.problems]))
    notes += [*found.notes, *(f"left out {text}" for text in found.problems)]
    return found.references, found.queries, notes


def _hints(refs: Sequence[PhotoRef], joined: Mapping[str, str]) -> list[str]:
    pairs = words.twins({ref.identity for ref in refs if ref.identity})
    if not pairs:
        return []
    shown = ", ".join(f"{one} and {other}" for one, other in pairs[:MOST_HINTS])
    more = f" and {len(pairs) - MOST_HINTS} more pairs" if len(pairs) > MOST_HINTS else ""
    first = pairs[0]
    return [f"names that may be one animal's: {shown}{more}; --join '{first[1]}={first[0]}' reads one as the other"]


def _unique_ids(refs: Sequence[PhotoRef]) -> list[PhotoRef]:
    """Ids that two photos share, such as two animals' in one photo, get a number; never one that another photo has."""
    taken = {ref.image_id for ref in refs}
    used: set[str] = set()
    numbers: dict[str, int] = {}
    unique = []
    for ref in refs:
        name, number = ref.image_id, numbers.get(ref.image_id, 2)
        while name in used or (name != ref.image_id and name in taken):
            name, number = f"{ref.image_id}#{number}", number + 1
        used.add(name)
        numbers[ref.image_id] = number
        unique.append(ref if name == ref.image_id else replace(ref, image_id=name))
    return unique


def restrict(gallery: Gallery, where: Iterable[str] = (), orientation: str | None = None) -> tuple[Gallery, str | None]:
    """The gallery with only the references that fit, and the filter in words; raises GalleryError if none does.

    `where` holds `column=value` conditions that must all hold; several values of a column are separated by commas."""
    kept = list(gallery.references)
    said = []
    for condition in where:
        column, equals, values = condition.partition("=")
        column = column.strip()
        if not equals:
            raise GalleryError(f"--where {condition!r} is not of the form column=value")
        known = sorted({name for ref in gallery.references for name in ref.columns})
        if column not in known:
            raise GalleryError(f"--where {condition!r}: the gallery has no column {column!r}; it has {', '.join(known) or 'no table'}")
        wanted = {value.strip() for value in values.split(",")}
        kept = [ref for ref in kept if ref.columns.get(column, "") in wanted]
        said.append(f"{column}={','.join(sorted(wanted))}")
    if orientation is not None:
        kept = [ref for ref in kept if ref.orientation == words.side(orientation)]
        said.append(f"orientation={orientation}")
    if not kept:
        raise GalleryError(f"no photo of the gallery fits {' and '.join(said)}")
    return replace(gallery, references=tuple(kept)), " and ".join(said) or None
