"""Inverted lists of codes of 4 bits, in files that are mapped: a query reads what it probes, and lets go of it.

A file: how many codes each list has, and the CRC-32 of each list; then of each list its codes, 32 interleaved as FAISS looks them up, and
the numbers of their photos, counted from the first photo of the file. A list is checked when it is first read.
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
Wanted = NDArray[np.bool_] | None  # which are looked for, by their numbers; none: all
Found = tuple[NDArray[np.float32], NDArray[np.int64]]  # (K, n) similarities of each row's nearest neighbours, best first, and their photos

TRAINING = 64  # descriptors for each list, to find its centre
PER_LIST = 2**12  # descriptors in a list where they are many, until there are
MOST_LISTS = 2**16
FOR_CODES = 2**16  # descriptors that codes are learned from, where lists are many
BLOCK = 32  # codes that are looked up at a time; a list is filled up to whole blocks
AT_ONCE = 2**16  # blocks that are packed at a time
PER_HEADER = 4 + 4  # bytes of each list in the header of a file
PER_PHOTO = 2  # bytes of the number of a photo
PHOTOS = 2**16  # photos that a file can number
ALIGNED = 64  # bytes: the numbers that FAISS is given begin where they are whole codes from those of any list


def how_many(n: float) -> int:
    """Lists for `n` descriptors."""
    return int(2 ** round(np.log2(min(max(n**0.5, n / PER_LIST), MOST_LISTS))))


def laid_out(sample: NDArray[np.floating[Any]], n_lists: int, n_codes: int) -> Coded:
    """Empty lists for rows of which these are some, each of so many codes: a power of two."""
    import faiss

    trained = faiss.index_factory(sample.shape[1], f"IVF{n_lists},PQ{n_codes}x4fs", faiss.METRIC_INNER_PRODUCT)
    if n_lists > centres.MANY:
        trained.quantizer.add(centres.found(sample, n_lists))
        sample = sample[:: len(sample) // FOR_CODES + 1]
    trained.train(sample.astype(np.float32))
    return Coded(trained)


def write(file: Path, trained: Any, lists: NDArray[Any], codes: NDArray[np.uint8], photos: NDArray[Any]) -> None:
    """Codes, the list and the photo of each, by its number in this file; in a list they stay in their order."""
    sizes = np.bincount(lists, minlength=trained.nlist)
    order, places, starts = np.argsort(lists, kind="stable"), _places(sizes), _starts(sizes)
    n = BLOCK * starts[-1]
    rows, numbers = np.zeros((n, codes.shape[1]), np.uint8), np.zeros(n, np.uint16)
    rows[_interleaved(places)], numbers[places] = codes[order], photos[order]
    for start in range(0, n, BLOCK * AT_ONCE):
        some = rows[start : start + BLOCK * AT_ONCE]
        some[:] = _packed(some).reshape(some.shape)
    bounds = list(pairwise((BLOCK * starts).tolist()))
    sums = [zlib.crc32(numbers[first:last].data, zlib.crc32(rows[first:last].data)) for first, last in bounds]
    with open(file, "wb") as out:
        out.write(sizes.astype(np.uint32).data)
        out.write(np.array(sums, np.uint32).data)
        for first, last in bounds:
            out.write(rows[first:last].data)
            out.write(numbers[first:last].data)


def read(file: Path, trained: Any) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint16]]:
    """Lists, codes and photos, as they were written but for the order of the lists."""
    content, size = np.fromfile(file, np.uint8), trained.pq.code_size
    sizes, bounds = _sizes(content, trained), _bounds(content, trained)
    middle = bounds[:-1] + np.diff(bounds) // (size + PER_PHOTO) * size  # of a list, where numbers of photos follow its codes
    in_turn = list(zip(bounds.tolist(), middle.tolist(), bounds[1:].tolist()))
    codes = np.concatenate([content[start:end] for start, end, _ in in_turn])
    numbers = np.concatenate([content[start:end] for _, start, end in in_turn])
    blocks, places = codes.reshape(-1, size, 2, BLOCK // 2), _places(sizes)
    rows = np.concatenate([_unpacked(blocks[start : start + AT_ONCE]) for start in range(0, len(blocks) or 1, AT_ONCE)])
    lists = np.repeat(np.arange(len(sizes)).astype(np.uint16), sizes)
    return lists, rows[_interleaved(places)], numbers.view(np.uint16)[places]


def n_codes(file: Path, trained: Any) -> int:
    """Raises FileNotFoundError where the file is gone."""
    return int(np.fromfile(file, np.uint32, trained.nlist).sum(dtype=np.int64))


def _sizes(content: NDArray[np.uint8], trained: Any) -> NDArray[np.int64]:
    """(n_lists,) how many codes each list has."""
    return content[: 4 * trained.nlist].view(np.uint32).astype(np.int64)


def _bounds(content: NDArray[np.uint8], trained: Any) -> NDArray[np.int64]:
    """(n_lists + 1,) where each list begins, and the last ends."""
    bounds: NDArray[np.int64] = PER_HEADER * trained.nlist + BLOCK * (trained.pq.code_size + PER_PHOTO) * _starts(_sizes(content, trained))
    return bounds


class Checked:
    """The lists of files, each looked at once. For several threads."""

    def __init__(self, files: Sequence[Path], contents: Sequence[NDArray[np.uint8]], bounds: NDArray[np.int64]):
        n = bounds.shape[1] - 1
        self._files, self._contents, self._bounds = files, contents, bounds
        self._sums = np.stack([content[4 * n : PER_HEADER * n].view(np.uint32) for content in contents])
        self._whole = np.zeros((len(files), n), bool)

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

    def __init__(self, trained: Any):
        self.trained = trained
        self._nearest = centres.nearest(trained.quantizer)
        self.clear()

    def clear(self) -> None:
        self.first = 0  # the number of the first photo, once there is one
        self._parts: list[tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.int32]]] = []

    def __len__(self) -> int:
        return sum(len(lists) for lists, _, _ in self._parts)

    @property
    def n_first(self) -> int:
        """Bytes of a file before its lists."""
        return PER_HEADER * int(self.trained.nlist)

    def add(self, rows: NDArray[np.float32], photos: NDArray[Any]) -> None:
        """Photos have numbers that rise."""
        import faiss

        lists, codes = self._nearest(rows), np.empty((len(rows), self.trained.pq.code_size), np.uint8)
        self.trained.encode_vectors(len(rows), *map(faiss.swig_ptr, (rows, lists, codes)))
        if not self._parts:
            self.first = int(photos[0])
        self._parts.append((lists.astype(np.uint16), codes, photos.astype(np.int32)))

    def add_before(self, file: Path, first: int) -> None:
        """What a file holds, whose first photo has this number."""
        lists, codes, photos = read(file, self.trained)
        self._parts.insert(0, (lists, codes, photos + np.int32(first)))
        self.first = first

    def write(self, file: Path) -> None:
        lists, codes, photos = map(np.concatenate, zip(*self._parts))
        self._parts = [(lists, codes, photos)]
        write(file, self.trained, lists, codes, photos - self.first)


class Whole:
    """A FAISS index in memory, of descriptors as they are."""

    suffix = ".faiss"

    def __init__(self, faiss: Any):
        self.faiss = faiss

    def __len__(self) -> int:
        return int(self.faiss.ntotal)

    def add(self, rows: NDArray[np.float32], photos: NDArray[Any]) -> None:
        self.faiss.add_with_ids(rows, photos)

    def write(self, file: Path) -> None:
        write_index(self.faiss, file)

    def search(self, rows: NDArray[np.float32], n: int, probed: Probed | None, wanted: Wanted) -> Found:
        import faiss

        among = {} if wanted is None else {"sel": _selector(wanted)}
        similarity, photo = np.empty((len(rows), n), np.float32), np.empty((len(rows), n), np.int64)
        self.faiss.search(rows, n, params=faiss.SearchParameters(**among), D=similarity, I=photo)
        return similarity, photo


class Mapped:
    """Files of the same lists, each with the number of its first photo, searched as one. For several threads."""

    def __init__(self, trained: Any, files: Mapping[Path, int], lets_go: bool):
        import faiss

        self._trained, self._lets_go, self._firsts = trained, lets_go, list(files.values())
        self._maps: list[mmap.mmap] = []
        self._lists: Any = None  # of all files, where FAISS cannot be told of some
        if hasattr(faiss, "OnDiskInvertedLists"):
            self._maps = [_mapped(file) for file in files]
            self._contents = [np.frombuffer(one, np.uint8) for one in self._maps]
        else:  # on Windows
            self._contents = [np.fromfile(file, np.uint8) for file in files]
        sizes, bounds = (np.stack([of(content, trained) for content in self._contents]) for of in (_sizes, _bounds))
        self._checked = Checked(list(files), self._contents, bounds)
        self._sizes, self._starts = sizes.ravel(), bounds[:, :-1].ravel()
        self._rooms = np.diff(bounds).ravel() // (trained.pq.code_size + PER_PHOTO)  # of codes, to whole blocks
        if not self._maps:
            codes = [content[start:] for content, starts in zip(self._contents, bounds[:, :-1].tolist()) for start in starts]
            self._lists = _in_memory(codes, self._sizes, trained)

    def search(self, rows: NDArray[np.float32], n: int, probed: Probed | None, wanted: Wanted) -> Found:
        """FAISS numbers the codes of the lists that are probed; the photos of what it finds are looked up afterwards."""
        assert probed is not None
        similarity, lists = probed
        n_files = len(self._firsts)
        places = (lists[:, None] + self._trained.nlist * np.arange(n_files)[:, None]).reshape(len(rows), -1)
        used = np.unique(places)
        self._checked.look_at(used)
        if self._lists is None:
            places, counting = np.searchsorted(used, places), _counting(int(self._rooms[used].sum()))
            given = self._at(used, counting)
        else:
            used, given = np.arange(len(self._sizes)), self._lists
        among = None if wanted is None else self._all_wanted(used, wanted)
        similarity, codes = _search(_over(self._trained, given), rows, n, (np.tile(similarity, n_files), places), among)
        found = similarity, self._photos(used, codes)
        for one in self._maps if self._lets_go else ():
            one.madvise(mmap.MADV_DONTNEED)
        return found

    def _numbers(self, used: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each list, numbered through all files: its file, and where the numbers of its photos begin there, in steps of two bytes."""
        starts = self._starts[used] + self._trained.pq.code_size * self._rooms[used]
        return used // self._trained.nlist, starts // PER_PHOTO  # before it are headers of 8 bytes and blocks of codes: an even number

    def _all_wanted(self, used: NDArray[np.int64], wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of each code of these lists, which are in order, with their room: whether its photo is wanted."""
        files, starts = self._numbers(used)
        ends, found = starts + self._rooms[used], []
        for file, (content, first) in enumerate(zip(self._contents, self._firsts)):
            low, high = np.searchsorted(files, (file, file + 1))
            if low < high:
                own, here = content.view(np.uint16), np.zeros(PHOTOS, bool)
                here[: len(wanted) - first] = wanted[first : first + PHOTOS]
                in_turn = zip(starts[low:high].tolist(), ends[low:high].tolist())
                found.append(here[np.concatenate([own[start:end] for start, end in in_turn])])
        return np.concatenate(found)

    def _photos(self, used: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The photos of codes of these lists; -1 of -1."""
        files, starts = self._numbers(used)
        bounds = np.cumsum(self._rooms[used])
        found = np.full(codes.shape, -1)
        place = np.searchsorted(bounds, codes, side="right")
        for file, (content, first) in enumerate(zip(self._contents, self._firsts)):
            own = (codes >= 0) & (files[place] == file)
            at = place[own]
            found[own] = content.view(np.uint16)[starts[at] + codes[own] - bounds[at] + self._rooms[used[at]]].astype(np.int64) + first
        return found

    def _at(self, used: NDArray[np.int64], counting: NDArray[np.int64]) -> Any:
        """FAISS's lists on disk, of a file that begins at no address, so that what it takes for places in it are addresses. Numbers of
        codes it looks for behind the room that a list has: the room is such that it finds them in `counting`, which all have in common."""
        import faiss

        size, bounds = self._trained.pq.code_size, np.cumsum(self._rooms[used])
        codes = np.array([one.ctypes.data for one in self._contents])[used // self._trained.nlist] + self._starts[used]
        numbers = counting.ctypes.data + 8 * (bounds - self._rooms[used])
        table = np.ascontiguousarray(np.stack([self._sizes[used], (numbers - codes) // size, codes], axis=1))
        lists = faiss.OnDiskInvertedLists()
        lists.nlist, lists.code_size, lists.read_only = len(table), size, True
        lists.lists.resize(len(table))
        faiss.memcpy(lists.lists.data(), faiss.swig_ptr(table), table.nbytes)
        return lists


def _over(trained: Any, lists: Any) -> Any:
    """An index of these lists, whose centres are not looked for."""
    import faiss

    index = faiss.IndexIVFPQFastScan(trained.quantizer, trained.d, 1, trained.pq.M, trained.pq.nbits, trained.metric_type)
    index.pq, index.by_residual, index.is_trained = trained.pq, trained.by_residual, True
    index.nlist, index.ntotal = lists.nlist, lists.compute_ntotal()
    index.replace_invlists(lists, False)
    return index


_counted = [np.zeros(0, np.int64)]


def _counting(n: int) -> NDArray[np.int64]:
    """0, 1, ... to n at the least; the same for all, until there are more."""
    numbers = _counted[0]  # which another thread may replace, by fewer, too
    if len(numbers) < n:
        whole = -(-n // 2**20) * 2**20
        room = np.empty(whole + ALIGNED // 8, np.int64)
        begin = -room.ctypes.data % ALIGNED // 8
        numbers = room[begin : begin + whole]
        numbers[:] = np.arange(whole)
        _counted[0] = numbers
    return numbers


def _selector(wanted: NDArray[np.bool_]) -> Any:
    import faiss

    return faiss.IDSelectorBitmap(np.packbits(wanted, bitorder="little"))


def _search(index: Any, rows: NDArray[np.float32], n: int, probed: Probed, wanted: Wanted) -> Found:
    import faiss

    among = {} if wanted is None else {"sel": _selector(wanted)}
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


def _in_memory(codes: Sequence[NDArray[np.uint8]], sizes: NDArray[np.int64], trained: Any) -> Any:
    """The same where FAISS has no lists on disk: on Windows."""
    import faiss

    packer = trained.get_CodePacker()
    packer.this.disown()
    lists = faiss.BlockInvertedLists(len(sizes), packer)
    starts = BLOCK * _starts(sizes)
    numbers = _counting(int(starts[-1]))
    for number, (n, own) in enumerate(zip(sizes.tolist(), codes)):
        if n:
            lists.add_entries(number, n, *map(faiss.swig_ptr, (numbers[starts[number] :], own)))
    return lists
