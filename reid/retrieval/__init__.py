"""Which references are worth matching: votes of descriptors for a shortlist, a coarse look for the finalists among them."""

from . import coarse, shortlist
from .coarse import finalists, n_finalists
from .shortlist import Shortlist, is_whole, unneeded

__all__ = ["Shortlist", "describe", "finalists", "is_whole", "n_finalists", "unneeded"]


def describe() -> dict[str, object]:
    """All that changes which references are chosen, votes and coarse looks given, and what votes are. JSON-able."""
    return {"finalists": coarse.FINALISTS, "other_finalists": coarse.OTHER_FINALISTS, **shortlist.describe()}
