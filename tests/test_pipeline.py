"""The whole way from photos to answers, with SIFT and nearest neighbours on drawn animals: fast, and no stand-in for anything."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import draw_animal, save
from test_images import bad_photos

import reid
from reid import calls, pipeline
from reid import catalogue as gallery
from reid.errors import GalleryError, PhotoError, SettingsError, StoreError
from reid.imaging import photo_size
from reid.records import PhotoRef
from reid.settings import Settings

FAST = Settings(extractor="sift", matcher="nearest", max_keypoints=150, resize=320)


class Recorder(reid.Listener):
    def __init__(self):
        self.stages, self.notes = {}, []

    def progress(self, what, done, total):
        self.stages[what] = done, total

    def note(self, text):
        self.notes.append(text)


def feature_files(root):
    return sorted((root / ".reid" / "features").rglob("*.safetensors"))


def test_the_right_animal_is_found_and_a_new_one_is_not_matched(animals):
    report = reid.identify(animals.parent / "photos", gallery=animals, settings=FAST)
    known, new = report.rankings
    assert (known.query_id, known.candidates[0].identity, known.verdict) == ("known.png", "animal-3", "match")
    assert new.verdict in ("new", "unsure")
    assert len(known.candidates) == 8
    assert known.p_stranger < 0.02 < new.p_stranger
    assert known.p_new is None
    assert report.gallery["null"] == "gallery"
    assert report.settings["extractor"] == "sift"
    assert not report.failures


@pytest.mark.parametrize("at_once", [2, 3, 50])
def test_photos_that_are_extracted_together_are_indexed_like_those_that_are_not(animals, monkeypatch, at_once):
    """By size, the rest at the end, and those that cannot be used are named."""
    for number, size in enumerate([(300, 200), (260, 200), (300, 200)]):
        save(animals / "animal-9" / f"{number}.png", draw_animal(9, number, size))
    (animals / "animal-9" / "bad.png").write_bytes(b"")
    alone = reid.index(animals, FAST, cache=animals / "alone")
    monkeypatch.setattr(pipeline, "AT_ONCE", {"cpu": at_once})
    together = reid.index(animals, FAST, cache=animals / "together")
    assert (alone.n_extracted, alone.failures) == (together.n_extracted, together.failures)
    assert together.n_extracted == 19
    files = [sorted((animals / cache / "features").rglob("*.safetensors")) for cache in ("alone", "together")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


@pytest.mark.parametrize("score", ["wasserstein", "wasserstein-matched", "n_matches", "sum", "mean"])
def test_every_score_finds_the_known_animal(animals, score):
    report = reid.identify(animals.parent / "photos" / "known.png", gallery=animals, settings=FAST.replace(score=score))
    assert report.rankings[0].candidates[0].identity == "animal-3"


def test_the_same_input_gives_the_same_output_whether_stored_or_not(animals):
    first, second = (reid.identify(animals.parent / "photos", gallery=animals, settings=FAST) for _ in range(2))
    assert first.rankings == second.rankings
    assert first.fingerprint == second.fingerprint
    for file in (animals / ".reid" / "matches").rglob("*.safetensors"):
        file.unlink()
    assert reid.identify(animals.parent / "photos", gallery=animals, settings=FAST).rankings == first.rankings


def test_features_that_are_read_ahead_give_the_same_answers(animals, monkeypatch):
    photos = animals.parent / "photos"
    settings = FAST.replace(extractor="aliked-n16", matcher="lightglue", max_keypoints=60)
    alone = reid.identify(photos, gallery=animals, settings=settings, cache=animals / "alone")
    monkeypatch.setattr(pipeline, "LOADERS", {"cpu": 2})
    [victim, *_] = sorted((animals / "alone" / "features").rglob("*.safetensors"))
    victim.write_bytes(victim.read_bytes()[:100])  # found by the thread that reads, extracted again by the one that asked
    for file in (animals / "alone" / "matches").rglob("*.safetensors"):
        file.unlink()
    listener = Recorder()
    ahead = reid.identify(photos, gallery=animals, settings=settings, cache=animals / "alone", listener=listener)
    assert ahead.rankings == alone.rankings
    assert any("is damaged" in note for note in listener.notes)


def test_what_is_stored_is_not_extracted_again(animals, monkeypatch):
    assert reid.index(animals, FAST).n_extracted == 16
    assert reid.index(animals, FAST).n_extracted == 0
    monkeypatch.setattr("reid.imaging.prepare", lambda *_: pytest.fail("decoded again"))
    (animals / "animal-0" / "0.png").rename(animals / "animal-0" / "renamed.png")
    assert reid.index(animals, FAST).n_extracted == 0


def test_other_settings_are_other_features(animals):
    reid.index(animals, FAST)
    assert reid.index(animals, FAST.replace(max_keypoints=100)).n_extracted == 16
    assert reid.index(animals, FAST.replace(resize=256)).n_extracted == 16
    assert reid.index(animals, FAST.replace(score="sum", top=3)).n_extracted == 0


def test_a_damaged_file_is_reported_and_redone(animals):
    reid.index(animals, FAST)
    victim = feature_files(animals)[3]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:100])
    listener = Recorder()
    assert reid.index(animals, FAST, listener=listener).n_extracted == 1
    assert any("is damaged" in note for note in listener.notes)
    assert victim.read_bytes() == whole
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert reid.identify(animals.parent / "photos", gallery=animals, settings=FAST).rankings
    assert victim.read_bytes() == whole


def test_bad_photos_are_named_and_the_others_go_on(animals):
    folder = animals.parent / "photos"
    bad = bad_photos(folder)
    report = reid.identify(folder, gallery=animals, settings=FAST)
    assert {ranking.query_id for ranking in report.rankings} == {"known.png", "new.png", "good.jpg"}
    named = {failure.image_id for failure in report.failures}
    assert named == bad.keys() - {"none.jpg", "vector.eps"}  # .eps is no photo by its name: a note
    assert all("\n" not in failure.reason for failure in report.failures)


def test_a_bad_reference_does_not_stop_the_others(animals):
    (animals / "animal-0" / "empty.jpg").write_bytes(b"")
    summary = reid.index(animals, FAST)
    assert (summary.n_photos, len(summary.failures)) == (16, 1)
    assert "empty" in summary.failures[0].reason


def test_names_in_every_script(animals):
    save(animals / "Ñandú 鹿" / "фото 1.png", draw_animal(50, 0))
    query = save(animals.parent / "запрос ?.png", draw_animal(50, 1))
    report = reid.identify(query, gallery=animals, settings=FAST)
    assert report.rankings[0].candidates[0].identity == "Ñandú 鹿"


def test_a_gallery_of_one_animal_is_judged_by_the_shipped_null(tmp_path):
    save(tmp_path / "g" / "only" / "1.png", draw_animal(1, 0))
    report = reid.identify(save(tmp_path / "q.png", draw_animal(1, 1)), gallery=tmp_path / "g", settings=FAST)
    assert report.gallery["null"] != "gallery"
    assert report.rankings[0].candidates[0].identity == "only"
    assert report.rankings[0].verdict in ("match", "unsure", "new")


def test_a_photo_without_keypoints_is_an_answer_too(animals):
    save(animals / "fog" / "1.png", np.full((100, 120, 3), 128, np.uint8))
    query = save(animals.parent / "fog.png", np.full((90, 120, 3), 100, np.uint8))
    ranking = reid.identify(query, gallery=animals, settings=FAST).rankings[0]
    assert (ranking.verdict, ranking.because[0][:27]) == ("unsure", "Nothing could be compared: ")
    assert len(ranking.candidates) == 9
    assert len({candidate.score for candidate in ranking.candidates}) == 1


def test_the_search_can_be_restricted(animals):
    rows = [f"animal-{i}/{v}.png,animal-{i},{'left' if v else 'right'},{'north' if i < 4 else 'south'}" for i in range(8) for v in range(2)]
    (animals / "metadata.csv").write_text("path,identity,orientation,site\n" + "\n".join(rows) + "\n")
    known = animals.parent / "photos" / "known.png"
    report = reid.identify(known, gallery=animals, settings=FAST, where=["site=north"], orientation="left")
    assert report.gallery["filter"] == "site=north and orientation=left"
    assert (report.gallery["n_references"], report.gallery["n_individuals"]) == (4, 4)
    assert {candidate.reference_id for candidate in report.rankings[0].candidates} == {f"animal-{i}/1.png" for i in range(4)}
    with pytest.raises(GalleryError, match="no photo of the gallery fits site=mars"):
        reid.identify(known, gallery=animals, settings=FAST, where=["site=mars"])


def test_boxes_and_masks_keep_keypoints_on_the_animal(animals):
    (animals / "metadata.csv").write_text(
        "path,identity,bbox,mask\n"
        'animal-1/0.png,a,"[100, 40, 150, 120]",\n'
        'animal-2/0.png,b,,"[[50, 50, 200, 50, 200, 180, 50, 180]]"\n'
        "animal-3/0.png,c,,\n"
    )
    settings = FAST.replace(enlarge=False)
    reid.index(animals, settings)
    opened = gallery.read(animals, photo_size)
    run = pipeline.Pipeline(settings, animals / ".reid")
    items, _, _ = run.index(opened.references)
    boxed, masked, plain = (run.load(item) for item in items)
    assert boxed.size == (150, 120)
    assert masked.size == plain.size == (313, 241)
    assert (masked.keypoints >= 48).all()
    assert (masked.keypoints[:, 0] <= 202).all()
    assert (masked.keypoints[:, 1] <= 182).all()
    assert (plain.keypoints < 48).any()
    assert len(masked) == len(plain) == 150  # the mask leaves room for the best inside it


def test_pairs_of_strangers_are_strangers_and_change_little(animals):
    def pairs(refs):
        return {(a.digest, b.digest) for a, b in pipeline.stranger_pairs(refs, 40)}

    opened = gallery.read(animals, photo_size)
    run = pipeline.Pipeline(FAST, animals / ".reid")
    items, _, _ = run.index(opened.references)
    found = pipeline.stranger_pairs(items, 40)
    assert len(found) == 40
    assert all(a.ref.identity != b.ref.identity for a, b in found)
    assert len(pairs(items[:-1]) - pairs(items)) < 12
    assert pairs(items) == pairs(items[::-1])


SCRIPT = (
    "import sys, reid; from reid.settings import Settings; print(reid.index(sys.argv[1], Settings(extractor='sift', matcher='nearest', \
max_keypoints=150, resize=320)).n_photos)"
)


def start(root):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_at_once_both_finish_with_the_right_result(animals):
    runs = [start(animals) for _ in range(2)]
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert (run.returncode, out.strip()) == (0, "16"), err
    assert len(feature_files(animals)) == 16
    assert reid.index(animals, FAST).n_extracted == 0


def test_a_killed_run_is_taken_up_where_it_was(tmp_path):
    root = tmp_path / "gallery"
    for identity in range(60):
        save(root / f"animal-{identity}" / "0.png", draw_animal(identity, 0, (640, 480)))
    run = start(root)
    deadline = time.monotonic() + 60
    while not feature_files(root) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    stored = len(feature_files(root))
    assert 0 < stored < 60
    summary = reid.index(root, FAST)
    assert (summary.n_photos, summary.n_extracted) == (60, 60 - stored)


def test_an_interrupted_query_keeps_what_was_matched(animals, monkeypatch):
    reid.index(animals, FAST)
    query = animals.parent / "photos" / "known.png"

    class Stop(Recorder):
        def progress(self, what, done, total):
            if what == "pairs" and total == 16 and done == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reid.identify(query, gallery=animals, settings=FAST, listener=Stop())
    listener = Recorder()
    resumed = reid.identify(query, gallery=animals, settings=FAST, listener=listener)
    assert listener.stages["pairs"] == (11, 11)
    again = reid.identify(query, gallery=animals, settings=FAST, cache=animals.parent / "elsewhere")
    assert resumed.rankings == again.rankings


def test_a_folder_that_cannot_be_written_is_one_line(animals):
    with pytest.raises(StoreError, match="--cache"):
        reid.index(animals, FAST, cache="/proc/nowhere")


def test_mistakes_are_found_before_work_starts(animals):
    with pytest.raises(SettingsError, match="unknown extractor"):
        reid.index(animals, FAST.replace(extractor="surf"))
    with pytest.raises(PhotoError, match="no photo"):
        reid.identify([], gallery=animals, settings=FAST)
    assert not (animals / ".reid").exists()


def test_evaluation_on_a_table_with_a_split(animals):
    rows = [f"animal-{i}/{v}.png,animal-{i},{'query' if v and i < 5 else 'gallery'},{i}-{v}" for i in range(8) for v in range(2)]
    save(animals / "new.png", draw_animal(77, 0))
    table = "path,identity,split,encounter\n" + "\n".join(rows) + "\nnew.png,nobody,query,new\n"
    (animals / "metadata.csv").write_text(table)
    found, answers = calls.evaluate(animals, FAST)
    assert len(answers) == 6
    assert (found["n_queries"], found["n_references"]) == (6, 11)
    assert found["calibration"] is found["ece"] is None  # too small a gallery
    best = found["scores"]["wasserstein"]
    assert best["top1"] == found["top1"]
    assert (best["n_known"], best["n_new"], best["top1"], best["auroc"]) == (5, 1, 1, 1)
    assert sum(sum(row.values()) for row in found["verdicts"].values()) == 6
    # in the query's own encounter nothing counts: the same photos with one encounter an animal leave nothing to find
    (animals / "metadata.csv").write_text(table.replace("-0\n", "-1\n"))
    assert calls.evaluate(animals, FAST)[0]["n_known"] == 0


def test_the_photos_of_an_encounter_are_one_query(animals, tmp_path):
    """One shows nothing, the other the animal: together they are a match by the photo that shows it."""
    for folder, identity in (("monday", 3), ("tuesday", 99)):
        save(tmp_path / "e" / folder / "a-blank.png", np.full((200, 260, 3), 120, np.uint8))
        save(tmp_path / "e" / folder / "b-animal.png", draw_animal(identity, 5))
    alone = reid.identify(tmp_path / "e", gallery=animals, settings=FAST)
    assert [ranking.verdict for ranking in alone.rankings] == ["unsure", "match", "unsure", alone.rankings[3].verdict]
    together = reid.identify(tmp_path / "e", gallery=animals, settings=FAST.replace(encounters=True))
    monday, tuesday = together.rankings
    assert (monday.query_id, monday.verdict) == ("monday", "match")
    best = monday.candidates[0]
    assert (best.identity, best.photo_id) == ("animal-3", "monday/b-animal.png")
    assert best == alone.rankings[1].candidates[0]
    assert (tuesday.query_id, tuesday.verdict in ("new", "unsure")) == ("tuesday", True)
    assert monday.p_stranger == alone.rankings[1].p_stranger  # a photo without keypoints has met nobody


def test_encounters_of_one_name_stay_apart_and_so_do_two_animals_on_one_photo(animals, tmp_path):
    for site, identity in (("a", 3), ("b", 4)):
        save(tmp_path / "e" / site / "2020" / "x.png", draw_animal(identity, 5))
        save(tmp_path / "e" / site / "2020" / "y.png", draw_animal(identity, 6))
    report = reid.identify(tmp_path / "e", gallery=animals, settings=FAST.replace(encounters=True))
    assert [(one.query_id, one.candidates[0].identity) for one in report.rankings] == [("2020", "animal-3"), ("2020 (2)", "animal-4")]
    both = np.concatenate((draw_animal(1, 5), draw_animal(2, 5)), axis=1)
    save(animals / "two.png", both)
    rows = [f"animal-{i}/{v}.png,animal-{i},,gallery" for i in range(8) for v in range(2)]
    rows += ['two.png,unknown,"[0, 0, 313, 241]",query', 'two.png,unknown,"[313, 0, 313, 241]",query']
    (animals / "metadata.csv").write_text("path,identity,bbox,split\n" + "\n".join(rows) + "\n")
    report = reid.identify(animals / "two.png", gallery=animals, settings=FAST.replace(encounters=True))
    assert [one.candidates[0].identity for one in report.rankings] == ["animal-1", "animal-2"]


def test_encounters_of_the_table_are_evaluated_as_one_query_each(animals):
    rows = [f"animal-{i}/{v}.png,animal-{i},gallery,{i}" for i in range(8) for v in range(2)]
    for i in range(3):
        for view in (5, 6):
            save(animals / f"q{i}-{view}.png", draw_animal(i, view))
            rows.append(f"q{i}-{view}.png,animal-{i},query,later-{i}")
    (animals / "metadata.csv").write_text("path,identity,split,encounter\n" + "\n".join(rows) + "\n")
    assert calls.evaluate(animals, FAST)[0]["n_queries"] == 6
    found, _ = calls.evaluate(animals, FAST.replace(encounters=True))
    assert (found["n_queries"], found["top1"]) == (3, 1)
    text = (animals / "metadata.csv").read_text()
    (animals / "metadata.csv").write_text(re.sub("later-.", "one-day", text))  # of several animals
    assert calls.evaluate(animals, FAST.replace(encounters=True))[0]["n_queries"] == 3
    (animals / "metadata.csv").write_text(re.sub("later-.", "", text))
    assert calls.evaluate(animals, FAST.replace(encounters=True))[0]["n_queries"] == 6


def sided(root, sides):
    """A gallery with a photo of each animal and its side; returns its table's folder."""
    rows = [f"{i}.png,animal-{i},{side}" for i, side in enumerate(sides)]
    for i in range(len(sides)):
        save(root / f"{i}.png", draw_animal(i, 0))
    (root / "metadata.csv").write_text("path,identity,orientation\n" + "\n".join(rows) + "\n")
    return root


def asked(root, query, settings):
    """The candidates, best first, of a query, and its best pair as it would be drawn."""
    run = pipeline.Pipeline(settings, root / ".reid")
    items, _, _ = run.index(gallery.read(root, photo_size).references)
    [item], _, _ = run.index([query])
    answer = run.identify(pipeline.Query("q", (item,)), items, run.null(items))
    best = next(item for item in items if item.ref.image_id == answer.candidates[0].reference_id)
    return answer.candidates, run.match_pair(item, best)


def test_no_left_is_compared_with_a_right_unless_wanted(tmp_path):
    root = sided(tmp_path / "g", ["left", "right", "topright", ""])
    query = pipeline.PhotoRef("q", save(tmp_path / "q.png", draw_animal(1, 3)), orientation="left")
    candidates, _ = asked(root, query, FAST)
    assert {found.identity: found.n_matches for found in candidates}["animal-1"] == 0
    assert {found.identity for found in candidates if found.n_matches > 0} <= {"animal-0", "animal-3"}  # nor with a topright
    every, _ = asked(root, query, FAST.replace(sides="all"))
    assert every[0].identity == "animal-1" and every[0].n_matches > 20


def test_the_opposite_side_is_found_mirrored_on_request(tmp_path):
    root = sided(tmp_path / "g", ["left", "right", "right", "left"])
    mirrored = np.ascontiguousarray(draw_animal(1, 3)[:, ::-1])
    query = pipeline.PhotoRef("q", save(tmp_path / "q.png", mirrored), orientation="left")
    assert asked(root, query, FAST)[0][0].n_matches < 10
    candidates, (variant, found) = asked(root, query, FAST.replace(mirror=True))
    assert (candidates[0].identity, variant.ref.mirrored, variant.ref.quarters) == ("animal-1", True, 0)
    assert (found.confidence > 0.5).sum() == candidates[0].n_matches > 20


def test_a_turned_query_is_found_with_rotations(tmp_path):
    """ALIKED, whose descriptors do not turn; the match is drawn on the photo as it is."""
    root = sided(tmp_path / "g", ["", "", ""])
    query = pipeline.PhotoRef("q", save(tmp_path / "q.png", np.ascontiguousarray(np.rot90(draw_animal(1, 3)))))
    settings = Settings(extractor="aliked-n16", matcher="nearest", also="none", max_keypoints=200)
    straight, _ = asked(root, query, settings)
    candidates, (variant, found) = asked(root, query, settings.replace(rotations=4))
    assert candidates[0].identity == "animal-1" and candidates[0].n_matches > 3 * straight[0].n_matches
    assert (variant.ref.quarters, variant.ref.mirrored) == (3, False)
    assert asked(root, query, settings.replace(rotations=2))[0][0].n_matches < candidates[0].n_matches
    assert len(found.confidence)


@pytest.mark.parametrize("change", [{"rotations": 3}, {"sides": "some"}])
def test_unknown_ways_to_compare_are_refused(change):
    with pytest.raises(SettingsError, match=r"rotations is 3; it is 1, 2 or 4|unknown sides 'some'; known: compatible, all"):
        FAST.replace(**change)


@pytest.mark.parametrize(("also", "ways"), [("sift+nearest", {}), ("aliked-t16+nearest,sift+nearest", {"mirror": True, "rotations": 2})])
def test_a_second_opinion_joins_the_first(animals, tmp_path, also, ways):
    alone = FAST.replace(extractor="aliked-n16", also="none", max_keypoints=60, resize=160, shortlist=6, **ways)
    both = alone.replace(also=also)
    run, first = pipeline.Pipeline(both, tmp_path), pipeline.Pipeline(alone, tmp_path)
    opened = gallery.read(animals, photo_size)
    items, failures, _ = run.index(opened.references)
    assert not failures and all(item.digest in other.features for item in items for other in run.others)
    run.update_shortlist(items)
    null = run.null(items)
    assert [one.by for one in (null, *null.others)] == [("sum",)] * len(run.opinions)
    photos = [items[0], items[3]]
    pool = pipeline.without_encounter(photos, items)
    rows, plain = run.compare(photos, pool, null), first.compare(photos, pool, first.null(items))
    for photo, row, own in zip(photos, rows, plain, strict=True):
        met = {place for _, places in run.chosen(photo, pool) for place in places}
        assert 6 <= len(met) < len(pool)  # every variant has a shortlist
        seen = [other.compare([photo], pool, judge)[0] for other, judge in zip(run.others, null.others)]  # on the shortlist or not
        for place, joined in enumerate(row):
            assert joined.total == own[place].total
            parts = [null.excess("sum", joined.total)]
            parts += [
                of_all[place].excess if place in met else judge.excess("sum", 0.0) for of_all, judge in zip(seen, null.others, strict=True)
            ]
            assert joined.excess == pytest.approx(sum(parts), abs=1e-4)
            sure = [joined.n_matches, *(of_all[place].n_matches if place in met else 0 for of_all in seen)]
            assert joined.shown == sure[int(np.argmax(parts))]
    assert run.matches_fingerprint == first.matches_fingerprint  # the first opinion is matched once for both
    assert run.opinions_fingerprint != first.opinions_fingerprint


def test_a_pair_is_shown_by_the_opinion_that_speaks_for_it(animals, tmp_path):
    """ALIKED's nearest neighbours find nothing on a photo that stands on its head; SIFT turns with it."""
    settings = FAST.replace(extractor="aliked-n16", also="sift+nearest")
    run = pipeline.Pipeline(settings, tmp_path)
    items, _, _ = run.index(gallery.read(animals, photo_size).references)
    turned = PhotoRef("turned", save(tmp_path / "turned.png", np.rot90(draw_animal(0, 0), 2).copy()))
    [query], _, _ = run.index([turned])
    null = run.null(items)
    answer = run.identify(pipeline.Query("turned", (query,)), items, null)
    best = answer.candidates[0]
    assert best.identity == "animal-0"
    reference = next(item for item in items if item.ref.image_id == best.reference_id)
    speaker = run.speaker(query, reference, null)
    assert speaker is run.others[0]
    _, pair = speaker.match_pair(query, reference)
    assert best.n_matches == (pair.confidence > 0.5).sum() > 20


def test_a_query_that_is_gone_after_it_was_indexed_is_answered_still(animals, tmp_path):
    run = pipeline.Pipeline(FAST, tmp_path, listener := Recorder())
    items, _, _ = run.index(gallery.read(animals, photo_size).references)
    path = save(tmp_path / "gone.png", draw_animal(2, 5))
    [query], _, _ = run.index([PhotoRef("gone.png", path)])
    null = run.null(items)
    whole = run.identify(pipeline.Query("gone.png", (query,)), items, null)
    path.unlink()
    again = run.identify(pipeline.Query("gone.png", (query,)), items, null)
    assert whole.quality and not again.quality and again.candidates == whole.candidates
    assert "it was answered from its stored features" in listener.notes[-1]


def test_a_null_that_one_opinion_borrows_is_named_and_not_kept(animals, tmp_path, monkeypatch):
    settings = FAST.replace(extractor="aliked-n16", also="sift+nearest", max_keypoints=60, resize=160)
    run = pipeline.Pipeline(settings, tmp_path)
    items, _, _ = run.index(gallery.read(animals, photo_size).references)
    monkeypatch.setattr(run.others[0], "null", lambda references: pipeline.default_null(run.others[0].settings))
    assert run.null(items).source == run.null(items).others[0].source != "gallery"
    assert not list((tmp_path / "nulls").glob("*"))


def test_a_borrowed_null_of_two_opinions_is_as_high_as_both_together():
    alone, both = (pipeline.default_null(Settings(also=also)) for also in ("none", "sift+nearest"))
    assert (both.scores["joint"] > alone.scores["joint"]).all()
    assert [other.by for other in both.others] == [("sum",)]
    assert both.scores["joint"][-1] == pytest.approx(np.log1p(sum(np.expm1(one.scores["joint"][-1]) for one in (alone, *both.others))))


def test_adalam_has_a_null_and_results_of_its_own(tmp_path):
    names = ("nearest", "adalam")
    runs = [pipeline.Pipeline(FAST.replace(matcher=name, verify="none"), tmp_path) for name in names]
    assert runs[0].features_fingerprint == runs[1].features_fingerprint
    assert runs[0].matches_fingerprint != runs[1].matches_fingerprint
    assert runs[1].matches_fingerprint != pipeline.Pipeline(FAST.replace(matcher="adalam", ratio=0.7), tmp_path).matches_fingerprint
    assert pipeline.default_null(Settings(extractor="disk", matcher="adalam", also="none")).by == ("sum",)
