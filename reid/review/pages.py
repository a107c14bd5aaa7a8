"""Templates to answers. A request of htmx gets what stands in <main>; any other gets the whole page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..decision.reasons import percent
from .desk import Desk
from .guard import MOST_BYTES, Door
from .tasks import opaque

KEYS = (
    (("Y",), "same animal"),
    (("N",), "different animals; the next candidate follows"),
    (("U",), "cannot tell"),
    (("W",), "new animal: give it a name, once you have seen the further candidates"),
    (("B",), "further candidates: look through the rest of the catalogue"),
    (("Space",), "skip, and come back later"),
    (("Enter",), "confirm what is proposed, or go on"),
    (("Ctrl + Z",), "undo, as often as you like"),
    (("1", "…", "9"), "choose a candidate"),
    (("Shift + J", "Shift + K"), "the next nine candidates, the nine before"),
    (("J", "↓"), "next candidate"),
    (("K", "↑"), "candidate before"),
    (("→", "←"), "next photo of the candidate, the one before"),
    (("[", "]"), "photos of the query"),
    (
        ("S", "Shift + S"),
        "the side that the query shows, the candidate: then L left, R right, D dorsal, V ventral, U not known, Enter as estimated",
    ),
    (("A",), "the candidate's other photos, dates and places"),
    (("Z",), "zoom in, and out again"),
    (("+", "-"), "zoom by steps"),
    (("L",), "move both photos together, or each by itself"),
    (("M",), "lines and marks, marks alone, neither"),
    (("E",), "marks of the other features"),
    (("C",), "contour: where the animal was found; if that is wrong, reid review --no-segment uses whole photos"),
    (("R", "Shift + R"), "rotate the query, the candidate"),
    (("F", "Shift + F"), "mirror the query, the candidate"),
    (("0",), "everything as it was"),
    (("O",), "add photos"),
    (("?",), "this list"),
)


class Pages:
    """Renders for one desk. Everything from outside is escaped by Jinja."""

    def __init__(self, desk: Desk, door: Door):
        self.desk = desk
        self.templates = Environment(
            loader=PackageLoader("reid.review"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self.templates.filters.update(percent=percent, count=_count, when=_when, lasting=_lasting)
        self.templates.filters.update({f"{what}_id": partial(opaque, what) for what in ("animal", "encounter")})
        self.templates.tests.update(estimated=lambda card: desk.estimate(card) is not None)
        self.templates.globals.update(desk=desk, door=door, csrf=door.csrf, keys_shown=KEYS, here="")

    def page(
        self, request: Request, template_name: str, /, *, status: int = 200, said: str = "", url: str | None = None, **about: Any
    ) -> HTMLResponse:
        """`said` is read aloud by a screen reader; `url`, or else that of the page, becomes the browser's address."""
        template = self.templates.get_template(f"{template_name}.html.jinja")
        if "hx-request" not in request.headers or "hx-history-restore-request" in request.headers:
            return HTMLResponse(encoded(template.render(**about)), status)
        context = template.new_context({**about, "said": said})
        parts = ["<title>", *template.blocks["title"](context), f" · {self.templates.filters['e'](self.desk.name)}</title>"]
        parts += template.blocks["main"](context)
        parts += self.templates.get_template("said.html.jinja").render(said=said)
        parts += self.templates.get_template("outdated.html.jinja").render(oob=True)
        here = page_before(request) or request.url.path
        if url is None and request.method == "GET" and here != request.url.path:
            url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return HTMLResponse(encoded("".join(parts)), status, {"HX-Push-Url": url} if url else None)

    def told(self, text: str) -> HTMLResponse:
        """Nothing was recorded, and why: the page stays, but for what Undo says."""
        answer = self.part("sided", status=409, said=text)
        answer.headers["HX-Reswap"] = "none"
        return telling(answer, text)

    def part(self, name: str, *, status: int = 200, **about: Any) -> HTMLResponse:
        """A template that is a part of a page."""
        return HTMLResponse(encoded(self.templates.get_template(f"{name}.html.jinja").render(**about)), status)


def telling(answer: HTMLResponse, text: str) -> HTMLResponse:
    """A page beside which something is told, where there is anything to tell."""
    if text:
        answer.headers["HX-Trigger"] = json.dumps({"told": text})
    return answer


def encoded(text: str) -> bytes:
    """What the browser is sent, whatever bytes the names of files and folders in it are made of."""
    return text.encode("utf-8", "backslashreplace")


def page_before(request: Request) -> str:
    """The path of the page that htmx asks from; empty where nothing that can be read says it."""
    try:
        return urlsplit(request.headers.get("hx-current-url", "")).path
    except ValueError:
        return ""


async def form(request: Request) -> Mapping[str, str]:
    """The fields of a posted form, each once. A dependency of routes."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise HTTPException(413, "too much")
    try:
        return dict(parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50))
    except ValueError as error:
        raise HTTPException(400, "too many fields") from error


def _count(n: int, one: str, more: str) -> str:
    return f"{n:,} {one if n == 1 else more}"


def _lasting(seconds: float) -> str:
    minutes = round(seconds / 60)
    hours = f"{minutes // 60} h {minutes % 60} min" if minutes < 600 else f"{round(minutes / 60)} h"
    return "less than a minute" if seconds < 50 else f"about {max(1, minutes)} min" if minutes < 60 else f"about {hours}"


def _when(moment: datetime) -> str:
    """In the time of this machine."""
    local = moment.astimezone()
    day = "" if local.date() == datetime.now(UTC).astimezone().date() else f"{local.day} {local:%B %Y}, "
    return f"{day}{local:%H:%M}"
