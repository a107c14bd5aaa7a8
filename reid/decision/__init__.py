"""Known or new: three probabilities and a verdict, calibrated on photos of the gallery itself. NumPy and SciPy only.

A calibration query is a photo of the gallery that is identified again without the photos of its encounter: once with its animal there
through another encounter, a query of a known animal, and once without its animal, a query of a new one. In the order of use:
`sampling` (which photos, and what each gives), `weights` (what each fused pipeline is worth), `health` (which labels to distrust), `model`
(evidence and probabilities), `conformal` (ranks and what they promise), `calibration` (all of it, learned once), `verdicts` (match,
unsure, new, odd, and lists), `prior`, `share` (how many of many photos are new), `reasons`. `groups` needs no calibration: it sorts photos
that nobody has named.
"""

from ..store.description import constants
from .calibration import Calibration, calibrate, too_few
from .groups import groups
from .health import health
from .model import LEAST, Standing, standing, standing_of
from .prior import good_turing
from .sampling import ABSENT, RIGHT, WRONG, Trial, calibration_queries, sizes, trials_of
from .share import share_of_new
from .verdicts import MATCH, NEW, ODD, UNSURE, Decision, listed, uncalibrated, with_lists
from .weights import Evidence, half_way
from .weights import learn as learn_weights


def describe() -> dict[str, object]:
    """All that changes a calibration, scores given. JSON-able."""
    rooms = ("calibration", "conformal", "health", "model", "prior", "sampling", "verdicts", "weights")
    return {"constants": constants(*(f"{__name__}.{room}" for room in rooms))}


def describe_together() -> dict[str, object]:
    """All that many queries of one run change in the answer to each. JSON-able."""
    return {"constants": constants(f"{__name__}.share")}


__all__ = [
    "ABSENT", "LEAST", "MATCH", "NEW", "ODD", "RIGHT", "UNSURE", "WRONG", "Calibration", "Decision", "Evidence", "Standing", "Trial",
    "calibrate", "calibration_queries", "describe", "describe_together", "good_turing", "groups", "half_way", "health",
    "learn_weights", "listed", "share_of_new", "sizes", "standing", "standing_of", "too_few", "trials_of", "uncalibrated", "with_lists",
]  # fmt: skip
