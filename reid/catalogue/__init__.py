"""What is known: folders and tables in, photos with their animals, encounters, dates and sides out."""

from .folders import photos_in, readable
from .gallery import FOLDER, Gallery, find_table, read, restrict, unlabelled
from .rows import QUERY_SPLITS
from .sides import opposite

__all__ = ["FOLDER", "QUERY_SPLITS", "Gallery", "find_table", "opposite", "photos_in", "read", "readable", "restrict", "unlabelled"]
