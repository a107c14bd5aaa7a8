"""Scores by hand, against SciPy, and as figures over impostors."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import genpareto, wasserstein_distance

from reid.errors import GalleryError
from reid.records import Candidate
from reid.scoring import (
    JOINED,
    SCORES,
    ImpostorDistribution,
    Scores,
    best_of,
    evidence,
    impostor_probability,
    measure_impostors,
    rank,
    shipped,
    signed_wasserstein,
)
from reid.scoring import fused as fused_scores

RNG = np.random.default_rng(3)
PAIRS = [RNG.beta(1, 8, size=int(RNG.integers(20, 80))) for _ in range(100)]  # of different animals, 100 keypoints each
BOTH = ("wasserstein", "wasserstein-matched")
IMPOSTORS = measure_impostors(PAIRS, [100] * 100, 0.5, BOTH)


def of_one(values, n_keypoints=100, impostors=IMPOSTORS, fused=()):
    """{score: value} of one pair."""
    found = fused_scores(evidence([np.asarray(values, float)], n_keypoints, impostors, 0.5), *fused)
    return {score: float(found.by(score)[0]) for score in SCORES}


def distribution(**scores):
    return ImpostorDistribution(np.zeros(2), np.zeros(2), {name: np.asarray(values, float) for name, values in scores.items()})


@pytest.mark.parametrize("shift", [0.1, 0.4])
def test_where_curves_do_not_cross_it_is_scipys_distance_with_a_sign(shift):
    impostors = RNG.beta(1, 8, size=500) * 0.5
    above = impostors[::5] + shift
    assert signed_wasserstein(above, len(above), impostors) == pytest.approx(wasserstein_distance(above, impostors), rel=0.05)
    below = impostors * (1 - shift)
    assert signed_wasserstein(below, len(below), impostors) == pytest.approx(-wasserstein_distance(below, impostors))
    sparse = np.array([0.9, 0.8])
    few = np.array([0.0, 0.0, 0.0, 0.3])
    assert signed_wasserstein(sparse, 4, few) == pytest.approx(wasserstein_distance([0.9, 0.8, 0, 0], few))


def test_where_curves_cross_one_area_is_taken_from_the_other():
    impostors, values = np.full(10, 0.2), np.array([0.9] + [0.0] * 9)
    grid = np.linspace(0, 1, 100_001)
    areas = [np.searchsorted(np.sort(x), grid, side="right") / len(x) for x in (impostors, values)]
    assert signed_wasserstein(values, 10, impostors) == pytest.approx(float(np.mean(areas[0] - areas[1])), abs=1e-4)


def test_the_columns_are_the_signed_distance_of_each_pair():
    found = evidence([*PAIRS, np.zeros(0)], 100, IMPOSTORS, 0.5)
    wanted = [signed_wasserstein(values, 100, IMPOSTORS.all_keypoints) for values in [*PAIRS, np.zeros(0)]]
    assert found.by("wasserstein") == pytest.approx(wanted)
    wanted = [signed_wasserstein(values, len(values), IMPOSTORS.matched) for values in [*PAIRS, np.zeros(0)]]
    assert found.by("wasserstein-matched") == pytest.approx(wanted)
    alone = [evidence([values], 100, IMPOSTORS, 0.5) for values in [*PAIRS, np.zeros(0)]]
    for score in SCORES:  # what a pair gets does not depend on the others, to the last bit
        assert found.by(score).tolist() == [one.by(score)[0] for one in alone]
    assert len(found) == 101 and found.take([3, 100]).total.tolist() == [alone[3].total[0], 0.0]
    with pytest.raises(ValueError, match="read-only"):
        found.total[0] = 1
    assert len(evidence([], 100, IMPOSTORS, 0.5)) == 0


def test_no_match_is_the_lowest_score_there_is():
    none = of_one([])
    assert none["wasserstein"] == pytest.approx(-IMPOSTORS.all_keypoints.mean())
    assert none["wasserstein-matched"] == pytest.approx(-IMPOSTORS.matched.mean())
    assert (none["n_matches"], none["sum"], none["mean"]) == (0, 0, 0)
    for values in ([0.02], [0.05] * 5, [0.99] * 5, [0.01] * 100):
        some = of_one(values)
        for score in ("joint", "wasserstein", "wasserstein-matched", "sum", "mean"):
            assert some[score] > none[score]
    assert np.isfinite(list(of_one([], n_keypoints=0).values())).all()


def test_all_keypoints_count_unmatched_ones_as_zero():
    # where every confidence is above the impostors', the distance is the difference of the means
    nothing = distribution()
    assert of_one(np.full(10, 0.8), 40, nothing)["wasserstein"] == pytest.approx(0.2)
    assert of_one(np.full(10, 0.8), 40, nothing)["wasserstein-matched"] == pytest.approx(0.8)
    assert of_one([0.5, 0.51, 0.1], 40, nothing)["n_matches"] == 1


@given(st.lists(st.floats(0, 0.98), min_size=1, max_size=50), st.integers(0, 49))
def test_a_surer_match_never_lowers_a_score(values, which):
    surer = list(values)
    surer[which % len(values)] = 1.0
    before, after = of_one(values, 60), of_one(surer, 60)
    for score in SCORES:
        assert after[score] >= before[score] - 1e-9


def test_impostors_are_kept_as_they_scored_and_json_gives_them_back_bit_for_bit():
    assert measure_impostors(PAIRS[:19], [100] * 19, 0.5, BOTH) is None
    assert measure_impostors(PAIRS[:20], [100] * 19 + [0], 0.5, BOTH) is None  # one query without keypoints
    assert IMPOSTORS.n_pairs == 100 and set(IMPOSTORS.scores) == set(SCORES)
    own = evidence(PAIRS, 100, IMPOSTORS, 0.5)
    for score in SCORES:  # every value is one pair's
        assert IMPOSTORS.scores[score].tolist() == sorted(own.by(score).tolist())
    back = ImpostorDistribution.from_json(json.loads(json.dumps(IMPOSTORS.as_json())))
    assert back.as_json() == IMPOSTORS.as_json()
    assert of_one(PAIRS[0], impostors=back) == of_one(PAIRS[0])
    assert np.average(IMPOSTORS.all_keypoints) == pytest.approx(np.mean([values.sum() / 100 for values in PAIRS]), rel=0.02)
    nothing = measure_impostors([np.zeros(0)] * 20, [50] * 20, 0.5, BOTH)  # impostors that never match at all
    assert of_one([0.4], 50, nothing)["wasserstein"] > 0
    assert of_one([0.4], 50, nothing)["joint"] > of_one([], 50, nothing)["joint"]


def test_the_best_of_many_impostors_looks_more_alike_than_one():
    score = "wasserstein-matched"
    values = IMPOSTORS.scores[score]
    p = [impostor_probability(float(value), IMPOSTORS, score, 50) for value in values]
    assert all(a >= b for a, b in itertools.pairwise(p))
    assert p[0] > 0.999
    assert 0 < impostor_probability(1.0, IMPOSTORS, score, 50) < 0.01
    high = float(np.quantile(values, 0.9))
    alone = impostor_probability(high, IMPOSTORS, score, 1)
    assert alone == pytest.approx(0.1, abs=0.04)
    assert impostor_probability(high, IMPOSTORS, score, 200) == pytest.approx(1 - (1 - alone) ** 200)


def test_a_reference_counts_once_however_many_turns_of_the_query_were_tried():
    """Impostors and queries take the best of four turns alike: of queries of new animals about as many get p < 0.2 as 0.2 says."""
    rng = np.random.default_rng(6)

    def best_turn():
        return max((rng.beta(1, 8, size=40) for _ in range(4)), key=np.sum)

    impostors = measure_impostors([best_turn() for _ in range(400)], [100] * 400, 0.5, BOTH)
    best = [evidence([best_turn() for _ in range(20)], 100, impostors, 0.5).by("wasserstein").max() for _ in range(300)]
    once, four_times = ([impostor_probability(value, impostors, "wasserstein", n) < 0.2 for value in best] for n in (20, 80))
    assert 0.08 < np.mean(once) < 0.24
    assert np.mean(four_times) < np.mean(once) / 3  # counting every turn makes a match of nobody


def test_counts_with_many_ties_are_not_surprising():
    known = distribution(n_matches=np.repeat([0.0, 1.0, 2.0], [50, 40, 10]))
    assert impostor_probability(1, known, "n_matches", 1) == pytest.approx(0.5)
    assert impostor_probability(2, known, "n_matches", 1) == pytest.approx(0.1)
    assert 0 < impostor_probability(5, known, "n_matches", 1) < 0.1


def test_what_impostors_drawn_anew_get_is_never_too_sure():
    """Of queries whose best of 60 impostors decides, at most as many get p < 0.2 as 0.2 says, and some do."""
    rng = np.random.default_rng(5)
    p = []
    for _ in range(300):
        others = [rng.beta(1, 8, size=int(rng.integers(20, 80))) for _ in range(60)]
        best = evidence(others, 100, IMPOSTORS, 0.5).wasserstein_matched.max()
        p.append(impostor_probability(best, IMPOSTORS, "wasserstein-matched", 60))
    assert 0.02 < np.mean(np.array(p) < 0.2) < 0.3


def test_an_excess_counts_in_the_mean_excesses_of_impostors():
    tail = np.concatenate((np.zeros(80), np.linspace(1, 2, 20)))  # the tail begins at 0.2 and exceeds that by 1.3 in the mean
    known = distribution(sum=tail)
    start = float(np.quantile(tail, 0.8))
    far, at, below = known.excess("sum", np.array([start + 20 * (1.5 - start), start, start - 8]))
    assert far == pytest.approx(20, abs=1e-6)
    assert at == pytest.approx(np.log(2))
    assert 0 < below < 0.01
    flat = distribution(sum=np.zeros(100))  # impostors that never match at all
    assert np.diff(flat.excess("sum", np.array([0, 3])))[0] > 0


@pytest.mark.parametrize("shape", [0.0, 0.3])
def test_a_tail_is_as_heavy_as_its_pairs(shape):
    known = distribution(sum=np.concatenate((np.zeros(16000), genpareto(shape, 0.0, 2.0).rvs(4000, random_state=1))))
    tail = known.tails["sum"]
    assert (tail.start, tail.shape) == (pytest.approx(0, abs=0.01), pytest.approx(shape, abs=0.06))
    assert tail.mean == pytest.approx(2 / (1 - shape), rel=0.06)
    assert known.above("sum", 60.0) == pytest.approx(0.2 * genpareto(shape, 0, 2.0).sf(60), rel=0.9)
    assert known.above("sum", 6.0) == pytest.approx(0.2 * genpareto(shape, 0, 2.0).sf(6), rel=0.1)


def test_few_pairs_say_little_about_a_tail():
    """Of 20 measured pairs 4 are in the tail. They count as 4, not as the hundred that quantiles between them would be."""
    rng = np.random.default_rng(2)
    pairs = [rng.beta(1, 8, size=40) for _ in range(20)]
    few = measure_impostors(pairs, [100] * 20, 0.5, BOTH)
    for tail in few.tails.values():
        assert tail.shape <= 0.25 * 20 / 24 + 0.5 * 4 / 24
    light = distribution(sum=np.concatenate((np.zeros(16), [1.0, 1.1, 1.2, 1.3])))
    assert light.tails["sum"].shape == pytest.approx(0.25 * 20 / 24)  # and carefully: measured, it would be 0


def test_fused_pipelines_add_up_whatever_they_are_measured_in():
    rng = np.random.default_rng(8)
    counts = [rng.beta(2, 2, size=int(rng.integers(0, 6))) for _ in range(100)]  # another matcher's few matches
    second = measure_impostors(counts, [500] * 100, 0.5, ("sum",))
    of_pairs = evidence(counts, 500, second, 0.5)
    both = measure_impostors(PAIRS, [100] * 100, 0.5, BOTH, others=[(of_pairs, second)])
    plain, good = np.full(30, 0.1), np.full(60, 0.45)
    few, many = evidence([np.full(n, 0.9) for n in (2, 30)], 500, second, 0.5).take([0]), evidence([np.full(30, 0.9)], 500, second, 0.5)

    def joint(first, other):
        return of_one(first, 100, both, (other,))["joint"]

    assert joint(plain, few) < min(joint(good, few), joint(plain, many)) and joint(good, many) > max(joint(good, few), joint(plain, many))
    found = fused_scores(evidence([good, plain], 100, both, 0.5), evidence([np.full(30, 0.9)] * 2, 500, second, 0.5))
    own = sum(both.excess(name, found.by(name)) for name in BOTH)
    assert found.excess == pytest.approx(own + second.excess("sum", np.full(2, 27.0)))
    assert found.by("joint") == pytest.approx(np.log1p(found.excess))
    assert (found.n_matches.tolist(), found.shown.tolist(), found.strongest.tolist()) == ([0, 0], [0, 30], [0, 1])  # whose marks are drawn
    assert impostor_probability(found.by("joint")[0], both, "joint", 50) < 0.01
    assert impostor_probability(joint(PAIRS[0], of_pairs.take([0])), both, "joint", 50) > 0.5
    tail = both.tails["joint"]  # of the sum of excesses
    wanted = genpareto(tail.shape, tail.start, tail.mean * (1 - tail.shape)).sf(tail.start + 30 * tail.mean)
    assert both.above("joint", np.log1p(tail.start + 30 * tail.mean)) == pytest.approx(0.2 * wanted, rel=0.02)
    back = ImpostorDistribution.from_json(json.loads(json.dumps(both.as_json())))
    assert (back.joined, back.fused[0].joined) == (BOTH, ("sum",))
    assert fused_scores(evidence([good], 100, back, 0.5), many).excess[0] == found.excess[0]


def test_pairs_without_keypoints_drop_out_of_the_fused_scores_too():
    counts = [np.full(place % 5, 0.6) for place in range(41)]
    second = measure_impostors(counts, [500] * 41, 0.5, ("sum",))
    scores = evidence(counts, 500, second, 0.5)
    n_keypoints = [0 if place == 7 else 100 for place in range(41)]
    some = measure_impostors(PAIRS[:41], n_keypoints, 0.5, BOTH, others=[(scores, second)])
    kept = [place for place in range(41) if place != 7]
    others = measure_impostors([PAIRS[place] for place in kept], [100] * 40, 0.5, BOTH, others=[(scores.take(kept), second)])
    assert some.as_json() == others.as_json()


# without its weights nothing could be measured of loftr, and cosines of one species are no measure of another's
@pytest.mark.parametrize("matcher", [name for name in JOINED if name not in ("loftr", "cosine")])
def test_what_ships_is_measured_scores(matcher):
    own = shipped([("aliked-n16", matcher)], [1])
    assert own.source != "gallery" and own.joined == JOINED[matcher]
    assert own.n_pairs >= 100 and all(len(values) == own.n_pairs for values in own.scores.values())
    assert shipped([("nobody", matcher)], [1]).as_json() == own.as_json()
    both = shipped([("aliked-n16", matcher), ("sift", "nearest")], [1, 1])
    assert both.fused[0].as_json() == shipped([("sift", "nearest")], [1]).as_json()
    assert both.scores["joint"].mean() > own.scores["joint"].mean()
    assert both.scores["sum"].tolist() == own.scores["sum"].tolist()


def test_a_matcher_that_nothing_ships_for_says_what_to_do():
    with pytest.raises(GalleryError, match="no impostor distribution ships for psychic; add animals, or choose another matcher"):
        shipped([("sift", "psychic")], [1])


def scores(**columns):
    """Scores of which some columns matter."""
    n = len(next(iter(columns.values())))
    names = ("wasserstein", "wasserstein_matched", "total", "mean")
    plain = {name: np.asarray(columns.get(name, np.zeros(n))) for name in names}
    sure, excess = (np.asarray(columns.get(name, np.zeros(n)))[None] for name in ("shown", "excess"))
    return Scores(**plain, sure=sure, parts=excess)


def test_ranking_by_best_reference_with_ties_by_name():
    found = scores(total=[0.5, 0.1, 0.5, 0.7, 0.6, 0.2], shown=[5, 1, 4, 9, 2, 2])
    references = ["b1", "a1", "a2", "c1", "x1", "x2"]
    identities = ["basil", "amber", "amber", "cora", None, None]
    wanted = (
        Candidate("cora", 0.7, 9, "c1", "q"), Candidate("unknown (x1)", 0.6, 2, "x1", "q"), Candidate("amber", 0.5, 4, "a2", "q"),
        Candidate("basil", 0.5, 5, "b1", "q"), Candidate("unknown (x2)", 0.2, 2, "x2", "q"),
    )  # fmt: skip
    assert rank([found], "sum", ["q"], references, identities) == wanted
    back = list(range(6))[::-1]
    assert rank([found.take(back)], "sum", ["q"], references[::-1], identities[::-1]) == wanted
    assert rank([], "sum", [], references, identities) == rank([found.take([])], "sum", ["q"], [], []) == ()


def test_a_query_of_several_photos_is_ranked_by_its_best_pairs():
    rows = [scores(total=[0.5, 0.2], shown=[1, 2]), scores(total=[0.4, 0.9], shown=[3, 4]), scores(total=[0.5, 0.9], shown=[5, 6])]
    found = rank(rows, "sum", ["z", "y", "x"], ["r1", "r2"], ["amber", "basil"])
    assert found == (Candidate("basil", 0.9, 6, "r2", "x"), Candidate("amber", 0.5, 5, "r1", "x"))  # equals: the photo's name decides
    assert best_of(rows, "sum").tolist() == [0.5, 0.9]
