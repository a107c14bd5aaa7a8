"""What is seen where on a photo's animal, by the photo's content: <folder>/layouts/<fingerprint>/<digest[:2]>/<digest>.safetensors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .files import ByPhoto, DamagedFile, read_tensors, write_tensors


class LayoutStore(ByPhoto):
    """One array a photo."""

    kind = "layouts"

    def load(self, digest: str) -> NDArray[np.float16] | None:
        """None if there is none, or it is damaged: it is soon computed again."""
        try:
            found: NDArray[np.float16] = read_tensors(self.path(digest))[0]["layouts"]
            return found
        except (FileNotFoundError, DamagedFile, KeyError):
            return None

    def save(self, digest: str, layouts: NDArray[np.float16]) -> None:
        write_tensors(self.path(digest), {"layouts": layouts}, {})
