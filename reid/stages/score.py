"""Matches -> scores: a column of each score over the references of a query, and the impostor distribution that they are measured against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from .. import catalogue, scoring
from ..records import Indexed
from ..scoring import ImpostorDistribution, Scores
from ..store import fingerprint, write_atomically
from .match import Variant, confidences, shortlist, variants
from .pipeline import Pipeline
from .workspace import Workspace


def compare(photo: Indexed, references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> Scores:
    """Every score of a photo with each of these references. The first pipeline's shortlist is matched by all; the others have no matches."""
    found = [(variant, shortlist(variant, references, work.first)) for variant in variants(photo, references, work.first, work.digests)]
    looked_at = sorted({place for _, places in found for place in places})
    fused = []
    for pipeline, own in zip(work.pipelines[1:], impostors.fused, strict=True):
        fused.append(_scores([(Variant(photo, looked_at), looked_at)], photo, references, pipeline, own, work))
    return _scores(found, photo, references, work.first, impostors, work, fused)


def _scores(
    found: Sequence[tuple[Variant, Sequence[int]]],
    photo: Indexed,
    references: Sequence[Indexed],
    pipeline: Pipeline,
    impostors: ImpostorDistribution,
    work: Workspace,
    fused: Sequence[Scores] = (),
) -> Scores:
    n_keypoints, least = len(pipeline.load(photo)), work.settings.score.min_confidence
    return scoring.measure(confidences(found, references, pipeline), n_keypoints, impostors, least, fused)


def impostors(references: Sequence[Indexed], work: Workspace) -> ImpostorDistribution:
    """The impostor distribution of this gallery, measured once for its present photos; the one that ships where it has too few pairs."""
    settings = work.settings.score
    pairs = impostor_pairs(references, settings.impostor_pairs, work.settings.match.sides)
    path = work.folder / "impostors" / f"{fingerprint(work.fingerprints.of_scores, [(a.digest, b.digest) for a, b in pairs])}.json"
    try:
        return ImpostorDistribution.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        work.listener.note(f"{path} is damaged; the impostor distribution is measured again")
    fused: list[ImpostorDistribution] = []
    columns: list[list[Scores]] = []
    for pipeline in work.pipelines[1:]:
        own, scores = _measured(pairs, pipeline, work, (), ())
        fused.append(own)
        columns.append(scores)
    found, _ = _measured(pairs, work.first, work, fused, columns)
    if found.source != "gallery":
        return found
    borrowed = next((own.source for own in fused if own.source != "gallery"), None)
    if borrowed is not None:
        return replace(found, source=borrowed)
    write_atomically(path, json.dumps(found.as_json()).encode())
    return ImpostorDistribution.from_json(found.as_json())


def _measured(
    pairs: Sequence[tuple[Indexed, Indexed]],
    pipeline: Pipeline,
    work: Workspace,
    fused: Sequence[ImpostorDistribution],
    columns: Sequence[Sequence[Scores]],
) -> tuple[ImpostorDistribution, list[Scores]]:
    """The distribution of one pipeline's scores over these pairs, fused with what others say of them, and the scores themselves."""
    what = f"pairs of different animals, {pipeline.name}"
    values = []
    for done, (a, b) in enumerate(pairs):
        work.listener.progress(what, done, len(pairs))
        found = [(variant, variant.places) for variant in variants(a, [b], pipeline, work.digests)]
        values.append((confidences(found, [b], pipeline)[0], len(pipeline.load(a))))
    if pairs:
        work.listener.progress(what, len(pairs), len(pairs))
    least = work.settings.score.min_confidence
    extract, match = pipeline.settings.extract, pipeline.settings.match
    by = scoring.JOINED[match.matcher]
    found_distribution = scoring.estimate_impostors(values, least, by, columns, tuple(fused))
    if found_distribution is None:
        found_distribution = scoring.shipped(extract.extractor, match.matcher, tuple(fused))
    return found_distribution, [scoring.measure([confidence], n, found_distribution, least) for confidence, n in values]


def impostor_pairs(references: Sequence[Indexed], most: int, sides: str = "all") -> list[tuple[Indexed, Indexed]]:
    """Up to `most` pairs of photos of different named animals, never of one encounter, nor of opposite sides where those are not compared;
    adding a photo changes few of them.

    References stand in a ring by their digests; each is paired with the next, then with the one after the next, and so on."""
    ring = sorted((item for item in references if item.ref.identity is not None), key=lambda item: (item.digest, item.ref.image_id))
    pairs: dict[frozenset[str], tuple[Indexed, Indexed]] = {}
    for step in range(1, len(ring) // 2 + 1):
        for i, a in enumerate(ring):
            b = ring[(i + step) % len(ring)]
            if len(pairs) >= most:
                return list(pairs.values())
            across = sides != "all" and catalogue.opposite(a.ref.orientation, b.ref.orientation)
            if a.ref.identity != b.ref.identity and apart(a, b) and not across:
                pairs.setdefault(frozenset((a.digest, b.digest)), (a, b))
    return list(pairs.values())


def apart(a: Indexed, b: Indexed) -> bool:
    """Two photos, not of one encounter."""
    return a.digest != b.digest and (a.ref.encounter is None or a.ref.encounter != b.ref.encounter)


def without_encounter(photos: Sequence[Indexed], references: Sequence[Indexed]) -> list[Indexed]:
    """The references that are of no encounter of these photos."""
    return [item for item in references if all(apart(photo, item) for photo in photos)]


def loudest(query: Indexed, reference: Indexed, work: Workspace, impostors: ImpostorDistribution) -> Pipeline:
    """The pipeline whose scores of this pair exceed impostors' by most."""
    judged = zip(work.pipelines, (impostors, *impostors.fused), strict=True)
    found = []
    for pipeline, own in judged:
        pair = [(variant, variant.places) for variant in variants(query, [reference], pipeline, work.digests)]
        found.append(float(_scores(pair, query, [reference], pipeline, own, work).excess[0]))
    return work.pipelines[found.index(max(found))]
