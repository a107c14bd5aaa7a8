"""A folder for each individual, as a gallery without a table is laid out; a folder below it may say the side."""

from __future__ import annotations

from ..catalogue.folders import read_folders, readable
from ..catalogue.names import names_somebody
from ..catalogue.values import some
from ..errors import GalleryError
from . import photos
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
    drafts, notes, derived = read_folders(look.path, names_as_written=False)
    rows: list[Row] = []
    for draft in drafts:
        file = readable(draft.path.relative_to(look.path))
        rows.append((file, {"file": file, "folder": draft.name, "side": draft.orientation or ""}))
    names = sorted({draft.name for draft in drafts if names_somebody(draft.name)})
    told = f"{look.path}: folders are taken for animals ({some(names)}); --as photos takes the photos in without names"
    return of_rows(look, Options(), MEANINGS, rows, [*([told] if names else []), *notes, *derived])
