"""Scores -> individuals -> a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from .. import decision, imaging, scoring
from ..decision import Calibration, Standing, reasons
from ..errors import PhotoError
from ..records import IdentityRanking, Indexed, NewShare, Query
from ..scoring import ImpostorDistribution, Scores
from .score import compare, first, rank
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


@dataclass(frozen=True)
class Finding:
    """What is known of a query before anybody says how likely new animals are."""

    ranking: IdentityRanking  # unsure, without probabilities
    standing: Standing | None = None  # of the first individual; None where nothing could be compared
    stays_unsure: bool = False  # however it stands
    n_photos: int = 1  # of the query
    encounter: str | None = None  # that the query is of, where it is known


def identified(queries: Sequence[Query], references: Sequence[Indexed], work: Workspace, judges: Judges) -> Iterator[Finding]:
    """What is found of each query, with its first individuals alone, `top` or `KEPT` of them, so that any number of them fits in memory."""
    most = max(work.settings.top, KEPT)
    for done, query in enumerate(queries):
        work.listener.progress("queries identified", done, len(queries))
        found = _found(query, references, work, judges)
        yield replace(found, ranking=replace(found.ranking, candidates=found.ranking.candidates[:most]))
    work.listener.progress("queries identified", len(queries), len(queries))


def identify(query: Query, references: Sequence[Indexed], work: Workspace, judges: Judges) -> IdentityRanking:
    """Every individual of the gallery, best first, the verdict, and what is wrong with the photo."""
    return decided(_found(query, references, work, judges), work, judges)


def _found(query: Query, references: Sequence[Indexed], work: Workspace, judges: Judges) -> Finding:
    own = {item.digest for item in (*query.in_gallery, *query.set_aside)}
    others = [item for item in references if item.digest not in own] if own else references
    compared = [compare(photo, others, work, judges.impostors) for photo in query.photos]
    columns = look_again(query.photos, others, [one.scores for one in compared], work, judges.impostors)
    found = judge(query, others, [one.selection.comparable for one in compared], columns, work, judges)
    return replace(found, ranking=with_copies(with_quality(found.ranking, query, work), query))


def judge(
    query: Query, references: Sequence[Indexed], seen: Sequence[Set[int]], columns: Sequence[Scores], work: Workspace, judges: Judges
) -> Finding:
    """The individuals, by the scores of each photo of the query with these references, and how the first one stands. `seen` are the places
    of those that each photo was compared with.

    Where nothing could be compared, no keypoint or no compatible side, nothing is known, and so the verdict is unsure; so it is where two
    photos of one encounter clearly match two individuals."""
    candidates = rank(query.photos, references, columns, work.settings.score.score)
    places = set[int]().union(*seen)
    if not places:
        return Finding(IdentityRanking(query.name, candidates, decision.UNSURE, 1.0, because=(reasons.NOTHING_COMPARED,)))
    p_impostor = scoring.impostor_probability(candidates[0].score, judges.impostors, work.settings.score.score, sum(map(len, seen)))
    n_left_out = 0
    if len(places) < len(references):
        n_left_out = len(candidates) - len({references[place].ref.identity or references[place].ref.image_id for place in places})
    sides = tuple(filter(None, [reasons.of_sides(n_left_out)]))
    several = _sure_of(query.photos, references, columns, seen, work, judges.impostors)
    are_several = len(set(several.values())) > 1
    if are_several:
        work.listener.note(f"{query.name}: {reasons.of_several(several)}")
    because = (reasons.of_several(several), *sides) if are_several else sides
    ranking = IdentityRanking(query.name, candidates, decision.UNSURE, p_impostor, because=because)
    return Finding(ranking, decision.standing_of(candidates), are_several, len(query.photos), query.photos[0].ref.encounter)


def decided(found: Finding, work: Workspace, judges: Judges, prior: float | None = None) -> IdentityRanking:
    """The answer, with probabilities where the gallery is calibrated; `prior` takes the place of the gallery's own, and that of the
    settings of both."""
    if found.standing is None:
        return found.ranking
    ranking = _decided(found, found.standing, work, judges, prior)
    said = reasons.of_nameless(ranking.verdict, ranking.candidates)
    return replace(ranking, because=(said, *ranking.because)) if said else ranking


def _decided(found: Finding, standing: Standing, work: Workspace, judges: Judges, prior: float | None) -> IdentityRanking:
    ranking, decide, calibration = found.ranking, work.settings.decide, judges.calibration
    if calibration is None:
        verdict = decision.uncalibrated(ranking.p_impostor, decide.match_below, decide.new_above)
        return ranking if found.stays_unsure else replace(ranking, verdict=verdict)
    calibration = calibration.of(found.n_photos, decide.max_false_match, decide.max_false_new)
    prior = decide.prior_new if decide.prior_new >= 0 else prior
    made = calibration.decide(standing, decide.max_false_match, decide.max_false_new, prior, found.n_photos)
    why = reasons.reasons(made, calibration, decide.max_false_match, decide.max_false_new, found.n_photos)
    return replace(
        ranking,
        verdict=ranking.verdict if found.stays_unsure else made.verdict,
        p_match=made.p_match,
        p_other=made.p_other,
        p_new=made.p_new,
        p_match_interval=made.interval,
        p_if_new=made.p_if_new,
        p_if_known=made.p_if_known,
        because=(*ranking.because, *why) if found.stays_unsure else (*why, *ranking.because),
    )


def together(found: Sequence[Finding], work: Workspace, judges: Judges) -> tuple[list[IdentityRanking], NewShare | None]:
    """The answers to the queries of one run, and how many of them are of new animals; None where nothing is calibrated, or of too few.

    Where they are enough, what all of them say of new animals is the prior of each, see `decision.share_of_new`."""
    rankings, own = [decided(one, work, judges) for one in found], work.settings.decide.prior_new
    if judges.calibration is None:
        return rankings, None
    seen = [(ranking.p_new, one.encounter) for ranking, one in zip(rankings, found, strict=True) if ranking.p_new is not None]
    p_new, encounters = [p for p, _ in seen], [encounter for _, encounter in seen]
    if own >= 0:
        share = decision.share_of_new(p_new, own, encounters)
        return rankings, share and replace(share, prior=own)
    share = decision.share_of_new(p_new, judges.calibration.prior, encounters)
    return (rankings if share is None else [decided(one, work, judges, share.prior) for one in found]), share


def _sure_of(
    photos: Sequence[Indexed],
    references: Sequence[Indexed],
    columns: Sequence[Scores],
    seen: Sequence[Set[int]],
    work: Workspace,
    impostors: ImpostorDistribution,
) -> dict[str, str]:
    """Of each photo that matches an individual with a name clearly by itself, as without a calibration: that individual."""
    found: dict[str, str] = {}
    for photo, column, places in zip(photos, columns, seen, strict=True):
        leading = first((photo,), references, (column,), work.settings.score.score) if places else None
        if leading is None or not (best := leading[0]).is_individual:
            continue
        if scoring.impostor_probability(best.score, impostors, work.settings.score.score, len(places)) <= work.settings.decide.match_below:
            found[photo.ref.image_id] = best.identity
    return found


def with_copies(found: IdentityRanking, query: Query) -> IdentityRanking:
    """With the query's very photos that the gallery holds, and a sentence."""
    copies = tuple(item.ref.image_id for item in query.in_gallery)
    said = reasons.of_copies([(item.ref.image_id, item.ref.identity) for item in query.in_gallery], len(query.set_aside))
    return replace(found, in_gallery=copies, because=(*found.because, *filter(None, [said])))


def with_quality(found: IdentityRanking, query: Query, work: Workspace) -> IdentityRanking:
    """With what the query's photos can show, and a sentence where even the best of them is bad."""
    try:
        seen = tuple(imaging.quality(photo.ref) for photo in query.photos)
    except PhotoError as error:
        work.listener.note(f"{error}; it was answered from its stored features")
        return found
    faults = min((imaging.shortcomings(one) for one in seen), key=len)  # of the best photo
    return replace(found, quality=seen, because=(*found.because, *filter(None, [reasons.of_quality(faults, len(seen))])))
