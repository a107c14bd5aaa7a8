"""A part of a gallery, by conditions that are said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import GalleryError
from ..records import PhotoRef
from .columns import SYNONYMS, folded
from .sides import side
from .values import some

if TYPE_CHECKING:
    from .gallery import Gallery

MEANINGS = {folded(word): meaning for word, meaning in SYNONYMS.items()}


def restrict(gallery: Gallery, where: Iterable[str] = (), orientation: str | None = None) -> tuple[Gallery, str | None]:
    """The gallery with only the references that fit, and the filter in words; raises GalleryError if none does.

    `where` holds `column=value` conditions that must all hold; several values of a column are separated by commas, and one may
    hold commas itself. Sides are compared by what they mean, so that `L` is left."""
    kept = list(gallery.references)
    said = []
    for condition in where:
        column, equals, values = condition.partition("=")
        column = column.strip()
        if not equals:
            raise GalleryError(f"--where {condition!r} is not of the form column=value")
        known = sorted({name for ref in gallery.references for name in ref.columns})
        name = next((one for one in known if one == column), None) or next((one for one in known if folded(one) == folded(column)), None)
        if name is None:
            raise GalleryError(f"--where {condition!r}: the gallery has no column {column!r}; it has {', '.join(known) or 'no table'}")
        wanted = {value.strip() for value in values.split(",")}
        texts, views = {*wanted, values.strip()}, {side(value) for value in wanted}
        fitting = [ref for ref in kept if _fits(ref, name, texts, views)]
        said.append(f"{column}={','.join(sorted(wanted))}")
        if not fitting:
            there = some(sorted({ref.columns.get(name, "") for ref in kept} - {""}), most=8) if kept else ""
            raise GalleryError(f"no photo of the gallery fits {' and '.join(said)}{f'; {column} is {there}' if there else ''}")
        kept = fitting
    if orientation is not None:
        wanted_side = side(orientation)
        kept = [ref for ref in kept if wanted_side is not None and ref.orientation == wanted_side]
        said.append(f"orientation={wanted_side or orientation}")
    if not kept:
        seen = sorted({ref.orientation for ref in gallery.references if ref.orientation})
        unsided = "; no photo's side is known: a column `orientation`, a folder's name or the end of a photo's name says it"
        sides = "" if orientation is None else f"; it has {some(seen, most=8)}" if seen else unsided
        raise GalleryError(f"no photo of the gallery fits {' and '.join(said)}{sides}")
    return replace(gallery, references=tuple(kept)), " and ".join(said) or None


def _fits(ref: PhotoRef, column: str, texts: set[str], views: set[str | None]) -> bool:
    """By the cell as it is written; of an identity or a side also by what it is read as."""
    if ref.columns.get(column, "") in texts:
        return True
    meaning = MEANINGS.get(folded(column), column)
    return (meaning == "identity" and ref.identity in texts) or (meaning == "orientation" and ref.orientation in views)
