"""A gallery calibrated on its own photos: drawn animals, from photos to verdicts."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import draw_animal, random_features, save
from herd import FAST, N, Notes, calibrate, judged

import reid
from reid import stages
from reid.errors import GalleryError
from reid.records import Indexed, PhotoRef
from reid.report import html, tables
from reid.settings import PRESETS, Settings
from reid.stages import Judges, Stage


def test_a_gallery_is_calibrated_on_its_own_photos_and_the_answers_change(herd, tmp_path, store):
    calibration = calibrate(herd, cache=store)
    assert (calibration.about()["n_known"], calibration.about()["n_new"]) == (2 * N, 2 * N)  # encounters
    assert calibration.about()["top1"] > 0.9
    assert calibration.prior == pytest.approx(0.5 / (2 * N + 1))
    save(tmp_path / "q" / "known.png", draw_animal(5, 9))
    save(tmp_path / "q" / "new.png", draw_animal(77, 0))
    with reid.open(herd, FAST.replace(prior_new=0.5), cache=store) as opened:
        report = opened.identify(tmp_path / "q")
        losses = opened.index().losses
    assert sum(losses.values()) == losses[Stage.first] + losses[Stage.outscored] == 4 * N  # photos; each is matched with all
    assert losses[Stage.first] / (4 * N) == pytest.approx(calibration.about()["top1"], abs=0.02)
    known, new = report.rankings
    assert (known.verdict, known.candidates[0].identity) == ("match", "animal-5")
    assert known.p_match > 0.9 > 0.5 > new.p_match
    assert new.p_new > 0.5
    assert report.gallery["calibration"]["n_new"] == 2 * N
    assert calibrate(herd, cache=store).as_json() == calibration.as_json()


def test_the_share_of_new_animals_is_estimated_from_many_photos_together(herd, tmp_path, store):
    calibrate(herd, cache=store)
    for number in range(24):
        save(tmp_path / "q" / f"{number:02}.png", draw_animal(number if number < 6 else 70 + number, 9))
    with reid.open(herd, FAST.replace(prior_new=0.1), cache=store) as opened:
        report = opened.identify(tmp_path / "q")
        few = opened.identify(sorted((tmp_path / "q").iterdir())[:12])
        page = html.as_html(report, {}, opened.impostors)
    share = report.new_share
    assert (share.n_queries, share.prior) == (24, 0.1) and share.low < 0.75 < share.high and share.low > 0.1
    assert "Taken together, " in page and "`--prior-new 0." in page
    assert json.loads(tables.as_json(report))["new_share"]["estimate"] == round(share.estimate, 6)
    assert all(one.p_new == pytest.approx(again.p_new) for one, again in zip(report.rankings, few.rankings))  # one prior, by the settings
    assert few.new_share is None and json.loads(tables.as_json(few))["new_share"] is None


def test_many_photos_of_one_run_tell_each_other_how_likely_new_animals_are(herd, tmp_path, store):
    calibration = calibrate(herd, cache=store)
    for number in range(24):
        save(tmp_path / "q" / f"{number:02}.png", draw_animal(number if number < 6 else 70 + number, 9))
    with reid.open(herd, FAST, cache=store) as opened:
        report = opened.identify(tmp_path / "q")
        few = opened.identify(sorted((tmp_path / "q").iterdir())[:12])
    share = report.new_share
    assert calibration.prior < 0.05 < 0.3 < share.prior < share.estimate
    for one, alone in zip(report.rankings, few.rankings):
        assert one.p_new > alone.p_new and (one.p_if_new, one.p_if_known) == (alone.p_if_new, alone.p_if_known)
        moved = np.log(one.p_new / (1 - one.p_new)) - np.log(alone.p_new / (1 - alone.p_new))
        assert moved == pytest.approx(
            np.log(share.prior / (1 - share.prior)) - np.log(calibration.prior / (1 - calibration.prior)), abs=1e-3
        )
        assert one.p_match + one.p_other + one.p_new == pytest.approx(1)
        assert one.p_match_interval[0] <= one.p_match <= one.p_match_interval[1]


def test_an_evaluation_says_what_its_chances_assume(herd, tmp_path, store):
    header, *rows = (herd / "metadata.csv").read_text().splitlines()
    lines = [f"{header},split", *(f"{row}," for row in rows)]
    for number in range(24):
        path = save(tmp_path / "q" / f"{number:02}.png", draw_animal(number if number < 6 else 70 + number, 9))
        lines.append(f"{path},animal-{number if number < 6 else 70 + number},q{number},query")
    (tmp_path / "split.csv").write_text("\n".join(lines))
    notes = Notes()
    with reid.open(herd, FAST, table=tmp_path / "split.csv", cache=store, listener=notes) as opened:
        found = opened.evaluate()
        alone = opened.evaluate(limit=12)
    [said] = [note for note in notes.notes if "taken together" in note]
    assert "of these 24 queries" in said and (found.figures["n_queries"], alone.figures["n_queries"]) == (24, 12)


def test_settings_that_differ_are_told_as_they_are_typed():
    typed, fast = stages.calibrations._as_typed, PRESETS["fast"]
    usual = {name: Settings().get(name) for name in fast}
    assert (typed(fast, usual), typed(usual, fast)) == ("with --preset fast", "without --preset fast")
    assert typed({"encounters": True}, {"encounters": False}) == "with --encounter"
    assert typed({**fast, "matcher": "adalam"}, usual).startswith("with --matcher adalam, with --fuse")
    given = {"weights": "", "embedding": "a.safetensors", "segment": False, "encounters": True, "max_keypoints": 9}
    assert stages.calibrations._as_options(given) == (
        "without --weights, with --embedding a.safetensors, without --segment, with --encounter, with --max-keypoints 9"
    )


def test_a_verdict_and_the_probability_beside_it_agree(herd, tmp_path, store):
    save(tmp_path / "q" / "known.png", draw_animal(5, 9))
    for prior in (0.001, 0.3, 0.999):
        with reid.open(herd, FAST.replace(prior_new=prior), cache=store) as opened:
            [found] = opened.identify(tmp_path / "q").rankings
        assert not (found.verdict == "match" and found.p_match < 0.5), prior
        assert not (found.verdict == "new" and found.p_new < 0.5), prior


def test_no_two_photos_of_one_encounter_are_compared(herd, store, monkeypatch):
    pairs = []
    whole = stages.leave_one_out.compare

    def watched(photo, pool, work, impostors):
        pairs.append((photo, pool))
        return whole(photo, pool, work, impostors)

    monkeypatch.setattr(stages.leave_one_out, "compare", watched)
    calibrate(herd, FAST.replace(calibration_queries=30), cache=store)
    assert len(pairs) == 30
    assert all(other.ref.encounter != query.ref.encounter for query, pool in pairs for other in pool)
    assert len({query.ref.encounter for query, _ in pairs}) == 30  # no encounter twice before each was a query once


def test_a_burst_is_no_encounter_with_itself(tmp_path):
    """12 animals x 3 frames of one second, and no column `encounter`: nobody was met twice."""
    for identity in range(12):
        for frame in range(3):
            pixels = draw_animal(identity, 0)
            save(tmp_path / "g" / f"animal-{identity}" / f"burst_{frame}.png", np.ascontiguousarray(pixels[2 * frame :, 2 * frame :]))
    with pytest.raises(GalleryError, match="too small to be calibrated"):
        calibrate(tmp_path / "g")


def test_a_copy_of_the_query_makes_a_match_and_without_its_animal_promises_hold(herd, tmp_path, store):
    """The property that the verdict stands for, on every animal of a drawn gallery."""
    with reid.open(herd, FAST.replace(prior_new=0.5), cache=store) as opened:
        photos = [PhotoRef(f"{n}", save(tmp_path / "q" / f"{n}.png", draw_animal(n, 9)), f"animal-{n}") for n in range(N)]
        items, _ = stages.read(photos, opened.work.digests, opened.work.listener)
        false = 0
        for item in items:
            [found] = judged(opened, [item.ref], [*opened.references, Indexed(item.ref, item.digest)])
            assert (found.verdict, found.candidates[0].identity) == ("match", item.ref.identity)
            without = [other for other in opened.references if other.ref.identity != item.ref.identity]
            false += judged(opened, [item.ref], without)[0].verdict == "match"
    assert false <= 3  # 5 % of 24 are 1.2; three or fewer in 97 of 100 draws


def test_wrong_labels_and_two_names_of_one_animal_are_found(herd, tmp_path, store):
    """One photo of animal 3 carries the name of animal 8, and animal 5 has been entered a second time."""
    rows = (herd / "metadata.csv").read_text().splitlines()
    rows[1 + 3 * 4 + 2] = "3-2.png,animal-8,8-2"
    for view in (20, 21):
        save(herd / f"99-{view}.png", np.ascontiguousarray(draw_animal(5, view - 20)[2:, 2:]))  # what was seen of it as animal 5
        rows.append(f"99-{view}.png,animal-99,99-0")
    rows.append(f"{save(herd / '50-0.png', draw_animal(50, 0)).name},animal-50,50-0")
    table = tmp_path / "wrong.csv"
    table.write_text("\n".join(rows))
    with reid.open(herd, FAST, table=table, cache=store) as opened:
        calibration = opened.calibrate()
        health = opened.health()
    assert health.single_encounter == ("animal-50", "animal-99")  # one encounter
    first = health.mislabels[0]
    assert ("3-2.png", "animal-8", "animal-3") in {(one.reference_id, one.identity, one.looks_like.identity) for one in health.mislabels}
    assert first.score < first.looks_like.score
    assert {"animal-5", "animal-99"} in [set(one.identities) for one in health.twins]
    innocent = {f"animal-{n}" for n in range(N)} - {"animal-3", "animal-5", "animal-8"}
    assert not innocent & {name for one in health.twins for name in one.identities}
    assert {"animal-5", "animal-99"} in [set(pair) for pair in calibration.twins_left_out]


def test_two_galleries_in_one_cache_keep_their_own_calibrations(herd, tmp_path, store):
    other = tmp_path / "other"
    rows = ["path,identity,encounter"]
    for identity in range(11):
        for view in range(2):
            save(other / f"{identity}-{view}.png", draw_animal(100 + identity, view))
            rows.append(f"{identity}-{view}.png,animal-{identity},{identity}-{view}")
    (other / "metadata.csv").write_text("\n".join(rows))
    first, second = calibrate(herd, cache=store), calibrate(other, cache=store)
    for root, calibration in ((herd, first), (other, second)):
        with reid.open(root, FAST, cache=store) as opened:
            assert opened.judges.calibration.as_json() == calibration.as_json()
    calibrate(herd, cache=store)
    assert len(list((store / "calibration").rglob("*.json"))) == 2  # in the place of the one that it had


def test_the_report_from_the_command_line(herd, tmp_path, store, call):
    for name, identity in (("known", 5), ("new", 77)):
        save(tmp_path / "q" / f"{name}.png", draw_animal(identity, 9))
    words = ["--gallery", herd, "--cache", store, "--extractor", "sift", "--matcher", "nearest", "--fuse", "none"]
    words += ["--max-keypoints", "150", "--resize", "320"]
    shutil.rmtree(store / "calibration")
    _, before, _ = call("identify", tmp_path / "q", *words, "--report", tmp_path / "before.html")
    assert "reid calibrate" in before and "P(new)" not in before
    _, said, _ = call("calibrate", *words, "--calibration-queries", "60")
    assert "of 60 calibration queries whose animal has another encounter 60 have a reference of a compatible view" in said
    assert said.splitlines()[-1] == call("index", *words)[1].splitlines()[-1]
    words += ["--prior-new", "0.5"]
    status, after, error = call("novelty", tmp_path / "q", *words, "--report", tmp_path / "after.html")
    assert status == 0, error
    assert f"calibrated on {2 * N} encounters" in after and "P(new)" in after
    pages = [(tmp_path / name).read_text() for name in ("before.html", "after.html")]
    assert ["Health of the gallery" in page for page in pages] == [False, True]
    assert pages[1].count("data:image/jpeg") == 10
    status, _, error = call("identify", tmp_path / "q", *words, "--max-false-match", "0.001")
    assert status == 2
    assert f"max_false_match 0.001 needs 999 encounters of new animals to calibrate on; there are {2 * N}" in error


def test_evaluation_is_calibrated_on_the_references_and_writes_everything(herd, tmp_path, store, call):
    rows = (herd / "metadata.csv").read_text().splitlines()
    rows = [rows[0] + ",split,orientation,date", *(f"{row},gallery,left,2020-05-01" for row in rows[1:])]
    for identity in (*range(6), 70, 71):
        save(herd / f"q{identity}.png", draw_animal(identity, 9))
        rows.append(f"q{identity}.png,animal-{identity},later-{identity},query,{'left' if identity % 2 else 'top'},2022-05-01")
    table = tmp_path / "split.csv"
    table.write_text("\n".join(rows))
    words = ["--cache", store, "--extractor", "sift", "--matcher", "nearest", "--fuse", "none", "--max-keypoints", "150", "--resize", "320"]
    written = ["--json", tmp_path / "e.json", "--plots", tmp_path / "plots"]
    status, out, error = call("evaluate", "--gallery", herd, "--metadata", table, "--calibration-queries", "30", *words, *written)
    assert status == 0, error
    for said in ("calibrated on 30 encounters", "BAKS", "oracle", "top-1", "same"):
        assert said in out
    found = json.loads((tmp_path / "e.json").read_text())
    keys = "top1 top3 top5 mrr map auroc baks baus geometric_mean brier ece_match ece_new decided decided_error oracle_accuracy n_queries"
    keys += " n_known n_new n_references seconds_per_query settings"
    assert set(keys.split()) <= found.keys()
    assert (found["top1"], found["auroc"], found["n_known"], found["n_new"]) == (1, 1, 6, 2)
    assert found["baks"] == 1 and found["brier"] < 0.3
    assert found["groups"]["view"] == {"other": {"n": 3, "top1": 1, "top5": 1}, "same": {"n": 3, "top1": 1, "top5": 1}}
    assert found["groups"]["years"] == {"2": {"n": 6, "top1": 1, "top5": 1}}
    assert found["intervals"]["top1"] == [1, 1]
    assert {file.name for file in (tmp_path / "plots").iterdir()} == {"cmc.png", "roc.png", "reliability.png", "scores.png"}


@pytest.mark.slow
def test_a_gallery_that_changed_or_is_too_small(herd, animals, store):
    with pytest.raises(GalleryError, match="too small to be calibrated"):
        calibrate(animals)
    with reid.open(herd, FAST, cache=store, listener=(listener := Notes())) as opened:
        items, work = opened.references, opened.work
        whole = opened.impostors

        def found(references, of=work):
            return stages.judges(references, of, stages.impostors(references, of))

        assert found(items).calibration is not None
        kept = found(items[: 4 * N - 4])  # a few photos fewer: judged by the distribution that was learned with
        assert (
            kept.calibration is not None
            and kept.impostors.as_json() == whole.as_json() != stages.impostors(items[: 4 * N - 4], work).as_json()
        )
        assert found(items[:40]).calibration is None
        said = "of which 40 are among its 40 under the same label; run `reid calibrate` again"
        assert said in listener.notes[-1] and f"calibrated with {4 * N} photos" in listener.notes[-1]
        renamed = [Indexed(replace(item.ref, identity=f"new {n}"), item.digest) for n, item in enumerate(items)]
        assert found(renamed).calibration is None  # the photos are the same, what was learned is not
        ways = ({"mirror": True}, {"rotations": 4}, {"sides": "all"}, {"encounters": True}, {"score": "sum"})
        for change in ways:  # another way of comparing is another calibration
            with reid.open(herd, FAST.replace(**change), cache=store) as other:
                assert other.judges.calibration is None
        next((store / "calibration").rglob("*.json")).write_text("{")
        assert found(items).calibration is None
        assert "is damaged" in listener.notes[-1]


def test_what_cannot_be_compared_is_not_called_new(herd, tmp_path, store):
    """A blank photo, and one of a side that the gallery does not have."""
    rows = (herd / "metadata.csv").read_text().splitlines()
    table = tmp_path / "lefts.csv"
    table.write_text("\n".join([rows[0] + ",orientation", *(f"{row},{'left' if n else 'right'}" for n, row in enumerate(rows[1:]))]))
    blank = PhotoRef("blank", save(tmp_path / "blank.png", np.full((200, 260, 3), 120, np.uint8)))
    right = PhotoRef("right", save(tmp_path / "right.png", draw_animal(5, 9)), orientation="right")
    with reid.open(herd, FAST, table=table, cache=store) as opened:
        opened.calibrate()
        items = opened.references
        for query, references in ((blank, items), (right, items[1:])):
            for judges in (Judges(opened.impostors), opened.judges):
                [answer] = judged(opened, [query], references, judges)
                assert (answer.verdict, answer.p_new, answer.because[0][:27]) == ("unsure", None, "Nothing could be compared: ")
        [answer] = judged(opened, [right])
    assert answer.because[-1] == f"{N - 1} individuals have no photo of a side that could be compared."


@pytest.mark.slow
def test_turning_the_query_does_not_make_a_match_less_sure(herd, tmp_path):
    """The impostor distribution holds the best of all turns already: a reference counts once, however often it was compared."""
    query = PhotoRef("q", save(tmp_path / "q.png", draw_animal(5, 9)))
    p = {}
    for rotations in (1, 4):
        with reid.open(
            herd, FAST.replace(rotations=rotations, extractor="aliked-n16", fuse="none", max_keypoints=80), cache=tmp_path
        ) as opened:
            [answer] = judged(opened, [query])
            p[rotations] = answer.p_impostor
            one = reid.scoring.impostor_probability(answer.candidates[0].score, opened.impostors, "joint", len(opened.references))
            assert answer.p_impostor == pytest.approx(one)
    assert p[4] < 0.05


def test_a_part_of_the_gallery_has_no_probabilities(herd, tmp_path, store):
    save(tmp_path / "q.png", draw_animal(5, 9))
    with reid.open(herd, FAST, cache=store, listener=(listener := Notes())) as opened:
        report = opened.identify(tmp_path / "q.png", where=["encounter=5-0"])
    assert report.rankings[0].p_new is report.gallery["calibration"] is None
    assert "no probabilities" in listener.notes[-1]


def test_a_fused_pipeline_that_knows_nothing_of_these_animals_loses_its_say(herd, tmp_path, monkeypatch):
    """Its features are noise here, but its matches are as many as ever; what is learned is said, kept, and used by `identify`."""
    whole = stages.Pipeline.load

    def noise(self, item, read=None):
        features = whole(self, item, read)
        return features if self.settings.extract.extractor == "sift" else random_features(60, 128, int(item.digest[:8], 16), features.size)

    monkeypatch.setattr(stages.Pipeline, "load", noise)
    fused = FAST.replace(fuse="aliked-t16+nearest*4", resize=160, max_keypoints=60)
    save(tmp_path / "q.png", draw_animal(5, 9))
    rows = (herd / "metadata.csv").read_text().splitlines()
    table = tmp_path / "one-photo-an-encounter.csv"
    table.write_text("\n".join([rows[0], *rows[1::2]]))
    with reid.open(herd, fused, table=table, cache=tmp_path / "store") as opened:
        calibration = opened.calibrate()
        assert [one.weight for one in opened.impostors.fused] == [4.0]
        own, (other,) = opened.judges.impostors.weight, [one.weight for one in opened.judges.impostors.fused]
        assert own + other == pytest.approx(5) and other < 2.1  # half of the way to nothing; the score keeps its scale
        share = 100 * other / 5
        assert calibration.notes[0] == (
            f"what counts on these animals: sift + nearest {100 - share:.0f} % (instead of 20), "
            f"aliked-t16 + nearest {share:.0f} % (instead of 80)"
        )
        [found] = opened.identify(tmp_path / "q.png").rankings
        [item], _ = stages.read([PhotoRef("q", tmp_path / "q.png")], opened.work.digests, opened.work.listener)
        scores = stages.compare(item, opened.references, opened.work, opened.judges.impostors).scores
        [scores] = stages.look_again((item,), opened.references, [scores], opened.work, opened.judges.impostors)
        assert found.candidates[0].score == pytest.approx(np.log1p(scores.parts.sum(axis=0)).max())
