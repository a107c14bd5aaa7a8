"""What people have decided, in words: a sentence beside Undo, a line of the history. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..catalogue import Decision, Kind, PhotoKey
from ..catalogue.decisions import at_once
from ..catalogue.values import counted
from ..decision.reasons import of_estimated_side, percent
from .book import Book
from .tasks import Topic

SAID = {
    Kind.SAME: "same animal", Kind.MERGE: "same animal", Kind.DIFFERENT: "different animals", Kind.CANNOT_TELL: "cannot tell",
    Kind.NEW: "new animal",
}  # fmt: skip
KINDS = {
    **SAID, Kind.NAME: "called", Kind.SPLIT: "split off", Kind.NOT_THIS_ANIMAL: "not this animal", Kind.SIDE: "side", Kind.DATE: "date",
    Kind.PHOTOBOMB: "another animal in the picture", Kind.SCENERY: "only the background matches", Kind.UNDO: "taken back",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A decision in the history."""

    decision: Decision
    what: str
    photos: list[str]
    evidence: str
    undone: bool
    may_undo: bool


def sentence(one: Decision, book: Book) -> str:
    """What somebody has just said, with the names of today."""
    one = _renamed(one, book)
    if one.evidence.get("blind"):
        return f"The pair: {SAID.get(one.kind, KINDS[one.kind])}."
    if one.kind is Kind.SIDE:
        if book.only is not None:  # who judges blind reads no file's name: a folder is called by its animal
            return f"{'The photo' if len(one.photos) == 1 else 'The photos'}: side {one.value or 'not known'}."
        if len(every := at_once(one, book.effective)) > 1:
            return f"{counted(len(every), 'photo')}: sides as estimated."
        return f"{_photos(one.photos)}: side {one.value or 'not known'}."
    if one.kind is Kind.NAME:
        return f"The animal is called {one.value}."
    if one.kind is Kind.MERGE:
        return f"They are one animal, {_animal(one.photos[0], book)}."
    if one.kind is Kind.NEW:
        return f"{_photos(one.photos)} {_is(one.photos)} a new animal, {_animal(one.photos[0], book)}."
    if one.kind is Kind.SAME:
        own, other = one.photos[:-1], one.photos[-1]
        return f"{_photos(own)} {_is(own)} {_animal(other, book)}."
    if one.kind in (Kind.DIFFERENT, Kind.CANNOT_TELL):
        other, own = one.photos[0], one.photos[1:]
        subject = _animal(own[0], book) if one.evidence.get("topic") == Topic.TWINS else _photos(own)
        verb = f"{_is(own)} not" if one.kind is Kind.DIFFERENT else "may or may not be"
        return f"{subject} {verb} {_animal(other, book)}."
    return f"{_photos(one.photos)}: {' '.join(filter(None, (KINDS[one.kind], one.value)))}."


def lines(book: Book, decisions: Iterable[Decision]) -> list[Line]:
    counting = {one.number for one in book.effective}
    found = []
    for one in decisions:
        is_undo = one.kind is Kind.UNDO
        value = one.value or ("not known" if one.kind is Kind.SIDE else "")
        what = f"{KINDS[one.kind]} {one.undoes}" if is_undo else " ".join(filter(None, (KINDS[one.kind], value)))
        undone = not is_undo and one.number not in counting
        photos = [photo.image_id for photo in _renamed(one, book).photos[:4]] + (["…"] if len(one.photos) > 4 else [])
        if book.only is not None and photos:
            photos = [counted(len(one.photos), "photo")]
        found.append(Line(one, what, photos, _evidence(one), undone, not is_undo and not undone))
    return found


def _renamed(one: Decision, book: Book) -> Decision:
    """With its photos as they are called now: files are moved and copied in, and the log has the names of their day."""
    keys = [replace(photo, image_id=book.of_photo[photo.digest].ref.image_id if photo.digest in book.of_photo else photo.image_id)
            for photo in one.photos]  # fmt: skip
    return replace(one, photos=tuple(keys))


def _evidence(one: Decision) -> str:
    p, score = one.evidence.get("p_same"), one.evidence.get("score")
    found = [f"P {percent(p)}"] if isinstance(p, float) else []
    found += [f"score {score:.2f}"] if isinstance(score, float) else []
    found += [estimated] if (estimated := of_estimated_side(one.evidence)) else []
    found += ["blind"] if one.evidence.get("blind") else []
    return ", ".join(found)


def _photos(photos: Iterable[PhotoKey]) -> str:
    first, *others = photos
    return counted(len(others) + 1, "photo") if others else first.image_id.rpartition("/")[2]


def _is(photos: tuple[PhotoKey, ...]) -> str:
    return "is" if len(photos) == 1 else "are"


def _animal(photo: PhotoKey, book: Book) -> str:
    card = book.of_photo.get(photo.digest)
    return (card and card.animal) or f"the animal of {_photos([photo])}"
