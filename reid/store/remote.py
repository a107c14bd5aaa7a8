"""Features at a URL that fsspec reads: an object store (s3://, gs://), or a disk behind a protocol of its own. They are shared by all who
name it; what one has extracted nobody extracts again. Names are those below `features/` in a store.

What is read there is checked as what is read here, so that nothing half written is ever taken for whole. Nothing is deleted there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreError

WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"}  # protocols by which a file is put whole or not at all


class Remote:
    """Usable from several threads. `copies` is where copies of what is read are kept, if not in the store. Raises StoreError."""

    def __init__(self, url: str, copies: Path | None = None):
        if not url:
            raise StoreError("the URL where features are kept is empty; name one, s3://bucket/folder, or leave it out")
        self.url, self.copies = url.rstrip("/"), copies
        try:
            import fsspec
        except ImportError as error:
            raise StoreError(f"{url} is read by fsspec, which is not installed; `pip install 'animal-reid[remote]'` brings it") from error
        with self._told("use", url):
            self._files, root = fsspec.url_to_fs(url)  # whose strokes belong to its protocol, where nothing follows
        self._root = root.rstrip("/")
        protocol = self._files.protocol
        self._is_whole = not WHOLE.isdisjoint([protocol] if isinstance(protocol, str) else protocol)

    def __contains__(self, name: str) -> bool:
        with self._told("look for", self.place(name)):
            return bool(self._files.exists(f"{self._root}/{name}"))

    def place(self, name: str) -> str:
        return f"{self.url}/{name}"

    def names(self, folder: str) -> set[str]:
        """Of the files in it; none where there is no such folder."""
        with self._told("list", self.place(folder)):
            self._files.invalidate_cache()  # others write there, too
            try:
                return {path.rpartition("/")[2] for path in self._files.ls(f"{self._root}/{folder}", detail=False)}
            except FileNotFoundError:
                return set()

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError, too."""
        with self._told("read", self.place(name), FileNotFoundError):
            return bytes(self._files.cat_file(f"{self._root}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        folder, _, own = f"{self._root}/{name}".rpartition("/")
        with self._told("write", self.place(name)):
            if self._is_whole:
                self._files.pipe_file(f"{folder}/{own}", data)
                return
            self._files.makedirs(folder, exist_ok=True)
            part = f"{folder}/.{own}.{secrets.token_hex(4)}.part"
            self._files.pipe_file(part, data)
            self._files.mv(part, f"{folder}/{own}")

    @contextmanager
    def _told(self, verb: str, place: str, expected: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        try:
            yield
        except expected:
            raise
        except Exception as error:  # every protocol has its own
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StoreError(f"cannot {verb} {place}: {said}; mend that and run again, what is stored stays") from error
