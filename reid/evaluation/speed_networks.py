"""How fast are networks, ours and kornia's? Where kornia is not installed ours run alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from .. import extractors, imaging, matchers, stages, weights
from ..errors import SettingsError
from ..matchers.lightglue_layers import Shape, renamed
from ..records import Features, Indexed, Photo
from ..session import Session
from ..stages.extract import AT_ONCE
from ..stages.pipeline import Pipeline
from .timing import Row, alternate, some, usable

PAIRS = {"cpu": 12, "mps": 12, "cuda": 192}  # references that a query is matched with in a round
PHOTOS = {"cpu": 8, "mps": 8, "cuda": 128}  # photos in a round of extraction


def _kornia() -> Any:
    """kornia's networks; None where it is not installed."""
    return import_module("kornia.feature") if find_spec("kornia") else None


def matching(opened: Session) -> Iterator[Row]:
    """One query against references: the ways ours can run, and kornia's network pair by pair in float32 and in its own batches."""
    pipeline, listener = opened.work.first, opened.work.listener
    extract, match, device = pipeline.settings.extract, pipeline.settings.match, pipeline.device
    name = matchers.weights_name(extract, match)
    if name is None or match.matcher != "lightglue":
        raise SettingsError("the matching bench compares LightGlue; leave out --matcher")
    n = PAIRS[device]
    features = [pipeline.load(item) for item in usable(opened, n + 1)]
    query = features.pop(int(np.argmax([len(one) for one in features])))
    references = features[:n]
    n_dims = extractors.entry(extract.extractor).n_dims
    published = renamed(weights.load(name, match.lightglue_weights))
    like, with_scale = Shape.of(published), published["posenc.Wr.weight"].shape[1] == 4
    crowd = [references[i % n] for i in range(match.shortlist or 10 * n)]
    most = matchers.n_finalists(extract, replace(match, coarse=True)) or len(crowd)

    def ours(**changes: Any) -> Callable[[], Any]:
        matcher = matchers.create(extract, replace(match, **changes), device)
        return lambda: list(matcher.match(query, references))

    def coarse_to_fine() -> None:
        list(matcher.coarse(query, crowd))
        list(matcher.match(query, crowd[:most]))

    matcher, kornia = matchers.create(extract, match, device), _kornia()

    def theirs(adaptive: bool, at_once: int = 1) -> Callable[[], Any] | None:
        if kornia is None:
            return None
        shape = {"descriptor_dim": like.dim, "num_heads": like.heads, "n_layers": like.layers}
        network: Any = kornia.LightGlue(None, input_dim=n_dims, add_scale_ori=with_scale, flash=False, **shape)
        network.eval().to(device).load_state_dict(published, strict=False)
        network.conf.depth_confidence, network.conf.width_confidence = (0.95, 0.99) if adaptive else (-1, -1)
        batches = [references[i : i + at_once] for i in range(0, len(references), at_once)]

        def call() -> None:
            with torch.inference_mode():
                for batch in batches:
                    network({"image0": _tensors([query] * len(batch), device), "image1": _tensors(batch, device)})

        return call

    def row(text: str, against: str, ours: Callable[[], Any], peer: Callable[[], Any] | None, n_ours: int) -> Row:
        seconds, other = alternate(ours, peer, listener, "rounds")
        name = f"{text}{f', against {against}' if peer else ''}, {extract.max_keypoints} keypoints"
        return Row(name, "ms a pair", seconds / n_ours * 1e3, None if other is None else other / n * 1e3)

    every = {"depth_confidence": -1.0, "width_confidence": -1.0}
    alone = "kornia pair by pair in float32"
    yield row(f"coarse to fine among {len(crowd)}", f"{alone}, early stopping, pruning", coarse_to_fine, theirs(True), len(crowd))
    yield row("each pair in full", "the same", ours(), theirs(True), n)
    yield row("every layer", f"{alone}, every layer", ours(**every), theirs(False), n)
    yield row("every layer", "kornia's batches of 8", ours(**every), theirs(False, 8), n)
    yield row("every layer, float32", "the same", ours(**every, precision="full"), theirs(False), n)


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


def extraction(opened: Session) -> Iterator[Row]:
    """ALIKED on prepared photos, and from the file, without a look for the animal's outline, which the peer has none of; kornia's network
    takes one photo at a time. Where the settings want the outline, from the file with it, too, alone."""
    pipeline, listener = opened.work.first, opened.work.listener
    settings, device = pipeline.settings.extract, pipeline.device
    n = PHOTOS[device]
    chosen = some(opened.gallery.references, n)
    photos = [imaging.prepare(ref, settings.resize, settings.enlarge) for ref in chosen]
    sizes = {photo.size: [other for other in photos if other.size == photo.size] for photo in photos}
    theirs: Any = None
    kornia = _kornia()
    if kornia is not None and settings.extractor.startswith("aliked"):
        theirs = kornia.ALIKED(settings.extractor, max_num_keypoints=settings.max_keypoints, detection_threshold=-1)
        theirs.load_state_dict(weights.load(str(extractors.entry(settings.extractor).weights)), strict=False)
        theirs.eval().to(device)

    def peer(photos: Sequence[Photo]) -> None:
        with torch.inference_mode():
            for photo in photos:
                theirs(torch.from_numpy(photo.pixels.copy()).to(device).permute(2, 0, 1)[None].float() / 255)

    sides = f"{settings.extractor}, {settings.resize} px, {settings.max_keypoints} keypoints"
    ours, other = alternate(
        lambda: [pipeline.extractor.extract_all(part) for same in sizes.values() for part in _parts(same, AT_ONCE[device])],
        (lambda: peer(photos)) if theirs else None,
        listener,
        "rounds",
    )
    yield Row(f"{sides}, network alone", "ms a photo", ours / n * 1e3, other and other / n * 1e3)
    items = [Indexed(ref, "") for ref in chosen]
    plain = Pipeline(pipeline.settings.replace(segment=False), pipeline.folder, listener)
    ours, other = alternate(
        lambda: list(stages.features_of(items, plain)),
        (lambda: peer([imaging.prepare(ref, settings.resize, settings.enlarge) for ref in chosen])) if theirs else None,
        listener,
        "rounds",
    )
    yield Row(f"{sides}, decoding included", "ms a photo", ours / n * 1e3, other and other / n * 1e3)
    if not settings.segment:
        return

    def anew() -> None:
        extractors.segmenter(device).forget()  # else every round but the first finds its masks in memory
        list(stages.features_of(items, pipeline))

    ours, _ = alternate(anew, None, listener, "rounds")
    yield Row(f"{sides}, decoding and outline included", "ms a photo", ours / n * 1e3)


def _parts(photos: Sequence[Photo], n: int) -> Iterator[Sequence[Photo]]:
    return (photos[i : i + n] for i in range(0, len(photos), n))
