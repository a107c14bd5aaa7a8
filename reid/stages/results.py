"""What is found about a gallery and about a pair, beside answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..decision import Calibration
from ..records import Failure, Features, Indexed, PairMatches, PhotoRef
from ..scoring import ImpostorDistribution
from .identify import Judges
from .leave_one_out import Recall
from .select import Stage


@dataclass(frozen=True)
class IndexSummary:
    """What `index` did."""

    n_photos: int
    n_individuals: int
    n_extracted: int
    failures: tuple[Failure, ...]
    impostors: ImpostorDistribution | None
    recall: Recall | None  # of the shortlist, where the gallery needs one
    calibration: Calibration | None  # where the gallery has been calibrated
    losses: Mapping[Stage, int] | None  # where calibration queries lose their animal, see `Judges.losses`
    folder: Path
    n_to_estimate: int = 0  # photos whose side nobody has said, where enough others teach it


@dataclass(frozen=True)
class PairView:
    """Two photos with their features and matches: what a picture of the pair takes."""

    query: PhotoRef  # turned or mirrored where it is compared so
    reference: PhotoRef
    features: tuple[Features, Features]
    matches: PairMatches
    pipeline: str  # its name


def about(searched: Sequence[Indexed], judges: Judges) -> dict[str, object]:
    """What was searched, and by what it was judged, as JSON."""
    return {
        "n_references": len(searched),
        "n_individuals": len({item.ref.identity for item in searched if item.ref.identity}),
        "impostors": judges.impostors.source,
        "calibration": None if judges.calibration is None else judges.calibration.about(),
    }
