"""What is known: folders and tables in, photos with their animals, encounters, sides and dates out."""

from .filters import restrict
from .folders import FOLDER, photos_in, readable
from .gallery import Gallery, read
from .rows import QUERY_SPLITS
from .sides import opposite, side
from .table import TABLE, TABLES, table_in

__all__ = [
    "FOLDER", "QUERY_SPLITS", "TABLE", "TABLES", "Gallery", "opposite", "photos_in", "read", "readable", "restrict", "side", "table_in",
]  # fmt: skip
