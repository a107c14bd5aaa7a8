"""Zip files, unpacked with care: nothing leaves the folder, nothing unpacks to much more than it is, links are not followed."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ..catalogue.values import counted
from ..errors import GalleryError, StoreError

MOST_FILES = 1_000_000
MOST_RATIO, SMALL = 200, 1 << 24  # times what is packed, of files larger than this many bytes
MOST_UNPACKED = 1 << 40  # bytes


def is_zip(path: Path) -> bool:
    """By its name and its first letters: a workbook is a zip, too."""
    try:
        with open(path, "rb") as file:
            return path.suffix.lower() == ".zip" and file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def unpacked_if_zip(path: Path, folder: Path) -> Path:
    """The path itself; of a zip what it holds, unpacked into a new folder, or the one thing in it. Raises GalleryError, StoreError."""
    if not is_zip(path):
        return path
    folder.mkdir(parents=True)
    unpack(path, folder)
    inside = [one for one in folder.iterdir() if one.name != "__MACOSX"]
    return inside[0] if len(inside) == 1 else folder


def unpack(path: Path, folder: Path) -> None:
    """All of a zip into a folder, once all of it is known to be harmless. Raises GalleryError with every member that is refused."""
    try:
        with zipfile.ZipFile(path) as packed:
            members = [member for member in packed.infolist() if not member.is_dir()]
            problems = _problems(path, members)
            if problems:
                raise GalleryError(f"{path}: {counted(len(problems), 'problem')}; nothing of it was unpacked", tuple(problems))
            free = shutil.disk_usage(folder).free
            needed = sum(member.file_size for member in members)
            if needed > free:
                raise GalleryError(f"{path} unpacks to {needed >> 20:,} MiB, and there are {free >> 20:,} MiB free for it")
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file)  # no more than the directory says, or the checksum differs
    except GalleryError:
        raise
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, UnicodeError) as error:
        raise GalleryError(f"{path} cannot be unpacked ({' '.join(str(error).split()) or type(error).__name__}); pack it again") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be unpacked: {error.strerror or error}") from error


def _problems(path: Path, members: list[zipfile.ZipInfo]) -> list[str]:
    if len(members) > MOST_FILES:
        return [f"{path} holds {len(members):,} files; at most {MOST_FILES:,} are unpacked"]
    if (total := sum(member.file_size for member in members)) > MOST_UNPACKED:
        return [f"{path} unpacks to {total >> 30:,} GiB; at most {MOST_UNPACKED >> 30:,} are unpacked"]
    if total > max(SMALL, MOST_RATIO * path.stat().st_size):  # many small bombs
        return [f"{path} unpacks to {total >> 20:,} MiB, more than {MOST_RATIO} times what it is"]
    taken: dict[str, str] = {}
    problems = []
    for member in members:
        name = member.filename
        plain = PurePosixPath(name)
        other = taken.setdefault(str(plain).casefold(), name)
        reason = (
            "its name leads out of the folder" if leads_out(name)
            else "it is a link" if stat.S_ISLNK(member.external_attr >> 16)
            else "it is encrypted" if member.flag_bits & 1
            else f"it unpacks to {member.file_size >> 20:,} MiB" if member.file_size > max(SMALL, MOST_RATIO * member.compress_size)
            else f"its name is that of {other!r}" if member.filename != other or taken.get(f"{name}\0") else ""
        )  # fmt: skip
        taken[f"{name}\0"] = name
        if reason:
            problems.append(f"{path}, {name!r}: {reason}")
    return problems


def leads_out(name: str) -> bool:
    """Whether a name within a folder may be that of a file outside it."""
    plain = PurePosixPath(name)
    return not plain.parts or plain.is_absolute() or ".." in plain.parts or "\\" in name or "\0" in name or ":" in plain.parts[0]
