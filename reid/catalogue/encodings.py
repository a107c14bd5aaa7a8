"""Bytes of a table -> text: UTF-8, UTF-16, Windows-1252 where its words look like it; else a message that names the likely encoding."""

from __future__ import annotations

import codecs
import re
import unicodedata

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
CANDIDATES = {  # by Python's name; the order settles a tie
    "cp1252": "Windows-1252", "mac_roman": "Mac Roman", "cp850": "DOS code page 850", "cp437": "DOS code page 437",
    "cp1250": "Windows-1250 (Central European)", "cp1251": "Windows-1251 (Cyrillic)", "koi8_r": "KOI8-R (Cyrillic)",
    "cp1253": "Windows-1253 (Greek)", "cp1254": "Windows-1254 (Turkish)", "cp1255": "Windows-1255 (Hebrew)",
    "cp1256": "Windows-1256 (Arabic)", "cp932": "Shift JIS (Japanese)", "cp949": "Windows-949 (Korean)", "gb18030": "GB 18030 (Chinese)",
    "big5": "Big5 (Chinese)",
}  # fmt: skip
MARKS = frozenset("°ºª€£§©®™–—‘’“”…«»¡¿±µ×·´²³½¼¾\u00a0")  # beside letters, what people type
IN_WORDS = frozenset("’·´ºª")
WAY_OUT = "save it as UTF-8: in Excel as type `CSV UTF-8`, in LibreOffice as `Text CSV` with character set UTF-8"
WORD = re.compile(r"[^\s,;\t\"]*[^\x00-\x7f][^\s,;\t\"]*")
PLAUSIBLE = 0.9  # share of words that look as people write them


def decoded(data: bytes) -> tuple[str, str | None]:
    """The text, and what is to be said of its encoding. Raises ValueError with a message."""
    name = next((name for mark, name in BOMS if data.startswith(mark)), None)
    half = data[:4096]
    if name is None and half.count(0) > len(half) // 4:  # UTF-16 without its mark: every second byte of plain letters is zero
        name = "utf-16-le" if half[1::2].count(0) > half[::2].count(0) else "utf-16-be"
    if name is not None:
        try:
            return data.decode(name), None
        except UnicodeDecodeError as error:
            raise ValueError(f"begins as {name.upper()} and does not go on so; {WAY_OUT}") from error
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        broken = error
    line = data[: broken.start].count(b"\n") + 1
    if _mostly_utf8(data):
        raise ValueError(f"is UTF-8 but for line {line}, where a letter is broken; fix that line")
    best = max(CANDIDATES, key=lambda name: _plausible(data, name))  # the first of equals
    if _plausible(data, best) < PLAUSIBLE:
        best = ""
    if best != "cp1252":
        likely = f"it is likely {CANDIDATES[best]} ({_example(data.decode(best))})" if best else "its encoding cannot be told"
        raise ValueError(f"is not UTF-8 (line {line}); {likely}. {WAY_OUT[0].upper()}{WAY_OUT[1:]}")
    text = data.decode(best)
    return text, f"is not UTF-8; it was read as {CANDIDATES[best]}, as in {_example(text)}. If that is wrong, {WAY_OUT}"


def _mostly_utf8(data: bytes) -> bool:
    """Whether most letters outside ASCII are whole UTF-8."""
    replaced = data.decode("utf-8", "replace")
    whole = sum(letter > "\x7f" and letter != "\ufffd" for letter in replaced)
    return whole > 2 * replaced.count("\ufffd")


def _example(text: str) -> str:
    match = WORD.search(text)
    return repr(match[0][:40]) if match else "''"


def _plausible(data: bytes, encoding: str) -> float:
    """The share of words with letters outside ASCII that look as people write them."""
    try:
        words = set(WORD.findall(data.decode(encoding)))
    except UnicodeDecodeError:
        return 0.0
    return sum(map(_is_word, words)) / len(words) if words else 0.0


def _is_word(word: str) -> bool:
    """Letters of one script, capitals first or throughout, at most two accents in a row, and marks only around letters."""
    letters = [letter for letter in word if letter.isalpha()]
    scripts = {_script(letter) for letter in letters if letter > "\x7f"}
    if len(scripts) > 1:
        return False
    if scripts and not scripts <= {"LATIN"}:  # other scripts do not mix with Latin within a word
        if any(letter < "\x80" for letter in letters) and scripts <= {"CYRILLIC", "GREEK", "HEBREW", "ARABIC"}:
            return False
        return all(letter.isalnum() or letter < "\x80" or unicodedata.category(letter)[0] in "PML" for letter in word) and _cased(word)
    for place, letter in enumerate(word):
        if letter < "\x80" or letter.isalpha():
            continue
        inside = word[place - 1 : place].isalpha() and word[place + 1 : place + 2].isalpha()
        if letter not in MARKS or (inside and letter not in IN_WORDS) or (letter in "£€©®" and word[place + 1 : place + 2].isalpha()):
            return False
    return not re.search(r"[^\W\d_\x00-\x7f]{3}", word) and _cased(word)


def _cased(word: str) -> bool:
    """No capital within small letters where one of them is outside ASCII: Müller, ÜBER, McKay, not tomŽ, not MÅller, not äCãT."""
    inner = zip(word, word[1:], f"{word[2:]} ")
    return not any(
        b.isupper() and ((b > "\x7f" and a.isalpha() and c.islower()) or (a.islower() and max(a, b) > "\x7f")) for a, b, c in inner
    )


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "")
    return "LATIN" if letter in "ºª" else name.split(" ")[0] if name else ""
