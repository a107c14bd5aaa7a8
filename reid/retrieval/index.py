"""An index as it is stored: its files, opened and searched."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import DamagedFile, checksum_of, read_tensors
from .projection import Projection
from .searched import Found, Mapped, Wanted, Whole, read_index

KEPT = 3 * 2**29  # bytes of files up to which a query leaves mapped what it has touched
HELD = 2**29  # bytes that are mapped as one, where there are more; a query lets go of them before it goes on to the next
PHOTOS = "photos.safetensors"
NO_EFFECT = {"KEPT": "when what is mapped is let go of", "HELD": "how much is searched at a time"}


class OfEarlierVersion(DamagedFile):
    """What an earlier version has written, as it did; this one does not read it."""


@dataclass(frozen=True)
class Part:
    """A file of an index, as it was written."""

    name: str
    n_bytes: int
    checksum: int
    n_first: int | None = None  # bytes before its lists, which have checksums of their own; none: all are checked when it is opened
    of_first: int | None = None  # their checksum
    first: int = 0  # the number of its first photo

    def is_whole(self, folder: Path) -> bool:
        """Whether it is what was written: half a second for a GB. Raises FileNotFoundError where it is gone."""
        path = folder / self.name
        return path.stat().st_size == self.n_bytes and checksum_of(path) == self.checksum

    def can_be_opened(self, folder: Path) -> bool:
        """Whether all is what was written that is not checked when it is read. Raises FileNotFoundError where it is gone."""
        if self.n_first is None:
            return self.is_whole(folder)
        path = folder / self.name
        return path.stat().st_size == self.n_bytes and checksum_of(path, self.n_first) == self.of_first


@dataclass(frozen=True)
class Index:
    """An index as it is stored. Once it is built nothing of it changes, so several threads may search it."""

    folder: Path
    numbers: dict[str, int]  # of its photos, by digest
    n_trained: int  # photos that there were when the lists were laid out
    parts: tuple[Part, ...] = ()  # none where no photo has a keypoint
    centres: Part | None = None  # of its lists; none where it has none
    projection: Projection | None = None  # of what is put in and asked for
    trained: Any = None  # FAISS's centres and codes, once it is opened
    opened: tuple[Whole | Mapped, ...] = ()

    @property
    def files(self) -> tuple[Part, ...]:
        return self.parts if self.centres is None else (self.centres, *self.parts)

    def shared(self, wanted: Iterable[str]) -> int:
        """How many of these photos, each named once, are in it."""
        return sum(map(self.numbers.__contains__, wanted))

    def fits(self, n_shared: int) -> bool:
        """Whether two in three of its photos are wanted. The others may be another gallery's."""
        return 3 * n_shared >= 2 * len(self.numbers)

    def open(self, whole: Collection[Part] = ()) -> Index:
        """Raises FileNotFoundError where a file is gone or is not what was written; those that are known to be whole are not looked at.
        Lists are checked when they are first read."""
        for part in self.files:
            if part not in whole and not part.can_be_opened(self.folder):
                raise FileNotFoundError(self.folder / part.name)
        if self.centres is None:
            return replace(self, opened=tuple(Whole(read_index(self.folder / part.name)) for part in self.parts))
        trained = read_index(self.folder / self.centres.name)
        lets_go, groups = sum(part.n_bytes for part in self.parts) > KEPT, list[list[Part]]()
        for part in self.parts:
            if not groups or (lets_go and sum(one.n_bytes for one in groups[-1]) + part.n_bytes > HELD):
                groups.append([])
            groups[-1].append(part)
        mapped = (Mapped(trained, {self.folder / part.name: part.first for part in group}, lets_go) for group in groups)
        return replace(self, trained=trained, opened=tuple(mapped))

    def nearest(self, rows: NDArray[np.floating[Any]], n: int, n_probed: int, wanted: Wanted) -> Found:
        """Each row's nearest neighbours in all parts, among the photos that are wanted; -1: there are no more. Raises DamagedFile."""
        rows = rows.astype(np.float32) if self.projection is None else self.projection(rows)
        probed = None if self.trained is None else self.trained.quantizer.search(rows, min(n_probed, self.trained.nlist))
        found = [part.search(rows, n, probed, wanted) for part in self.opened]
        similarity, photo = (np.concatenate(each, axis=1) for each in zip(*found))
        first = np.argsort(-similarity, axis=1, kind="stable")[:, :n]
        return np.take_along_axis(similarity, first, axis=1), np.take_along_axis(photo, first, axis=1)


def read(folder: Path) -> Index:
    """The index of a folder, not opened. Raises FileNotFoundError, DamagedFile, OfEarlierVersion."""
    tensors, about = read_tensors(folder / PHOTOS)
    try:
        text, n_digits = tensors["digests"].tobytes().hex(), 2 * tensors["digests"].shape[1]
        numbers = {text[start : start + n_digits]: number for number, start in enumerate(range(0, len(text), n_digits or 1))}
        projection = Projection(tensors["mean"], tensors["axes"]) if "mean" in tensors else None
        parts, about_centres = tuple(Part(*part) for part in about["parts"]), about["centres"]
        return Index(folder, numbers, about["n_trained"], parts, about_centres and Part(*about_centres), projection)
    except (KeyError, TypeError) as error:
        raise OfEarlierVersion(folder / PHOTOS) from error
