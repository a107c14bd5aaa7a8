"""What goes through the stages: photos whose content is known by its digest, and queries made of them."""

from __future__ import annotations

from dataclasses import dataclass

from .photo import PhotoRef


@dataclass(frozen=True)
class Indexed:
    """A photo that has been read, by the digest of its content, box and mask."""

    ref: PhotoRef
    digest: str  # 64 hex digits; what is stored of the photo is found by it


@dataclass(frozen=True)
class Query:
    """One photo, or those of one encounter."""

    name: str
    photos: tuple[Indexed, ...]
    in_gallery: tuple[Indexed, ...] = ()  # references that are these very photos, and so say nothing of who it is
    set_aside: tuple[Indexed, ...] = ()  # references of its encounter that nobody has named: they say no more of who it is
