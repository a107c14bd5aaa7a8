"""Which photos are to be identified, and which of them make one query."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from .. import catalogue, imaging
from ..catalogue import Gallery
from ..catalogue.values import counted, some
from ..errors import PhotoError
from ..listener import Listener
from ..records import Failure, Indexed, PhotoFacts, PhotoRef, Query
from .workspace import Workspace


def photos(
    given: Iterable[str | Path], gallery: Gallery, listener: Listener, *, as_known: bool = False
) -> tuple[list[PhotoRef], list[Failure]]:
    """The photos named, and those in the folders named. A photo that stands in the gallery's table brings its boxes, masks and sides
    along, each a photo by itself, and with `as_known` the name that it has there. Raises PhotoError where none of them is there."""
    known: dict[str, list[PhotoRef]] = {}
    leads_to = _real_paths()
    for ref in (*gallery.references, *gallery.queries):
        known.setdefault(leads_to(ref.path), []).append(ref)
    refs: list[PhotoRef] = []
    failures: list[Failure] = []
    taken: set[str] = set()
    for name in map(Path, given):
        is_folder = os.path.isdir(name)
        paths, others = catalogue.photos_in(name) if is_folder else ([name], [])
        if others:
            listener.note(f"skipped {counted(len(others), 'file')} in {name}: not photos by their names")
        if not paths:
            failures.append(Failure(str(name), f"{name} is a folder without photos"))
        for path in paths:
            real = os.path.realpath(path)
            image_id = catalogue.readable(path.relative_to(name) if is_folder else Path(path.name))
            image_id = catalogue.readable(path) if image_id in taken else image_id
            for number, row in enumerate(known.get(real, [PhotoRef("", path)]), start=1):
                own = row.image_id if as_known and row.image_id else image_id if number == 1 else f"{image_id}#{number}"
                own = catalogue.free_name(own, taken)
                refs.append(replace(row, image_id=own, path=path, identity=None))
    if not any(os.path.exists(ref.path) for ref in refs):
        reasons = [*(failure.reason for failure in failures), *(f"there is no {ref.path}" for ref in refs)]
        raise PhotoError("no photo to identify" + (f": {some(reasons)}" if reasons else ""))
    return refs, failures


def _real_paths() -> Callable[[Path], str]:
    """`os.path.realpath` of many paths: where a folder leads to is looked up once."""
    folders: dict[str, str] = {}

    def real(path: Path) -> str:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        whole = os.path.join(folders[folder], name)
        return os.path.realpath(whole) if name in ("", os.curdir, os.pardir) or os.path.islink(whole) else whole

    return real


def queries(
    items: Sequence[Indexed], encounters: bool, facts: Callable[[Path], PhotoFacts] = imaging.facts, *, labelled: bool = False
) -> list[Query]:
    """Each photo, or those of each encounter together; where none is known, those of one folder that are of one occasion by their times.

    With `labelled` photos, as in an evaluation, a photo without an encounter is a query by itself, and no query is of two animals. Two
    boxes of one photo are two animals."""
    groups: dict[tuple[str, ...], list[Indexed]] = {}
    n_boxes: dict[tuple[str | Path, ...], int] = {}
    for item in items:
        ref = item.ref
        key: tuple[str, ...] = ("photo", ref.image_id)
        if encounters and ref.encounter:
            key = "encounter", ref.encounter
        elif encounters and not labelled:
            key = "folder", str(ref.path.resolve().parent)
        key = *key, str(ref.identity) if labelled else ""
        box = n_boxes[*key, ref.path] = n_boxes.get((*key, ref.path), 0) + 1
        groups.setdefault((*key, "" if box == 1 else f"#{box}"), []).append(item)
    found: list[Query] = []
    taken: set[str] = set()
    for (kind, unit, _, box_name), group in groups.items():
        is_folder = kind == "folder"
        for when, photos in (_by_occasion(group, facts) if is_folder else {"": group}).items():
            name = f"{Path(unit).name if is_folder else unit}{when}{box_name}"
            found.append(Query(catalogue.free_name(photos[0].ref.image_id if len(photos) == 1 else name, taken), tuple(photos)))
    return found


def apart_from_itself(
    queries: Sequence[Query], references: Sequence[Indexed], searched: Sequence[Indexed], work: Workspace
) -> tuple[list[Query], list[Failure]]:
    """The queries, each with those references that are its very photos, and those of the same encounter that nobody has named, and a note
    of them. Failures are those for which nothing else is searched.

    Photos of one encounter are not compared in a calibration either: two frames of a new animal would be a match of each other."""
    of: dict[Path, str] = {}
    sizes = set[int]()
    for item in (item for query in queries for item in query.photos):
        with suppress(OSError):  # gone since it was read: it is answered by its stored features
            of[item.ref.path] = _content(item, work)
            sizes.add(item.ref.path.stat().st_size)
    contents = set(of.values())
    copies: dict[str | None, list[Indexed]] = {}
    for item in references:
        with suppress(OSError):
            if (content := _content(item, work, sizes)) in contents:
                copies.setdefault(content, []).append(item)
    wanted = {item.digest for item in searched}
    unnamed: dict[str, list[Indexed]] = {}
    for item in references:
        if item.ref.identity is None and item.ref.encounter:
            unnamed.setdefault(item.ref.encounter, []).append(item)
    found: list[Query] = []
    failures: list[Failure] = []
    named: dict[str, str] = {}
    n_aside = 0
    for query in queries:
        own = {other.ref.image_id: other for item in query.photos for other in copies.get(of.get(item.ref.path), ())}
        if wanted <= {other.digest for other in own.values()}:
            failures.append(Failure(query.name, f"{query.name} is in the gallery already, and no other photo is searched"))
            continue
        encounters = dict.fromkeys(item.ref.encounter for item in own.values() if item.ref.encounter)
        aside = [item for name in encounters for item in unnamed.get(name, ()) if item.ref.image_id not in own]
        if wanted <= {other.digest for other in (*own.values(), *aside)}:
            aside = []  # a gallery of one encounter
        n_aside += len(aside)
        found.append(replace(query, in_gallery=tuple(own.values()), set_aside=tuple(aside)))
        named |= {item.ref.image_id: same[0].ref.image_id for item in query.photos if (same := copies.get(of.get(item.ref.path)))}
    if named:
        which = some([photo if photo == other else f"{photo} = {other}" for photo, other in named.items()])
        what = counted(len(named), "photo is", "photos are")
        itself = "itself" if len(named) == 1 else "themselves"
        nor = ", nor with unnamed photos of the same encounter" if n_aside else ""
        work.listener.note(f"{what} in the gallery already, and not compared with {itself}{nor}: {which}")
    return found, failures


def _content(item: Indexed, work: Workspace, sizes: Set[int] | None = None) -> str:
    """The sha256 of a photo's file, whatever its box and mask; blank where it has none of these sizes. Raises OSError where it is gone."""
    if item.ref.crop is None and item.ref.mask is None:
        return item.digest
    return work.digests.of_file(item.ref.path) if sizes is None or item.ref.path.stat().st_size in sizes else ""


def _by_occasion(group: Sequence[Indexed], facts: Callable[[Path], PhotoFacts]) -> dict[str, list[Indexed]]:
    """The photos of each occasion by its beginning, for people; all of them, and no word, where their headers tell no two apart."""
    times = [catalogue.taken_at(item.ref.path, facts) for item in group]
    occasions = catalogue.occasions(times)
    if len(occasions) == 1:
        return {"": list(group)}
    return {min(f"{times[place]:, %Y-%m-%d %H:%M}" for place in places): [group[place] for place in places] for places in occasions}
