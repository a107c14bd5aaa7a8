"""Files that are written whole or not at all, and are known to be whole when they are read."""

from __future__ import annotations

import errno
import json
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from ..errors import StoreError

Tensors = dict[str, NDArray[Any]]


class DamagedFile(Exception):
    """A stored file that is not what was written; the caller redoes it."""


def write_atomically(path: Path, data: bytes | Callable[[Path], None]) -> None:
    """All of `data` at `path`, or of what the call writes to the file it is given, or nothing. Raises StoreError, one line."""
    target = Path(os.path.realpath(path))  # a link stays one
    part = target.parent / f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        if os.path.isdir(target):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if os.path.exists(target) and not os.path.isfile(target) and not callable(data):  # a pipe or a device is written into
            target.write_bytes(data)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        data(part) if callable(data) else part.write_bytes(data)
        os.replace(part, target)
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


def remove_leftovers(folder: Path, older_than: float) -> None:
    """Delete parts of files that a killed run left behind; `older_than` is a time in seconds since the epoch."""
    for part in _parts(folder):
        try:
            if part.stat().st_mtime < older_than:
                part.unlink()
        except OSError:
            continue  # another run was faster


def _parts(folder: Path) -> Iterable[Path]:
    """Leftovers lie one to three folders deep."""
    return (part for depth in ("*", "*/*", "*/*/*") for part in folder.glob(f"{depth}/.*.part"))
