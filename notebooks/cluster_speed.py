"""What it costs to share work out over a Ray cluster, apart from the work: workers on this machine that give back what they get.

    python notebooks/cluster_speed.py --workers 2 --shards 1000

Prints one JSON object. Seconds of the processor are those of the process that asks, which in the end limits how many workers it can feed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from reid import Listener, engines


def same(items: Sequence[str]) -> Sequence[str]:
    return items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shards", type=int, default=1000)
    given = parser.parse_args()
    items = [f"{number:064d}" for number in range(given.shards)]
    with tempfile.TemporaryDirectory() as folder:
        engine = engines.ray(workers=given.workers)(Path(folder), Listener())
        started = time.monotonic()
        list(engine.map(same, items[: given.workers], "warm", key=str))
        called = time.monotonic() - started
        started, processor = time.monotonic(), time.process_time()
        assert list(engine.map(same, items, "items", key=str)) == items
        took, processor = time.monotonic() - started, time.process_time() - processor
        engine.close()
    found = {
        "seconds_to_call_workers": called,
        "milliseconds_a_shard": 1000 * took / given.shards,
        "milliseconds_a_shard_of_the_processor": 1000 * processor / given.shards,
    }
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
