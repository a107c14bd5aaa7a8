"""The shortlist's index, damaged: found when a query reads it, or before; laid out again, or said; never another answer."""

import os

import numpy as np
import pytest
from test_shortlist import asked, crowd, digest, filled, named, silent

from reid.errors import StoreError
from reid.retrieval import shortlist
from reid.retrieval.shortlist import Shortlist
from reid.store import DamagedFile


@pytest.mark.parametrize("part", [0, 3, 7])
@pytest.mark.parametrize("damage", ["cut", "bit", "gone"])
def test_an_index_with_a_damaged_part_is_found_and_made_again(tmp_path, in_parts, part, damage):
    photos, again = crowd(60)
    [folder] = filled(tmp_path, *photos).root.glob("*/")
    assert shortlist.is_whole(folder)
    file = named(folder)[part]
    content, times = file.read_bytes(), file.stat()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-9] if damage == "cut" else content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not shortlist.is_whole(folder)
    index = filled(tmp_path, *photos)
    assert [int(np.argmax(asked(index, query, *range(60)))) for query in again] == list(range(60))
    assert all(map(shortlist.is_whole, index.root.glob("*/")))


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


def flip(file, place):
    """One bit, with the times as they were."""
    content, times = bytearray(file.read_bytes()), file.stat()
    content[place // 8] ^= 1 << place % 8
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("disk", [True, False])
def test_no_bit_of_a_part_changes_an_answer(tmp_path, in_parts, monkeypatch, disk):
    if not disk:
        monkeypatch.delattr("faiss.OnDiskInvertedLists")  # as on Windows
    photos, again = crowd(60)
    index, again = filled(tmp_path, *photos), again[::9]
    [folder] = index.root.glob("*/")
    right = [asked(index, query, *range(60)) for query in again]
    n_said = 0
    for place in np.random.default_rng(0).integers(8 * named(folder)[2].stat().st_size, size=20).tolist():
        flip(named(folder)[2], place)
        assert not shortlist.is_whole(folder)
        index = Shortlist(tmp_path, "features")  # nobody has brought it to photos, so it cannot lay out another
        for query, answer in zip(again, right):
            try:
                assert asked(index, query, *range(60)) == answer
            except StoreError:
                n_said += 1
                break
        index = filled(tmp_path, *photos)
        assert [asked(index, query, *range(60)) for query in again] == right
        if not shortlist.is_whole(folder):  # it is in a list that none of these has read
            flip(named(folder)[2], place)
    assert n_said > 5


def test_a_list_that_turns_out_to_be_damaged_is_laid_out_again_by_who_asks(tmp_path, in_parts):
    photos, again = crowd(60)
    index = filled(tmp_path, *photos)
    right = [asked(index, query, *range(60)) for query in again]
    [folder] = index.root.glob("*/")
    index = Shortlist(tmp_path, "features")
    index.update([digest(i) for i in range(60)], lambda name: photos[int(name, 16)], silent)
    for file in named(folder):
        flip(file, 8 * file.stat().st_size - 1)
    assert [asked(index, query, *range(60)) for query in again] == right
    assert shortlist.is_whole(folder)


def test_what_is_opened_or_added_to_is_not_read_through(tmp_path, in_parts):
    """Whoever reads a list checks it: not who opens the index, nor who adds to its last part."""
    photos, _ = crowd(60)
    [folder] = filled(tmp_path, *photos[:50]).root.glob("*/")
    first = named(folder)[0]
    flip(first, 8 * first.stat().st_size - 1)
    loaded = []
    index = Shortlist(tmp_path, "features")
    index.update([digest(i) for i in range(60)], lambda name: loaded.append(int(name, 16)) or photos[int(name, 16)], silent)
    assert set(loaded) == set(range(50, 60)) and named(folder)[0] == first and not shortlist.is_whole(folder)


def test_a_disk_that_damages_what_is_written_ends_the_run(tmp_path, monkeypatch):
    photos, [query, *_] = crowd()
    index, tries = filled(tmp_path, *photos), []

    def damaged(self, *_):
        tries.append(self._index)
        raise DamagedFile(tmp_path / "part")

    monkeypatch.setattr(Shortlist, "_counted", damaged)
    with pytest.raises(StoreError, match="part is damaged as soon as it is written"):
        asked(index, query, *range(20))
    assert len(tries) == 2 and tries[0] is not tries[1]  # laid out again in between
