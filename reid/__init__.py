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
    from .listener import Listener as Listener
    from .records import Features as Features
    from .records import PairMatches as PairMatches
    from .records import PhotoRef as PhotoRef
    from .records import Report as Report
    from .session import Session as Session
    from .session import open as open
    from .settings import Settings as Settings

DISTRIBUTION = "animal-reid"  # on the package index, where `reid` is another project; the import and the command are `reid`
_HOMES = {
    "Features": "records", "Listener": "listener", "PairMatches": "records", "PhotoRef": "records", "ReidError": "errors",
    "Report": "records", "Session": "session", "Settings": "settings", "open": "session",
}  # fmt: skip
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name == "__version__":
        from importlib.metadata import version

        return version(DISTRIBUTION)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
