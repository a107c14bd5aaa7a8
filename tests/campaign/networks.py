"""Files that are no weights, or that mean harm: never executed, always refused."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from world import Runs

from reid import weights
from reid.errors import WeightsError


class Payload:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.marker),)


def networks(folder: Path, rng: random.Random, runs: int) -> Runs:
    marker, file = folder / "executed", folder / "weights.safetensors"
    card = {"card": json.dumps({"network": "goodpoint"})}
    good = save({"a": np.arange(64, dtype=np.float32), "b": np.ones((3, 5), np.float32)}, card)
    file.write_bytes(good)
    assert set(weights.load("goodpoint", str(file))) == {"a", "b"}  # so that what follows is refused for what is wrong with it
    for number in range(runs):
        how, data = broken(number, good, card, marker, rng)
        file.write_bytes(data)
        wrong = []
        try:
            weights.load("goodpoint", str(file))
            wrong.append(f"{how}: loaded")
        except WeightsError as error:
            wrong += [f"{how}: says {error}"] if "\n" in str(error) else []
        except BaseException as error:
            wrong.append(f"{how}: raises {error!r}")
        if marker.exists():
            wrong.append(f"{how}: executed")
            marker.rmdir()
        yield f"{how}: {'refused' if not wrong else 'wrong'}", wrong


def broken(number: int, good: bytes, card: dict[str, str], marker: Path, rng: random.Random) -> tuple[str, bytes]:
    how = ("pickle", "zip of a pickle", "cut", "overlapping", "holes", "header of 101 MB", "length", "bits of the header")[number % 8]
    if how == "pickle":
        return how, pickle.dumps(Payload(marker), protocol=rng.randrange(6))
    if how == "zip of a pickle":  # as torch.save writes it
        with zipfile.ZipFile(marker.with_name("packed"), "w") as packed:
            packed.writestr("archive/data.pkl", pickle.dumps(Payload(marker)))
            packed.writestr("archive/version", "3")
        return how, marker.with_name("packed").read_bytes()
    if how == "cut":
        return how, good[: rng.randrange(len(good))]
    if how == "length":
        return how, struct.pack("<Q", rng.choice((0, 1, 2**31, 2**63, 2**64 - 1))) + good[8:]
    if how == "header of 101 MB":
        return how, headed({"__metadata__": card | {"more": "x" * (101 << 20)}}, b"")
    if how == "bits of the header":  # of what says where the tensors lie
        data = bytearray(good)
        place = data.index(b"data_offsets") + rng.randrange(len("data_offsets"))
        data[place] ^= 1 << rng.randrange(7)
        return how, bytes(data)
    start = rng.randrange(1, 64) * (1 if how == "overlapping" else -1)
    entry = {"dtype": "F32", "shape": [16]}
    header = {"__metadata__": card, "a": entry | {"data_offsets": [0, 64]}, "b": entry | {"data_offsets": [64 - start, 128 - start]}}
    return how, headed(header, bytes(256))


def headed(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data
