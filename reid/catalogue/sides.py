"""Which views of an animal can show the same marks: sides as words in, yes or no out."""

from __future__ import annotations

import re
from functools import lru_cache

OPPOSITES = (("left", "right"), ("front", "back"), ("front", "rear"), ("top", "bottom"), ("top", "below"), ("above", "below"),
             ("dorsal", "ventral"))  # fmt: skip
WORDS = frozenset(word for pair in OPPOSITES for word in pair)
FILLERS = frozenset(("flank", "side", "view"))


@lru_cache(4096)  # a query asks it of every reference, and there are few views
def opposite(a: str | None, b: str | None) -> bool:
    """Whether two views show different sides of the animal and none in common: left and right, or topleft and right, not topleft and
    topright. A view that is not known, or not a word that is known here, is opposite to none."""
    words_a, words_b = _words(a), _words(b)
    if words_a & words_b:
        return False
    pairs = (*OPPOSITES, *((other, one) for one, other in OPPOSITES))
    return any(one in words_a and other in words_b for one, other in pairs)


def _words(view: str | None) -> set[str]:
    """Of each run of letters that is nothing but words known here: `topleft` is two, `upright` none; L and R are short for left, right."""
    found: set[str] = set()
    for run in re.findall(r"[a-z]+", (view or "").lower()):
        run = {"l": "left", "r": "right"}.get(run, run)
        if re.fullmatch(f"({'|'.join(sorted(WORDS | FILLERS))})+", run):
            found |= {word for word in re.findall("|".join(sorted(WORDS | FILLERS)), run) if word in WORDS}
    return found
