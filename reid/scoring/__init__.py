"""From match confidences to scores, and from scores to a ranking of individuals. NumPy only.

`evidence` makes the scores of one pipeline, `fusion` joins those of several, `impostors` says what a score is worth, `ranking` orders
individuals by it.
"""

from ..store.description import constants
from .evidence import SCORES, Scores, averaged, evidence, fused, measure_impostors, signed_wasserstein
from .fusion import JOINED
from .impostors import GALLERY, Floats, ImpostorDistribution, impostor_probability, shipped
from .ranking import best_of, rank


def describe() -> dict[str, object]:
    """All that changes scores, matches given. JSON-able."""
    rooms = ("evidence", "fusion", "impostors")
    return {"joined": JOINED, "constants": constants(*(f"{__name__}.{room}" for room in rooms))}


__all__ = [
    "GALLERY", "JOINED", "SCORES", "Floats", "ImpostorDistribution", "Scores", "averaged", "best_of", "describe", "evidence", "fused",
    "impostor_probability", "measure_impostors", "rank", "shipped", "signed_wasserstein",
]  # fmt: skip
