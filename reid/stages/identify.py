"""Scores -> individuals -> a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from .. import decision, imaging, scoring
from ..decision import Calibration, reasons
from ..errors import PhotoError
from ..records import Candidate, IdentityRanking, Indexed, NewShare, Query
from ..scoring import ImpostorDistribution, Scores
from .match import compared
from .score import compare, rank
from .second_look import look_again
from .select import Stage
from .workspace import Workspace

KEPT = 20  # individuals of an answer that are kept where there are many answers


@dataclass(frozen=True)
class Judges:
    """What scores are judged by."""

    impostors: ImpostorDistribution
    calibration: Calibration | None = None
    losses: Mapping[Stage, int] | None = None  # how many of the calibration's queries lost their animal at each stage


def identified(queries: Sequence[Query], references: Sequence[Indexed], work: Workspace, judges: Judges) -> Iterator[IdentityRanking]:
    """`identify` of each query, with its first individuals alone, `top` or `KEPT` of them, so that any number of answers fits in memory."""
    most = max(work.settings.top, KEPT)
    for done, query in enumerate(queries):
        work.listener.progress("queries identified", done, len(queries))
        found = identify(query, references, work, judges)
        yield replace(found, candidates=found.candidates[:most])
    work.listener.progress("queries identified", len(queries), len(queries))


def new_share(rankings: Sequence[IdentityRanking], work: Workspace, judges: Judges) -> NewShare | None:
    """How many of these are of new animals, taken together; None where nothing is calibrated, or of too few."""
    if judges.calibration is None:
        return None
    own = work.settings.decide.prior_new
    return decision.share_of_new([one.p_new for one in rankings if one.p_new is not None], own if own >= 0 else judges.calibration.prior)


def identify(query: Query, references: Sequence[Indexed], work: Workspace, judges: Judges) -> IdentityRanking:
    """Every individual of the gallery, best first, the verdict, and what is wrong with the photo."""
    columns = [compare(photo, references, work, judges.impostors).scores for photo in query.photos]
    columns = look_again(query.photos, references, columns, work, judges.impostors)
    return with_quality(judge(query, references, columns, work, judges), query, work)


def judge(query: Query, references: Sequence[Indexed], columns: Sequence[Scores], work: Workspace, judges: Judges) -> IdentityRanking:
    """The individuals and the verdict, by the scores of each photo of the query with these references; unsure where two photos of one
    encounter clearly match two individuals."""
    seen = compared(query.photos, references, work.first, work.digests)
    candidates = rank(query.photos, references, columns, work.settings.score.score)
    found = _verdict(query, candidates, references, seen, work, judges)
    several = _sure_of(query.photos, references, columns, seen, work, judges.impostors)
    if len(set(several.values())) > 1:
        found = replace(found, verdict=decision.UNSURE, because=(reasons.of_several(several), *found.because))
        work.listener.note(f"{query.name}: {found.because[0]}")
    return found


def _sure_of(
    photos: Sequence[Indexed],
    references: Sequence[Indexed],
    columns: Sequence[Scores],
    seen: Sequence[Set[int]],
    work: Workspace,
    impostors: ImpostorDistribution,
) -> dict[str, str]:
    """Of each photo that matches an individual with a name clearly by itself, as without a calibration: that individual."""
    named = {item.ref.identity for item in references}
    found: dict[str, str] = {}
    for photo, column, places in zip(photos, columns, seen, strict=True):
        best = rank((photo,), references, (column,), work.settings.score.score)[0]
        p = scoring.impostor_probability(best.score, impostors, work.settings.score.score, len(places)) if places else 1.0
        if p <= work.settings.decide.match_below and best.identity in named:
            found[photo.ref.image_id] = best.identity
    return found


def _verdict(
    query: Query,
    candidates: tuple[Candidate, ...],
    references: Sequence[Indexed],
    seen: Sequence[Set[int]],
    work: Workspace,
    judges: Judges,
) -> IdentityRanking:
    """The verdict on the `candidates`, with probabilities where the gallery is calibrated. `seen` are the places of the references that
    each photo was compared with.

    Where nothing could be compared, no keypoint or no compatible side, nothing is known, and so the verdict is unsure."""
    decide = work.settings.decide
    places = set[int]().union(*seen)
    if not places:
        return IdentityRanking(query.name, candidates, decision.UNSURE, 1.0, because=(reasons.NOTHING_COMPARED,))
    p_impostor = scoring.impostor_probability(candidates[0].score, judges.impostors, work.settings.score.score, sum(map(len, seen)))
    n_left_out = len(candidates) - len({references[place].ref.identity or references[place].ref.image_id for place in places})
    sides = tuple(filter(None, [reasons.of_sides(n_left_out)]))
    if judges.calibration is None:
        verdict = decision.uncalibrated(p_impostor, decide.match_below, decide.new_above)
        return IdentityRanking(query.name, candidates, verdict, p_impostor, because=sides)
    prior = decide.prior_new if decide.prior_new >= 0 else None
    found = judges.calibration.decide(decision.standing_of(candidates), decide.max_false_match, decide.max_false_new, prior)
    why = reasons.reasons(found, judges.calibration, decide.max_false_match, decide.max_false_new)
    return IdentityRanking(
        query.name,
        candidates,
        found.verdict,
        p_impostor,
        found.p_match,
        found.p_other,
        found.p_new,
        found.interval,
        found.p_if_new,
        found.p_if_known,
        because=(*why, *sides),
    )


def with_quality(found: IdentityRanking, query: Query, work: Workspace) -> IdentityRanking:
    """With what the query's photos can show, and a sentence where even the best of them is bad."""
    try:
        seen = tuple(imaging.quality(photo.ref) for photo in query.photos)
    except PhotoError as error:
        work.listener.note(f"{error}; it was answered from its stored features")
        return found
    faults = min((imaging.shortcomings(one) for one in seen), key=len)  # of the best photo
    return replace(found, quality=seen, because=(*found.because, *filter(None, [reasons.of_quality(faults, len(seen))])))
