"""What workers of a cluster do in its tests. They import this file, so it imports little."""

import os
import time
from pathlib import Path

from reid.errors import PhotoError


def begun(folder, item):
    """How often work on an item was begun before: its file has a line for each."""
    with open(Path(folder) / item, "a+") as file:
        file.seek(0)
        n = len(file.readlines())
        file.write(f"{time.time()}\n")
    return n


def waits_for(ahead, items):
    """The first item is done a moment after that of the file `ahead` is begun."""
    for item in items:
        begun(Path(ahead).parent, item)
        until = time.monotonic() + 60
        while item == "0" and not Path(ahead).exists() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.5 if item == "0" else 0.02)
        yield f"{item}!"


def wait_for_all(folder, n, items):
    """Each item is done when `n` of them are begun, by as many workers if each has one."""
    for item in items:
        begun(folder, item)
        until = time.monotonic() + 120
        while len(list(Path(folder).iterdir())) < n and time.monotonic() < until:
            time.sleep(0.02)
        yield item


def dies_of(bad, folder, items):
    for item in items:
        begun(folder, item)
        if item in bad:
            os._exit(1)
        yield item.upper()


def hangs_once(folder, items):
    for item in items:
        if begun(folder, item) == 0 and item == "3":
            time.sleep(600)
        yield item


def refuses(items):
    raise PhotoError(f"{items[0]} is a bad one")
