"""A photo as a folder or a table tells of it, before names are cleaned and encounters are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..records import Box
from .dates import When


@dataclass(slots=True)
class Draft:
    image_id: str
    path: Path
    name: str  # as it is written
    orientation: str | None = None
    encounter: str | None = None
    when: When | None = None
    crop: Box | None = None  # px
    mask: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    is_query: bool = False
