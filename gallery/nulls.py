"""Write reid/nulls.json: the null distributions that ship with reid, measured on the references of the sample gallery.

    python gallery/nulls.py

They serve galleries that have too few pairs of different animals to estimate their own.
"""

import json
from pathlib import Path

import reid
from reid.settings import Settings

HERE = Path(__file__).parent
SOURCE = "the default that was measured on the drawn sample gallery"
NEAREST = ("aliked-n16", "disk", "sift", "superpoint", "xfeat", "goodpoint")
ADALAM = ("aliked-n16", "sift")
COMBINATIONS = [
    ("aliked-n16", "lightglue"),
    ("disk", "lightglue"),
    *((name, "nearest") for name in NEAREST),
    *((name, "adalam") for name in ADALAM),
]


def main() -> None:
    shipped = {}
    for extractor, matcher in COMBINATIONS:
        null = reid.index(HERE, Settings(extractor=extractor, matcher=matcher, also="none")).null
        if null is None or null.source != "gallery":
            raise SystemExit(f"{extractor} + {matcher}: the sample gallery gave no null of its own")
        shipped[f"{extractor}+{matcher}"] = null.as_json() | {"source": SOURCE}
        print(f"{extractor} + {matcher}: {null.n_pairs} pairs")
    (HERE.parent / "reid" / "nulls.json").write_text(json.dumps(shipped, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
