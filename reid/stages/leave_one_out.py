"""A gallery's own photos as queries, each without its encounter: what scores are worth, whether labels are right, what a shortlist misses.

Never against photos of the same encounter: bursts and shared backgrounds would promise what new photos do not keep.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from .. import decision, scoring
from ..catalogue import Decision, Kind
from ..decision import Trial
from ..errors import SettingsError
from ..records import Candidate, Health, Indexed, Query
from ..scoring import GALLERY, ImpostorDistribution, Scores
from ..store import fingerprint
from .identify import Judges
from .match import first_by_votes, update_index
from .score import apart, by_heart, compare, rank, without_encounter
from .score import impostors as measured_impostors
from .second_look import look_again
from .select import Stage, stage
from .workspace import Workspace

RECALL_QUERIES = 500  # references that the shortlist is measured on
LARGE, SKETCH, GROWN = 10_000, 16, 1.25  # photos of a gallery that is known by the first few of them, and by its size to this factor


@dataclass(frozen=True)
class Recall:
    """How often the right animal was on a shortlist of this length, measured on the gallery itself."""

    length: int
    n_queries: int
    share: float  # 0..1; 0 without queries


def recall(references: Sequence[Indexed], length: int, work: Workspace) -> Recall:
    """How often the right animal is among the first `length` by votes, for references that have a photo of another encounter.

    At most `RECALL_QUERIES` of them, spread over the gallery, against photos of every side; none where weights have learned their names.
    Measured once for the present photos; of a large gallery not again before it has grown by a quarter."""
    if by_heart(references, work):
        return Recall(length, 0, 0.0)
    about = [(item.digest, item.ref.identity, item.ref.encounter) for item in references]
    size = int(math.log(len(about), GROWN)) if len(about) > LARGE else 0
    some = heapq.nsmallest(SKETCH, about, key=lambda photo: photo[0]) if size else about
    key = fingerprint(work.first.fingerprints.of_features, work.fingerprints.search, length, some, size)
    known = work.known("recall", key, lambda value: Recall(**value), "what the shortlist holds is measured again")
    if known is not None:
        return known
    of_animal: dict[str, list[Indexed]] = {}
    for item in references:
        if item.ref.identity is not None:
            of_animal.setdefault(item.ref.identity, []).append(item)
    tried = [item for photos in of_animal.values() for item in photos if any(apart(item, other) for other in photos)]
    tried = tried[:: -(-len(tried) // RECALL_QUERIES) or 1]
    found = 0
    for done, item in enumerate(tried):
        work.listener.progress("shortlists tried", done, len(tried))
        pool = without_encounter([item], references)
        found += any(pool[place].ref.identity == item.ref.identity for place in first_by_votes(item, pool, length, work.first))
    if tried:
        work.listener.progress("shortlists tried", len(tried), len(tried))
    measured = Recall(length, len(tried), found / len(tried) if tried else 0.0)
    work.results("recall").save(key, asdict(measured))
    return measured


@dataclass(frozen=True)
class Tried:
    """A calibration query, without the photos of its encounter."""

    query: Query
    pool: Sequence[Indexed]  # the references that are not of its encounter
    first_look: Sequence[Scores]  # of each of its photos with them
    candidates: tuple[Candidate, ...]  # best first, after a second look
    comparable: tuple[int, ...]  # pairs of each of its photos
    stage: Stage

    @property
    def identity(self) -> str:
        return str(self.query.photos[0].ref.identity)

    @property
    def n_compared(self) -> int:
        """Pairs; where nothing can be compared nothing is decided, here as for a new photo."""
        return sum(self.comparable)


def tried(
    references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution, most: int | None = None, second_look: bool = True
) -> Iterator[Tried]:
    """Every calibration query, or the first so many; by the first look alone without a `second_look`."""
    update_index(references, work.first)
    score, chosen = work.settings.score, calibration_queries(references, work, most)
    for done, query in enumerate(chosen):
        work.listener.progress("calibration queries", done, len(chosen))
        photos, pool = query.photos, without_encounter(query.photos, references)
        if pool:
            compared = [compare(photo, pool, work, impostors) for photo in photos]
            selections, first_look = [one.selection for one in compared], [one.scores for one in compared]
            columns = look_again(photos, pool, first_look, work, impostors) if second_look else first_look
            candidates = rank(photos, pool, columns, score.score)
            own = {place for place, item in enumerate(pool) if item.ref.identity == photos[0].ref.identity}
            reached = stage(selections, own, candidates[0].identity == photos[0].ref.identity)
            yield Tried(query, pool, first_look, candidates, tuple(len(one.comparable) for one in selections), reached)
    work.listener.progress("calibration queries", len(chosen), len(chosen))


def calibration_queries(references: Sequence[Indexed], work: Workspace, most: int | None = None) -> list[Query]:
    """The gallery's own photos that are queries of its calibration, or the first so many."""
    if learned := by_heart(references, work):
        raise SettingsError(f"{learned}, so that nothing can be learned from those of what a score is worth; take other weights for this")
    about = [(item.ref.identity, item.ref.encounter, item.digest) for item in references]
    most = most or work.settings.decide.calibration_queries
    chosen = decision.calibration_queries(about, most, whole_encounters=work.settings.score.encounters)
    found = (tuple(references[place] for place in places) for places in chosen)
    return [Query(photos[0].ref.encounter or photos[0].digest, photos) for photos in found]


def match_apart(
    queries: Sequence[Query], references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution
) -> Iterator[None]:
    """Store the matches of each query with the references that are not of its encounter, and what a second look finds, with its animal and
    without, for whoever asks for them afterwards."""
    for query in queries:
        pool = without_encounter(query.photos, references)
        if pool:
            first_look = [compare(photo, pool, work, impostors).scores for photo in query.photos]
            for n in {*decision.sizes(len(query.photos)), len(query.photos)}:
                for without in (None, query.photos[0].ref.identity):
                    look_again(query.photos[:n], pool, first_look[:n], work, impostors, without)
        yield None


def evidence(references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> Iterator[decision.Evidence]:
    """What each pipeline finds in the calibration queries at the first look."""
    weights = np.array(work.settings.pipeline_weights())
    for one in tried(references, work, impostors, second_look=False):
        excess = np.concatenate([scores.parts for scores in one.first_look], axis=1) / weights[:, None]
        names = [item.ref.identity or item.digest for item in one.pool]
        yield decision.Evidence(excess, tuple(names * len(one.first_look)), one.identity)


def fusion_weights(references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> tuple[float, ...]:
    """What each pipeline is worth on this gallery's animals, as much together as the settings say; see `decision/weights.py`."""
    default = work.settings.pipeline_weights()
    if len(default) < 2 or impostors.source != GALLERY:
        return default
    learned = decision.half_way(decision.learn_weights(list(evidence(references, work, impostors)), default), default)
    return tuple(weight * sum(default) / sum(learned) for weight in learned) if learned != default else default


def trials(
    references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution
) -> tuple[dict[int, list[Trial]], dict[Stage, int]]:
    """Calibration queries, each with its animal, where that has another encounter, and without, by the number of their photos: those of an
    encounter that has more are its first ones. And how many of them, with all of their photos, lost their animal at each stage."""
    found: dict[int, list[Trial]] = {}
    reached: Counter[Stage] = Counter()
    for one in tried(references, work, impostors):
        reached[one.stage] += 1
        for n in decision.sizes(len(one.query.photos)):
            found.setdefault(n, []).extend(_trials_of(one, n, work, impostors))
    return found, {name: reached[name] for name in Stage}


def _trials_of(one: Tried, n: int, work: Workspace, impostors: ImpostorDistribution) -> list[Trial]:
    """What the first photos of a calibration query give, so many of them; nothing where they could not be compared."""
    photos, first_look, score, n_compared = one.query.photos[:n], one.first_look[:n], work.settings.score.score, sum(one.comparable[:n])
    if not n_compared:
        return []

    def found(without: str | None = None) -> tuple[Candidate, ...]:
        return rank(photos, one.pool, look_again(photos, one.pool, first_look, work, impostors, without), score)

    chance = partial(scoring.impostor_probability, impostors=impostors, score=score, n_references=n_compared)
    whole = one.candidates if n == len(one.query.photos) else found()
    return decision.trials_of(one.identity, one.query.name, whole, found(one.identity), chance)


def health(
    references: Sequence[Indexed],
    work: Workspace,
    judges: Judges,
    most: int | None,
    decisions: Sequence[Decision],
    settled: Container[tuple[str, ...]],
) -> Health:
    """What the calibration queries, or the first so many, say about the gallery's labels; photos that have none say nothing. `decisions`
    are those that count, `settled` pairs of names, sorted, that are not suspected again."""
    assert judges.calibration is not None
    named = n_encounters(references)
    new = {photo.digest for one in decisions if one.kind is Kind.NEW for photo in one.photos}
    called = {item.ref.identity for item in references if item.ref.identity is not None and item.digest in new}
    answers = (
        (one.identity, len(one.query.photos), [candidate for candidate in one.candidates if candidate.identity in named])
        for one in tried(references, work, judges.impostors, most)
        if one.n_compared
    )
    found = decision.health(answers, judges.calibration, named, called)
    twins, newcomers = (
        tuple(one for one in pairs if tuple(sorted(one.identities)) not in settled) for pairs in (found.twins, found.newcomers)
    )
    mislabels = tuple(one for one in found.mislabels if tuple(sorted((one.identity, one.looks_like.identity))) not in settled)
    return replace(found, twins=twins, mislabels=mislabels, newcomers=newcomers)


def learn(references: Sequence[Indexed], work: Workspace, impostors: ImpostorDistribution) -> Judges | None:
    """A calibration on these references, with the impostor distribution that knows what each pipeline is worth on them; None where they
    have too few animals."""
    default, weights = work.settings.pipeline_weights(), fusion_weights(references, work, impostors)
    if weights != default:
        impostors = measured_impostors(references, work, weights)
    prior = decision.good_turing(list(n_encounters(references).values()))
    by_photos, losses = trials(references, work, impostors)
    found = decision.calibrate(by_photos.pop(1, []), prior, labels(references), _in_words(weights, default, work))
    if found is None:
        return None
    larger = ((n, decision.calibrate(own, prior)) for n, own in sorted(by_photos.items()))
    found = replace(found, larger=tuple(replace(one, n_photos=n) for n, one in larger if one is not None))
    return Judges(impostors, found, losses)


def _in_words(weights: Sequence[float], default: Sequence[float], work: Workspace) -> tuple[str, ...]:
    """What the pipelines are worth on these animals, where that is not what the settings say."""
    if tuple(weights) == tuple(default):
        return ()
    shares = [
        f"{pipeline.name} {100 * own / sum(weights):.0f} % (instead of {100 * usual / sum(default):.0f})"
        for pipeline, own, usual in zip(work.pipelines, weights, default, strict=True)
    ]
    return (f"what counts on these animals: {', '.join(shares)}",)


def labels(references: Iterable[Indexed]) -> list[str]:
    """A name for each photo with its label."""
    return [fingerprint(item.digest, item.ref.identity, item.ref.encounter, item.ref.orientation)[:12] for item in references]


def n_encounters(references: Iterable[Indexed]) -> dict[str, int]:
    """Of each named individual."""
    found: dict[str, set[str]] = {}
    for item in references:
        if item.ref.identity is not None:
            found.setdefault(item.ref.identity, set()).add(item.ref.encounter or item.digest)
    return {name: len(of_animal) for name, of_animal in found.items()}
