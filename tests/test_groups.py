"""Groups of photos without names: by scores, must-links and cannot-links; how they are judged; the command."""

import csv
import itertools

import numpy as np
import pytest
from conftest import draw_animal, save
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import pair_confusion_matrix

import reid
from reid.catalogue import DecisionLog, Kind
from reid.decision import groups
from reid.evaluation.groups import agreement
from reid.records import PhotoRef

QUICK = "--extractor", "sift", "--matcher", "nearest", "--fuse", "none", "--max-keypoints", 150, "--resize", 320


def scored(n: int, alike: dict[tuple[int, int], float], nothing=()) -> np.ndarray:
    scores = np.ones((n, n))
    for (a, b), value in {**alike, **dict.fromkeys(nothing, np.nan)}.items():
        scores[a, b] = scores[b, a] = value
    return scores


@pytest.mark.parametrize(
    ("alike", "must", "cannot", "expected"),
    [
        ({}, [], [], [0, 1, 2, 3]),
        ({(0, 2): 5, (1, 3): 4}, [], [], [0, 1, 0, 1]),
        ({(0, 1): 3}, [], [], [0, 0, 1, 2]),  # the threshold itself is enough
        ({(0, 1): 2.99}, [], [], [0, 1, 2, 3]),
        ({(0, 1): 5, (1, 2): 5, (0, 2): 1}, [], [], [0, 0, 0, 1]),  # the mean of both pairs is at the threshold
        ({(0, 1): 5, (1, 2): 4, (0, 2): 1}, [], [], [0, 0, 1, 2]),
        ({}, [(0, 3), (3, 1)], [], [0, 0, 1, 0]),
        ({(0, 1): 5, (1, 2): 5, (0, 2): 5}, [], [(0, 2)], [0, 0, 1, 2]),
        ({}, [(0, 1)], [(0, 1)], [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_groups_of_four_photos(alike, must, cannot, expected):
    assert groups(scored(4, alike), 3.0, must, cannot).tolist() == expected


def test_pairs_that_cannot_be_compared_say_nothing():
    sides = scored(4, {(0, 1): 5, (2, 3): 5}, nothing=itertools.product((0, 1), (2, 3)))  # two left, two right
    assert groups(sides, 3.0).tolist() == [0, 0, 1, 1]
    assert groups(sides, 3.0, must=[(0, 2)]).tolist() == [0, 0, 0, 0]
    assert groups(np.full((3, 3), np.nan), 3.0).tolist() == [0, 1, 2]


def test_photos_that_are_kept_apart_stay_apart_in_large_groups():
    """Sixty photos each, scores far above the threshold, and one pair of two hundred thousand that must not be."""
    scores = np.full((120, 120), 350.0)
    for own in (slice(0, 60), slice(60, 120)):
        scores[own, own] = 4000.0
    found = groups(scores * 1e4, 3e5, cannot=[(3, 77)])
    assert found.tolist() == [0] * 60 + [1] * 60


def test_few_photos():
    assert groups(np.zeros((0, 0)), 3.0).tolist() == [] and groups(np.zeros((1, 1)), 3.0).tolist() == [0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=20))
def test_agreement_is_that_of_scikit_learn(pairs):
    found, truth = zip(*pairs)
    got = agreement(found, truth)
    (_, false_pairs), (missed, right) = pair_confusion_matrix(truth, found)
    assert got["precision"] == (right / (right + false_pairs) if right + false_pairs else None)
    assert got["recall"] == (right / (right + missed) if right + missed else None)
    assert got["rand"] is None or got["rand"] == pytest.approx(adjusted_rand_score(truth, found))


@pytest.fixture
def card(tmp_path):
    """Seven photos of three animals in one folder."""
    for animal, n in enumerate((4, 2, 1)):
        for view in range(n):
            save(tmp_path / "card" / f"{view}-{animal}.png", draw_animal(animal, view))
    return tmp_path / "card"


def read_groups(file):
    found = {}
    for row in csv.DictReader(file.read_text().splitlines()):
        found.setdefault(row["identity"], set()).add(row["path"])
    return found


def test_a_folder_of_photos_is_grouped(call, card, tmp_path):
    status, out, err = call("cluster", card, "--out", tmp_path / "groups.csv", *QUICK)
    assert status == 0 and "7 photos are in 2 groups, and 1 alone" in out and "nothing here is calibrated" in out, err
    assert read_groups(tmp_path / "groups.csv") == {
        f"group-{animal + 1}": {f"{view}-{animal}.png" for view in range(n)} for animal, n in enumerate((4, 2, 1))
    }
    rows = list(csv.DictReader((tmp_path / "groups.csv").read_text().splitlines()))
    assert all(float(row["p_impostor"]) < 0.005 for row in rows if row["n_photos"] != "1") and rows[-1]["like"] == ""
    # the file is a table of the folder
    (card / "metadata.csv").write_bytes((tmp_path / "groups.csv").read_bytes())
    with reid.open(card) as gallery:
        assert gallery.gallery.identities == ["group-1", "group-2", "group-3"]
    status, out, _ = call("cluster", card, "--out", tmp_path / "again.csv", *QUICK)
    assert "of 7 photos that the table names, 3 animals: pairwise precision 1.000, recall 1.000, adjusted Rand index 1.000" in out


def test_decisions_hold_groups_together_and_apart(call, card, tmp_path):
    with reid.open(card) as opened:
        key = {path.name: opened.key(PhotoRef(path.name, path)) for path in card.glob("*.png")}
    log = DecisionLog(card)
    log.append(Kind.NEW, [key["0-1.png"], key["0-2.png"]], observer="zoe", value="Zoë")
    log.append(Kind.DIFFERENT, [key["0-0.png"], key["1-0.png"], key["2-0.png"]], observer="zoe")
    status, _, err = call("cluster", card, "--out", tmp_path / "groups.csv", *QUICK)
    found = read_groups(tmp_path / "groups.csv")
    assert status == 0 and found["Zoë"] >= {"0-1.png", "0-2.png"}, err
    assert not any({"0-0.png", "1-0.png"} <= group or {"0-0.png", "2-0.png"} <= group for group in found.values())
    rows = [f'{name},unknown,"5,5,300,230"' for name in sorted(key)]  # boxes that they had not when they were decided about
    (card / "metadata.csv").write_text("path,identity,bbox\n" + "\n".join(rows))
    assert call("cluster", card, "--out", tmp_path / "groups.csv", *QUICK)[0] == 0
    found = read_groups(tmp_path / "groups.csv")
    assert found["Zoë"] >= {"0-1.png", "0-2.png"}
    assert not any({"0-0.png", "1-0.png"} <= group or {"0-0.png", "2-0.png"} <= group for group in found.values())


def test_opposite_sides_are_not_compared_and_encounters_join_them(call, card, tmp_path):
    side = {"0": "left", "1": "right", "2": "left", "3": "left"}
    names = sorted(path.name for path in card.glob("*.png"))
    rows = [f"{name},unknown,{side[name[0]]},e{name[2]}" for name in names]
    (card / "metadata.csv").write_text("path,identity,orientation,encounter\n" + "\n".join(rows))
    assert call("cluster", card, "--out", tmp_path / "groups.csv", *QUICK)[0] == 0
    found = list(read_groups(tmp_path / "groups.csv").values())
    assert {"0-0.png", "2-0.png", "3-0.png"} in found and {"1-0.png"} in found
    assert call("cluster", card, "--out", tmp_path / "groups.csv", "--encounter", *QUICK)[0] == 0
    assert {f"{view}-0.png" for view in range(4)} in read_groups(tmp_path / "groups.csv").values()


def test_photos_of_different_animals_stay_alone(call, tmp_path):
    for animal in range(5):
        save(tmp_path / "card" / f"{animal}.png", draw_animal(animal, 0))
    status, out, _ = call("cluster", tmp_path / "card", "--out", tmp_path / "groups.csv", *QUICK)
    assert status == 0 and "5 photos are in 0 groups, and 5 alone" in out


def test_a_folder_without_photos(call, tmp_path):
    (tmp_path / "empty").mkdir()
    assert call("cluster", tmp_path / "empty", "--out", tmp_path / "groups.csv", *QUICK)[0] == 2
    assert not (tmp_path / "groups.csv").exists()
