import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import genpareto, wasserstein_distance

from reid.decision.openset import uncalibrated
from reid.records import Candidate, Score
from reid.scoring.evidence import Null, estimate_null, evidence, signed_wasserstein, stranger_probability
from reid.scoring.ranking import rank
from reid.settings import SCORES

RNG = np.random.default_rng(3)
STRANGERS = [(RNG.beta(1, 8, size=int(RNG.integers(20, 80))), 100) for _ in range(100)]
BOTH = ("wasserstein", "wasserstein-matched")
NULL = estimate_null(STRANGERS, 0.5, "gallery", BOTH)


@pytest.mark.parametrize("shift", [0.1, 0.4])
def test_where_curves_do_not_cross_it_is_scipys_distance_with_a_sign(shift):
    null = RNG.beta(1, 8, size=500) * 0.5
    above = null[::5] + shift
    assert signed_wasserstein(above, len(above), null) == pytest.approx(wasserstein_distance(above, null), rel=0.05)
    below = null * (1 - shift)
    assert signed_wasserstein(below, len(below), null) == pytest.approx(-wasserstein_distance(below, null))
    sparse = np.array([0.9, 0.8])
    few = np.array([0.0, 0.0, 0.0, 0.3])
    assert signed_wasserstein(sparse, 4, few) == pytest.approx(wasserstein_distance([0.9, 0.8, 0, 0], few))


def test_where_curves_cross_one_area_is_taken_from_the_other():
    null, values = np.full(10, 0.2), np.array([0.9] + [0.0] * 9)
    grid = np.linspace(0, 1, 100_001)
    areas = [np.searchsorted(np.sort(x), grid, side="right") / len(x) for x in (null, values)]
    assert signed_wasserstein(values, 10, null) == pytest.approx(float(np.mean(areas[0] - areas[1])), abs=1e-4)


def test_no_match_is_the_lowest_score_there_is():
    none = evidence(np.zeros(0), 100, NULL, 0.5)
    assert none.wasserstein == pytest.approx(-NULL.all_keypoints.mean())
    assert none.wasserstein_matched == pytest.approx(-NULL.matched.mean())
    assert (none.n_matches, none.total, none.mean) == (0, 0, 0)
    for values in ([0.02], [0.05] * 5, [0.99] * 5, [0.01] * 100):
        some = evidence(np.array(values), 100, NULL, 0.5)
        for score in ("joint", "wasserstein", "wasserstein-matched", "sum", "mean"):
            assert some.by(score) > none.by(score)
    assert np.isfinite([evidence(np.zeros(0), 0, NULL, 0.5).by(score) for score in SCORES]).all()


def test_all_keypoints_count_unmatched_ones_as_zero():
    # where every confidence is above the null, the distance is the difference of the means
    null = Null(np.zeros(5), np.zeros(5), {}, 20, "gallery")
    assert evidence(np.full(10, 0.8), 40, null, 0.5).wasserstein == pytest.approx(0.2)
    assert evidence(np.full(10, 0.8), 40, null, 0.5).wasserstein_matched == pytest.approx(0.8)
    assert evidence(np.array([0.5, 0.51, 0.1]), 40, null, 0.5).n_matches == 1


@given(st.lists(st.floats(0, 0.98), min_size=1, max_size=50), st.integers(0, 49))
def test_a_surer_match_never_lowers_a_score(values, which):
    before = np.array(values)
    after = before.copy()
    after[which % len(values)] = 1.0
    a, b = (evidence(confidence, 60, NULL, 0.5) for confidence in (before, after))
    for score in SCORES:
        assert b.by(score) >= a.by(score) - 1e-9


def test_the_null_needs_pairs_and_survives_json():
    assert estimate_null(STRANGERS[:19], 0.5, "gallery", BOTH) is None
    back = Null.from_json(NULL.as_json())
    assert back.n_pairs == 100
    assert set(back.scores) == set(SCORES)
    assert np.allclose(back.all_keypoints, NULL.all_keypoints, atol=1e-6)
    assert np.average(NULL.all_keypoints) == pytest.approx(np.mean([values.sum() / 100 for values, _ in STRANGERS]), rel=0.02)
    nothing = estimate_null([(np.zeros(0), 50)] * 20, 0.5, "gallery", BOTH)  # strangers that never match at all
    assert evidence(np.array([0.4]), 50, nothing, 0.5).wasserstein > 0


def test_the_best_of_many_strangers_looks_more_alike_than_one():
    score = "wasserstein-matched"
    values = np.sort(NULL.scores[score])
    p = [stranger_probability(float(value), NULL, score, 50) for value in values]
    assert all(a >= b for a, b in itertools.pairwise(p))
    assert p[0] > 0.999
    assert 0 < stranger_probability(1.0, NULL, score, 50) < 0.01
    high = float(np.quantile(values, 0.9))
    alone = stranger_probability(high, NULL, score, 1)
    assert alone == pytest.approx(0.1, abs=0.04)
    assert stranger_probability(high, NULL, score, 200) == pytest.approx(1 - (1 - alone) ** 200)


def test_counts_with_many_ties_are_not_surprising():
    known = np.repeat([0.0, 1.0, 2.0], [50, 40, 10])
    null = Null(np.zeros(2), np.zeros(2), {"n_matches": known}, 100, "gallery")
    assert stranger_probability(1, null, "n_matches", 1) == pytest.approx(0.5)
    assert stranger_probability(2, null, "n_matches", 1) == pytest.approx(0.1)
    assert 0 < stranger_probability(5, null, "n_matches", 1) < 0.1


def test_what_strangers_drawn_anew_get_is_never_too_sure():
    """Of queries whose best of 60 strangers decides, at most as many get p < 0.2 as 0.2 says, and some do."""
    rng = np.random.default_rng(5)
    p = []
    for _ in range(300):
        best = max(evidence(rng.beta(1, 8, size=int(rng.integers(20, 80))), 100, NULL, 0.5).wasserstein_matched for _ in range(60))
        p.append(stranger_probability(best, NULL, "wasserstein-matched", 60))
    assert 0.02 < np.mean(np.array(p) < 0.2) < 0.3


def test_an_excess_counts_in_the_mean_excesses_of_strangers():
    tail = np.concatenate((np.zeros(80), np.linspace(1, 2, 20)))  # the tail begins at 0.2 and exceeds that by 1.3 in the mean
    null = Null(np.zeros(2), np.zeros(2), {"sum": tail}, 100, "gallery")
    start = float(np.quantile(tail, 0.8))
    assert null.excess("sum", start + 20 * (1.5 - start)) == pytest.approx(20, abs=1e-6)
    assert null.excess("sum", start) == pytest.approx(np.log(2))
    assert 0 < null.excess("sum", start - 8) < 0.01
    flat = Null(np.zeros(2), np.zeros(2), {"sum": np.zeros(100)}, 100, "gallery")  # strangers that never match at all
    assert flat.excess("sum", 3) > flat.excess("sum", 0)


@pytest.mark.parametrize("shape", [0.0, 0.3])
def test_a_tail_is_as_heavy_as_its_pairs(shape):
    values = np.concatenate((np.zeros(16000), genpareto(shape, 0.0, 2.0).rvs(4000, random_state=1)))
    null = Null(np.zeros(2), np.zeros(2), {"sum": values}, 20000, "gallery")
    start, mean, found = null.tails["sum"]
    assert (start, found) == (pytest.approx(0, abs=0.01), pytest.approx(shape, abs=0.06))
    few = Null(np.zeros(2), np.zeros(2), {"sum": np.concatenate((np.zeros(16), [1.0, 1.1, 1.2, 1.3]))}, 20, "gallery")
    assert few.tails["sum"][2] == pytest.approx(0.25 * 20 / 24)  # so few say next to nothing, and that carefully
    assert mean == pytest.approx(2 / (1 - shape), rel=0.06)
    assert null.above("sum", 60.0) == pytest.approx(0.2 * genpareto(shape, 0, 2.0).sf(60), rel=0.9)
    assert null.above("sum", 6.0) == pytest.approx(0.2 * genpareto(shape, 0, 2.0).sf(6), rel=0.1)


def test_opinions_add_up_whatever_they_are_measured_in():
    rng = np.random.default_rng(8)
    counts = [(rng.beta(2, 2, size=int(rng.integers(0, 6))), 500) for _ in range(100)]  # another matcher's few matches
    second = estimate_null(counts, 0.5, "gallery", ("sum",))
    of_pairs = [[evidence(values, n, second, 0.5)] for values, n in counts]
    both = estimate_null(STRANGERS, 0.5, "gallery", BOTH, of_pairs, (second,))
    plain, good = np.full(30, 0.1), np.full(60, 0.5)
    few, many = (evidence(np.full(n, 0.9), 500, second, 0.5) for n in (2, 30))

    def joint(first, other):
        return evidence(first, 100, both, 0.5, (other,)).by("joint")

    assert joint(plain, few) < min(joint(good, few), joint(plain, many)) and joint(good, many) > max(joint(good, few), joint(plain, many))
    found = evidence(good, 100, both, 0.5, (many,))
    assert found.excess == pytest.approx(sum(both.excess(name, found.by(name)) for name in BOTH) + second.excess("sum", many.total))
    assert found.by("joint") == pytest.approx(np.log1p(found.excess))
    assert stranger_probability(found.by("joint"), both, "joint", 50) < 0.01
    assert stranger_probability(joint(*STRANGERS[0][:1], of_pairs[0][0]), both, "joint", 50) > 0.5
    start, mean, shape = both.tails["joint"]  # of the sum of excesses
    tail = genpareto(shape, start, mean * (1 - shape))
    assert both.above("joint", np.log1p(start + 30 * mean)) == pytest.approx(0.2 * tail.sf(start + 30 * mean), rel=0.02)
    back = Null.from_json(both.as_json())
    assert (back.by, back.others[0].by) == (BOTH, ("sum",))
    assert evidence(good, 100, back, 0.5, (many,)).excess == pytest.approx(found.excess, rel=1e-3)


def test_verdicts():
    assert [uncalibrated(p, 0.02, 0.5) for p in (0, 0.02, 0.021, 0.49, 0.5, 1)] == ["match", "match", "unsure", "unsure", "new", "new"]


def test_ranking_by_best_reference_with_ties_by_name():
    scores = [
        Score("q", "b1", 0.5, 5), Score("q", "a1", 0.1, 1), Score("q", "a2", 0.5, 4), Score("q", "c1", 0.7, 9),
        Score("q", "x1", 0.6, 2), Score("q", "x2", 0.2, 2),
    ]  # fmt: skip
    identities = {"a1": "amber", "a2": "amber", "b1": "basil", "c1": "cora", "x1": None, "x2": None}
    wanted = (
        Candidate("cora", 0.7, 9, "c1", "q"), Candidate("unknown (x1)", 0.6, 2, "x1", "q"), Candidate("amber", 0.5, 4, "a2", "q"),
        Candidate("basil", 0.5, 5, "b1", "q"), Candidate("unknown (x2)", 0.2, 2, "x2", "q"),
    )  # fmt: skip
    assert rank(scores, identities) == wanted
    assert rank(scores[::-1], identities) == wanted
