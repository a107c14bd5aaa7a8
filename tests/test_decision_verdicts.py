"""The decision, part by part: verdicts, lists, the share of new animals and reasons, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from trials import made, stands

from reid.decision import (
    Standing,
    good_turing,
    listed,
    share_of_new,
    uncalibrated,
    with_lists,
)
from reid.decision.prior import log_odds
from reid.decision.reasons import NOTHING_COMPARED, of_quality, of_share, of_sides, reasons
from reid.decision.share import MANY, WORTH
from reid.decision.verdicts import verdict_of
from reid.errors import SettingsError
from reid.records import IdentityRanking

# -- verdicts


def test_the_four_verdicts_by_hand():
    apart = made(known=[5.0] * 9, new=[1.0] * 9)
    verdicts = {score: apart.decide(Standing(score, 0, 0, 0), 0.1, 0.1).verdict for score in (6.0, -1.0, 3.0)}
    assert verdicts == {6.0: "match", -1.0: "new", 3.0: "odd"}  # better than every new one, worse than every known one: neither
    mixed = made(known=[1.0] * 9, new=[5.0] * 9)
    found = mixed.decide(Standing(3.0, 0, 0, 0), 0.1, 0.1)
    assert (found.verdict, found.p_if_new, found.p_if_known) == ("unsure", 1.0, 1.0)
    assert apart.decide(Standing(6.0, 0, 0, 0), 0.09, 0.1).verdict == "unsure"  # 1 of 10 is the least that nine can tell


@pytest.mark.parametrize(
    ("p_if_new", "p_if_known", "p_match", "p_new", "verdict"),
    [
        (0.05, 0.9, 0.5, 0.4, "match"),
        (0.05, 0.9, 0.49, 0.4, "unsure"),  # the rank says match, the probability does not
        (0.051, 0.9, 0.99, 0.01, "unsure"),
        (0.9, 0.05, 0.1, 0.5, "new"),
        (0.9, 0.05, 0.1, 0.49, "unsure"),
        (0.9, 0.051, 0.01, 0.99, "unsure"),
        (0.05, 0.05, 0.99, 0.0, "odd"),
        (0.05, 0.05, 0.0, 0.99, "odd"),
    ],
)
def test_a_verdict_takes_its_rank_and_its_probability(p_if_new, p_if_known, p_match, p_new, verdict):
    assert verdict_of(p_if_new, p_if_known, p_match, p_new, 0.05, 0.05) == verdict


def test_no_verdict_stands_beside_a_probability_that_denies_it(calibration):
    """With `prior_new` 0.99 no `match` stands beside a P(new) of 0.9, nor with 0.01 a `new` beside a P(new) of 0.1."""
    said = set()
    for prior in (0.01, 0.2, 0.5, 0.8, 0.99):
        for strength in np.linspace(-4, 6, 41):
            found = calibration.decide(stands(float(strength)), 0.05, 0.05, prior=prior)
            said.add(found.verdict)
            assert found.verdict != "match" or found.p_match >= 0.5
            assert found.verdict != "new" or found.p_new >= 0.5
    assert said >= {"match", "new", "unsure"}
    likely = calibration.decide(stands(3.0), 0.05, 0.05, prior=0.2)
    unlikely = calibration.decide(stands(3.0), 0.05, 0.05, prior=0.99)
    assert (likely.verdict, unlikely.verdict) == ("match", "unsure")
    assert (likely.p_if_new, likely.p_if_known) == (unlikely.p_if_new, unlikely.p_if_known)  # the prior does not touch ranks
    why = reasons(unlikely, calibration, 0.05, 0.05)[-1]
    assert why.startswith("By its rank alone it would be a match, but P(match), which takes the prior into account, is only ")


# -- many queries together


def test_the_share_of_new_animals_is_found_whatever_each_answer_assumes():
    """Evidence is normal about 1 for known and -1 for new ones: its logarithm of odds is twice itself."""
    is_new = np.arange(400) < 280
    evidence = np.random.default_rng(0).normal(np.where(is_new, -1.0, 1.0))
    for prior in (0.05, 0.5, 0.9):
        found = share_of_new(1 / (1 + np.exp(2 * evidence - log_odds(prior))), prior)
        assert found.low < 0.7 < found.high and found.high - found.low < 0.16, prior
        assert found.estimate == pytest.approx(0.7, abs=0.06) and found.n_queries == 400
    assert of_share(replace(found, prior=0.9)).endswith(f"and `--prior-new {found.estimate:.2g}` assumes what all of them say")


def test_what_many_queries_say_is_the_prior_of_each_as_far_as_they_are_many():
    """The prior that comes back is its own mean: of P(new) under it, and of WORTH queries more."""
    evidence = np.random.default_rng(1).normal(np.where(np.arange(400) < 280, -1.0, 1.0))[np.random.default_rng(2).permutation(400)]
    gaps = []
    for n in (MANY, 100, 400):
        found = share_of_new(1 / (1 + np.exp(2 * evidence[:n] - log_odds(0.1))), 0.1)
        under = 1 / (1 + np.exp(2 * evidence[:n] - log_odds(found.prior)))
        assert found.prior == pytest.approx((under.sum() + WORTH * 0.1) / (n + WORTH), abs=1e-4)
        assert 0.1 < found.prior < found.estimate
        gaps.append(found.estimate - found.prior)
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0


def test_photos_of_one_encounter_count_as_one_together():
    """Ten frames of each of 40 animals say what one frame of each says, and one frame of ten animals too few to say anything."""
    evidence = np.random.default_rng(3).normal(np.where(np.arange(40) < 20, -1.0, 1.0))
    p_new = 1 / (1 + np.exp(2 * evidence - log_odds(0.1)))
    once, often = share_of_new(p_new, 0.1), np.repeat(p_new, 10)
    burst = share_of_new(often, 0.1, [f"e{place // 10}" for place in range(400)])
    assert (burst.estimate, burst.low, burst.high, burst.prior) == pytest.approx((once.estimate, once.low, once.high, once.prior), abs=1e-5)
    assert once.n_encounters == burst.n_encounters == 40
    assert "% of the 40 encounters of these 400 queries look" in of_share(burst) and "% of these 40 queries look" in of_share(once)
    unknown = share_of_new(often, 0.1, [None] * 400)
    assert unknown.high - unknown.low < 0.5 * (once.high - once.low) and unknown.n_encounters == 400
    assert share_of_new(often, 0.1, [f"e{place // 40}" for place in range(400)]) is None


def test_evidence_that_says_nothing_leaves_the_share_open():
    nothing = share_of_new([0.3] * MANY, 0.3)
    assert (nothing.low, nothing.high) == (0.0, 1.0)
    assert nothing.prior == pytest.approx(0.3, abs=1e-4) and of_share(nothing).endswith("the probabilities of each assume 30 %")
    assert share_of_new([0.3] * (MANY - 1), 0.3) is None
    sure = share_of_new([1.0] * 30, 0.3)
    assert sure.high == 1.0 and sure.low > 0.85
    assert share_of_new([0.0] * 30, 0.3).low == 0.0


def test_verdicts_where_nothing_is_calibrated():
    assert [uncalibrated(p, 0.02, 0.5) for p in (0, 0.02, 0.021, 0.49, 0.5, 1)] == ["match", "match", "unsure", "unsure", "new", "new"]


def test_a_promise_that_the_sample_cannot_carry_is_refused_with_the_number_it_takes(calibration):
    calibration.carries(0.05, 0.05)
    calibration.carries(0.0, 0.0)  # never, which needs no sample
    said = "max_false_match 0.001 needs 999 encounters of new animals to calibrate on; there are 150, which allow 0.0067 at best"
    with pytest.raises(SettingsError, match=said):
        calibration.carries(0.001, 0.05)
    with pytest.raises(SettingsError, match=r"max_false_new 0\.006 needs 166 encounters of known"):
        calibration.carries(0.05, 0.006)
    nineteen = made(known=[5.0] * 19, new=[1.0] * 19)
    nineteen.carries(0.05, 0.05)
    assert nineteen.decide(Standing(6.0, 0, 0, 0), 0.05, 0.05).verdict == "match"  # 1 of 20, to the last bit


def test_a_list_by_benjamini_and_hochberg():
    p = [0.001, 0.011, None, 0.04, 0.2, 0.9]
    assert listed(p, 0.05) == [True, True, False, False, False, False]  # 0.04 is above 0.05 * 3 / 5
    assert listed([0.05, None], 0.05) == [True, False]
    assert listed([None, None], 0.05) == [False, False]
    assert listed([], 0.05) == []
    rng = np.random.default_rng(2)
    for _ in range(50):
        values = (rng.integers(1, 40, size=30) / 100).tolist()
        assert listed(values, 0.2) == (false_discovery_control(values) <= 0.2 + 1e-9).tolist()


def ranking(verdict, p_if_new, p_if_known, p_new=0.5):
    return IdentityRanking("q", (), verdict, 0.5, 0.3, 0.2, p_new, None, p_if_new, p_if_known)


def test_a_list_holds_only_what_its_verdict_says():
    rankings = [ranking("match", 0.001, 0.9), ranking("match", 0.04, 0.5), ranking("unsure", 0.001, 0.9), ranking("odd", 0.001, 0.001)]
    rankings += [ranking("new", 0.9, 0.001), IdentityRanking("q", (), "unsure", 0.5)]
    found = with_lists(rankings, 0.05, 0.05)
    assert [one.listed for one in found] == [True, False, False, False, True, None]  # 0.04 is above 0.05 * 2 / 5
    assert [replace(one, listed=None) for one in found] == rankings
    assert [one.listed for one in with_lists(rankings, 0.0, 0.9)] == [False] * 4 + [True, None]
    assert with_lists([], 0.05, 0.05) == ()


# -- prior and words


def test_good_turing_by_hand():
    assert good_turing([1, 1, 2, 4]) == pytest.approx(2.5 / 9)
    assert 0 < good_turing([2, 2]) < good_turing([1, 1]) < 1


def test_reasons_count_encounters():
    apart = made(known=[5.0] * 9, new=[1.0] * 9)
    said = reasons(apart.decide(Standing(6.0, 0, 0, 0), 0.1, 0.1), apart, 0.1, 0.1)
    assert said == (
        "None of 9 encounters with animals taken out of the gallery, as if they were new, looked as much like their best match as this "
        "photo.",
        "9 of 9 encounters with known animals looked as little like their best match as this photo.",
    )
    odd = reasons(apart.decide(Standing(3.0, 0, 0, 0), 0.1, 0.1), apart, 0.1, 0.1)
    assert odd[-1] == "Few new animals look this convincing, and few known ones this little: the photo is like neither."
    assert of_quality((), 1) is of_sides(0) is None
    assert of_quality(("dark", "blurred"), 1) == "The photo is dark, blurred: known animals are recognised on fewer of such photos."
    assert of_quality(("dark",), 2).startswith("The best of the photos is dark")
    assert of_sides(2) == "2 individuals have no photo of a side that could be compared."
    assert NOTHING_COMPARED.startswith("Nothing could be compared: ")
