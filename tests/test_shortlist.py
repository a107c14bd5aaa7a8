"""Votes of descriptors: by hand on a few, and in the pipeline, where the shortlist is shorter than the gallery."""

import numpy as np
import pytest
import torch
from test_pipeline import FAST

import reid
from reid import matchers, pipeline
from reid.config import EXACT, Settings
from reid.records import Features
from reid.shortlist import Shortlist


def unit(*rows) -> Features:
    descriptors = np.array(rows, np.float64).reshape(len(rows), -1)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True).clip(min=1e-9)
    return Features("test", (100, 80), np.ones((len(rows), 2)), np.ones(len(rows)), descriptors)


def filled(*references) -> Shortlist:
    shortlist = Shortlist("cpu", torch.float32)
    for number, one in enumerate(references):
        shortlist.add(str(number), one)
    return shortlist


def test_a_keypoint_votes_by_how_much_nearer_its_neighbour_is_than_elsewhere(monkeypatch):
    monkeypatch.setattr("reid.shortlist.BACKGROUND", 1)  # the second nearest reference is the background
    query = unit([1, 0, 0], [0, 1, 0])
    both, one, none = unit([1, 0, 0], [0, 1, 0]), unit([1, 1, 0]), unit([0, 0, 1])
    votes = filled(both, one, none).votes(query, ["0", "1", "2"])
    assert votes == pytest.approx([2 * (1 - 0.5**0.5), 0, 0], abs=1e-3)
    assert filled(both, one, none).votes(query, ["2", "0"]) == pytest.approx([0, 2], abs=1e-3)  # in the order they are asked for


def test_what_every_photo_has_votes_for_none(monkeypatch):
    monkeypatch.setattr("reid.shortlist.BACKGROUND", 1)
    query = unit([1, 0, 0], [0, 0, 1])
    votes = filled(unit([1, 0, 0], [0, 0, 1]), unit([1, 0, 0]), unit([1, 0, 0])).votes(query, ["0", "1", "2"])
    assert votes == pytest.approx([1, 0, 0], abs=1e-3)


def test_only_neighbours_that_choose_each_other_vote(monkeypatch):
    monkeypatch.setattr("reid.shortlist.BACKGROUND", 1)
    query = unit([1, 0.1, 0], [1, 0.2, 0], [1, 0.3, 0])
    votes = filled(unit([1, 0.1, 0]), unit([0, 0, 1])).votes(query, ["0", "1"])
    assert votes == pytest.approx([1, 0], abs=2e-2)  # one keypoint there, one vote


def test_no_keypoints_and_no_references_are_no_mistake():
    none = Features("test", (100, 80), np.zeros((0, 2)), np.zeros(0), np.zeros((0, 3)))
    some = unit([1, 0, 0], [0, 1, 0])
    assert filled(some, none).votes(none, ["0", "1"]).tolist() == [0, 0]
    assert filled(some, none).votes(some, ["0", "1"])[1] == 0
    assert len(filled().votes(some, [])) == 0


def test_the_animal_is_on_the_shortlist_and_the_others_have_no_matches(animals):
    short = FAST.replace(shortlist=3)
    whole, cut = (reid.identify(animals.parent / "photos" / "known.png", gallery=animals, settings=s) for s in (FAST, short))
    assert whole.rankings[0].candidates[0] == cut.rankings[0].candidates[0]
    assert sum(candidate.n_matches > 0 for candidate in cut.rankings[0].candidates) <= 3
    assert whole.fingerprint != cut.fingerprint


def test_indexing_says_how_often_the_shortlist_holds_the_animal(animals):
    summary = reid.index(animals, FAST.replace(shortlist=4))
    assert summary.recall.length == 4
    assert summary.recall.n_queries == 16
    assert summary.recall.share > 0.8  # 4 of 16 at random would hold it in a quarter of the tries
    assert reid.index(animals, FAST).recall is None


def test_the_race_gives_the_same_again_whether_stored_or_not(animals, monkeypatch):
    monkeypatch.setitem(matchers.RACES, "aliked-lightglue", (128, 3, 4))
    settings = Settings(max_keypoints=150, resize=320, null_pairs=20)
    query = animals.parent / "photos" / "known.png"
    first, second = (reid.identify(query, gallery=animals, settings=settings) for _ in range(2))
    assert first.rankings == second.rankings
    assert sum(candidate.n_matches > 0 for candidate in first.rankings[0].candidates) <= 4
    for file in (animals / ".reid" / "matches").rglob("*.safetensors"):
        file.unlink()
    assert reid.identify(query, gallery=animals, settings=settings).rankings == first.rankings
    exact = reid.identify(query, gallery=animals, settings=settings.replace(**EXACT))
    assert exact.rankings[0].candidates[0].identity == first.rankings[0].candidates[0].identity == "animal-3"
    assert exact.rankings[0].verdict == first.rankings[0].verdict == "match"


def test_an_interrupted_race_is_run_again(animals, monkeypatch):
    monkeypatch.setitem(matchers.RACES, "aliked-lightglue", (128, 3, 4))
    settings = Settings(max_keypoints=150, resize=320, null_pairs=0)
    query = animals.parent / "photos" / "known.png"

    class Interrupter(pipeline.Listener):
        def progress(self, what, done, total):
            if what == "pairs" and done > 13:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reid.identify(query, gallery=animals, settings=settings, listener=Interrupter())
    again = reid.identify(query, gallery=animals, settings=settings)
    assert again.rankings[0].candidates[0].identity == "animal-3"
