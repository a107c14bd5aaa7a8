"""Routes of the pages to look at: the catalogue, an animal, an encounter, the health of the gallery, the history of decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from ..catalogue import Decision, Kind
from ..decision.reasons import percent
from ..errors import DecisionError
from ..imaging import exif
from .agreement import agreements
from .book import Book, Card
from .desk import Desk
from .drawings import Seen, chart, timeline
from .filters import Filters, sides
from .further import ghosts
from .pages import Pages
from .pairs import SAID
from .sides import views
from .tasks import Topic

BATCH = 60  # photos that are loaded at once
HISTORY = 200  # decisions shown at first
NORTH = ("decimallatitude", "latitude", "lat", "gps_latitude", "gpslatitude")
EAST = ("decimallongitude", "longitude", "lon", "lng", "long", "gps_longitude", "gpslongitude")
KINDS = {
    **SAID, Kind.NAME: "called", Kind.SPLIT: "split off", Kind.NOT_THIS_ANIMAL: "not this animal", Kind.SIDE: "side", Kind.DATE: "date",
    Kind.PHOTOBOMB: "another animal in the picture", Kind.SCENERY: "only the background matches", Kind.UNDO: "taken back",
}  # fmt: skip


@dataclass(frozen=True)
class Animal:
    """What is known of one."""

    name: str
    facts: list[tuple[str, object]]
    occasions: list[tuple[str | None, tuple[Card, ...]]]  # the newest first; without an encounter: in review
    timeline: Markup | None
    map: Markup | None


@dataclass(frozen=True)
class Line:
    """A decision in the history."""

    decision: Decision
    what: str
    photos: list[str]
    evidence: str
    undone: bool
    may_undo: bool


def add_to(app: FastAPI, desk: Desk, pages: Pages) -> None:
    @app.get("/")
    def start() -> Response:
        return RedirectResponse("/review" if desk.worker.has_photos or desk.waiting() else "/catalogue", 303)

    @app.get("/progress")
    def progress(request: Request) -> Response:
        return pages.part("progress")

    @app.get("/catalogue")
    def catalogue(request: Request, filters: Annotated[Filters, Depends()]) -> Response:
        every = desk.book().cards.values()
        cards = filters.of(every)
        return pages.page(
            request, "catalogue", here="/catalogue", filters=filters, query=filters.query(), chosen=filters != Filters(), start=0,
            length=BATCH, cards=cards, n_all=len(every), n_animals=len({card.animal for card in cards if card.animal}),
            sites=sorted({card.site for card in every if card.site}), sides=sides(every),
            dated=any(card.ref.date for card in every),
        )  # fmt: skip

    @app.get("/catalogue/more")
    def more(filters: Annotated[Filters, Depends()], start: Annotated[int, Query(ge=0)] = 0) -> Response:
        return pages.part("batch", cards=filters.of(desk.book().cards.values()), start=start, length=BATCH, query=filters.query())

    @app.get("/animals/{animal}")
    def animal(request: Request, animal: str) -> Response:
        book = desk.book()
        found = _animal(book, animal)
        digests = {card.digest for card in book.animals[found.name]}
        own = [one for one in _seen_by(desk, book) if digests & {photo.digest for photo in one.photos}]
        return pages.page(
            request, "animal", here="/catalogue", animal=found, decisions=_lines(book, own[::-1], desk), views=views(book),
            may_undo=desk.may_undo(),
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
            views=views(book), may_undo=desk.may_undo(),
        )  # fmt: skip

    @app.get("/health")
    def health(request: Request) -> Response:
        doubts = [task for task in desk.tasks() if task.topic not in (Topic.QUERY, Topic.SECOND)]
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
            ("Photos", len(desk.gallery.references)),
            ("Animals", len(book.animals)),
            ("Seen once", len(single)),
            ("Calibrated", said),
            ("Decisions", len([one for one in book.effective if book.only in (None, one.observer)])),
        )
        return pages.page(
            request, "health", here="/health", facts_shown=shown, contradictions=[str(one) for one in book.contradictions], doubts=cards,
            single=[name for name in single if name in book.animals], failures=state.failures, notes=state.notes,
            ghosts=ghosts(desk.tasks(), book),
        )  # fmt: skip

    @app.get("/history")
    def history(request: Request, most: Annotated[int, Query(ge=1)] = HISTORY) -> Response:
        return _history(request, most)

    @app.post("/history/{number}/undo")
    def take_back(request: Request, number: int) -> Response:
        try:
            desk.log.undo(desk.observer, number)
        except DecisionError as error:
            return _history(request, HISTORY, str(error), 409)
        return _history(request, HISTORY)

    @app.get("/agreement")
    def agreement(request: Request) -> Response:
        found = [one for one in agreements(desk.book().effective) if not desk.blind or desk.observer in one.observers]
        return pages.page(request, "agreement", here="/history", found=found, SAID=SAID)

    def _history(request: Request, most: int, problem: str = "", status: int = 200) -> Response:
        book = desk.book()
        lines = _lines(book, _seen_by(desk, book)[::-1], desk)
        return pages.page(
            request, "history", status=status, here="/history", problem=problem, decisions=lines[:most],
            n_more=max(0, len(lines) - most), may_undo=desk.may_undo(),
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
    named = {name.replace(" ", "").casefold(): text for name, text in card.ref.columns.items()}
    try:
        north = float(next(named[name] for name in NORTH if named.get(name)))
        east = float(next(named[name] for name in EAST if named.get(name)))
    except (StopIteration, ValueError):
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


def _lines(book: Book, decisions: Iterable[Decision], desk: Desk) -> list[Line]:
    counting = {one.number for one in book.effective}
    found = []
    for one in decisions:
        is_undo = one.kind is Kind.UNDO
        value = one.value or ("not known" if one.kind is Kind.SIDE else "")
        what = f"{KINDS[one.kind]} {one.undoes}" if is_undo else " ".join(filter(None, (KINDS[one.kind], value)))
        p, score = one.evidence.get("p_same"), one.evidence.get("score")
        evidence = [f"P {percent(p)}"] if isinstance(p, float) else []
        evidence += [f"score {score:.2f}"] if isinstance(score, float) else []
        evidence += ["blind"] if one.evidence.get("blind") else []
        undone = not is_undo and one.number not in counting
        photos = [photo.image_id for photo in one.photos[:4]] + (["…"] if len(one.photos) > 4 else [])
        found.append(Line(one, what, photos, ", ".join(evidence), undone, not is_undo and not undone))
    return found
