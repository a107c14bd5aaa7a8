"""New photos by way of a page: dropped onto it, or a folder of this machine that is named.

What a browser sends is stored in the gallery's own folder alone, under a plain name that is free, and only where our decoder reads its
header. The photos of one drop are handed to the worker together, since an encounter may be made of them.

<gallery>/reid-inbox/<name>
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response

from .. import imaging
from ..catalogue import INBOX, is_photo
from ..catalogue.values import counted
from ..errors import PhotoError
from ..store import sha256_of
from .desk import Desk
from .guard import Door
from .pages import Pages, form

MOST_BYTES = 512 << 20  # of a photo
LONGEST = 60  # letters of a name, before its ending
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows does not give to files
Form = Annotated[Mapping[str, str], Depends(form)]


class Inbox:
    """The folder, and what of it waits for the end of a drop."""

    def __init__(self, gallery: Path):
        self.folder = gallery / INBOX
        self._waiting: dict[Path, None] = {}
        self._lock = threading.Lock()

    def part(self) -> Path:
        """A hidden file to write into. Raises OSError where the folder is none of the gallery's own."""
        self.folder.mkdir(exist_ok=True)
        if self.folder.is_symlink():
            raise OSError(f"{INBOX} is a link")
        return self.folder / f".{secrets.token_hex(8)}.part"

    def accept(self, part: Path, name: str) -> Path:
        """Give what was sent its name; what is there already stays alone. Raises PhotoError for what is no photo."""
        if not is_photo(name):
            raise PhotoError(f"{plain(name)} is not a photo by its name")
        try:
            imaging.facts(part)
        except PhotoError as error:
            raise PhotoError(str(error).replace(str(part), plain(name))) from error
        with self._lock:
            path = self._same(part) or self._free(plain(name))
            os.replace(part, path)
            self._waiting[path] = None
        return path

    def taken(self) -> list[Path]:
        """What was sent since this was last asked."""
        with self._lock:
            found, self._waiting = list(self._waiting), {}
        return found

    def _same(self, part: Path) -> Path | None:
        size = part.stat().st_size
        alike = [one for one in sorted(self.folder.iterdir()) if one != part and is_photo(one.name) and one.stat().st_size == size]
        digest = sha256_of(part) if alike else ""
        return next((one for one in alike if sha256_of(one) == digest), None)

    def _free(self, name: str) -> Path:
        """A file of this name, or of one with a number, which nobody else gets."""
        stem, ending = os.path.splitext(name)
        number = 1
        while True:
            path = self.folder / (name if number == 1 else f"{stem}-{number}{ending}")
            try:
                path.open("xb").close()
                return path
            except FileExistsError:
                number += 1


def plain(name: str) -> str:
    """The last part of a path, with letters, digits and a few marks alone, so that every system takes it."""
    base = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    allowed = re.sub(r"[^\w.() -]+", "_", base)
    stem, dot, ending = allowed.rpartition(".") if "." in allowed else (allowed, "", "")
    stem = stem.strip(". ")[:LONGEST].strip(". ") or "photo"
    return f"{stem}{'_' * bool(DEVICES.fullmatch(stem))}{dot}{ending.lower()}"


def add_to(app: FastAPI, desk: Desk, pages: Pages, door: Door) -> None:
    inbox = Inbox(desk.session.root)

    @app.post("/inbox")
    async def receive(request: Request, name: str = "") -> Response:
        """One photo, as it is."""
        too_much = HTTPException(413, f"{plain(name)} is larger than {MOST_BYTES >> 20} MB")
        if int(request.headers.get("content-length", "0")) > MOST_BYTES:
            raise too_much
        part = None
        try:
            part = inbox.part()
            with part.open("xb") as file:
                async for chunk in request.stream():
                    if file.tell() + len(chunk) > MOST_BYTES:
                        raise too_much
                    file.write(chunk)
            await run_in_threadpool(inbox.accept, part, name)
        except PhotoError as error:
            raise HTTPException(415, str(error)) from error
        except OSError as error:
            raise HTTPException(507, f"{plain(name)} cannot be stored: {error.strerror or error}") from error
        finally:
            if part is not None:
                part.unlink(missing_ok=True)
        return PlainTextResponse(status_code=201)

    @app.post("/inbox/done")
    def done() -> Response:
        """Nothing more comes: what came is looked at."""
        if found := inbox.taken():
            desk.add(found, keep=inbox.folder)
        return _added(f"{counted(len(found), 'photo')} {'is' if len(found) == 1 else 'are'} being read." if found else "No photo came.")

    @app.post("/inbox/folder")
    def folder(given: Form) -> Response:
        if not door.is_local:
            raise HTTPException(403, "folders of this machine are named on this machine alone; drop the photos onto the page")
        try:
            path = Path(given.get("folder", "").strip().strip("\"'")).expanduser()
            if not path.is_absolute() or not path.exists():
                raise PhotoError(f"there is no {path}; write the whole path, as in {Path.home() / 'today'}")
            n = desk.add([path])
        except (PhotoError, ValueError, RuntimeError) as error:  # a NUL; a ~ of nobody
            return _added(str(error), 409)
        return _added(f"{counted(n, 'photo')} {'is' if n == 1 else 'are'} being read.")

    def _added(said: str, status: int = 200) -> Response:
        answer = pages.part("added", status=status, said=said)
        if status == 200:
            answer.headers["HX-Trigger"] = "added"
        return answer
