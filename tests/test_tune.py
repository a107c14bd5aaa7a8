"""What pipelines are worth on a gallery's animals: the weights of the fusion, and `reid tune`."""

import tomllib

import numpy as np
import pytest
from conftest import draw_animal, save

import reid
from reid.decision.weights import LEAST_ANIMALS, Evidence, half_way, learn, losses_of
from reid.errors import GalleryError
from reid.evaluation import tune as tuning_room
from reid.evaluation.tune import Choice, _toml, choose
from reid.settings import Settings

ANIMALS = [f"a{number:02}" for number in range(24)]


def queries(*qualities, animals=ANIMALS, seed=0, n=2):
    """`n` queries of each animal among three references of each: a pipeline of quality q exceeds impostors by about q for the own ones."""
    rng = np.random.default_rng(seed)
    individuals = tuple(name for name in ANIMALS for _ in range(3))
    found = []
    for animal in animals:
        own = np.array([name == animal for name in individuals])
        for _ in range(n):
            noise = rng.exponential(1.0, (len(qualities), len(individuals)))
            found.append(Evidence(noise + np.array(qualities)[:, None] * own, individuals, animal))
    return found


def test_a_pipeline_that_knows_nothing_of_these_animals_loses_its_say():
    assert learn(queries(6.0, 0.0), (1.0, 1.0))[1] < 0.5
    assert learn(queries(0.0, 6.0), (1.0, 1.0))[1] > 2


def test_a_weight_stays_where_few_animals_or_no_difference_speak_against_it():
    few = queries(6.0, 0.0, animals=ANIMALS[: LEAST_ANIMALS - 1])
    assert learn(few, (1.0, 1.0)) == (1.0, 1.0)
    same = queries(5.0)
    twice = [Evidence(np.vstack((one.excess, one.excess)), one.individuals, one.animal) for one in same]
    assert learn(twice, (1.0, 1.0)) == (1.0, 1.0)  # the second repeats the first, so that every weight answers alike


def test_a_calibration_goes_half_of_the_way():
    assert half_way((1.0, 32.0, 0.125, 0.3), (1.0, 0.5, 0.5, 0.3)) == (1.0, 4.0, 0.25, 0.3)


def test_what_is_found_does_not_depend_on_the_order_of_queries():
    given = queries(4.0, 1.0, 0.0)
    assert learn(given, (1.0, 1.0, 1.0)) == learn(given[::-1], (1.0, 1.0, 1.0))


def test_an_animal_counts_once_however_many_queries_it_has():
    good, bad = queries(6.0, 0.0, animals=ANIMALS[:12]), queries(6.0, 0.0, animals=ANIMALS[12:])
    assert losses_of([(one, (1, 1)) for one in (*good, *bad)]).shape == (24,)
    once = losses_of([(one, (1, 0)) for one in (*good, *bad)])
    again = losses_of([(one, (1, 0)) for one in (*good, *good, *bad)])
    assert len(again) == 24 and again == pytest.approx(once, abs=0.2)


def test_an_animal_without_another_encounter_tells_of_new_ones_only():
    stranger = Evidence(np.ones((1, 6)), ("a", "a", "b", "b", "c", "c"), "z")
    assert stranger.own == -1 and stranger.scores([1.0]) == pytest.approx(np.log(2) * np.ones(3))
    assert np.isfinite(losses_of([(stranger, (1.0,))] * 3)).all()


NAMES = ["aliked-n16+lightglue", "sift+nearest", "goodpoint+nearest"]
NOW = Choice(False, (1.0, 1.0, 0.0), 0)


def test_tuning_finds_the_pipeline_and_the_masks_that_suit_the_animals():
    found = {False: queries(1.0, 0.0, 1.0), True: queries(1.0, 0.0, 7.0, seed=1)}
    tuning = choose(found, NAMES, NOW, Settings())
    assert tuning.changes["extractor"] == "goodpoint" and tuning.changes["matcher"] == "nearest" and tuning.changes["segment"] is True
    assert "sift" not in str(tuning.changes["fuse"])
    kept = choose(found, NAMES, NOW, Settings.of(resize=320, min_confidence=0.4))  # what it was found with is written, too
    assert Settings.of(**{k: v for group in tomllib.loads(kept.as_toml()).values() for k, v in group.items()}) == kept.settings
    read = tomllib.loads(tuning.as_toml())
    assert read["extract"]["extractor"] == "goodpoint" and read["extract"].get("segment", True)
    assert Settings().replace(**tuning.changes).pipelines()[0].extract.extractor == "goodpoint"
    best = tuning.rows[-1]
    assert best.figures["top1"] > 0.9 and best.figures["n_known"] == 48
    assert len(tuning.rows) == 2 * len(NAMES) + 2 and "with masks" in best.name
    assert {"pipelines", "top1", "auroc", "top1_low", "auroc_high"} <= set(tuning.to_frame().columns)


def test_tuning_leaves_settings_that_nothing_is_better_than():
    found = {segment: queries(5.0, 5.0, 0.0, seed=seed) for seed, segment in enumerate((False, True))}
    tuning = choose(found, NAMES, NOW, Settings())
    assert tuning.changes == {} and tomllib.loads(tuning.as_toml()) == {}


def test_what_is_shown_of_the_found_settings_was_not_seen_when_they_were_found():
    """Of pipelines that are all noise the best in hindsight looks better than chance, but not on animals left out."""
    found = {segment: queries(0.0, 0.0, 0.0, seed=seed, n=1) for seed, segment in enumerate((False, True))}
    rows = choose(found, NAMES, NOW, Settings()).rows
    assert rows[-1].figures["top1"] < 0.25


def test_too_few_animals_are_refused():
    few = queries(5.0, 0.0, 0.0, animals=ANIMALS[:4])
    with pytest.raises(GalleryError, match=r"^4 animals of the \d+ calibration queries were met again, and tuning takes 13; more --"):
        choose({False: few, True: few}, NAMES, NOW, Settings())


def test_the_command_tries_pipelines_on_the_gallery_and_writes_what_it_found(call, tmp_path, monkeypatch):
    for identity in range(14):
        for view in range(2):
            save(tmp_path / "g" / f"animal-{identity}" / f"201{view}-05-01.png", draw_animal(identity, view))
    fast = ["--gallery", tmp_path / "g", "--extractor", "sift", "--fuse", "none", "--matcher", "nearest", "--resize", 160]
    code, out, err = call("tune", *fast, "--pipelines", "goodpoint+nearest,surf+nearest", "--queries", 28, "--out", tmp_path / "tuned.toml")
    assert code == 1 and "left out surf+nearest: unknown extractor 'surf'" in err
    assert all(name in out for name in ("sift+nearest", "goodpoint+nearest, with masks", "the settings as they are", "found"))
    assert isinstance(Settings.load(tmp_path / "tuned.toml"), Settings) and "reid calibrate --config" in out
    assert call("tune", *fast, "--out", tmp_path / "g")[0] == 2
    monkeypatch.setattr("reid.stages.evidence", lambda *_: pytest.fail("matched before it was known to be in vain"))
    monkeypatch.setattr(tuning_room, "LEAST", 15)
    code, _, err = call("tune", *fast, "--queries", 28)
    assert code == 2 and "14 animals of the 28 calibration queries were met again, and tuning takes 13; more --queries, or dates" in err


def test_settings_that_are_written_are_read_again_as_they_are():
    values = {"embedding": r"C:\turtles\named\embedding.safetensors", "fuse": 'a "b"', "segment": True, "resize": 640, "ratio": 1e-5}
    assert tomllib.loads("\n".join(f"{name} = {_toml(value)}" for name, value in values.items())) == values


def test_each_row_is_of_the_pipeline_that_it_names(tmp_path, monkeypatch):
    """Settings sort the pipelines that they fuse; the names have to follow."""
    seen = {}
    monkeypatch.setattr(tuning_room, "_check", lambda *_: None)

    def evidence(references, work, impostors):
        seen["order"] = [f"{one.settings.extract.extractor}+{one.settings.match.matcher}" for one in work.pipelines]
        good = seen["order"].index("goodpoint+nearest")
        return iter(queries(*(6.0 if place == good else 0.0 for place in range(len(work.pipelines)))))

    save(tmp_path / "a" / "1.png", draw_animal(0, 0))
    monkeypatch.setattr(tuning_room.stages, "evidence", evidence)
    monkeypatch.setattr(reid.session.Session, "references", property(lambda self: []))
    monkeypatch.setattr(reid.session.Session, "failures", property(lambda self: ()))
    monkeypatch.setattr(reid.session.Session, "impostors", None)
    with reid.open(tmp_path, Settings.of(extractor="sift", matcher="nearest", fuse="none")) as opened:
        found = opened.tune(["disk+nearest", "goodpoint+nearest", "aliked-t16+nearest"])
    assert seen["order"] == sorted(seen["order"], key=lambda name: (name != "sift+nearest", name)) and len(seen["order"]) >= 3
    best = max(found.rows[:-2], key=lambda row: row.figures["top1"])
    assert best.name in ("goodpoint+nearest", "goodpoint+nearest, with masks") and found.changes["extractor"] == "goodpoint"
    assert found.changes["score"] == "joint"  # by which all was measured, and without which nothing is fused


def test_a_first_pipeline_stays_first_whatever_joins_it_with_its_own_weight():
    found = {segment: queries(5.0, 0.0, 6.5, seed=seed) for seed, segment in enumerate((False, True))}
    tuning = choose(found, NAMES, NOW, Settings())
    assert tuning.changes["extractor"] == "goodpoint"
