"""The numbers that a file's results depend on, found by themselves: none can be forgotten in a fingerprint."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

ROOMS = tuple(f"{__name__.partition('.')[0]}.{room}." for room in ("extractors", "matchers", "imaging", "retrieval", "scoring", "decision"))


def constants(*names: str) -> dict[str, dict[str, object]]:
    """{file: {name: value}} of these modules, and of the files of these rooms that they take something from. A constant is a name in
    capitals whose value is a number or holds some; a file's NO_EFFECT names those that change no result, and says why. JSON-able."""
    found: dict[str, dict[str, object]] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            module = import_module(name)
            found[name] = dict(_own(module))
            waiting += [source for value in vars(module).values() if (source := getattr(value, "__module__", None) or "").startswith(ROOMS)]
    return {name.partition(".")[2]: values for name, values in sorted(found.items()) if values}


def _own(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name, value in vars(module).items():
        if name.isupper() and name not in getattr(module, "NO_EFFECT", {}) and _holds_numbers(value):
            yield name, value


def _holds_numbers(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any(map(_holds_numbers, value))
    return isinstance(value, (int, float))
