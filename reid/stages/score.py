"""Matches -> scores: a column of each score over a query's references, and the impostor distribution they are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import catalogue, scoring
from ..records import Candidate, Indexed
from ..scoring import Floats, ImpostorDistribution, Scores
from ..store import fingerprint
from .match import NONE, Variant, confidences, takes_finalists, variants
from .pipeline import Pipeline
from .select import Found, Selection, in_full, listed, places_of
from .workspace import Workspace


@dataclass(frozen=True)
class Compared:
    """A photo with references: which of them were matched, and every score with each; the lowest with those that were not."""

    selection: Selection
    scores: Scores


def compare(photo: Indexed, references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> Compared:
    """The first pipeline chooses the shortlist; a turned or mirrored photo is matched by it alone. Pipelines that match the whole list come
    before those that match finalists, which are then the first by what was found so far. One that counts nothing matches nothing.

    What is on the list is scored, and one pair without a match, for all the others."""
    distributions, least = (impostors, *impostors.fused), work.settings.score.min_confidence
    chosen = listed(photo, references, work.first, work.digests)
    places = sorted(places_of(chosen))
    few, column = [references[place] for place in places], {place: i for i, place in enumerate(places)}
    on_list = tuple((one, [column[place] for place in own]) for one, own in chosen)
    as_it_is = ((Variant(photo, list(range(len(few)))), range(len(few))),)
    matched: dict[int, Found] = {}
    scores: dict[int, Scores] = {}
    excess: Floats | None = None
    for number in sorted(range(len(work.pipelines)), key=lambda number: takes_finalists(work.pipelines[number])):
        pipeline, distribution = work.pipelines[number], distributions[number]
        whole = on_list if pipeline is work.first else as_it_is
        matched[number] = in_full(photo, whole, few, pipeline, excess, pipeline is work.first) if distribution.weight else ()
        found = confidences(matched[number], few, pipeline)
        scores[number] = scoring.evidence([*found, NONE[1]], len(pipeline.load(photo)), distribution, least)
        if distribution.weight and not takes_finalists(pipeline):
            excess = scores[number].excess + (0 if excess is None else excess)
    in_order = range(len(work.pipelines))
    comparable = frozenset[int]().union(*(one.places for one, _ in chosen)) if len(work.first.load(photo)) else frozenset[int]()
    in_place = tuple(tuple((one, [places[i] for i in own]) for one, own in matched[number]) for number in in_order)
    columns = np.full(len(references), len(few))
    columns[places] = np.arange(len(few))
    selection = Selection(comparable, frozenset(places if comparable else ()), in_place)
    return Compared(selection, scoring.fused(*(scores[number] for number in in_order)).take(columns))


def rank(photos: Sequence[Indexed], references: Sequence[Indexed], columns: Sequence[Scores], score: str) -> tuple[Candidate, ...]:
    """The individuals, best first, each by its best pair."""
    photo_ids, reference_ids = ([item.ref.image_id for item in items] for items in (photos, references))
    return scoring.rank(columns, score, photo_ids, reference_ids, [item.ref.identity for item in references])


def first(
    photos: Sequence[Indexed], references: Sequence[Indexed], columns: Sequence[Scores], score: str, without: str | None = None
) -> tuple[Candidate, int] | None:
    """The individual that stands first, however many there are, and the place of its reference; not that which is left out. None where
    all that could stand first score the lowest there is, since nothing was found of any."""
    best = scoring.best_of(columns, score)
    places = np.flatnonzero(best > best.min(initial=np.inf)).tolist()
    few = [references[place] for place in places]
    ranked = rank(photos, few, [column.take(places) for column in columns], score)
    found = next((one for one in ranked if one.identity != without), None)
    return None if found is None else (found, next(at for at, item in zip(places, few) if item.ref.image_id == found.reference_id))


def impostors(references: Sequence[Indexed], work: Workspace, weights: tuple[float, ...] | None = None) -> ImpostorDistribution:
    """The impostor distribution of this gallery, measured once for its present photos; the one that ships where it has too few pairs.

    `weights` are what each pipeline counts, where that is not what the settings say."""
    if learned := by_heart(references, work):
        work.listener.note(f"{learned}: nothing is calibrated, and P(impostor) is too small")
    settings, match = work.settings.score, work.settings.match
    weights = weights or work.settings.pipeline_weights()
    pairs = impostor_pairs(references, settings.impostor_pairs, across=match.mirror or match.sides == "all")
    name = fingerprint(work.fingerprints.of_scores, weights, [(a.digest, b.digest) for a, b in pairs])
    known = work.known("impostors", name, ImpostorDistribution.from_json, "the impostor distribution is measured again")
    if known is not None:
        return known
    fused: list[tuple[Scores, ImpostorDistribution]] = []
    for place in (*range(1, len(weights)), 0):  # the first one last: the others are fused with it
        pipeline = work.pipelines[place]
        joined = scoring.JOINED[pipeline.settings.match.matcher]
        values, n_keypoints = _confidences(pairs, pipeline, work)
        others = fused if pipeline is work.first else ()
        found = scoring.measure_impostors(values, n_keypoints, settings.min_confidence, joined, weight=weights[place], others=others)
        if found is None:
            break
        if pipeline is work.first:
            work.results("impostors").save(name, found.as_json())
            return found
        fused.append((scoring.evidence(values, n_keypoints, found, settings.min_confidence), found))
    names = [(one.settings.extract.extractor, one.settings.match.matcher) for one in work.pipelines]
    return scoring.shipped(names, weights)


def by_heart(references: Sequence[Indexed], work: Workspace) -> str | None:
    """Why the gallery's own photos do not say what scores are worth, in words; None where they do."""
    n = sum(work.first.knows(item, work.digests.of_file) for item in references)
    return f"the weights have learned the names of {n} of the gallery's {len(references)} photos by heart" if n else None


def _confidences(pairs: Sequence[tuple[Indexed, Indexed]], pipeline: Pipeline, work: Workspace) -> tuple[list[np.ndarray], list[int]]:
    """Match confidences of these pairs by one pipeline, and the number of the queries' keypoints."""
    what = f"pairs of different animals, {pipeline.name}"
    values, n_keypoints = [], []
    for done, (a, b) in enumerate(pairs):
        work.listener.progress(what, done, len(pairs))
        found = [(variant, variant.places) for variant in variants(a, [b], pipeline, work.digests)]
        values.append(confidences(found, [b], pipeline)[0])
        n_keypoints.append(len(pipeline.load(a)))
    if pairs:
        work.listener.progress(what, len(pairs), len(pairs))
    return values, n_keypoints


def impostor_pairs(references: Sequence[Indexed], most: int, across: bool = True) -> list[tuple[Indexed, Indexed]]:
    """Up to `most` pairs of photos of different named animals, never of one encounter, nor of opposite sides unless `across`;
    adding a photo changes few of them.

    References stand in a ring by their digests; each is paired with the next, then with the one after the next, and so on."""
    ring = sorted((item for item in references if item.ref.identity is not None), key=lambda item: (item.digest, item.ref.image_id))
    if len({item.ref.identity for item in ring}) < 2:
        return []
    pairs: dict[frozenset[str], tuple[Indexed, Indexed]] = {}
    for step in range(1, len(ring) // 2 + 1):
        for i, a in enumerate(ring):
            b = ring[(i + step) % len(ring)]
            if len(pairs) >= most:
                return list(pairs.values())
            comparable = across or not catalogue.opposite(a.ref.orientation, b.ref.orientation)
            if a.ref.identity != b.ref.identity and apart(a, b) and comparable:
                pairs.setdefault(frozenset((a.digest, b.digest)), (a, b))
    return list(pairs.values())


def apart(a: Indexed, b: Indexed) -> bool:
    """Two photos, not of one encounter; nor, where nobody has named one of them, of one day, which may be the same animal's burst."""
    if a.digest == b.digest or (a.ref.encounter is not None and a.ref.encounter == b.ref.encounter):
        return False
    return (a.ref.identity is not None and b.ref.identity is not None) or a.ref.date is None or a.ref.date != b.ref.date


def without_encounter(photos: Sequence[Indexed], references: Sequence[Indexed]) -> list[Indexed]:
    """The references that are of no encounter of these photos."""
    return [item for item in references if all(apart(photo, item) for photo in photos)]


def strongest(query: Indexed, reference: Indexed, work: Workspace, impostors: ImpostorDistribution) -> Pipeline:
    """The pipeline whose scores of this pair exceed impostors' by most."""
    return work.pipelines[int(compare(query, [reference], work, impostors).scores.strongest[0])]
