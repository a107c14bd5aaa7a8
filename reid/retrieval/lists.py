"""Inverted lists of codes of 4 bits, in files that are mapped: a query reads what it probes, and lets go of it.

A file: how many codes each list has, and the CRC-32 of each list; then of each list its codes, 32 interleaved as FAISS looks them up, and
the numbers of their photos. A list is checked when it is first read. Files of an earlier version have no checksums of lists.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import DamagedFile
from . import centres

Probed = tuple[NDArray[np.float32], NDArray[np.int64]]  # (K, P) similarities of each row to centres, and the numbers of their lists
Found = tuple[NDArray[np.float32], NDArray[np.int64]]  # (K, n) similarities of each row's nearest neighbours, best first, and their photos

TRAINING = 64  # descriptors for each list, to find its centre
PER_LIST = 2**12  # descriptors in a list where they are many, until there are
MOST_LISTS = 2**16
FOR_CODES = 2**16  # descriptors that codes are learned from, where lists are many
BLOCK = 32  # codes that are looked up at a time; a list is filled up to whole blocks
AT_ONCE = 2**16  # blocks that are packed at a time
PER_HEADER = 8 + 4  # bytes of each list in the header of a file
BEFORE = ".lists"  # how names of files end that have no checksums of lists


def how_many(n: float) -> int:
    """Lists for `n` descriptors."""
    return int(2 ** round(np.log2(min(max(n**0.5, n / PER_LIST), MOST_LISTS))))


def laid_out(sample: NDArray[np.floating[Any]], n_lists: int, code_size: int) -> Coded:
    """Empty lists for descriptors of which these are some, each of so many codes."""
    import faiss

    trained = faiss.index_factory(sample.shape[1], f"IVF{n_lists},PQ{code_size}x4fs", faiss.METRIC_INNER_PRODUCT)
    if n_lists > centres.MANY:
        trained.quantizer.add(centres.found(sample, n_lists))
        sample = sample[:: len(sample) // FOR_CODES + 1]
    trained.train(sample.astype(np.float32))
    return Coded(trained)


def write(file: Path, trained: Any, lists: NDArray[Any], codes: NDArray[np.uint8], photos: NDArray[Any]) -> None:
    """Codes, the list and the photo of each; in a list they stay in their order."""
    sizes = np.bincount(lists, minlength=trained.nlist)
    order, places, starts = np.argsort(lists, kind="stable"), _places(sizes), _starts(sizes)
    n = BLOCK * starts[-1]
    rows, numbers = np.zeros((n, codes.shape[1]), np.uint8), np.full(n, -1, np.int64)
    rows[_interleaved(places)], numbers[places] = codes[order], photos[order]
    for start in range(0, n, BLOCK * AT_ONCE):
        some = rows[start : start + BLOCK * AT_ONCE]
        some[:] = _packed(some).reshape(some.shape)
    bounds = list(pairwise((BLOCK * starts).tolist()))
    sums = [zlib.crc32(numbers[first:last].data, zlib.crc32(rows[first:last].data)) for first, last in bounds]
    with open(file, "wb") as out:
        out.write(sizes.astype(np.int64).data)
        out.write(np.array(sums, np.uint32).data)
        for first, last in bounds:
            out.write(rows[first:last].data)
            out.write(numbers[first:last].data)


def read(file: Path, trained: Any) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.int32]]:
    """Lists, codes and photos, as they were written but for the order of the lists."""
    content, size = np.fromfile(file, np.uint8), trained.pq.code_size
    table = _table(content, trained, file, 0)
    middle = table[:, 1] * size + table[:, 2]  # of a list, where numbers of photos follow its codes
    bounds = list(zip(table[:, 2].tolist(), middle.tolist(), (middle + 8 * table[:, 1]).tolist()))
    codes = np.concatenate([content[start:end] for start, end, _ in bounds])
    numbers = np.concatenate([content[start:end] for _, start, end in bounds])
    blocks, places = codes.reshape(-1, size, 2, BLOCK // 2), _places(table[:, 0])
    rows = np.concatenate([_unpacked(blocks[start : start + AT_ONCE]) for start in range(0, len(blocks) or 1, AT_ONCE)])
    lists = np.repeat(np.arange(len(table)).astype(np.uint16), table[:, 0])
    return lists, rows[_interleaved(places)], numbers.view(np.int64)[places].astype(np.int32)


def n_codes(file: Path, trained: Any) -> int:
    return int(np.fromfile(file, np.int64, trained.nlist).sum())


def _bounds(content: NDArray[np.uint8], trained: Any, file: Path) -> NDArray[np.int64]:
    """(n_lists + 1,) where each list begins, and the last ends."""
    before = (8 if file.suffix == BEFORE else PER_HEADER) * trained.nlist
    bounds: NDArray[np.int64] = before + BLOCK * (trained.pq.code_size + 8) * _starts(content[: 8 * trained.nlist].view(np.int64))
    return bounds


def _table(content: NDArray[np.uint8], trained: Any, file: Path, base: int) -> NDArray[np.int64]:
    """(n_lists, 3) of each list how many codes it has, how many there is room for, and where the first is, if the file begins at `base`;
    numbers of photos follow the room."""
    sizes, bounds = content[: 8 * trained.nlist].view(np.int64), _bounds(content, trained, file)
    return np.stack([sizes, np.diff(bounds) // (trained.pq.code_size + 8), base + bounds[:-1]], axis=1)


class Checked:
    """The lists of files, each looked at once. For several threads."""

    def __init__(self, files: Sequence[Path], contents: Sequence[NDArray[np.uint8]], trained: Any):
        self._files, self._contents = files, contents
        self._bounds = np.stack([_bounds(content, trained, file) for file, content in zip(files, contents)])
        n = trained.nlist
        self._sums, self._whole = np.zeros((len(files), n), np.uint32), np.ones((len(files), n), bool)
        for place, (file, content) in enumerate(zip(files, contents)):
            if file.suffix != BEFORE:  # which is read through when it is opened
                self._sums[place], self._whole[place] = content[8 * n : PER_HEADER * n].view(np.uint32), False

    def look_at(self, lists: NDArray[np.int64]) -> None:
        """At those of these lists, numbered through all files, that nobody has looked at. Raises DamagedFile."""
        n = self._whole.shape[1]
        files, numbers = np.divmod(np.unique(lists[~self._whole.ravel()[lists]]), n)
        each = (files, self._bounds[files, numbers], self._bounds[files, numbers + 1], self._sums[files, numbers])
        for file, start, end, checksum in zip(*(one.tolist() for one in each)):
            if zlib.crc32(self._contents[file][start:end]) != checksum:
                raise DamagedFile(self._files[file])
        self._whole[files, numbers] = True


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Blocks before each list, and in all."""
    starts: NDArray[np.int64] = np.concatenate([[0], np.cumsum(-(-sizes // BLOCK))])
    return starts


def _places(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each code, list by list, where each list begins with a block."""
    places: NDArray[np.int64] = np.repeat(BLOCK * _starts(sizes)[:-1] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    return places


def _interleaved(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where FAISS has what stands in these places: 0, 2, 4, ..., 14, 1, 3, ..., 15 of each 16."""
    within = places & 15
    there: NDArray[np.int64] = places - within + ((within & 7) << 1) + (within >> 3)
    return there


def _packed(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(B, S, 2, 16) from (32 B, S): of each byte the lower half for all codes of a block, then the upper half; two codes share a byte."""
    first, second = np.ascontiguousarray(rows.reshape(-1, 2, BLOCK // 2, rows.shape[1]).transpose(1, 0, 3, 2))
    return np.stack([first & 15 | second << 4, first >> 4 | second & 240], axis=2)


def _unpacked(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    low, high = np.ascontiguousarray(blocks.transpose(2, 0, 1, 3))
    halves = np.stack([low & 15 | high << 4, low >> 4 | high & 240])
    return halves.transpose(1, 0, 3, 2).reshape(-1, blocks.shape[1])


class Coded:
    """What is added to lists, in memory until it is written."""

    suffix = ".codes"

    def __init__(self, trained: Any, file: Path | None = None):
        self.trained = trained
        self._nearest = centres.nearest(trained.quantizer)
        self._parts = [read(file, trained)] if file is not None else []

    def __len__(self) -> int:
        return sum(len(lists) for lists, _, _ in self._parts)

    @property
    def n_first(self) -> int:
        """Bytes of a file before its lists."""
        return PER_HEADER * int(self.trained.nlist)

    def add(self, rows: NDArray[np.float32], photos: NDArray[Any]) -> None:
        import faiss

        lists, codes = self._nearest(rows), np.empty((len(rows), self.trained.pq.code_size), np.uint8)
        self.trained.encode_vectors(len(rows), *map(faiss.swig_ptr, (rows, lists, codes)))
        self._parts.append((lists.astype(np.uint16), codes, photos.astype(np.int32)))

    def write(self, file: Path) -> None:
        lists, codes, photos = map(np.concatenate, zip(*self._parts))
        self._parts = [(lists, codes, photos)]
        write(file, self.trained, lists, codes, photos)

    def clear(self) -> None:
        self._parts = []


class Whole:
    """A FAISS index in memory: of descriptors as they are, or with codes, as they were stored before files were mapped."""

    suffix = ".faiss"

    def __init__(self, faiss: Any):
        self.faiss = faiss

    def __len__(self) -> int:
        return int(self.faiss.ntotal)

    def add(self, rows: NDArray[np.float32], photos: NDArray[Any]) -> None:
        self.faiss.add_with_ids(rows, photos)

    def write(self, file: Path) -> None:
        write_index(self.faiss, file)

    def clear(self) -> None:
        self.faiss.reset()

    def search(self, rows: NDArray[np.float32], n: int, probed: Probed | None, among: Mapping[str, Any]) -> Found:
        import faiss

        if probed is not None:
            return _search(self.faiss, rows, n, probed, among)
        similarity, photo = np.empty((len(rows), n), np.float32), np.empty((len(rows), n), np.int64)
        self.faiss.search(rows, n, params=faiss.SearchParameters(**among), D=similarity, I=photo)
        return similarity, photo


class Mapped:
    """Files of the same lists, searched as one. For several threads."""

    def __init__(self, trained: Any, files: Sequence[Path], lets_go: bool):
        import faiss

        self._maps, self._lets_go, self._n_lists = [], lets_go, trained.nlist
        if hasattr(faiss, "OnDiskInvertedLists"):
            self._maps = [_mapped(file) for file in files]
            contents = [np.frombuffer(one, np.uint8) for one in self._maps]
            table = np.concatenate([_table(one, trained, file, one.ctypes.data) for file, one in zip(files, contents)])
            self._lists = _at(table, trained.pq.code_size)
        else:
            contents = [np.fromfile(file, np.uint8) for file in files]
            self._lists = _in_memory(files, contents, trained)
        self._checked = Checked(files, contents, trained)
        self._faiss = faiss.IndexIVFPQFastScan(trained.quantizer, trained.d, 1, trained.pq.M, trained.pq.nbits, trained.metric_type)
        self._faiss.pq, self._faiss.by_residual, self._faiss.is_trained = trained.pq, trained.by_residual, True
        self._faiss.nlist, self._faiss.ntotal = self._lists.nlist, self._lists.compute_ntotal()
        self._faiss.replace_invlists(self._lists, False)
        self._trained = trained  # which owns the quantizer

    def search(self, rows: NDArray[np.float32], n: int, probed: Probed | None, among: Mapping[str, Any]) -> Found:
        assert probed is not None
        similarity, lists = probed
        first = range(0, self._lists.nlist, self._n_lists)
        places = np.concatenate([np.where(lists < 0, lists, lists + one) for one in first], axis=1)
        self._checked.look_at(places[places >= 0])
        found = _search(self._faiss, rows, n, (np.tile(similarity, len(first)), places), among)
        for one in self._maps if self._lets_go else ():
            one.madvise(mmap.MADV_DONTNEED)
        return found


def _search(index: Any, rows: NDArray[np.float32], n: int, probed: Probed, among: Mapping[str, Any]) -> Found:
    import faiss

    to_lists, lists = map(np.ascontiguousarray, probed)
    similarity, photo = np.empty((len(rows), n), np.float32), np.empty((len(rows), n), np.int64)
    how = faiss.SearchParametersIVF(nprobe=lists.shape[1], **among)
    arrays = map(faiss.swig_ptr, (rows, lists, to_lists, similarity, photo))
    index.search_preassigned_c(len(rows), next(arrays), n, *arrays, False, how)  # its wrapper takes no parameters
    return similarity, photo


def write_index(index: Any, file: Path) -> None:
    import faiss

    try:
        faiss.write_index(index, str(file))
    except RuntimeError as error:
        raise OSError(None, f"FAISS: {str(error).splitlines()[-1]}") from error


def _mapped(file: Path) -> mmap.mmap:
    with open(file, "rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def _at(table: NDArray[np.int64], code_size: int) -> Any:
    """FAISS's lists on disk, of a file that begins at no address, so that what it takes for places in it are addresses."""
    import faiss

    lists = faiss.OnDiskInvertedLists()
    lists.nlist, lists.code_size, lists.read_only = len(table), code_size, True
    lists.lists.resize(len(table))
    faiss.memcpy(lists.lists.data(), faiss.swig_ptr(table), table.nbytes)
    return lists


def _in_memory(files: Sequence[Path], contents: Sequence[NDArray[np.uint8]], trained: Any) -> Any:
    """The same where FAISS has no lists on disk: on Windows."""
    import faiss

    packer = trained.get_CodePacker()
    packer.this.disown()
    lists = faiss.BlockInvertedLists(trained.nlist * len(files), packer)
    for part, (file, content) in enumerate(zip(files, contents)):
        for number, (n, room, at) in enumerate(_table(content, trained, file, 0).tolist(), start=part * trained.nlist):
            if n:
                arrays = content[at + room * trained.pq.code_size :].view(np.int64), content[at:]
                lists.add_entries(number, n, *map(faiss.swig_ptr, arrays))
    return lists
