"""Inverted lists of codes of 4 bits, in files.

A file: how many codes each list has, and the CRC-32 of each list; then of each list its codes, 32 interleaved as FAISS looks them up, and
the numbers of their photos, counted from the first photo of the file.
"""

from __future__ import annotations

import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import centres

TRAINING = 64  # descriptors for each list, to find its centre
PER_LIST = 2**12  # descriptors in a list where they are many, until there are
MOST_LISTS = 2**16
FOR_CODES = 2**16  # descriptors that codes are learned from, where lists are many
BLOCK = 32  # codes that are looked up at a time; a list is filled up to whole blocks
AT_ONCE = 2**16  # blocks that are packed at a time
PER_HEADER = 4 + 4  # bytes of each list in the header of a file
PER_PHOTO = 2  # bytes of the number of a photo
MOST_PHOTOS = 2**16  # that a file can number
NO_EFFECT = {
    "BLOCK": "FAISS's", "AT_ONCE": "when a block is packed",
    "PER_HEADER": "how a file is laid out", "PER_PHOTO": "how a file is laid out", "MOST_PHOTOS": "in which file a photo is",
}  # fmt: skip


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
    order, places, starts = np.argsort(lists, kind="stable"), _places(sizes), blocks_before(sizes)
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
    sizes, bounds = sizes_of(content, trained), bounds_of(content, trained)
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


def sizes_of(content: NDArray[np.uint8], trained: Any) -> NDArray[np.int64]:
    """(n_lists,) how many codes each list has."""
    return content[: 4 * trained.nlist].view(np.uint32).astype(np.int64)


def bounds_of(content: NDArray[np.uint8], trained: Any) -> NDArray[np.int64]:
    """(n_lists + 1,) where each list begins, and the last ends."""
    block = BLOCK * (trained.pq.code_size + PER_PHOTO)
    bounds: NDArray[np.int64] = PER_HEADER * trained.nlist + block * blocks_before(sizes_of(content, trained))
    return bounds


def blocks_before(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Blocks before each list, and in all."""
    starts: NDArray[np.int64] = np.concatenate([[0], np.cumsum(-(-sizes // BLOCK))])
    return starts


def _places(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each code, list by list, where each list begins with a block."""
    places: NDArray[np.int64] = np.repeat(BLOCK * blocks_before(sizes)[:-1] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
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
