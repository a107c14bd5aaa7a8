"""Votes of descriptors: by hand on a few, on random ones, and in the pipeline, where the shortlist is shorter than the gallery."""

from dataclasses import replace

import faiss
import numpy as np
import pytest
from test_session import FAST, identify, index

import reid
from reid import retrieval
from reid.records import Features
from reid.retrieval import growing, shortlist
from reid.retrieval import index as index_of
from reid.retrieval.shortlist import Shortlist
from reid.settings import Settings


def unit(*rows) -> Features:
    descriptors = np.array(rows, np.float64).reshape(len(rows), -1)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True).clip(min=1e-9)
    return Features("test", (100, 80), np.ones((len(rows), 2)), np.ones(len(rows)), descriptors)


def digest(number: int) -> str:
    return f"{number:064x}"


def filled(folder, *references) -> Shortlist:
    index = Shortlist(folder, "features")
    index.update([digest(i) for i in range(len(references))], lambda name: references[int(name, 16)], silent)
    return index


def parts(folder):
    """Files that hold descriptors or codes of them."""
    return list(folder.rglob("*.codes")) or list(folder.rglob("*.faiss"))


def named(folder):
    """The files of an index, in their order."""
    return [folder / name for name, *_ in index_of.read_tensors(folder / "photos.safetensors")[1]["parts"]]


def silent(done, total):
    pass


def asked(index, query, *numbers):
    return index.votes(query, [digest(number) for number in numbers]).tolist()


def crowd(n_photos=20, n_keypoints=30, seed=0):
    """Photos of random descriptors, and noisy copies of them: the same animals again."""
    rng = np.random.default_rng(seed)
    photos = rng.normal(size=(n_photos, n_keypoints, 16))
    return [unit(*photo) for photo in photos], [unit(*(photo + rng.normal(0, 0.3, photo.shape))) for photo in photos]


def test_a_keypoint_votes_by_how_much_nearer_its_neighbour_is_than_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(shortlist, "NEIGHBOURS", 3)
    query = unit([1, 0, 0], [0, 1, 0])
    index = filled(tmp_path, unit([1, 0, 0], [0, 1, 0]), unit([1, 1, 0]), unit([0, 0, 1]))
    last = 0.5**0.5  # of each keypoint: itself in photo 0, the diagonal of photo 1, then something at right angles
    assert asked(index, query, 0, 1, 2) == pytest.approx([2, 2 * last, 0], abs=1e-3)
    assert asked(index, query, 2, 0) == pytest.approx([0, 2], abs=1e-3)  # in the order they are asked for, the others unheard


def test_what_every_photo_has_votes_for_none(tmp_path, monkeypatch):
    monkeypatch.setattr(shortlist, "NEIGHBOURS", 3)
    index = filled(tmp_path, unit([1, 0, 0], [0, 0, 1]), unit([1, 0, 0]), unit([1, 0, 0]))
    assert asked(index, unit([1, 0, 0], [0, 0, 1]), 0, 1, 2) == pytest.approx([1, 0, 0], abs=1e-3)


def test_a_keypoint_votes_once_for_a_photo(tmp_path, monkeypatch):
    monkeypatch.setattr(shortlist, "NEIGHBOURS", 3)
    index = filled(tmp_path, unit([1, 0.1, 0], [1, 0, 0]), unit([0, 0, 1]))
    assert asked(index, unit([1, 0, 0]), 0, 1) == pytest.approx([1, 0], abs=1e-3)


def test_no_keypoints_and_no_references_are_no_mistake(tmp_path):
    none = Features("test", (100, 80), np.zeros((0, 2)), np.zeros(0), np.zeros((0, 3)))
    some = unit([1, 0, 0], [0, 1, 0])
    assert asked(filled(tmp_path / "a", some, none), none, 0, 1) == [0, 0]
    assert asked(filled(tmp_path / "a", some, none), some, 1) == [0]
    assert asked(filled(tmp_path / "b", none, none), some, 0, 1) == [0, 0]
    assert asked(filled(tmp_path / "b", none, none), some) == []


@pytest.mark.parametrize("exact_below", [2**16, 0])
def test_the_right_photo_is_first_and_stays_so_when_the_index_is_opened_again(tmp_path, monkeypatch, exact_below):
    monkeypatch.setattr(growing, "EXACT_BELOW", exact_below)
    photos, again = crowd(60)
    index = filled(tmp_path, *photos)
    assert [file.suffix for file in parts(tmp_path)] == [".faiss" if exact_below else ".codes"]
    votes = [asked(index, query, *range(60)) for query in again]
    assert np.argmax(votes, axis=1).tolist() == list(range(60))
    opened = Shortlist(tmp_path, "features")
    assert [asked(opened, query, *range(60)) for query in again] == votes
    among = [asked(opened, query, *range(30, 60)) for query in again]  # the best of those that are asked for
    assert np.argmax(among[30:], axis=1).tolist() == list(range(30))


def test_votes_are_the_same_with_one_thread_or_two(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "EXACT_BELOW", 0)
    photos, again = crowd(60)
    votes = []
    before = faiss.omp_get_max_threads()
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            index = filled(tmp_path / str(threads), *photos)
            votes.append([asked(index, query, *range(60)) for query in again])
    finally:
        faiss.omp_set_num_threads(before)
    assert votes[0] == votes[1]


@pytest.mark.parametrize("exact_below", [2**16, 0])
def test_photos_join_the_index_and_leave_it(tmp_path, monkeypatch, exact_below):
    monkeypatch.setattr(growing, "EXACT_BELOW", exact_below)
    photos, again = crowd(80)
    loaded = []

    def load(name):
        loaded.append(int(name, 16))
        return photos[int(name, 16)]

    filled(tmp_path, *photos[:60])
    index = Shortlist(tmp_path, "features")
    index.update([digest(i) for i in range(5, 80)], load, silent)
    assert set(loaded) == set(range(60, 80))  # only what is new
    assert [np.argmax(asked(index, again[i], *range(5, 80))) + 5 for i in range(5, 80)] == list(range(5, 80))
    assert asked(Shortlist(tmp_path, "features"), again[7], *range(5, 80)) == asked(index, again[7], *range(5, 80))
    assert len(parts(index.root)) == 2  # another process may be about to open the one that was replaced
    index.update([digest(i) for i in range(50, 80)], load, silent)  # most have left
    assert len(index.digests) == 30
    index.update([digest(i) for i in range(79)], load, silent)
    assert len(index.digests) == 80  # one more has left, and is kept: laying out anew for one is not worth it
    assert len(list(index.root.iterdir())) == 2
    assert np.argmax(asked(index, again[3], *range(79))) == 3


def test_each_animals_best_photo_goes_before_any_second():
    votes = np.array([5, 4, 3, 2, 1, 1], np.float32)
    animals = ["a", "a", "b", None, None, "b"]
    assert retrieval.finalists(votes, animals, 6) == [0, 2, 3, 4, 1, 5]
    assert retrieval.finalists(votes, animals, 2) == [0, 2]


def test_the_animal_is_on_the_shortlist_and_the_others_have_no_matches(animals):
    short = FAST.replace(shortlist=3)
    whole, cut = (identify(animals.parent / "photos" / "known.png", animals, s) for s in (FAST, short))
    assert whole.rankings[0].candidates[0].identity == cut.rankings[0].candidates[0].identity
    assert sum(candidate.n_matches > 0 for candidate in cut.rankings[0].candidates) <= 3
    assert whole.fingerprint != cut.fingerprint


def test_indexing_says_how_often_the_shortlist_holds_the_animal(animals):
    rows = [f"animal-{i}/{v}.png,animal-{i},{i}-{v}" for i in range(8) for v in range(2)]
    (animals / "metadata.csv").write_text("path,identity,encounter\n" + "\n".join(rows) + "\n")
    summary = index(animals, FAST.replace(shortlist=4))
    assert summary.recall.length == 4
    assert summary.recall.n_queries == 16
    assert summary.recall.share > 0.8  # 4 of 16 at random would hold it in a quarter of the tries
    assert index(animals, FAST).recall is None


@pytest.fixture
def four_finalists(monkeypatch):
    monkeypatch.setattr(retrieval.coarse, "FINALISTS", 4)


def test_a_coarse_look_gives_the_same_again_whether_stored_or_not(animals, four_finalists):
    settings = Settings.of(fuse="none", max_keypoints=150, resize=320, impostor_pairs=20)
    query = animals.parent / "photos" / "known.png"
    first, second = (identify(query, animals, settings) for _ in range(2))
    assert first.rankings == second.rankings
    assert sum(candidate.n_matches > 0 for candidate in first.rankings[0].candidates) <= 4
    for kind in ("matches", "coarse"):
        for file in (animals / ".reid" / kind).rglob("*.safetensors"):
            file.unlink()
    assert identify(query, animals, settings).rankings == first.rankings
    exact = identify(query, animals, Settings.load(presets=["exact"], fuse="none", max_keypoints=150, resize=320, impostor_pairs=20))
    assert exact.rankings[0].candidates[0].identity == first.rankings[0].candidates[0].identity == "animal-3"
    assert exact.rankings[0].verdict == first.rankings[0].verdict == "match"


def test_an_interrupted_query_goes_on_from_its_coarse_look(animals, four_finalists):
    settings = Settings.of(fuse="none", max_keypoints=150, resize=320, impostor_pairs=0)
    query = animals.parent / "photos" / "known.png"

    class Interrupter(reid.Listener):
        def progress(self, what, done, total):
            if what == "pairs" and total == 4 and done == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        identify(query, animals, settings, listener=Interrupter())
    again = identify(query, animals, settings)
    assert again.rankings[0].candidates[0].identity == "animal-3"
    assert again.rankings == identify(query, animals, settings, cache=animals.parent / "elsewhere").rankings


@pytest.mark.parametrize("weight", ["1", "0"])
def test_finalists_are_the_first_by_the_pipelines_that_match_the_whole_list(animals, four_finalists, weight):
    settings = Settings.of(fuse="sift+nearest", max_keypoints=150, resize=320, impostor_pairs=20)
    photo = animals.parent / "photos" / "known.png"
    with reid.open(animals, settings) as opened:
        work, references, impostors = opened.work, opened.references, opened.impostors
        [query], _ = reid.stages.read(opened.gallery.queries or [reid.records.PhotoRef(photo.name, photo)], work.digests, work.listener)
        reid.stages.extract([query], work.pipelines)
        impostors = replace(impostors, fused=(replace(impostors.fused[0], weight=float(weight)),))
        before = work.pipelines[1].n_matched
        found = reid.stages.compare(query, references, work, impostors)
        n_matched = work.pipelines[1].n_matched - before
    assert len(found.selection.finalists) == 4
    if weight == "0":  # it has no say, matches nothing, and LightGlue looks for itself
        assert list((animals / ".reid" / "coarse").rglob("*.safetensors")) and found.selection.matched[1] == () and not n_matched
        assert not found.scores.parts[1].any()
        return
    assert not list((animals / ".reid" / "coarse").rglob("*.safetensors"))
    wanted = retrieval.finalists(found.scores.parts[1], [item.ref.identity for item in references], 4)
    assert found.selection.finalists == set(wanted) and n_matched == len(references)
