"""What is asked next: the questions whose answers change most come first. Pure.

An answer changes most where it is least foreseen: whether there is an animal more. So a query counts by the entropy of P(new), a pair of
animals that may be one by that of P(same); what people have said and what contradicts it comes before all else. That which animal it is
may be in doubt, too, brings nothing more: notebooks/README.md, review.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from ..catalogue import Contradiction, Decision
from ..decision.verdicts import MATCH, NEW, ODD, UNSURE
from ..records import Health, IdentityRanking, Indexed, Query


class Topic(StrEnum):
    """Why it is asked."""

    CONTRADICTION = "contradiction"  # what was decided cannot all be so
    QUERY = "query"  # who is it?
    TWINS = "twins"  # two animals of the gallery that may be one
    MISLABEL = "mislabel"  # a photo that looks more like another animal
    SECOND = "second"  # a pair that another observer has judged


MOST = 9  # candidates that are shown at once, a key each; the first so many are the question
MOST_PHOTOS = 24  # of an animal, in a row
SURE_NEW = 0.9  # P(new) from which a new animal is named without a look at further candidates
CONTRADICTED = 2.0  # the value of a contradiction: more than any other has
MISLABELLED = 0.75  # the value of a doubtful label, whose probability is not told
UNCALIBRATED = {UNSURE: 0.9, ODD: 0.9, NEW: 0.5, MATCH: 0.25}  # the value of a query without probabilities


class Judged(Protocol):
    """An answer, of whatever kind."""

    @property
    def verdict(self) -> str: ...
    @property
    def p_new(self) -> float | None: ...


@dataclass(frozen=True)
class Choice:
    """An animal that the photos may show, with the photo that speaks for it most."""

    animal: str  # as the gallery called it when it was found
    reference: Indexed
    photo: Indexed  # of the question's own photos, the one that is like it
    p: float | None = None  # that it is this one, 0..1, where that is known
    score: float | None = None
    n_matches: int | None = None


@dataclass(frozen=True)
class Task:
    """A question: do these photos show one of these animals?"""

    topic: Topic
    title: str
    photos: tuple[Indexed, ...]
    choices: tuple[Choice, ...]  # best first; of a query, every animal of the gallery
    value: float  # how much an answer changes; larger comes first
    ranking: IdentityRanking | None = None
    because: tuple[str, ...] = ()
    settles: tuple[int, int] | None = None  # of a contradiction: the decision that "same" takes back, and that "different" takes back
    after: int = 0  # the decision that it asks about, which does not answer it

    @property
    def n_further(self) -> int:
        """Candidates beyond those that are shown at first."""
        return max(0, len(self.choices) - MOST) if self.topic is Topic.QUERY else 0

    @property
    def id(self) -> str:
        """Opaque, and the same in every run."""
        of = self.photos if self.topic is Topic.QUERY else (*self.photos, self.choices[0].reference)
        return opaque("task", self.topic, *(item.digest for item in of))


def opaque(*parts: str) -> str:
    """16 hex digits that name something in an address without telling what it is."""
    return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def entropy(*p: float) -> float:
    """Of a distribution, as a share of the most that it can be: 0..1."""
    return sum(-one * math.log(one) for one in p if one > 0) / math.log(len(p))


def value_of(ranking: Judged) -> float:
    return UNCALIBRATED[ranking.verdict] if ranking.p_new is None else entropy(ranking.p_new, 1 - ranking.p_new)


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """The most valuable first; ties by title."""
    return sorted(tasks, key=lambda task: (-task.value, task.title, task.id))


def of_query(query: Query, ranking: IdentityRanking, references: Mapping[str, Indexed], since: Mapping[str, str] = {}) -> Task:
    """Who is it? `references` are those of the gallery, by image_id, and `since` is the gallery's."""
    known = {item.digest: item for item in references.values()}  # what the gallery holds is meant as the gallery has it
    own = {item.ref.image_id: known.get(since.get(item.digest, item.digest), item) for item in query.photos}
    photos = tuple(own.values())
    choices = [
        Choice(one.identity, references[one.reference_id], own[one.photo_id], None if rank else ranking.p_match, one.score, one.n_matches)
        for rank, one in enumerate(ranking.candidates)
    ]
    title = photos[0].ref.image_id if len(photos) == 1 and photos[0].digest in known else query.name
    return Task(Topic.QUERY, title, photos, tuple(choices), value_of(ranking), ranking, ranking.because)


def of_health(health: Health, references: Mapping[str, Indexed]) -> list[Task]:
    """Animals that may be one, and photos that may be of another animal."""
    found = []
    for twins in health.twins:
        one, other = (references[name] for name in twins.references)
        choice = Choice(twins.identities[1], other, one, twins.p_same)
        because = ("These photos look alike as those of one animal do, and the catalogue has them under two names.",)
        value = entropy(twins.p_same, 1 - twins.p_same)
        found.append(Task(Topic.TWINS, " and ".join(twins.identities), (one,), (choice,), value, because=because))
    for doubt in health.mislabels:
        one, like = references[doubt.reference_id], doubt.looks_like
        choice = Choice(like.identity, references[like.reference_id], one, None, like.score, like.n_matches)
        because = (f"It scores {like.score:.2f} with {like.identity}, and {doubt.score:.2f} with the other photos of {doubt.identity}.",)
        found.append(Task(Topic.MISLABEL, f"a photo of {doubt.identity}", (one,), (choice,), MISLABELLED, because=because))
    return found


def of_contradictions(contradictions: Iterable[Contradiction], photos: Mapping[str, Indexed]) -> list[Task]:
    """The weakest link of each, to be looked at again. What the table itself joins can only be split, and is no question of a pair."""
    found: dict[str, Task] = {}
    for one in contradictions:
        pair = [photos[digest] for digest in shown(one.weakest) if digest in photos]
        if one.links and len(pair) == 2:
            choice, settles = Choice("", pair[1], pair[0]), (one.apart.number, one.weakest.number)
            task = Task(
                Topic.CONTRADICTION, pair[0].ref.image_id, (pair[0],), (choice,), CONTRADICTED, because=(str(one),), settles=settles
            )
            found.setdefault(task.id, task)
    return list(found.values())


def of_unjoined(decisions: Iterable[Decision], photos: Mapping[str, Indexed], names: Mapping[str, str | None]) -> list[Task]:
    """Two animals with names that somebody who judged blind takes for one. `photos` and `names` by digest."""
    found: dict[str, Task] = {}
    for one in sorted(decisions, key=lambda one: one.number):
        pair = [photos[digest] for digest in shown(one) if digest in photos]
        if len(pair) == 2:
            animals = [names.get(item.digest) or item.ref.image_id for item in pair]
            because = (f"{one.observer} has judged these photos blind, and says that they show one animal.",)
            choice = Choice(animals[1], pair[1], pair[0])
            task = Task(Topic.TWINS, " and ".join(animals), (pair[0],), (choice,), CONTRADICTED, because=because, after=one.number)
            found[task.id] = task
    return list(found.values())


def of_animals(names: tuple[str, str], photos: Sequence[Indexed], others: Sequence[Indexed], after: int) -> Task:
    """Two animals that somebody takes for one, by their photos, the oldest first; the newest two of one side are looked at first."""
    photos = photos[-MOST_PHOTOS:]
    pairs = [(one, other) for one in reversed(photos) for other in reversed(others)]
    of_one_side = (pair for pair in pairs if pair[0].ref.orientation and pair[0].ref.orientation == pair[1].ref.orientation)
    one, other = next(of_one_side, pairs[0])
    return Task(Topic.TWINS, " and ".join(names), tuple(photos), (Choice(names[1], other, one),), CONTRADICTED, after=after)


def shown(decision: Decision) -> tuple[str, ...]:
    """The digests of the two photos that were looked at, the query's first."""
    pair = decision.evidence.get("shown")
    if isinstance(pair, list) and len(pair) == 2:
        return tuple(map(str, pair))
    return tuple(photo.digest for photo in decision.photos[:2])
