"""Two animals that somebody takes for one: chosen on the page of one of them, and asked about like any other pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import RedirectResponse, Response

from ..errors import DecisionError
from .book import Book
from .desk import Desk
from .filters import Filters, behind, sides
from .pages import Pages, form

BATCH = 27  # animals that are loaded at once


def add_to(app: FastAPI, desk: Desk, pages: Pages) -> None:
    @app.get("/animals/{one}/others")  # `animal` is a filter
    def others(one: str, filters: Annotated[Filters, Depends()], last: str | None = None) -> Response:
        """The whole of the dialog, or the tiles behind the last that is shown; an empty `last` for the first ones."""
        book = desk.book()
        name, every = _name(book, one), book.cards.values()
        found = [card for card in replace(filters, show="animals").of(every) if card.animal != name]
        return pages.part(
            "others" if last is None else "other_tiles", id=one, called=name, photo=book.animals[name][-1], filters=filters,
            query=filters.query(), cards=behind(found, every, last or ""), length=BATCH,
            sites=sorted({card.site for card in every if card.site}), sides=sides(every),
        )  # fmt: skip

    @app.post("/animals/{animal}/same")
    def same(animal: str, given: Annotated[Mapping[str, str], Depends(form)]) -> Response:
        book = desk.book()
        card = book.cards.get(given.get("photo", ""))
        if card is None or card.animal is None:
            raise HTTPException(404, "there is no such animal any more")
        try:
            return RedirectResponse(f"/review/{desk.ask(_name(book, animal), card.animal).id}", 303)
        except DecisionError as error:
            return pages.told(str(error))


def _name(book: Book, animal: str) -> str:
    name = book.animal(animal)
    if name is None:
        raise HTTPException(404, "there is no such animal; it may have another name now")
    return name
