"""reid recognises individual animals from photographs.

    import reid

    with reid.open("turtles/") as gallery:
        report = gallery.identify("query.jpg")
        print(report.to_frame())

Importing this loads nothing else: no torch, no network, no device.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ReidError as ReidError
    from .records import Features as Features
    from .records import PairMatches as PairMatches
    from .records import PhotoRef as PhotoRef
    from .records import Report as Report
    from .session import Session as Session
    from .session import open as open
    from .settings import Settings as Settings
    from .stages import Listener as Listener

_HOMES = {
    "Features": "records", "Listener": "stages", "PairMatches": "records", "PhotoRef": "records", "ReidError": "errors",
    "Report": "records", "Session": "session", "Settings": "settings", "open": "session",
}  # fmt: skip
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name == "__version__":
        return import_module(".session", __name__).versions()["reid"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
