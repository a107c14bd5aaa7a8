import errno
import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import save
from test_records import features

from reid.errors import PhotoError, StoreError
from reid.records import PhotoRef
from reid.store import CoarseStore, DamagedFile, Digests, FeatureStore, MatchStore, lacking, remove_leftovers, write_atomically

DIGEST = "ab" * 32


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path, "f" * 16)


def test_features_come_back_as_they_were(store):
    """All but the descriptors, which are kept in 8 bits a dimension, exactly; what is stored again does not change further."""
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(5, 128))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    given = features(5, keypoints=rng.random((5, 2)) * 19, scales=np.ones(5), angles=np.arange(5), descriptors=descriptors)
    store.save(DIGEST, given)
    found = store.load(DIGEST)
    assert (found.kind, found.size) == ("sift", (31, 20))
    for name in ("keypoints", "scores", "scales", "angles"):
        assert np.array_equal(getattr(found, name), getattr(given, name))
        assert getattr(found, name).dtype == getattr(given, name).dtype
    read = found.descriptors.astype(np.float64)
    assert found.descriptors.dtype == np.float16
    assert np.allclose(np.linalg.norm(read, axis=1), 1, atol=2e-3)
    assert (read * descriptors).sum(axis=1).min() > 0.9995
    store.save(DIGEST, found)
    assert np.allclose(store.load(DIGEST).descriptors, found.descriptors, atol=1e-3)
    assert DIGEST in store
    assert store.load("cd" * 32) is None


def test_a_photo_of_1024_keypoints_takes_at_most_150_kib(store):
    store.save(DIGEST, features(1024, descriptors=np.random.default_rng(0).normal(0, 0.09, (1024, 128))))
    assert store.path(DIGEST).stat().st_size <= 150 * 1024


def test_no_keypoint_at_all_is_stored_too(store):
    store.save(DIGEST, features(0))
    assert len(store.load(DIGEST)) == 0


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty", "text"])
def test_every_damage_is_found(store, harm):
    store.save(DIGEST, features(40))
    path = store.path(DIGEST)
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-5] ^= 1
    path.write_bytes({"truncate": data[:-7], "flip": data, "empty": b"", "text": b"hello"}[harm])
    with pytest.raises(DamagedFile):
        store.load(DIGEST)


def test_a_full_disk_is_one_line_and_leaves_nothing_broken(tmp_path, monkeypatch):
    path = tmp_path / "a" / "b.json"
    write_atomically(path, b"old")

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(StoreError, match="free some space and run again"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_interrupted_leaves_no_part(tmp_path):
    def interrupted(part):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", interrupted)
    assert not list(tmp_path.iterdir())


def test_a_name_as_long_as_a_file_system_takes_is_written(tmp_path):
    path = tmp_path / ("ж" * 125 + ".json")  # 255 bytes
    write_atomically(path, b"all")
    assert path.read_bytes() == b"all" and list(tmp_path.iterdir()) == [path]


def test_what_is_replaced_leaves_its_mode(tmp_path):
    path = tmp_path / "own.csv"
    path.write_bytes(b"old")
    path.chmod(0o600)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="the system has no such streams")
@pytest.mark.parametrize("stream", ["/dev/stdout", "/dev/fd/1"])
def test_a_stream_that_is_open_is_written_into(tmp_path, stream):
    """Whether it leads into a pipe or, after what is there, into a file."""
    words = [sys.executable, "-c", f"from pathlib import Path; from reid.store import *; write_atomically(Path({stream!r}), b'all')"]
    assert subprocess.run(words, stdout=subprocess.PIPE).stdout == b"all"
    log = tmp_path / "log"
    log.write_bytes(b"precious ")
    with open(log, "ab") as file:
        assert subprocess.run(words, stdout=file).returncode == 0
    assert log.read_bytes() == b"precious all" and list(tmp_path.iterdir()) == [log]


def test_parts_of_a_killed_run_are_removed_but_not_those_of_one_that_runs(tmp_path, store):
    store.save(DIGEST, features())
    old, young = (store.path(DIGEST).with_name(f".{name}.part") for name in ("old", "young"))
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    remove_leftovers(tmp_path)
    assert not old.exists()
    assert young.exists()
    assert DIGEST in store


def test_digests_follow_content_crop_and_mask_not_names(tmp_path):
    digests = Digests(tmp_path / "cache")
    a = save(tmp_path / "a.png", np.zeros((9, 9, 3), np.uint8))
    b = save(tmp_path / "b.png", np.zeros((9, 9, 3), np.uint8))
    plain = digests.of(PhotoRef("a", a))
    assert plain == digests.of(PhotoRef("b", b))
    others = {
        digests.of(PhotoRef("a", a, crop=(0, 0, 5, 5))),
        digests.of(PhotoRef("a", a, crop=(0, 0, 5, 6))),
        digests.of(PhotoRef("a", a, mask="[[0, 0, 5, 0, 5, 5]]")),
        digests.of(PhotoRef("a", a, mask=str(b))),
    }
    assert len(others | {plain}) == 5
    save(a, np.ones((9, 9, 3), np.uint8))
    os.utime(a, ns=(0, a.stat().st_mtime_ns + 10**9))
    assert digests.of(PhotoRef("a", a)) != plain
    with pytest.raises(PhotoError, match="none"):
        digests.of(PhotoRef("none", tmp_path / "none.png"))


def test_a_damaged_table_of_digests_is_made_anew(tmp_path):
    a = save(tmp_path / "a.png", np.zeros((9, 9, 3), np.uint8))
    first = Digests(tmp_path / "cache").of(PhotoRef("a", a))
    (tmp_path / "cache" / "digests.sqlite").write_bytes(b"not a database at all" * 100)
    assert Digests(tmp_path / "cache").of(PhotoRef("a", a)) == first


def test_a_damaged_table_of_digests_that_cannot_be_removed_is_one_line(tmp_path, monkeypatch):
    """As on Windows, where another process has it open."""
    a = save(tmp_path / "a.png", np.zeros((9, 9, 3), np.uint8))
    digests = Digests(tmp_path / "cache")
    digests.of(PhotoRef("a", a))

    class Damaged:
        def __init__(self, connection):
            self.close = connection.close

        def __enter__(self):
            raise sqlite3.DatabaseError("database disk image is malformed")

        def __exit__(self, *_):
            pass

    digests._own.connection = Damaged(digests._own.connection)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError("in use")))
    with pytest.raises(StoreError, match=r"digests\.sqlite is damaged and in use; run again when nothing else is at work$"):
        digests.of(PhotoRef("a", a))


def test_a_digest_is_not_computed_twice(tmp_path, monkeypatch):
    a = save(tmp_path / "a.png", np.zeros((9, 9, 3), np.uint8))
    first = Digests(tmp_path / "cache").of(PhotoRef("a", a))
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert Digests(tmp_path / "cache").of(PhotoRef("a", a)) == first


def pair(*confidence, first=0):
    """Matches of so many confidences, from row `first` on."""
    rows = np.arange(first, first + len(confidence), dtype=np.int32)
    return np.stack((rows, rows[::-1]), axis=1), np.array(confidence, np.float16)


@pytest.mark.parametrize("first", [0, 70_000])
def test_matches_of_a_query_grow(tmp_path, first):
    store = MatchStore(tmp_path, "m" * 16)
    assert store.load(DIGEST) == {}
    values = {"01" * 32: pair(0.5, 0.25, first=first), "02" * 32: pair()}
    store.save(DIGEST, values)
    store.save(DIGEST, store.load(DIGEST) | {"00" * 32: pair(1, 1, 1)})
    found = store.load(DIGEST)
    assert {key: confidence.tolist() for key, (_, confidence) in found.items()} == {
        "01" * 32: [0.5, 0.25],
        "02" * 32: [],
        "00" * 32: [1, 1, 1],
    }
    assert found["01" * 32][0].tolist() == [[first, first + 1], [first + 1, first]]
    assert found["02" * 32][0].shape == (0, 2)
    store.path(DIGEST).write_bytes(b"damaged")
    with pytest.raises(DamagedFile):
        store.load(DIGEST)


def test_coarse_looks_of_a_query_grow(tmp_path):
    store = CoarseStore(tmp_path, "c" * 16)
    store.save(DIGEST, {"01" * 32: 1.5})
    store.save(DIGEST, store.load(DIGEST) | {"00" * 32: 0.25})
    assert store.load(DIGEST) == {"00" * 32: 0.25, "01" * 32: 1.5}


def test_digests_from_several_threads(tmp_path):
    files = [tmp_path / f"{n}.bin" for n in range(40)]
    for n, file in enumerate(files):
        file.write_bytes(bytes([n]))
    digests = Digests(tmp_path / "store")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda file: digests.of(PhotoRef(file.name, file)), files * 3))
    assert found == [hashlib.sha256(bytes([n])).hexdigest() for n in range(40)] * 3
    digests.close()


def test_what_is_lacking_is_found_without_a_look_at_any_file(store, monkeypatch):
    kept = [f"{number:02x}" * 32 for number in range(3)] + ["00" + "1" * 62]
    for digest in kept[:2]:
        store.save(digest, features(2))
    monkeypatch.setattr(os, "stat", lambda *_, **__: pytest.fail("a file was looked at"))
    assert lacking(kept, [store]) == set(kept[2:])
    assert lacking([], [store]) == set()


def test_where_a_folder_of_the_store_cannot_be_listed_its_photos_are_lacking(store):
    digest = "ab" * 32
    store.folder.mkdir(parents=True, exist_ok=True)
    (store.folder / digest[:2]).write_text("a file where a folder should be")
    assert lacking([digest], [store]) == {digest}
