"""A folder for each individual, as a gallery without a table is laid out; a folder below it may say the side."""

from __future__ import annotations

import os
import shlex

from ..catalogue import Gallery, find_table, photos_in
from ..catalogue.folders import read_folders, readable
from ..catalogue.names import names_somebody
from ..catalogue.values import counted, some
from ..errors import GalleryError
from . import photos
from .copying import PHOTOS
from .source import Look, Options, Row, Source, of_rows

MEANINGS = {"path": "file", "identity": "folder", "orientation": "side"}


def recognises(look: Look) -> bool:
    return look.is_folder


def read(look: Look, options: Options) -> Source:
    if photos.recognises(look):
        raise GalleryError(
            f"{look.path} holds photos as a camera leaves them, and no folder that is called by an animal; leave out --as folders, and "
            "they are taken in without names, for `reid review` to give them"
        )
    drafts, notes, derived = read_folders(look.path, names_as_written=False, takes_stray=True)
    if find_table(look.path) is not None:  # a gallery, where this folder holds what imports have copied
        drafts = [draft for draft in drafts if not draft.path.is_relative_to(look.path / PHOTOS)]
    rows: list[Row] = []
    for draft in drafts:
        file = readable(draft.path.relative_to(look.path))
        rows.append((file, {"file": file, "folder": draft.name, "side": draft.orientation or ""}))
    names = sorted({draft.name for draft in drafts if names_somebody(draft.name)})
    told = f"{look.path}: folders are taken for animals ({some(names)}); --as photos takes the photos in without names"
    return of_rows(look, Options(), MEANINGS, rows, [*([told] if names else []), *notes, *derived])


def without_row(gallery: Gallery) -> str | None:
    """A note of photos that were put into the folders of animals and stand in no row of the gallery's table; None where there are none, and
    where the table does not call animals as their folders are called."""
    refs = [ref for ref in (*gallery.references, *gallery.queries) if not ref.path.is_relative_to(gallery.root / PHOTOS)]
    named = [ref for ref in refs if ref.identity and ref.path.is_relative_to(gallery.root)]
    called = [ref.identity == ref.path.relative_to(gallery.root).parts[0] for ref in named]
    if not called or 2 * sum(called) < len(called):
        return None
    known = {os.path.realpath(ref.path) for ref in refs}
    try:
        there = [path.relative_to(gallery.root) for path in photos_in(gallery.root)[0] if os.path.realpath(path) not in known]
    except GalleryError:  # told where folders are read
        return None
    names = [readable(path) for path in there if len(path.parts) > 1 and path.parts[0] != PHOTOS]
    command = shlex.join(["reid", "import", str(gallery.root), "--gallery", str(gallery.root), "--as", "folders"])
    what = counted(len(names), "photo in a folder of the gallery is", "photos in folders of the gallery are")
    return f"{what} in no row of its table, and so no part of it: {some(names)}; `{command}` takes them in" if names else None
