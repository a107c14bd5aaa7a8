"""What a query has in common with references, by the content of both: a file a query, so that a long run goes on where it stopped.

    <folder>/matches/<fingerprint>/<digest[:2]>/<digest of the query>.safetensors   indices and confidences of each pair matched in full
    <folder>/second/<fingerprint>/<digest[:2]>/<digest of the query>.safetensors    the same of a second look (stages/second_look)
    <folder>/coarse/<fingerprint>/<digest[:2]>/<digest of the query>.safetensors    one number a pair, of the coarse look

A pair gets what it gets alone, so a file is added to, whatever else the gallery holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .files import ByPhoto, DamagedFile, Tensors, read_tensors, write_tensors

Matches = tuple[NDArray[np.int32], NDArray[np.float16]]  # (S, 2) rows into both photos' keypoints, (S,) confidence in 0..1
Value = TypeVar("Value")


class _PairStore(ByPhoto, Generic[Value]):
    """Values of a query with references, by the reference's digest."""

    def load(self, query: str) -> dict[str, Value]:
        """By the digest of the reference; empty where nothing is stored. Raises DamagedFile."""
        try:
            tensors, _ = read_tensors(self.path(query))
            digests = [row.tobytes().hex() for row in tensors["references"]]
            return dict(zip(digests, self._values(tensors), strict=True))
        except FileNotFoundError:
            return {}
        except (KeyError, ValueError) as error:
            raise DamagedFile(self.path(query)) from error

    def save(self, query: str, found: Mapping[str, Value]) -> None:
        digests = sorted(found)
        if not digests:
            return
        references = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(len(digests), -1)
        write_tensors(self.path(query), {"references": references, **self._tensors([found[digest] for digest in digests])}, {})

    def _values(self, tensors: Tensors) -> list[Value]:
        raise NotImplementedError

    def _tensors(self, values: list[Value]) -> Tensors:
        raise NotImplementedError


class MatchStore(_PairStore[Matches]):
    """Matches in full. Confidences in half precision: what is scored is always what was stored, so that a run repeats itself."""

    kind = "matches"

    def _values(self, tensors: Tensors) -> list[Matches]:
        ends = tensors["ends"][:-1]
        return list(zip(np.split(tensors["indices"].astype(np.int32), ends), np.split(tensors["confidence"], ends), strict=True))

    def _tensors(self, values: list[Matches]) -> Tensors:
        indices: NDArray[Any] = np.concatenate([rows for rows, _ in values]).reshape(-1, 2)
        return {
            "indices": indices.astype(np.uint16 if indices.max(initial=0) < 2**16 else np.int32),
            "confidence": np.concatenate([confidence for _, confidence in values]).astype(np.float16),
            "ends": np.cumsum([len(rows) for rows, _ in values]),
        }


class SecondStore(MatchStore):
    """Matches of a second look: rows of the query's first column are into keypoints that are not kept."""

    kind = "second"


class CoarseStore(_PairStore[float]):
    """How alike a coarse look finds a pair."""

    kind = "coarse"

    def _values(self, tensors: Tensors) -> list[float]:
        values: list[float] = tensors["total"].tolist()
        return values

    def _tensors(self, values: list[float]) -> Tensors:
        return {"total": np.array(values, np.float64)}
