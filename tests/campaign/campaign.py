"""Nothing lost, and nothing wrong in silence: processes that are killed or share a gallery, writes that fail, power that goes,
bits that flip, odd places, hostile files.

    python tests/campaign/campaign.py kills --runs 300 --seed 1

Each row is a module here, named as it is. Prints one JSON object: how many runs ended how, and what was wrong; exit status 1 if anything.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from importlib import import_module
from pathlib import Path

OF_A_GALLERY = ("bits", "kills", "calls", "company", "places", "crashes", "power")  # which is laid out and searched once, undisturbed
OF_FILES = ("photos", "bombs", "decisions", "networks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*OF_A_GALLERY, *OF_FILES))
    parser.add_argument("--runs", type=int, default=30, help="of calls that fail, bombs and places: at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from world import World

        world = World(folder) if given.what in OF_A_GALLERY else folder
        outcomes, wrong = Counter[str](), list[str]()
        for outcome, faults in getattr(import_module(given.what), given.what)(world, random.Random(given.seed), given.runs):
            outcomes[outcome] += 1
            print(outcome, *faults, file=sys.stderr, flush=True)
            wrong += faults
    print(json.dumps({"runs": outcomes.total(), "wrong": wrong, "outcomes": dict(sorted(outcomes.items()))}, indent=1))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
