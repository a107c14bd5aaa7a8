"""From a desk to a page in the browser: the socket, the link, the server, and what a local network needs."""

from __future__ import annotations

import html
import os
import socket
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn

from ..errors import SettingsError
from .app import create_app
from .desk import Desk
from .guard import Door, is_loopback

PORT = 8420
EVERYWHERE = frozenset(("", "0", "0.0.0.0", "::", "*"))  # no Host could be told from another
IN_NETWORK = (
    "other devices of this network reach the app at {address}. Whoever has a link sees the photos and decides; a link works once, and "
    "lets its browser in until the app stops"
)
WITHOUT_TLS = (
    "there is no encryption: whoever listens in this network can read everything, and act as you. Use it only in a network of your own"
)


def check_host(host: str, cert: Path | None, key: Path | None, without_tls: bool) -> None:
    """Raises SettingsError for an address that cannot be opened, or not like this."""
    if (cert is None) != (key is None):
        raise SettingsError("--cert and --key go together")
    for file in filter(None, (cert, key)):
        if not file.is_file():
            raise SettingsError(f"there is no file {file}")
    if is_loopback(host):
        return
    if host in EVERYWHERE:
        raise SettingsError(f"--host {host} is every address at once; name the one that this machine has in the network")
    if cert is None and not without_tls:
        raise SettingsError(
            f"--host {host} opens the app to a network: give --cert and --key, so that it is encrypted, or --without-tls, which admits "
            "that whoever listens can read everything and act as you"
        )


def serve(
    desk: Desk, *, host: str = "127.0.0.1", port: int | None = None, cert: Path | None = None, key: Path | None = None,
    browser: bool = True, say: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Serve until interrupted. Without a `port`, PORT or any that is free. Raises SettingsError for an address that cannot be had."""
    with _bound(host, port) as bound:
        door = Door(host, bound.getsockname()[1], secure=cert is not None)
        door.used = lambda: say(f"for another browser: {door.link()}")
        config = uvicorn.Config(
            create_app(desk, door), log_level="warning", access_log=False, server_header=False, proxy_headers=False, ws="none",
            lifespan="off", timeout_graceful_shutdown=2, ssl_certfile=cert, ssl_keyfile=key,
        )  # fmt: skip
        desk.worker.start()
        with tempfile.TemporaryDirectory(prefix="reid-") as folder:
            say(f"reid is at {door.address}; Ctrl+C stops it, and everything that was answered is kept")
            say(f"open {door.link()}")
            if not is_loopback(host):
                say(IN_NETWORK.format(address=door.address))
                if cert is None:
                    say(WITHOUT_TLS)
            if browser:
                webbrowser.open(_redirect(Path(folder), door.link()).as_uri())
            try:
                uvicorn.Server(config).run(sockets=[bound])
            except KeyboardInterrupt:
                pass  # the usual end
            finally:
                desk.worker.stop()


def _bound(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in (PORT, 0) if port is None else (port,):
        bound = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere it lets another program take the port over
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, wanted))
            bound.listen(128)  # a browser that is quicker than the server waits
            return bound
        except OSError as error:
            bound.close()
            if port is not None or wanted == 0:
                where = f"{host}:{port}" if port else host
                raise SettingsError(f"{where} cannot be used ({error.strerror or error}); name another --port or --host") from error
    raise AssertionError


def _redirect(folder: Path, link: str) -> Path:
    """A file that only this user can read and that leads to the link: a command line is in the list of processes, for all to see."""
    file = folder / "open.html"
    file.touch(mode=0o600)
    file.write_text(f'<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={html.escape(link)}">')
    return file
