"""Animals that stand in the gallery twice, and photos under a wrong name."""

import numpy as np
import pytest
from trials import crowd, stands

from reid.decision import ABSENT, RIGHT, WRONG, Standing, Trial, calibrate, health
from reid.decision.conformal import p_values
from reid.decision.health import suspected_twins
from reid.decision.model import table
from reid.decision.reasons import of_twins
from reid.records import Candidate

N = 100


def herd(seed: int, twins: int = 6, worth: float = 3.0, alike: float = 1.0) -> list[Trial]:
    """The trials of N animals, of which the first `twins` stand in the gallery twice, as `a0` and `b0`. `worth` is how far right answers
    stand above impostors, whose p-values are uniform to the power of `alike` (1 is right, more is too sure)."""
    rng = np.random.default_rng(seed)
    names = [f"a{n}" for n in range(N)] + [f"b{n}" for n in range(twins)]
    trials = []
    for name in names:
        number = int(name[1:])
        twin = f"{'b' if name[0] == 'a' else 'a'}{number}" if number < twins else None
        for encounter in ("1", "2"):
            found = stands(worth + rng.normal())
            trials.append(Trial(name, encounter, found, RIGHT if twin is None or rng.random() < 0.5 else WRONG, best=name, p_impostor=1e-6))
            if twin is not None:
                trials.append(Trial(name, encounter, stands(worth + 1 + rng.normal()), ABSENT, best=twin, p_impostor=1e-6))
                continue
            p = float(rng.random() ** alike)
            other = str(rng.choice(names))
            trials.append(Trial(name, encounter, stands(rng.normal()), ABSENT, best=other, p_impostor=p))
    return trials


def matched(found, worth: float = 3.0) -> float:
    """The share of known animals that are called a match at 5 %."""
    rng = np.random.default_rng(9)
    return float(np.mean([found.decide(stands(worth + rng.normal()), 0.05, 0.05, prior=0.3).verdict == "match" for _ in range(300)]))


def test_animals_entered_twice_do_not_take_match_away():
    """Six animals of 100 stand under two names. In the new trials they are known ones, and they set the bar."""
    trials = herd(0)
    found = calibrate(trials, 0.3)
    assert found.twins_left_out == tuple((f"a{n}", f"b{n}") for n in range(6))
    assert (found.n_known, found.n_new) == (212, 188)  # all trials of known animals stay
    poisoned = calibrate([Trial(one.animal, one.encounter, one.standing, one.outcome) for one in trials], 0.3)  # that knows no impostors
    assert poisoned.twins_left_out == () and poisoned.n_new == 212
    clean = calibrate(herd(0, twins=0), 0.3)
    assert matched(clean) > 0.75
    assert matched(found) > 0.75
    assert matched(poisoned) < 0.4
    assert "a0 and b0, a1 and b1" in of_twins(found.twins_left_out)
    assert found.about()["twins_left_out"][0] == ["a0", "b0"]


@pytest.mark.parametrize("alike", [1.0, 2.0, 50.0])
def test_where_evidence_is_worthless_nobody_is_a_twin_and_the_promise_holds(alike):
    """Right answers and impostors score alike; by 50, a wrong distribution of impostors, nearly every one of them is impossible."""
    false_match, left_out = [], []
    for seed in range(30):
        found = calibrate(herd(seed, twins=0, worth=0.0, alike=alike), 0.3)
        left_out.append(len(found.twins_left_out))
        asked = [stands(float(x)) for x in np.random.default_rng(1000 + seed).normal(size=200)]
        false_match.append((p_values(found.folds, table(asked))[0] <= 0.05).mean())
    assert np.mean(left_out) < (0.2 if alike < 50 else 2)  # by chance, two names that find each other
    assert np.mean(false_match) < 0.06


def test_each_condition_of_a_twin_counts():
    def trial(animal, best, score, p_impostor, outcome=ABSENT):
        return Trial(animal, "1", Standing(score, 0, 0, 0), outcome, best=best, p_impostor=p_impostor)

    right = [trial(f"r{n}", f"r{n}", 2.0, 0, RIGHT) for n in range(3)]
    others = [trial(f"o{n}", "r0", 0.0, 0.5) for n in range(20)]
    a, b = trial("a", "b", 3.0, 0.001), trial("b", "a", 3.0, 0.001)
    assert suspected_twins([*right, *others, a, b]) == ((("a", "b"),), ())
    assert suspected_twins([*right, *others, a]) == ((("a", "b"),), ())  # nobody asked about b
    assert suspected_twins([*right, *others, a, trial("b", "r1", 3.0, 0.5)]) == ((), ())  # b finds another
    assert suspected_twins([*right, *others, trial("a", "b", 3.0, 0.002), b]) == ((), ())  # an impostor may look so
    assert suspected_twins([*right, *others, trial("a", "b", 2.0, 0.001), b]) == ((), ())  # no better than right answers usually are
    assert suspected_twins([*others, a, b]) == suspected_twins([]) == ((), ())
    pairs = [trial(*names, 3.0, 0.0) for n in range(4) for names in ((f"a{n}", f"b{n}"), (f"b{n}", f"a{n}"))]
    left_out, notes = suspected_twins([*right, *others, *pairs])  # 4 pairs of 28 individuals
    assert left_out == () and notes[0].startswith("4 pairs of 28 individuals look like one animal under two names (a0 and b0, ")
    assert calibrate([*crowd(0, 30), *right, *pairs], 0.3).notes[0].startswith("4 pairs of 38 individuals")


def test_wrong_labels_and_twins_are_named_and_the_innocent_are_not():
    calibration = calibrate(crowd(0), 0.4)

    def found(photo, *scores):
        return tuple(Candidate(name, score, int(10 * max(0, score)), f"{name}.jpg", photo) for name, score in scores)

    answers = [
        ("elm", 1, found("1.jpg", ("fern", 6.0), ("elm", 0.5), ("oak", 0.1), ("yew", 0.0))),  # more alike than its own
        ("gull", 1, found("2.jpg", ("gull", 7.0), ("hazel", 5.0), ("oak", 0.1), ("yew", 0.0))),
        ("hazel", 1, found("3.jpg", ("gull", 6.0), ("oak", 0.1), ("yew", 0.0))),  # hazel has one encounter
        ("oak", 1, found("4.jpg", ("oak", 5.0), ("yew", 0.2), ("elm", 0.1))),
        ("yew", 1, found("5.jpg", ("oak", 0.2), ("elm", 0.1), ("fern", -0.3))),
        ("lone", 1, found("6.jpg", ("lone", 3.0))),
    ]
    seen = health(answers, calibration, {"elm": 2, "gull": 2, "hazel": 1, "oak": 3, "yew": 1, "lone": 2})
    assert seen.n_queries == 6
    assert seen.single_encounter == ("hazel", "yew")
    [wrong] = seen.mislabels
    assert (wrong.reference_id, wrong.identity, wrong.score, wrong.looks_like.identity) == ("1.jpg", "elm", 0.5, "fern")
    [twins] = seen.twins
    assert seen.newcomers == ()
    called = health(answers, calibration, {"elm": 2, "gull": 2, "hazel": 1, "oak": 3, "yew": 1, "lone": 2}, {"oak", "yew", "hazel"})
    [newcomer] = called.newcomers  # met once, and no twin anyhow
    assert newcomer.identities == ("yew", "oak") and newcomer.p_same < 0.5 and called.twins == seen.twins
    assert set(twins.identities) == {"gull", "hazel"} and twins.references == ("3.jpg", "gull.jpg") and twins.p_same > 0.5
