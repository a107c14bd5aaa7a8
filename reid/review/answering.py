"""From what a person presses to what the log keeps. A page that does not know of an answer by somebody else is told, and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from ..catalogue import Decision, Kind, PhotoKey
from ..catalogue.decisions import at_once, standing
from ..catalogue.names import alike, clean
from ..errors import DecisionError
from ..records import UNNAMED, Indexed
from .book import JUDGES, NAMES, Book, Card
from .desk import Desk
from .tasks import Choice, Task, Topic


class Verdict(StrEnum):
    """What is pressed."""

    SAME = "same"
    DIFFERENT = "different"
    CANNOT_TELL = "cannot_tell"
    NEW = "new"


class Overtaken(Exception):
    """The pair was decided after the page was made."""

    def __init__(self, decision: Decision):
        super().__init__(decision)
        self.decision = decision


class Alike(Exception):
    """Animals are called nearly as a new one would be."""

    def __init__(self, name: str, others: Sequence[str]):
        super().__init__(name)
        self.name, self.others = name, others


@dataclass(frozen=True)
class Undone:
    """What was taken back."""

    decision: Decision
    apart: tuple[str, str] | None  # animals that would be one, had what the decision replaced come back, too; None where it has

    def __str__(self) -> str:
        said = "What that answer had replaced stays taken back: with it {} and {} would become one animal."
        return said.format(*self.apart) if self.apart else ""


def record(desk: Desk, task: Task, choice: Choice | None, verdict: Verdict, name: str, seen: int, *, is_meant: bool = False) -> Decision:
    """Write an answer down; it is on the disk when this returns. `choice` is what the photos are compared with, `name` what a new animal
    is called (`is_meant`: though others are called nearly so), `seen` the newest decision that the page knew. What the same observer had
    said of this pair is taken back, until this answer is.

    Raises Overtaken, Alike, DecisionError, StoreError."""
    if verdict is not Verdict.NEW and choice is None:
        raise DecisionError("there is nothing to compare the photos with")
    if verdict is Verdict.NEW and (name := clean(name)):
        own = {item.digest for item in task.photos}
        others = {
            animal: card
            for animal, cards in desk.book().animals.items()
            for card in reversed(sorted(cards, key=lambda card: card.is_new))  # its oldest photo in the gallery, or else its first
            if card.digest not in own
        }
        if name in others:  # known, though not among the choices
            known = desk.items().get(others[name].digest or "")
            if known is None:
                raise DecisionError(f"{name} has no photo that can be compared; give the animal another name")
            verdict, choice, name = Verdict.SAME, Choice(name, known, task.photos[0]), ""
        elif not is_meant and (near := alike(name, others)):
            raise Alike(name, near)
    kind, photos = _decided(task, choice, verdict)

    def check(counting: Sequence[Decision]) -> None:
        for one in counting:
            if one.number > seen and not (desk.blind and one.observer != desk.observer) and _concerns(one, task, choice):
                raise Overtaken(one)
        if task.topic is Topic.TWINS and verdict is Verdict.SAME and (apart := _apart(desk.book(), task)) and apart.number > seen:
            raise Overtaken(apart)

    book = desk.book()
    check(book.effective)
    compared = None if verdict is Verdict.NEW else choice
    replaced = _replaced(desk, book, task, compared, verdict, seen)
    taken = list(dict.fromkeys(other.number for one in replaced for other in at_once(one, book.effective)))
    if verdict is Verdict.NEW and name and _is_to_be_named(desk, book, task, taken):
        kind, taken = Kind.NAME, []
    elif task.topic is Topic.QUERY and verdict in (Verdict.SAME, Verdict.NEW):
        _check_other_names(desk, book, task, compared, taken)
    if task.settles is not None and verdict in (Verdict.SAME, Verdict.DIFFERENT):
        number = task.settles[verdict is Verdict.DIFFERENT]
        taken += [number] if number not in taken and number in {one.number for one in book.effective} else []
    evidence = dict(_evidence(desk, task, choice, kind))
    with desk.log.together():
        if taken and (undone := desk.log.undo(desk.observer, *taken)):
            evidence["follows"] = undone.evidence.get("follows", undone.number)
        if task.topic is Topic.MISLABEL and verdict is Verdict.SAME:  # it leaves the animal that it stands under, which stays as it is
            leaving = desk.log.append(Kind.NOT_THIS_ANIMAL, _keys(task.photos), observer=desk.observer, evidence=evidence, check=check)
            evidence.setdefault("follows", leaving.number)
            seen = leaving.number
        found = desk.log.append(kind, _keys(photos), observer=desk.observer, value=name, evidence=evidence, check=check)
    desk.n_answers += 1
    return found


def _replaced(desk: Desk, book: Book, task: Task, choice: Choice | None, verdict: Verdict, seen: int) -> list[Decision]:
    """What this observer had said of these photos, and of no others, and takes back by answering again: of this very pair, or of who the
    photos show, unless that is the animal of the choice. A photo that is nobody's takes the name of what it is the same as: that replaces
    nothing, and stays. The newest first."""
    own, known = {item.digest for item in task.photos}, book.of_photo
    reference = "" if choice is None else choice.reference.digest
    differs = choice is None or any(known[digest].animal != known[reference].animal for digest in own)
    moves = differs and not (choice and _is_nobody(desk, reference))
    names = moves and (verdict is Verdict.NEW or (verdict is Verdict.SAME and task.topic is Topic.QUERY))

    def is_replaced(one: Decision) -> bool:
        photos = [photo.digest for photo in one.photos]
        if one.kind in JUDGES and reference in photos:
            return own.issuperset({*photos} - {reference})
        return names and ((one.kind is Kind.SAME and own.issuperset(photos[:-1])) or (one.kind is Kind.NEW and own.issuperset(photos)))

    said = {one.number: one for digest in own for one in book.counting(digest) if one.observer == desk.observer and one.number <= seen}
    found = [said[number] for number in sorted(said, reverse=True) if is_replaced(said[number])]
    taken = [one.number for one in found]

    def stays(one: Decision) -> bool:
        other = one.photos[-1].digest
        return choice is not None and one.kind is Kind.SAME and other != reference and _is_nobody(desk, other, taken)

    return [one for one in found if not stays(one)]


def _is_nobody(desk: Desk, photo: str, taken: Sequence[int] = ()) -> bool:
    """Whether a photo stands under no animal, these decisions taken back, or under one without a name that is no more than what this
    observer has compared."""
    left = desk.without(taken) if taken else desk.book()
    animal = left.of_photo[photo].animal
    if animal is None or not UNNAMED.fullmatch(animal):
        return animal is None
    compared = [one.number for one in left.effective if one.kind is Kind.SAME and one.observer == desk.observer]
    alone = desk.without([*taken, *compared]).cards
    return all(alone[card.id].animal is None for card in left.animals[animal])


def _is_to_be_named(desk: Desk, book: Book, task: Task, taken: Sequence[int]) -> bool:
    """Whether these photos stand under an animal that nobody has named, together with others that are of it only because this observer has
    compared them: a name is theirs, too."""
    animals = {book.of_photo[item.digest].animal or "" for item in task.photos}
    animal = animals.pop()
    if task.topic is not Topic.QUERY or animals or not UNNAMED.fullmatch(animal):
        return False
    photos = {card.digest or "" for card in book.animals[animal]}
    return len(photos) > len(task.photos) and all(_is_nobody(desk, photo, taken) for photo in photos)


def _check_other_names(desk: Desk, book: Book, task: Task, choice: Choice | None, taken: Sequence[int]) -> None:
    """Photos that stand under an animal by the table or by other decisions than those that are taken back must not join it with another in
    passing, nor leave it as a new one. What this observer has compared with them comes along, as long as nobody has named it.

    Raises DecisionError."""
    cards = [card for card in (book.of_photo[item.digest] for item in task.photos) if card.animal]
    animal = None if choice is None else book.of_photo[choice.reference.digest].animal
    if choice and cards and _is_nobody(desk, choice.reference.digest, taken):  # it takes the name that they have
        animal = cards[0].animal
    cards = [card for card in cards if card.animal != animal]
    if desk.blind or not cards:
        return
    left = desk.without(taken)
    goes = None if choice is None else left.of_photo[choice.reference.digest].animal
    for card in cards:
        digest = card.digest or ""
        stands = left.of_photo[digest].animal
        if stands in (None, goes) or (choice is not None and _is_nobody(desk, digest, taken)):
            continue
        by, said = "by the table", [one for one in left.counting(digest) if one.kind in (*NAMES, Kind.SPLIT)]
        if said and desk.without([*taken, *(one.number for one in said)]).of_photo[digest].animal != stands:
            by = f"by decision {said[-1].number} of {said[-1].observer}, which History takes back"
        which = "this" if len(task.photos) == 1 else card.ref.image_id.rpartition("/")[2]
        joins = f"{card.animal} and {animal} would become one animal"
        leaves = f"it would leave {card.animal}; to call that otherwise, rename it on its page"
        raise DecisionError(f"{which} is {card.animal} {by}; with this answer {joins if choice else leaves}")


def say_side(desk: Desk, cards: Sequence[Card], side: str, evidence: Mapping[str, object]) -> Decision | None:
    """Write down which side photos show, of those that do not stand so yet; None where all do. An empty side: nobody can tell which.

    Raises DecisionError, StoreError."""
    stands = {card.digest for card in cards if (card.ref.orientation or "") == side and (side or desk.said_side(card))}
    keys = [PhotoKey(card.digest, card.ref.image_id) for card in cards if card.digest and card.digest not in stands]
    return desk.log.append(Kind.SIDE, keys, observer=desk.observer, value=side, evidence=evidence) if keys else None


def rename(desk: Desk, animal: str, name: str, evidence: Mapping[str, object], *, is_meant: bool = False) -> Decision | None:
    """Call an animal otherwise; None where it is called so. Raises Alike, DecisionError, StoreError."""
    name = clean(name)
    _renamed(desk, animal, name, is_meant)  # what is refused makes no log
    if name == animal:
        return None
    with desk.log.together():  # so that nobody else names an animal in between
        photo = _renamed(desk, animal, name, is_meant)
        return desk.log.append(Kind.NAME, [photo], observer=desk.observer, value=name, evidence=evidence)


def _renamed(desk: Desk, animal: str, name: str, is_meant: bool) -> PhotoKey:
    """A photo of the animal that may be called so. Raises Alike, DecisionError."""
    animals = desk.book().animals
    if animal not in animals:
        raise DecisionError(f"{animal} is called otherwise by now; nothing was recorded")
    others = animals.keys() - {animal}
    if name in others:
        raise DecisionError(f"another animal is called {name}; if they are one, say so by *Same animal as…*")
    if not is_meant and (near := alike(name, others)):
        raise Alike(name, near)
    keys = [PhotoKey(card.digest, card.ref.image_id) for card in animals[animal] if card.digest]
    if not keys:
        raise DecisionError(f"the photos of {animal} have not been read yet; try again once they are")
    return keys[0]


def take_back(desk: Desk, number: int, *, by_itself: bool = False) -> Undone:
    """Take back a decision with what was written down at once with it, or by itself, and bring back what it replaced, unless two animals
    would become one by that.

    Raises DecisionError for one that does not count any more, StoreError."""
    if all(one.number != number for one in desk.book().effective):  # what is refused makes no log
        raise DecisionError(f"decision {number} is taken back already, or does not exist")
    with desk.log.together():
        book = desk.book()
        taken = book.history[number - 1]
        group = () if by_itself else at_once(taken, standing(book.history))
        answer = [number, *(one.number for one in group if one.kind is not Kind.UNDO)]
        every = [*answer, *(one.number for one in group if one.kind is Kind.UNDO)]
        joined = None
        if len(every) > len(answer):
            joined = _joined(book, desk.without(range(min(every), book.number + 1)), desk.without(every))
        desk.log.undo(desk.observer, *(answer if joined else every))
    if "topic" in taken.evidence and taken.observer == desk.observer:
        desk.n_answers = max(0, desk.n_answers - 1)
    return Undone(taken, joined)


def _joined(now: Book, then: Book, afterwards: Book) -> tuple[str, str] | None:
    """Two animals of now that are one afterwards, and were not one then."""
    stood: dict[str, dict[tuple[str, str | None], None]] = {}  # by what they are called afterwards: as now, and as then
    for id, card in now.cards.items():
        if card.animal and id in then.cards and id in afterwards.cards and (animal := afterwards.cards[id].animal):
            stood.setdefault(animal, {})[card.animal, then.cards[id].animal] = None
    for pairs in stood.values():
        for (one, once), (other, elsewhere) in combinations(pairs, 2):
            if one != other and (once is None or once != elsewhere):
                return min(one, other), max(one, other)
    return None


def _keys(items: Iterable[Indexed]) -> list[PhotoKey]:
    return [PhotoKey(item.digest, item.ref.image_id) for item in items]


def _decided(task: Task, choice: Choice | None, verdict: Verdict) -> tuple[Kind, list[Indexed]]:
    """The kind of decision, and its photos in the order that the log wants."""
    own = list(task.photos)
    if choice is None or verdict is Verdict.NEW:
        return Kind.NEW, own
    if task.topic is Topic.TWINS:  # of an animal, a photo stands for all
        own = [choice.photo]
    if verdict is Verdict.SAME:
        return (Kind.MERGE if task.topic is Topic.TWINS else Kind.SAME), [*own, choice.reference]
    return Kind(verdict), [choice.reference, *own]


def _concerns(one: Decision, task: Task, choice: Choice | None) -> bool:
    """Whether a decision says who the photos show, or something of this very pair."""
    photos = {photo.digest for photo in one.photos}
    if not photos & {item.digest for item in task.photos}:
        return False
    return one.kind in NAMES or (one.kind in JUDGES and choice is not None and choice.reference.digest in photos)


def _apart(book: Book, task: Task) -> Decision | None:
    """What says, by whichever of their photos, that two animals are two."""
    names = [book.of_photo[item.digest].animal or "" for item in (task.choices[0].photo, task.choices[0].reference)]
    number = book.apart.get((min(names), max(names)))
    return book.history[number - 1] if number else None


def _evidence(desk: Desk, task: Task, choice: Choice | None, kind: Kind) -> Mapping[str, object]:
    """What was on the screen, and what speaks for the pair where the decision is of one."""
    ranking = task.ranking
    found: dict[str, object] = {"topic": str(task.topic), "task": task.id, "blind": desk.blind or None}
    if choice is not None:
        found["shown"] = [choice.photo.digest, choice.reference.digest]
    if choice is not None and kind is not Kind.NEW:
        found |= {"p_same": choice.p, "score": choice.score, "n_matches": choice.n_matches}
    if ranking is not None:
        found |= {"verdict": ranking.verdict, "p_match": ranking.p_match, "p_new": ranking.p_new, "fingerprint": desk.session.fingerprint}
    return {name: value for name, value in found.items() if value is not None}
