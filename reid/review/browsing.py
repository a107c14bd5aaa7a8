"""Routes of the pages to look at: the catalogue, an animal, an encounter, the health of the gallery, the history of decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from ..catalogue import Decision, Kind
from ..catalogue.columns import DEGREES
from ..errors import DecisionError
from ..formats.described import cell
from ..imaging import exif
from ..records import UNNAMED
from .agreement import agreements
from .answering import Alike, rename, take_back
from .book import Book, Card
from .desk import Desk
from .drawings import Seen, chart, timeline
from .filters import SHOWN, Filters, sides
from .further import ghosts
from .naming import proposed_name
from .pages import Pages, form
from .sides import estimated, in_order, views
from .tasks import Topic, opaque
from .words import SAID, lines

BATCH = 60  # photos that are loaded at once
HISTORY = 200  # decisions shown at first


@dataclass(frozen=True)
class Animal:
    """What is known of one."""

    name: str
    facts: list[tuple[str, object]]
    occasions: list[tuple[str | None, tuple[Card, ...]]]  # the newest first; without an encounter: in review
    timeline: Markup | None
    map: Markup | None


def add_to(app: FastAPI, desk: Desk, pages: Pages) -> None:
    @app.get("/")
    def start() -> Response:
        return RedirectResponse("/review" if desk.worker.has_photos or desk.waiting() else "/catalogue", 303)

    @app.get("/progress")
    def progress(request: Request) -> Response:
        return pages.part("progress")

    @app.post("/gallery")
    def read_again() -> Response:
        """The table has changed."""
        desk.worker.read_again()
        return Response(status_code=204, headers={"HX-Redirect": "/review"})

    @app.get("/catalogue")
    def catalogue(request: Request, filters: Annotated[Filters, Depends()]) -> Response:
        every, n_known = desk.book().cards.values(), len(desk.worker.sides)
        cards = in_order(desk, filters, n_known)
        return pages.page(
            request, "catalogue", here="/catalogue", filters=filters, query=filters.query(), chosen=filters != Filters(), n_known=n_known,
            length=BATCH, cards=cards, SHOWN=SHOWN, n_all=len(every), n_animals=len({card.animal for card in cards if card.animal}),
            n_unnamed=len([card for card in cards if not card.animal]), n_estimated=len(estimated(desk, cards)),
            sites=sorted({card.site for card in every if card.site}), sides=sides(every), views=views(desk.book()),
            dated=any(card.ref.date for card in every),
        )  # fmt: skip

    @app.get("/catalogue/more")
    def more(filters: Annotated[Filters, Depends()], last: str = "", known: Annotated[int, Query(ge=0)] = 0) -> Response:
        """What follows the last photo that is shown; `known` sides were estimated when the page was made."""
        return pages.part(
            "batch", cards=in_order(desk, filters, known, last), n_known=known, length=BATCH, query=filters.query(), filters=filters,
            views=views(desk.book()),
        )  # fmt: skip

    @app.get("/animals/{animal}")
    def animal(request: Request, animal: str) -> Response:
        return _shown(request, animal)

    @app.post("/animals/{animal}/name")
    def name(request: Request, animal: str, given: Annotated[Mapping[str, str], Depends(form)]) -> Response:
        """Call it otherwise; its page has another address then, and Undo leads back to this one."""
        photo = desk.book().cards.get(given.get("photo", ""))
        called = desk.book().animal(animal)
        try:
            if desk.blind:
                raise DecisionError("who judges blind names no animals")
            if called is None or (photo is not None and photo.animal != called):  # or another is called so by now
                raise DecisionError("somebody else has named this animal meanwhile; nothing was recorded")
            done = rename(desk, called, given.get("name", ""), {"page": f"/animals/{animal}"}, is_meant="meant" in given)
        except Alike as error:
            return _shown(request, animal, status=409, alike=error)
        except DecisionError as error:
            now = photo and desk.book().cards[photo.id].animal
            return _shown(request, opaque("animal", now) if now else animal, status=409, problem=str(error))
        url = f"/animals/{opaque('animal', desk.book().of_photo[done.photos[0].digest].animal or '')}" if done else None
        return _shown(request, url.rpartition("/")[2] if url else animal, url=url)

    def _shown(
        request: Request, animal: str, *, status: int = 200, url: str | None = None, problem: str = "", alike: Alike | None = None
    ) -> Response:
        book = desk.book()
        found = _animal(book, animal)
        digests = {card.digest for card in book.animals[found.name]}
        own = [one for one in _seen_by(desk, book) if digests & {photo.digest for photo in one.photos}]
        return pages.page(
            request, "animal", status=status, url=url, said=desk.said(desk.last()) if url else "", here="/catalogue", animal=found,
            decisions=lines(book, own[::-1]), views=views(book), problem=problem, alike=alike,
            is_unnamed=(is_unnamed := UNNAMED.fullmatch(found.name) is not None),
            proposed=proposed_name(book.animals) if is_unnamed else found.name,
        )  # fmt: skip

    @app.get("/animals/{animal}/brief")
    def brief(animal: str) -> Response:
        return pages.part("animal_brief", animal=_animal(desk.book(), animal))

    @app.get("/encounters/{encounter}")
    def encounter(request: Request, encounter: str) -> Response:
        book = desk.book()
        name = book.encounter(encounter)
        if name is None:
            raise HTTPException(404, "there is no such encounter")
        cards = book.encounters[name]
        shown = _facts(("Animals", ", ".join(dict.fromkeys(card.animal or "unnamed" for card in cards))), ("Photos", len(cards)),
                       ("Dates", _span(cards)), ("Places", _places(cards)), ("Sides", _list(sides(cards))))  # fmt: skip
        return pages.page(
            request, "encounter", here="/catalogue", name=name, cards=cards, facts_shown=shown, map=chart(_seen({name: cards})),
            views=views(book),
        )  # fmt: skip

    @app.get("/health")
    def health(request: Request) -> Response:
        doubts = [task for task in desk.tasks() if task.topic not in (Topic.QUERY, Topic.SECOND) and not desk.is_own(task)]
        book, state, known = desk.book(), desk.worker.state, desk.worker.health
        cards = [
            (task, book.of_photo[task.photos[0].digest], book.of_photo[task.choices[0].reference.digest], book.is_done(task))
            for task in doubts
        ]
        single = (
            known.single_encounter
            if known
            else [name for name, own in book.animals.items() if len({card.ref.encounter for card in own}) == 1]
        )
        calibration = desk.session.judges.calibration if desk.worker.is_ready else None
        said = (
            "looked up once the gallery is ready"
            if not desk.worker.is_ready
            else "no"
            if calibration is None
            else f"on {calibration.n_known} encounters"
        )
        shown = _facts(
            ("Photos", len(book.cards)),
            ("Photos without a name", len([card for card in book.cards.values() if not card.animal])),
            ("Animals", len(book.animals)),
            ("Seen once", len(single)),
            ("Calibrated", said),
            ("Decisions", len([one for one in book.effective if book.only in (None, one.observer)])),
        )
        return pages.page(
            request, "health", here="/health", facts_shown=shown, contradictions=[str(one) for one in book.contradictions], doubts=cards,
            single=[name for name in single if name in book.animals], failures=state.failures,
            notes=[*state.notes, *filter(None, [desk.worker.trouble])],
            ghosts=ghosts(desk.tasks(), book),
        )  # fmt: skip

    @app.get("/history")
    def history(request: Request, most: Annotated[int, Query(ge=1)] = HISTORY) -> Response:
        return _history(request, most)

    @app.post("/history/{number}/undo")
    def taken_back(request: Request, number: int) -> Response:
        try:
            seen = {one.number: one for one in _seen_by(desk, desk.book())}
            if desk.blind and number not in seen:
                raise DecisionError(f"decision {number} is none of yours")
            by_itself = number in seen and seen[number].kind is Kind.SIDE  # an estimate among others
            undone = take_back(desk, number, by_itself=by_itself)
        except DecisionError as error:
            return _history(request, HISTORY, str(error), 409)
        return _history(request, HISTORY, str(undone))

    @app.get("/agreement")
    def agreement(request: Request) -> Response:
        found = [one for one in agreements(desk.book().effective) if not desk.blind or desk.observer in one.observers]
        return pages.page(request, "agreement", here="/history", found=found, SAID=SAID)

    def _history(request: Request, most: int, problem: str = "", status: int = 200) -> Response:
        book = desk.book()
        every = lines(book, _seen_by(desk, book)[::-1])
        return pages.page(
            request, "history", status=status, here="/history", problem=problem, decisions=every[:most], n_more=max(0, len(every) - most),
        )  # fmt: skip


def _seen_by(desk: Desk, book: Book) -> list[Decision]:
    """The history, of which a second observer sees their own part."""
    return [one for one in book.history if not desk.blind or one.observer == desk.observer]


def _animal(book: Book, id: str) -> Animal:
    name = book.animal(id)
    if name is None:
        raise HTTPException(404, "there is no such animal; it may have another name now")
    cards = book.animals[name]
    occasions: dict[str | None, list[Card]] = {}
    for card in reversed(cards):
        occasions.setdefault(None if card.is_new else card.ref.encounter, []).append(card)
    grouped = [(key, tuple(own)) for key, own in occasions.items()]
    seen = _seen(dict(grouped))
    facts = _facts(("Photos", len(cards)), ("Encounters", len(grouped)), ("First seen", _days(cards)[:1]), ("Last seen", _days(cards)[-1:]),
                   ("Sides", _list(sides(cards))), ("Places", _places(cards)))  # fmt: skip
    return Animal(name, facts, grouped, timeline(seen), chart(seen))


def _seen(occasions: dict[str | None, tuple[Card, ...]] | dict[str, tuple[Card, ...]]) -> list[Seen]:
    """Those that are dated, with where they were."""
    found = []
    for cards in occasions.values():
        day = min(_days(cards), default=None)
        if day is not None:
            position = next((place for card in cards if (place := _position(card)) is not None), None)
            said = " · ".join(filter(None, (day.isoformat(), _places(cards))))
            found.append(Seen(day, tuple(sides(cards)), said, position))
    return found


def _position(card: Card) -> tuple[float, float] | None:
    """Degrees north and east, by the table or by the photo's header."""
    try:
        north, east = (float(cell(card.ref.columns, *names)) for names in DEGREES)
    except ValueError:
        return exif.read(card.ref.path).position
    return (north, east) if abs(north) <= 90 and abs(east) <= 180 else None


def _days(cards: Sequence[Card]) -> list[date]:
    return sorted(card.ref.date for card in cards if card.ref.date)


def _span(cards: Sequence[Card]) -> str:
    days = _days(cards)
    return "" if not days else days[0].isoformat() if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _places(cards: Iterable[Card]) -> str:
    return _list(card.site for card in cards)


def _list(words: Iterable[str]) -> str:
    return ", ".join(sorted(set(filter(None, words))))


def _facts(*facts: tuple[str, object]) -> list[tuple[str, object]]:
    """Those that say anything."""
    return [(name, value[0] if isinstance(value, list) else value) for name, value in facts if value or value == 0]
