"""The sides that nobody has said, estimated from those of the same gallery that somebody has; for people to confirm.

Nothing is matched, ranked or exported by an estimate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .. import extractors
from ..decision.sides import LEAST, MOST, SideEstimate, SideModel, learn, learnable
from ..errors import PhotoError
from ..records import Indexed
from ..store import LayoutStore, fingerprint
from ..store.description import constants
from .workspace import Workspace

LAYOUT = f"{extractors.__name__}.layout"
Layouts = NDArray[np.float16]


def known_sides(references: Sequence[Indexed]) -> list[Indexed]:
    """The photos that sides are learned from, about `MOST`, those of each side spread over the gallery; none where they are too few."""
    places = learnable([item.ref.orientation for item in references])
    if len(places) <= MOST:
        return [references[place] for place in places]
    of_side: dict[str | None, list[int]] = {}
    for place in places:
        of_side.setdefault(references[place].ref.orientation, []).append(place)
    kept = {side: max(LEAST, MOST * len(own) // len(places)) for side, own in of_side.items()}
    return [references[own[i]] for side, own in of_side.items() for i in np.linspace(0, len(own) - 1, kept[side]).astype(int)]


def n_to_estimate(references: Sequence[Indexed]) -> int:
    """How many photos have no side, where others teach it."""
    return sum(item.ref.orientation is None for item in references) if known_sides(references) else 0


def has_layouts(items: Sequence[Indexed], work: Workspace) -> bool:
    """Whether all that these photos are told by is stored."""
    store = _store(work)
    return all(item.digest in store for item in items)


def look_at(items: Sequence[Indexed], work: Workspace) -> Iterator[None]:
    """Look at photos one by one; what they are told by is then stored."""
    for _ in _layouts(items, work):
        yield


def learn_sides(known: Sequence[Indexed], work: Workspace) -> SideModel | None:
    """From `known_sides`; None where there are none, or too few can be used."""
    usable = [(item, found) for item, found in _layouts(known, work) if found is not None]
    places = learnable([item.ref.orientation for item, _ in usable])
    if not places:
        return None
    items, layouts = zip(*(usable[place] for place in places))
    animals = [item.ref.identity or item.ref.encounter or item.digest for item in items]
    return learn(np.stack(layouts).astype(np.float32), [item.ref.orientation or "" for item in items], animals)


def estimated_sides(items: Sequence[Indexed], model: SideModel, work: Workspace) -> Iterator[tuple[Indexed, SideEstimate]]:
    """Of each photo that can be used, as they are ready."""
    for item, found in _layouts(items, work):
        if found is not None:
            yield item, model.estimate(found.astype(np.float32))


def _store(work: Workspace) -> LayoutStore:
    return LayoutStore(work.folder, fingerprint(work.first.fingerprints.of_features, constants(LAYOUT)))


def _layouts(items: Sequence[Indexed], work: Workspace) -> Iterator[tuple[Indexed, Layouts | None]]:
    """Of each photo, stored; None of one that cannot be used."""
    from ..extractors.layout import layouts

    store = _store(work)
    for done, item in enumerate(items):
        work.listener.progress("photos looked at for their side", done, len(items))
        found = store.load(item.digest)
        if found is None:
            try:
                found = layouts(work.first.prepare(item.ref), extractors.segmenter(work.first.device))
                store.save(item.digest, found)
            except PhotoError:
                pass  # told where its features were wanted
        yield item, found
    work.listener.progress("photos looked at for their side", len(items), len(items))
