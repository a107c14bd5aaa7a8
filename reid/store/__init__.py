"""What has been computed stays computed: features by the content of a photo, matches by the content of both.

Files are written beside their place and moved there whole, and are safe to delete at any time. Features and matches carry a checksum.
"""

from .digests import Digests
from .features import FeatureStore
from .files import DamagedFile, read_tensors, remove_leftovers, write_atomically, write_tensors
from .fingerprints import FORMAT, AnswerFingerprints, Fingerprints, fingerprint
from .matches import CoarseStore, MatchStore

__all__ = [
    "FORMAT", "AnswerFingerprints", "CoarseStore", "DamagedFile", "Digests", "FeatureStore", "Fingerprints", "MatchStore", "fingerprint",
    "read_tensors", "remove_leftovers", "write_atomically", "write_tensors",
]  # fmt: skip
