"""From match confidences to scores, and from scores to a ranking of individuals. NumPy only."""

from . import evidence
from .evidence import Evidence, Floats, Null, estimate_null, signed_wasserstein, stranger_probability
from .ranking import first, rank

__all__ = ["Evidence", "Floats", "Null", "estimate_null", "evidence", "first", "rank", "signed_wasserstein", "stranger_probability"]
