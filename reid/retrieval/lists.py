"""The index of a gallery's descriptors, as it is stored: how it is laid out, grown by photos, opened and checked.

    <folder>/photos.safetensors   digests of the photos in the index, and its files, as they were written
    <folder>/<name>.faiss         first where the inverted lists are, empty, then for each `SHARD` photos what is in them

The strongest descriptors of every reference are there in a few bytes each: which list, and the product-quantised rest (Jegou et al. 2011,
TPAMI; FAISS). The lists' centres are sums of two vectors, of a few hundred in all (a residual quantiser, Chen et al. 2010, Sensors): quick
to learn and to search, however many lists there are. What is in the lists is mapped into memory, not read. Photos that come later join the
last shard or a new one, and only that is written. An index of few descriptors has no lists: its one file holds them as they are.

A file is never changed, the list of photos is replaced last, and what it named before stays for an hour.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..records import Features
from ..store import LEFTOVER_AGE, DamagedFile, checksum_of, fingerprint, is_old, read_tensors, write_atomically, write_tensors

KEPT = 256  # descriptors of a reference, the strongest
BYTES = 8  # of a descriptor in the lists; the number of its photo takes as many
EXACT_BELOW = 2**16  # descriptors; so few are all kept, and compared as they are
GROWTH = 0.575  # of the number of lists, as a power of the number of descriptors: 2^9 for 500 photos, 2^16 for a million
TRAINING = 512  # photos that the centres and the codes are learned from
SHARD = 2**15  # photos in a file
AT_ONCE = 64  # photos added at a time
PHOTOS = "photos.safetensors"

Load = Callable[[str], Features]


def describe() -> dict[str, object]:
    """All that changes what is stored, features given. JSON-able."""
    return {"kept": KEPT, "bytes": BYTES, "exact_below": EXACT_BELOW, "growth": GROWTH, "training": TRAINING, "shard": SHARD}


class _OfBefore(DamagedFile):
    """The list of photos of an index that an earlier version has laid out."""


@dataclass(frozen=True)
class _File:
    """A file of an index, as it was written."""

    name: str
    n_bytes: int
    checksum: int
    changed: int  # ns

    def is_whole(self, folder: Path, trusted: bool = False) -> bool:
        """Whether it is what was written: a second for a GB; if it is `trusted`, by its size and time alone. Raises FileNotFoundError."""
        found = (folder / self.name).stat()
        same = found.st_size == self.n_bytes
        return same and ((trusted and found.st_mtime_ns == self.changed) or checksum_of(folder / self.name) == self.checksum)


@dataclass(frozen=True)
class Index:
    """An index as it is stored. Once it is built nothing of it changes, so several threads may search it."""

    folder: Path
    numbers: dict[str, int]  # of its photos, by digest
    n_trained: int  # photos that there were when the lists were laid out
    files: tuple[_File, ...] = ()  # none where no photo has a keypoint
    n_last: int = 0  # photos in the last of its shards
    faiss: Any = None  # once it is opened
    parts: tuple[Any, ...] = ()  # what that needs to live

    def shared(self, wanted: Iterable[str]) -> int:
        return len(self.numbers.keys() & wanted)

    def fits(self, wanted: Iterable[str]) -> bool:
        """Whether two in three of its photos are wanted. The others may be another gallery's."""
        return 3 * self.shared(wanted) >= 2 * len(self.numbers)

    def is_whole(self) -> bool:
        """Whether every file is what was written. Raises FileNotFoundError where one is gone."""
        return all(file.is_whole(self.folder) for file in self.files)

    def opened(self, to_grow: bool = False) -> Index:
        """To be searched; or `to_grow`, with the last shard alone, in memory. Shards that are full are trusted by size and time, everything
        else is read, so that this takes no longer the larger the gallery. Raises FileNotFoundError where a file is gone or is not what
        was written."""
        import faiss

        shards = self.files[1:]
        try:
            if not all(file.is_whole(self.folder, trusted=file in shards[:-1]) for file in self.files):  # one cut short must not be mapped
                raise FileNotFoundError(self.folder)
            if not self.files:
                return self
            found = faiss.read_index(str(self.folder / self.files[0].name))
            parts = [self._shard(file, not to_grow) for file in (shards[-1:] if to_grow else shards)]
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(self.folder) from error
        if len(parts) == 1:
            found.replace_invlists(parts.pop(), True)
        elif parts:
            all_parts = faiss.InvertedListsPtrVector()
            owners = [faiss.IndexIVFFlat(found.quantizer, found.d, found.nlist) for _ in parts]  # FAISS frees lists with an index alone
            for part, owner in zip(parts, owners):
                owner.code_size = part.code_size
                owner.replace_invlists(part, True)
                all_parts.push_back(part)
            parts = [*owners, faiss.HStackInvertedLists(all_parts.size(), all_parts.data())]
            found.replace_invlists(parts[-1], False)
        return replace(self, faiss=found, parts=tuple(parts))

    def _shard(self, file: _File, mapped: bool) -> Any:
        import faiss

        lists = faiss.read_InvertedLists(faiss.FileIOReader(str(self.folder / file.name)), faiss.IO_FLAG_MMAP if mapped else 0)
        if lists.compute_ntotal() * lists.code_size > file.n_bytes:  # lengths that are not what was written must not be believed
            raise FileNotFoundError(self.folder / file.name)
        return lists


class Growing:
    """An index that photos are added to, its last shard in memory. What is stored of it is not changed, but replaced."""

    def __init__(self, index: Index, new: Sequence[str], load: Load):
        import faiss

        self.index = replace(index, numbers=dict(index.numbers))
        self.new, self.load = new, load
        self.full = index.files[: max(1, len(index.files) - 1)] if isinstance(index.faiss, faiss.IndexIVF) else ()  # before the last shard
        self.made = set[str]()  # names of files of this run

    def add(self, start: int) -> int:
        """Add the next photos; lay the index out for all that are to come, if need be, and begin a new shard. How many they were."""
        import faiss

        if self.index.n_last >= SHARD:
            self.full = self.save().files
            self.index.faiss.reset()
            self.index = replace(self.index, n_last=0)
        part = self.new[start : start + AT_ONCE]
        found = [self.load(digest) for digest in part]
        places = np.arange(len(self.index.numbers), len(self.index.numbers) + len(part))
        self.index.numbers.update(zip(part, places.tolist()))
        if not any(map(len, found)):
            return len(part)
        if self.index.faiss is None:
            self.index = replace(self.index, faiss=_laid_out(self.new, self.load, sum(map(len, found)) / len(part)))
            self.full = (self._written(faiss.write_index, self.index.faiss),) if isinstance(self.index.faiss, faiss.IndexIVF) else ()
        if self.full:
            self.index = replace(self.index, n_last=self.index.n_last + len(part))
        descriptors = [_strongest(one) if self.full else one.descriptors for one in found]
        owners = np.repeat(places, [len(one) for one in descriptors])
        self.index.faiss.add_with_ids(np.concatenate(descriptors, dtype=np.float32), owners)
        return len(part)

    def save(self) -> Index:
        """The index, stored under names of its content, and then the list of its photos in the place of the one before. A file that
        was named before becomes a leftover; if this run has made it, it goes at once."""
        import faiss

        index, files = self.index, self.full
        if self.full:
            files += (self._written(lambda lists, path: faiss.write_InvertedLists(lists, faiss.FileIOWriter(path)), index.faiss.invlists),)
        elif index.faiss is not None:
            files = (self._written(faiss.write_index, index.faiss),)
        digests = np.frombuffer(bytes.fromhex("".join(index.numbers)), np.uint8).reshape(len(index.numbers), -1)
        about = {"files": [asdict(file) for file in files], "n_last": index.n_last, "n_trained": index.n_trained}
        write_tensors(index.folder / PHOTOS, {"digests": digests}, about)
        for name in {file.name for file in index.files} - {file.name for file in files}:
            try:
                (index.folder / name).unlink() if name in self.made else os.utime(index.folder / name)
            except OSError:
                pass  # it has gone, or a process maps it
        self.index = replace(index, files=files)
        return self.index

    def _written(self, write: Callable[[Any, str], None], what: Any) -> _File:
        folder, part = self.index.folder, self.index.folder / f"{secrets.token_hex(8)}.faiss"

        def told(path: Path) -> None:
            try:
                write(what, str(path))
            except RuntimeError as error:
                raise OSError(None, f"FAISS: {str(error).splitlines()[-1]}") from error

        write_atomically(part, told)
        n_bytes, checksum = part.stat().st_size, checksum_of(part)
        own = list(self.index.numbers)[-self.index.n_last :]
        path = folder / f"{fingerprint(own, self.index.n_trained, n_bytes, checksum)}.faiss"
        try:
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            if not path.exists():  # else Windows, where another process maps a file of this name, and so of this content
                raise StoreError(f"cannot write {path}: {error.strerror}; mend that and run again, what is stored stays") from error
        self.made.add(path.name)
        return _File(path.name, n_bytes, checksum, path.stat().st_mtime_ns)


def is_whole(folder: Path) -> bool:
    """Whether the index of a folder and the list of its photos, where there is one, are what was written, as far as this version knows."""
    for _ in range(2):  # another process may replace an index between the list of its photos and its files
        try:
            return read(folder).is_whole()
        except FileNotFoundError:
            continue
        except DamagedFile as error:
            return isinstance(error, _OfBefore)
    return not (folder / PHOTOS).exists()


def unneeded(root: Path, unused_for: float, wanted: Collection[str] | None = None) -> Iterator[Path]:
    """Of the indexes under `root` the folders of those that nobody has opened for so many seconds, of those that fit no gallery of the
    `wanted` photos or are of an earlier version, and files that were replaced; nothing that was touched in the last hour."""
    for folder in sorted(root.glob("*/")):
        index, unused = None, unused_for
        try:
            index = read(folder)
            if wanted is not None and not index.fits(wanted):
                unused = LEFTOVER_AGE
        except _OfBefore:
            unused = LEFTOVER_AGE
        except (FileNotFoundError, DamagedFile):
            unused = float("inf")
        if is_old(folder / PHOTOS, unused):
            yield folder
        else:
            named = {file.name for file in index.files} if index is not None else set()
            yield from (file for file in sorted(folder.glob("*.faiss")) if file.name not in named and is_old(file))


def read(folder: Path) -> Index:
    """The index of a folder, not opened. Raises FileNotFoundError, DamagedFile."""
    tensors, about = read_tensors(folder / PHOTOS)
    try:
        files = tuple(_File(**file) for file in about["files"])
        whole, length = tensors["digests"].tobytes().hex(), 2 * tensors["digests"].shape[1]
        numbers = {whole[at : at + length]: number for number, at in enumerate(range(0, len(whole), length))}
        return Index(folder, numbers, about["n_trained"], files, about["n_last"])
    except (KeyError, TypeError) as error:
        raise _OfBefore(folder / PHOTOS) from error


def _strongest(features: Features) -> NDArray[np.floating[Any]]:
    """The descriptors of a reference that its lists hold."""
    return features.descriptors[np.argsort(-features.scores, kind="stable")[:KEPT]]


def _laid_out(digests: Sequence[str], load: Load, n_each: float) -> Any:
    """An empty index for these photos of about `n_each` descriptors, its lists found on photos spread among them."""
    import faiss

    n_dims, kind = load(digests[0]).descriptors.shape[1], faiss.METRIC_INNER_PRODUCT
    if n_each * len(digests) < EXACT_BELOW:
        return faiss.index_factory(n_dims, "IDMap,Flat", kind)
    n_bits = max(2, int(GROWTH * np.log2(min(n_each, KEPT) * len(digests))))
    first, second = (n_bits + 1) // 2, n_bits // 2
    index = faiss.index_factory(n_dims, f"IVF{2**n_bits}(RCQ1x{first}_1x{second}),PQ{gcd(n_dims, BYTES)}", kind)
    sample = np.unique(np.linspace(0, len(digests) - 1, TRAINING).astype(int))
    index.train(np.concatenate([_strongest(load(digests[i])) for i in sample], dtype=np.float32))
    return index
