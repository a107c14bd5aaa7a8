"""Indexes of earlier versions: one FAISS file; then parts whose lists have no checksums of their own."""

from dataclasses import replace

import faiss
import numpy as np
import pytest
from test_shortlist import asked, crowd, digest, filled, named

from reid.retrieval import index as index_of
from reid.retrieval import shortlist
from reid.retrieval.shortlist import Shortlist
from reid.store import checksum_of


def as_before(folder, photos):
    """Make the index of these photos what it was until there were parts: one FAISS file."""
    tensors, about = index_of.read_tensors(folder / "photos.safetensors")
    parts = about.pop("parts")
    if "centres" in about:  # until parts were mapped
        index = faiss.read_index(str(folder / about.pop("centres")[0]))
        index.add_with_ids(np.concatenate([photo.descriptors for photo in photos], dtype=np.float32), np.repeat(np.arange(len(photos)), 30))
        faiss.write_index(index, str(folder / "all.faiss"))
        parts = [("all.faiss", (folder / "all.faiss").stat().st_size, checksum_of(folder / "all.faiss"))]
    [(name, n_bytes, checksum, *_)] = parts or [("none.faiss", 0, 0)]
    about |= {"file": name, "bytes": n_bytes, "checksum_of_file": checksum}
    for file in {*folder.glob("*.faiss"), *folder.glob("*.codes")} - {folder / name}:
        file.unlink()
    shortlist.write_tensors(folder / "photos.safetensors", tensors, about)


@pytest.mark.parametrize("exact_below", [2**16, 0])
def test_an_index_of_the_version_before_is_taken_over_as_it_is(tmp_path, in_parts, monkeypatch, exact_below):
    monkeypatch.setattr(shortlist, "SHARD", 2**24)
    monkeypatch.setattr(shortlist, "EXACT_BELOW", exact_below)
    photos, again = crowd(60)
    index = filled(tmp_path, *photos[:50])
    votes = [asked(index, query, *range(50)) for query in again]
    [folder] = index.root.glob("*/")
    as_before(folder, photos[:50])
    [file] = folder.glob("*.faiss")
    content = file.read_bytes()
    monkeypatch.setattr(shortlist, "SHARD", 8 * 30)
    assert shortlist.is_whole(folder) and not list(shortlist.unneeded(index.root, 86400))
    assert [asked(Shortlist(tmp_path, "features"), query, *range(50)) for query in again] == votes
    index = filled(tmp_path, *photos)  # loads what is new alone
    assert sorted(index.digests) == [digest(i) for i in range(60)] and list(index.root.glob("*/")) == [folder]
    assert len(named(folder)) == 3 and named(folder)[0].read_bytes() == content
    assert [int(np.argmax(asked(index, query, *range(60)))) for query in again] == list(range(60))


def test_an_index_without_a_keypoint_of_the_version_before_is_taken_over_too(tmp_path):
    bare = [
        replace(photo, keypoints=photo.keypoints[:0], scores=photo.scores[:0], descriptors=photo.descriptors[:0]) for photo in crowd(3)[0]
    ]
    [folder] = filled(tmp_path, *bare).root.glob("*/")
    as_before(folder, bare)
    assert shortlist.is_whole(folder) and asked(Shortlist(tmp_path, "features"), crowd(3)[1][0], 0, 1, 2) == [0, 0, 0]


def without_checksums_of_lists(folder):
    """Make the parts of an index what they were before lists had checksums."""
    tensors, about = index_of.read_tensors(folder / "photos.safetensors")
    n_lists = faiss.read_index(str(folder / about["centres"][0])).nlist
    for number, (name, *_) in enumerate(about["parts"]):
        content = (folder / name).read_bytes()
        file = folder / f"{number}.lists"
        file.write_bytes(content[: 8 * n_lists] + content[12 * n_lists :])
        (folder / name).unlink()
        about["parts"][number] = [file.name, file.stat().st_size, checksum_of(file)]
    about["centres"] = about["centres"][:3]
    shortlist.write_tensors(folder / "photos.safetensors", tensors, about)


def test_parts_without_checksums_of_lists_are_read_as_they_are_and_the_last_is_written_anew(tmp_path, in_parts):
    photos, again = crowd(60)
    index = filled(tmp_path, *photos[:50])
    votes = [asked(index, query, *range(50)) for query in again]
    [folder] = index.root.glob("*/")
    without_checksums_of_lists(folder)
    assert shortlist.is_whole(folder) and not list(shortlist.unneeded(index.root, 86400))
    assert [asked(Shortlist(tmp_path, "features"), query, *range(50)) for query in again] == votes
    index = filled(tmp_path, *photos)
    assert [file.suffix for file in named(folder)] == [".lists"] * 6 + [".codes"] * 2
    assert [int(np.argmax(asked(index, query, *range(60)))) for query in again] == list(range(60))
    first = named(folder)[0]
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    assert not shortlist.is_whole(folder)
    [folder] = {file.parent for file in filled(tmp_path, *photos).root.rglob("photos.safetensors")}
    assert {file.suffix for file in named(folder)} == {".codes"}
