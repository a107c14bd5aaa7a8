"""Small results by name: <folder>/<name>.json, with a checksum. JSON, so that people can read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .files import DamagedFile, read_json, used, write_json

Value = TypeVar("Value")


class JsonStore:
    """JSON-able values of one kind."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def names(self) -> list[str]:
        return sorted(file.stem for file in self.folder.glob("*.json"))

    def load(self, name: str, read: Callable[[Any], Value]) -> Value | None:
        """What `read` makes of the stored value, which may raise what values of another kind make it raise; None if there is none.
        Raises DamagedFile."""
        path = self.path(name)
        try:
            value = read(read_json(path))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFile(path) from error
        used(path)
        return value

    def save(self, name: str, value: object) -> None:
        write_json(self.path(name), value)

    def delete(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)
