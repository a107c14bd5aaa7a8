"""The app: a guard before everything, then the routes. There is no other way in, and no documentation page of the framework."""

from __future__ import annotations

from importlib import resources
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException

from ..errors import PhotoError, ReidError
from . import browsing, further, inbox, pairs, sides, twins
from .desk import Desk
from .guard import OPEN, Door, Guard
from .pages import Pages, encoded, form
from .pictures import Size, picture

STATIC = {  # what is served of the package, by name: no path from outside is ever joined to a folder
    "app.css": "text/css", "app.js": "text/javascript", "pair.js": "text/javascript", "open.js": "text/javascript",
    "add.js": "text/javascript",
    "htmx.min.js": "text/javascript", "icon.svg": "image/svg+xml",
}  # fmt: skip


def create_app(desk: Desk, door: Door) -> Guard:
    """The ASGI application of one desk. Its routes are in `Guard.app.routes`."""
    app = FastAPI(title="reid", openapi_url=None, docs_url=None, redoc_url=None)
    pages = Pages(desk, door)
    files = {name: resources.files(__package__).joinpath("static", name).read_bytes() for name in STATIC}

    @app.get(OPEN)
    def open_page() -> Response:
        return pages.part("open")

    @app.post(OPEN)
    def open_door(given: Annotated[dict[str, str], Depends(form)]) -> Response:
        cookie = door.exchange(given.get("code", ""))
        if cookie is None:
            raise HTTPException(401, "this link has been used; `reid review` prints another")
        return Response(status_code=204, headers={"Set-Cookie": cookie})

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return Response(files[name], media_type=STATIC[name], headers={"Cache-Control": "no-cache"})

    @app.get("/photos/{photo}/{size}")
    def photo(photo: str, size: Size) -> Response:
        card = desk.book().cards.get(photo)
        if card is None:
            raise HTTPException(404)
        try:
            data = picture(card.ref, size, desk.session.work)
        except PhotoError as error:
            raise HTTPException(404) from error
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    pairs.add_to(app, desk, pages)
    further.add_to(app, desk, pages)
    browsing.add_to(app, desk, pages)
    sides.add_to(app, desk, pages)
    twins.add_to(app, desk, pages)
    inbox.add_to(app, desk, pages, door)

    async def refused(request: Request, error: Exception) -> Response:
        status, detail = (
            (error.status_code, error.detail) if isinstance(error, AnyHTTPException) else (400, "this request makes no sense here")
        )
        return PlainTextResponse(encoded(f"reid: {detail}\n"), status)

    async def failed(request: Request, error: Exception) -> Response:
        return PlainTextResponse(encoded(f"reid: {error}\n"), 500)

    app.add_exception_handler(AnyHTTPException, refused)
    app.add_exception_handler(RequestValidationError, refused)
    app.add_exception_handler(ReidError, failed)
    return Guard(app, door)
