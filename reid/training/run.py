"""A training from its photos to its file of weights: what `reid train` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import devices, imaging
from ..devices import versions
from ..errors import PhotoError, SettingsError
from ..records import PhotoRef
from ..store import fingerprint
from ..weights import card as read_card
from . import Choices, loop, method, stages
from .photos import LONGEST, split, unlabelled


def train(
    network: str,
    photos: str | Path,
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
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    note: Callable[[str], None] = lambda text: None,
    **changes: Any,
) -> tuple[Path, dict[str, Any]]:
    """Train a network on a gallery's reference photos, or on all photos under a folder; returns the file of weights and its card.

    `extractor`, and `weights` of its own, is whose features LightGlue is trained for; `rendered`: on animals that are drawn before parts of
    the photos, too. `changes`: steps, batch, rate, side, rotation (degrees) or begin, where not the method's own (`METHODS`, `RENDERED`).
    Raises SettingsError, GalleryError, PhotoError where there is no photo, WeightsError for what cannot be begun with."""
    chosen = replace(method(network, rendered), **changes)
    if chosen.side % 32:
        raise SettingsError(f"side is {chosen.side}; it is a multiple of 32")
    refs = _usable(unlabelled(Path(photos), note), progress, note)
    if not refs:
        raise PhotoError(f"{photos} holds no photo that can be used")
    learned, held_out = split(refs)
    there = devices.choose(device)
    if precision not in ("fast", "full"):
        raise SettingsError(f"unknown precision {precision!r}; known: fast, full")
    computed = "fast" if precision == "fast" and devices.native_bfloat16(there) else "full"
    plan = loop.Plan(chosen.steps, chosen.batch, chosen.rate, chosen.decay, every, seed, there, computed)
    choices = Choices(chosen.side, chosen.rotation, seed, chosen.begin, extractor, weights, there, rendered)
    about = {"side": chosen.side, "rotation": chosen.rotation, "begin": chosen.begin, "extractor": extractor}
    about |= {"rendered": True} if rendered else {}
    about |= {"n_photos": len(learned), "n_held_out": len(held_out), "photos": fingerprint([ref.image_id for ref in refs])}
    card = {"hardware": f"{devices.name(there)}, {torch.get_num_threads()} threads", "torch": torch.__version__, "reid": versions()["reid"]}
    file = Path(out)
    for task in stages(network, learned, held_out, choices, plan, file, progress):
        whole = replace(task, about={**about, **task.about}, card=card)
        file, _ = loop.train(whole, plan, Path(out) / task.folder, resume, partial(progress, f"steps of {task.name}"), note)
    return file, read_card(file)


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
