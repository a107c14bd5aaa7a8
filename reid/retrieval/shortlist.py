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

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..records import Features
from ..store import (
    LEFTOVER_AGE,
    SAVE_EVERY,
    DamagedFile,
    checksum_of,
    fingerprint,
    is_old,
    remove,
    used,
    write_atomically,
    write_tensors,
)
from . import lists, projection
from .index import PHOTOS, Index, OfEarlierVersion, Part, read
from .lists import Coded, Whole, write_index

NEIGHBOURS = 16  # of each keypoint; the last is what the others vote against
PROBED = 16  # inverted lists read for each keypoint
STORED = 352  # descriptors of a photo, the strongest: with projection, codes and numbers of photos 4 KiB
AXES = 64  # that a descriptor is projected onto where there are lists
AXES_OF_WHOLE = 256  # that a vector of a whole photo is projected onto
PER_CODE = 4  # axes that share a code of 4 bits
EXACT_BELOW = 2**16  # descriptors; so few are kept and compared as they are
LEAST = 64  # descriptors that lists are laid out for
SAMPLE = 4096  # vectors of whole photos that axes are learned from
SHARD = 2**24  # descriptors in a file, at most: 47,000 photos, 0.2 GB
AT_ONCE = 64  # photos added at a time
UNUSED_FOR = 30 * 86400.0  # seconds after which an index that nobody has opened goes

Load = Callable[[str], Features]


def describe() -> dict[str, object]:
    """All that changes votes, features given. JSON-able."""
    names = "NEIGHBOURS", "PROBED", "STORED", "AXES", "AXES_OF_WHOLE", "PER_CODE", "EXACT_BELOW", "LEAST", "SAMPLE"
    learned = {"training": lists.TRAINING, "held_back": projection.HELD_BACK}
    return {**{name.lower(): globals()[name] for name in names}, **learned}


class Shortlist:
    """The index of one kind of features; `update` brings it to the photos of a gallery, `votes` searches it. For several threads.

    A descriptor votes for `NEIGHBOURS`, or, where it is a whole photo's, for as many photos as are said. Vectors of whole photos are
    projected however few they are, unless they are `learned`: then all of their axes tell animals apart."""

    def __init__(self, folder: Path, features_fingerprint: str, of_whole: int | None = None, learned: bool = False):
        self.of_whole, self._is_learned = of_whole, learned
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
            growing = self._growing(self._index) if self._index is not None and fits else None
        except FileNotFoundError:
            growing = None
        growing = growing or self._growing(Index(self._free(wanted), {}, len(wanted)))
        new = [digest for digest in wanted if digest not in growing.index.numbers]
        saved = time.monotonic()
        for start in range(0, len(new), AT_ONCE):
            progress(start, len(new))
            growing.add(new, start, load)
            if time.monotonic() - saved > SAVE_EVERY:  # an interrupted run goes on from here
                growing.save()
                saved = time.monotonic()
        progress(len(new), len(new))
        self._index = growing.save().open(growing.whole)
        self._collect()

    def _growing(self, index: Index) -> _Growing:
        """With axes for lists alone, or else for all that is put in."""
        if self.of_whole is None:
            return _Growing(index, AXES, 0, False)
        return _Growing(index, AXES_OF_WHOLE, SAMPLE, not self._is_learned)

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
            raise StoreError(f"{damage} is damaged; run again, and the shortlist's index is laid out again")
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
        where none is left."""
        asked, wanted = self._asked, list(digests)
        if asked is not None and asked[0] is self._index and asked[1] == wanted:
            return asked[0], asked[2]
        index = self._index
        if index is None or not all(map(index.numbers.__contains__, wanted)):
            with self._lock:
                index = self._index = self._best(dict.fromkeys(wanted)) or self._index
        if index is None:
            raise DamagedFile(self.root)
        numbers = np.fromiter(map(index.numbers.__getitem__, wanted), int, len(wanted))
        self._asked = index, wanted, numbers
        return index, numbers

    # -- files

    def _best(self, wanted: Mapping[str, Any], fitting: bool = False) -> Index | None:
        """The stored index that has most of these photos, opened; with `fitting` of those that fit them."""
        for again in (False, True):  # another process may replace an index between the list of its photos and its files
            found = [(one, one.shared(wanted)) for one in self._stored()]
            found = [(one, n) for one, n in found if n and (not fitting or one.fits(n))]
            for one, _ in sorted(found, key=lambda each: (-each[1], len(each[0].numbers), each[0].folder)):
                try:
                    opened = one.open()
                    used(one.folder / PHOTOS)
                    return opened
                except FileNotFoundError:
                    if again:
                        (one.folder / PHOTOS).unlink(missing_ok=True)  # damaged: it is laid out again
                        continue
                    break
            else:
                return None
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


class _Growing:
    """An index that photos are added to, a part of it in memory of its own. What is stored of it is not changed, but replaced.

    Raises FileNotFoundError where a file of it is gone or is not what was written."""

    def __init__(self, index: Index, axes: int, sample: int, always: bool):
        self.index = replace(index, numbers=dict(index.numbers), trained=None, opened=())
        self.axes, self.sample, self.always = axes, sample, always  # at most; rows they are learned from, at least; without lists, too
        self.whole = set(index.files)  # files that are known to be what was written
        self.made = set[str]()  # names of those of this run
        self.stored = index.parts  # they stay as they are, unless they join the last
        self.last = self._begun()

    def _begun(self) -> Whole | Coded | None:
        """A part to add to: all of the index where it is small; none where nothing is laid out."""
        if self.index.centres is not None:
            return Coded(self.index.centres.faiss(self.index.folder))
        if not self.index.parts:
            return None
        [part] = self.index.parts
        if not part.is_whole(self.index.folder):
            raise FileNotFoundError(self.index.folder / part.name)
        self.stored = ()
        return Whole(part.faiss(self.index.folder))

    def add(self, digests: Sequence[str], start: int, load: Load) -> None:
        """Add the next of these photos; the lists are laid out first, if need be, for all that are to come."""
        part = digests[start : start + AT_ONCE]
        descriptors = [_strongest(load(digest)) for digest in part]
        places = np.arange(len(self.index.numbers), len(self.index.numbers) + len(part))
        if isinstance(self.last, Coded) and len(self.last):
            n_photos = int(places[-1]) + 1 - self.last.first
            if len(self.last) >= SHARD or n_photos > lists.PHOTOS:
                self.stored = self.save().parts
                self.last.clear()
        self.index.numbers.update(zip(part, places.tolist()))
        if any(map(len, descriptors)):
            if self.last is None:
                self._lay_out(digests, load, sum(map(len, descriptors)) / len(part))
            owners = np.repeat(places, [len(one) for one in descriptors])
            rows, onto = np.concatenate(descriptors), self.index.projection
            assert self.last is not None
            self.last.add(rows.astype(np.float32) if onto is None else onto(rows), owners)

    def _lay_out(self, digests: Sequence[str], load: Load, n_each: float) -> None:
        """Begin an index for these photos of about `n_each` descriptors; its axes and lists are found on photos spread among them."""
        import faiss

        n, n_dims = n_each * len(digests), load(digests[0]).descriptors.shape[1]
        n_lists = lists.how_many(n) if n >= EXACT_BELOW else 0
        if n_lists or self.always:
            least = max(self.sample, lists.TRAINING * n_lists)
            places = np.unique(np.linspace(0, len(digests) - 1, int(least / n_each) + 1).astype(int))
            sample = np.concatenate([_strongest(load(digests[i])) for i in places])
            most = 2 ** int(np.log2(len(sample) / 2)) if len(sample) >= LEAST else 0  # later photos may have far fewer than the first
            n_lists = min(n_lists, most)
        if n_lists or (self.always and len(sample)):
            n_dims = 2 ** int(np.log2(min(n_dims, self.axes)))
            onto = projection.learned(sample, n_dims)
            self.index = replace(self.index, projection=onto)
            if n_lists:
                some = [onto(rows).astype(np.float16) for rows in np.array_split(sample, 1 + len(sample) // 2**16)]
                self.last = lists.laid_out(np.concatenate(some), n_lists, n_dims // PER_CODE)
                return
        self.last = Whole(faiss.index_factory(n_dims, "IDMap,Flat", faiss.METRIC_INNER_PRODUCT))

    def _join(self, last: Coded) -> None:
        """Parts that are no larger than what is added become a part with it, up to `SHARD` descriptors."""
        while self.stored:
            part, file = self.stored[-1], self.index.folder / self.stored[-1].name
            n = lists.n_codes(file, last.trained)
            if n > len(last) or n + len(last) > SHARD or len(self.index.numbers) - part.first > lists.PHOTOS:
                return
            if not part.is_whole(self.index.folder):
                return  # whoever reads it will find it
            last.add_before(file, part.first)
            self.stored = self.stored[:-1]

    def save(self) -> Index:
        """The index, what is added stored under a name of its content, and then the list of its photos in the place of the one before. A
        file that was named before becomes a leftover; if this run has made it, it goes at once."""
        index, parts, centred = self.index, self.stored, self.index.centres
        digests = np.frombuffer(bytes.fromhex("".join(index.numbers)), np.uint8).reshape(len(index.numbers), -1)
        if self.last is not None and len(self.last):
            if isinstance(self.last, Coded):
                centred = centred or self._written(partial(write_index, self.last.trained), Whole.suffix)
                self._join(self.last)
            parts = (*self.stored, self._written(self.last.write, self.last.suffix, hashlib.sha256(digests.tobytes()).hexdigest()))
        about = {"parts": [astuple(part) for part in parts], "n_trained": index.n_trained, "centres": centred and astuple(centred)}
        onto = {} if index.projection is None else {"mean": index.projection.mean, "axes": index.projection.axes}
        write_tensors(index.folder / PHOTOS, {"digests": digests, **onto}, about)
        for name in {part.name for part in index.parts} - {part.name for part in parts}:
            try:
                (index.folder / name).unlink() if name in self.made else os.utime(index.folder / name)
            except OSError:
                pass  # it has gone, or a process has it open
        self.index = replace(index, parts=parts, centres=centred)
        return self.index

    def _written(self, write: Callable[[Path], None], suffix: str, *content: str) -> Part:
        folder = self.index.folder
        file = folder / f"{secrets.token_hex(8)}{suffix}"
        write_atomically(file, write)
        n_bytes, checksum = file.stat().st_size, checksum_of(file)
        lists_of = self.last if isinstance(self.last, Coded) and suffix == Coded.suffix else None
        first = () if lists_of is None else (lists_of.n_first, checksum_of(file, lists_of.n_first), lists_of.first)
        path = folder / f"{fingerprint(self.index.n_trained, checksum, *content)}{suffix}"
        try:
            os.replace(file, path)
        except OSError as error:
            file.unlink(missing_ok=True)
            if not path.exists():  # else Windows, where another process has a file of this name open, and so of this content
                raise StoreError(f"cannot write {path}: {error.strerror}; mend that and run again, what is stored stays") from error
        self.made.add(path.name)
        self.whole.add(part := Part(path.name, n_bytes, checksum, *first))
        return part


def _strongest(features: Features) -> NDArray[np.float16]:
    return features.descriptors[:STORED]
