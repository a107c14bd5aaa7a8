"""Which side a photo shows, as people say it on the pages of animals and encounters, and on that of a pair."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from ..catalogue import Decision
from ..catalogue.sides import VIEWS
from ..decision.sides import SideEstimate
from ..errors import DecisionError
from .answering import say_side
from .book import Book, Card
from .desk import Desk
from .filters import UNSIDED, Filters, behind, sides
from .pages import Pages, form, page_before
from .words import sentence

UNSIDED_PAGE = f"/catalogue?show={UNSIDED}"
PAGE = re.compile(rf"/(animals|encounters)/[0-9a-f]{{16}}|{re.escape(UNSIDED_PAGE)}")  # where sides are said, beside the review


def views(book: Book) -> tuple[str, ...]:
    """What is offered: left and right, what photos of the gallery show, and every other word for a side that is known."""
    return tuple(dict.fromkeys((*VIEWS[:2], *sides(book.cards.values()), *VIEWS)))


def unsaid(desk: Desk) -> list[Card]:
    """The photos of whose side nobody has said anything, not even that it cannot be told."""
    return [card for card in Filters(show=UNSIDED).of(desk.book().cards.values()) if not desk.said_side(card)]


def estimated(desk: Desk, cards: Iterable[Card]) -> list[tuple[Card, SideEstimate]]:
    """The photos whose side is estimated."""
    return [(card, guess) for card in cards if (guess := desk.estimate(card))]


def in_order(desk: Desk, filters: Filters, n_known: int, last: str = "") -> list[Card]:
    """The photos of the catalogue that fit, from the one behind the `last` that is shown already; of those without a side first those
    whose side is estimated, a side after the other and the least sure first, so that one which shows another stands out.

    Of the estimates only the first `n_known` that were made count for the order, and whatever has been said since, so that a page goes on
    where it stopped."""
    cards = desk.by_side(n_known) if filters.show == UNSIDED and not desk.blind else list(desk.book().cards.values())
    return behind(filters.of(cards), cards, last)


def accept(desk: Desk, cards: Iterable[Card]) -> None:
    """Each of these photos shows the side that is estimated, where nobody has said any: a decision each, which one Undo takes back.

    Raises DecisionError, StoreError."""
    evidence: dict[str, object] = {"page": UNSIDED_PAGE}
    every = {card.digest: card for card in cards}.values()
    if not estimated(desk, every):
        return
    with desk.log.together():
        for card, guess in estimated(desk, every):
            done = say_side(desk, [card], guess.side, {**evidence, "estimated": _told(guess)})
            if done is not None:
                evidence.setdefault("follows", done.number)


def _told(guess: SideEstimate) -> list[object]:
    """What was on the screen."""
    return [guess.side, round(guess.p, 3)]


def say(desk: Desk, given: Mapping[str, str], evidence: Mapping[str, object]) -> str:
    """Write down the `side` of the `photos` that are given, ids with blanks between; what is read aloud. Raises HTTPException."""
    cards = [card for id in given.get("photos", "").split() if (card := desk.book().cards.get(id)) is not None and card.digest]
    if not cards or "side" not in given:
        raise HTTPException(404, "these photos are not there any more, or have not been read yet")
    if len(cards) == 1 and (guess := desk.estimate(cards[0])):
        evidence = {**evidence, "estimated": _told(guess)}
    try:
        done = say_side(desk, cards, given["side"], evidence)
    except DecisionError as error:
        raise HTTPException(400, str(error)) from error
    return sentence(done, desk.book()) if done else "It stands so already."


def page_of(decision: Decision) -> str | None:
    """The page on which a side was said; None for one of a pair, and for any other decision."""
    page = decision.evidence.get("page")
    return page if isinstance(page, str) and PAGE.fullmatch(page) else None


def add_to(app: FastAPI, desk: Desk, pages: Pages) -> None:
    @app.post("/sides")
    def side(request: Request, given: Annotated[Mapping[str, str], Depends(form)]) -> Response:
        """Of one photo: the page stays as it is, for its control shows what was chosen. Of several: the page again."""
        page = page_before(request)
        page = UNSIDED_PAGE if page == "/catalogue" else page
        known = PAGE.fullmatch(page) is not None
        said = say(desk, given, {"page": page} if known else {})
        if known and request.headers.get("hx-target") == "main":
            return RedirectResponse(page, 303)
        return pages.part("sided", said=said)

    @app.post("/sides/estimated")
    def every(filters: Annotated[Filters, Depends()], given: Annotated[Mapping[str, str], Depends(form)]) -> Response:
        """The estimates of these photos, which the page of these filters shows, are right."""
        cards = desk.book().cards
        accept(desk, [cards[id] for id in given.get("photos", "").split() if id in cards])
        return RedirectResponse(f"/catalogue?{filters.query()}", 303)
