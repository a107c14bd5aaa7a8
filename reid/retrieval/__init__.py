"""Which references are worth matching: votes of descriptors for a shortlist, what quicker pipelines find or a coarse look for the finalists
among them."""

from ..store.description import constants
from . import coarse, shortlist
from .coarse import finalists, together
from .shortlist import Shortlist, is_whole, unneeded

__all__ = ["Shortlist", "describe", "finalists", "is_whole", "together", "unneeded"]


def describe() -> dict[str, object]:
    """All that changes which references are chosen, votes and coarse looks given, and what votes are. JSON-able."""
    return {"finalists": "by quicker pipelines, else a coarse look", **constants(coarse.__name__), **shortlist.describe()}
