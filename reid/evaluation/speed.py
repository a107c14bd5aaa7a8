"""How fast is it here, beside kornia's networks: both ways alternate in one process, on the same photos; medians and their ratio.

A row's ratio is the peer's time by ours: above 1, ours is faster. Rows without a peer have none. `reid bench` prints the tables;
`python -m reid.evaluation.speed --device cuda --json FILE` times the networks alone, where little else is installed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from .. import devices, matchers, session
from ..session import Session
from ..settings import Settings
from ..stages import Listener
from . import speed_gallery, speed_networks
from .timing import Row

BENCHES: dict[str, Callable[[Session], Iterator[Row]]] = {
    "matching": speed_networks.matching,
    "extraction": speed_networks.extraction,
    "shortlist": speed_gallery.shortlist,
    "identify": speed_gallery.identify,
}


def run(what: str, gallery: Path | None, settings: Settings, cache: Path | None, listener: Listener) -> dict[str, Any]:
    """`{"rows": [...], "machine": {...}}` of one of `BENCHES`, on the photos of a gallery or, without one, on drawn noise."""
    device = devices.choose(settings.device)
    with tempfile.TemporaryDirectory() as folder:
        n_drawn = max(speed_networks.PAIRS[device], speed_networks.PHOTOS[device]) + 8
        root = gallery or _drawn_gallery(Path(folder) / "drawn", n_drawn)
        own_cache = cache or (None if gallery else Path(folder) / "cache")
        with session.open(root, settings, cache=own_cache, skip_bad=True, listener=listener) as opened:
            rows = list(BENCHES[what](opened))
    return {"rows": [row.as_json() for row in rows], "machine": machine(settings), "settings": settings.as_dict()}


def machine(settings: Settings) -> dict[str, Any]:
    """What the figures depend on."""
    device = devices.choose(settings.device)
    here = {
        "processor": devices.name(device),
        "device": device,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    return here | {"precision": str(matchers.dtype(settings.match, device)).removeprefix("torch."), "versions": devices.versions()}


def _drawn_gallery(root: Path, n: int) -> Path:
    """Smoothed noise, a photo an animal: enough to time networks on, nothing to recognise."""
    rng = np.random.default_rng(0)
    for number in range(n):
        grey = sum(cv2.resize(rng.random((48 << i, 64 << i)).astype(np.float32), (640, 480)) / 2 ** (3 - i) for i in range(4))
        folder = root / f"animal-{number:03}"
        folder.mkdir(parents=True)
        cv2.imwrite(
            str(folder / "1.png"),
            cv2.cvtColor(cv2.normalize(np.asarray(grey), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8), cv2.COLOR_GRAY2BGR),
        )
    return root


def main() -> None:
    """Time the networks, and write and print what comes out."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-keypoints", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    settings = Settings.of(device=chosen.device, max_keypoints=chosen.max_keypoints, fuse="none")
    found = {what: run(what, None, settings, None, Listener()) for what in ("matching", "extraction")}
    for one in found.values():
        for row in one["rows"]:
            peer = "" if row["ratio"] is None else f", {row['ratio']:.2f} times as fast as kornia"
            print(f"{row['name']}: {row['ours']:.4g} {row['unit']}, {1000 / row['ours']:.0f} a second{peer}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
