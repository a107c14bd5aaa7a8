"""Everything that is known at one state of the log: photos with their animals, and what was decided about them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..catalogue import Contradiction, Decision, Gallery, Kind, Labels, labels
from ..catalogue.decisions import effective
from ..records import Indexed, PhotoRef
from .tasks import MOST, Choice, Task, Topic, opaque

JUDGES = frozenset((Kind.SAME, Kind.DIFFERENT, Kind.CANNOT_TELL, Kind.MERGE))  # what is said of a pair
NAMES = frozenset((Kind.SAME, Kind.NEW, Kind.MERGE))  # what says who a photo shows


@dataclass(frozen=True)
class Card:
    """A photo as pages show it."""

    id: str  # opaque
    ref: PhotoRef
    digest: str | None  # None until the gallery has been read
    animal: str | None  # by the table and the log
    is_new: bool = False  # not of the gallery
    is_asked: bool = False  # of the photos to review

    @property
    def site(self) -> str:
        return self.ref.columns.get("site", "").strip()


@dataclass(frozen=True)
class Book:
    """Everything that is known at one state of the log, and what of it counts for one observer."""

    number: int  # of the newest decision
    history: tuple[Decision, ...]
    effective: tuple[Decision, ...]
    cards: Mapping[str, Card]  # by id, in the order of the gallery
    of_photo: Mapping[str, Card]  # by digest, as far as these are known
    about: Mapping[str, tuple[Decision, ...]]  # what counts, by the digests of its photos
    animals: Mapping[str, tuple[Card, ...]]  # by name, sorted
    encounters: Mapping[str, tuple[Card, ...]]
    contradictions: tuple[Contradiction, ...]
    apart: Mapping[tuple[str, str], int] = field(default_factory=dict)  # names of animals, sorted: the decision that says they are two
    unjoined: tuple[Decision, ...] = ()  # blind answers that wait to be confirmed, see `catalogue.Labels`
    only: str | None = None  # the observer whose decisions alone count: a second observer is blind to those of others

    def animal(self, id: str) -> str | None:
        return next((name for name in self.animals if opaque("animal", name) == id), None)

    def encounter(self, id: str) -> str | None:
        return next((name for name in self.encounters if opaque("encounter", name) == id), None)

    def counting(self, digest: str) -> list[Decision]:
        """The decisions on a photo that count for this observer."""
        return [one for one in self.about.get(digest, ()) if self.only in (None, one.observer)]

    def judged(self, task: Task, choice: Choice) -> Decision | None:
        """The newest decision on whether a question's photos and that of a choice are one animal; None where there is none."""
        own = {item.digest for item in task.photos}
        for one in reversed(self.counting(choice.reference.digest)):
            if one.kind in JUDGES and own & {photo.digest for photo in one.photos}:
                return one
        return None

    def is_done(self, task: Task) -> bool:
        """Whether a question was answered."""
        if task.topic is not Topic.QUERY:
            judged = self.judged(task, task.choices[0])
            if judged is not None and judged.number > max(task.after, *(task.settles or (0,))):
                return True
            return task.topic is Topic.TWINS and self._are_settled(task)
        named = any(one.kind in NAMES for item in task.photos for one in self.counting(item.digest))
        return named or (bool(task.choices) and all(self.judged(task, choice) for choice in task.choices[:MOST]))

    def _are_settled(self, task: Task) -> bool:
        """Whether other pairs have said meanwhile that two animals are one, or that they are two."""
        one, other = (self.of_photo[item.digest].animal for item in (task.choices[0].photo, task.choices[0].reference))
        if one is None or other is None:
            return False
        return one == other or self.apart.get((min(one, other), max(one, other)), 0) > task.after


def read(
    gallery: Gallery, references: Sequence[Indexed], new: Sequence[Indexed], history: Sequence[Decision], only: str | None = None
) -> Book:
    """`references` are the gallery's photos as far as they have been read, `new` those that are to be reviewed."""
    history = gallery.now(history)
    counting = effective(history)
    own = [one for one in counting if only in (None, one.observer)]
    tabled = dict(zip((ref.image_id for ref in gallery.references), gallery.tabled))
    named = [(item, None) for item in new] + [(item, tabled.get(item.ref.image_id)) for item in references]  # the reference's label counts
    first: dict[str, str] = {}  # by digest, of the names of a photo in the table the one that decisions about it concern, see `labels`
    for item, name in named:
        if name is not None:
            first[item.digest] = min(name, first.get(item.digest, name))
    identity, found = _identities(named, own)
    sides = {**gallery.tabled_sides, **found.sides}  # what was decided before the gallery was read may have been taken back
    digests, asked = {item.ref.image_id: item.digest for item in references}, {item.digest for item in new}
    cards: dict[str, Card] = {}
    of_photo: dict[str, Card] = {}
    for ref in gallery.references:
        digest = digests.get(ref.image_id)
        animal = ref.identity if digest is None else identity[digest, ref.image_id]
        card = Card(opaque("photo", ref.image_id), _turned(ref, digest, sides), digest, animal, is_asked=digest in asked)
        cards[card.id] = card
        if digest is not None and tabled.get(ref.image_id) in (None, first.get(digest)):
            of_photo[digest] = card
    for item in new:
        if item.digest not in of_photo:
            ref = _turned(item.ref, item.digest, sides)
            card = Card(opaque("new", item.digest), ref, item.digest, identity[item.digest, item.ref.image_id], is_new=True, is_asked=True)
            cards[card.id] = of_photo[item.digest] = card
    about: dict[str, list[Decision]] = {}
    for one in counting:
        for photo in one.photos:
            about.setdefault(photo.digest, []).append(one)
    return Book(
        history[-1].number if history else 0,
        history,
        counting,
        cards,
        of_photo,
        {digest: tuple(found) for digest, found in about.items()},
        _grouped((card.animal, card) for card in cards.values() if card.animal),
        _grouped((card.ref.encounter, card) for card in cards.values() if card.ref.encounter),
        found.contradictions,
        found.animals_apart,
        found.unjoined,
        only,
    )


def _identities(
    photos: Sequence[tuple[Indexed, str | None]], counting: Sequence[Decision]
) -> tuple[dict[tuple[str, str], str | None], Labels]:
    """By digest and image_id, as a photo may stand under two names; of photos with their names in the table. Only animals that a decision
    concerns are looked at, since an answer must not wait for a gallery of 10,000."""
    decided = {photo.digest for one in counting for photo in one.photos}
    names = {name for item, name in photos if item.digest in decided} - {None}
    concerned = [Indexed(replace(item.ref, identity=name), item.digest) for item, name in photos if item.digest in decided or name in names]
    found = labels(concerned, counting)
    identity = {(item.digest, item.ref.image_id): name for item, name in photos}
    identity |= {(item.digest, item.ref.image_id): name for item, name in zip(concerned, found.identities)}
    return identity, found


def _turned(ref: PhotoRef, digest: str | None, sides: Mapping[str, str | None]) -> PhotoRef:
    """With the side that the photo shows by what is decided now, where that was ever decided."""
    side = sides.get(digest or "", ref.orientation) or None
    return ref if side == ref.orientation else replace(ref, orientation=side)


def _grouped(pairs: Iterable[tuple[str, Card]]) -> dict[str, tuple[Card, ...]]:
    found: dict[str, list[Card]] = {}
    for name, card in pairs:
        found.setdefault(name, []).append(card)
    return {name: tuple(sorted(found[name], key=lambda card: (str(card.ref.date or ""), card.ref.image_id))) for name in sorted(found)}
