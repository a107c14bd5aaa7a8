"""Features by the content of a photo: <folder>/features/<fingerprint>/<digest[:2]>/<digest>.safetensors."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoreError
from ..records import Features
from .files import ByPhoto, DamagedFile, Tensors, read, read_tensors, remove, remove_leftovers, used, write_atomically, written
from .remote import Remote

COPIES = 20 * 2**30  # bytes of copies that are kept elsewhere than in the store, for all settings together
TRIM_EVERY = 2**30  # bytes by which they grow, on average, between two looks at them


class FeatureStore(ByPhoto):
    """Features of one fingerprint (extractor, preparation, weights, format) by the digest of their photo.

    Descriptors are kept as whole numbers, each scaled so that its largest value is 127: a unit vector again when it is read, within a
    cosine of 0.9995 of what it was, at half the size. What is matched is always what was read.

    Where a remote place is named, too, what is not here is read there, and kept here; what is saved is written there first. If copies are
    kept elsewhere than in the store, it is about COPIES bytes of them, those that were used last."""

    kind = "features"

    def __init__(self, folder: Path, fingerprint: str, remote: Remote | None = None):
        super().__init__(folder if remote is None or remote.copies is None else remote.copies, fingerprint)
        self._remote, self._fingerprint = remote, fingerprint
        self._has_copies = remote is not None and remote.copies is not None

    def _name(self, digest: str) -> str:
        return f"{self._fingerprint}/{digest[:2]}/{digest}.safetensors"

    def __contains__(self, digest: str) -> bool:
        return super().__contains__(digest) or (self._remote is not None and self._name(digest) in self._remote)

    def lacking(self, start: str, names: set[str]) -> set[str]:
        found = super().lacking(start, names)
        return found.difference(self._remote.names(f"{self._fingerprint}/{start}")) if found and self._remote is not None else found

    def _read(self, digest: str) -> tuple[Tensors, dict[str, Any]]:
        try:
            found = read_tensors(self.path(digest))
            if self._has_copies:
                used(self.path(digest))
            return found
        except (FileNotFoundError, StoreError):  # which a network file system raises of what another machine has just removed
            if self._remote is None:
                raise
        data = self._remote.read(self._name(digest))
        found = read(data, self._remote.place(self._name(digest)))
        self._keep(digest, data)
        return found

    def _keep(self, digest: str, data: bytes) -> None:
        write_atomically(self.path(digest), data)
        if self._has_copies and secrets.randbelow(TRIM_EVERY) < len(data):  # by chance, so that it does not matter how many processes write
            trim(self.folder.parent, COPIES)

    def load(self, digest: str) -> Features | None:
        """The stored features; None if there are none. Raises DamagedFile."""
        import torch

        try:
            tensors, metadata = self._read(digest)
            width, height = metadata["size"]
            whole = torch.from_numpy(tensors["descriptors"]).float()  # NumPy takes five times as long
            descriptors = (whole / whole.norm(dim=1, keepdim=True).clamp(min=1)).half().numpy()
            descriptors.flags.writeable = False
            return Features(metadata["kind"], (width, height), **(tensors | {"descriptors": descriptors}))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DamagedFile(self.path(digest)) from error

    def save(self, digest: str, features: Features) -> None:
        largest = np.abs(features.descriptors).max(axis=1, keepdims=True, initial=1e-6).astype(np.float32)
        descriptors = np.rint(features.descriptors / largest * 127).astype(np.int8)
        tensors: Tensors = {"keypoints": features.keypoints, "scores": features.scores, "descriptors": descriptors}
        if features.scales is not None and features.angles is not None:
            tensors |= {"scales": features.scales, "angles": features.angles}
        data = written(tensors, {"kind": features.kind, "size": features.size})
        if self._remote is not None:
            self._remote.write(self._name(digest), data)
        self._keep(digest, data)

    def delete(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)


def trim(folder: Path, most: int) -> None:
    """Keep `most` bytes of the features below a folder, those that were used last; other processes may read and write there."""
    remove_leftovers(folder)
    found = []
    for file in folder.glob("*/*/*.safetensors"):
        with suppress(OSError):  # another process was faster
            about = file.stat()
            found.append((about.st_mtime_ns, about.st_size, file))
    n_bytes = 0
    for _, size, file in sorted(found, reverse=True):
        n_bytes += size
        if n_bytes > most:
            remove(file)
