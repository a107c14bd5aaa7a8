"""Write reid/scoring/impostors.json: the impostor distributions that ship with reid, measured on the references of the sample gallery.

    python gallery/impostors.py [EXTRACTOR+MATCHER ...]

They serve galleries that have too few pairs of different animals for their own. Without a name all combinations are measured, which takes
long; with names only those, and the file keeps its others.
"""

import json
import sys
import tempfile
from pathlib import Path

import reid
from reid.scoring.impostors import GALLERY, SHIPPED

HERE = Path(__file__).parent
FILE = HERE.parent / "reid" / "scoring" / SHIPPED
SOURCE = "the default that was measured on the drawn sample gallery"
NEAREST = ("aliked-n16", "disk", "sift", "superpoint", "xfeat", "goodpoint")
ADALAM = ("aliked-n16", "sift")
COMBINATIONS = [  # none of whole vectors: how alike they are differs from species to species more than from animal to animal
    "aliked-n16+lightglue",
    "disk+lightglue",
    "goodpoint+lightglue",
    *(f"{name}+nearest" for name in NEAREST),
    *(f"{name}+adalam" for name in ADALAM),
]


def measure(combination: str) -> dict[str, object]:
    """The distribution of one extractor and matcher, JSON-able."""
    extractor, matcher = combination.split("+")
    settings = reid.Settings.of(extractor=extractor, matcher=matcher, fuse="none")
    with tempfile.TemporaryDirectory() as cache, reid.open(HERE, settings, cache=cache) as gallery:
        found = gallery.impostors
    if found.source != GALLERY:
        raise SystemExit(f"{combination}: the sample gallery gave no impostor distribution of its own")
    print(f"{combination}: {found.n_pairs} pairs", flush=True)
    return found.as_json() | {"source": SOURCE}


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(COMBINATIONS))
    if unknown:
        raise SystemExit(f"unknown {', '.join(unknown)}; known: {', '.join(COMBINATIONS)}")
    shipped = json.loads(FILE.read_text()) if names else {}
    shipped |= {name: measure(name) for name in names or COMBINATIONS}
    FILE.write_text(json.dumps({name: shipped[name] for name in COMBINATIONS if name in shipped}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
