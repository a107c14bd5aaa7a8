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


def keywords(path: Path) -> list[str]:
    """Every keyword of a photo, as it is written: `Individual|Luna`, `Individual/Luna`, `turtle`."""
    found: list[str] = []
    for data in _packets(path):
        found += [word for word in _keywords(data) if word not in found]
    return found


def meant(words: list[str]) -> dict[str, str]:
    """{meaning: value} of the keywords of two or more levels whose first is a column's name, the first of each
    meaning; `Animal|Turtle` names no animal."""
    found: dict[str, str] = {}
    for word in words:
        group, _, value = (part.strip() for part in re.sub(r"[|/:]", "|", word, count=1).partition("|"))
        meaning = MEANT.get(folded(group))
        if value and meaning in USED:
            found.setdefault(meaning, value)
    return found


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


def _keywords(data: bytes) -> list[str]:
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
    found = [item.text for name in LISTS for one in root.iter(name) for item in one.iter(f"{RDF}li") if item.text]
    return [word for word in dict.fromkeys(text.strip() for text in found) if word]
