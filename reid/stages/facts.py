"""What a photo's header says: its size and when it was taken. The store keeps it."""

from __future__ import annotations

from pathlib import Path

from .. import imaging
from ..formats import exif
from ..records import PhotoFacts


def photo_facts(path: Path) -> PhotoFacts:
    """From the header alone. Raises PhotoError for what is no photo."""
    return PhotoFacts(imaging.photo_size(path), exif.read(path).taken)
