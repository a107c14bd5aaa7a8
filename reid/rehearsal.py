"""A gallery's own photos asked about as if they were new: what its scores are worth, whether its labels are right, what a shortlist misses.

Never against photos of the same encounter: same-day bursts and shared backgrounds would promise what new photos do not keep.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .decision import openset as novelty
from .decision.openset import Calibration, Trial
from .pipeline import Indexed, Pipeline, Query, apart, standing_of, without_encounter
from .records import Candidate, Health, Mislabel, Twins
from .scoring import Null
from .store import fingerprint, write_atomically

RECALL_QUERIES = 500  # references asked for, to measure the shortlist
NOT_TWICE = 0.5  # probability, before it is looked at, that a labelled photo shows no other animal of the gallery
KEPT_LABELS = 0.75  # share of a calibration's photos that must still be there under their labels, and of the gallery's that it knew


@dataclass(frozen=True)
class Recall:
    """How often the right animal was on a shortlist of this length, measured on the gallery itself."""

    length: int
    n_queries: int
    share: float  # 0..1; 0 without queries


def recall(pipeline: Pipeline, references: Sequence[Indexed], length: int) -> Recall:
    """How often the right animal is among the first `length` by votes, asked of references that have another encounter's photo.

    At most `RECALL_QUERIES` of them, spread over the gallery; photos without an encounter count as of one each. Measured once for the
    present photos."""
    about = [(item.digest, item.ref.identity, item.ref.encounter) for item in references]
    path = pipeline.folder / "recall" / f"{fingerprint(pipeline.features_fingerprint, length, about)}.json"
    try:
        return Recall(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        pass  # not measured yet, or damaged

    photos: dict[str, list[Indexed]] = {}
    named = [item for item in references if item.ref.identity is not None]
    for item in named:
        photos.setdefault(str(item.ref.identity), []).append(item)
    asked = [item for item in named if any(apart(item, other) for other in photos[str(item.ref.identity)])]
    asked = asked[:: -(-len(asked) // RECALL_QUERIES) or 1]
    found = 0
    for done, item in enumerate(asked):
        pipeline.listener.progress("shortlists tried", done, len(asked))
        pool = without_encounter([item], references)
        found += any(pool[place].ref.identity == item.ref.identity for place in pipeline.first(item, pool, length))
    if asked:
        pipeline.listener.progress("shortlists tried", len(asked), len(asked))
    measured = Recall(length, len(asked), found / len(asked) if asked else 0.0)
    write_atomically(path, json.dumps(asdict(measured)).encode())
    return measured


def asked_again(pipeline: Pipeline, references: Sequence[Indexed], null: Null, most: int) -> Iterator[tuple[Query, tuple[Candidate, ...]]]:
    """Queries from the gallery, each asked about without its encounter, and the individuals that are found; `most` of them, an
    encounter's first photo before any encounter's second, those of animals with two encounters first."""
    asked = _calibration_queries(references, most, pipeline.settings.encounters)
    for done, query in enumerate(asked):
        pipeline.listener.progress("calibration queries", done, len(asked))
        pool = without_encounter(query.photos, references)
        if pool:
            yield query, pipeline.rank_by(pipeline.settings.score, query.photos, pool, pipeline.compare(query.photos, pool, null))
    pipeline.listener.progress("calibration queries", len(asked), len(asked))


def trials(pipeline: Pipeline, references: Sequence[Indexed], null: Null) -> list[Trial]:
    """Calibration queries, see `asked_again`: each with its animal, where it has another encounter, and without."""
    found = []
    for query, candidates in asked_again(pipeline, references, null, pipeline.settings.calibration_queries):
        own = str(query.photos[0].ref.identity)
        others = [candidate for candidate in candidates if candidate.identity != own]
        if len(others) < len(candidates):
            outcome = novelty.RIGHT if candidates[0].identity == own else novelty.WRONG
            found.append(Trial(own, standing_of(candidates), outcome))
        if others:
            found.append(Trial(own, standing_of(others), novelty.ABSENT))
    return found


def health(pipeline: Pipeline, references: Sequence[Indexed], null: Null, calibration: Calibration) -> Health:
    """What the calibration queries say about the gallery's labels: a photo that matches another animal, more likely than not, has the
    wrong label if that animal is more alike than its own, and else the two may be one."""
    single = [name for name, met in _encounters(references).items() if len(met) < 2]
    mislabels: list[tuple[float, Mislabel]] = []
    twins: dict[frozenset[str], Twins] = {}
    n_asked = 0
    for query, candidates in asked_again(pipeline, references, null, len(calibration.of_new)):
        n_asked += 1
        own = str(query.photos[0].ref.identity)
        others = [candidate for candidate in candidates if candidate.identity != own]
        p_same = calibration.decide(standing_of(others), 0, 0, prior=NOT_TWICE).p_match if others else 0.0
        if p_same < 0.5:
            continue
        mine = next((candidate for candidate in candidates if candidate.identity == own), None)
        if mine is not None and mine.score < others[0].score:
            mislabels.append((p_same, Mislabel(others[0].photo_id, own, mine.score, others[0])))
            continue
        pair = frozenset((own, others[0].identity))
        if pair not in twins or twins[pair].p_same < p_same:
            twins[pair] = Twins((own, others[0].identity), (others[0].photo_id, others[0].reference_id), p_same)
    surest = [found for _, found in sorted(mislabels, key=lambda one: (-one[0], one[1].reference_id))]
    likeliest = sorted(twins.values(), key=lambda one: (-one.p_same, one.identities))
    return Health(tuple(sorted(single)), tuple(surest), tuple(likeliest), n_asked)


def learn(pipeline: Pipeline, references: Sequence[Indexed], null: Null) -> Calibration | None:
    """A calibration on these references; None where they have too few animals."""
    prior = novelty.good_turing([len(met) for met in _encounters(references).values()])
    found = novelty.calibrate(trials(pipeline, references, null), prior, _labels(references))
    return found and Calibration.from_json(found.as_json())  # rounded as it is stored, so that the first run equals the second


def calibrate(pipeline: Pipeline, references: Sequence[Indexed], null: Null) -> Calibration | None:
    """`learn` it and keep it for the gallery; where there is nothing to learn from, what was kept is gone."""
    found = learn(pipeline, references, null)
    if found is None:
        _file(pipeline).unlink(missing_ok=True)
    else:
        write_atomically(_file(pipeline), json.dumps(found.as_json() | {"null": null.as_json()}).encode())
    return found


def _file(pipeline: Pipeline) -> Path:
    settings = pipeline.settings
    compared = settings.encounters, settings.sides, settings.mirror, settings.rotations, settings.shortlist, settings.race
    about = *compared, settings.score, settings.min_confidence, settings.null_pairs
    return pipeline.folder / "calibration" / f"{fingerprint(pipeline.opinions_fingerprint, about)}.json"


def calibration(pipeline: Pipeline, references: Sequence[Indexed]) -> Calibration | None:
    """What is stored; None, and a note, where the gallery has changed by a quarter since, in photos or in labels."""
    found = _stored(pipeline, references)
    return found and found[0]


def judges(pipeline: Pipeline, references: Sequence[Indexed]) -> tuple[Null, Calibration | None]:
    """The null and what was learned from its scores; where the gallery has grown since, that null, not the present one."""
    found = _stored(pipeline, references)
    return (pipeline.null(references), None) if found is None else (found[1], found[0])


def _stored(pipeline: Pipeline, references: Sequence[Indexed]) -> tuple[Calibration, Null] | None:
    try:
        value = json.loads(_file(pipeline).read_text())
        found, null = Calibration.from_json(value), Null.from_json(value["null"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pipeline.listener.note(f"{_file(pipeline)} is damaged and not used; run `reid calibrate` again")
        return None
    shared = len(set(found.labels) & set(_labels(references)))
    if shared < KEPT_LABELS * max(len(found.labels), len(references)):
        pipeline.listener.note(
            f"the gallery was calibrated with {len(found.labels)} photos, of which {shared} are among its {len(references)} under the "
            "same label; run `reid calibrate` again"
        )
        return None
    return found, null


def _labels(references: Sequence[Indexed]) -> list[str]:
    """A name for each photo with its label."""
    return [fingerprint(item.digest, item.ref.identity, item.ref.encounter, item.ref.orientation)[:12] for item in references]


def _encounters(references: Iterable[Indexed]) -> dict[str, dict[str, list[Indexed]]]:
    """The photos of each named individual by encounter; one without an encounter counts as of its own."""
    met: dict[str, dict[str, list[Indexed]]] = {}
    for item in references:
        if item.ref.identity is not None:
            met.setdefault(item.ref.identity, {}).setdefault(item.ref.encounter or item.digest, []).append(item)
    return met


def _calibration_queries(references: Sequence[Indexed], most: int, encounters: bool) -> list[Query]:
    queries = []
    for of_animal in _encounters(sorted(references, key=lambda item: (item.digest, item.ref.image_id))).values():
        for encounter, photos in of_animal.items():
            groups = [photos] if encounters else [[photo] for photo in photos]
            queries += [(turn, len(of_animal) < 2, Query(encounter, tuple(group))) for turn, group in enumerate(groups)]
    queries.sort(key=lambda one: (*one[:2], one[2].photos[0].digest))
    return [query for _, _, query in queries[:most]]
