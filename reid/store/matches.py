"""Matches by the content of both photos: <folder>/matches/<fingerprint>/<digest of the query>.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .files import DamagedFile, read_tensors, write_tensors


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
