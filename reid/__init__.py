"""reid recognises individual animals from photographs.

    import reid
    report = reid.identify("query.jpg", gallery="turtles/")
    for ranking in report.rankings:
        print(ranking.query_id, ranking.verdict, ranking.candidates[0].identity)

Importing this loads nothing else: no torch, no network, no device.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calls import identify as identify
    from .calls import index as index
    from .errors import ReidError as ReidError
    from .pipeline import Listener as Listener
    from .settings import Settings as Settings

_HOMES = {"Settings": "settings", "ReidError": "errors", "Listener": "pipeline", "identify": "calls", "index": "calls"}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("reid")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
