"""How work tells what happens."""

from __future__ import annotations

from collections.abc import Iterable


class Listener:
    """Told what happens; the command line draws bars from it. This one is silent."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` `what` ("photos", "queries", ...) are finished."""

    def note(self, text: str) -> None:
        """Something the user should know, in one line."""

    def tell(self, texts: Iterable[str]) -> None:
        """A note of each."""
        for text in texts:
            self.note(text)


class Ear(Listener):
    """Of a process that works for another: keeps what is noted until it is asked for."""

    def __init__(self) -> None:
        self._notes: list[str] = []

    def note(self, text: str) -> None:
        self._notes.append(text)

    def heard(self) -> list[str]:
        """What was noted since this was last asked."""
        notes, self._notes = self._notes, []
        return notes


EAR = Ear()  # this process's
