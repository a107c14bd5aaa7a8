"""XMP keywords (ISO 16684-1): what people wrote on photos in digiKam, Lightroom or Bridge, such as `Individual|Luna`.

Read from the photo itself and from a sidecar beside it (`a.jpg.xmp`, `a.xmp`). Photos are not to be trusted: a packet that is too long,
broken, or holds a document type is passed over, nothing raises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from ..catalogue.columns import COLUMNS, GUESSES, SYNONYMS, folded
from ..catalogue.encodings import BOMS

MOST_BYTES = 1 << 20
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "HEIF", "AVIF")
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
LISTS = (  # names of properties, in the order in which they are believed
    "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject",
    "{http://www.digikam.org/ns/1.0/}TagsList",
    "{http://purl.org/dc/elements/1.1/}subject",
)
MEANT = {folded(word): meaning for word, meaning in SYNONYMS.items() if word not in GUESSES} | {folded(name): name for name in COLUMNS}
USED = ("identity", "species", "site", "orientation", "encounter")  # what a keyword may say


def keywords(path: Path) -> list[list[str]]:
    """Every list of keywords of a photo, as they are written: `Individual|Luna`, `Individual/Luna`, `turtle`."""
    return [words for data in _packets(path) for words in _keywords(data)]


def meant(lists: list[list[str]]) -> dict[str, list[str]]:
    """{meaning: values} of the keywords of two or more levels whose first is a column's name, by the first list that says anything of it;
    `Animal|Turtle` names no animal. Of `Luna` and `Luna|scar` the shorter stays."""
    found: dict[str, list[str]] = {}
    for words in lists:
        own: dict[str, list[str]] = {}
        for word in words:
            group, _, value = (part.strip() for part in re.sub(r"[|/:]", "|", word, count=1).partition("|"))
            meaning = MEANT.get(folded(group))
            if value and meaning in USED and not any(_is_below(value, other) for other in own.get(meaning, ())):
                own[meaning] = [*(other for other in own.get(meaning, ()) if not _is_below(other, value)), value]
        found = own | found
    return found


def _is_below(value: str, other: str) -> bool:
    """Whether it says the same, or a part of it: `Luna|scar` and `Luna/scar` are below `Luna`."""
    levels = [[level.strip().casefold() for level in re.split(r"[|/:]", text)] for text in (value, other)]
    return levels[0][: len(levels[1])] == levels[1]


def _packets(path: Path) -> Iterator[bytes]:
    for sidecar in (path.with_name(f"{path.name}.xmp"), path.with_suffix(".xmp")):
        try:
            with open(sidecar, "rb") as file:
                yield file.read(MOST_BYTES + 1)
        except (OSError, ValueError):
            continue
    try:
        Image.init()
        with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            data = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    except Exception:  # any, since the file may hold anything
        return
    if isinstance(data, (bytes, str)):
        yield data if isinstance(data, bytes) else data.encode("utf-8", "replace")


def _keywords(data: bytes) -> list[list[str]]:
    if len(data) > MOST_BYTES:
        return []
    encoding = next((name for mark, name in BOMS if data.startswith(mark)), "utf-8")
    text = data.decode(encoding, "replace").strip("\ufeff\0 \t\r\n")
    if "<!" in text.replace("<!--", ""):  # entities can be made to grow without end
        return []
    try:
        root = ElementTree.fromstring(re.sub(r"^<\?xml[^>]*\?>", "", text))
    except (ElementTree.ParseError, ValueError, RecursionError):
        return []
    found = [[item.text.strip() for one in root.iter(name) for item in one.iter(f"{RDF}li") if item.text] for name in LISTS]
    return [words for words in found if any(words)]
