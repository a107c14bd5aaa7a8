"""Why an answer is what it is, in sentences for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..catalogue.values import counted, some
from ..records import Candidate, NewShare
from .calibration import Calibration
from .verdicts import MATCH, ODD, Decision, verdict_of

NOTHING_COMPARED = "Nothing could be compared: the photo has no keypoints, or the gallery has no photo of a side that it could show."


def reasons(
    decision: Decision, calibration: Calibration, max_false_match: float, max_false_new: float, n_photos: int = 1
) -> tuple[str, ...]:
    """Where this query of so many photos stands among the calibration queries, and what the prior has to do with its verdict."""
    n_new, n_known, judged = calibration.n_new, calibration.n_known, calibration.n_photos
    by, this = ("", "this photo") if n_photos == 1 else (f", by {counted(judged, 'photo')} each,", "this one")
    said = [
        f"{decision.n_as_well or 'None'} of {n_new} encounters{by} with animals taken out of the gallery, as if they were new, looked as "
        f"much like their best match as {this}.",
        f"{decision.n_as_badly or 'None'} of {n_known} encounters{by} with known animals looked as little like their best match as {this}.",
    ]
    if n_photos > judged:
        said.append(
            f"It has {n_photos} photos, more than those, so that a new animal may look as alike {n_photos / judged:.2g} times as often."
        )
    by_rank = verdict_of(decision.p_if_new, decision.p_if_known, 1, 1, max_false_match, max_false_new)
    if decision.verdict == ODD:
        said.append("Few new animals look this convincing, and few known ones this little: the photo is like neither.")
    elif decision.verdict != by_rank:
        what, name, p = ("a match", "P(match)", decision.p_match) if by_rank == MATCH else ("new", "P(new)", decision.p_new)
        said.append(f"By its rank alone it would be {what}, but {name}, which takes the prior into account, is only {percent(p)}.")
    return tuple(said)


def of_quality(shortcomings: Sequence[str], n_photos: int) -> str | None:
    """What is wrong with the best photo of a query; None where nothing is."""
    if not shortcomings:
        return None
    which = "The photo is" if n_photos == 1 else "The best of the photos is"
    return f"{which} {', '.join(shortcomings)}: known animals are recognised on fewer of such photos."


def of_sides(n_left_out: int) -> str | None:
    """How many individuals could not be compared because of their side; None where all could."""
    if not n_left_out:
        return None
    whom = "1 individual has" if n_left_out == 1 else f"{n_left_out} individuals have"
    return f"{whom} no photo of a side that could be compared."


def of_copies(copies: Sequence[tuple[str, str | None]], n_aside: int = 0) -> str | None:
    """That the gallery holds the very photos of a query, by name and individual; None where it holds none. `n_aside` more are unnamed ones
    of its encounter."""
    if not copies:
        return None
    named = some([f"{photo} ({individual or 'nobody has named it'})" for photo, individual in copies])
    but = f", and not with {counted(n_aside, 'unnamed one')} of its encounter" if n_aside else ""
    return f"In the gallery already: {named}. So it was compared with the gallery's other photos alone{but}."


def of_nameless(verdict: str, candidates: Sequence[Candidate]) -> str | None:
    """What it means that the first individual has no name, and who stands first of those with one; None where it has one."""
    if not candidates or candidates[0].is_named:
        return None
    photo = candidates[0].reference_id
    said = f"It is likely the animal of {photo}" if verdict == MATCH else f"It is most like the animal of {photo}"
    rank, best = next(((n, one) for n, one in enumerate(candidates, start=1) if one.is_named), (0, None))
    others = f"; of the animals with a name {best.identity} stands first, at rank {rank}" if best else ""
    return f"{said}, which nobody has named yet{others}."


def of_estimated_side(evidence: Mapping[str, object]) -> str | None:
    """What was estimated where a person said a side, by the evidence of that decision; None where nothing was."""
    match evidence.get("estimated"):
        case [str(side), float(p)]:
            return f"estimated {side}, {percent(p)}"
    return None


def of_several(seen: Mapping[str, str]) -> str:
    """That the photos of one query match different individuals; `seen` has the individual of each photo."""
    photo_of: dict[str, str] = {}
    for photo, individual in seen.items():
        photo_of.setdefault(individual, photo)
    named = ", ".join(f"{individual} ({photo})" for individual, photo in sorted(photo_of.items()))
    return f"Its photos clearly match several individuals, {named}: one encounter shows one animal, so identify them photo by photo."


def of_share(share: NewShare) -> str:
    """How many of many photos are of new animals, beside what each answer assumes, and what to do where the two do not agree."""
    of = f"the {share.n_encounters} encounters of " if share.n_encounters < share.n_queries else ""
    said = (
        f"taken together, {100 * share.estimate:.0f} % of {of}these {share.n_queries} queries look as if their animal had never been seen "
        f"(95 %: {100 * share.low:.0f} to {100 * share.high:.0f} %); the probabilities of each assume {100 * share.prior:.0f} %"
    )
    if share.low <= share.prior <= share.high:
        return said
    return f"{said}, and `--prior-new {min(max(share.estimate, 0.001), 0.999):.2g}` assumes what all of them say"


def of_twins(pairs: Sequence[tuple[str, str]]) -> str | None:
    """Which pairs of names the calibration leaves out as twins; None where it leaves out none."""
    if not pairs:
        return None
    named = ", ".join(f"{one} and {other}" for one, other in pairs)
    return f"These pairs look like one animal under two names each, and the calibration does not take them for new animals: {named}."


def percent(p: float) -> str:
    """A probability as people read it: never a bare 0 or 100."""
    if p < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if p > 0.999 else f"{100 * p:.1f} %"
