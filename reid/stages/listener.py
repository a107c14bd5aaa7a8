"""How stages tell what happens."""

from __future__ import annotations


class Listener:
    """Told what happens; the command line draws bars from it. This one is silent."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` `what` ("photos", "queries", ...) are finished."""

    def note(self, text: str) -> None:
        """Something the user should know, in one line."""
