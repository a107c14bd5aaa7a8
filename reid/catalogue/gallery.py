"""A folder per individual, or a table, and what people have decided -> PhotoRefs with their animals, encounters, sides and dates.

Everything is checked before work starts, every problem is listed. Nothing is decoded here; `facts(path)` is handed in by the caller and
asked only for photos with a box, and for those of which no date is known, `digest(ref)` only where there are decisions.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GalleryError, PhotoError
from ..records import Indexed, PhotoFacts, PhotoRef
from .columns import meanings
from .dates import When, date_in_name, read_dates
from .decisions import Decision
from .draft import Draft
from .encounters import EXIF, NAME, TABLE, Sighting, derive
from .folders import photos_in, read_folders
from .labels import Labels, labels
from .names import identities, twins
from .rows import read_rows
from .table import TABLE as TABLE_NAME
from .table import Table, find_table, read_table
from .values import counted, some

if TYPE_CHECKING:
    import pandas as pd

ALIKE = 3  # problems of one kind that a note lists; more are counted


@dataclass(frozen=True)
class ReadOptions:
    """How a gallery's table is read, see `open`."""

    skip_bad: bool = False
    join: Mapping[str, str] = field(default_factory=dict)
    names_as_written: bool = False


@dataclass(frozen=True)
class Gallery:
    """What a folder or a table holds. `notes` are for the user's eyes: what was passed over, or read otherwise than it is written."""

    root: Path
    references: tuple[PhotoRef, ...]
    queries: tuple[PhotoRef, ...] = ()
    notes: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()  # how sides and encounters were found, where no table says it
    labels: Labels | None = None  # of references and queries, where decisions count
    tabled: tuple[str | None, ...] = ()  # the references' animals as the table or the folders have them, without decisions
    tabled_sides: Mapping[str, str | None] = field(default_factory=dict)  # by digest, of the photos whose side was decided: the same
    since: Mapping[str, str] = field(
        default_factory=dict
    )  # of a photo decided about before it had its box or mask: its digest then, and now

    @property
    def identities(self) -> list[str]:
        return sorted({ref.identity for ref in self.references if ref.identity})

    def now(self, decisions: Iterable[Decision]) -> tuple[Decision, ...]:
        """Decisions about these photos, each by the digest that it has now."""
        return _now(decisions, self.since)


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Garbage collection looks through what is read again and again, a quarter of the time; all of it stays, and is old at once."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()  # into the oldest generation
        if before:
            gc.enable()


@nothing_collected()
def read(
    root: Path,
    facts: Callable[[Path], PhotoFacts],
    *,
    table: Path | pd.DataFrame | None = None,
    skip_bad: bool = False,
    join: Mapping[str, str] = {},
    names_as_written: bool = False,
    decisions: Sequence[Decision] = (),
    digest: Callable[[PhotoRef], str] | None = None,
) -> Gallery:
    """The gallery at `root`. Raises GalleryError with every problem found; with `skip_bad` bad rows become notes instead.

    `table` is a file or a DataFrame; without one the folder's own metadata.csv, .xlsx or .parquet counts, if it has one. `join` maps names
    to the names that they are read as. With `names_as_written` no name but `unknown` and a blank is taken to name nobody. `decisions` are
    those that count (`DecisionLog.effective`), about photos as `digest` names them: labels, sides and dates are the table's and theirs."""
    check_folder(root)
    if isinstance(table, Path) and not os.path.isfile(table):
        raise GalleryError(f"there is no table {table}; name a file, csv, xlsx or parquet")
    if table is None:
        table = find_table(root)
    facts = cache(facts)  # two animals in one photo are asked about once
    if table is None:
        drafts, notes, derived = read_folders(root, names_as_written)
    else:
        (drafts, notes), derived = _read_table(root, table, facts, skip_bad), []
    return assemble(root, drafts, facts, notes, join, names_as_written, decisions, digest, derived)


def assemble(
    root: Path,
    drafts: Sequence[Draft],
    facts: Callable[[Path], PhotoFacts],
    notes: Sequence[str] = (),
    join: Mapping[str, str] = {},
    names_as_written: bool = False,
    decisions: Sequence[Decision] = (),
    digest: Callable[[PhotoRef], str] | None = None,
    derived: Sequence[str] = (),
) -> Gallery:
    """Photos as they are told of -> a gallery: names cleaned, decisions counted in, encounters derived. Raises GalleryError for a name to
    join that none has."""
    names, said = identities([draft.name for draft in drafts], join, names_as_written)
    notes = [*notes, *said]
    tabled = tuple(name for name, draft in zip(names, drafts, strict=True) if not draft.is_query)
    found: Labels | None = None
    tabled_sides: dict[str, str | None] = {}
    since = _since(drafts, decisions, digest)
    if decisions and digest is not None:
        found, tabled_sides = _decide(drafts, names, _now(decisions, since), digest)
        if n_named := sum(one is None and other is not None for one, other in zip(names, found.identities, strict=True)):
            notes.append(f"of the unnamed photos {n_named:,} {'is' if n_named == 1 else 'are'} named by decisions")
        names, notes = list(found.identities), [*notes, *found.notes]
    notes += twins(Counter(name for name in names if name is not None), found.animals_apart if found else {})
    refs, told = _photos(drafts, names, facts)
    references = _unique_ids([ref for ref, draft in zip(refs, drafts, strict=True) if not draft.is_query])
    queries = _unique_ids([ref for ref, draft in zip(refs, drafts, strict=True) if draft.is_query])
    return Gallery(root, tuple(references), tuple(queries), tuple(notes), (*derived, *told), found, tabled, tabled_sides, since)


def check_folder(root: Path) -> None:
    """Raises GalleryError for a gallery that is no folder."""
    if not os.path.isdir(root):
        raise GalleryError(f"{root} is not a folder; a gallery is a folder with a folder per individual, or with a {TABLE_NAME}")


def unlabelled(
    root: Path,
    facts: Callable[[Path], PhotoFacts],
    table: Path | pd.DataFrame | None = None,
    *,
    skip_bad: bool = False,
    decisions: Sequence[Decision] = (),
    digest: Callable[[PhotoRef], str] | None = None,
) -> Gallery:
    """The photos of a gallery with a table, which has boxes and masks; every photo under any other folder. Nobody has a name, nor do names
    tell encounters; `tabled` has what the table calls them, references and then queries, and `since` is about these `decisions`.

    Raises GalleryError for what is no folder, and as `read`."""
    if not os.path.isdir(root):
        raise GalleryError(f"{root} is not a folder; name a gallery, or a folder of photos")
    if table is None and find_table(root) is None:
        refs = tuple(PhotoRef(str(path), path) for path in photos_in(root)[0])
        return Gallery(root, refs, tabled=(None,) * len(refs))
    source = find_table(root) if table is None else table
    assert source is not None
    drafts, notes = _read_table(root, source, facts, skip_bad)
    names, _ = identities([draft.name for draft in drafts], {}, False)
    found = assemble(root, [replace(draft, name="") for draft in drafts], facts, notes)
    order = sorted(zip(names, drafts, strict=True), key=lambda pair: pair[1].is_query)
    return replace(found, tabled=tuple(name for name, _ in order), since=_since(drafts, decisions, digest))


def _read_table(
    root: Path, source: Path | pd.DataFrame, facts: Callable[[Path], PhotoFacts], skip_bad: bool
) -> tuple[list[Draft], list[str]]:
    table = read_table(source)
    columns = meanings(table)
    name = str(source) if isinstance(source, Path) else table.name
    notes = [*table.notes, *columns.notes]
    if columns.problems:
        raise GalleryError(f"{name}: {counted(len(columns.problems), 'problem')}", columns.problems, tuple(notes))
    found = read_rows(root, table, columns, facts)
    notes += found.notes
    bad = [f"{table.at(where)}: {text}" for _, where, text in found.problems]
    if bad and not skip_bad:
        message = f"{name}: {counted(len(bad), 'problem')}; fix the table, or leave the bad rows out with --skip-bad"
        raise GalleryError(message, tuple(bad), tuple(notes))
    if not any(not draft.is_query for draft in found.drafts):
        raise GalleryError(f"{name} names no usable reference photo", tuple(bad), tuple(notes))
    return found.drafts, notes + _left_out(table, found.problems)


def _left_out(table: Table, problems: Sequence[tuple[str, str, str]]) -> list[str]:
    """A note for each problem; where many are of one kind, one for all of them."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for kind, where, text in problems:
        kinds.setdefault(kind, []).append((where, text))
    notes = []
    for alike in kinds.values():
        if len(alike) <= ALIKE:
            notes += [f"left out {table.at(where)}: {text}" for where, text in alike]
        else:
            (where, text), *others = alike
            notes.append(f"left out {table.at(where)}: {text}; and for the like {some([where for where, _ in others])}")
    return notes


def _decide(
    drafts: Sequence[Draft], names: Sequence[str | None], decisions: Sequence[Decision], digest: Callable[[PhotoRef], str]
) -> tuple[Labels, dict[str, str | None]]:
    """The labels of table and decisions together, and `Gallery.tabled_sides`; decided sides and dates are written into the drafts."""
    items = []
    for draft, name in zip(drafts, names, strict=True):
        whole = PhotoRef(draft.image_id, draft.path, name)
        try:
            key = digest(replace(whole, crop=draft.crop, mask=draft.mask))
        except PhotoError:  # named when it is decoded
            key = f"unreadable {draft.path}"
        items.append(Indexed(whole, key))
    found = labels(items, decisions)
    days, _ = read_dates("date", [("", text) for text in found.dates.values()])
    tabled_sides = {item.digest: draft.orientation for draft, item in zip(drafts, items, strict=True) if item.digest in found.sides}
    for draft, item in zip(drafts, items, strict=True):
        draft.orientation = found.sides.get(item.digest, draft.orientation) or None
        if text := found.dates.get(item.digest):  # a month stays one
            draft.when, draft.columns = days[text], {**draft.columns, "date": text}
    return found, tabled_sides


def _since(drafts: Sequence[Draft], decisions: Sequence[Decision], digest: Callable[[PhotoRef], str] | None) -> dict[str, str]:
    """`Gallery.since`. Of a photo with several boxes nobody knows which of them was meant."""
    if not decisions or digest is None:
        return {}
    decided = {photo.digest for one in decisions for photo in one.photos}
    n_boxes = Counter(draft.path for draft in drafts)
    found: dict[str, str] = {}
    for draft in drafts:
        whole = PhotoRef(draft.image_id, draft.path)
        if n_boxes[draft.path] == 1 and (draft.crop is not None or draft.mask is not None):
            with suppress(PhotoError):  # named when it is decoded
                if (before := digest(whole)) in decided:
                    found[before] = digest(replace(whole, crop=draft.crop, mask=draft.mask))
    return found


def _now(decisions: Iterable[Decision], since: Mapping[str, str]) -> tuple[Decision, ...]:
    def renamed(one: Decision) -> Decision:
        photos = tuple(replace(photo, digest=since.get(photo.digest, photo.digest)) for photo in one.photos)
        evidence = one.evidence
        if isinstance(shown := evidence.get("shown"), list):
            evidence = {**evidence, "shown": [since.get(digest, digest) for digest in shown]}
        return replace(one, photos=photos, evidence=evidence)

    return tuple(map(renamed, decisions) if since else decisions)


def _photos(drafts: Sequence[Draft], names: Sequence[str | None], facts: Callable[[Path], PhotoFacts]) -> tuple[list[PhotoRef], list[str]]:
    """With dates and encounters; a note says how the encounters were found."""
    sightings: list[Sighting] = []
    whens: list[When | None] = []
    for draft, name in zip(drafts, names, strict=True):
        when, way = draft.when, TABLE
        if when is None:
            taken = taken_at(draft.path, facts)
            when, way = None if taken is None else When(taken.date(), taken.date(), taken), EXIF
        whens.append(when)
        if when is None and draft.encounter is None:  # a name is no proof of a date, but of what belongs together
            when, way = date_in_name(draft.path.stem) or date_in_name(draft.path.parent.name), NAME
        folder = "" if name else os.path.dirname(draft.path)
        sightings.append(Sighting(draft.image_id, name, folder, draft.encounter, when, way, draft.is_query))
    encounters, told = derive(sightings)
    refs = [
        PhotoRef(
            image_id=draft.image_id,
            path=draft.path,
            identity=name,
            orientation=draft.orientation,
            encounter=encounter,
            date=None if when is None else when.first,
            taken=None if when is None else when.moment,
            crop=draft.crop,
            mask=draft.mask,
            columns=draft.columns,
        )
        for draft, name, encounter, when in zip(drafts, names, encounters, whens, strict=True)
    ]
    return refs, told


def taken_at(path: Path, facts: Callable[[Path], PhotoFacts]) -> datetime | None:
    """When a photo was taken, by its header; None where that does not say, or cannot be read."""
    try:
        return facts(path).taken
    except PhotoError:  # named when it is decoded
        return None


def _unique_ids(refs: list[PhotoRef]) -> list[PhotoRef]:
    """What shares its id with a photo before it gets a number, one that makes an id that no photo has."""
    written = {ref.image_id for ref in refs}
    if len(written) == len(refs):
        return refs
    taken: set[str] = set()
    unique: list[PhotoRef] = []
    for ref in refs:
        image_id, number = ref.image_id, 1
        while image_id in taken or (number > 1 and image_id in written):
            number += 1
            image_id = f"{ref.image_id}#{number}"
        taken.add(image_id)
        unique.append(ref if number == 1 else replace(ref, image_id=image_id))
    return unique
