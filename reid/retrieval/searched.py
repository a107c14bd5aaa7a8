"""What is searched of an index: all of it in memory, where it is small, or lists in files that are mapped.

A query reads the lists that it probes, and lets go of them where they are many. A list is checked when it is first read.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import DamagedFile
from .lists import MOST_PHOTOS, PER_HEADER, PER_PHOTO, bounds_of, sizes_of

Probed = tuple[NDArray[np.float32], NDArray[np.int64]]  # (K, P) similarities of each row to centres, and the numbers of their lists
Wanted = NDArray[np.bool_] | None  # which are looked for, by their numbers; none: all
Found = tuple[NDArray[np.float32], NDArray[np.int64]]  # (K, n) similarities of each row's nearest neighbours, best first, and their photos

ALIGNED = 64  # bytes: the numbers that FAISS is given begin where they are whole codes from those of any list
NO_EFFECT = {"ALIGNED": "where numbers lie", "MOST_PHOTOS": "how a file is laid out", "PER_HEADER": "likewise", "PER_PHOTO": "likewise"}


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

        similarity, photo = np.empty((len(rows), n), np.float32), np.empty((len(rows), n), np.int64)
        self.faiss.search(rows, n, params=faiss.SearchParameters(**_among(wanted)), D=similarity, I=photo)
        return similarity, photo


@dataclass(frozen=True)
class Lists:
    """Lists of several files, in the order of the files and of their places there. FAISS numbers their codes in this order, and the room
    after them that fills a list up to whole blocks, too."""

    files: NDArray[np.int64]  # (L,) of each its file
    starts: NDArray[np.int64]  # (L,) where it begins there, in bytes
    sizes: NDArray[np.int64]  # (L,) how many codes it has
    rooms: NDArray[np.int64]  # (L,) how many it has room for
    code_size: int

    def __getitem__(self, some: NDArray[np.int64]) -> Lists:
        return Lists(self.files[some], self.starts[some], self.sizes[some], self.rooms[some], self.code_size)

    @property
    def firsts(self) -> NDArray[np.int64]:
        """(L,) numbers of the first codes."""
        return np.cumsum(self.rooms) - self.rooms

    @property
    def photos(self) -> NDArray[np.int64]:
        """(L,) where in its file the photos of its codes begin, in steps of two bytes; what precedes them is a multiple of it."""
        return (self.starts + self.code_size * self.rooms) // PER_PHOTO


class Mapped:
    """Files of the same lists, each with the number of its first photo, searched as one. For several threads."""

    def __init__(self, trained: Any, files: Mapping[Path, int], lets_go: bool):
        import faiss

        self._trained, self._lets_go, self._names, self._firsts = trained, lets_go, list(files), list(files.values())
        self._maps: list[mmap.mmap] = []
        self._in_memory: Any = None  # FAISS's lists of all files, where it cannot be told of some
        if hasattr(faiss, "OnDiskInvertedLists"):
            self._maps = [_mapped(file) for file in files]
            self._contents = [np.frombuffer(one, np.uint8) for one in self._maps]
        else:  # on Windows
            self._contents = [np.fromfile(file, np.uint8) for file in files]
        n, size = trained.nlist, trained.pq.code_size
        sizes, bounds = (np.concatenate([of(content, trained) for content in self._contents]) for of in (sizes_of, bounds_of))
        bounds = bounds.reshape(len(files), n + 1)
        rooms = np.diff(bounds).ravel() // (size + PER_PHOTO)
        self._lists = Lists(np.repeat(np.arange(len(files)), n), bounds[:, :-1].ravel(), sizes, rooms, size)
        self._checksums = np.concatenate([content[4 * n : PER_HEADER * n].view(np.uint32) for content in self._contents])
        self._are_whole = np.zeros(len(sizes), bool)
        if not self._maps:
            self._in_memory = _in_memory(self._contents, self._lists, trained)

    def search(self, rows: NDArray[np.float32], n: int, probed: Probed | None, wanted: Wanted) -> Found:
        """FAISS numbers the codes of the lists that are probed; the photos of what it finds are looked up afterwards."""
        assert probed is not None
        similarity, numbers = probed
        n_files = len(self._firsts)
        numbers = (numbers[:, None] + self._trained.nlist * np.arange(n_files)[:, None]).reshape(len(rows), -1)  # through all files
        used = np.unique(numbers)
        self._look_at(used)
        if self._in_memory is None:
            lists, numbers = self._lists[used], np.searchsorted(used, numbers)
            counting = _counting(int(lists.rooms.sum()))
            given = self._at(lists, counting)
        else:
            lists, given = self._lists, self._in_memory
        among = None if wanted is None else self._all_wanted(lists, wanted)
        similarity, codes = _search(_over(self._trained, given), rows, n, (np.tile(similarity, n_files), numbers), among)
        found = similarity, self._photos(lists, codes)
        for one in self._maps if self._lets_go else ():
            one.madvise(mmap.MADV_DONTNEED)
        return found

    def _look_at(self, used: NDArray[np.int64]) -> None:
        """At those of these lists that nobody has looked at. Raises DamagedFile."""
        new = used[~self._are_whole[used]]
        lists = self._lists[new]
        ends = lists.starts + lists.rooms * (lists.code_size + PER_PHOTO)
        each = (lists.files, lists.starts, ends, self._checksums[new])
        for file, start, end, checksum in zip(*(one.tolist() for one in each)):
            if zlib.crc32(self._contents[file][start:end]) != checksum:
                raise DamagedFile(self._names[file])
        self._are_whole[new] = True

    def _all_wanted(self, lists: Lists, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of each code of these lists, and of the room after them: whether its photo is wanted."""
        starts, found = lists.photos, []
        ends = starts + lists.rooms
        for file, (content, first) in enumerate(zip(self._contents, self._firsts)):
            low, high = np.searchsorted(lists.files, (file, file + 1))
            if low < high:
                own, here = content.view(np.uint16), np.zeros(MOST_PHOTOS, bool)
                here[: len(wanted) - first] = wanted[first : first + MOST_PHOTOS]
                in_turn = zip(starts[low:high].tolist(), ends[low:high].tolist())
                found.append(here[np.concatenate([own[start:end] for start, end in in_turn])])
        return np.concatenate(found)

    def _photos(self, lists: Lists, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The photos of codes of these lists; -1 of -1."""
        found, firsts = np.full(codes.shape, -1), lists.firsts
        which = np.searchsorted(firsts, codes, side="right") - 1
        places = (lists.photos - firsts)[which] + codes
        for file, (content, first) in enumerate(zip(self._contents, self._firsts)):
            own = (codes >= 0) & (lists.files[which] == file)
            found[own] = content.view(np.uint16)[places[own]].astype(np.int64) + first
        return found

    def _at(self, lists: Lists, counting: NDArray[np.int64]) -> Any:
        """FAISS's lists on disk, of a file that begins at no address, so that what it takes for places in it are addresses. Numbers of
        codes it looks for behind the room that a list has: the room is such that it finds them in `counting`, which all have in common."""
        import faiss

        codes = np.array([one.ctypes.data for one in self._contents])[lists.files] + lists.starts
        numbers = counting.ctypes.data + 8 * lists.firsts
        table = np.ascontiguousarray(np.stack([lists.sizes, (numbers - codes) // lists.code_size, codes], axis=1))
        given = faiss.OnDiskInvertedLists()
        given.nlist, given.code_size, given.read_only = len(table), lists.code_size, True
        given.lists.resize(len(table))
        faiss.memcpy(given.lists.data(), faiss.swig_ptr(table), table.nbytes)
        return given


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


def _in_memory(contents: Sequence[NDArray[np.uint8]], lists: Lists, trained: Any) -> Any:
    """The same where FAISS has no lists on disk: on Windows."""
    import faiss

    packer = trained.get_CodePacker()
    packer.this.disown()
    given = faiss.BlockInvertedLists(len(lists.sizes), packer)
    numbers = _counting(int(lists.rooms.sum()))
    each = (lists.files, lists.starts, lists.sizes, lists.firsts)
    for list_no, (file, start, n, first) in enumerate(zip(*(one.tolist() for one in each))):
        if n:
            given.add_entries(list_no, n, *map(faiss.swig_ptr, (numbers[first:], contents[file][start:])))
    return given


def _over(trained: Any, lists: Any) -> Any:
    """An index of these lists, whose centres are not looked for."""
    import faiss

    index = faiss.IndexIVFPQFastScan(trained.quantizer, trained.d, 1, trained.pq.M, trained.pq.nbits, trained.metric_type)
    index.pq, index.by_residual, index.is_trained = trained.pq, trained.by_residual, True
    index.nlist, index.ntotal = lists.nlist, lists.compute_ntotal()
    index.replace_invlists(lists, False)
    return index


def _search(index: Any, rows: NDArray[np.float32], n: int, probed: Probed, wanted: Wanted) -> Found:
    import faiss

    to_lists, lists = map(np.ascontiguousarray, probed)
    similarity, found = np.empty((len(rows), n), np.float32), np.empty((len(rows), n), np.int64)
    how = faiss.SearchParametersIVF(nprobe=lists.shape[1], **_among(wanted))
    arrays = map(faiss.swig_ptr, (rows, lists, to_lists, similarity, found))
    index.search_preassigned_c(len(rows), next(arrays), n, *arrays, False, how)  # its wrapper takes no parameters
    return similarity, found


def _among(wanted: Wanted) -> dict[str, Any]:
    import faiss

    return {} if wanted is None else {"sel": faiss.IDSelectorBitmap(np.packbits(wanted, bitorder="little"))}


def _mapped(file: Path) -> mmap.mmap:
    with open(file, "rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def write_index(index: Any, file: Path) -> None:
    """By Python, since FAISS knows no paths but some."""
    import faiss

    file.write_bytes(faiss.serialize_index(index).data)


def read_index(file: Path) -> Any:
    """A file that is known to be whole. Raises FileNotFoundError."""
    import faiss

    return faiss.deserialize_index(np.fromfile(file, np.uint8))
