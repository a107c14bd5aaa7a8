"""Figures by hand on five answers, against scikit-learn on random ones, and as pictures."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from reid.evaluation import answers as room
from reid.evaluation.answers import FIGURES, Answer, auroc, average_precision, by_group, cmc, intervals, summarize, tally, top_k
from reid.evaluation.summary import OF_A_SCORE, Evaluation, comparison
from reid.records import Failure
from reid.report import plots, tables

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
    assert summarize(ANSWERS)["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 5) / 3)
    assert top_k(ANSWERS[3:], 1) is None
    assert np.isnan(cmc(ANSWERS[3:], 2)).all()


def test_average_precision_is_over_the_reference_photos():
    """Ranked: right, wrong, right, wrong. And a tie counts as one rank, as scikit-learn has it."""
    assert average_precision([4, 3, 2, 1], [True, False, True, False]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([2, 1, 1, 1], [False, True, False, False]) == pytest.approx(1 / 4)
    assert average_precision([2, 1], [False, False]) is None
    assert average_precision([], []) is None
    rng = np.random.default_rng(4)
    for n in (1, 2, 50, 300):
        scores, right = rng.integers(0, 12, n).astype(float), rng.random(n) < 0.3
        right[0] = True
        assert average_precision(scores, right) == pytest.approx(average_precision_score(right, scores))


def test_map_is_the_mean_over_known_animals_and_not_a_reciprocal_rank():
    """One animal with three reference photos at ranks 1, 5 and 6: its individual stands first, its photos do not."""
    precision = average_precision([6, 5, 4, 3, 2, 1], [True, False, False, False, True, True])
    answers = [replace(ANSWERS[0], average_precision=precision), replace(ANSWERS[3], average_precision=None)]
    found = summarize(answers)
    assert (found["mrr"], found["map"]) == (1, pytest.approx((1 + 2 / 5 + 3 / 6) / 3))
    assert summarize(ANSWERS)["map"] is None  # where nobody ranked photos


def test_auroc_by_hand():
    assert auroc([3, 2, 1], [1.5, 0.5]) == pytest.approx(5 / 6)
    assert auroc([1, 1], [1, 1]) == 0.5
    assert auroc([0], [1]) == 0
    assert np.isnan(auroc([], [1]))


def test_summary_by_hand():
    found = summarize(ANSWERS)
    assert (found["n_queries"], found["n_known"], found["n_new"]) == (5, 3, 2)
    assert found["auroc"] == pytest.approx(5 / 6)
    assert found["oracle_accuracy"] == 4 / 5  # above 1.5, or above 0.5
    assert (found["decided"], found["decided_error"]) == (1, pytest.approx(3 / 5))  # one match and one new are right
    assert (found["baks"], found["baus"]) == (pytest.approx(1 / 3), 1 / 2)  # c's query is called new, z's is not
    assert found["geometric_mean"] == pytest.approx(np.sqrt(1 / 6))
    assert found["false_merge"] == 2 / 5
    assert found["false_split"] == pytest.approx(1 / 3)
    assert found["brier"] is found["ece_match"] is found["ece_new"] is None
    assert summarize(ANSWERS[:3])["auroc"] is None
    nothing = summarize([])
    assert (nothing["top1"], nothing["baks"], nothing["n_queries"]) == (None, 0, 0)
    assert nothing["decided"] is nothing["decided_error"] is None


def test_what_is_decided_goes_by_the_verdicts_not_by_a_threshold_on_the_answers():
    """`unsure` and `odd` decide nothing. A match is wrong of another or a new animal, `new` of a known one."""
    verdicts = "match match match new new unsure odd".split()
    truths = "a b z z a a a".split()
    answers = [Answer(truth, ("a", "b"), -n, verdict) for n, (truth, verdict) in enumerate(zip(truths, verdicts))]
    found = summarize(answers)
    assert (found["decided"], found["decided_error"]) == (5 / 7, 3 / 5)
    silent = [replace(one, verdict="unsure") for one in answers]
    assert (summarize(silent)["decided"], summarize(silent)["decided_error"]) == (0, None)
    assert summarize(silent)["oracle_coverage_at_5"] > 0  # the oracle decides all the same


def test_balanced_accuracies_are_means_over_animals():
    """Of an animal with three queries one is right, of another all one: 2/3 over animals, 1/2 over queries."""
    answers = [Answer("a", ("a", "b"), 1), Answer("a", ("b", "a"), 1), Answer("a", ("a", "b"), 1, "new"), Answer("b", ("b", "a"), 1)]
    assert summarize(answers)["baks"] == pytest.approx((1 / 3 + 1) / 2)
    new = [Answer("y", ("a",), 1, "new"), Answer("y", ("a",), 1), Answer("z", ("a",), 1, "new")]
    assert summarize(new)["baus"] == pytest.approx((1 / 2 + 1) / 2)
    assert summarize(answers)["baus"] == summarize(answers)["geometric_mean"] == 0  # undefined counts 0


def test_risk_against_coverage_by_hand():
    coverage, risk = room._selective(room._Table(ANSWERS))
    assert coverage.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert risk.tolist() == pytest.approx([0, 1 / 2, 2 / 3, 3 / 4, 4 / 5])
    assert summarize(ANSWERS)["oracle_coverage_at_5"] == pytest.approx(0.2)
    equals = [Answer("a", ("a",), 1.0), Answer("z", ("a",), 1.0), Answer("a", ("a",), 0.0)]
    assert [list(part) for part in room._selective(room._Table(equals))] == [pytest.approx([2 / 3, 1]), pytest.approx([1 / 2, 1 / 3])]
    assert summarize(equals)["oracle_coverage_at_1"] == 0


def test_probabilities_by_hand():
    found = summarize(CALIBRATED)
    right = 0.2**2 + 0.1**2 + 0.1**2
    other = 0.5**2 + 0.8**2 + 0.3**2
    new = 0.2**2 + 0.1**2 + 0.3**2
    assert found["brier"] == pytest.approx((right + other + new) / 3)
    assert found["ece_match"] == pytest.approx((0.2 + 0.5 + 0.2) / 3)  # three bins of one answer
    assert found["ece_new"] == pytest.approx((0.1 + 0.3 + 0.3) / 3)


def test_figures_equal_scikit_learns_on_random_answers():
    answers = crowd()
    known = [one.known for one in answers]
    assert summarize(answers)["auroc"] == pytest.approx(roc_auc_score(known, [1 - one.p_new for one in answers]))
    true = np.array([(one.right, one.known and not one.right, not one.known) for one in answers])
    p = np.array([(one.p_match, one.p_other, one.p_new) for one in answers])
    assert summarize(answers)["brier"] == pytest.approx(sum(brier_score_loss(true[:, i], p[:, i]) for i in range(3)))


def test_true_probabilities_have_a_small_calibration_error_and_boasting_a_large_one():
    answers = crowd(4000)
    assert summarize(answers)["ece_match"] < 0.04 and summarize(answers)["ece_new"] < 0.04
    boasting = [Answer(one.truth, one.identities, 0, "unsure", 0.98, 0.01, 0.01) for one in answers]
    assert summarize(boasting)["ece_match"] > 0.4
    shy = [Answer(one.truth, one.identities, 0, "unsure", one.p_match, one.p_other + one.p_new, 0.0) for one in answers]
    assert summarize(shy)["ece_match"] < 0.04 and summarize(shy)["ece_new"] > 0.3  # one figure would hide the other


def test_intervals_hold_the_truth_and_animals_stay_together():
    found = intervals(crowd(300), n=200)
    assert found["top1"][0] < summarize(crowd(20000, seed=1))["top1"] < found["top1"][1]
    assert intervals(crowd(100), n=50) == intervals(crowd(100), n=50)
    one_animal = [Answer("a", ("a", "b"), 1)] * 5 + [Answer("a", ("b", "a"), 1)] * 5
    assert intervals(one_animal, n=50)["top1"] == (0.5, 0.5)
    two = [*one_animal, *([Answer("b", ("b", "a"), 1)] * 10)]
    assert intervals(two, n=200)["top1"] == (0.5, 1.0)
    assert intervals(one_animal, n=50)["auroc"] is None
    each_once = [Answer(str(n), (("a", str(n))[n % 3 > 0], str(n)), 1) for n in range(60)]
    found = intervals(each_once, ("top1", "baks"), n=100)
    assert found["top1"] == pytest.approx(found["baks"])  # an animal that is drawn twice counts twice
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


def evaluation(**more) -> Evaluation:
    answers = {"joint": crowd(60), "sum": [replace(one, p_match=None, p_other=None, p_new=None) for one in crowd(60, 1)]}
    about = {
        "pipelines": "sift + nearest",
        "n_references": 40,
        "calibration": None,
        "decisions": None,
        "failures": [Failure("a.jpg", "empty")],
    }
    about |= {"seconds_per_query": 0.25, "settings": {"top": 5}, "fingerprint": "f00d", "versions": {"reid": "0"}}
    return Evaluation.of(answers, "joint", **(about | more))


def test_an_evaluation_is_a_record_a_table_and_json():
    found = evaluation()
    value = json.loads(json.dumps(found.as_json()))
    assert value["top1"] == found.figures["top1"] == summarize(crowd(60))["top1"]
    assert set(FIGURES) | {"n_queries", "intervals", "scores", "verdicts", "groups", "seconds_per_query"} <= value.keys()
    assert value["failures"] == [{"photo": "a.jpg", "reason": "empty"}]
    assert value["settings"] == {"top": 5, "fingerprint": "f00d"}
    assert set(value["scores"]["sum"]) == {*OF_A_SCORE, "n_queries", "n_known", "n_new"}
    frame = found.to_frame().set_index("figure")
    assert frame.loc["top1", "value"] == value["top1"]
    assert frame.loc["top1", ["low", "high"]].tolist() == value["intervals"]["top1"]
    assert np.isnan(frame.loc["n_queries", "low"])
    both = comparison({"one": found, "other": evaluation(seconds_per_query=None)})
    assert both["pipeline"].tolist() == ["one", "other"] and both["mrr"].tolist() == [value["mrr"]] * 2
    assert both["seconds_per_query"].isna().tolist() == [False, True]


def test_the_terminals_tables_name_every_figure_and_the_oracle():
    text = io.StringIO()
    console = Console(file=text, width=140)
    for table in (*tables.of_evaluation(evaluation()), tables.of_comparison({"sift": evaluation()})):
        console.print(table)
    said = text.getvalue()
    assert set(tables.FIGURES) == set(FIGURES)
    for words in tables.FIGURES.values():
        assert words in said
    assert "An oracle chooses its threshold on these very answers" in " ".join(said.split())
    assert "sift + nearest, 40 references" in said
