"""Photos as pixels: decoded, upright, cropped, masked, resized, judged; geometry between them; warps and noise to train on."""

from .borders import LEFT_OUT, mostly_within, picture, without_borders
from .decode import MAX_PIXELS, MAX_SIDE, Decoded, cut_short, decode, facts, photo_size
from .masks import read_mask
from .prepare import equalized, pixel_box, prepare, prepared_size, resizing, to_upright
from .quality import quality, shortcomings

__all__ = [
    "LEFT_OUT", "MAX_PIXELS", "MAX_SIDE", "Decoded", "cut_short", "decode", "equalized", "facts", "mostly_within", "photo_size", "picture",
    "pixel_box", "prepare", "prepared_size", "quality", "read_mask", "resizing", "shortcomings", "to_upright", "without_borders",
]  # fmt: skip
