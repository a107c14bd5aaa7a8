"""Photos in which nobody is named by a folder: a card, a day's folder, one file; and what the header of any photo says, EXIF and XMP."""

from __future__ import annotations

import os
from pathlib import Path

from ..catalogue import is_photo
from ..catalogue.folders import contents, is_cameras, readable, station
from ..catalogue.values import some
from ..errors import GalleryError
from ..imaging import exif
from . import xmp
from .source import Look, Options, Row, Source, of_rows

MEANINGS = {"path": "file", "identity": "identity", "site": "site"}


def recognises(look: Look) -> bool:
    """A photo, or a folder in which photos lie side by side, or in folders as cameras and days name them, or in cards of stations; an empty
    one, too, to say so."""
    if not look.is_folder:
        return is_photo(look.path.name)
    found = contents(look.path).photos
    folders = [name.split(os.sep)[:-1] for name in found]
    return all(station(own) or "".join(own[:1]).upper() == "DCIM" or all(map(is_cameras, own)) for own in folders)


def read(look: Look, options: Options) -> Source:
    if not look.is_folder:
        return of_rows(look, Options(), MEANINGS, [("", {"file": look.path.name})])
    found = contents(look.path)
    if not found.photos:
        raise GalleryError(f"{look.path} holds no photos")
    sites = {name: readable("/".join(station(name.split(os.sep)[:-1])[:-1])) for name in found.photos}
    rows: list[Row] = [(readable(name), {"file": readable(name), "site": site}) for name, site in sites.items()]
    named = some(sorted({*sites.values()} - {""}))
    told = [f"{look.path}: the folders above DCIM are taken for sites ({named}); the column site corrects them"] if named else []
    return of_rows(look, Options(), MEANINGS, rows, [*told, *found.notes()])


def header(path: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What a photo itself says, by column: `date` with sub-seconds and offset, `latitude`, `longitude`, `camera`; and by keywords
    `identity`, `species`, `site`, `orientation`, `encounter`; and apart from that, where keywords say two things of one meaning, all that
    they say. Never raises."""
    found = exif.read(path)
    words = xmp.meant(xmp.keywords(path))
    cells = {meaning: values[0] for meaning, values in words.items() if len(values) == 1}
    if found.taken is not None:
        cells["date"] = found.taken.isoformat(sep=" ")
    if found.position is not None:
        cells["latitude"], cells["longitude"] = (f"{degrees:.7f}".rstrip("0").rstrip(".") for degrees in found.position)
    camera = " ".join(dict.fromkeys(part for part in (found.make, found.model, found.serial) if part))
    several = {meaning: values for meaning, values in words.items() if len(values) > 1}
    return cells | ({"camera": camera} if camera else {}), several
