"""The shortlist's index on disk: several galleries, several processes, several threads, damage."""

import os
import subprocess
import sys
import threading
from dataclasses import replace

import faiss
import numpy as np
import pytest
from test_shortlist import asked, crowd, digest, filled, silent

from reid.errors import StoreError
from reid.retrieval import lists, shortlist
from reid.retrieval.shortlist import Shortlist


def test_two_galleries_in_one_folder_keep_their_own_index(tmp_path):
    photos, again = crowd(40)
    loaded = []

    def load(name):
        loaded.append(name)
        return photos[int(name, 16)]

    galleries = [[digest(i) for i in range(25)], [digest(i) for i in range(25, 40)]]
    for _ in range(2):
        for own in galleries:
            index = Shortlist(tmp_path, "features")
            index.update(own, load, silent)
            assert len(index.digests) == len(own)
    assert len(loaded) >= 40 and len(set(loaded)) == 40
    n = len(loaded)
    Shortlist(tmp_path, "features").update(galleries[0], load, silent)
    assert len(loaded) == n  # nothing is laid out again
    assert np.argmax(asked(Shortlist(tmp_path, "features"), again[30], *range(25, 40))) == 5


def test_galleries_that_share_most_photos_do_not_take_turns_in_laying_out(tmp_path):
    """A, and B that has all of A and twice as many more: each has its index in the end, and A's is not laid out again for B's sake."""
    photos, again = crowd(60)
    small, large = [digest(i) for i in range(20)], [digest(i) for i in range(60)]
    loaded = []

    def load(name):
        loaded.append(name)
        return photos[int(name, 16)]

    for _ in range(2):
        for own in (small, large):
            Shortlist(tmp_path, "features").update(own, load, silent)
    n = len(loaded)
    for own in (small, large, small):
        index = Shortlist(tmp_path, "features")
        index.update(own, load, silent)
        assert sorted(index.digests) == own
    assert len(loaded) == n
    assert np.argmax(asked(Shortlist(tmp_path, "features"), again[50], *range(60))) == 50


WORKER = """
import sys
import numpy as np
from pathlib import Path
from reid.records import Features
from reid.retrieval import lists, shortlist

rng = np.random.default_rng(0)
photos = rng.normal(size=(60, 30, 16))
photos /= np.linalg.norm(photos, axis=2, keepdims=True)
shortlist.SAVE_EVERY, lists.AT_ONCE, lists.EXACT_BELOW = -1, 4, 0
first, last = map(int, sys.argv[2:])
numbers = {f"{i:064x}": i for i in range(first, last)}

def load(digest):
    return Features("test", (100, 80), np.ones((30, 2)), np.ones(30), photos[numbers[digest]])

for _ in range(4):
    index = shortlist.Shortlist(Path(sys.argv[1]), "features")
    index.update(list(numbers), load, lambda done, total: None)
    for digest in numbers:
        votes = index.votes(load(digest), list(numbers))
        assert list(numbers)[votes.argmax()] == digest
"""


def test_processes_that_index_at_once_do_not_take_each_others_files(tmp_path):
    spans = [(0, 60), (0, 60), (10, 60)]
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen([*command, *map(str, span)], stderr=subprocess.PIPE, text=True) for span in spans]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors


def test_a_file_that_goes_between_list_and_opening_is_looked_for_once_more(tmp_path, monkeypatch):
    photos, again = crowd(20)
    stale = filled(tmp_path, *photos[:10])
    read = lists.read_tensors
    before = [read(file) for file in stale.root.rglob("photos.safetensors")]
    grown = filled(tmp_path, *photos)
    for file in list(grown.root.rglob("*.faiss")):
        if file.stat().st_size < max(one.stat().st_size for one in grown.root.rglob("*.faiss")):
            file.unlink()  # what the old list names
    reads = []

    def late(file):
        reads.append(file)
        return before[0] if len(reads) == 1 else read(file)

    monkeypatch.setattr(lists, "read_tensors", late)
    index = Shortlist(tmp_path, "features")
    assert [int(np.argmax(asked(index, query, *range(20)))) for query in again] == list(range(20))
    assert len(reads) == 2


def test_threads_ask_while_the_index_grows(tmp_path):
    photos, again = crowd(60)
    index = filled(tmp_path, *photos[:30])
    wrong = []

    def ask():
        for _ in range(10):
            wrong.extend(i for i in range(30) if np.argmax(asked(index, again[i], *range(30))) != i)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for last in range(31, 61):
        index.update([digest(i) for i in range(last)], lambda name: photos[int(name, 16)], silent)
    for thread in threads:
        thread.join()
    assert not wrong
    assert np.argmax(asked(index, again[59], *range(60))) == 59


@pytest.fixture
def small_shards(monkeypatch):
    """Lists, and a file for each eight photos."""
    monkeypatch.setattr(lists, "EXACT_BELOW", 0)
    monkeypatch.setattr(lists, "AT_ONCE", 4)
    monkeypatch.setattr(lists, "SHARD", 8)


def test_votes_are_the_same_in_shards_and_only_the_last_is_written_for_new_photos(tmp_path, small_shards, monkeypatch):
    photos, again = crowd(60)
    index = filled(tmp_path / "shards", *photos[:57])
    before = {file.name for file in index.root.rglob("*.faiss")}
    assert len(before) == 1 + 8  # where the lists are, seven full shards and one photo
    index = filled(tmp_path / "shards", *photos)
    after = {file.name for file in index.root.rglob("*.faiss")}
    assert len(after - before) == 1 and len(after) == 10  # what it replaced stays for an hour
    votes = [asked(Shortlist(tmp_path / "shards", "features"), query, *range(60)) for query in again]
    assert np.argmax(votes, axis=1).tolist() == list(range(60))
    kept = next(index.root.glob("*/photos.safetensors"))
    assert len(lists.read(kept.parent).files) == 1 + 8


def test_a_full_shard_is_read_again_if_its_time_has_changed_and_always_by_a_check(tmp_path, small_shards):
    photos, _ = crowd(60)
    index = filled(tmp_path, *photos)
    [folder] = index.root.glob("*/")
    shard = folder / lists.read(folder).files[1].name
    content, times = shard.read_bytes(), shard.stat()
    shard.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not lists.is_whole(folder)
    lists.read(folder).opened()
    os.utime(shard)
    with pytest.raises(FileNotFoundError):
        lists.read(folder).opened()
    shard.write_bytes(content)
    lists.read(folder).opened()
    shard.write_bytes(content[:-1])
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(FileNotFoundError):
        lists.read(folder).opened()


def test_lists_hold_the_strongest_descriptors_in_eight_bytes(tmp_path, small_shards, monkeypatch):
    monkeypatch.setattr(lists, "KEPT", 10)
    photos, _ = crowd(40)
    strong = [replace(photo, scores=np.arange(30.0)) for photo in photos]
    index = filled(tmp_path, *strong)
    only = [
        replace(photo, scores=photo.scores[20:], keypoints=photo.keypoints[20:], descriptors=photo.descriptors[20:]) for photo in strong
    ]
    shards = lists.read(next(index.root.glob("*/"))).files[1:]
    assert sum(file.n_bytes for file in shards) < 40 * 10 * 16 + len(shards) * 1000
    assert np.argmax([asked(index, one, *range(40)) for one in only], axis=1).tolist() == list(range(40))


def test_an_index_of_an_earlier_version_is_no_damage_and_goes_after_an_hour(tmp_path):
    photos, _ = crowd(20)
    [folder] = filled(tmp_path, *photos).root.glob("*/")
    tensors, _ = lists.read_tensors(folder / "photos.safetensors")
    lists.write_tensors(folder / "photos.safetensors", tensors, {"file": "x.faiss", "bytes": 1, "checksum_of_file": 1, "n_trained": 20})
    assert lists.is_whole(folder) and list(lists.unneeded(folder.parent, 1e9)) == []
    os.utime(folder / "photos.safetensors", (0, 0))
    assert list(lists.unneeded(folder.parent, 1e9)) == [folder]


def test_replaced_files_go_after_an_hour_and_unused_indexes_after_a_month(tmp_path):
    photos, _ = crowd(40)
    index = filled(tmp_path, *photos[:20])
    other = Shortlist(tmp_path, "features")
    other.update([digest(i) for i in range(20, 40)], lambda name: photos[int(name, 16)], silent)
    [kept] = [folder for folder in index.root.glob("*/") if digest(3) in read_digests(folder)]
    first = next(kept.glob("*.faiss"))
    filled(tmp_path, *photos[:25])
    assert first.exists() and len(list(kept.glob("*.faiss"))) == 2
    os.utime(first, (0, 0))
    for folder in index.root.glob("*/"):
        if folder != kept:
            os.utime(folder / "photos.safetensors", (0, 0))
    filled(tmp_path, *photos[:26])
    assert not first.exists()
    assert list(index.root.glob("*/")) == [kept]


def read_digests(folder):
    return [row.tobytes().hex() for row in lists.read_tensors(folder / "photos.safetensors")[0]["digests"]]


def test_an_interrupted_index_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(shortlist, "SAVE_EVERY", -1)
    monkeypatch.setattr(lists, "AT_ONCE", 8)
    photos, again = crowd(40)
    loaded = []

    def load(name, last=1000):
        loaded.append(int(name, 16))
        if loaded[-1] > last:
            raise KeyboardInterrupt
        return photos[int(name, 16)]

    everyone = [digest(i) for i in range(40)]
    with pytest.raises(KeyboardInterrupt):
        Shortlist(tmp_path, "features").update(everyone, lambda name: load(name, last=20), silent)
    loaded.clear()
    index = Shortlist(tmp_path, "features")
    index.update(everyone, load, silent)
    assert set(loaded) == set(range(16, 40))  # two groups of eight were stored
    assert [int(np.argmax(asked(index, query, *range(40)))) for query in again] == list(range(40))


@pytest.mark.parametrize("damage", ["cut", "garbage", "gone", "table"])
def test_a_damaged_index_is_made_again(tmp_path, damage):
    photos, again = crowd()
    [file] = filled(tmp_path, *photos).root.rglob("*.faiss")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    elif damage == "garbage":
        file.write_bytes(bytes(file.stat().st_size))
    elif damage == "gone":
        file.unlink()
    else:
        (file.parent / "photos.safetensors").write_bytes(b"nonsense")
    index = filled(tmp_path, *photos)
    assert np.argmax([asked(index, query, *range(20)) for query in again], axis=1).tolist() == list(range(20))


def test_an_index_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(faiss, "write_index", lambda *_: (_ for _ in ()).throw(RuntimeError("in f:\nno space")))
    with pytest.raises(StoreError, match=r"^cannot write .*faiss: FAISS: no space; .* run again, what is stored stays$"):
        filled(tmp_path, *crowd()[0])
