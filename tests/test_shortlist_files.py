"""The shortlist's index on disk: several galleries, several processes, several threads, parts."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from test_shortlist import asked, crowd, digest, filled, named, parts, silent

from reid.errors import StoreError
from reid.records import Features
from reid.retrieval import growing, lists, shortlist
from reid.retrieval import index as index_of
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


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")])
def test_an_index_is_searched_where_nothing_can_be_written(tmp_path, monkeypatch, error):
    photos, again = crowd(20)
    Shortlist(tmp_path, "features").update([digest(i) for i in range(20)], lambda name: photos[int(name, 16)], silent)

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(os, "utime", refuse)
    assert np.argmax(asked(Shortlist(tmp_path, "features"), again[7], *range(20))) == 7


WORKER = """
import sys
import numpy as np
from pathlib import Path
from reid.records import Features
from reid.retrieval import index as index_of
from reid.retrieval import growing, lists, shortlist

rng = np.random.default_rng(0)
photos = rng.normal(size=(60, 30, 16))
photos /= np.linalg.norm(photos, axis=2, keepdims=True)
shortlist.SAVE_EVERY, growing.AT_ONCE, growing.EXACT_BELOW = -1, 4, 0
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
    read = index_of.read_tensors
    before = [read(file) for file in stale.root.rglob("photos.safetensors")]
    grown = filled(tmp_path, *photos)
    for file in list(grown.root.rglob("*.faiss")):
        if file.stat().st_size < max(one.stat().st_size for one in grown.root.rglob("*.faiss")):
            file.unlink()  # what the old list names
    reads = []

    def late(file):
        reads.append(file)
        return before[0] if len(reads) == 1 else read(file)

    monkeypatch.setattr(index_of, "read_tensors", late)
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


def test_votes_are_the_same_in_parts(tmp_path, in_parts, monkeypatch):
    photos, again = crowd(60)
    votes = []
    for shard in (8 * 30, 2**24):
        monkeypatch.setattr(growing, "SHARD", shard)
        index = filled(tmp_path / str(shard), *photos)
        assert len(parts(index.root)) == (8 if shard < 2**24 else 1)
        votes.append([asked(index, query, *places) for query in again for places in (range(60), range(5, 50))])
    for in_parts, whole in zip(*votes):
        np.testing.assert_allclose(in_parts, whole, atol=1e-6)
    assert [int(np.argmax(one)) for one in votes[0][::2]] == list(range(60))


@pytest.mark.parametrize("n_before", [53, 56])
def test_what_is_added_is_a_part_of_its_own_that_smaller_ones_join(tmp_path, in_parts, n_before):
    photos, again = crowd(70)
    index = filled(tmp_path, *photos[:n_before])
    before = {file: file.stat().st_mtime_ns for file in parts(index.root)}
    loaded, n_small = [], []
    for n in (n_before, n_before + 5, *range(n_before + 6, 71)):
        index = Shortlist(tmp_path, "features")
        index.update([digest(i) for i in range(n)], lambda name: loaded.append(int(name, 16)) or photos[int(name, 16)], silent)
        assert sorted(index.digests) == [digest(i) for i in range(n)]
        [folder] = index.root.glob("*/")
        files = named(folder)
        assert {file: file.stat().st_mtime_ns for file in files[:7]} == before  # which nobody writes again
        n_small.append(len(files) - 7)
        assert [int(np.argmax(asked(index, query, *range(n)))) for query in again[:n]] == list(range(n))
    assert sorted(loaded) == list(range(n_before, 70))  # each once, what is stored not at all
    assert max(n_small) <= 4
    assert [int(np.argmax(asked(Shortlist(tmp_path, "features"), query, *range(70)))) for query in again] == list(range(70))


def test_a_part_that_another_process_replaces_while_this_one_adds_is_not_missed(tmp_path, in_parts):
    photos, again = crowd(60)
    filled(tmp_path, *photos[:42])
    everyone, others = [digest(i) for i in range(60)], []

    def load(name):
        if not others:
            others.extend(filled(tmp_path, *photos[:n]) for n in (48, 58))
            [folder] = others[0].root.glob("*/")
            for file in set(parts(folder)) - set(named(folder)):
                file.unlink()  # as the process does that has made it
        return photos[int(name, 16)]

    index = Shortlist(tmp_path, "features")
    index.update(everyone, load, silent)
    assert sorted(index.digests) == everyone
    assert [int(np.argmax(asked(index, query, *range(60)))) for query in again] == list(range(60))
    assert all(map(shortlist.is_whole, index.root.glob("*/")))


@pytest.mark.parametrize("n_keypoints", [30, 100])
def test_lists_are_no_more_than_what_there_is_to_lay_them_out_for(tmp_path, in_parts, n_keypoints):
    """The first photos are rich, and all others have no keypoint: how many there are is guessed from the former."""
    photos, again = crowd(5, n_keypoints)
    none = np.zeros((0, 16))
    blank = [Features("test", (100, 80), none[:, :2], none[:, 0], none) for _ in range(3000)]
    index = filled(tmp_path, *photos, *blank)
    file, *_ = parts(index.root)
    assert file.suffix == (".faiss" if n_keypoints < growing.LEAST else ".codes")
    assert [int(np.argmax(asked(index, query, *range(5)))) for query in again] == list(range(5))


def test_a_part_has_no_more_photos_than_it_can_number(tmp_path, in_parts, monkeypatch):
    monkeypatch.setattr(growing, "SHARD", 2**24)
    monkeypatch.setattr(lists, "MOST_PHOTOS", 16)
    photos, again = crowd(60)
    index = filled(tmp_path, *photos[:50])
    assert len(parts(index.root)) == 4
    index = filled(tmp_path, *photos)
    [folder] = index.root.glob("*/")
    firsts = [part.first for part in index_of.read(folder).parts]
    assert np.diff([*firsts, 60]).max() <= 16
    assert [int(np.argmax(asked(index, query, *range(60)))) for query in again] == list(range(60))


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
    return [row.tobytes().hex() for row in index_of.read_tensors(folder / "photos.safetensors")[0]["digests"]]


def test_an_interrupted_index_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(shortlist, "SAVE_EVERY", -1)
    monkeypatch.setattr(growing, "AT_ONCE", 8)
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


def test_an_index_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "no space")))
    with pytest.raises(StoreError, match=r"^cannot write .*faiss: no space; free some space and run again, what is stored stays$"):
        filled(tmp_path, *crowd()[0])


def test_a_folder_of_any_name_holds_an_index(tmp_path):
    folder = tmp_path / os.fsdecode(b"J\xc3\xbcrgen caf\xe9")  # not UTF-8
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    photos, again = crowd(10)
    filled(folder, *photos)
    assert [int(np.argmax(asked(Shortlist(folder, "features"), query, *range(10)))) for query in again] == list(range(10))


@pytest.mark.parametrize("has_photos", [True, False])
def test_an_index_that_another_run_has_put_in_the_place_of_a_larger_one_is_told_or_grows_again(tmp_path, has_photos):
    """A run that never knew the new photos stores its list of photos last; who asks for them next does not find them."""
    photos, again = crowd(20)
    stale = filled(tmp_path, *photos[:15])
    [old] = stale.root.rglob("photos.safetensors")
    before = old.read_bytes()
    index = filled(tmp_path, *photos)
    old.write_bytes(before)
    if not has_photos:
        with pytest.raises(StoreError, match="run again"):
            asked(Shortlist(tmp_path, "features"), again[18], *range(20))
        return
    index._index = None  # as a session that has just been opened
    assert int(np.argmax(asked(index, again[18], *range(20)))) == 18
