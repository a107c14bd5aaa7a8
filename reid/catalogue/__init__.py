"""What is known: folders and tables in, photos with their animals, encounters, dates and sides out."""

from .decisions import Decision, DecisionLog, Kind, PhotoKey
from .encounters import free_name, occasions
from .filters import restrict
from .folders import FOLDER, INBOX, OWN, is_photo, photos_in, readable, way
from .gallery import Gallery, ReadOptions, check_folder, nothing_collected, read, taken_at, unlabelled
from .labels import Contradiction, Labels, labels
from .rows import QUERY_SPLITS
from .sides import opposite, side
from .table import find_table

__all__ = [
    "FOLDER", "INBOX", "OWN", "QUERY_SPLITS", "Contradiction", "Decision", "DecisionLog", "Gallery", "Kind", "Labels", "PhotoKey",
    "ReadOptions", "check_folder", "find_table", "free_name", "is_photo", "labels", "nothing_collected", "occasions", "opposite",
    "photos_in", "read", "readable", "restrict", "side", "taken_at", "unlabelled", "way",
]  # fmt: skip
