import math

import pytest

from reid.evaluate import Answer, auroc, summarize, tally, top_k

ANSWERS = [
    Answer("a", ("a", "b", "c"), 3.0),
    Answer("b", ("a", "b", "c"), 2.0),
    Answer("c", ("a", "b", "x", "y", "c"), 1.0),
    Answer("z", ("a", "b", "c"), 1.5),
    Answer(None, ("a", "b", "c"), 0.5),
]


def test_top_k_counts_known_animals_only():
    assert [top_k(ANSWERS, k) for k in (1, 2, 5)] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1]
    assert math.isnan(top_k(ANSWERS[3:], 1))


def test_auroc_by_hand():
    assert auroc([3, 2, 1], [1.5, 0.5]) == pytest.approx(5 / 6)
    assert auroc([1, 1], [1, 1]) == 0.5
    assert auroc([0], [1]) == 0
    assert math.isnan(auroc([], [1]))


def test_summary():
    found = summarize(ANSWERS)
    assert found == {
        "top1": pytest.approx(1 / 3), "top3": pytest.approx(2 / 3), "top5": 1, "auroc": pytest.approx(5 / 6), "n_known": 3, "n_new": 2,
    }  # fmt: skip
    assert summarize(ANSWERS[:3])["auroc"] is None


def test_tally_tells_a_wrong_match_from_a_false_one():
    table = tally([("match", ANSWERS[0]), ("match", ANSWERS[1]), ("match", ANSWERS[3]), ("new", ANSWERS[4])])
    assert table == {"match": {"right": 1, "wrong": 1, "new": 1}, "new": {"right": 0, "wrong": 0, "new": 1}}
