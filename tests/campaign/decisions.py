"""Power that goes while decisions are written: what was acknowledged is there, whatever of the rest has reached the disk."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from world import Runs

from reid.catalogue.decisions import DecisionLog, Kind, PhotoKey

CALLS = "openat,pwrite64,write,ftruncate,fsync,fdatasync,rename,link,linkat,unlink"
CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (\d+)")
WRITER = """
import sys
from pathlib import Path
from reid.catalogue.decisions import DecisionLog, Kind, PhotoKey
log = DecisionLog(Path(sys.argv[1]))
for i in range(6):
    print("said", log.append(Kind.SAME, [PhotoKey(f"{i}", "x"), PhotoKey("other", "y")], observer="zoe").number, flush=True)
"""


@dataclass
class File:
    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # where, and what; None: cut off there

    def content(self, kept: list[tuple[int, bytes | None]]) -> bytes:
        data = bytearray(self.synced)
        for place, part in kept:
            if part is None:
                del data[place:]
            else:
                data[len(data) :] = bytes(max(0, place - len(data)))
                data[place : place + len(part)] = part
        return bytes(data)


def decisions(folder: Path, rng: random.Random, runs: int) -> Runs:
    """A moment at which power goes, and any choice of what was not synced by then."""
    if not shutil.which("strace"):
        yield "not done: no strace", []
        return
    place, trace = folder / "gallery", folder / "trace"
    place.mkdir()
    command = ["strace", "-f", "-o", trace, "-xx", "-s", "1000000", "-e", f"trace={CALLS}", sys.executable, "-c", WRITER, place]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        yield "not done: strace may not look on", []
        return
    calls = [(name, args, int(result)) for name, args, result in found(trace)]
    first = next(n for n, (_, args, _) in enumerate(calls) if hexed(place) in args)
    for _ in range(runs):
        stop = rng.randrange(first, len(calls) + 1)
        shutil.rmtree(folder / "after", ignore_errors=True)
        acknowledged = after(calls[:stop], place, folder / "after", rng)
        wrong = []
        try:
            log = DecisionLog(folder / "after")
            there = len(log.history())
            if there not in (acknowledged, acknowledged + 1):
                wrong.append(f"call {stop}: {acknowledged} acknowledged, {there} there")
            if log.append(Kind.SAME, [PhotoKey("a", "x"), PhotoKey("b", "y")], observer="zoe").number != there + 1:
                wrong.append(f"call {stop}: does not go on")
        except Exception as error:
            wrong.append(f"call {stop}, {acknowledged} acknowledged: {error!r}")
        yield f"{acknowledged} acknowledged{', one more there' if not wrong and there > acknowledged else ''}", wrong


def found(trace: Path) -> list[tuple[str, str, str]]:
    return [one.groups() for line in trace.read_text().splitlines() if (one := CALL.match(line))]


def hexed(path: Path) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(path))


def after(calls: list[tuple[str, str, int]], place: Path, target: Path, rng: random.Random) -> int:
    """What the disk holds; how many decisions were acknowledged."""
    opened: dict[int, File | None] = {}  # None: the folder
    names: dict[str, File] = {}  # as the process sees them
    changes: list[tuple[str, File | None]] = []  # names that come and go, not synced
    durable: dict[str, File] = {}
    acknowledged = 0

    def change(name: str, file: File | None) -> None:
        changes.append((name, file))
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file

    for name, args, result in calls:
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in re.findall(r'"([^"]*)"', args)]
        paths = [os.path.relpath(os.fsdecode(text), place) for text in texts if text.startswith(os.fsencode(place))]
        number = int(args.partition(",")[0]) if args.partition(",")[0].isdigit() else -1
        if name == "openat":
            opened.pop(result, None)
            if paths == ["."]:
                opened[result] = None
            elif paths:
                if paths[0] not in names:
                    change(paths[0], File())
                opened[result] = names[paths[0]]
        elif name in ("link", "linkat") and paths:
            change(paths[1], names[paths[0]])
        elif name == "rename" and paths:
            file = names[paths[0]]
            change(paths[0], None), change(paths[1], file)
        elif name == "unlink" and paths:
            change(paths[0], None)
        elif name == "write" and number == 1:
            acknowledged += texts[0].startswith(b"said")
        elif number in opened:
            file = opened[number]
            if file is None:  # the folder is synced
                for one, what in changes:
                    durable.pop(one, None) if what is None else durable.update({one: what})
                changes.clear()
            elif name == "pwrite64":
                file.pending.append((int(args.rsplit(",", 1)[1]), texts[0]))
            elif name == "ftruncate":
                file.pending.append((int(args.rsplit(",", 1)[1]), None))
            elif name in ("fsync", "fdatasync"):
                file.synced, file.pending = file.content(file.pending), []
    for one, what in changes[: rng.randint(0, len(changes))]:  # a folder's changes come in their order
        durable.pop(one, None) if what is None else durable.update({one: what})
    target.mkdir()
    share = rng.random()
    for one, file in durable.items():
        kept = [part for part in file.pending if rng.random() < share]
        rng.shuffle(kept)
        (target / one).write_bytes(file.content(kept))
    return acknowledged
