"""What tells a gallery's animals apart in one vector a photo: a linear discriminant analysis of their names, in closed form.

How photos of one animal differ is evened out, so that what is left differs between animals (Fisher 1936; here all axes are kept, as in
within-class covariance normalisation, Hatch 2006, Interspeech). The covariance within animals is shrunk towards a multiple of the identity
(Friedman 1989, JASA), by as much as serves best the animals that are left out: the names of animals to come are not learned, either.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

import reid

from .. import devices, extractors, weights
from ..errors import GalleryError
from ..evaluation.answers import average_precision
from ..extractors.embedding import NAME
from ..listener import Listener
from ..records import Indexed
from ..session import Session
from ..settings import Settings
from ..store import fingerprint, write_atomically

SHRINKAGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the identity, in units of the mean variance, that are tried
FOLDS = 5  # that animals are dealt into; each is left out once
JUDGED = 100  # photos of a fold that are looked for, at most, among the others of the fold
Vectors = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Named:
    """Photos whose animal is known."""

    vectors: Vectors  # (N, V)
    animals: NDArray[np.intp]  # (N,) numbers, those with most encounters first, then by name
    encounters: NDArray[np.intp]  # (N,) numbers

    def take(self, rows: NDArray[Any]) -> Named:
        return Named(self.vectors[rows], self.animals[rows], self.encounters[rows])


@dataclass(frozen=True)
class Within:
    """How photos of one animal differ."""

    mean: Vectors  # (V,) of the animals' means
    scale: Vectors  # (V,) standard deviation of all photos
    variances: Vectors  # (V,) within animals along `axes`, in units of `scale`
    axes: Vectors  # (V, V)

    @classmethod
    def of(cls, photos: Named) -> Within:
        """Of animals with more than one photo, of which there are some."""
        scale = photos.vectors.std(axis=0) + 1e-6
        _, animals, n = np.unique(photos.animals, return_inverse=True, return_counts=True)
        means = np.zeros((len(n), len(scale)))
        np.add.at(means, animals, photos.vectors)
        means /= n[:, None]
        away = (photos.vectors - means[animals]) / scale
        variances, axes = np.linalg.eigh(away.T @ away / (len(animals) - len(n)))
        return cls(means.mean(axis=0), scale, variances.clip(0), axes)

    def evened(self, shrinkage: float) -> Vectors:
        """(V, V) that makes of a vector less `mean` one whose variance within animals is the same in all directions. It is symmetric but
        for the scale, so that the signs of axes play no part."""
        variances = self.variances + shrinkage * self.variances.mean()
        evened: Vectors = (self.axes / np.sqrt(variances)) @ self.axes.T / self.scale[:, None]
        return evened


def train(
    gallery: str | Path,
    out: str | Path,
    *,
    table: str | Path | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    listener: Listener | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Learn from the reference photos of a gallery and their names; returns the file of weights, `out`/embedding.safetensors, and its card.

    Vectors are stored as features are, and a run that was interrupted goes on from there. Raises as `reid.open` and `Session.index` do, and
    GalleryError where too few animals were met again."""
    settings = Settings.of(extractor=NAME, matcher="cosine", fuse="none", device=device)
    with reid.open(gallery, settings, table=table, cache=cache, listener=listener) as session:
        return learn(session, Path(out))


def learn(session: Session, out: Path) -> tuple[Path, dict[str, Any]]:
    """`train` of a gallery that is open, by whose settings the vectors are made."""
    work, extract = session.work, session.settings.extract
    photos, items = named(session)
    again = sum(len(set(photos.encounters[photos.animals == one])) > 1 for one in np.unique(photos.animals))
    if again < FOLDS:
        raise GalleryError(
            f"{session.root} has photos of two encounters of {again} animals whose names are known, and {FOLDS} are needed to learn what "
            "tells animals apart; name more, give dates or a column encounter, or take the network as it is, without --weights"
        )
    judged = judge(photos, work.listener)
    plain, *figures = judged
    shrinkage, best = max(zip(SHRINKAGES, figures, strict=True), key=lambda one: (one[1], one[0]))
    within = Within.of(photos)
    files = {session.work.digests.of_file(item.ref.path) for item in items}
    tensors = {"mean": within.mean, "axes": within.evened(shrinkage)}
    card = {
        "network": NAME,
        "shrinkage": shrinkage,
        "score": best[0],
        "first": best[1],
        "score_without": plain[0],
        "first_without": plain[1],
        "n_photos": len(items),
        "n_animals": len(np.unique(photos.animals)),
        "n_met_again": again,
        "photos": fingerprint([item.digest for item in items]),
        "extractor_weights": extractors.weights_digest(extract),
        "settings": {name: getattr(extract, name) for name in ("resize", "enlarge", "equalize", "segment")},
        "hardware": devices.name(work.first.device),
        "reid": devices.versions()["reid"],
    }
    stored = {name: np.ascontiguousarray(values, np.float32) for name, values in tensors.items()} | weights.learned_of(sorted(files))
    file = out / f"{NAME}.safetensors"
    write_atomically(file, save(stored, metadata={"card": json.dumps(card)}))
    return file, card


def named(session: Session) -> tuple[Named, list[Indexed]]:
    """The gallery's references whose animal is known, each photo once, by their digests."""
    items = {item.digest: item for item in session.references if item.ref.identity is not None}
    read = [(items[digest], session.work.first.load(items[digest])) for digest in sorted(items)]
    usable = [(item, features.descriptors[0]) for item, features in read if len(features)]
    met: dict[str, set[str]] = {}
    for item, _ in usable:
        met.setdefault(str(item.ref.identity), set()).add(encounter(item))
    numbers = {name: number for number, name in enumerate(sorted(met, key=lambda name: (-len(met[name]), name)))}
    vectors = np.array([vector for _, vector in usable], np.float64)
    animals = np.array([numbers[str(item.ref.identity)] for item, _ in usable], np.intp)
    _, encounters = np.unique([encounter(item) for item, _ in usable], return_inverse=True)
    return Named(vectors, animals, encounters), [item for item, _ in usable]


def encounter(item: Indexed) -> str:
    """Its own where none is known."""
    return item.ref.encounter or item.digest


def judge(photos: Named, listener: Listener) -> list[tuple[float, float]]:
    """Of the vectors as they are, and then by each of SHRINKAGES: over photos of animals that were left out, each looked for among such
    photos of other encounters, the mean average precision, and the share that finds its animal first."""
    found: list[list[tuple[float, bool]]] = [[] for _ in range(len(SHRINKAGES) + 1)]
    for fold in range(FOLDS):
        listener.progress("animals left out", fold, FOLDS)
        is_out = photos.animals % FOLDS == fold
        within, out = Within.of(photos.take(~is_out)), photos.take(is_out)
        ways = [out.vectors, *((out.vectors - within.mean) @ within.evened(shrinkage) for shrinkage in SHRINKAGES)]
        for answers, vectors in zip(found, ways, strict=True):
            answers += looked_for(Named(vectors, out.animals, out.encounters))
    listener.progress("animals left out", FOLDS, FOLDS)
    return [(float(np.mean([one for one, _ in answers])), float(np.mean([one for _, one in answers]))) for answers in found]


def looked_for(photos: Named) -> list[tuple[float, bool]]:
    """Of each photo, of at most JUDGED, whose animal has another encounter: its average precision, and whether its animal is first."""
    apart = photos.encounters[:, None] != photos.encounters
    same = photos.animals[:, None] == photos.animals
    tried = np.flatnonzero((apart & same).any(axis=1))
    units = photos.vectors / np.linalg.norm(photos.vectors, axis=1, keepdims=True)
    found = []
    for row in tried[:: -(-len(tried) // JUDGED) or 1]:
        others = apart[row]
        likeness, right = units[others] @ units[row], same[row, others]
        found.append((average_precision(likeness, right) or 0.0, bool(right[np.argmax(likeness)])))
    return found
