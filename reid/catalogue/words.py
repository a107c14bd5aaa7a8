"""What people write into cells and folder names: nothing, unknown animals, names, sides. Text in, values out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MISSING = frozenset("na n/a nan none null nil - -- -999 #n/a nat .".split())  # in any optional column, whatever their case
UNKNOWN_NAMES = MISSING | frozenset(
    "unknown unidentified unid unnamed undetermined ? ?? ??? new_whale new_individual new unk tbd todo".split()
)
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")  # soft hyphen, zero width, direction marks
SYSTEM = re.compile(
    r"@eadir|#recycle|#snapshot|\$recycle\.bin|__macosx|\.trash.*|\.spotlight.*|\.fseventsd|system volume information|lost\+found|masks?|"
    r"thumbnails?|thumbs|recycler|found\.\d+",
    re.IGNORECASE,
)  # folders that no animal is called by, as file systems, cameras and tools leave them
SIDES = {
    "l": "left", "left": "left", "lft": "left", "left side": "left", "left flank": "left", "leftside": "left", "r": "right",
    "right": "right", "rgt": "right", "right side": "right", "right flank": "right", "rightside": "right", "links": "left",
    "rechts": "right", "gauche": "left", "droite": "right", "izquierda": "left", "derecha": "right", "izquierdo": "left",
    "derecho": "right", "esquerda": "left", "direita": "right", "front": "front", "back": "back", "rear": "rear", "top": "top",
    "above": "above", "below": "below", "bottom": "bottom", "dorsal": "dorsal", "ventral": "ventral", "up": "up",
}  # fmt: skip


def clean(text: str) -> str:
    """Composed (NFC), without invisible characters and blanks around it."""
    return INVISIBLE.sub("", unicodedata.normalize("NFC", text)).strip()


def given(text: str | None) -> str:
    """A cell's text; empty where it says that nothing is known."""
    text = clean(text or "")
    return "" if text.lower() in MISSING else text


def is_unknown(name: str) -> bool:
    """Whether a cleaned name says that nobody knows the animal."""
    return not name or name.lower() in UNKNOWN_NAMES or not name.strip("_?-. ")


def side(text: str | None) -> str | None:
    """A side or view in one spelling where it is a word known here, else in lower case; None where none is given."""
    word = re.sub(r"[\s_-]+", " ", given(text)).lower()
    return SIDES.get(word, word) or None


def is_system(folder: str) -> bool:
    """Whether a folder belongs to a file system, a camera or a tool, not to an animal."""
    return SYSTEM.fullmatch(folder) is not None


def twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that may be one: alike but for case, accents, blanks and punctuation, or one letter apart in six or more."""
    ordered = sorted(set(names))
    plain = {name: _plain(name) for name in ordered}
    found = []
    by_plain: dict[str, list[str]] = {}
    for name in ordered:
        by_plain.setdefault(plain[name], []).append(name)
    for group in by_plain.values():
        found += [(group[0], other) for other in group[1:]]
    keys = sorted(by_plain)
    near: dict[str, set[str]] = {}
    for key in keys:  # one letter apart: they share a string with one letter left out
        if len(key) >= 5 and not any(letter.isdigit() for letter in key):
            for i in range(len(key)):
                near.setdefault(key[:i] + key[i + 1 :], set()).add(key)
            near.setdefault(key, set()).add(key)
    seen = set()
    for group_of in near.values():
        for one in group_of:
            for other in group_of:
                if one < other and (one, other) not in seen and len(max(one, other, key=len)) >= 6 and len(one) != len(other):
                    seen.add((one, other))
                    found.append((by_plain[one][0], by_plain[other][0]))
    return sorted(found)


def _plain(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return re.sub(r"[\W_]+", "", "".join(letter for letter in decomposed if not unicodedata.combining(letter))) or name
