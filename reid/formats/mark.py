"""Program MARK's .inp: a line an animal, `/*name*/ 0110 1;`. ASCII; names stand in comments and are unique, as RMark's `convert.inp` wants.

The line above says the occasions. Names that ASCII cannot hold are changed, and a map of them is written beside the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..catalogue import Gallery
from ..catalogue.values import counted
from ..store import write_atomically
from .histories import ASKED, Histories, histories
from .writing import ExportOptions, Written, csv_bytes, plain_names

TAKES = ASKED
ALLOWED = r" -)+-.0-~"  # printable ASCII without * and /, which end a comment


def write(gallery: Gallery, out: Path, options: ExportOptions) -> Written:
    found = histories(gallery, options)
    names = plain_names({name: name for name in found.identities}, ALLOWED)
    files = {out: inp(found, names), beside(out, "occasions"): found.table()}
    return finished(found, files, names, out)


def inp(found: Histories, names: Mapping[str, str]) -> bytes:
    said = ", ".join(one.name for one in found.occasions).encode("ascii", "replace").decode().replace("*", "?")
    lines = [f"/* occasions: {said} */", *(f"/*{names[name]}*/ {history} 1;" for name, history in found.rows().items())]
    return ("\n".join(lines) + "\n").encode("ascii")


def beside(out: Path, what: str, suffix: str = ".csv") -> Path:
    return out.with_name(f"{out.stem}.{what}{suffix}")


def finished(found: Histories, files: Mapping[Path, bytes], names: Mapping[str, str], out: Path) -> Written:
    """Write the files, and a map of the names that had to be changed."""
    changed = {name: plain for name, plain in names.items() if name != plain}
    map_of_names = beside(out, "names")
    if changed or map_of_names.is_file():  # one of an export before would lie
        files = {**files, map_of_names: csv_bytes(("name", "written"), sorted(changed.items()))}
    for file, data in files.items():
        write_atomically(file, data)
    met = f"{counted(len(found.identities), 'animal')} on {counted(len(found.occasions), 'occasion')}"
    notes = [f"{met}; {found.linked}", *found.told({one.occasion for one in found.captures})]
    if changed:
        notes.append(f"{counted(len(changed), 'name holds', 'names hold')} letters that cannot be written; {map_of_names} maps them")
    return Written(tuple(files), tuple(notes), (), len(found.captures), found.left_out)
