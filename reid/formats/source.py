"""What a foreign file says, as rows of text under the file's own names of columns, so that every problem can be told in its words.

Rows are understood by the catalogue's own reader (`catalogue.rows`): paths, dates, boxes and sides are read there and nowhere else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..catalogue.columns import Columns
from ..catalogue.table import Table, read_table
from ..catalogue.values import as_text, counted, some
from ..errors import GalleryError

MOST_JSON = 1 << 31  # bytes
EMPTY = frozenset(("empty", "blank"))  # categories of photos without an animal
OTHERS = frozenset(("person", "human", "vehicle"))  # categories that are no animal
Row = tuple[str, Mapping[str, str]]  # where it stands, and its cells


@dataclass(frozen=True)
class Options:
    """How foreign files are to be read."""

    photos: Path | None = None  # the folder that paths are relative to; None: where the file lies
    columns: Mapping[str, str] = field(default_factory=dict)  # of tables: the column of a meaning, "" where none says it
    remembered: Mapping[str, str] = field(default_factory=dict)  # the same, from imports before; only for tables that have the column
    min_confidence: float = 0.2  # of boxes that a detector has found


@dataclass(frozen=True)
class Source:
    """The rows of one source."""

    root: Path  # the folder that paths are relative to
    table: Table
    columns: Columns
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()  # each names file and row


@dataclass(frozen=True)
class Look:
    """A source before it is known what it is: read once, looked at by every reader."""

    path: Path

    @cached_property
    def is_folder(self) -> bool:
        return os.path.isdir(self.path)

    @cached_property
    def json(self) -> Any:
        """None for a file that is no JSON by its first letter. Raises GalleryError."""
        if self.is_folder:
            return None
        try:
            with open(self.path, "rb") as file:
                start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
                if not start.startswith((b"{", b"[")) or self.path.suffix.lower() not in (".json", ""):
                    return None
                if os.fstat(file.fileno()).st_size > MOST_JSON:
                    raise GalleryError(f"{self.path} is larger than {MOST_JSON >> 30} GiB and is not read; split it")
                file.seek(0)
                return json.loads(file.read())
        except OSError as error:
            raise GalleryError(f"{self.path} cannot be read: {error.strerror or error}") from error
        except json.JSONDecodeError as error:
            raise GalleryError(f"{self.path}, line {error.lineno}, column {error.colno}: is no JSON ({error.msg})") from error
        except (ValueError, RecursionError) as error:
            raise GalleryError(f"{self.path} cannot be read as JSON ({type(error).__name__})") from error

    @cached_property
    def table(self) -> Table:
        """Raises GalleryError."""
        return read_table(self.path)

    def root(self, options: Options) -> Path:
        """The folder that paths are relative to."""
        return options.photos or (self.path if self.is_folder else self.path.parent)


def of_rows(
    look: Look, options: Options, meanings: Mapping[str, str], rows: Iterable[Row], notes: Iterable[str] = (), problems: Iterable[str] = ()
) -> Source:
    """A source of rows that a reader has made; `meanings` gives the file's own name of the column for each meaning."""
    kept, told = _apart(list(rows), meanings)
    notes = [*notes, *([f"{look.path}: {told}"] if told else [])]
    names = tuple(dict.fromkeys([*meanings.values(), *(name for _, row in kept for name in row)]))
    table = Table(str(look.path), names, tuple((where, tuple(row.get(name, "") for name in names)) for where, row in kept), "")
    of = {meaning: names.index(name) for meaning, name in meanings.items()}
    return Source(look.root(options), table, Columns(names, of, (), False, (), ()), tuple(notes), tuple(problems))


def _apart(rows: list[Row], meanings: Mapping[str, str]) -> tuple[list[Row], str]:
    """A photo that several rows show without a box to tell them by: one row where they agree who it is, else none, and a note."""
    path, box, identity = (meanings.get(name, "") for name in ("path", "bbox", "identity"))
    groups: dict[tuple[str, str], list[Row]] = {}
    for where, row in rows:
        groups.setdefault((row.get(path, ""), row.get(box, "")), []).append((where, row))
    several = {key for key, own in groups.items() if key[0] and len({row.get(identity, "") for _, row in own}) > 1}
    kept = [own[0] for key, own in groups.items() if key[0] and key not in several]
    kept += [one for key, own in groups.items() if not key[0] for one in own]  # without a photo: told as a problem each
    n = len(several)
    what = counted(n, "photo shows several animals and no box says", "photos show several animals and no box says")
    return kept, f"{what} which is which; left out: {some(sorted(file for file, _ in several))}" if n else ""


class Objects:
    """The objects of a JSON file, with every problem of their form gathered."""

    def __init__(self, name: str):
        self.name = name
        self.problems: list[str] = []

    def each(self, above: Any, key: str, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(where, object) of the list `key` of an object; nothing where it is missing or null."""
        value = above.get(key) if isinstance(above, dict) else None
        if value is None:
            return
        if not isinstance(value, list):
            self.problem(where, f"{key} is no list")
            return
        for place, one in enumerate(value):
            here = f"{where}{', ' if where else ''}{key}[{place}]"
            if isinstance(one, dict):
                yield here, one
            else:
                self.problem(here, "is no object")

    def text(self, one: Mapping[str, Any], key: str, where: str) -> str:
        """A value as a cell; a list or an object is a problem."""
        value = one.get(key)
        if isinstance(value, (dict, list)):
            self.problem(where, f"is no text and no number (column {key})")
            return ""
        return as_text(value)

    def problem(self, where: str, text: str) -> None:
        self.problems.append(f"{self.name}{', ' if where else ''}{where}: {text}")


def numbers(value: Any, n: int) -> list[float] | None:
    """A list of `n` finite numbers; None for anything else."""
    if not isinstance(value, list) or len(value) != n:
        return None
    if not all(isinstance(one, (int, float)) and not isinstance(one, bool) and abs(one) < 1e12 for one in value):  # nan is not below
        return None
    return [float(one) for one in value]


def as_json(value: Any) -> str:
    """A box or an outline as a cell: whole numbers without a point."""
    return json.dumps(_short(value), separators=(", ", ": "))


def _short(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_short(one) for one in value]
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
