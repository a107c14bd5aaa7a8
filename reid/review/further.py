"""The rest of the catalogue: what somebody looks through before an animal counts as new, and new animals that may be known all the same.

The first nine candidates miss one known animal in four to six (notebooks/README.md, review). Who calls it new counts it twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Query
from fastapi.responses import Response

from ..catalogue import Kind
from ..records import Health
from .book import Book, Card
from .desk import Desk
from .filters import Filters, sides
from .pages import Pages
from .pairs import asked
from .tasks import MOST, Choice, Task, Topic

BATCH = 27  # animals that are loaded at once


@dataclass(frozen=True)
class Tile:
    """A candidate beyond the first nine."""

    number: int  # its rank
    choice: Choice
    card: Card  # the photo that is shown: that which speaks for it most, or else the first that fits the filters
    animal: str | None  # as it is called now
    said: str  # why it comes before those of a better rank; empty where it does not


@dataclass(frozen=True)
class Ghost:
    """A photo that somebody has called a new animal, and the animal of the gallery that it is most like."""

    task: Task
    number: int  # the rank of that animal
    photo: Card
    other: Card

    @property
    def p_new(self) -> float | None:
        return None if self.task.ranking is None else self.task.ranking.p_new

    @property
    def score(self) -> float | None:
        return self.task.choices[self.number - 1].score


def rest(task: Task, book: Book, filters: Filters, health: Health | None) -> list[Tile]:
    """The animals beyond the first nine that have a photo which fits, the likeliest first: those that the gallery's own photos take for one
    with one of the nine, those that were named since, and then by rank. One that is asked for by name may be of the nine."""
    nine = {choice.animal for choice in task.choices[:MOST]}
    twins = {pair[1 - side]: pair[side] for one in (health.twins if health else ()) for pair in (one.identities,) for side in (0, 1)}
    n_ranked = len(task.ranking.candidates) if task.ranking else len(task.choices)
    found = []
    for number, choice in enumerate(task.choices, start=1):
        if number <= MOST and not filters.animal:
            continue
        card, twin = book.of_photo[choice.reference.digest], twins.get(choice.animal)
        said = f"may be one with {twin}" if twin in nine else "named since" if number > n_ranked else ""
        fitting = filters.of((card, *(book.animals.get(card.animal or "", ()))))
        if fitting:
            found.append(Tile(number, choice, fitting[0], card.animal, said))
    return sorted(found, key=lambda one: not one.said)


def ghosts(tasks: Iterable[Task], book: Book) -> list[Ghost]:
    """Of every query that somebody has called new, the best candidate that nobody has judged, the likeliest known animal first."""
    found = []
    for task in tasks:
        photos = [item.digest for item in task.photos]
        if task.topic is not Topic.QUERY or not any(one.kind is Kind.NEW for digest in photos for one in book.counting(digest)):
            continue
        photo = book.of_photo[photos[0]]
        for number, choice in enumerate(task.choices, start=1):
            other = book.of_photo[choice.reference.digest]
            if book.judged(task, choice) is None and other.animal != photo.animal:
                found.append(Ghost(task, number, book.of_photo[choice.photo.digest], other))
                break
    return sorted(found, key=lambda one: (one.p_new or 0, -(one.score or 0), one.task.title))


def add_to(app: FastAPI, desk: Desk, pages: Pages) -> None:
    @app.get("/review/{task}/rest")
    def page(task: str, filters: Annotated[Filters, Depends()], start: Annotated[int | None, Query(ge=0)] = None) -> Response:
        """The whole of the dialog, or from a start on its tiles alone."""
        found = asked(desk, task)
        book = desk.book()
        tiles, every = rest(found, book, filters, desk.worker.health), book.cards.values()
        return pages.part(
            "rest" if start is None else "tiles", task=found, tiles=tiles, start=start or 0, length=BATCH, filters=filters,
            query=filters.query(), photo=book.of_photo[found.photos[0].digest], n_nine=min(MOST, len(found.choices)),
            sites=sorted({card.site for card in every if card.site}), sides=sides(every),
        )  # fmt: skip
