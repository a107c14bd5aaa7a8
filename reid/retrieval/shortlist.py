"""Which references are worth matching: the query's descriptors vote in an index of the gallery's own.

The index holds every descriptor of every reference in a few bytes (inverted lists of product-quantised residuals, Jegou et al. 2011,
TPAMI; FAISS). A keypoint of the query votes for each photo among its nearest neighbours there, by how much nearer that neighbour is than
the last of them (local naive Bayes nearest neighbour, McCann and Lowe 2012, CVPR). What is in every photo votes for none.

    <folder>/shortlist/<fingerprint>/<key>/photos.safetensors   digests of the photos in an index, and the name of its file
    <folder>/shortlist/<fingerprint>/<key>/<name>.faiss         the index; it is mapped into memory, not read, when it is searched

Galleries may share a folder: several indexes stand beside each other, and the one that has most photos of a gallery is the gallery's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Features
from ..store import DamagedFile, fingerprint, read_tensors, write_atomically, write_tensors

NEIGHBOURS = 16  # of each keypoint; the last is what the others vote against
PROBED = 16  # inverted lists read for each keypoint
PER_CODE = 4  # dimensions that share a code of 4 bits
EXACT_BELOW = 2**16  # descriptors; so few are kept and compared as they are
TRAINING = 64  # descriptors for each inverted list, to find its centre
AT_ONCE = 64  # photos added at a time
SAVE_EVERY = 60.0  # seconds
LEFTOVER_AGE = 3600.0  # seconds after which an index that was replaced is nobody's any more

Load = Callable[[str], Features]


def describe() -> dict[str, object]:
    """All that changes votes, features given. JSON-able."""
    return {"neighbours": NEIGHBOURS, "probed": PROBED, "per_code": PER_CODE, "exact_below": EXACT_BELOW, "training": TRAINING}


class Shortlist:
    """The index of one kind of features; `update` brings it to the photos of a gallery, `votes` asks it."""

    def __init__(self, folder: Path, features_fingerprint: str):
        self.root = folder / "shortlist" / fingerprint(features_fingerprint, PER_CODE, EXACT_BELOW)
        self.folder = self.root  # of the index that is open
        self.index: Any = None
        self.numbers: dict[str, int] = {}  # of the photos in the index, by digest
        self.n_trained = 0  # photos that there were when the lists were laid out

    def update(self, digests: Sequence[str], load: Load, progress: Callable[[int, int], None]) -> None:
        """Add the photos that are not in the index and store it. A new one is laid out beside the old for four times the photos that it was
        made for, and where every third photo in it is none of the gallery's, which may be another gallery's."""
        wanted = dict.fromkeys(digests)
        self._open_best(wanted)
        n_gone = len(self.numbers.keys() - wanted.keys())
        fits = bool(self.numbers) and 3 * n_gone <= len(self.numbers)
        if fits and wanted.keys() <= self.numbers.keys():
            return
        try:
            if not fits or len(wanted) > 4 * self.n_trained:
                raise FileNotFoundError
            self._open(self.folder, writable=True)
        except FileNotFoundError:  # never laid out, not any more, or not for such a gallery
            self.index, self.numbers, self.n_trained = None, {}, len(wanted)
            self.folder = self.root / fingerprint(sorted(wanted))
        new = [digest for digest in wanted if digest not in self.numbers]
        saved = time.monotonic()
        for start in range(0, len(new), AT_ONCE):
            progress(start, len(new))
            self._add(new, start, load)
            if time.monotonic() - saved > SAVE_EVERY:  # an interrupted run goes on from here
                self._save()
                saved = time.monotonic()
        progress(len(new), len(new))
        self._save()

    def _open_best(self, wanted: Mapping[str, Any]) -> None:
        """The stored index that has most of these photos, where the open one lacks some."""
        if wanted.keys() <= self.numbers.keys():
            return
        best = (len(wanted.keys() & self.numbers.keys()), self.folder)
        for folder in sorted(self.root.glob("*/")):
            try:
                numbers, _ = _photos(folder)
            except FileNotFoundError:
                continue
            best = max(best, (len(wanted.keys() & numbers.keys()), folder))
        if best[0]:
            try:
                self._open(best[1])
            except FileNotFoundError:
                self.index, self.numbers, self.n_trained = None, {}, 0

    def _add(self, digests: Sequence[str], start: int, load: Load) -> None:
        part = digests[start : start + AT_ONCE]
        descriptors = [load(digest).descriptors for digest in part]
        numbers = np.arange(len(self.numbers), len(self.numbers) + len(part))
        self.numbers |= zip(part, numbers.tolist())
        if not any(map(len, descriptors)):
            return
        if self.index is None:
            self.index = _laid_out(digests, load, sum(map(len, descriptors)) / len(part))
        owners = np.repeat(numbers, [len(one) for one in descriptors])
        self.index.add_with_ids(np.concatenate(descriptors, dtype=np.float32), owners)

    def votes(self, query: Features, digests: Sequence[str]) -> NDArray[np.float32]:
        """(R,) what the query's keypoints give to each of these photos, which are in the index; more is more alike."""
        import faiss

        self._open_best(dict.fromkeys(digests))
        numbers = np.array([self.numbers[digest] for digest in digests], int)
        votes = np.zeros(len(self.numbers), np.float32)
        if self.index is None or not len(query) or not len(numbers):
            return np.zeros(len(numbers), np.float32)
        wanted = np.zeros(len(votes), bool)
        wanted[numbers] = True
        among = {} if wanted.all() else {"sel": faiss.IDSelectorBitmap(np.packbits(wanted, bitorder="little"))}
        inverted = isinstance(self.index, faiss.IndexIVF)
        how = faiss.SearchParametersIVF(nprobe=PROBED, **among) if inverted else faiss.SearchParameters(**among)
        similarity, photo = self.index.search(query.descriptors.astype(np.float32), NEIGHBOURS, params=how)
        last = similarity.min(axis=1, keepdims=True, initial=1, where=photo >= 0)  # there may be fewer than asked for
        margin = similarity - last
        keypoint = np.repeat(np.arange(len(query)), NEIGHBOURS)
        _, nearest = np.unique(keypoint * len(votes) + photo.ravel(), return_index=True)  # of each keypoint in each photo: the first
        nearest = nearest[photo.ravel()[nearest] >= 0]
        np.add.at(votes, photo.ravel()[nearest], margin.ravel()[nearest])
        of_wanted: NDArray[np.float32] = votes[numbers]
        return of_wanted

    def _open(self, folder: Path, writable: bool = False) -> None:
        """Raises FileNotFoundError where nothing is stored, or what is stored is damaged."""
        import faiss

        for last in (False, True):  # another process may replace the index between its manifest and its file
            numbers, about = _photos(folder)
            file = folder / str(about["file"])
            try:
                if about["bytes"] and file.stat().st_size != about["bytes"]:  # a file cut short must not be mapped
                    raise FileNotFoundError(file)
                self.index = faiss.read_index(str(file), 0 if writable else faiss.IO_FLAG_MMAP) if about["bytes"] else None
            except (FileNotFoundError, RuntimeError) as error:
                if last:
                    raise FileNotFoundError(file) from error
                continue
            self.folder, self.numbers, self.n_trained = folder, numbers, int(about["n_trained"])
            return

    def _save(self) -> None:
        file = self.folder / f"{fingerprint(list(self.numbers), self.n_trained)}.faiss"
        if self.index is not None:
            write_atomically(file, self._write)
        digests = np.frombuffer(bytes.fromhex("".join(self.numbers)), np.uint8).reshape(len(self.numbers), -1)
        n_bytes = file.stat().st_size if self.index is not None else 0
        about = {"file": file.name, "bytes": n_bytes, "n_trained": self.n_trained}
        write_tensors(self.folder / "photos.safetensors", {"digests": digests}, about)
        for old in self.folder.glob("*.faiss"):  # a process that has read the manifest before may be about to open it
            if old != file and time.time() - old.stat().st_mtime > LEFTOVER_AGE:
                old.unlink(missing_ok=True)

    def _write(self, file: Path) -> None:
        import faiss

        try:
            faiss.write_index(self.index, str(file))
        except RuntimeError as error:
            raise OSError(None, f"FAISS: {str(error).splitlines()[-1]}") from error


def _photos(folder: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """The photos of a stored index by their digests, and what is said of its file. Raises FileNotFoundError where there is none, or it is
    damaged."""
    try:
        tensors, about = read_tensors(folder / "photos.safetensors")
        numbers = {row.tobytes().hex(): number for number, row in enumerate(tensors["digests"])}
        return numbers, {name: about[name] for name in ("file", "bytes", "n_trained")}
    except (DamagedFile, KeyError, TypeError, ValueError) as error:
        raise FileNotFoundError(folder) from error


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
