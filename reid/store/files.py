"""Files that are written whole or not at all, and are known to be whole when they are read."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from ..errors import StoreError

LEFTOVER_AGE = 3600.0  # seconds after which a part of a file, or a file that was replaced, is nobody's any more
SAVE_EVERY = 60.0  # seconds of work that a killed run loses, at most, where one file takes longer
Tensors = dict[str, NDArray[Any]]


class DamagedFile(Exception):
    """A stored file that is not what was written; the caller redoes it."""


def write_atomically(path: Path, data: bytes | Callable[[Path], None]) -> None:
    """All of `data` at `path`, or of what the call writes to the file it is given, or nothing; what is replaced leaves its mode. Into a
    stream that is open, such as /dev/stdout, `data` is written as it is. Raises StoreError, one line."""
    if isinstance(data, bytes) and (stream := _stream(path)) is not None:
        try:
            with open(os.dup(stream), "wb") as out:
                out.write(data)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error
        return
    target = Path(os.path.realpath(path))  # a link stays one
    part = target.parent / f".{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        if os.path.isdir(target):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if os.path.exists(target) and not os.path.isfile(target) and not callable(data):  # a pipe or a device is written into
            target.write_bytes(data)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        data(part) if callable(data) else part.write_bytes(data)
        with suppress(OSError):  # there is none, or the file system has no modes
            shutil.copymode(target, part)
        os.replace(part, target)
    except BaseException as error:
        with suppress(OSError):  # the first error is the one to tell
            part.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        way_out = "free some space" if full else "make it writable, or name another place"
        raise StoreError(f"cannot write {path}: {error.strerror}; {way_out} and run again, what is stored stays") from error


def _stream(path: Path) -> int | None:
    """The number of the open stream that a path names; None for any other path."""
    named = re.fullmatch(r"/dev/(stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)", os.fspath(path))
    return None if named is None else {"stdout": 1, "stderr": 2}[named[1]] if named[1] else int(named[2])


def write_tensors(path: Path, tensors: Tensors, metadata: Mapping[str, Any]) -> None:
    write_atomically(path, written(tensors, metadata))


def written(tensors: Tensors, metadata: Mapping[str, Any]) -> bytes:
    """What a file holds."""
    about = json.dumps({**metadata, "checksum": _checksum(tensors, metadata)}, sort_keys=True)
    found: bytes = save_tensors(tensors, {"reid": about})  # one entry: safetensors writes several in any order
    return found


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and metadata of a stored file. Raises FileNotFoundError or DamagedFile."""
    return read(_bytes(path), path)


def read(data: bytes, place: Path | str) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and metadata of what a file at this place holds. Raises DamagedFile."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["reid"])
        checksum = metadata.pop("checksum", None)
        tensors = load_tensors(data)
    except Exception as error:  # whatever a damaged header makes the reader raise
        raise DamagedFile(place) from error
    if checksum != _checksum(tensors, metadata) and checksum != _checksum(tensors, {}):  # files of before do without the metadata
        raise DamagedFile(place)
    return tensors, metadata


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, _checked(value))


def read_json(path: Path) -> Any:
    """The value of a stored file. Raises FileNotFoundError or DamagedFile."""
    data = _bytes(path)
    try:
        value = json.loads(data)["value"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedFile(path) from error
    if data != _checked(value):  # so that every bit counts
        raise DamagedFile(path)
    return value


def checksum_of(path: Path, n_bytes: int | None = None) -> int:
    """CRC-32 of a whole file, of any size, or of its first so many bytes."""
    total, left = 0, path.stat().st_size if n_bytes is None else n_bytes
    with open(path, "rb") as file:
        while part := file.read(min(left, 2**20)):
            total, left = zlib.crc32(part, total), left - len(part)
    return total


def used(path: Path) -> None:
    """Note that a file or folder is in use; what nobody uses goes one day, see `reid gc`."""
    try:
        os.utime(path)
    except OSError:
        pass  # not there yet, or not ours to write


class ByPhoto:
    """Files of one kind and fingerprint, one a photo, by its digest: <folder>/<kind>/<fingerprint>/<digest[:2]>/<digest>.safetensors."""

    kind: str

    def __init__(self, folder: Path, fingerprint: str):
        self.folder = folder / self.kind / fingerprint
        used(self.folder)

    def path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).exists()

    def lacking(self, start: str, names: set[str]) -> set[str]:
        """Of the names of these files, whose digests begin so, those that are not here."""
        try:
            return names.difference(os.listdir(self.folder / start))
        except OSError:  # none yet, or none that can be read: who writes there says why
            return names


def lacking(digests: Iterable[str], stores: Sequence[ByPhoto]) -> set[str]:
    """Those of which one of the stores has no file: folders are listed, no file is looked at by itself."""
    found: set[str] = set()
    for start, those in groupby(sorted(digests), key=itemgetter(slice(2))):
        wanted = {f"{digest}.safetensors" for digest in those}
        for store in stores:
            found |= store.lacking(start, wanted)
    return {name.removesuffix(".safetensors") for name in found}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error


def _checked(value: Any) -> bytes:
    return json.dumps({"checksum": zlib.crc32(json.dumps(value).encode()), "value": value}).encode()


def _checksum(tensors: Tensors, metadata: Mapping[str, Any]) -> int:
    """CRC-32: quick, and against accidents only."""
    total = zlib.crc32(json.dumps(metadata, sort_keys=True).encode()) if metadata else 0
    for name in sorted(tensors):
        total = zlib.crc32(f"{name}{tensors[name].shape}{tensors[name].dtype}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(tensors[name]).data, total)
    return total


def leftovers(folder: Path) -> Iterator[Path]:
    """Parts of files that killed runs have left behind, in the folder and up to three deeper."""
    for inner in (folder, *(inner for depth in ("*", "*/*", "*/*/*") for inner in folder.glob(depth + "/"))):
        with suppress(OSError):  # it has gone, or cannot be read
            names = [name for name in os.listdir(inner) if name.startswith(".") and name.endswith(".part")]
            yield from (inner / name for name in names if is_old(inner / name))


def is_old(path: Path, seconds: float = LEFTOVER_AGE) -> bool:
    """Whether nobody has touched a file, which is still there, for so long."""
    try:
        return path.stat().st_mtime < time.time() - seconds
    except OSError:
        return False


def remove_leftovers(folder: Path) -> None:
    for part in leftovers(folder):
        remove(part)


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that it holds; what another process is faster to delete, or maps, is passed over."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink()
    except OSError:
        pass
