"""A query and references -> matches: the shortlist, and its finalists in full. What is stored is not matched again.

A pair gets what it gets alone. So what is stored of a query is added to as the gallery grows, and never depends on what was asked before.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from .. import catalogue, devices, matchers, retrieval
from ..records import Features, Indexed, PairMatches
from ..scoring import Floats
from ..store import SAVE_EVERY, CoarseStore, DamagedFile, Digests, MatchStore
from ..store.matches import Matches
from .pipeline import Pipeline

LOADERS = {"cpu": 0, "mps": 2, "cuda": 4}  # threads that read features ahead of the matcher; on the processor that computes they cost more
AT_ONCE = 8  # pairs that a thread of the processor matches before it is given others
NONE: Matches = (np.zeros((0, 2), np.int32), np.zeros(0, np.float16))


@dataclass(frozen=True)
class Variant:
    """The query, as it is or turned or mirrored, and the places of the references that it can be compared with."""

    photo: Indexed
    places: Sequence[int]


def variants(query: Indexed, references: Sequence[Indexed], pipeline: Pipeline, digests: Digests) -> list[Variant]:
    """As the settings want: no opposite sides, unless all are compared; with `mirror` the mirrored query is compared with opposite and
    unknown sides only."""
    match, own = pipeline.settings.match, query.ref.orientation
    sides = [item.ref.orientation for item in references]
    across = {side for side in set(sides) if catalogue.opposite(own, side)}
    straight = [place for place, side in enumerate(sides) if side not in across] if across and match.sides != "all" else range(len(sides))
    other = {side for side in set(sides) if side in across or own is None or side is None} if match.mirror else set()
    mirrored = [place for place, side in enumerate(sides) if side in other] if other else []
    found = []
    for quarters in range(0, 4, 4 // match.rotations):
        for is_mirrored, places in ((False, straight), (True, mirrored)):
            if places:
                ref = replace(query.ref, quarters=quarters, mirrored=is_mirrored)
                found.append(Variant(Indexed(ref, digests.of(ref)) if quarters or is_mirrored else query, places))
    return found


def first_by_votes(query: Indexed, references: Sequence[Indexed], most: int, pipeline: Pipeline) -> list[int]:
    """Places of the references that the query's descriptors vote for most; each animal's best photo before any animal's second.

    An embedding adds its say, but to a photo whose animal it has learned by name, for which it would find it too well."""
    digests = [item.digest for item in references]
    votes = pipeline.index.votes(pipeline.load(query), digests)
    beside = pipeline.embedding
    if beside is not None and not beside.knows(query):
        votes = retrieval.together(votes, beside.index.votes(beside.load(query), digests))
    return retrieval.finalists(votes, [item.ref.identity for item in references], most)


def shortlist(variant: Variant, references: Sequence[Indexed], pipeline: Pipeline) -> Sequence[int]:
    """Places of the references that are worth a look: all of them where they are no more than the settings allow."""
    most = pipeline.settings.match.shortlist
    if not 0 < most < len(variant.places):
        return variant.places
    among = references if len(variant.places) == len(references) else [references[place] for place in variant.places]
    chosen = first_by_votes(variant.photo, among, most, pipeline)
    return sorted(variant.places[place] for place in chosen)


def update_index(references: Sequence[Indexed], pipeline: Pipeline) -> None:
    """Bring the index of descriptors to the photos of a gallery that needs one."""
    if 0 < pipeline.settings.match.shortlist < len(references):
        items = {item.digest: item for item in references}
        progress = partial(pipeline.listener.progress, "photos added to the shortlist's index")
        pipeline.index.update(list(items), lambda digest: pipeline.load(items[digest]), progress)
        if pipeline.embedding is not None:
            update_index(references, pipeline.embedding)


def match(query: Indexed, references: Sequence[Indexed], pipeline: Pipeline) -> list[Matches]:
    """The matches of one photo with each of these references in full, in their order."""
    stored = known_of(pipeline.matches, query, pipeline)
    missing = list({item.digest: item for item in references if item.digest not in stored}.values())
    if missing:
        saved = time.monotonic()
        try:
            for done, (item, (indices, confidence)) in enumerate(_matched(query, missing, pipeline), start=1):
                stored[item.digest] = indices, confidence.astype(np.float16)
                pipeline.n_matched += 1
                if len(missing) > 1:
                    pipeline.listener.progress("pairs", done, len(missing))
                if time.monotonic() - saved > SAVE_EVERY:
                    pipeline.matches.save(query.digest, stored)
                    saved = time.monotonic()
        finally:  # also when interrupted
            pipeline.matches.save(query.digest, stored)
    return [stored[item.digest] for item in references]


def _matched(query: Indexed, references: Sequence[Indexed], pipeline: Pipeline) -> Iterator[tuple[Indexed, Matches]]:
    """Each reference with its matches, as they are ready; on a processor by several threads, each with pairs of its own."""
    features, matcher = pipeline.load(query), pipeline.matcher

    def part(items: Sequence[Indexed]) -> Iterator[tuple[Indexed, Matches]]:
        return ((items[place], found) for place, found in matcher.match(features, _Loaded(pipeline, items)))

    if pipeline.device != "cpu":
        yield from part(references)
        return
    parts = [references[start : start + AT_ONCE] for start in range(0, len(references), AT_ONCE)]
    for found in devices.abreast(lambda items: list(part(items)), parts):
        yield from found


def coarse(query: Indexed, references: Sequence[Indexed], pipeline: Pipeline) -> list[float]:
    """How alike a coarse look finds one photo and each of these references."""
    stored = known_of(pipeline.coarse, query, pipeline)
    missing = list({item.digest: item for item in references if item.digest not in stored}.values())
    if missing:
        try:
            for place, total in pipeline.matcher.coarse(pipeline.load(query), _Loaded(pipeline, missing)):
                stored[missing[place].digest] = total
        finally:
            pipeline.coarse.save(query.digest, stored)
    return [stored[item.digest] for item in references]


def known_of(store: Any, query: Indexed, pipeline: Pipeline) -> dict[str, Any]:
    """What a store of pairs holds of a query, by the reference's digest; nothing, and a note, where it is damaged."""
    assert isinstance(store, (MatchStore, CoarseStore))
    try:
        found: dict[str, Any] = store.load(query.digest)
        return found
    except DamagedFile as error:
        pipeline.listener.note(f"{error} is damaged; {query.ref.image_id} is matched again")
        return {}


def finalists(
    photo: Indexed,
    references: Sequence[Indexed],
    places: Sequence[int],
    pipeline: Pipeline,
    excess: Floats | None = None,
    is_first: bool = True,
) -> Sequence[int]:
    """Those of the `places` whose references are worth a match in full, all where they are few: the first by the `excess` (R,) that other
    pipelines give the references, or, without it, by a coarse look. Pipelines beside the first one take fewer."""
    most = matchers.n_finalists(pipeline.settings.extract, pipeline.settings.match, is_first)
    if most is None or len(places) <= most:
        return places
    among = [references[place] for place in places]
    totals = np.array(coarse(photo, among, pipeline)) if excess is None else excess[list(places)]
    chosen = retrieval.finalists(totals, [item.ref.identity for item in among], most)
    return sorted(places[place] for place in chosen)


def takes_finalists(pipeline: Pipeline) -> bool:
    """Whether it matches in full only some of the references that it is given."""
    return matchers.n_finalists(pipeline.settings.extract, pipeline.settings.match) is not None


def confidences(found: Sequence[tuple[Variant, Sequence[int]]], references: Sequence[Indexed], pipeline: Pipeline) -> list[np.ndarray]:
    """Match confidences (S,) float16 of a query with each reference, by whichever of its variants has the greatest sum.

    `found` says which variant is matched with the references in which places; with the others it has no matches."""
    best: list[np.ndarray] = [NONE[1]] * len(references)
    for variant, places in found:
        for place, (_, new) in zip(places, match(variant.photo, [references[place] for place in places], pipeline), strict=True):
            if new.sum(dtype=np.float64) > best[place].sum(dtype=np.float64):
                best[place] = new
    return best


def match_pair(query: Indexed, reference: Indexed, pipeline: Pipeline, digests: Digests) -> tuple[Indexed, PairMatches]:
    """The matches of one pair, by the query's best variant, which comes with them."""
    n_reference = len(pipeline.load(reference))
    pairs = []
    for variant in variants(query, [reference], pipeline, digests):
        [(indices, confidence)] = match(variant.photo, [reference], pipeline)
        n = len(pipeline.load(variant.photo)), n_reference
        pairs.append((variant.photo, PairMatches(query.ref.image_id, reference.ref.image_id, indices, confidence.astype(np.float32), n)))
    if not pairs:
        nothing, n_query = NONE[1].astype(np.float32), len(pipeline.load(query))
        return query, PairMatches(query.ref.image_id, reference.ref.image_id, NONE[0], nothing, (n_query, n_reference))
    return max(pairs, key=lambda pair: float(pair[1].confidence.sum()))


class _Loaded(Sequence[Features]):
    """Features that are loaded when they are needed; in a walk along them, by other threads, ahead of who walks."""

    def __init__(self, pipeline: Pipeline, items: Sequence[Indexed]):
        self.pipeline, self.items = pipeline, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: Any) -> Any:
        return self.pipeline.load(self.items[place])

    def __iter__(self) -> Iterator[Features]:
        n_threads = LOADERS[self.pipeline.device]
        if not n_threads:
            yield from map(self.pipeline.load, self.items)
            return
        with ThreadPoolExecutor(n_threads) as pool:
            load = self.pipeline.features.load
            begun = ((item, None if item.digest in self.pipeline.kept else pool.submit(load, item.digest)) for item in self.items)
            waiting = deque(islice(begun, 4 * n_threads))
            while waiting:
                item, reading = waiting.popleft()
                yield self.pipeline.load(item, reading.result if reading else None)
                waiting.extend(islice(begun, 1))
