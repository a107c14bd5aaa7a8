"""Which side a photo shows, as people say it on the pages of animals and encounters, and on that of a pair."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from ..catalogue import Decision
from ..catalogue.sides import VIEWS
from ..catalogue.values import counted
from ..errors import DecisionError
from .answering import say_side
from .book import Book
from .desk import Desk
from .filters import sides
from .pages import Pages, form

PAGE = re.compile(r"/(animals|encounters)/[0-9a-f]{16}")  # where sides are said, beside the review


def views(book: Book) -> tuple[str, ...]:
    """What is offered: left and right, what photos of the gallery show, and every other word for a side that is known."""
    return tuple(dict.fromkeys((*VIEWS[:2], *sides(book.cards.values()), *VIEWS)))


def say(desk: Desk, given: Mapping[str, str], evidence: Mapping[str, object]) -> str:
    """Write down the `side` of the `photos` that are given, ids with blanks between; what is read aloud. Raises HTTPException."""
    cards = [card for id in given.get("photos", "").split() if (card := desk.book().cards.get(id)) is not None and card.digest]
    if not cards or "side" not in given:
        raise HTTPException(404, "these photos are not there any more, or have not been read yet")
    if len(cards) == 1 and (guess := desk.estimate(cards[0])):
        evidence = {**evidence, "estimated": [guess.side, round(guess.p, 3)]}  # what was on the screen
    try:
        done = say_side(desk, cards, given["side"], evidence)
    except DecisionError as error:
        raise HTTPException(400, str(error)) from error
    return f"Recorded: side {given['side'] or 'not known'}, {counted(len(done.photos), 'photo')}." if done else "It stands so already."


def page_of(decision: Decision) -> str | None:
    """The page on which a side was said; None for one of a pair, and for any other decision."""
    page = decision.evidence.get("page")
    return page if isinstance(page, str) and PAGE.fullmatch(page) else None


def add_to(app: FastAPI, desk: Desk, pages: Pages) -> None:
    @app.post("/sides")
    def side(request: Request, given: Annotated[Mapping[str, str], Depends(form)]) -> Response:
        """Of one photo: the page stays as it is, for its control shows what was chosen. Of several: the page again."""
        page = urlsplit(request.headers.get("hx-current-url", "")).path
        known = PAGE.fullmatch(page) is not None
        said = say(desk, given, {"page": page} if known else {})
        if known and request.headers.get("hx-target") == "main":
            return RedirectResponse(page, 303)
        return pages.part("sided", said=said)
