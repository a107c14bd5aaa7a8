"""Which references a photo is matched with: those of a compatible side, the shortlist among them, the finalists among those."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

from ..records import Indexed
from ..scoring import ImpostorDistribution
from .match import Variant, finalists, shortlist, variants
from .workspace import Workspace

Found = tuple[tuple[Variant, Sequence[int]], ...]  # which variant of the photo is matched with the references in which places


@dataclass(frozen=True)
class Selection:
    """How far each reference of a photo comes, as places among the references."""

    comparable: frozenset[int]  # none for a photo without keypoints
    shortlist: frozenset[int]  # every pipeline takes its finalists from here
    matched: tuple[Found, ...]  # of each pipeline, what it matches in full; nothing where it counts nothing

    @property
    def finalists(self) -> frozenset[int]:
        """What the first pipeline matches in full."""
        return _places(self.matched[0])

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


def select(photo: Indexed, references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> Selection:
    """What is matched in full, and on what grounds. Each pipeline's finalists are of the first one's shortlist; a turned or mirrored photo
    is matched by the first one alone. A pipeline that counts nothing beside these `impostors` looks at nothing."""
    own = variants(photo, references, work.first, work.digests)
    listed = tuple((one, shortlist(one, references, work.first)) for one in own)
    on_list = _places(listed)
    as_it_is = ((Variant(photo, sorted(on_list)), sorted(on_list)),)
    matched = tuple(
        tuple((one, finalists(one.photo, references, places, pipeline)) for one, places in (listed if pipeline is work.first else as_it_is))
        if weight
        else ()
        for pipeline, weight in zip(work.pipelines, impostors.weights, strict=True)
    )
    if not len(work.first.load(photo)):
        return Selection(frozenset(), frozenset(), matched)
    return Selection(frozenset(place for one in own for place in one.places), on_list, matched)


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


def _places(found: Found) -> frozenset[int]:
    return frozenset(place for _, places in found for place in places)
