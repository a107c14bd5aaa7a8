"""The nouns of reid. Frozen, arrays read-only, shapes checked where a record is made, every unit stated here once.

Conventions: points are float32 (x, y) in pixels of the prepared photo, (0, 0) at the centre of the top-left pixel. Every
`size` is (width, height). A `query` is the photo asked about, a `reference` a photo of the gallery; LightGlue depends on the order.
"""

from .answer import Candidate, Failure, Health, IdentityRanking, Mislabel, NewShare, Report, Twins
from .pair import PairMatches
from .photo import UNKNOWN, UNNAMED, Box, Features, Photo, PhotoFacts, PhotoRef, Quality
from .query import Indexed, Query

__all__ = [
    "UNKNOWN", "UNNAMED", "Box", "Candidate", "Failure", "Features", "Health", "IdentityRanking", "Indexed", "Mislabel", "NewShare",
    "PairMatches", "Photo", "PhotoFacts", "PhotoRef", "Quality", "Query", "Report", "Twins",
]  # fmt: skip
