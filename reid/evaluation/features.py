"""How good local features are where the true homography is known: scenes or one's own photos in, figures of each extractor out.

Every extractor sees the same pixels, keeps clear of the same border and gives the same number of keypoints. Distances are in pixels of
the photos as they are resized here; `metrics` defines the figures. A pair that fails counts with the worst value there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import catalogue, devices, extractors, imaging
from ..devices import versions
from ..errors import PhotoError, SettingsError
from ..extractors import Extractor, classical
from ..formats import sequences
from ..formats.sequences import Scene
from ..imaging import warps
from ..imaging.geometry import estimate, visible
from ..imaging.noise import disturb
from ..matchers.nearest import NearestMatcher
from ..records import Features, Photo, PhotoRef
from ..settings import ExtractSettings, MatchSettings
from ..stages import Listener
from . import metrics

THRESHOLDS = 1, 3, 5  # px within which a match, or a homography's corners, are right
N_REPEATED = 300  # the strongest points that both photos show, of which repeatability is
BORDER = 4  # px along a photo's edge where no point counts
ROBUST = {"homography": cv2.USAC_MAGSAC, "ransac": cv2.RANSAC}  # how homographies are estimated, by the prefix of their figures
TOLERANCE, ITERATIONS = 3.0, 10_000  # px within which matches agree; samples drawn at most
ROTATION = 30.0  # degrees by which one's own photos are turned at most
Matrix = NDArray[np.float64]  # (3, 3)
Frame = int | tuple[int, int]  # px that the longest side has at most; or the (width, height) that is covered, and cut out of the middle


@dataclass(frozen=True)
class Protocol:
    """What the photos are resized to, and which keypoints are matched."""

    points: Frame  # for repeatability
    matches: Frame  # for all else
    visible: bool  # match only points that the other photo shows, which nobody knows beforehand, but SuperPoint's table does


PROTOCOLS = ("oxford", "hpatches")


def protocol(name: str, resize: int) -> Protocol:
    """SuperPoint's protocol (rpautrat/SuperPoint, export and evaluation of HPatches) looks at two sizes; ours at one."""
    if name not in PROTOCOLS:
        raise SettingsError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return Protocol((320, 240), (640, 480), True) if name == "hpatches" else Protocol(resize, resize, False)


@dataclass(frozen=True)
class View:
    """A photo, its mask where keypoints count, and what takes points of the first photo of its group to it."""

    photo: Photo
    homography: Matrix


@dataclass(frozen=True)
class Group:
    """Photos of one thing; the first is paired with each of the others."""

    name: str
    change: str  # of `sequences.CHANGES`, or "both"
    n_pairs: int
    views: Callable[[Frame], list[View]]


@dataclass(frozen=True)
class Measured:
    """One pair, by one extractor. Shares are 0..1, NaN where undefined; what needs descriptors is None without them."""

    extractor: str
    pair: str  # the name of its second photo
    change: str
    repeatability: float
    chance: float  # the repeatability of as many random points
    replication: float
    matching: Matching | None

    def as_json(self) -> dict[str, Any]:
        return {name: _json(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Matching:
    """What mutual nearest neighbours are worth, and the homographies estimated from them."""

    n_matches: int
    accuracy: tuple[float, ...]  # at each of THRESHOLDS
    matching_score: float
    coverage: float
    corner_errors: dict[str, float]  # px, by the way of estimating; infinite where there is no homography, as in the next two
    mee: float  # px
    mae: float  # px


def _json(value: Any) -> Any:
    """JSON has neither infinity nor NaN: None."""
    if isinstance(value, dict):
        return {name: _json(one) for name, one in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def run(
    folder: Path | None,
    names: Sequence[str],
    *,
    photos: Path | None = None,
    protocol_name: str = "oxford",
    resize: int = 640,
    max_keypoints: int = 1000,
    limit: int = 100,
    seed: int = 0,
    device: str = "auto",
    listener: Listener = Listener(),
) -> tuple[dict[str, Any], list[Measured]]:
    """`{"rows", "pairs", "settings", "versions"}` as `--json` writes them, a row an extractor and change, and the pairs themselves.

    Either `folder` holds sequences, or `photos` is a gallery or folder of which `limit` photos are warped at random. `names` are
    extractors of the registry, NAME=FILE with weights of one's own, or of `classical.NAMES`. Raises ReidError."""
    if (folder is None) == (photos is None):
        raise SettingsError("name either a folder of sequences, or your own photos with --photos")
    how = protocol(protocol_name, resize)
    if photos is not None and protocol_name != "oxford":
        raise SettingsError("--protocol hpatches is for sequences; leave it out with --photos")
    there = devices.choose(device)
    chosen = {name: _extractor(name, max_keypoints, resize, there) for name in names}
    groups = [_of_scene(scene) for scene in sequences.read(folder)] if folder is not None else []
    groups += _own(photos, resize, limit, seed, listener) if photos is not None else []
    measured: list[Measured] = []
    n_pairs = sum(group.n_pairs for group in groups)
    for name, extractor in chosen.items():
        what, done = f"pairs, {name}", 0
        for group in groups:
            listener.progress(what, done, n_pairs)
            measured += _measure_group(name, extractor, group, how)
            done += group.n_pairs
        listener.progress(what, done, n_pairs)
    kinds = [change for change in sequences.CHANGES if any(group.change == change for group in groups)]
    rows = [summarize(name, change, measured) for name in chosen for change in (*kinds, "all")]
    settings: dict[str, Any] = {"source": str(folder or photos), "protocol": asdict(how) | {"name": protocol_name}, "device": there}
    settings |= {"max_keypoints": max_keypoints, "n_repeated": N_REPEATED, "eps": metrics.EPS, "border": BORDER}
    settings |= {"radius": metrics.RADIUS, "tolerance": TOLERANCE}
    settings |= {} if photos is None else {"limit": limit, "seed": seed, "rotation": ROTATION}
    pairs = [one.as_json() for one in measured]
    return {"rows": rows, "pairs": pairs, "settings": settings, "versions": versions()}, measured


def _extractor(name: str, max_keypoints: int, resize: int, device: str) -> Extractor:
    if name in classical.NAMES:
        return classical.Classical(name, max_keypoints)
    own, _, file = name.partition("=")
    if own not in extractors.REGISTRY:
        raise SettingsError(f"unknown extractor {own!r}; known: {', '.join((*extractors.REGISTRY, *classical.NAMES))}")
    settings = ExtractSettings(extractor=own, weights=file, max_keypoints=max_keypoints, resize=resize)
    extractors.weights_digest(settings)  # names weights that are not there, or not for it
    return extractors.create(settings, device)


# -- photos


def _of_scene(scene: Scene) -> Group:
    def views(frame: Frame) -> list[View]:
        found = [_framed(path, f"{scene.name}/{number}", frame) for number, path in enumerate(scene.photos, start=1)]
        ways = np.eye(3), *scene.homographies
        back = np.linalg.inv(found[0][1])
        return [View(photo, placed @ way @ back) for (photo, placed), way in zip(found, ways, strict=True)]

    for path in scene.photos:
        imaging.photo_size(path)  # what cannot be read is named before work starts
    return Group(scene.name, scene.change, len(scene.homographies), views)


def _framed(path: Path, name: str, frame: Frame) -> tuple[Photo, Matrix]:
    """The photo resized and cut, and what takes pixels of the file there."""
    pixels = imaging.decode(path).pixels
    size = pixels.shape[1], pixels.shape[0]
    if isinstance(frame, int):
        to = window = imaging.prepared_size(size, frame)
    else:
        factor, window = max(frame[0] / size[0], frame[1] / size[1]), frame
        to = max(frame[0], round(size[0] * factor)), max(frame[1], round(size[1] * factor))
    left, top = (to[0] - window[0]) // 2, (to[1] - window[1]) // 2
    resized = cv2.resize(pixels, to, interpolation=cv2.INTER_AREA if to[0] <= size[0] else cv2.INTER_CUBIC)
    way = imaging.resizing(size, to)
    way[:2, 2] -= left, top
    cut = np.ascontiguousarray(resized[top : top + window[1], left : left + window[0]])
    return Photo(name, cut, _inner(cut)), way


def _inner(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    inner = np.zeros(pixels.shape[:2], bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    return inner


def _own(root: Path, resize: int, limit: int, seed: int, listener: Listener) -> list[Group]:
    """One pair a photo, of `limit` photos spread over them; photos that cannot be used are noted."""
    gallery = catalogue.unlabelled(root, imaging.facts)
    for text in gallery.notes:
        listener.note(text)
    refs = list(gallery.references)
    refs = [refs[number * len(refs) // min(limit, len(refs))] for number in range(min(limit, len(refs)))]
    groups = []
    for done, ref in enumerate(refs):
        listener.progress("photos checked", done, len(refs))
        try:
            imaging.prepare(ref, resize)
            groups.append(_of_photo(ref, seed, done))
        except PhotoError as error:
            listener.note(f"not used: {error}")
    listener.progress("photos checked", len(refs), len(refs))
    if not groups:
        raise PhotoError(f"{root} holds no photo that can be used")
    return groups


def _of_photo(ref: PhotoRef, seed: int, number: int) -> Group:
    """The photo, and the same under a random homography and in another light."""

    def views(frame: Frame) -> list[View]:
        assert isinstance(frame, int)
        photo = imaging.prepare(ref, frame)
        rng = np.random.default_rng((seed, number))
        source = warps.sample(rng, photo.size, warps.Strength(rotation=np.deg2rad(ROTATION)))
        seen = np.ones(photo.pixels.shape[:2], bool) if photo.mask is None else photo.mask
        warped = warps.warp(photo.pixels, source)
        shown = warps.valid(source, photo.size, photo.size)
        light = cv2.cvtColor(warped, cv2.COLOR_RGB2GRAY).astype(np.float32)
        other = (warped + (disturb(light, rng) - light)[..., None]).clip(0, 255).round().astype(np.uint8)
        there = warps.valid(source, photo.size, photo.size, BORDER) & (warps.warp(seen.astype(np.uint8), source) > 0)
        first = Photo(f"{ref.image_id}, as it is", photo.pixels, seen & _inner(photo.pixels))
        second = Photo(f"{ref.image_id}, warped", np.where(shown[..., None], other, 0), there)
        return [View(first, np.eye(3)), View(second, np.linalg.inv(source).astype(np.float64))]

    return Group(ref.image_id, "both", 1, views)


# -- figures of a pair


@dataclass(frozen=True)
class _Seen:
    view: View
    features: Features


def _measure_group(name: str, extractor: Extractor, group: Group, how: Protocol) -> list[Measured]:
    def seen(frame: Frame) -> list[_Seen]:
        return [_Seen(view, extractor.extract(view.photo)) for view in group.views(frame)]

    few = seen(how.points)
    many = few if how.matches == how.points else seen(how.matches)
    return [
        Measured(name, small.view.photo.image_id, group.change, *_repeated(few[0], small), _matched(many[0], large, how))
        for small, large in zip(few[1:], many[1:])
    ]


def _visible(a: _Seen, b: _Seen) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which keypoints of either photo lie where the other one may have some."""
    to, back = b.view.homography, np.linalg.inv(b.view.homography)
    return (
        visible(a.features.keypoints, to, b.view.photo.size, b.view.photo.mask),
        visible(b.features.keypoints, back, a.view.photo.size, a.view.photo.mask),
    )


def _repeated(a: _Seen, b: _Seen) -> tuple[float, float, float]:
    """Repeatability of the strongest points that both show, what chance gives as many, and the replication of all."""
    way, size = b.view.homography, b.view.photo.size
    first, second = (one.features.keypoints[ok][:N_REPEATED] for one, ok in zip((a, b), _visible(a, b)))
    assert b.view.photo.mask is not None
    rows, columns = np.nonzero(b.view.photo.mask)
    pixels = np.stack((columns, rows), axis=1)[::7]  # a sample of them
    both = visible(pixels, np.linalg.inv(way), a.view.photo.size, a.view.photo.mask).mean() * len(rows) / (size[0] * size[1])
    n = len(first), len(second)
    at_random = metrics.by_chance(n[1], size, share=both), metrics.by_chance(n[0], size, share=both)
    chance = (n[0] * at_random[0] + n[1] * at_random[1]) / sum(n) if sum(n) else float("nan")
    return (
        metrics.repeatability(first, second, way),
        chance,
        metrics.replication(a.features.keypoints, b.features.keypoints, way),
    )


def _matched(a: _Seen, b: _Seen, how: Protocol) -> Matching | None:
    if not a.features.descriptors.shape[1]:
        return None
    way, size = b.view.homography, a.view.photo.size
    seen = _visible(a, b)
    kept = tuple(np.flatnonzero(ok) if how.visible else np.arange(len(ok)) for ok in seen)
    query, reference = (_rows(one.features, rows) for one, rows in zip((a, b), kept))
    [(_, (indices, _))] = NearestMatcher(MatchSettings(), "cpu").match(query, [reference])
    first, second = query.keypoints[indices[:, 0]], reference.keypoints[indices[:, 1]]
    right = {eps: metrics.correct(first, second, way, eps) for eps in THRESHOLDS}
    good = right[round(metrics.EPS)]
    found = {
        name: estimate(first, second, "homography", TOLERANCE, method=method, iterations=ITERATIONS)[0] for name, method in ROBUST.items()
    }
    return Matching(
        len(indices),
        tuple(float(ok.mean()) if len(ok) else 0.0 for ok in right.values()),
        metrics.matching_score(indices, good, *(ok[rows] for ok, rows in zip(seen, kept))),
        metrics.coverage(first[good], size, a.view.photo.mask),
        {name: metrics.corner_error(one, way, size) for name, one in found.items()},
        *metrics.registration_errors(found["homography"], way, size),
    )


def _rows(features: Features, rows: NDArray[Any]) -> Features:
    return Features(features.kind, features.size, features.keypoints[rows], features.scores[rows], features.descriptors[rows])


# -- figures of an extractor


def summarize(extractor: str, change: str, measured: Sequence[Measured]) -> dict[str, Any]:
    """The means over the pairs of this change, or all; None where there is nothing to tell.

    `n_undefined` pairs show no point that the other photo could have: they are left out of repeatability, chance and replication, and of
    nothing else. `n_failed` pairs have no homography: their errors are infinite, so they lower every share."""
    pairs = [one for one in measured if one.extractor == extractor and change in (one.change, "all")]
    row: dict[str, Any] = {"extractor": extractor, "change": change, "n_pairs": len(pairs)}
    for name in ("repeatability", "chance", "replication"):
        values = np.array([getattr(one, name) for one in pairs], np.float64)
        row[name] = float(np.nanmean(values)) if not np.isnan(values).all() else None
    row["n_undefined"] = sum(bool(np.isnan(one.repeatability)) for one in pairs)
    found = [one.matching for one in pairs if one.matching is not None]
    return row | (_of_matches(found, row["repeatability"] or 0.0) if found else dict.fromkeys(_of_matches([NOTHING], 0.0)))


NOTHING = Matching(0, (0.0,) * len(THRESHOLDS), 0.0, 0.0, dict.fromkeys(ROBUST, np.inf), np.inf, np.inf)


def _of_matches(found: Sequence[Matching], repeatability: float) -> dict[str, Any]:
    """The harmonic mean is of the means, as in GoodPoint's tables (arXiv 2006.01030)."""
    row: dict[str, Any] = {}
    for eps, values in zip(THRESHOLDS, np.mean([one.accuracy for one in found], axis=0)):
        row[f"accuracy_{eps}px"] = float(values)
    for name in ("n_matches", "matching_score", "coverage"):
        row[name] = float(np.mean([getattr(one, name) for one in found]))
    row["harmonic_mean"] = metrics.harmonic_mean(repeatability, row["accuracy_3px"], row["coverage"])
    for name in ROBUST:
        errors = np.array([one.corner_errors[name] for one in found])
        row |= {f"{name}_{eps}px": float((errors <= eps).mean()) for eps in THRESHOLDS}
        row |= {f"{name}_auc_{eps}px": metrics.area_under_curve(errors, eps) for eps in THRESHOLDS}
    classes = [metrics.registration_class(one.mee, one.mae) for one in found]
    row |= {name: classes.count(name) / len(classes) for name in metrics.CLASSES}
    medians = {name: float(np.median([getattr(one, name) for one in found])) for name in ("mee", "mae")}  # px
    row |= {name: value if np.isfinite(value) else None for name, value in medians.items()}
    return row | {"n_failed": classes.count("failed")}
