"""What an engine does, and the one that does it here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Sequence[Item]], Iterable[Result]]  # a result for each item, in their order


class Engine(Protocol):
    """Where the work of stages is done."""

    def map(
        self,
        work: Work[Item, Result],
        items: Sequence[Item],
        what: str,
        *,
        key: Callable[[Item], str],
        size: int = 1,
        otherwise: Callable[[Item, str], Result] | None = None,
    ) -> Iterator[Result]:
        """The result of each item, in their order, whichever is ready first. `what` they are, for people.

        Items whose `key`, a name of their content, is the same are never worked on at once. A worker gets `size` of them at a time, and
        what it takes for them is lost if it dies, and done again; an item of which workers die has the result `otherwise`, which is told
        why. Raises what `work` raises, and EngineError."""
        ...

    def ahead(
        self, work: Work[Item, Result], items: Callable[[], Sequence[Item]], what: str, *, key: Callable[[Item], str], size: int = 1
    ) -> Iterator[Result]:
        """`map` for the sake of what is stored, by others; nothing, where there are none and who asks next does it as well."""
        ...

    def close(self) -> None:
        """Let the workers go. What is asked afterwards calls others."""
        ...


class LocalEngine:
    """In this process: all items at once, whose stage tells how far it is."""

    def map(
        self,
        work: Work[Item, Result],
        items: Sequence[Item],
        what: str,
        *,
        key: Callable[[Item], str],
        size: int = 1,
        otherwise: Callable[[Item, str], Result] | None = None,
    ) -> Iterator[Result]:
        return iter(work(items))

    def ahead(
        self, work: Work[Item, Result], items: Callable[[], Sequence[Item]], what: str, *, key: Callable[[Item], str], size: int = 1
    ) -> Iterator[Result]:
        return iter(())

    def close(self) -> None:
        pass
