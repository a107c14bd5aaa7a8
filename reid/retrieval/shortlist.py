"""Which references are worth matching: the query's descriptors vote in an index of the gallery's own.

The index holds every descriptor of every reference in a few bytes (inverted lists of product-quantised residuals, Jegou et al. 2011,
TPAMI; FAISS). A keypoint of the query votes for each photo among its nearest neighbours there, by how much nearer that neighbour is than
the last of them (local naive Bayes nearest neighbour, McCann and Lowe 2012, CVPR). What is in every photo votes for none.

    <folder>/shortlist/<fingerprint>/<key>/photos.safetensors   digests of the photos in an index, and its files as they were written
    <folder>/shortlist/<fingerprint>/<key>/<name>.faiss         a part of it

All parts have the same lists. What is added joins the last of them, until that has `SHARD` descriptors; only that is written again.

Galleries may share a folder: several indexes stand beside each other, each is the gallery's that has most of its photos. Processes may
share it, too: a file is never changed, the list of photos is replaced last, and what it named before stays for an hour.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    read_tensors,
    remove,
    used,
    write_atomically,
    write_tensors,
)

NEIGHBOURS = 16  # of each keypoint; the last is what the others vote against
PROBED = 16  # inverted lists read for each keypoint
PER_CODE = 4  # dimensions that share a code of 4 bits
EXACT_BELOW = 2**16  # descriptors; so few are kept and compared as they are
TRAINING = 64  # descriptors for each inverted list, to find its centre
SHARD = 2**24  # descriptors in a file, about: 33,000 photos, 0.4 GB
AT_ONCE = 64  # photos added at a time
UNUSED_FOR = 30 * 86400.0  # seconds after which an index that nobody has opened goes
PHOTOS = "photos.safetensors"

Load = Callable[[str], Features]


def describe() -> dict[str, object]:
    """All that changes votes, features given. JSON-able."""
    return {"neighbours": NEIGHBOURS, "probed": PROBED, "per_code": PER_CODE, "exact_below": EXACT_BELOW, "training": TRAINING}


@dataclass(frozen=True)
class _Part:
    """A file of an index, as it was written."""

    name: str
    n_bytes: int
    checksum: int
    faiss: Any = None  # once it is opened

    def is_whole(self, folder: Path) -> bool:
        """Whether it is what was written: a second for a GB. Raises FileNotFoundError where it is gone."""
        path = folder / self.name
        return path.stat().st_size == self.n_bytes and checksum_of(path) == self.checksum

    def opened(self, folder: Path) -> _Part:
        """In memory: FAISS maps no lists of such short codes. Raises FileNotFoundError where it is gone or is not what was written."""
        import faiss

        path = folder / self.name
        try:
            if not self.is_whole(folder):
                raise FileNotFoundError(path)
            return replace(self, faiss=faiss.read_index(str(path)))
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(path) from error


@dataclass(frozen=True)
class _Index:
    """An index as it is stored. Once it is built nothing of it changes, so several threads may search it."""

    folder: Path
    numbers: dict[str, int]  # of its photos, by digest
    n_trained: int  # photos that there were when the lists were laid out
    parts: tuple[_Part, ...] = ()  # none where no photo has a keypoint

    def shared(self, wanted: Iterable[str]) -> int:
        return len(self.numbers.keys() & wanted)

    def fits(self, wanted: Iterable[str]) -> bool:
        """Whether two in three of its photos are wanted. The others may be another gallery's."""
        return 3 * self.shared(wanted) >= 2 * len(self.numbers)

    def opened(self) -> _Index:
        """Raises FileNotFoundError where a part is gone or is not what was written."""
        return replace(self, parts=tuple(part.opened(self.folder) for part in self.parts))


class Shortlist:
    """The index of one kind of features; `update` brings it to the photos of a gallery, `votes` searches it. For several threads.

    A descriptor votes for `NEIGHBOURS`, or, where it is a whole photo's, for as many photos as are said."""

    def __init__(self, folder: Path, features_fingerprint: str, of_whole: int | None = None):
        self.of_whole = of_whole
        self.root = folder / "shortlist" / fingerprint(features_fingerprint, PER_CODE, EXACT_BELOW)
        self._index: _Index | None = None
        self._lock = threading.Lock()  # of who opens or updates

    @property
    def digests(self) -> list[str]:
        """Of the photos in the index that is open."""
        return list(self._index.numbers) if self._index else []

    def update(self, digests: Sequence[str], load: Load, progress: Callable[[int, int], None]) -> None:
        """Add the photos that the index lacks and store it. A new one is laid out, beside what is stored, where no index fits the gallery,
        and for four times the photos that the old was made for."""
        wanted = dict.fromkeys(digests)
        with self._lock:
            if self._index is None or not self._index.fits(wanted) or not wanted.keys() <= self._index.numbers.keys():
                self._index = self._best(wanted, fitting=True)
            if self._index is not None and wanted.keys() <= self._index.numbers.keys():
                return
            self._extend(list(wanted), load, progress)

    def _extend(self, wanted: list[str], load: Load, progress: Callable[[int, int], None]) -> None:
        fits = self._index is not None and len(wanted) <= 4 * self._index.n_trained
        try:
            growing = _Growing(self._index) if self._index is not None and fits else None
        except FileNotFoundError:
            growing = None
        growing = growing or _Growing(_Index(self._free(wanted), {}, len(wanted)))
        new = [digest for digest in wanted if digest not in growing.index.numbers]
        saved = time.monotonic()
        for start in range(0, len(new), AT_ONCE):
            progress(start, len(new))
            growing.add(new, start, load)
            if time.monotonic() - saved > SAVE_EVERY:  # an interrupted run goes on from here
                growing.save()
                saved = time.monotonic()
        progress(len(new), len(new))
        self._index = growing.save()
        self._collect()

    def votes(self, query: Features, digests: Sequence[str]) -> NDArray[np.float32]:
        """(R,) what the query's keypoints give to each of these photos, which are in the index; more is more alike."""
        import faiss

        index = self._holding(digests)
        if index is None or not index.parts or not len(query) or not len(digests):
            return np.zeros(len(digests), np.float32)
        numbers = np.array([index.numbers[digest] for digest in digests], int)
        votes = np.zeros(len(index.numbers), np.float32)
        wanted = np.zeros(len(votes), bool)
        wanted[numbers] = True
        among = {} if wanted.all() else {"sel": faiss.IDSelectorBitmap(np.packbits(wanted, bitorder="little"))}
        n_each = NEIGHBOURS if self.of_whole is None else min(self.of_whole, len(digests))
        similarity, photo = _nearest(query.descriptors.astype(np.float32), [part.faiss for part in index.parts], among, n_each)
        last = similarity.min(axis=1, keepdims=True, initial=1, where=photo >= 0)  # there may be fewer than asked for
        margin = similarity - last
        keypoint = np.repeat(np.arange(len(query)), n_each)
        _, nearest = np.unique(keypoint * len(votes) + photo.ravel(), return_index=True)  # of each keypoint in each photo: the first
        nearest = nearest[photo.ravel()[nearest] >= 0]
        np.add.at(votes, photo.ravel()[nearest], margin.ravel()[nearest])
        of_wanted: NDArray[np.float32] = votes[numbers]
        return of_wanted

    def _holding(self, digests: Sequence[str]) -> _Index | None:
        """The open index, or where it lacks one of these photos the stored one that has most of them."""
        index = self._index
        if index is None or not all(digest in index.numbers for digest in digests):
            with self._lock:
                index = self._index = self._best(dict.fromkeys(digests)) or self._index
        return index

    # -- files

    def _best(self, wanted: Mapping[str, Any], fitting: bool = False) -> _Index | None:
        """The stored index that has most of these photos, opened; with `fitting` of those that fit them."""
        for again in (False, True):  # another process may replace an index between the list of its photos and its files
            found = [one for one in self._stored() if one.shared(wanted) and (not fitting or one.fits(wanted))]
            for one in sorted(found, key=lambda one: (-one.shared(wanted), len(one.numbers), one.folder)):
                try:
                    opened = one.opened()
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

    def _stored(self) -> Iterator[_Index]:
        for folder in sorted(self.root.glob("*/")):
            try:
                yield _read(folder)
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
            return all(part.is_whole(folder) for part in _read(folder).parts)
        except FileNotFoundError:
            continue
        except DamagedFile:
            return False
    return not (folder / PHOTOS).exists()


def unneeded(root: Path, unused_for: float, wanted: Collection[str] | None = None) -> Iterator[Path]:
    """Of the indexes under `root` the folders of those that nobody has opened for so many seconds, of those that fit no gallery of the
    `wanted` photos, and files that were replaced; nothing that was touched in the last hour."""
    for folder in sorted(root.glob("*/")):
        try:
            index = _read(folder)
        except (FileNotFoundError, DamagedFile):
            index = None
        unused = unused_for if wanted is None or index is None or index.fits(wanted) else LEFTOVER_AGE
        if index is not None and is_old(folder / PHOTOS, unused):
            yield folder
        else:
            named = {part.name for part in index.parts} if index is not None else set()
            yield from (file for file in sorted(folder.glob("*.faiss")) if file.name not in named and is_old(file))


def _read(folder: Path) -> _Index:
    """The index of a folder, not opened. Raises FileNotFoundError, DamagedFile."""
    tensors, about = read_tensors(folder / PHOTOS)
    try:
        numbers = {row.tobytes().hex(): number for number, row in enumerate(tensors["digests"])}
        # until there were parts an index was one file, of no bytes where there was none
        written = about["parts"] if "parts" in about else [(about["file"], about["bytes"], about["checksum_of_file"])]
        return _Index(folder, numbers, about["n_trained"], tuple(_Part(*part) for part in written if part[1]))
    except (KeyError, TypeError) as error:  # of an earlier version
        raise DamagedFile(folder / PHOTOS) from error


def _nearest(
    rows: NDArray[np.float32], parts: Sequence[Any], among: Mapping[str, Any], n: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(K, n) similarities of each row's nearest neighbours in all parts, best first, and their photos; -1: there are no more."""
    import faiss

    shape = len(parts), len(rows), n
    similarity, photo = np.empty(shape, np.float32), np.empty(shape, np.int64)
    if isinstance(parts[0], faiss.IndexIVF):
        n_probed = min(PROBED, parts[0].nlist)
        to_lists, lists = parts[0].quantizer.search(rows, n_probed)  # once, since they are the same in all parts
        how = faiss.SearchParametersIVF(nprobe=n_probed, **among)
        for place, part in enumerate(parts):
            arrays = map(faiss.swig_ptr, (lists, to_lists, similarity[place], photo[place]))
            part.search_preassigned_c(len(rows), faiss.swig_ptr(rows), n, *arrays, False, how)  # its wrapper takes no parameters
    else:
        for place, part in enumerate(parts):
            part.search(rows, n, params=faiss.SearchParameters(**among), D=similarity[place], I=photo[place])
    similarity, photo = np.concatenate(similarity, axis=1), np.concatenate(photo, axis=1)
    first = np.argsort(-similarity, axis=1, kind="stable")[:, :n]
    return np.take_along_axis(similarity, first, axis=1), np.take_along_axis(photo, first, axis=1)


class _Growing:
    """An index that photos are added to, its last part in memory of its own. What is stored of it is not changed, but replaced.

    Raises FileNotFoundError where that part is gone or is not what was written."""

    def __init__(self, index: _Index):
        self.index = replace(index, numbers=dict(index.numbers))
        self.full = index.parts[:-1]  # these stay as they are
        self.last = index.parts[-1].opened(index.folder).faiss if index.parts else None
        self.made = set[str]()  # names of files of this run
        self._begin_if_full(index)

    def _begin_if_full(self, index: _Index) -> None:
        """Begin another part, with the same lists, if the last of the index is full."""
        if self.last is not None and self.last.ntotal >= SHARD:
            self.full = (*self.full, index.parts[-1].opened(index.folder))
            self.last.reset()

    def add(self, digests: Sequence[str], start: int, load: Load) -> None:
        """Add the next of these photos; the lists are laid out first, if need be, for all that are to come."""
        part = digests[start : start + AT_ONCE]
        descriptors = [load(digest).descriptors for digest in part]
        places = np.arange(len(self.index.numbers), len(self.index.numbers) + len(part))
        self.index.numbers.update(zip(part, places.tolist()))
        if any(map(len, descriptors)):
            if self.last is None:
                self.last = _laid_out(digests, load, sum(map(len, descriptors)) / len(part))
            owners = np.repeat(places, [len(one) for one in descriptors])
            self.last.add_with_ids(np.concatenate(descriptors, dtype=np.float32), owners)
            if self.last.ntotal >= SHARD:
                self._begin_if_full(self.save())

    def save(self) -> _Index:
        """The index, its last part stored under a name of its content, and then the list of its photos in the place of the one before. A
        file that was named before becomes a leftover; if this run has made it, it goes at once."""
        index, parts = self.index, (*self.full, self._written()) if self.last is not None and self.last.ntotal else self.full
        digests = np.frombuffer(bytes.fromhex("".join(index.numbers)), np.uint8).reshape(len(index.numbers), -1)
        about = {"parts": [(part.name, part.n_bytes, part.checksum) for part in parts], "n_trained": index.n_trained}
        write_tensors(index.folder / PHOTOS, {"digests": digests}, about)
        for name in {part.name for part in index.parts} - {part.name for part in parts}:
            try:
                (index.folder / name).unlink() if name in self.made else os.utime(index.folder / name)
            except OSError:
                pass  # it has gone, or a process has it open
        self.index = replace(index, parts=parts)
        return self.index

    def _written(self) -> _Part:
        folder, part = self.index.folder, self.index.folder / f"{secrets.token_hex(8)}.faiss"
        write_atomically(part, lambda file: _write(self.last, file))
        n_bytes, checksum = part.stat().st_size, checksum_of(part)
        path = folder / f"{fingerprint(list(self.index.numbers), self.index.n_trained, checksum)}.faiss"
        try:
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            if not path.exists():  # else Windows, where another process has a file of this name open, and so of this content
                raise StoreError(f"cannot write {path}: {error.strerror}; mend that and run again, what is stored stays") from error
        self.made.add(path.name)
        return _Part(path.name, n_bytes, checksum, self.last)


def _write(index: Any, file: Path) -> None:
    import faiss

    try:
        faiss.write_index(index, str(file))
    except RuntimeError as error:
        raise OSError(None, f"FAISS: {str(error).splitlines()[-1]}") from error


def _laid_out(digests: Sequence[str], load: Load, n_each: float) -> Any:
    """An empty index for these photos of about `n_each` descriptors, its lists found on photos spread among them."""
    import faiss

    n = n_each * len(digests)
    n_dims = load(digests[0]).descriptors.shape[1]
    if n < EXACT_BELOW:
        return faiss.index_factory(n_dims, "IDMap,Flat", faiss.METRIC_INNER_PRODUCT)
    n_lists = 2 ** round(np.log2(n) / 2)
    sample = np.unique(np.linspace(0, len(digests) - 1, int(TRAINING * n_lists / n_each) + 1).astype(int))
    index = faiss.index_factory(n_dims, f"IVF{n_lists},PQ{n_dims // PER_CODE}x4fs", faiss.METRIC_INNER_PRODUCT)
    index.train(np.concatenate([load(digests[i]).descriptors for i in sample], dtype=np.float32))
    return index
