"""Which references a photo is matched with: those of a compatible side, the shortlist among them, the finalists among those."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

from ..records import Indexed
from ..scoring import Floats
from ..store import Digests
from .match import Variant, finalists, shortlist, variants
from .pipeline import Pipeline

Found = tuple[tuple[Variant, Sequence[int]], ...]  # which variant of the photo is matched with the references in which places


@dataclass(frozen=True)
class Selection:
    """How far each reference of a photo comes, as places among the references."""

    comparable: frozenset[int]  # none for a photo without keypoints
    shortlist: frozenset[int]  # every pipeline takes its finalists from here
    matched: tuple[Found, ...]  # of each pipeline, what it matches in full; nothing where it counts nothing

    @property
    def finalists(self) -> frozenset[int]:
        """What the first pipeline that counts anything matches in full."""
        return places_of(next(filter(None, self.matched), ()))

    @property
    def stages(self) -> tuple[frozenset[int], ...]:
        """Each a part of the one before."""
        return self.comparable, self.shortlist, self.finalists


class Stage(StrEnum):
    """Where an answer loses the right animal, in the order of things, or that it does not."""

    reference = "no reference"
    view = "no reference of a compatible view"
    shortlist = "none on the shortlist"
    finalists = "none matched in full"
    outscored = "outscored by another animal"
    first = "first"


def listed(photo: Indexed, references: Sequence[Indexed], pipeline: Pipeline, digests: Digests) -> Found:
    """What the first pipeline compares each variant of a photo with: the shortlist among the references of a compatible side."""
    return tuple((one, shortlist(one, references, pipeline)) for one in variants(photo, references, pipeline, digests))


def in_full(
    photo: Indexed, found: Found, references: Sequence[Indexed], pipeline: Pipeline, excess: Floats | None, is_first: bool
) -> Found:
    """Of what is listed that which a pipeline matches in full: all of it, or the finalists.

    Those of the photo as it is are the first by the `excess` (R,) of pipelines that have matched the whole list, where there are any; those
    of a turned or mirrored one, which no other pipeline sees, by a coarse look."""
    return tuple(
        (one, finalists(one.photo, references, places, pipeline, excess if one.photo is photo else None, is_first)) for one, places in found
    )


def stage(selections: Sequence[Selection], right: Set[int], is_first: bool) -> Stage:
    """Where a query's photos lose their animal, whose references are in the places `right` and which `is_first` or not.

    An animal that was never looked at is lost, whatever place its name has among equals. One that a further pipeline puts first is not,
    whether or not the first pipeline has matched it."""
    if not right:
        return Stage.reference
    if not any(right & one.comparable for one in selections):
        return Stage.view
    if not any(right & one.shortlist for one in selections):
        return Stage.shortlist
    if is_first:
        return Stage.first
    return Stage.outscored if any(right & one.finalists for one in selections) else Stage.finalists


def places_of(found: Found) -> frozenset[int]:
    return frozenset(place for _, places in found for place in places)
