"""A training from its photos to its file of weights: what `reid train` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import devices, imaging, session
from ..devices import versions
from ..errors import PhotoError, SettingsError
from ..listener import Listener
from ..records import PhotoRef
from ..session import Session
from ..settings import Settings
from ..store import fingerprint
from ..weights import card as read_card
from . import Choices, loop, method, stages
from .photos import LONGEST, split, unlabelled


def train(
    network: str,
    photos: str | Path | None,
    out: str | Path,
    *,
    extractor: str = "",
    weights: str = "",
    every: int = 100,
    seed: int = 0,
    device: str = "auto",
    precision: str = "fast",
    resume: bool = False,
    rendered: bool = False,
    labels: Session | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    note: Callable[[str], None] = lambda text: None,
    **changes: Any,
) -> tuple[Path, dict[str, Any]]:
    """Train a network on a gallery's reference photos, or on all photos under a folder; returns the file of weights and its card.

    `extractor`, and `weights` of its own, is whose features LightGlue is trained for; `rendered`: on animals that are drawn before parts of
    the photos, too; `labels`: a gallery whose animals are learned from, which says extractor and begin, see `labelled`. `changes`: steps,
    batch, rate, side, rotation (degrees) or begin, where not the method's own (`METHODS`, `RENDERED`, `LABELS`).
    Raises SettingsError, GalleryError, PhotoError where there is no photo, WeightsError for what cannot be begun with."""
    chosen = replace(method(network, rendered, labels is not None), **changes)
    if labels is not None:
        own = labels.settings
        extractor, weights = own.extract.extractor, own.extract.weights
        chosen = replace(chosen, begin=own.match.lightglue_weights or "shipped")
    if chosen.side % 32:
        raise SettingsError(f"side is {chosen.side}; it is a multiple of 32")
    if labels is None and photos is None:
        raise SettingsError("what is learned from? Name a gallery or a folder of photos: --photos FOLDER")
    found = unlabelled(Path(str(photos)), note) if labels is None else [item.ref for item in labels.references]
    refs = _usable(found, progress, note)
    if not refs:
        raise PhotoError(f"{photos if labels is None else labels.root} holds no photo that can be used")
    learned, held_out = split(refs)
    there = devices.choose(device)
    if precision not in ("fast", "full"):
        raise SettingsError(f"unknown precision {precision!r}; known: fast, full")
    computed = "fast" if precision == "fast" and devices.native_bfloat16(there) else "full"
    plan = loop.Plan(chosen.steps, chosen.batch, chosen.rate, chosen.decay, every, seed, there, computed)
    choices = Choices(chosen.side, chosen.rotation, seed, chosen.begin, extractor, weights, there, rendered, labels)
    about = {"side": chosen.side, "rotation": chosen.rotation, "begin": chosen.begin, "extractor": extractor}
    about |= ({"rendered": True} if rendered else {}) | ({} if labels is None else {"labels": True})
    about |= {"n_photos": len(learned), "n_held_out": len(held_out), "photos": fingerprint([ref.image_id for ref in refs])}
    card = {"hardware": f"{devices.name(there)}, {torch.get_num_threads()} threads", "torch": torch.__version__, "reid": versions()["reid"]}
    file = Path(out)
    for task in stages(network, learned, held_out, choices, plan, file, progress):
        whole = replace(task, about={**about, **task.about}, card=card)
        file, _ = loop.train(whole, plan, Path(out) / task.folder, resume, partial(progress, f"steps of {task.name}"), note)
    return file, read_card(file)


def labelled(
    network: str,
    gallery: str | Path,
    extractor: str,
    *,
    weights: str = "",
    begin: str = "shipped",
    device: str = "auto",
    table: str | Path | None = None,
    cache: str | Path | None = None,
    listener: Listener | None = None,
) -> Session:
    """A gallery whose animals a network learns from, opened with the pipelines that it is begun with. Raises SettingsError for a network
    that does not learn from labels and for what cannot be begun with, and as `session.open`."""
    method(network, labels=True)
    if not extractor:
        raise SettingsError("whose features is LightGlue trained for? Name them: --extractor aliked-n16")
    if begin == "scratch":
        raise SettingsError("labels of one gallery are too few to begin from scratch; leave out --begin, or name a file of weights")
    own = {"extractor": extractor, "weights": weights, "lightglue_weights": "" if begin == "shipped" else begin}
    settings = Settings.of(matcher="lightglue", shortlist=1, device=device, **own)  # a shortlist, so that descriptors are indexed
    return session.open(gallery, settings, table=table, cache=cache, listener=listener)


def _usable(refs: Sequence[PhotoRef], progress: Callable[[str, int, int], None], note: Callable[[str], None]) -> list[PhotoRef]:
    """Those whose photo can be decoded, before a run of hours meets it; of the others a note says why not."""
    found = []
    for done, ref in enumerate(refs, start=1):
        try:
            imaging.prepare(ref, LONGEST)
            found.append(ref)
        except PhotoError as error:
            note(f"not used: {error}")
        progress("photos looked at", done, len(refs))
    return found
