"""What has been computed stays computed: features by the content of a photo, matches by the content of both.

Files are written beside their place and moved there whole, carry a checksum, and are safe to delete at any time.
"""

from .digests import Digests, Seen, is_sound, seen, sha256_of
from .features import FeatureStore
from .files import (
    LEFTOVER_AGE,
    SAVE_EVERY,
    DamagedFile,
    checksum_of,
    is_old,
    lacking,
    leftovers,
    read_json,
    read_tensors,
    remove,
    remove_leftovers,
    used,
    write_atomically,
    write_tensors,
)  # fmt: skip
from .fingerprints import FORMAT, AnswerFingerprints, Fingerprints, fingerprint
from .layouts import LayoutStore
from .matches import CoarseStore, MatchStore, SecondStore
from .remote import Remote
from .values import JsonStore

__all__ = [
    "FORMAT", "LEFTOVER_AGE", "SAVE_EVERY", "AnswerFingerprints", "CoarseStore", "DamagedFile", "Digests", "FeatureStore", "Fingerprints",
    "JsonStore", "LayoutStore", "MatchStore", "Remote", "SecondStore", "Seen", "checksum_of", "fingerprint", "is_old", "is_sound",
    "lacking", "leftovers", "read_json", "read_tensors", "remove", "remove_leftovers", "seen", "sha256_of", "used", "write_atomically",
    "write_tensors",
]  # fmt: skip
