"""Figures by hand on five answers, against scikit-learn on random ones, and as pictures."""

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import brier_score_loss, roc_auc_score

from reid.evaluation.answers import Answer, auroc, by_group, cmc, intervals, selective, summarize, tally, top_k
from reid.report import plots

ANSWERS = [
    Answer("a", ("a", "b", "c"), 3.0, "match", groups={"view": "same"}),
    Answer("b", ("a", "b", "c"), 2.0, "match", groups={"view": "other"}),
    Answer("c", ("a", "b", "x", "y", "c"), 1.0, "new", groups={"view": "same"}),
    Answer("z", ("a", "b", "c"), 1.5, "match", groups={"view": "same"}),
    Answer(None, ("a", "b", "c"), 0.5, "new"),
]
CALIBRATED = [
    Answer("a", ("a", "b"), 0, "match", 0.8, 0.1, 0.1),
    Answer("b", ("a", "b"), 0, "unsure", 0.5, 0.2, 0.3),
    Answer("z", ("a", "b"), 0, "new", 0.2, 0.1, 0.7),
]


def crowd(n=400, seed=0):
    """Answers whose probabilities are true: drawn by them."""
    rng = np.random.default_rng(seed)
    answers = []
    for i in range(n):
        p = rng.dirichlet((1, 0.5, 1))
        truth = ("a", "b", "z")[rng.choice(3, p=p)]
        answers.append(Answer(f"{truth}", ("a", "b"), float(rng.normal(p[0])), "unsure", *p, groups={"animal": f"{i % 7}"}))
    return answers


def test_ranks_count_known_animals_only():
    assert [top_k(ANSWERS, k) for k in (1, 2, 5)] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1]
    assert cmc(ANSWERS, 5).tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 2 / 3, 1])
    assert summarize(ANSWERS)["map"] == pytest.approx((1 + 1 / 2 + 1 / 5) / 3)
    assert top_k(ANSWERS[3:], 1) is None
    assert np.isnan(cmc(ANSWERS[3:], 2)).all()


def test_auroc_by_hand():
    assert auroc([3, 2, 1], [1.5, 0.5]) == pytest.approx(5 / 6)
    assert auroc([1, 1], [1, 1]) == 0.5
    assert auroc([0], [1]) == 0
    assert np.isnan(auroc([], [1]))


def test_summary_by_hand():
    found = summarize(ANSWERS)
    assert (found["n_queries"], found["n_known"], found["n_new"]) == (5, 3, 2)
    assert found["auroc"] == pytest.approx(5 / 6)
    assert found["best_accuracy"] == 4 / 5  # above 1.5, or above 0.5
    assert (found["baks"], found["baus"]) == (pytest.approx(1 / 3), 1 / 2)  # c's query is called new, z's is not
    assert found["geometric_mean"] == pytest.approx(np.sqrt(1 / 6))
    assert found["false_merge"] == 2 / 5
    assert found["false_split"] == pytest.approx(1 / 3)
    assert found["brier"] is found["ece"] is None
    assert summarize(ANSWERS[:3])["auroc"] is None
    nothing = summarize([])
    assert (nothing["top1"], nothing["baks"], nothing["n_queries"]) == (None, 0, 0)


def test_balanced_accuracies_are_means_over_animals():
    """Of an animal with three queries one is right, of another all one: 2/3 over animals, 1/2 over queries."""
    answers = [Answer("a", ("a", "b"), 1), Answer("a", ("b", "a"), 1), Answer("a", ("a", "b"), 1, "new"), Answer("b", ("b", "a"), 1)]
    assert summarize(answers)["baks"] == pytest.approx((1 / 3 + 1) / 2)
    new = [Answer("y", ("a",), 1, "new"), Answer("y", ("a",), 1), Answer("z", ("a",), 1, "new")]
    assert summarize(new)["baus"] == pytest.approx((1 / 2 + 1) / 2)
    assert summarize(answers)["baus"] == summarize(answers)["geometric_mean"] == 0  # undefined counts 0


def test_risk_against_coverage_by_hand():
    coverage, risk = selective(ANSWERS)
    assert coverage.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert risk.tolist() == pytest.approx([0, 1 / 2, 2 / 3, 3 / 4, 4 / 5])
    assert summarize(ANSWERS)["coverage_at_5"] == pytest.approx(0.2)
    equals = [Answer("a", ("a",), 1.0), Answer("z", ("a",), 1.0), Answer("a", ("a",), 0.0)]
    assert [list(part) for part in selective(equals)] == [pytest.approx([2 / 3, 1]), pytest.approx([1 / 2, 1 / 3])]
    assert summarize(equals)["coverage_at_1"] == 0


def test_probabilities_by_hand():
    found = summarize(CALIBRATED)
    right = 0.2**2 + 0.1**2 + 0.1**2
    other = 0.5**2 + 0.8**2 + 0.3**2
    new = 0.2**2 + 0.1**2 + 0.3**2
    assert found["brier"] == pytest.approx((right + other + new) / 3)
    match_error, new_error = (0.2 + 0.5 + 0.2) / 3, (0.1 + 0.3 + 0.3) / 3  # three bins of one answer
    assert found["ece"] == pytest.approx((match_error + new_error) / 2)


def test_figures_equal_scikit_learns_on_random_answers():
    answers = crowd()
    known = [one.known for one in answers]
    assert summarize(answers)["auroc"] == pytest.approx(roc_auc_score(known, [1 - one.p_new for one in answers]))
    true = np.array([(one.right, one.known and not one.right, not one.known) for one in answers])
    p = np.array([(one.p_match, one.p_other, one.p_new) for one in answers])
    assert summarize(answers)["brier"] == pytest.approx(sum(brier_score_loss(true[:, i], p[:, i]) for i in range(3)))


def test_true_probabilities_have_a_small_calibration_error_and_boasting_a_large_one():
    answers = crowd(4000)
    assert summarize(answers)["ece"] < 0.03
    boasting = [Answer(one.truth, one.identities, 0, "unsure", 0.98, 0.01, 0.01) for one in answers]
    assert summarize(boasting)["ece"] > 0.4


def test_intervals_hold_the_truth_and_animals_stay_together():
    found = intervals(crowd(300), n=200)
    assert found["top1"][0] < summarize(crowd(20000, seed=1))["top1"] < found["top1"][1]
    assert intervals(crowd(100), n=50) == intervals(crowd(100), n=50)
    one_animal = [Answer("a", ("a", "b"), 1)] * 5 + [Answer("a", ("b", "a"), 1)] * 5
    assert intervals(one_animal, n=50)["top1"] == (0.5, 0.5)
    two = [*one_animal, *([Answer("b", ("b", "a"), 1)] * 10)]
    assert intervals(two, n=200)["top1"] == (0.5, 1.0)
    assert intervals(one_animal, n=50)["auroc"] is None
    assert intervals([], n=10)["top1"] is None


def test_groups_and_verdicts():
    assert by_group(ANSWERS) == {
        "view": {"other": {"n": 1, "top1": 0, "top5": 1}, "same": {"n": 2, "top1": 0.5, "top5": 1}}
    }  # of known animals
    assert tally(ANSWERS) == {"match": {"right": 1, "wrong": 1, "new": 1}, "new": {"right": 0, "wrong": 1, "new": 1}}


def test_plots_are_pictures_with_their_curves_inside(tmp_path):
    files = plots.save_all(crowd(), tmp_path)
    assert [file.name for file in files] == ["cmc.png", "roc.png", "reliability.png", "scores.png"]
    for file in files:
        pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
        blue = (abs(pixels - (0x00, 0x67, 0xA5)).sum(axis=2) < 60).sum()
        assert pixels.shape == (630, 900, 3)
        assert blue > 300
    assert [file.name for file in plots.save_all(ANSWERS, tmp_path)] == ["cmc.png", "roc.png", "scores.png"]
    assert plots.save_all([], tmp_path) == []
