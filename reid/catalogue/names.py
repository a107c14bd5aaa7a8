"""Names as people write them -> identities: cleaned, joined where the user says so, None for words that name nobody."""

from __future__ import annotations

import difflib
import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from ..errors import GalleryError
from ..records import UNKNOWN
from .values import counted, is_given, said, some

NOBODY = frozenset(
    (
        "unidentified", "unidentifiable", "un identified", "not identified", "unid", "un id", "no id", "noid", "id unknown", "unnamed",
        "nameless", "no name", "noname", "without name", "unassigned", "not assigned", "indet", "indeterminate", "anonymous", "new",
        "new id", "sin identificar", "no identificado", "no identificada", "sin nombre", "não identificado", "não identificada", "sem nome",
        "non identifié", "non identifiée", "sans nom", "nicht identifiziert", "ohne namen", "niet geïdentificeerd",
    )
)  # fmt: skip
KINDS = (
    "individual|animal|id|identity|name|one|sighting|specimen|subject|adult|juvenile|calf|cub|pup|male|female|whale|humpback|orca|dolphin|"
    "porpoise|shark|ray|manta|turtle|tortoise|fish|grouper|seal|sea lion|otter|manatee|dugong|bird|penguin|cat|lynx|leopard|snow leopard|"
    "jaguar|tiger|lion|cheetah|ocelot|puma|hyena|wild dog|wolf|fox|bear|zebra|giraffe|elephant|rhino|antelope|nyala|deer|cow|horse|ape|"
    "gorilla|chimp|chimpanzee|lemur|monkey|salamander|newt|frog|toad|lizard|gecko|snake|iguana|beluga|narwhal|starfish|badger|panda|koala"
)
NOBODY_OF_A_KIND = re.compile(
    rf"(?:unknown|unidentified|unnamed|unassigned|new|unid|unk) (?:{KINDS})s?|(?:{KINDS}) (?:unknown|unidentified)"
)
INVISIBLE = re.compile("[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
JOINERS = re.compile("[\u200c\u200d]")  # between letters of some scripts they belong to the word; elsewhere nobody sees them
BEFORE_SCRIPTS_WITH_JOINERS = "\u0600"
SHORTEST = 5  # letters of two names that may differ by one of them
MOST_OF_ONE_PATTERN = 4  # names that differ in one letter at one place; more are codes
SHOWN = 5  # groups of twins in the note


@lru_cache(65536)
def clean(name: str) -> str:
    """The name in composed form, with single blanks, without what nobody can see."""
    text = INVISIBLE.sub("", unicodedata.normalize("NFC", name))
    if JOINERS.search(text):
        text = "".join(letter for place, letter in enumerate(text) if not JOINERS.match(letter) or _joins(text, place))
    text = "".join(letter if unicodedata.category(letter) != "Cc" else " " for letter in text)
    return " ".join(text.split())


def _joins(text: str, place: int) -> bool:
    around = text[place - 1 : place] + text[place + 1 : place + 2]
    return len(around) == 2 and all(letter > BEFORE_SCRIPTS_WITH_JOINERS and not JOINERS.match(letter) for letter in around)


@lru_cache(65536)
def names_somebody(name: str) -> bool:
    """Whether a clean name is one: not Unknown, unidentified, NA, ?, ____, new_whale."""
    word = said(name)
    return is_given(name) and word not in NOBODY and not NOBODY_OF_A_KIND.fullmatch(word)


def identities(written: Sequence[str], join: Mapping[str, str], as_written: bool) -> tuple[list[str | None], list[str]]:
    """The identity of each photo by the name that is written for it, and notes. With `as_written` only a blank and `unknown` name nobody.

    Raises GalleryError for a name in `join` that no animal has."""
    cleaned = [clean(name) for name in written]
    joined = _joined(cleaned, join)
    unnamed: Counter[str] = Counter()
    found: list[str | None] = []
    for name in joined:
        if name and (name != UNKNOWN if as_written else names_somebody(name)):
            found.append(name)
        else:
            found.append(None)
            unnamed[name] += 1
    return found, _changed(written, cleaned) + _unnamed(unnamed)


def _joined(names: list[str], join: Mapping[str, str]) -> list[str]:
    if not join:
        return names
    ways = {clean(old): clean(new) for old, new in join.items()}
    for old in ways:
        if old not in names:
            near = difflib.get_close_matches(old, sorted(set(names)), n=3)
            meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise GalleryError(f"--join {shlex.quote(f'{old}={ways[old]}')}: no animal is called {old!r}{meant}")
    ends: dict[str, str] = {}
    for old in ways:
        name, steps = old, 0
        while name in ways and ways[name] != name:
            name, steps = ways[name], steps + 1
            if steps > len(ways):
                raise GalleryError(f"--join reads {old!r} as itself in a circle; leave one of the names out")
        ends[old] = name
    return [ends.get(name, name) for name in names]


def _changed(written: Sequence[str], cleaned: Sequence[str]) -> list[str]:
    changed = {old: new for old, new in zip(written, cleaned, strict=True) if old != new and names_somebody(new)}
    if not changed:
        return []
    shown = some([f"{old!a} is {new}" for old, new in sorted(changed.items())])
    return [f"{counted(len(changed), 'name was', 'names were')} cleaned of blanks, invisible characters or split accents: {shown}"]


def _unnamed(words: Counter[str]) -> list[str]:
    if not words:
        return []
    photos = counted(words.total(), "photo is", "photos are")
    if not set(words) - {"", UNKNOWN}:
        return [f"{photos} taken as unnamed"]
    shown = some([f"{name!r} {n:,}" if name else f"blank {n:,}" for name, n in words.most_common()], most=6)
    return [f"{photos} taken as unnamed ({shown}); if an animal is really called so, use --names-as-written"]


def twins(photos: Counter[str], apart: Container[tuple[str, str]] = ()) -> list[str]:
    """A hint, where there are names that may be of one animal; `photos` counts them by name, those `apart`, sorted, are known to be two."""
    group_of = {name: {name} for name in photos}
    for a, b in (*_same_but_for_writing(photos), *_one_letter_apart(photos)):
        if group_of[a] is not group_of[b] and (min(a, b), max(a, b)) not in apart:
            group_of[a] |= group_of[b]
            for name in group_of[b]:
                group_of[name] = group_of[a]
    groups = {id(group): sorted(group, key=lambda name: (-photos[name], name)) for group in group_of.values() if len(group) > 1}
    if not groups:
        return []
    ordered = sorted(groups.values())
    shown = "; ".join(" / ".join(group) for group in ordered[:SHOWN])
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    options = [f"--join {shlex.quote(f'{other}={group[0]}')}" for group in ordered[:SHOWN] for other in group[1:]]
    merge = " ".join(map(shlex.quote, ordered[0][:2]))
    return [
        f"names that may be of one animal: {shown}{more}; to make them one: `reid duplicates --merge {merge}` once, or {' '.join(options)} "
        "with each command"
    ]


def _same_but_for_writing(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names that are equal but for case, accents, marks, blanks and zeros before a number."""
    first: dict[str, str] = {}
    for name in names:
        key = _plain(name)
        if key:
            other = first.setdefault(key, name)
            if other != name:
                yield other, name


def alike(name: str, names: Iterable[str]) -> list[str]:
    """Of these names those that differ from this one, and in nothing but case, accents, marks, blanks and zeros before a number."""
    key = _plain(name)
    return sorted(other for other in names if key and other != name and _plain(other) == key)


@lru_cache(65536)
def _plain(name: str) -> str:
    split = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(letter for letter in split if not "\u0300" <= letter <= "\u036f")
    plain = re.sub(r"(?<=\d)[\W_]+(?=\d)", " ", plain)  # 1-2 is not 12
    plain = re.sub(r"(?:(?<=\D)[\W_]+|^[\W_]+|[\W_]+(?=\D)|[\W_]+$)", "", plain)
    return re.sub(r"(?<!\d)0+(?=\d)", "", plain)


def _one_letter_apart(names: Iterable[str]) -> list[tuple[str, str]]:
    """Names that differ by one letter, or two that have changed places; none where so many do that they are codes."""
    of_digits: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    total = 0
    for name in sorted(names):
        total += 1
        plain = _plain(name)
        of_digits.setdefault(tuple(re.findall(r"\d+", plain)), []).append((re.sub(r"\d", " ", plain), name))
    pairs = set()
    for alike in of_digits.values():  # another number is another animal
        places: defaultdict[str, list[str]] = defaultdict(list)
        for letters, name in alike if len(alike) > 1 else ():
            for place in range(len(letters) + 1):  # the last leaves nothing out
                places[letters[:place] + letters[place + 1 :]].append(name)
        for pattern in filter(lambda names: len(names) > 1, places.values()):
            near = sorted(set(pattern))
            if 2 <= len(near) <= MOST_OF_ONE_PATTERN:
                pairs |= {(a, b) for i, a in enumerate(near) for b in near[i + 1 :] if _slip(a, b)}
    involved = {name for pair in pairs for name in pair}
    return sorted(pairs) if len(involved) <= max(20, total // 10) else []


def _slip(a: str, b: str) -> bool:
    """Whether one of two names may be a slip of the pen: not 12 for 13, A for B, I for II, Ana for Ani, nor another first letter."""
    x, y = a.lower(), b.lower()
    start = next((i for i, (one, other) in enumerate(zip(x, y)) if one != other), min(len(x), len(y)))
    end = next((i for i, (one, other) in enumerate(zip(x[start:][::-1], y[start:][::-1])) if one != other), min(len(x), len(y)) - start)
    cut = x[start : len(x) - end], y[start : len(y) - end]
    if not start or any(re.search(r"[\d\W_]", part) for part in cut) or max(map(len, cut)) > 2:
        return False
    words = [_word_at(name, start, part) for name, part in zip((a, b), cut)]
    least = min(map(len, words))
    doubled = sorted(map(len, cut)) == [0, 1] and "".join(cut) in (
        x[start - 1 : start],
        x[start : start + 1] if cut[1] else y[start : start + 1],
    )
    return least >= (3 if doubled else SHORTEST)


def _word_at(name: str, start: int, part: str) -> str:
    """The word of the name that holds a part of it, or touches the place where it would stand; a capital in a word begins another."""
    for match in re.finditer(r"[^\W\d_][^\W\d_A-Z]*(?=[A-Z\W\d_]|$)|[A-Z]+", name):
        if match.start() <= start and start + len(part) <= match.end():
            return match[0]
    return ""
