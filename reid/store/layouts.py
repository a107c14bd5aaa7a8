"""What is seen where on a photo's animal, by the photo's content: <folder>/layouts/<fingerprint>/<digest[:2]>/<digest>.safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .files import DamagedFile, read_tensors, used, write_tensors


class LayoutStore:
    """One array a photo."""

    def __init__(self, folder: Path, fingerprint: str):
        self.folder = folder / "layouts" / fingerprint
        used(self.folder)

    def path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).exists()

    def load(self, digest: str) -> NDArray[np.float16] | None:
        """None if there is none, or it is damaged: it is soon computed again."""
        try:
            found: NDArray[np.float16] = read_tensors(self.path(digest))[0]["layouts"]
            return found
        except (FileNotFoundError, DamagedFile, KeyError):
            return None

    def save(self, digest: str, layouts: NDArray[np.float16]) -> None:
        write_tensors(self.path(digest), {"layouts": layouts}, {})
