"""The decision, part by part: evidence, model, ranks and calibration queries, by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import t
from trials import FLAT, crowd, stands

from reid.decision import (
    ABSENT,
    LEAST,
    RIGHT,
    Calibration,
    Standing,
    Trial,
    calibrate,
    calibration_queries,
    standing,
    trials_of,
)
from reid.decision import calibration as calibrating
from reid.decision.conformal import FOLDS, Fold, Ranked, fold_of, jackknife, p_values
from reid.decision.model import Logistic, OpenSetModel, fit_logistic
from reid.decision.sampling import weighed
from reid.errors import SettingsError
from reid.records import Candidate

# -- evidence


def test_standing_by_hand():
    assert standing([3.0, 1.0, 0.0, -1.0], 9) == Standing(3.0, 2.0, pytest.approx(3 / np.std([1, 0, -1])), math.log(10))
    assert standing([3.0], 0) == Standing(3.0, 3.0, 0.0, 0.0)
    assert standing([3.0, 1.0], 0) == Standing(3.0, 2.0, 0.0, 0.0)  # one rival shows no spread


@pytest.mark.parametrize(
    ("scores", "deviations"),
    [
        ([1.0] + [0.1] * 7, 20.0),  # rivals that nothing matches: their spread is rounding
        ([3.0, 1.0, 1.0], 20.0),
        ([0.1] * 8, 0.0),  # the best is as good as the rest, but for rounding
        ([0.1 + 1e-12] + [0.1] * 7, 0.0),
        ([0.0] * 5, 0.0),
        ([1e6, 0.3, 0.2, 0.1], 20.0),
        ([-0.1, -0.2, -0.4], pytest.approx(2.0)),
    ],
)
def test_deviations_are_bounded_and_not_made_of_rounding(scores, deviations):
    assert standing(scores, 0).deviations == deviations


def test_a_row_of_evidence_gets_what_it_gets_alone(calibration):
    rows = np.random.default_rng(3).normal(size=(317, 4))
    together = calibration.model.strength(rows)
    assert together.tolist() == [calibration.model.strength(row[None])[0] for row in rows]


# -- model


def test_logistic_regression_finds_the_weights_and_none_is_negative():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20000, 3)) * (1, 5, 2) + (0, 10, 0)
    outcome = rng.random(20000) < expit(1.5 * x[:, 0] - 0.2 * (x[:, 1] - 10) + 0.5)
    model = fit_logistic(x[:, [0, 2]], outcome, np.ones(20000))
    assert model.weights == pytest.approx([1.5 * 0.9, 0], abs=0.15)  # a factor left out draws the others towards 0
    assert fit_logistic(x[:, [1]], outcome, np.ones(20000)).weights == pytest.approx([0])
    assert model.logit(np.array([[0.0, 0.0]]))[0] == pytest.approx(0.45, abs=0.1)


def test_a_weight_of_two_is_two_queries():
    rng = np.random.default_rng(4)
    x, outcome = rng.normal(size=(60, 2)), rng.random(60) < 0.5
    twice = fit_logistic(x, outcome, np.where(np.arange(60) < 20, 2.0, 1.0))
    rows = [*range(60), *range(20)]
    as_rows = fit_logistic(x[rows], outcome[rows], np.ones(80))
    assert np.allclose(twice.logit(x), as_rows.logit(x), atol=1e-4)


def test_what_never_varies_does_not_become_certain():
    model = fit_logistic(np.random.default_rng(0).normal(size=(20, 4)), np.ones(20, bool), np.ones(20))
    assert expit(model.bias) == pytest.approx(20.5 / 21, abs=0.01)


def test_the_three_probabilities_sum_to_one_and_follow_the_prior(calibration):
    where = stands(1.0)
    even = calibration.decide(where, 0.05, 0.05, prior=0.5)
    known = expit(calibration.model.known.logit(np.array([[1.0, 0.5, 1.0, 1.0]]))[0])
    assert even.p_new == pytest.approx(1 - known)
    rare = calibration.decide(where, 0.05, 0.05, prior=0.1)
    assert rare.p_new / (1 - rare.p_new) == pytest.approx(even.p_new / (1 - even.p_new) / 9)
    for found in (even, rare, calibration.decide(where, 0.05, 0.05), calibration.decide(stands(40.0), 0.05, 0.05)):
        assert found.p_match + found.p_other + found.p_new == pytest.approx(1)
        assert 0 <= found.interval[0] <= found.p_match <= found.interval[1] <= 1
    assert calibration.decide(where, 0.05, 0.05) == calibration.decide(where, 0.05, 0.05, prior=0.4)


def test_evidence_that_never_changes_says_nothing():
    trials = [replace(one, standing=Standing(one.standing.score, -0.1, one.standing.deviations, 0.3)) for one in crowd(0)]
    found = Calibration.from_json(calibrate(trials, 0.4).as_json())
    assert np.isfinite(found.decide(trials[0].standing, 0.05, 0.05).p_match)


# -- ranks


def test_photos_of_an_encounter_share_its_unit_in_ranks():
    """Four encounters of new animals, one of them with three photos: p = (1 + the encounters that stand as well) / 5."""
    strengths, weights = np.array([-4.0, -3.0, -2.0, -1.0, -1.0, -1.0]), np.array([1, 1, 1, 1 / 3, 1 / 3, 1 / 3])
    new = Ranked.of(strengths, weights)
    assert new.at_least(np.array([-5.0, -2.5, -1.5, -1.0, -0.5])) == pytest.approx([4, 2, 1, 1, 0])
    assert new.at_most(np.array([-5.0, -3.0, -1.5, -1.0])) == pytest.approx([0, 2, 3, 4])
    fold = Fold(FLAT, Ranked.of(np.zeros(0), np.zeros(0)), new)
    evidence = np.zeros((1, 4))  # of strength -1.39
    assert p_values([fold], evidence)[0] == pytest.approx([2 / 5])
    weights[3:] = 0.1, 0.6, 0.3  # sums to 1 but for rounding
    nearly = replace(fold, new=Ranked.of(strengths, weights))
    assert p_values([nearly], evidence)[0].tolist() == [2 / 5]


def test_equal_strength_counts_as_equal_whatever_rounding_did():
    ranked = Ranked.of(np.array([-1.0]), np.ones(1))
    assert ranked.at_least(np.array([-1 + 1e-12])) == ranked.at_most(np.array([-1 - 1e-12])) == 1


def test_weights_are_shared_in_an_encounter_for_known_and_new_by_themselves():
    trials = [Trial("a", "1", stands(0), RIGHT)] + [Trial("a", "1", stands(0), ABSENT)] * 3 + [Trial("b", "1", stands(0), ABSENT)]
    trials += [Trial("a", "2", stands(0), ABSENT, weight=3.0), Trial("a", "2", stands(0), ABSENT)]
    assert [one.weight for one in weighed(trials)] == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 1, 3 / 4, 1 / 4])


def test_a_burst_counts_as_one_encounter():
    """Each photo taken ten times over, as a camera in burst mode does: nothing is learned from it, and nothing promised."""
    trials = crowd(5, 40)
    burst = [one for one in trials for _ in range(10)]
    once, tenfold = calibrate(trials, 0.4), calibrate(burst, 0.4)
    assert (tenfold.n_known, tenfold.n_new) == (once.n_known, once.n_new) == (40, 40)
    for strength in (-1.0, 0.5, 3.0):
        a, b = (found.decide(stands(strength), 0.05, 0.05) for found in (once, tenfold))
        assert (a.p_if_new, a.p_if_known) == (b.p_if_new, b.p_if_known)
        assert a.p_match == pytest.approx(b.p_match, abs=1e-3)
        assert a.interval == pytest.approx(b.interval, abs=1e-2)
    assert calibrate([one for one in crowd(5, LEAST - 1) for _ in range(10)], 0.4) is None
    with pytest.raises(SettingsError, match="needs 99 encounters of new animals to calibrate on; there are 40"):
        tenfold.carries(0.01, 0.05)


def test_an_animal_is_judged_by_models_that_have_not_seen_it_and_a_new_query_by_the_same(monkeypatch):
    """Models that only tell from how many queries they were learned: of 40 animals in five folds, from 32. So is a new query."""
    monkeypatch.setattr(calibrating, "fit", lambda evidence, *_: by_number(len(evidence)))
    found = calibrate(crowd(3, 40), 0.4)
    assert found.model.known.bias == 0.8  # each animal gives two trials
    assert [fold.model.known.bias for fold in found.folds] == [0.64] * FOLDS
    strengths = np.concatenate([fold.new.strengths for fold in found.folds])
    assert np.allclose(strengths, by_number(64).strength(np.zeros((1, 4))))
    assert found.decide(Standing(0, 0, 0, 0), 0.05, 0.05).p_if_new == 1.0  # all are equal; the model of all would rank it above them


def by_number(n: int) -> OpenSetModel:
    return OpenSetModel(*[Logistic(np.zeros(4), np.ones(4), np.zeros(4), n / 100)] * 2)


def test_each_fold_has_known_animals():
    folds = fold_of([f"{n}" for n in range(30)], {f"{n}" for n in range(7)})
    assert {folds[f"{n}"] for n in range(7)} == set(range(FOLDS))
    assert folds == fold_of([f"{n}" for n in reversed(range(30))], {f"{n}" for n in range(7)})


def test_too_few_encounters_or_animals_calibrate_nothing():
    assert calibrate(crowd(0, LEAST - 1), 0.4) is None
    assert calibrate([], 0.4) is None
    trials = [Trial("a", f"{i}", stands(3.0 + i / 10), RIGHT) for i in range(30)]
    trials += [Trial(f"{i}", "1", stands(i / 30), ABSENT) for i in range(30)]
    assert calibrate(trials, 0.5) is None  # one known animal, however often it was seen
    five = [replace(trial, animal=f"{i % FOLDS}") for i, trial in enumerate(trials[:30])] + trials[30:]
    assert np.isfinite(calibrate(five, 0.5).decide(stands(1.0), 0.05, 0.05).interval).all()


def test_the_jackknife_by_hand():
    low, high = jackknife(1.0, [1.0, 1.0, 1.5, 0.5, 1.0])
    error = math.sqrt(4 / 5 * (0.25 + 0.25))
    assert (low, high) == (pytest.approx(1 - t.ppf(0.975, 4) * error), pytest.approx(1 + t.ppf(0.975, 4) * error))


# -- sampling


def photos(*animals: tuple[str, int, int]) -> list[tuple[str, str, str]]:
    """(name, encounters, photos in each), with digests in no order."""
    rng = np.random.default_rng(0)
    return [
        (name, f"{name}-{encounter}", f"{rng.integers(10**9):09d}")
        for name, n, each in animals
        for encounter in range(n)
        for _ in range(each)
    ]


def test_animals_seen_once_and_again_alternate():
    given = photos(*((f"again-{n}", 2, 3) for n in range(10)), *((f"once-{n}", 1, 2) for n in range(30)))
    queries = calibration_queries(given, 40)
    names = [given[place][0] for (place,) in queries]
    assert [name.startswith("again") for name in names] == [True, False] * 20  # 20 encounters of the one kind, then first ones of the other
    every = [given[place] for (place,) in calibration_queries(given, 10**6)]
    assert sorted(every) == sorted(given)
    firsts = [encounter for _, encounter, _ in every[:50]]
    assert len(set(firsts)) == 50  # every encounter's first photo before any encounter's second
    assert len({encounter for _, encounter, _ in every[50:100]}) == 50
    assert len(calibration_queries(given, 7)) == 7 and calibration_queries(given, 0) == []


def test_a_sample_does_not_depend_on_the_order_or_names_of_photos():
    given = photos(*((f"{n}", 1 + n % 3, 2) for n in range(20)))
    chosen = [given[place][2] for (place,) in calibration_queries(given, 25)]
    back = given[::-1]
    assert [back[place][2] for (place,) in calibration_queries(back, 25)] == chosen
    renamed = [(f"x{name}", encounter, digest) for name, encounter, digest in given]
    assert [renamed[place][2] for (place,) in calibration_queries(renamed, 25)] == chosen


def test_whole_encounters_and_photos_that_know_nothing():
    given = photos(("a", 2, 3), ("b", 1, 2))
    queries = calibration_queries(given, 9, whole_encounters=True)
    assert sorted(len(query) for query in queries) == [2, 3, 3]
    assert {frozenset(given[place][1] for place in query) for query in queries} == {frozenset([name]) for name in ("a-0", "a-1", "b-0")}
    unknown = [(None, "e", "1"), ("a", None, "2"), ("a", None, "3"), ("b", "e", "4"), ("a", "e", "5")]
    assert calibration_queries(unknown, 9) == [(1,), (3,), (2,), (4,)]  # no name, no query; no encounter, one of its own


def test_a_query_gives_a_known_trial_and_a_new_one():
    def found(*names):
        return [Candidate(name, 3.0 - rank, 2, f"{name}.jpg") for rank, name in enumerate(names)]

    right, absent = trials_of("a", "1", found("a", "b", "c"), found("a", "b", "c"), lambda score: score / 10)
    assert (right.outcome, right.best, right.p_impostor, right.standing) == ("right", "a", 0.3, standing([3, 2, 1], 2))
    assert (absent.outcome, absent.best, absent.p_impostor, absent.standing) == ("absent", "b", 0.2, standing([2, 1], 2))
    assert [one.outcome for one in trials_of("b", "1", found("a", "b"), found("a", "b"), float)] == ["wrong", "absent"]
    assert [one.outcome for one in trials_of("z", "1", found("a", "b"), found("a", "b"), float)] == ["absent"]
    assert [one.outcome for one in trials_of("a", "1", found("a"), found("a"), float)] == ["right"]
    assert trials_of("a", "1", [], [], float) == []


def test_a_calibration_comes_back_from_json_bit_for_bit(calibration):
    again = Calibration.from_json(json.loads(json.dumps(calibration.as_json())))
    assert again.as_json() == calibration.as_json()
    for score in (-1.0, 0.5, 3.0):
        assert again.decide(stands(score), 0.05, 0.05) == calibration.decide(stands(score), 0.05, 0.05)
    for wrong in ({"evidence": ["score"]}, {"format": 1}):
        with pytest.raises(ValueError, match="another format or other evidence"):
            Calibration.from_json({**calibration.as_json(), **wrong})
    assert json.loads(json.dumps(calibration.about())) == calibration.about()
