"""Inverted lists in files that are mapped: the answers of FAISS's own lists, in any number of files, held or let go; many centres."""

import faiss
import numpy as np
import pytest
from test_shortlist import asked, crowd, filled, parts

from reid.retrieval import centres, growing, lists, searched
from reid.retrieval import index as index_of
from reid.retrieval.lists import Coded
from reid.retrieval.searched import Mapped
from reid.retrieval.shortlist import Shortlist


def drawn(n, n_dims, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, n_dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(params=[(16, 4), (64, 16), (256, 64)], ids=str)
def coded(request):
    """An index of FAISS's own with descriptors, and the same empty; some of its lists are empty, none but a few are full blocks."""
    n_dims, n_codes = request.param
    trained = faiss.index_factory(n_dims, f"IVF32,PQ{n_codes}x4fs", faiss.METRIC_INNER_PRODUCT)
    rows = drawn(3000, trained.d)
    trained.train(rows)
    own = faiss.clone_index(trained)
    own.add_with_ids(rows[1000:], np.arange(2000) // 20)
    return own, trained, rows[1000:]


def written(folder, trained, rows, n_files):
    files = {}
    for number, places in enumerate(np.array_split(np.arange(len(rows)), n_files)):
        part = Coded(trained)
        part.add(rows[places], places // 20)
        files[folder / f"{number}.codes"] = part.first
        part.write(list(files)[-1])
    return files


def in_order(found):
    """Photos of each row, those that are equally near in any order; without those that are as near as the last, which may be others."""
    return [sorted(pair for pair in zip(*one) if pair[0] > one[0].min()) for one in zip(*found)]


@pytest.mark.parametrize("n", [4, 40])
@pytest.mark.parametrize("among", [False, True])
@pytest.mark.parametrize("disk", [True, False])
def test_what_is_mapped_is_found_as_faiss_finds_it(tmp_path, coded, monkeypatch, n, among, disk):
    own, trained, rows = coded
    if not disk:
        monkeypatch.delattr(faiss, "OnDiskInvertedLists")  # as on Windows
    selected = np.arange(100) % 3 > 0 if among else None
    query = drawn(50, trained.d, seed=1)
    probed = trained.quantizer.search(query, 6)
    similarity, photo = searched._search(own, query, n, probed, selected)
    for lets_go in (False, True):
        mapped = Mapped(trained, written(tmp_path, trained, rows, 1), lets_go)
        for _ in range(2):
            found = mapped.search(query, n, probed, selected)
            assert np.array_equal(found[0], similarity) and in_order(found) == in_order((similarity, photo))
    assert np.array_equal(Mapped(trained, written(tmp_path, trained, rows, 3), False).search(query, n, probed, selected)[0], similarity)


def test_photos_of_later_parts_have_the_numbers_that_their_part_does_not(tmp_path, coded):
    """A file numbers its photos in two bytes; where it begins is no matter."""
    _, trained, rows = coded
    [file] = written(tmp_path, trained, rows, 1)
    probed = trained.quantizer.search(rows[:50], 6)
    similarity, photo = Mapped(trained, {file: 0}, False).search(rows[:50], 4, probed, None)
    assert photo.min() >= 0 and photo.max() > 50
    for first in (65_500, 10**6):
        found = Mapped(trained, {file: first}, False).search(rows[:50], 4, probed, None)
        assert np.array_equal(found[0], similarity) and np.array_equal(found[1], photo + first)


def test_numbers_of_codes_are_enough_though_another_thread_replaces_them(monkeypatch):
    class Replaced(list):
        def __setitem__(self, place, numbers):
            super().__setitem__(place, numbers[:0])

    monkeypatch.setattr(searched, "_counted", Replaced([np.zeros(0, np.int64)]))
    assert searched._counting(5)[:5].tolist() == [0, 1, 2, 3, 4]


def test_a_part_that_is_read_again_goes_on_as_it_was(tmp_path, coded):
    _, trained, rows = coded
    [file] = written(tmp_path, trained, rows, 1)
    half, _ = written(tmp_path / "..", trained, rows, 2)
    again = Coded(trained)
    again.add(rows[1000:], np.arange(1000, 2000) // 20)
    again.add_before(half, 0)
    assert len(again) == 2000 and again.first == 0
    again.write(tmp_path / "again.codes")
    assert (tmp_path / "again.codes").read_bytes() == file.read_bytes()


def test_files_that_are_searched_one_by_one_are_let_go_and_say_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "EXACT_BELOW", 0)
    monkeypatch.setattr(growing, "SHARD", 64 * 5)
    monkeypatch.setattr(growing, "AT_ONCE", 4)
    photos, again = crowd(60)
    votes = []
    for held in (2**30, 1):
        monkeypatch.setattr(index_of, "HELD", held)
        monkeypatch.setattr(index_of, "KEPT", held)
        index = filled(tmp_path, *photos)
        votes.append([asked(index, query, *range(60)) for query in again])
        assert len(index._index.opened) == (1 if held > 1 else len(parts(index.root))) and len(parts(index.root)) == 5
    np.testing.assert_allclose(votes[0], votes[1], atol=1e-6)


@pytest.fixture
def many(monkeypatch):
    """Few centres are many."""
    monkeypatch.setattr(centres, "MANY", 8)
    monkeypatch.setattr(lists, "PER_LIST", 16)
    monkeypatch.setattr(growing, "EXACT_BELOW", 0)


def test_many_centres_are_found_and_looked_for_in_two_steps_the_same_each_time(tmp_path, many):
    photos, again = crowd(60)
    votes = []
    for folder in ("a", "b"):
        index = filled(tmp_path / folder, *photos)
        assert index._index.trained.nlist == 128
        votes.append([asked(index, query, *range(60)) for query in again])
    assert votes[0] == votes[1]
    assert [int(np.argmax(one)) for one in votes[0]] == list(range(60))
    assert [file.read_bytes() for file in parts(tmp_path / "a")] == [file.read_bytes() for file in parts(tmp_path / "b")]


def test_almost_every_descriptor_is_put_into_the_list_next_to_it(many):
    rows = drawn(4000, 8)
    found = centres.found(rows, 64)
    assert found.shape == (64, 8) and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    assert (rows @ found.T).max(axis=1).mean() > (rows @ centres._means(rows, 64).T).max(axis=1).mean() - 0.02
    quantizer = faiss.IndexFlatIP(8)
    quantizer.add(found)
    nearest = (rows @ found.T).argmax(axis=1)
    assert (centres.nearest(quantizer)(rows) == nearest).mean() > 0.9
    assert np.array_equal(quantizer.search(rows[:100], 1)[1].ravel(), nearest[:100])


def test_more_lists_than_now_are_for_more_descriptors_than_a_file_holds():
    assert [lists.how_many(512 * n) for n in (500, 1_000, 10_000, 100_000, 10**6, 10**7)] == [512, 512, 2048, 16384, 65536, 65536]
    assert all(lists.how_many(n) == 2 ** round(np.log2(n) / 2) for n in range(2**16, growing.SHARD, 99_991))


def test_numbers_of_photos_are_looked_up_again_for_other_photos_and_in_another_index(tmp_path):
    photos, again = crowd(30)
    index = filled(tmp_path, *photos[:20])
    first = asked(index, again[3], *range(20))
    assert asked(index, again[3], *range(19, -1, -1)) == first[::-1]
    filled(tmp_path, *photos)
    grown = Shortlist(tmp_path, "features")
    assert int(np.argmax(asked(grown, again[25], *range(30)))) == 25
    assert int(np.argmax(asked(index, again[25], *range(30)))) == 25  # which opens what is stored
