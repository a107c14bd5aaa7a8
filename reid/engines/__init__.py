"""How the work of a stage is shared out: `local`, in this process, or `ray`, over the machines of a cluster.

A stage is a function over some items that gives a result for each, in their order, and stores what it computes. An engine calls it, on
all items or on shards of them, and knows nothing of what it does; a stage knows nothing of engines. No result depends on its shard.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..listener import Listener
from .engine import Engine, LocalEngine
from .status import Run, runs

Opener = Callable[[Path, Listener], Engine]  # of the folder where all that is computed is stored, and who is told


def local(folder: Path, listener: Listener) -> Engine:
    return LocalEngine()


def ray(address: str | None = None, *, workers: int | None = None, cpus: float = 1, gpus: float = 0) -> Opener:
    """A Ray cluster, the one at `address` ("host:port"), or that of this machine; where there is none, one is started here for this run.

    As many workers as it has room for, or so many, each with so many processors and GPUs, which may be fractions."""
    from .cluster import RayEngine

    return partial(RayEngine, address=address, workers=workers, cpus=cpus, gpus=gpus)


__all__ = ["Engine", "LocalEngine", "Opener", "Run", "local", "ray", "runs"]
