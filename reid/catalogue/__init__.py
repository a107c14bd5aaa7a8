"""What is known: folders and tables in, photos with their animals, encounters and sides out."""

from .gallery import FOLDER, QUERY_SPLITS, TABLE, Gallery, photos_in, read, readable, restrict
from .sides import opposite

__all__ = ["FOLDER", "QUERY_SPLITS", "TABLE", "Gallery", "opposite", "photos_in", "read", "readable", "restrict"]
