"""An evaluation of a gallery answers as `identify` would, and leaves what is stored as it was."""

import csv
from dataclasses import replace

import pytest
from conftest import draw_animal, save

import reid
from reid import stages
from reid.settings import Settings
from reid.stages import Judges, Stage

FAST = Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=120, resize=240)
WORDS = "--extractor sift --matcher nearest --fuse none --max-keypoints 120 --resize 240".split()


def gallery(root, n=8, queries=(), more="", row=""):
    """Animals met twice, and photos (name, animal that it shows, name of the animal, encounter) of them to ask about."""
    rows = [f"path,identity,encounter,split{more}"]
    for identity in range(n):
        for view in range(2):
            save(root / f"{identity}-{view}.png", draw_animal(identity, view, (240, 184)))
            rows.append(f"{identity}-{view}.png,animal-{identity},{identity}-{view},gallery{row}")
    for name, shown, label, encounter in queries:
        save(root / name, draw_animal(shown, 5, (240, 184)))
        rows.append(f"{name},{label},{encounter},query{row}")
    (root / "metadata.csv").write_text("\n".join(rows))
    return root


def test_an_evaluation_with_fewer_queries_leaves_what_index_shows(tmp_path):
    root = gallery(tmp_path, 12, [("q.png", 3, "animal-3", "later")])
    with reid.open(root, FAST) as opened:
        opened.calibrate()
        before = opened.index()
        assert sum(before.losses.values()) == 24 and before.losses[Stage.reference] == 0
    with reid.open(root, FAST.replace(calibration_queries=20)) as opened:
        assert opened.evaluate().calibration["n_known"] == 20
    with reid.open(root, FAST) as opened:
        after = opened.index()
    assert (after.losses, after.calibration.as_json()) == (before.losses, before.calibration.as_json())


def test_an_encounter_of_two_animals_is_unsure_in_an_evaluation_as_it_is_for_identify(tmp_path):
    root = gallery(tmp_path, queries=[("a.png", 3, "animal-3", "day"), ("b.png", 5, "animal-3", "day"), ("c.png", 6, "animal-6", "one")])
    settings = FAST.replace(encounters=True, calibration_queries=0)
    with reid.open(root, settings) as opened:
        found = opened.evaluate()
        identified = {one.query_id: one for one in opened.identify([root / name for name in ("a.png", "b.png", "c.png")]).rankings}
    assert {name: one.verdict for name, one in identified.items()} == {"day": "unsure", "c.png": "match"}
    assert {one.query_id: one.verdict for one in found.waterfall.courses} == {"day": "unsure", "c.png": "match"}
    assert found.verdicts["unsure"] == {"right": 1, "wrong": 0, "new": 0}


def test_the_page_of_an_evaluation_draws_by_what_it_judged_by(tmp_path, call, monkeypatch):
    """Not by the calibration that is stored: the pipeline that spoke for a pair here is that whose marks are drawn."""
    root = gallery(tmp_path / "g", queries=[("q.png", 3, "animal-5", "later")])  # found as animal-3: lost
    judged, drawn = [], []

    def learn(references, work, impostors):
        judged.append(replace(impostors, weight=2.0))
        return Judges(judged[-1])

    whole = stages.strongest
    monkeypatch.setattr(stages, "learn", learn)
    monkeypatch.setattr(stages, "strongest", lambda *given: drawn.append(given[-1]) or whole(*given))
    words = [*WORDS, "--fuse", "sift+adalam", "--report", tmp_path / "page.html"]
    status, _, error = call("evaluate", "--gallery", root, *words)
    assert status == 0, error
    assert (tmp_path / "page.html").read_text().count("<img ") == len(drawn) == 2
    assert all(one is judged[0] for one in drawn)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_pipeline_that_counts_nothing_looks_at_nothing_and_changes_nothing(tmp_path, monkeypatch, weight):
    root = gallery(tmp_path, 4)
    looked = []
    whole = stages.select.finalists

    def watched(photo, references, places, pipeline, *more):
        looked.append(pipeline.name)
        return whole(photo, references, places, pipeline, *more)

    monkeypatch.setattr(stages.select, "finalists", watched)
    with reid.open(root, FAST.replace(fuse="sift+adalam*0.5")) as opened, reid.open(root, FAST) as alone:
        photo, *pool = opened.references
        plain = opened.impostors
        (other,) = plain.fused
        impostors = replace(plain, fused=(replace(other, weight=weight),))
        before = [one.n_matched for one in opened.work.pipelines]
        found = stages.compare(photo, pool, opened.work, impostors).scores
        assert set(looked) == {"sift + nearest", *(["sift + adalam"] if weight else [])}
        assert [one.n_matched > n for one, n in zip(opened.work.pipelines, before)] == [True, weight > 0]
        expected = stages.compare(photo, pool, alone.work, replace(plain, fused=())).scores
        assert (found.parts[0] == expected.parts[0]).all() and found.parts[1].any() == (weight > 0)


def test_photos_without_a_name_are_no_suspicion(tmp_path, call):
    """One shows an animal that has a name: nothing that `--merge` could take, and nothing that hides a second name of it."""
    root = gallery(tmp_path / "g", 12)
    rows = (root / "metadata.csv").read_text().splitlines()
    for name, identity, encounter in (("nobody.png", "unknown", "n"), ("again-0.png", "second", "s0"), ("again-1.png", "second", "s1")):
        save(root / name, draw_animal(5, 30 + len(rows), (240, 184)))
        rows.append(f"{name},{identity},{encounter},gallery")
    (root / "metadata.csv").write_text("\n".join(rows))
    assert call("calibrate", "--gallery", root, *WORDS)[0] == 0
    status, _, error = call("duplicates", "--gallery", root, "--csv", tmp_path / "found.csv", *WORDS)
    assert status == 0, error
    found = list(csv.DictReader((tmp_path / "found.csv").read_text().splitlines()))
    names = {name for row in found for name in (row["individual"], row["other"])}
    assert {"animal-5", "second"} <= names and "nobody.png" not in names
