"""Which references are worth matching."""

from .shortlist import Shortlist

__all__ = ["Shortlist"]
