"""Which photos are to be identified, and which of them make one query."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from .. import catalogue
from ..catalogue import Gallery
from ..errors import PhotoError
from ..records import Failure, Indexed, PhotoFacts, PhotoRef, Query
from .listener import Listener


def photos(
    given: Iterable[str | Path], gallery: Gallery, facts: Callable[[Path], PhotoFacts], listener: Listener
) -> tuple[list[PhotoRef], list[Failure]]:
    """The photos named, and those in the folders named. A photo that stands in the gallery's table brings its boxes, masks and sides
    along, each a photo by itself; of another its header says when it was taken. Raises PhotoError where there is none at all."""
    known: dict[str, list[PhotoRef]] = {}
    for ref in (*gallery.references, *gallery.queries):
        known.setdefault(os.path.realpath(ref.path), []).append(ref)
    references = {os.path.realpath(ref.path) for ref in gallery.references}
    refs: list[PhotoRef] = []
    failures: list[Failure] = []
    taken: set[str] = set()
    for name in map(Path, given):
        is_folder = os.path.isdir(name)
        paths, others = catalogue.photos_in(name) if is_folder else ([name], [])
        if others:
            listener.note(f"skipped {len(others)} file(s) in {name} that are not photos by their names")
        if not paths:
            failures.append(Failure(str(name), f"{name} is a folder without photos"))
        for path in paths:
            real = os.path.realpath(path)
            if real in references:
                listener.note(f"{path} is itself a reference of the gallery, and is found as such")
            image_id = catalogue.readable(path.relative_to(name) if is_folder else Path(path.name))
            image_id = catalogue.readable(path) if image_id in taken else image_id
            rows = known.get(real) or [PhotoRef("", path, taken=catalogue.taken_at(path, facts))]
            for number, row in enumerate(rows, start=1):
                own = _free(image_id if number == 1 else f"{image_id}#{number}", taken)
                refs.append(replace(row, image_id=own, path=path, identity=None))
    if not refs and not failures:
        raise PhotoError("no photo to identify")
    return refs, failures


def queries(items: Sequence[Indexed], encounters: bool, labelled: bool = False) -> list[Query]:
    """Each photo, or those of each encounter together; where none is known, those of one folder that are of one occasion by their times.

    With `labelled` photos, as in an evaluation, a photo without an encounter is a query by itself, and no query is of two animals. Two
    boxes of one photo are two animals."""
    groups: dict[tuple[str, ...], list[Indexed]] = {}
    n_boxes: dict[tuple[str, Path], int] = {}
    for item in items:
        ref = item.ref
        key: tuple[str, ...] = ("photo", ref.image_id)
        if encounters and ref.encounter:
            key = "encounter", ref.encounter
        elif encounters and not labelled:
            key = "folder", str(ref.path.resolve().parent)
        box = n_boxes[key[1], ref.path] = n_boxes.get((key[1], ref.path), 0) + 1
        groups.setdefault((*key, str(ref.identity) if labelled else "", "" if box == 1 else f"#{box}"), []).append(item)
    found: list[Query] = []
    taken: set[str] = set()
    for (kind, unit, _, box_name), group in groups.items():
        occasions = catalogue.occasions([item.ref.taken for item in group]) if kind == "folder" else [list(range(len(group)))]
        for places in occasions:
            items_of = tuple(group[place] for place in places)
            name = Path(unit).name if kind == "folder" else unit
            if len(occasions) > 1:
                name += min(f"{item.ref.taken:, %Y-%m-%d %H:%M}" for item in items_of)
            found.append(Query(_free(items_of[0].ref.image_id if len(items_of) == 1 else name + box_name, taken), items_of))
    return found


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where it is taken, and taken from now on."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    taken.add(free)
    return free
