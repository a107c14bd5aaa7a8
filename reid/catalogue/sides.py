"""Sides and views as words: one value for each, however it is written, and which views of an animal can show the same marks."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from .values import is_given

OPPOSITES = (("left", "right"), ("front", "back"), ("front", "rear"), ("top", "bottom"), ("top", "below"), ("above", "below"),
             ("dorsal", "ventral"))  # fmt: skip
ORDER = ("top", "above", "bottom", "below", "dorsal", "ventral", "front", "back", "rear", "left", "right")  # topleft, not lefttop
WORDS = frozenset(ORDER)
SAY_IT = "in `reid review`, or in the column orientation of metadata.csv"
VIEWS = tuple(dict.fromkeys(("left", "right", "dorsal", "ventral", *ORDER)))  # as they are offered to people, the usual ones first
FILLERS = frozenset(("flank", "side", "view", "lateral", "lado", "flanco", "flanc", "cote", "seite", "flanke"))
OTHER_WORDS = {
    "l": "left", "lhs": "left", "izquierda": "left", "izquierdo": "left", "izq": "left", "links": "left", "linke": "left",
    "gauche": "left", "esquerda": "left", "esquerdo": "left", "sinistra": "left", "sinistro": "left",
    "r": "right", "rhs": "right", "derecha": "right", "derecho": "right", "rechts": "right", "rechte": "right", "droite": "right",
    "droit": "right", "direita": "right", "direito": "right", "destra": "right", "destro": "right",
}  # fmt: skip
RUN = re.compile(f"({'|'.join(sorted(WORDS | FILLERS))})+")
WORD = re.compile("|".join(sorted(WORDS | FILLERS)))


@lru_cache(4096)
def side(text: str) -> str | None:
    """One value for a side or view: L, Left and `left flank` are left, `Top-Left` is topleft; what is not known here is in lower case.

    None where nothing is said, or two opposite sides are."""
    if not is_given(text) or is_contradictory(text):
        return None
    return _known(text) or " ".join(text.casefold().split())


@lru_cache(4096)
def is_side(text: str) -> bool:
    """Whether a folder's name says a side and nothing else."""
    return _known(text) is not None


def side_in_name(stem: str) -> str | None:
    """The side that a photo's name ends with, numbers aside: left of `2019-07-15-left` and `luna_left flank_2`. Whole words only, no letter
    alone, which may count photos; None of words that contradict one another."""
    words = re.split(r"[\W_]+", stem)
    while words and not words[-1].strip("0123456789"):
        words.pop()
    last: list[str] = []
    while words and len(words[-1]) > 1 and (words[-1].casefold() in FILLERS or is_side(words[-1])):
        last.insert(0, words.pop())
    return None if is_contradictory(" ".join(last)) else _known(" ".join(last))


@lru_cache(4096)
def is_contradictory(text: str) -> bool:
    """Whether it names two opposite sides, as `left/right` does: nobody can tell which of them the photo shows."""
    said = _words(text)
    return any(one in said and other in said for one, other in OPPOSITES)


@lru_cache(4096)  # a query asks it of every reference, and there are few views
def opposite(a: str | None, b: str | None) -> bool:
    """Whether two views show different sides of the animal and none in common: left and right, or topleft and right, not topleft and
    topright. A view that is not known, or not a word that is known here, is opposite to none."""
    words_a, words_b = _words(a), _words(b)
    if words_a & words_b:
        return False
    pairs = (*OPPOSITES, *((other, one) for one, other in OPPOSITES))
    return any(one in words_a and other in words_b for one, other in pairs)


def names_a_view(text: str | None) -> bool:
    """Whether a word in it is known here: of `right fin`, not of `upright`, which is opposite to none."""
    return bool(_words(text))


def flank(view: str | None) -> str | None:
    """left or right, of topleft and `right fin`, too; None for a view that shows neither or both, and where nothing is known."""
    found = _words(view) & {"left", "right"}
    return found.pop() if len(found) == 1 else None


def mirrored(view: str) -> str:
    """The side that the mirror image of a photo shows: right of left, topleft of topright; what knows no left and right is itself.

    Of sides as `side` writes them."""
    words = {{"left": "right", "right": "left"}.get(word, word) for word in _words(view)}
    return "".join(word for word in ORDER if word in words) or view


def _runs(view: str | None) -> list[str]:
    plain = unicodedata.normalize("NFKD", (view or "").casefold())
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return [OTHER_WORDS.get(run, run) for run in re.findall(r"[^\W\d_]+", letters)]


def _words(view: str | None) -> set[str]:
    """Of each run of letters that is nothing but words known here: `topleft` is two, `upright` none; L and R are short for left, right."""
    found: set[str] = set()
    for run in _runs(view):
        if RUN.fullmatch(run):
            found |= {word for word in WORD.findall(run) if word in WORDS}
    return found


def _known(text: str) -> str | None:
    """The one value of a text that holds nothing but words known here."""
    if not all(RUN.fullmatch(run) for run in _runs(text)) or re.search(r"\d", text):
        return None
    words = _words(text)
    return "".join(word for word in ORDER if word in words) or None
