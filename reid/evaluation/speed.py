"""How fast is it here, beside kornia's networks: both paths alternate in one process, on the same photos; medians and their ratio.

A row's ratio is the peer's time by ours: above 1, ours is faster. Rows without a peer have none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import kornia.feature
import numpy as np
import torch

from .. import devices, extractors, imaging, matchers, session, stages, weights
from ..errors import GalleryError, SettingsError
from ..matchers.lightglue_layers import Shape, renamed
from ..records import Features, Indexed, Photo, PhotoRef
from ..retrieval.shortlist import Shortlist
from ..session import Session
from ..settings import Settings
from ..stages import Listener
from ..stages.extract import AT_ONCE

BENCHES = ("matching", "extraction", "shortlist", "identify")
ROUNDS = 3  # times that each path runs, in turn with the other
PAIRS = 12  # references that a query meets in a round of the matching bench
SIZES = (1_000, 10_000, 100_000)  # photos of the galleries that the shortlist is asked among
PHOTOS = {"cpu": 8, "mps": 8, "cuda": 128}  # photos in a round of the extraction bench


@dataclass(frozen=True)
class Row:
    """One line of the table; times are medians over the rounds."""

    name: str
    unit: str
    ours: float
    peer: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.peer is None else self.peer / self.ours

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio}


def run(what: str, gallery: Path | None, settings: Settings, cache: Path | None, listener: Listener) -> dict[str, Any]:
    """`{"rows": [...], "machine": {...}}` of one of `BENCHES`, on the photos of a gallery or, without one, on drawn noise."""
    with tempfile.TemporaryDirectory() as folder:
        root = gallery or _drawn_gallery(Path(folder) / "drawn")
        own_cache = cache or (None if gallery else Path(folder) / "cache")
        with session.open(root, settings, cache=own_cache, skip_bad=True, listener=listener) as opened:
            benches: dict[str, Callable[[Session], Iterator[Row]]] = {
                "matching": _matching, "extraction": _extraction, "shortlist": _shortlist, "identify": _identify
            }  # fmt: skip
            rows = list(benches[what](opened))
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
    return here | {"precision": str(matchers.dtype(settings.match, device)).removeprefix("torch."), "versions": session.versions()}


def _alternate(ours: Callable[[], Any], peer: Callable[[], Any] | None, listener: Listener, what: str) -> tuple[float, float | None]:
    """Median seconds of each, run in turn; the first round warms up and does not count."""
    taken: dict[str, list[float]] = {"ours": [], "peer": []}
    for done in range(ROUNDS + 1):
        listener.progress(what, done, ROUNDS + 1)
        for name, call in (("ours", ours), ("peer", peer)):
            if call is not None:
                started = time.perf_counter()
                call()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                taken[name].append(time.perf_counter() - started)
    listener.progress(what, ROUNDS + 1, ROUNDS + 1)
    return float(np.median(taken["ours"][1:])), float(np.median(taken["peer"][1:])) if peer is not None else None


# -- matching


def _matching(opened: Session) -> Iterator[Row]:
    """One query against references: the ways ours can run, and kornia's network pair by pair in float32 and in its own batches."""
    pipeline, listener = opened.work.first, opened.work.listener
    extract, match, device = pipeline.settings.extract, pipeline.settings.match, pipeline.device
    name = matchers.weights_name(extract, match)
    if name is None:
        raise SettingsError("the matching bench compares LightGlue; leave out --matcher")
    items = _usable(opened, PAIRS + 1)
    features = [pipeline.load(item) for item in items]
    query = features.pop(int(np.argmax([len(one) for one in features])))
    references = features[:PAIRS]
    n_dims = extractors.entry(extract.extractor).n_dims
    published = renamed(weights.load(name, match.lightglue_weights))
    like, with_scale = Shape.of(published), published["posenc.Wr.weight"].shape[1] == 4
    crowd = [references[i % PAIRS] for i in range(match.shortlist or 10 * PAIRS)]
    most = matchers.n_finalists(extract, replace(match, coarse=True)) or len(crowd)

    def ours(**changes: Any) -> Callable[[], Any]:
        matcher = matchers.create(extract, replace(match, **changes), device)
        return lambda: list(matcher.match(query, references))

    def coarse_to_fine() -> None:
        list(matcher.coarse(query, crowd))
        list(matcher.match(query, crowd[:most]))

    matcher = matchers.create(extract, match, device)

    def theirs(adaptive: bool, at_once: int = 1) -> Callable[[], Any]:
        shape = {"descriptor_dim": like.dim, "num_heads": like.heads, "n_layers": like.layers}
        network: Any = kornia.feature.LightGlue(None, input_dim=n_dims, add_scale_ori=with_scale, flash=False, **shape)
        network.eval().to(device).load_state_dict(published, strict=False)
        network.conf.depth_confidence, network.conf.width_confidence = (0.95, 0.99) if adaptive else (-1, -1)
        batches = [references[i : i + at_once] for i in range(0, len(references), at_once)]

        def call() -> None:
            with torch.inference_mode():
                for batch in batches:
                    network({"image0": _tensors([query] * len(batch), device), "image1": _tensors(batch, device)})

        return call

    every = {"depth_confidence": -1.0, "width_confidence": -1.0}
    float32 = "kornia pair by pair in float32"
    seconds, other = _alternate(coarse_to_fine, theirs(True), listener, "rounds")
    end = f"{extract.max_keypoints} keypoints"
    first = f"coarse to fine among {len(crowd)}, against {float32}, early stopping, pruning, {end}"
    yield Row(first, "ms a pair", seconds / len(crowd) * 1e3, (other or 0) / PAIRS * 1e3)
    lines: list[tuple[str, dict[str, Any], Callable[[], Any]]] = [
        ("each pair in full, against the same", {}, theirs(True)),
        (f"every layer, against {float32}, every layer", every, theirs(False)),
        ("every layer, against kornia's batches of 8", every, theirs(False, 8)),
        ("every layer, float32 on both sides", {**every, "precision": "full"}, theirs(False)),
    ]
    for text, changes, peer in lines:
        seconds, other = _alternate(ours(**changes), peer, listener, "rounds")
        yield Row(f"{text}, {end}", "ms a pair", seconds / PAIRS * 1e3, (other or 0) / PAIRS * 1e3)


def _tensors(features: Sequence[Features], device: str) -> dict[str, torch.Tensor]:
    """Kornia's input: padded to the longest of the batch by repeating points, which its own batches need."""
    most = max(len(one) for one in features)
    rows = [np.arange(most) % max(len(one), 1) for one in features]
    more = {}
    if features[0].scales is not None:
        for theirs, name in (("scales", "scales"), ("oris", "angles")):
            more[theirs] = torch.tensor(np.stack([getattr(one, name)[row] for one, row in zip(features, rows)]), device=device)
    return more | {
        "keypoints": torch.tensor(np.stack([one.keypoints[row] for one, row in zip(features, rows)]), device=device),
        "descriptors": torch.tensor(np.stack([one.descriptors[row].astype(np.float32) for one, row in zip(features, rows)]), device=device),
        "image_size": torch.tensor([one.size for one in features], device=device),
    }


# -- extraction


def _extraction(opened: Session) -> Iterator[Row]:
    """ALIKED on prepared photos, and from the file; kornia's network takes one photo at a time."""
    pipeline, listener = opened.work.first, opened.work.listener
    settings, device = pipeline.settings.extract, pipeline.device
    n = PHOTOS[device]
    chosen = _some(opened.gallery.references, n)
    photos = [imaging.prepare(ref, settings.resize, settings.enlarge) for ref in chosen]
    sizes = {photo.size: [other for other in photos if other.size == photo.size] for photo in photos}
    theirs: Any = None
    if settings.extractor.startswith("aliked"):
        theirs = kornia.feature.ALIKED(settings.extractor, max_num_keypoints=settings.max_keypoints, detection_threshold=-1)
        theirs.load_state_dict(weights.load(str(extractors.entry(settings.extractor).weights)), strict=False)
        theirs.eval().to(device)

    def peer(photos: Sequence[Photo]) -> None:
        with torch.inference_mode():
            for photo in photos:
                theirs(torch.from_numpy(photo.pixels.copy()).to(device).permute(2, 0, 1)[None].float() / 255)

    sides = f"{settings.extractor}, {settings.resize} px, {settings.max_keypoints} keypoints"
    ours, other = _alternate(
        lambda: [pipeline.extractor.extract_all(part) for same in sizes.values() for part in _parts(same, AT_ONCE[device])],
        (lambda: peer(photos)) if theirs else None,
        listener,
        "rounds",
    )
    yield Row(f"{sides}, network alone", "ms a photo", ours / n * 1e3, other and other / n * 1e3)
    ours, other = _alternate(
        lambda: list(stages.features_of([Indexed(ref, "") for ref in chosen], pipeline)),
        (lambda: peer([imaging.prepare(ref, settings.resize, settings.enlarge) for ref in chosen])) if theirs else None,
        listener,
        "rounds",
    )
    yield Row(f"{sides}, decoding included", "ms a photo", ours / n * 1e3, other and other / n * 1e3)


def _parts(photos: Sequence[Photo], n: int) -> Iterator[Sequence[Photo]]:
    return (photos[i : i + n] for i in range(0, len(photos), n))


# -- shortlist


def _shortlist(opened: Session) -> Iterator[Row]:
    """How often the right animal is among the first tenth, and what a query takes in galleries drawn from this one with noise."""
    items = _usable(opened, 1, of_all=True)
    tenth = max(1, len(items) // 10)
    with (
        tempfile.TemporaryDirectory() as folder,
        opened.with_settings(opened.settings.replace(shortlist=tenth, fuse="none")) as own,
    ):
        stages.update_index(items, own.work.first)
        recall = stages.recall(items, tenth, own.work)
        if recall.n_queries:
            yield Row(f"right animal within a tenth of {len(items)} references, {recall.n_queries} queries", "%", 100 * recall.share)
        features = [own.work.first.load(item) for item in items]
        for n in SIZES:
            yield from _votes(features, n, Path(folder), own.work.listener)


def _votes(features: Sequence[Features], n: int, folder: Path, listener: Listener) -> Iterator[Row]:
    """The index of `n` photos: laid out, filled, stored, opened and asked."""
    digests = [f"{number:064x}" for number in range(n)]
    large = Shortlist(folder, str(n))
    started = time.perf_counter()
    drawn = 0.0

    def draw(digest: str) -> Features:
        nonlocal drawn
        before = time.perf_counter()
        number = int(digest, 16)
        found = _noisy(features[number % len(features)], np.random.default_rng(number))
        drawn += time.perf_counter() - before
        return found

    large.update(digests, draw, partial(listener.progress, f"photos of {n:,}"))
    yield Row(f"{n:,} references: index laid out and filled", "ms a photo", (time.perf_counter() - started - drawn) / n * 1e3)
    yield Row(
        f"{n:,} references: file", "KiB a photo", sum(file.stat().st_size for file in large.root.rglob("*") if file.is_file()) / n / 1024
    )
    large = Shortlist(folder, str(n))
    seconds, _ = _alternate(lambda: large.votes(features[0], digests), None, listener, "rounds")
    yield Row(f"{n:,} references: votes", "ms a query", seconds * 1e3)
    seconds, _ = _alternate(lambda: Shortlist(folder, str(n)).votes(features[0], digests), None, listener, "rounds")
    yield Row(f"{n:,} references: the index opened, and votes", "ms a query", seconds * 1e3)
    held = subprocess.run([sys.executable, "-c", MEMORY, str(folder), str(n), str(features[0].descriptors.shape[1])], capture_output=True)
    if held.returncode == 0:  # where the system tells
        yield Row(f"{n:,} references: memory for it, mapped pages of the file included", "MiB", float(held.stdout))


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from reid.records import Features
from reid.retrieval import Shortlist

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024

rows = np.random.default_rng(0).normal(size=(512, int(sys.argv[3])))
query = Features("drawn", (100, 100), np.zeros((512, 2)), np.zeros(512), rows / np.linalg.norm(rows, axis=1, keepdims=True))
before = resident()
index = Shortlist(Path(sys.argv[1]), sys.argv[2])
for _ in range(10):
    index.votes(query, [f"{number:064x}" for number in range(int(sys.argv[2]))])
print(resident() - before)
"""


def _noisy(features: Features, rng: np.random.Generator) -> Features:
    """As another photo would have them: the same keypoints, descriptors turned by about 25 degrees."""
    descriptors = features.descriptors.astype(np.float32)
    descriptors = descriptors + rng.normal(0, 0.47 / max(descriptors.shape[1], 1) ** 0.5, descriptors.shape).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return replace(features, descriptors=descriptors.astype(np.float16))


# -- identify


def _identify(opened: Session) -> Iterator[Row]:
    """The command itself, from the start of its process to its answer, features indexed; the photo is new each time."""
    items = _usable(opened, ROUNDS, of_all=True)
    opened.index()
    listener = opened.work.listener
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "settings.toml"
        values = opened.settings.as_dict()
        tables = {name: values.pop(name) for name in list(values) if isinstance(values[name], dict)}
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        config.write_text("\n".join(lines) + "\n")
        seconds = []
        for number, ref in enumerate(_some([item.ref for item in items], ROUNDS)):
            listener.progress("queries", number, ROUNDS)
            pixels = imaging.decode(ref.path).pixels.copy()
            pixels[0, 0] = list(os.urandom(3))  # another photo than any that was asked about before: nothing of it is stored
            photo = Path(folder) / f"{number}.png"
            cv2.imwrite(str(photo), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
            started = time.perf_counter()
            command = [
                sys.executable,
                "-m",
                "reid",
                "identify",
                str(photo),
                "--gallery",
                str(opened.root),
                "--cache",
                str(opened.work.folder),
            ]
            command += ["--config", str(config), "--skip-bad"]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
            if done.returncode > 1:  # 1: answered, and some photos of the gallery could not be used
                raise GalleryError(f"reid identify failed: {done.stderr.strip().splitlines()[-1]}")
            seconds.append(time.perf_counter() - started)
        listener.progress("queries", ROUNDS, ROUNDS)
    yield Row(f"a query among {len(items)} references, process start to answer", "s a query", float(np.median(seconds)))


# -- photos


def _some(refs: Sequence[PhotoRef], n: int) -> list[PhotoRef]:
    """`n` photos spread over the gallery."""
    if len(refs) < n:
        raise GalleryError(f"the benchmark needs {n} photos, the gallery has {len(refs)}")
    return [refs[i * len(refs) // n] for i in range(n)]


def _usable(opened: Session, n: int, of_all: bool = False) -> list[Indexed]:
    """The photos of `_some`, or all, their features stored. GalleryError if fewer than `n` can be used."""
    if of_all:
        items, failures = opened.references, list(opened.failures)
    else:
        items, failures = stages.read(_some(opened.gallery.references, n), opened.work.digests, opened.work.listener)
        items, bad, _ = stages.extract(items, [opened.work.first])
        failures += bad
    if len(items) < n:
        raise GalleryError(f"the benchmark needs {n} photos that can be used: {failures[0].reason if failures else 'there are fewer'}")
    return items


def _drawn_gallery(root: Path) -> Path:
    """Smoothed noise, a photo an animal: enough to time networks on, nothing to recognise."""
    rng = np.random.default_rng(0)
    for number in range(PAIRS + 8):
        grey = sum(cv2.resize(rng.random((48 << i, 64 << i)).astype(np.float32), (640, 480)) / 2 ** (3 - i) for i in range(4))
        folder = root / f"animal-{number:02}"
        folder.mkdir(parents=True)
        cv2.imwrite(
            str(folder / "1.png"),
            cv2.cvtColor(cv2.normalize(np.asarray(grey), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8), cv2.COLOR_GRAY2BGR),
        )
    return root
