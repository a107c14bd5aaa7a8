"""Who may talk to the app, and what a browser may do with its pages. Every request passes here before any route.

A page of any website can make a browser send requests to this machine (DNS rebinding, forged requests). So a request needs the Host that
the app was opened under, no foreign Origin, and the token in a cookie; what changes anything needs an own Origin and a second token in a
header, which no other site can set. The token never stands in an address: a link holds a code that works once, behind the #, which
browsers do not send; a script posts it and gets the cookie.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable
from hashlib import sha256
from importlib import resources

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = "/open"  # where a code becomes a cookie
PUBLIC = frozenset((OPEN, "/static/open.js", "/static/app.css", "/static/icon.svg"))  # needs no token and tells nothing
SAFE = frozenset(("GET", "HEAD"))
CLOSED = resources.files(__package__).joinpath("static", "closed.html").read_text("utf-8")
MOST_BYTES = 1 << 20  # of a request's body: 60,000 photos whose sides are accepted at once
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Door:
    """The token of one run, and the codes that hand it out."""

    def __init__(self, host: str, port: int, secure: bool = False):
        shown = f"[{host}]" if ":" in host else host
        names = {shown, "127.0.0.1", "localhost", "[::1]"} if is_loopback(host) else {shown}
        self.scheme, self.port = "https" if secure else "http", port
        usual = 443 if secure else 80
        self.hosts = frozenset(f"{name}:{port}" for name in names) | (frozenset(names) if port == usual else frozenset())
        self.origins = frozenset(f"{self.scheme}://{name}" for name in self.hosts)
        self.address = f"{self.scheme}://{shown}:{port}"
        self.is_local = is_loopback(host)
        self.cookie = f"reid-{port}"  # cookies are shared by all ports of a host
        self._token = secrets.token_urlsafe(24)
        self.csrf = hmac.new(self._token.encode(), b"csrf", sha256).hexdigest()
        self._codes: set[str] = set()
        self._lock = threading.Lock()
        self.used: Callable[[], None] = lambda: None  # called when a code has been used

    def link(self) -> str:
        """A link that lets one browser in, once."""
        code = secrets.token_urlsafe(24)
        with self._lock:
            self._codes.add(code)
        return f"{self.address}{OPEN}#{code}"

    def exchange(self, code: str) -> str | None:
        """The cookie (a Set-Cookie header) for a code that nobody has used; None for any other."""
        with self._lock:
            if code not in self._codes:
                return None
            self._codes.remove(code)
        self.used()
        return f"{self.cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if self.scheme == "https" else "")

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is refused, with its status; None where it may pass."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        is_safe = scope["method"] in SAFE
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 403, f"this is reid at {self.address}, and the request names another host"
        if len(origins) > 1 or (origins and origins[0] not in self.origins) or not (is_safe or origins):
            return 403, "the request comes from another site"
        if scope["path"] in PUBLIC:  # a link may stand anywhere
            return None
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "the request comes from another site"
        if not hmac.compare_digest(self._given(headers).encode(), self._token.encode()):
            return 401, "this page opens by the link that `reid review` prints; each link works once"
        if not is_safe and not hmac.compare_digest(headers.get("x-csrf", "").encode(), self.csrf.encode()):
            return 403, "this page is of an earlier run; load it again"
        return None

    def _given(self, headers: Headers) -> str:
        return cookie_parser("; ".join(headers.getlist("cookie"))).get(self.cookie, "")


class Guard:
    """ASGI: refuses what the door refuses, and sets the headers of every answer."""

    def __init__(self, app: ASGIApp, door: Door):
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            refused = self.door.refusal(scope)
            answer: ASGIApp = self.app if refused is None else PlainTextResponse(f"reid: {refused[1]}\n", refused[0])
            if refused and refused[0] == 401 and "text/html" in Headers(scope=scope).get("accept", ""):  # somebody looks at it
                answer = HTMLResponse(CLOSED, 401)
            await answer(scope, receive, self._with_headers(send))
        else:  # no websockets here
            await send({"type": "websocket.close", "code": 1008})

    def _with_headers(self, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return guarded


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
