"""A second look at the individuals that stand first: the query, laid on the reference, is described again and matched again.

Matches of the first look give an affine motion (MAGSAC++). What the same camera would have seen from there is easier to match, if the two
are one animal, and harder if they are not: only matches that stay in their place count. Every score of the first pipeline with that
reference becomes the mean of both looks. That goes on until the individual that stands first has been looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import scoring
from ..errors import PhotoError
from ..imaging.geometry import Points, estimate
from ..records import Indexed, Photo
from ..scoring import ImpostorDistribution, Scores
from .match import NONE, known_of, match, match_pair
from .pipeline import Pipeline
from .score import first
from .workspace import Workspace

LEAST_CONFIDENCE = 0.1  # of the matches that a motion is made of
TOLERANCE = 0.05  # of the reference's longer side, within which they agree on it
MOST_STRETCH = 4.0  # times that a motion may enlarge, shrink, or stretch one way more than the other
BORDER = 3  # px at the edge of the laid-over photo where nothing is described
LEAST_SEEN = 0.02  # share of the reference that the laid-over photo covers
IN_PLACE = 0.08  # of the reference's longer side, within which a match of the second look stays where it is
Confidences = NDArray[np.float16]


def look_again(
    photos: Sequence[Indexed],
    references: Sequence[Indexed],
    columns: Sequence[Scores],
    work: Workspace,
    impostors: ImpostorDistribution,
    without: str | None = None,
) -> list[Scores]:
    """The scores of each photo of a query with these references, after a second look at the individuals that stand first.

    `without` is an individual that is left out, as if the gallery did not have it."""
    found, seen = list(columns), set[str]()
    rows = {item.ref.image_id: row for row, item in enumerate(photos)}
    for _ in range(work.settings.match.second_look if impostors.weight else 0):
        leading = first(photos, references, found, work.settings.score.score, without)
        if leading is None or leading[0].identity in seen:
            break
        best, place = leading
        seen.add(best.identity)
        row = rows[best.photo_id]
        again = second(photos[row], references[place], work, impostors.weights)
        if again is not None:
            scores = scoring.evidence([again], len(work.first.load(photos[row])), impostors, work.settings.score.min_confidence)
            found[row] = scoring.averaged(found[row], place, scores)
    return found


def second(photo: Indexed, reference: Indexed, work: Workspace, weights: Sequence[float]) -> Confidences | None:
    """(S,) of the matches of a second look at one pair; None where the first look's hold no motion that a camera makes. A function of the
    pair, and of which pipelines count anything by their `weights`."""
    counted = [pipeline for pipeline, weight in zip(work.pipelines, weights, strict=True) if weight]
    store = work.second_looks(counted)
    stored = known_of(store, photo, work.first)
    if reference.digest not in stored:
        found = _looked(photo, reference, work, counted)
        if found is None:
            return None
        stored[reference.digest] = found
        store.save(photo.digest, stored)
    confidence: Confidences = stored[reference.digest][1]
    return confidence


def _looked(
    photo: Indexed, reference: Indexed, work: Workspace, counted: Sequence[Pipeline]
) -> tuple[NDArray[np.int32], Confidences] | None:
    """Rows into the laid-over photo's keypoints and the reference's, confidences; None where nothing can be laid over."""
    pipeline, target = work.first, work.first.load(reference)
    shown, motion, _ = motion_of(photo, reference, work, counted)
    if motion is None:
        return None
    longer, most = max(target.size), np.linalg.norm(motion[:2, :2], 2)
    try:
        prepared = pipeline.prepare(shown.ref)
    except PhotoError as error:
        work.listener.note(f"{error}; it was not looked at again")
        return None
    pixels = cv2.warpAffine(prepared.pixels, motion[:2], target.size, flags=cv2.INTER_CUBIC if most > 1 else cv2.INTER_LINEAR)
    whole = np.ones(prepared.pixels.shape[:2], bool) if prepared.mask is None else prepared.mask
    covered = cv2.warpAffine(whole.astype(np.uint8), motion[:2], target.size, flags=cv2.INTER_NEAREST)
    mask = cv2.erode(covered, np.ones((2 * BORDER + 1,) * 2, np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if mask.mean() < LEAST_SEEN:
        return None
    laid = pipeline.extractor.extract(Photo(shown.ref.image_id, pixels, mask))
    if not len(laid):
        return NONE
    [(_, (rows, confidence))] = pipeline.matcher.match(laid, [target])
    away = np.linalg.norm(laid.keypoints[rows[:, 0]] - target.keypoints[rows[:, 1]], axis=1)
    stay = away < IN_PLACE * longer
    return rows[stay], confidence[stay].astype(np.float16)


def motion_of(
    photo: Indexed, reference: Indexed, work: Workspace, counted: Sequence[Pipeline]
) -> tuple[Indexed, NDArray[np.float64] | None, int]:
    """The affine motion (3, 3) that the matches of these pipelines agree on, from the variant of the photo that the first pipeline matches
    best, which comes with it, to the reference, and how many agree; None where they hold none that a camera makes."""
    shown, query, there = _matched(photo, reference, work, counted)
    motion, agree = estimate(query, there, "affine", TOLERANCE * max(work.first.load(reference).size))
    if motion is None or np.linalg.det(motion[:2, :2]) <= 0:
        return shown, None, 0
    most, least = np.linalg.svd(motion[:2, :2], compute_uv=False)
    return (shown, None, 0) if max(most, 1 / least, most / least) > MOST_STRETCH else (shown, motion, int(agree.sum()))


def _matched(photo: Indexed, reference: Indexed, work: Workspace, counted: Sequence[Pipeline]) -> tuple[Indexed, Points, Points]:
    """The variant of the photo that the first pipeline matches best, and the keypoints (S, 2) px of either photo that match: those of all
    pipelines that count, where it is the photo as it is, which the others see alone."""
    best, pair = match_pair(photo, reference, work.first, work.digests)
    sure: list[tuple[Pipeline, NDArray[np.int32]]] = [(work.first, pair.indices[pair.confidence > LEAST_CONFIDENCE])]
    for pipeline in (one for one in counted if one is not work.first and best.digest == photo.digest):
        [(rows, confidence)] = match(photo, [reference], pipeline)
        sure.append((pipeline, rows[confidence > LEAST_CONFIDENCE]))
    query, there = (
        np.concatenate([one.load(item).keypoints[rows[:, column]] for one, rows in sure]) for column, item in enumerate((best, reference))
    )
    return best, query, there
