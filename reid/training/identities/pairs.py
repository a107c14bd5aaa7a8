"""A gallery's pairs of photos: of one animal, in which matches that agree on a motion say which keypoints are the same; of different ones
that look alike, of which nothing matches. Who is shown says which pairs are looked at, and nothing of it enters the loss.

Every fifth animal is left out: no pair with one of its photos is learned from. It is one that the weights that are begun with do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ... import catalogue, decision, stages
from ...decision.conformal import FOLDS, fold_of
from ...errors import GalleryError
from ...imaging.geometry import project
from ...matchers import strongest
from ...records import Indexed
from ...session import Session
from ...stages.match import first_by_votes, match
from ...stages.score import apart
from ...stages.second_look import LEAST_CONFIDENCE, TOLERANCE, motion_of
from ...store import fingerprint
from ..truth import IGNORED, UNMATCHED, Pair, Partners

LEAST_JUDGED = 2  # animals that were met again and are left out
LEAST_AGAIN = LEAST_JUDGED * FOLDS  # animals that were met again, of which a fifth is left out
N_ALIKE, N_ANCHORS = 1000, 100  # pairs of one animal, and photos whose like among other animals is looked for, at most
LOOKED_AT, HARDEST = 4, 2  # animals that such a photo's descriptors vote for most; how many of them stay, those of the largest sum
CHANCE = 0.95  # share of those pairs in which fewer matches agree on a motion than where a pair of one animal is learned from
LEAST_PARTNERS = 4  # keypoints that are the same in such a pair
N_QUERIES, N_OWN, N_OTHERS = 32, 3, 10  # photos of animals left out that are judged, each with photos of its own animal and of others
Progress = Callable[[str, int, int], None]  # what, how many, of how many
Couple = tuple[Indexed, Indexed]


@dataclass(frozen=True)
class Look:
    """Two photos, and what the pipelines see in them."""

    photos: Couple
    n_agree: int  # matches of all pipelines that agree on one motion
    total: float  # sum of the first pipeline's confidences
    same: NDArray[np.int32]  # (S, 2) rows of the keypoints in either photo that its matches and the motion join

    @property
    def names(self) -> frozenset[str | None]:
        return frozenset(one.ref.identity for one in self.photos)


@dataclass(frozen=True)
class Trial:
    """A photo of an animal that is left out, with photos of the same animal and of others that look alike."""

    photo: Indexed
    own: Sequence[Indexed]
    others: Sequence[Indexed]


@dataclass(frozen=True)
class Mined:
    """What is learned from, and what it is judged on."""

    alike: Mapping[str, Sequence[Look]]  # of each animal
    impostors: Sequence[Look]
    trials: Sequence[Trial]
    doubtful: frozenset[frozenset[str | None]]  # pairs of names that may be one animal

    def fingerprint(self) -> str:
        looks = [*(one for looks in self.alike.values() for one in looks), *self.impostors]
        judged = [[one.digest for one in (trial.photo, *trial.own, *trial.others)] for trial in self.trials]
        return fingerprint([[one.digest for one in look.photos] + look.same.tolist() for look in looks], judged)


def comparable(a: Indexed, b: Indexed) -> bool:
    """Two photos of two encounters, and not of opposite sides."""
    return apart(a, b) and not catalogue.opposite(a.ref.orientation, b.ref.orientation)


def met_again(items: Sequence[Indexed]) -> dict[str, list[Couple]]:
    """Of each animal that was met again, and can be compared with itself, its pairs of photos, in an order that says nothing."""
    photos: dict[str, list[Indexed]] = {}
    for item in items:
        if item.ref.identity is not None:
            photos.setdefault(item.ref.identity, []).append(item)
    found = {}
    for name in sorted(photos):
        couples = [(a, b) for a, b in combinations(sorted(photos[name], key=lambda one: one.digest), 2) if comparable(a, b)]
        if couples:
            found[name] = sorted(couples, key=lambda couple: fingerprint(couple[0].digest, couple[1].digest))
    return found


def divided(items: Sequence[Indexed], knows: Callable[[Indexed], bool] = lambda item: False) -> tuple[list[Indexed], list[Indexed]]:
    """The named photos of the animals that are learned from, and of those that are left out, none of which has a photo that the weights
    begun with know by heart. Raises GalleryError where too few were met again."""
    named = [item for item in items if item.ref.identity is not None]
    if not named:
        raise GalleryError("no photo of the gallery says which animal it shows; a folder for each animal does, or a table (--metadata)")
    again = met_again(named)
    if len(again) < LEAST_AGAIN:
        raise GalleryError(
            f"{len(again)} animals of the gallery were met again and seen from a like side, and learning from labels takes {LEAST_AGAIN}; "
            "dates or a column `encounter` tell encounters apart"
        )
    known = {str(item.ref.identity) for item in named if knows(item)}
    new = set(again) - known
    if len(new) < LEAST_JUDGED:
        raise GalleryError(
            f"the weights that it begins with know all but {len(new)} of the animals that were met again by heart, and are judged on "
            f"{LEAST_JUDGED} that they do not know; leave out --begin"
        )
    n_folds = round(len(again) / len(new))  # of those that are new, so that they are a fifth of all, if there are so many
    fold = fold_of([name for item in named if (name := str(item.ref.identity)) not in known], new)
    left_out = [fold.get(str(item.ref.identity), n_folds) < n_folds for item in named]
    return [item for item, out in zip(named, left_out) if not out], [item for item, out in zip(named, left_out) if out]


def mine(session: Session, learned: Sequence[Indexed], left_out: Sequence[Indexed], progress: Progress) -> Mined:
    """The pairs of `divided` photos, by the pipelines of the session, whose first has the weights that are begun with. Matches are stored.

    Names two of whose photos agree as photos of one animal usually do may be one animal, unless people have decided: none of their pairs
    counts as impostors."""
    again = met_again(learned)
    in_turn = sorted(((turn, couple) for couples in again.values() for turn, couple in enumerate(couples)), key=lambda one: one[0])
    alike = _looks([couple for _, couple in in_turn[:N_ALIKE]], session, "pairs of one animal", progress)
    stages.update_index([*learned, *left_out], session.work.first)
    anchors = [(item, _like(item, learned, LOOKED_AT, session)) for item in _queries(learned, N_ANCHORS)]
    others = _looks([(item, other) for item, found in anchors for other in found], session, "pairs of different animals", progress)
    least = np.quantile([look.n_agree for look in others], CHANCE) if others else 0
    sure = [look for look in alike if look.n_agree > least and len(look.same) >= LEAST_PARTNERS]
    if not sure:
        raise GalleryError("in no pair of one animal more matches agree than between different animals: nothing can be learned from them")
    trials = _trials(left_out, session)
    looked_at = _looks([(one.photo, other) for one in trials for other in one.others[:HARDEST]], session, "pairs to be judged on", progress)
    usual = np.median([look.n_agree for look in sure])
    decided = {frozenset(names) for names in (session.gallery.labels.animals_apart if session.gallery.labels else ())}
    doubtful = frozenset(look.names for look in (*others, *looked_at) if look.n_agree >= usual) - decided
    if doubtful:
        session.work.listener.note(f"{len(doubtful)} pairs of names may be one animal each, and are not learned from (`reid duplicates`)")
    trials = [replace(one, others=[o for o in one.others if {one.photo.ref.identity, o.ref.identity} not in doubtful]) for one in trials]
    if len({one.photo.ref.identity for one in trials if one.others}) < 2:
        raise GalleryError("of the animals that are left out, too few can be compared with one another; more animals are needed")
    return Mined(
        {name: found for name in again if (found := [look for look in sure if look.names == {name}])},
        _hardest([look for look in others if look.names not in doubtful]),
        trials,
        doubtful,
    )


def _looks(couples: Sequence[Couple], session: Session, what: str, progress: Progress) -> list[Look]:
    """At each pair, those of one photo together."""
    work, found = session.work, []
    of_photo: dict[str, list[Couple]] = {}
    for couple in couples:
        of_photo.setdefault(couple[0].digest, []).append(couple)
    for together in of_photo.values():
        for pipeline in work.pipelines:
            match(together[0][0], [reference for _, reference in together], pipeline)
        for couple in together:
            found.append(_look(couple, session))
            progress(what, len(found), len(couples))
    return found


def _look(couple: Couple, session: Session) -> Look:
    work, (photo, reference) = session.work, couple
    [(rows, confidence)] = match(photo, [reference], work.first)
    _, motion, n_agree = motion_of(photo, reference, work, work.pipelines)
    here, there = work.first.load(photo), work.first.load(reference)
    sure = rows[confidence > LEAST_CONFIDENCE] if motion is not None else rows[:0]
    moved = project(here.keypoints[sure[:, 0]], np.eye(3) if motion is None else motion)
    same = sure[np.linalg.norm(moved - there.keypoints[sure[:, 1]], axis=1) < TOLERANCE * max(there.size)]
    return Look(couple, n_agree, float(confidence.sum(dtype=np.float64)), same)


def _queries(items: Sequence[Indexed], most: int) -> list[Indexed]:
    """As many photos, of all animals and encounters in turn."""
    about = [(item.ref.identity, item.ref.encounter, item.digest) for item in items]
    return [items[place] for (place,) in decision.calibration_queries(about, most)]


def _like(photo: Indexed, items: Sequence[Indexed], most: int, session: Session) -> list[Indexed]:
    """Photos of other animals that this one's descriptors vote for, those of a like side, one an animal as long as there are enough.
    LightGlue's own sums do not choose them: what it happens to overrate would look better whatever it then learns."""
    others = [one for one in items if one.ref.identity != photo.ref.identity and comparable(photo, one)]
    return [others[place] for place in first_by_votes(photo, others, most, session.work.first)] if others else []


def _hardest(looks: Sequence[Look]) -> list[Look]:
    """Of each photo's looks those of the largest sum."""
    of_photo: dict[str, list[Look]] = {}
    for look in looks:
        of_photo.setdefault(look.photos[0].digest, []).append(look)
    return [look for found in of_photo.values() for look in sorted(found, key=lambda one: -one.total)[:HARDEST]]


def _trials(items: Sequence[Indexed], session: Session) -> list[Trial]:
    own: dict[str, list[Indexed]] = {}
    for a, b in (couple for couples in met_again(items).values() for couple in couples):
        for one, other in ((a, b), (b, a)):
            own.setdefault(one.digest, []).append(other)
    queries = _queries([item for item in items if item.digest in own], N_QUERIES)
    return [Trial(item, own[item.digest][:N_OWN], _like(item, items, N_OTHERS, session)) for item in queries]


def described(look: Look, alike: bool, session: Session, most: int) -> Pair:
    """The pair that is learned from: of one animal the keypoints that agree are partners, and of the others nothing is known; of different
    animals none has a partner."""
    first, second = (strongest(session.work.first.load(item), most) for item in look.photos)
    partners: Partners = tuple(np.full(len(one), IGNORED if alike else UNMATCHED) for one in (first, second))  # type: ignore[assignment]
    if alike:
        rows, columns = look.same[(look.same < most).all(axis=1)].T
        partners[0][rows], partners[1][columns] = columns, rows
    return Pair((first, second), partners)
