"""Which references are worth matching: the query's descriptors vote in an index of the gallery's own.

The index holds the strongest descriptors of every reference in a few bytes each: projected onto the axes along which the gallery's own
differ most, in inverted lists of product-quantised residuals (Jegou et al. 2011, TPAMI; FAISS). A keypoint of the query votes for each
photo among its nearest neighbours there, by how much nearer that neighbour is than the last of them (local naive Bayes nearest neighbour,
McCann and Lowe 2012, CVPR). What is in every photo votes for none.

    <folder>/shortlist/<fingerprint>/<key>/photos.safetensors   digests of the photos in an index, its files as they were written, the axes
    <folder>/shortlist/<fingerprint>/<key>/<name>.faiss         where its lists have their centres; or all of it, where it is small
    <folder>/shortlist/<fingerprint>/<key>/<name>.codes         a part of it

All parts have the same lists. What is added is a part of its own, which those before it join that are no larger, up to `SHARD`
descriptors: so parts are few, and what is stored is seldom written again. Parts are mapped, not read, and each list is checked when a
query first reads it.

Galleries may share a folder: several indexes stand beside each other, each is the gallery's that has most of its photos. Processes may
share it, too: a file is never changed, the list of photos is replaced last, and what it named before stays for an hour.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..records import Features
from ..store import LEFTOVER_AGE, SAVE_EVERY, DamagedFile, fingerprint, is_old, remove, used
from ..store.description import constants
from . import centres, growing, lists, projection
from .growing import AXES, AXES_OF_WHOLE, SAMPLE, Axes, Growing, Load
from .index import PHOTOS, Index, OfEarlierVersion, read

NEIGHBOURS = 16  # of each keypoint; the last is what the others vote against
PROBED = 16  # inverted lists read for each keypoint
UNUSED_FOR = 30 * 86400.0  # seconds after which an index that nobody has opened goes
NO_EFFECT = {"UNUSED_FOR": "when files go", "SAVE_EVERY": "when they are written", "LEFTOVER_AGE": "when they go"}


def describe() -> dict[str, dict[str, object]]:
    """All that changes votes, features given. JSON-able."""
    return constants(*(one.__name__ for one in (growing, lists, centres, projection)), __name__)


class Shortlist:
    """The index of one kind of features; `update` brings it to the photos of a gallery, `votes` searches it. For several threads.

    A descriptor votes for `NEIGHBOURS`, or, where it is a whole photo's, for as many photos as are said. Vectors of whole photos are
    projected however few they are, unless they are `learned`: then all of their axes tell animals apart."""

    def __init__(self, folder: Path, features_fingerprint: str, of_whole: int | None = None, learned: bool = False):
        self.of_whole = of_whole
        self._axes = Axes(AXES) if of_whole is None else Axes(AXES_OF_WHOLE, SAMPLE, without_lists=not learned)
        self.root = folder / "shortlist" / fingerprint(features_fingerprint, describe())
        self._index: Index | None = None
        self._asked: tuple[Index, list[str], NDArray[np.int64]] | None = None  # the last photos that votes were asked for: their numbers
        self._again: Callable[[], None] | None = None  # brings a new index to the photos of the last update
        self._lock = threading.Lock()  # of who opens or updates

    @property
    def digests(self) -> list[str]:
        """Of the photos in the index that is open."""
        return list(self._index.numbers) if self._index else []

    def update(self, digests: Sequence[str], load: Load, progress: Callable[[int, int], None]) -> None:
        """Add the photos that the index lacks and store it. A new one is laid out, beside what is stored, where no index fits the gallery,
        and for four times the photos that the old was made for."""
        wanted = dict.fromkeys(digests)
        self._again = partial(self.update, digests, load, progress)
        with self._lock:
            index = self._index
            if index is None or not wanted.keys() <= index.numbers.keys() or not index.fits(len(wanted)):
                self._index = self._best(wanted, fitting=True)
            while self._index is None or not wanted.keys() <= self._index.numbers.keys():
                try:
                    self._extend(list(wanted), load, progress)
                except FileNotFoundError:  # another process adds, too, and has put a part in the place of one
                    self._index = self._best(wanted, fitting=True)

    def _extend(self, wanted: list[str], load: Load, progress: Callable[[int, int], None]) -> None:
        fits = self._index is not None and len(wanted) <= 4 * self._index.n_trained
        try:
            grown = Growing(self._index, self._axes) if self._index is not None and fits else None
        except FileNotFoundError:
            grown = None
        grown = grown or Growing(Index(self._free(wanted), {}, len(wanted)), self._axes)
        new = [digest for digest in wanted if digest not in grown.index.numbers]
        saved = time.monotonic()
        for start in range(0, len(new), growing.AT_ONCE):
            progress(start, len(new))
            grown.add(new, start, load)
            if time.monotonic() - saved > SAVE_EVERY:  # an interrupted run goes on from here
                grown.save()
                saved = time.monotonic()
        progress(len(new), len(new))
        self._index = grown.save().open(grown.whole)
        self._collect()

    def votes(self, query: Features, digests: Sequence[str]) -> NDArray[np.float32]:
        """(R,) what the query's keypoints give to each of these photos, which are in the index; more is more alike. An index that turns out
        to be damaged is laid out again. Raises StoreError."""
        if not len(query) or not len(digests):
            return np.zeros(len(digests), np.float32)
        index, is_again = None, False
        while True:
            try:
                index, numbers = self._holding(digests)
                return self._counted(index, query, numbers)
            except DamagedFile as error:
                if is_again:
                    raise StoreError(f"{error} is damaged as soon as it is written; is the disk failing?") from error
                self._replace(index, error)
                is_again = True

    def _replace(self, index: Index | None, damage: DamagedFile) -> None:
        """In place of an index that is damaged lay out one of the photos that this was last brought to. Raises StoreError."""
        with self._lock:
            if index is not None and self._index is index:
                (index.folder / PHOTOS).unlink(missing_ok=True)
                self._index = None
        if self._again is None:
            raise StoreError(f"{damage} lacks photos or is damaged; run again, and the shortlist's index is laid out again")
        self._again()

    def _counted(self, index: Index, query: Features, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """(R,) votes for the photos of these numbers. Raises DamagedFile."""
        votes = np.zeros(len(index.numbers), np.float32)
        if not index.parts:
            return votes[numbers]
        wanted = np.zeros(len(votes), bool)
        wanted[numbers] = True
        n_each = NEIGHBOURS if self.of_whole is None else min(self.of_whole, len(numbers))
        similarity, photo = index.nearest(query.descriptors, n_each, PROBED, None if wanted.all() else wanted)
        last = similarity.min(axis=1, keepdims=True, initial=1, where=photo >= 0)  # there may be fewer than asked for
        margin = similarity - last
        keypoint = np.repeat(np.arange(len(query)), n_each)
        _, nearest = np.unique(keypoint * len(votes) + photo.ravel(), return_index=True)  # of each keypoint in each photo: the first
        nearest = nearest[photo.ravel()[nearest] >= 0]
        np.add.at(votes, photo.ravel()[nearest], margin.ravel()[nearest])
        of_wanted: NDArray[np.float32] = votes[numbers]
        return of_wanted

    def _holding(self, digests: Sequence[str]) -> tuple[Index, NDArray[np.int64]]:
        """The open index, or where it lacks one of these photos the stored one that has most of them; and their numbers. Raises DamagedFile
        where none has all of them."""
        asked, wanted = self._asked, list(digests)
        if asked is not None and asked[0] is self._index and asked[1] == wanted:
            return asked[0], asked[2]
        index = self._index
        if index is None or not all(map(index.numbers.__contains__, wanted)):
            with self._lock:
                index = self._index = self._best(dict.fromkeys(wanted)) or self._index
            if index is None or not all(map(index.numbers.__contains__, wanted)):
                raise DamagedFile(self.root)
        numbers = np.fromiter(map(index.numbers.__getitem__, wanted), int, len(wanted))
        self._asked = index, wanted, numbers
        return index, numbers

    # -- files

    def _best(self, wanted: Mapping[str, Any], fitting: bool = False) -> Index | None:
        """The stored index that has most of these photos, opened; with `fitting` of those that fit them."""
        found = [(one, one.shared(wanted)) for one in self._stored()]
        found = [(one, n) for one, n in found if n and (not fitting or one.fits(n))]
        for one, _ in sorted(found, key=lambda each: (-each[1], len(each[0].numbers), each[0].folder)):
            with suppress(FileNotFoundError):
                return _opened(one)
            with suppress(FileNotFoundError, DamagedFile):  # another process may have put another in its place meanwhile
                return _opened(read(one.folder))
            (one.folder / PHOTOS).unlink(missing_ok=True)  # damaged: it is laid out again
        return None

    def _stored(self) -> Iterator[Index]:
        for folder in sorted(self.root.glob("*/")):
            try:
                yield read(folder)
            except (FileNotFoundError, DamagedFile):
                continue

    def _free(self, wanted: list[str]) -> Path:
        """A folder for a new index of these photos."""
        taken = {one.folder for one in self._stored()}
        folders = (self.root / fingerprint(sorted(wanted), number) for number in count())
        return next(folder for folder in folders if folder not in taken)

    def _collect(self) -> None:
        """Delete what nobody needs: files that were replaced an hour ago, indexes that nobody has opened for a month."""
        for path in unneeded(self.root, UNUSED_FOR):
            remove(path)


def _opened(index: Index) -> Index:
    found = index.open()
    used(index.folder / PHOTOS)
    return found


def is_whole(folder: Path) -> bool:
    """Whether the index of a folder and the list of its photos, where there is one, are what was written."""
    for _ in range(2):  # another process may replace an index between the list of its photos and its files
        try:
            return all(part.is_whole(folder) for part in read(folder).files)
        except FileNotFoundError:
            continue
        except OfEarlierVersion:
            return True
        except DamagedFile:
            return False
    return not (folder / PHOTOS).exists()


def unneeded(root: Path, unused_for: float, wanted: Collection[str] | None = None) -> Iterator[Path]:
    """Of the indexes under `root` the folders of those that nobody has opened for so many seconds, of those that fit no gallery of the
    `wanted` photos or cannot be read, and files that were replaced; nothing that was touched in the last hour."""
    for folder in sorted(root.glob("*/")):
        try:
            index = read(folder)
        except (FileNotFoundError, DamagedFile):
            index = None
        is_of_use = index is not None and (wanted is None or index.fits(index.shared(set(wanted))))
        if is_old(folder / PHOTOS, unused_for if is_of_use else LEFTOVER_AGE):
            yield folder
        else:
            named = {part.name for part in index.files} if index is not None else set()
            yield from (file for file in sorted(folder.glob("*")) if file.name not in {PHOTOS, *named} and is_old(file))
