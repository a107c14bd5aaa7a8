"""What has been computed stays computed: features by the content of a photo, matches by the content of both.

    <folder>/features/<fingerprint>/<digest[:2]>/<digest>.safetensors     one photo
    <folder>/matches/<fingerprint>/<digest of the query>.safetensors      one query with every reference it has met; where references
                                                                          race, a file for each set of them, its name after the query's
    <folder>/digests.sqlite                                               sha256 of files, by path, size and time of change

Files are written beside their place and moved there whole, carry a checksum, and are safe to delete at any time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from .errors import PhotoError, StoreError
from .records import Features, PhotoRef

FORMAT = 3  # part of every fingerprint: raise it when what is stored changes its meaning
Tensors = dict[str, NDArray[Any]]


class DamagedFile(Exception):
    """A stored file that is not what was written; the caller redoes it."""


def write_atomically(path: Path, data: bytes | Callable[[Path], None]) -> None:
    """All of `data` at `path`, or of what the call writes to the file it is given, or nothing. Raises StoreError, one line."""
    part = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        data(part) if callable(data) else part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        try:
            part.unlink(missing_ok=True)
        except OSError:
            pass  # the first error is the one to tell
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        way_out = "free some space" if full else "make it writable, or name another place"
        raise StoreError(f"cannot write {path}: {error.strerror}; {way_out} and run again, what is stored stays") from error


def write_tensors(path: Path, tensors: Tensors, metadata: Mapping[str, Any]) -> None:
    about = json.dumps({**metadata, "checksum": _checksum(tensors)}, sort_keys=True)
    write_atomically(path, save_tensors(tensors, {"reid": about}))  # one entry: safetensors writes several in any order


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and metadata of a stored file. Raises FileNotFoundError or DamagedFile."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    try:
        (length,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["reid"])
        tensors = load_tensors(data)
    except Exception as error:  # whatever a damaged header makes the reader raise
        raise DamagedFile(path) from error
    if metadata.get("checksum") != _checksum(tensors):
        raise DamagedFile(path)
    return tensors, metadata


def _checksum(tensors: Tensors) -> int:
    """CRC-32: quick, and against accidents only."""
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(f"{name}{tensors[name].shape}{tensors[name].dtype}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(tensors[name]).data, total)
    return total


class FeatureStore:
    """Features of one fingerprint (extractor, preparation, weights, format) by the digest of their photo.

    Descriptors are kept as whole numbers, each scaled so that its largest value is 127: a unit vector again when it is read, within a
    cosine of 0.9995 of what it was, at half the size. What is matched is always what was read."""

    def __init__(self, folder: Path, fingerprint: str):
        self.folder = folder / "features" / fingerprint

    def path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).exists()

    def load(self, digest: str) -> Features | None:
        """The stored features; None if there are none. Raises DamagedFile."""
        import torch

        try:
            tensors, metadata = read_tensors(self.path(digest))
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
        write_tensors(self.path(digest), tensors, {"kind": features.kind, "size": features.size})

    def delete(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)


class MatchStore:
    """Confidences of one query with the references it has been matched with, so that a long run goes on where it stopped.

    Half precision; what is scored is always what was stored, so that a run repeats itself."""

    def __init__(self, folder: Path, fingerprint: str):
        self.folder = folder / "matches" / fingerprint

    def path(self, query: str) -> Path:
        return self.folder / f"{query}.safetensors"

    def load(self, query: str) -> dict[str, NDArray[np.float16]]:
        """Confidences by the digest of the reference; empty where nothing is stored. Raises DamagedFile."""
        try:
            tensors, _ = read_tensors(self.path(query))
            digests = [row.tobytes().hex() for row in tensors["references"]]
            return dict(zip(digests, np.split(tensors["confidence"], tensors["ends"][:-1]), strict=True))
        except FileNotFoundError:
            return {}
        except (KeyError, ValueError) as error:
            raise DamagedFile(self.path(query)) from error

    def save(self, query: str, confidences: Mapping[str, NDArray[np.float16]]) -> None:
        digests = sorted(confidences)
        if not digests:
            return
        references = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(len(digests), -1)
        values = [confidences[digest] for digest in digests]
        ends = np.cumsum([len(value) for value in values])
        write_tensors(self.path(query), {"references": references, "confidence": np.concatenate(values), "ends": ends}, {})


class Digests:
    """sha256 of photos with their crop and mask; files are read again only when their size or time of change differs."""

    def __init__(self, folder: Path):
        file = folder / "digests.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._open(file)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # damaged: it only saves reading files again
                file.unlink()
                self._open(file)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot write under {folder} ({error}); make it writable, or give another folder with --cache") from error

    def _open(self, file: Path) -> None:
        self.database = sqlite3.connect(file, timeout=60)
        self.database.execute("PRAGMA synchronous = OFF")  # a lost row is a file read once more
        with self.database:
            self.database.execute("CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, size INT, changed INT, digest TEXT)")

    def of(self, ref: PhotoRef) -> str:
        """64 hex digits that name what the features of `ref` depend on. Raises PhotoError."""
        parts = [self._file(ref.path)]
        if ref.crop is not None:
            parts.append(f"crop {[float(value) for value in ref.crop]}")
        if ref.mask is not None:
            parts.append(f"mask {ref.mask if ref.mask.startswith(('[', '{')) else self._file(Path(ref.mask))}")
        if ref.quarters or ref.mirrored:
            parts.append(f"turned {ref.quarters} {ref.mirrored}")
        return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _file(self, path: Path) -> str:
        try:
            stat = path.stat()
            key = os.fsencode(os.path.realpath(path))
            with self._guard():
                row = self.database.execute("SELECT size, changed, digest FROM digests WHERE path = ?", (key,)).fetchone()
            if row is not None and row[:2] == (stat.st_size, stat.st_mtime_ns):
                return str(row[2])
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            reason = "is a link to a file that is gone" if path.is_symlink() and not path.exists() else f"cannot be read ({error.strerror})"
            raise PhotoError(f"{path} {reason}") from error
        with self._guard(), self.database:
            self.database.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", (key, stat.st_size, stat.st_mtime_ns, digest))
        return digest

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"cannot use the table of digests ({error}); delete digests.sqlite, it is made anew") from error

    def close(self) -> None:
        self.database.close()


def remove_leftovers(folder: Path, older_than: float) -> None:
    """Delete parts of files that a killed run left behind; `older_than` is a time in seconds since the epoch."""
    for part in _parts(folder):
        try:
            if part.stat().st_mtime < older_than:
                part.unlink()
        except OSError:
            continue  # another run was faster


def _parts(folder: Path) -> Iterable[Path]:
    """Features lie three folders deep, matches two, nulls one."""
    return (part for depth in ("*", "*/*", "*/*/*") for part in folder.glob(f"{depth}/.*.part"))
