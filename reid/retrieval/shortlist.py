"""Which references are worth matching: the query's descriptors vote in an index of the gallery's own.

A keypoint of the query votes for each photo among its nearest neighbours in the index, by how much nearer that neighbour is than the last
of them (local naive Bayes nearest neighbour, McCann and Lowe 2012, CVPR). What is in every photo votes for none.

    <folder>/shortlist/<fingerprint>/<key>/   an index, see `lists`

Galleries may share a folder: several indexes stand beside each other, each is the gallery's that has most of its photos. Processes may
share it, too.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Features
from ..store import SAVE_EVERY, DamagedFile, fingerprint, remove
from . import lists
from .lists import PHOTOS, Growing, Index, Load, read, unneeded

NEIGHBOURS = 16  # of each keypoint; the last is what the others vote against
PROBED = 16  # inverted lists read for each keypoint
UNUSED_FOR = 30 * 86400.0  # seconds after which an index that nobody has opened goes


def describe() -> dict[str, object]:
    """All that changes votes, features given. JSON-able."""
    return {"neighbours": NEIGHBOURS, "probed": PROBED, **lists.describe()}


class Shortlist:
    """The index of one kind of features; `update` brings it to the photos of a gallery, `votes` searches it. For several threads."""

    def __init__(self, folder: Path, features_fingerprint: str):
        self.root = folder / "shortlist" / fingerprint(features_fingerprint, lists.describe())
        self._index: Index | None = None
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
            before = self._index.opened(to_grow=True) if self._index is not None and fits else None
        except FileNotFoundError:
            before = None
        index = before or Index(self._free(wanted), {}, len(wanted))
        new = [digest for digest in wanted if digest not in index.numbers]
        growing = Growing(index, new, load)
        saved, done = time.monotonic(), 0
        while done < len(new):
            progress(done, len(new))
            done += growing.add(done)
            if time.monotonic() - saved > SAVE_EVERY:  # an interrupted run goes on from here
                growing.save()
                saved = time.monotonic()
        progress(len(new), len(new))
        stored = growing.save()
        try:
            self._index = stored.opened()
        except FileNotFoundError:  # a process that has made the same files, too, is further already
            self._index = self._best(dict.fromkeys(wanted))
        self._collect()

    def votes(self, query: Features, digests: Sequence[str]) -> NDArray[np.float32]:
        """(R,) what the query's keypoints give to each of these photos, which are in the index; more is more alike."""
        import faiss

        index, numbers = self._holding(digests)
        if index is None or index.faiss is None or not len(query) or not len(digests):
            return np.zeros(len(digests), np.float32)
        votes = np.zeros(len(index.numbers), np.float32)
        wanted = np.zeros(len(votes), bool)
        wanted[numbers] = True
        among = {} if wanted.all() else {"sel": faiss.IDSelectorBitmap(np.packbits(wanted, bitorder="little"))}
        if isinstance(index.faiss, faiss.IndexIVF):  # a beam as wide as what it returns; photos are added with a wider one
            beam = faiss.SearchParametersResidualCoarseQuantizer(beam_factor=1)
            how = faiss.SearchParametersIVF(nprobe=PROBED, quantizer_params=beam, **among)
        else:
            how = faiss.SearchParameters(**among)
        similarity, photo = index.faiss.search(query.descriptors.astype(np.float32), NEIGHBOURS, params=how)
        last = similarity.min(axis=1, keepdims=True, initial=1, where=photo >= 0)  # there may be fewer than asked for
        margin = similarity - last
        keypoint = np.repeat(np.arange(len(query)), NEIGHBOURS)
        _, nearest = np.unique(keypoint * len(votes) + photo.ravel(), return_index=True)  # of each keypoint in each photo: the first
        nearest = nearest[photo.ravel()[nearest] >= 0]
        np.add.at(votes, photo.ravel()[nearest], margin.ravel()[nearest])
        of_wanted: NDArray[np.float32] = votes[numbers]
        return of_wanted

    def _holding(self, digests: Sequence[str]) -> tuple[Index | None, NDArray[np.int64]]:
        """The open index, or where it lacks one of these photos the stored one that has most of them, and the photos' numbers in it."""
        index = self._index
        for again in (False, True):
            try:
                if index is not None:
                    return index, np.fromiter(map(index.numbers.__getitem__, digests), np.int64, len(digests))
            except KeyError:
                if again:
                    raise
            with self._lock:
                index = self._index = self._best(dict.fromkeys(digests)) or self._index
        return None, np.zeros(0, np.int64)

    # -- files

    def _best(self, wanted: Mapping[str, Any], fitting: bool = False) -> Index | None:
        """The stored index that has most of these photos, opened; with `fitting` of those that fit them."""
        for again in (False, True):  # another process may replace an index between the list of its photos and its files
            found = [one for one in self._stored() if one.shared(wanted) and (not fitting or one.fits(wanted))]
            for one in sorted(found, key=lambda one: (-one.shared(wanted), len(one.numbers), one.folder)):
                try:
                    opened = one.opened()
                    os.utime(one.folder / PHOTOS)  # it is used
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
