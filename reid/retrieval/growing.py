"""Building an index: photos are added to a part in memory, which is stored beside the parts before it or takes their place."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..records import Features
from ..store import checksum_of, fingerprint, write_atomically, write_tensors
from . import lists, projection
from .index import PHOTOS, Index, Part
from .lists import Coded
from .searched import Whole, read_index, write_index

STORED = 352  # descriptors of a photo, the strongest: with projection, codes and numbers of photos 4 KiB
AXES = 64  # that a descriptor is projected onto where there are lists
AXES_OF_WHOLE = 256  # that a vector of a whole photo is projected onto
PER_CODE = 4  # axes that share a code of 4 bits
EXACT_BELOW = 2**16  # descriptors; so few are kept and compared as they are
LEAST = 64  # descriptors that lists are laid out for
SAMPLE = 4096  # vectors of whole photos that axes are learned from
SHARD = 2**24  # descriptors in a file, at most: 47,000 photos, 0.2 GB
AT_ONCE = 64  # photos added at a time
NO_EFFECT = {"SHARD": "in which file a descriptor is", "AT_ONCE": "when it comes there"}

Load = Callable[[str], Features]


@dataclass(frozen=True)
class Axes:
    """Those that what is put in is projected onto, learned from some of it."""

    most: int
    sample: int = 0  # rows they are learned from, at least; more where lists need more
    without_lists: bool = False  # where there are no lists, too


class Growing:
    """An index that photos are added to, a part of it in memory of its own. What is stored of it is not changed, but replaced.

    Raises FileNotFoundError where a file of it is gone or is not what was written."""

    def __init__(self, index: Index, axes: Axes):
        self.index = replace(index, numbers=dict(index.numbers), trained=None, opened=())
        self.axes = axes
        self.whole = set(index.files)  # files that are known to be what was written
        self.made = set[str]()  # names of those of this run
        self.stored = index.parts  # they stay as they are, unless they join the last
        self.last = self._begun()

    def _begun(self) -> Whole | Coded | None:
        """A part to add to: all of the index where it is small; none where nothing is laid out."""
        if self.index.centres is not None:
            return Coded(read_index(self.index.folder / self.index.centres.name))
        if not self.index.parts:
            return None
        [part] = self.index.parts
        if not part.is_whole(self.index.folder):
            raise FileNotFoundError(self.index.folder / part.name)
        self.stored = ()
        return Whole(read_index(self.index.folder / part.name))

    def add(self, digests: Sequence[str], start: int, load: Load) -> None:
        """Add the next of these photos; the lists are laid out first, if need be, for all that are to come."""
        part = digests[start : start + AT_ONCE]
        descriptors = [_strongest(load(digest)) for digest in part]
        places = np.arange(len(self.index.numbers), len(self.index.numbers) + len(part))
        self._begin_another(int(places[-1]))
        self.index.numbers.update(zip(part, places.tolist()))
        if any(map(len, descriptors)):
            if self.last is None:
                self.last = self._laid_out(digests, load, sum(map(len, descriptors)) / len(part))
            owners = np.repeat(places, [len(one) for one in descriptors])
            rows, onto = np.concatenate(descriptors), self.index.projection
            self.last.add(rows.astype(np.float32) if onto is None else onto(rows), owners)

    def _begin_another(self, number: int) -> None:
        """Store the part that is full before the photo of this number, if it is."""
        last = self.last
        if isinstance(last, Coded) and len(last) and (len(last) >= SHARD or number - last.first >= lists.MOST_PHOTOS):
            self.stored = self.save().parts
            last.clear()

    def _laid_out(self, digests: Sequence[str], load: Load, n_each: float) -> Whole | Coded:
        """An empty part for these photos of about `n_each` descriptors; axes and lists are found on photos spread among them."""
        import faiss

        n, n_dims = n_each * len(digests), load(digests[0]).descriptors.shape[1]
        n_lists = lists.how_many(n) if n >= EXACT_BELOW else 0
        if n_lists or self.axes.without_lists:
            least = max(self.axes.sample, lists.TRAINING * n_lists)
            places = np.unique(np.linspace(0, len(digests) - 1, int(least / n_each) + 1).astype(int))
            sample = np.concatenate([_strongest(load(digests[i])) for i in places])
            most = 2 ** int(np.log2(len(sample) / 2)) if len(sample) >= LEAST else 0  # later photos may have far fewer than the first
            n_lists = min(n_lists, most)
            if n_lists or (self.axes.without_lists and len(sample)):
                n_dims = 2 ** int(np.log2(min(n_dims, self.axes.most)))
                onto = projection.learned(sample, n_dims)
                self.index = replace(self.index, projection=onto)
                if n_lists:
                    some = [onto(rows).astype(np.float16) for rows in np.array_split(sample, 1 + len(sample) // 2**16)]
                    return lists.laid_out(np.concatenate(some), n_lists, n_dims // PER_CODE)
        return Whole(faiss.index_factory(n_dims, "IDMap,Flat", faiss.METRIC_INNER_PRODUCT))

    def save(self) -> Index:
        """The index, what is added stored under a name of its content, and then the list of its photos in the place of the one before. A
        file that was named before becomes a leftover; if this run has made it, it goes at once."""
        index, parts, centres = self.index, self.stored, self.index.centres
        digests = np.frombuffer(bytes.fromhex("".join(index.numbers)), np.uint8).reshape(len(index.numbers), -1)
        if self.last is not None and len(self.last):
            content = hashlib.sha256(digests.tobytes()).hexdigest()
            if isinstance(self.last, Coded):
                centres = centres or self._written(partial(write_index, self.last.trained), Whole.suffix)
                self._join(self.last)
            parts = (*self.stored, self._part(self.last, content))
        about = {"parts": [astuple(part) for part in parts], "n_trained": index.n_trained, "centres": centres and astuple(centres)}
        onto = {} if index.projection is None else {"mean": index.projection.mean, "axes": index.projection.axes}
        write_tensors(index.folder / PHOTOS, {"digests": digests, **onto}, about)
        for name in {part.name for part in index.parts} - {part.name for part in parts}:
            try:
                (index.folder / name).unlink() if name in self.made else os.utime(index.folder / name)
            except OSError:
                pass  # it has gone, or a process has it open
        self.index = replace(index, parts=parts, centres=centres)
        self.whole.update(self.index.files)
        return self.index

    def _join(self, last: Coded) -> None:
        """Parts that are no larger than what is added become a part with it, up to `SHARD` descriptors."""
        while self.stored:
            part, file = self.stored[-1], self.index.folder / self.stored[-1].name
            n = lists.n_codes(file, last.trained)
            if n > len(last) or n + len(last) > SHARD or len(self.index.numbers) - part.first > lists.MOST_PHOTOS:
                return
            if not part.is_whole(self.index.folder):
                return  # whoever reads it will find it
            last.add_before(file, part.first)
            self.stored = self.stored[:-1]

    def _part(self, last: Whole | Coded, content: str) -> Part:
        part = self._written(last.write, last.suffix, content)
        if isinstance(last, Coded):
            checksum = checksum_of(self.index.folder / part.name, last.n_first)
            return replace(part, n_first=last.n_first, of_first=checksum, first=last.first)
        return part

    def _written(self, write: Callable[[Path], None], suffix: str, *content: str) -> Part:
        folder = self.index.folder
        file = folder / f"{secrets.token_hex(8)}{suffix}"
        write_atomically(file, write)
        n_bytes, checksum = file.stat().st_size, checksum_of(file)
        path = folder / f"{fingerprint(self.index.n_trained, checksum, *content)}{suffix}"
        try:
            os.replace(file, path)
        except OSError as error:
            file.unlink(missing_ok=True)
            if not path.exists():  # else Windows, where another process has a file of this name open, and so of this content
                raise StoreError(f"cannot write {path}: {error.strerror}; mend that and run again, what is stored stays") from error
        self.made.add(path.name)
        return Part(path.name, n_bytes, checksum)


def _strongest(features: Features) -> NDArray[np.float16]:
    return features.descriptors[:STORED]
