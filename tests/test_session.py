"""The whole way from photos to answers, with SIFT and nearest neighbours on drawn animals: fast, and no stand-in for anything."""

import os
import shutil
import threading
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from conftest import draw_animal, save
from test_images import bad_photos

import reid
from reid import session as sessions
from reid import stages
from reid.engines import LocalEngine
from reid.errors import GalleryError, PhotoError, SettingsError
from reid.matchers.nearest import NearestMatcher
from reid.records import Query
from reid.settings import Settings

FAST = Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=150, resize=320)


class Recorder(reid.Listener):
    def __init__(self):
        self.stages, self.notes = {}, []

    def progress(self, what, done, total):
        self.stages[what] = done, total

    def note(self, text):
        self.notes.append(text)


def identify(photos, gallery, settings=FAST, where=(), orientation=None, **options):
    with reid.open(gallery, settings, **options) as opened:
        return opened.identify(photos, where=where, orientation=orientation)


def index(gallery, settings=FAST, check=False, **options):
    with reid.open(gallery, settings, **options) as opened:
        return opened.index(check=check)


def evaluate(gallery, settings=FAST, **options):
    with reid.open(gallery, settings, **options) as opened:
        return opened.evaluate()


def feature_files(root):
    return sorted((root / ".reid" / "features").rglob("*.safetensors"))


def test_the_right_animal_is_found_and_a_new_one_is_not_matched(animals):
    report = identify(animals.parent / "photos", animals, FAST)
    known, new = report.rankings
    assert (known.query_id, known.candidates[0].identity, known.verdict) == ("known.png", "animal-3", "match")
    assert new.verdict in ("new", "unsure")
    assert len(known.candidates) == 8
    assert known.p_impostor < 0.02 < new.p_impostor
    assert known.p_new is None
    assert report.gallery["impostors"] == "gallery"
    assert report.settings["extract"]["extractor"] == "sift"
    assert not report.failures


def test_photos_that_are_extracted_together_are_indexed_like_those_that_are_not(animals, monkeypatch):
    """By size, the rest at the end, and those that cannot be used are named."""
    for number, size in enumerate([(300, 200), (260, 200), (300, 200)]):
        save(animals / "animal-9" / f"{number}.png", draw_animal(9, number, size))
    (animals / "animal-9" / "bad.png").write_bytes(b"")
    alone = index(animals, FAST, cache=animals / "alone")
    for at_once in (2, 3, 50):
        monkeypatch.setattr(import_module("reid.stages.extract"), "AT_ONCE", {"cpu": at_once})
        together = index(animals, FAST, cache=animals / f"together-{at_once}")
        assert (alone.n_extracted, alone.failures) == (together.n_extracted, together.failures)
        assert together.n_extracted == 19
        files = [sorted((animals / cache / "features").rglob("*.safetensors")) for cache in ("alone", f"together-{at_once}")]
        assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


def test_every_score_finds_the_known_animal(animals):
    for score in ("wasserstein", "wasserstein-matched", "n_matches", "sum", "mean"):
        report = identify(animals.parent / "photos" / "known.png", animals, FAST.replace(score=score))
        assert report.rankings[0].candidates[0].identity == "animal-3", score


def test_the_same_input_gives_the_same_output_whether_stored_or_not(animals):
    first, second = (identify(animals.parent / "photos", animals, FAST) for _ in range(2))
    assert first.rankings == second.rankings
    assert first.fingerprint == second.fingerprint
    for file in (animals / ".reid" / "matches").rglob("*.safetensors"):
        file.unlink()
    assert identify(animals.parent / "photos", animals, FAST).rankings == first.rankings


def test_features_that_are_read_ahead_give_the_same_answers(animals, monkeypatch):
    photos = animals.parent / "photos"
    alone = identify(photos, animals, FAST, cache=animals / "alone")
    monkeypatch.setattr(stages.match, "LOADERS", {"cpu": 2})
    [victim, *_] = sorted((animals / "alone" / "features").rglob("*.safetensors"))
    victim.write_bytes(victim.read_bytes()[:100])  # found by the thread that reads, extracted again by the one that asked
    for file in (animals / "alone" / "matches").rglob("*.safetensors"):
        file.unlink()
    listener = Recorder()
    ahead = identify(photos, animals, FAST, cache=animals / "alone", listener=listener)
    assert ahead.rankings == alone.rankings
    assert any("is damaged" in note for note in listener.notes)


def test_pipelines_of_one_extractor_keep_its_features_once(animals, monkeypatch):
    work = stages.Workspace(FAST.replace(fuse="sift+adalam,goodpoint+nearest"), animals / "alone", reid.Listener())
    first, other, second = work.pipelines
    assert first.kept is second.kept is not other.kept
    with reid.open(animals, FAST.replace(fuse="sift+adalam")) as opened:
        items = opened.references
        first, second = opened.work.pipelines
        assert second.load(items[0]) is first.load(items[0])
        monkeypatch.setattr("reid.stages.pipeline.KEPT", 2)
        small = stages.Workspace(FAST, animals / ".reid", reid.Listener()).first
        for item in (*items[:2], items[0], items[2]):
            small.load(item)
        assert [item.digest in small.kept for item in items[:3]] == [True, False, True]  # what was not asked for longest is gone


def test_pairs_get_the_same_however_many_threads_match_them(animals, monkeypatch, threads):
    photos, used = animals.parent / "photos", set()
    matched = NearestMatcher.match
    monkeypatch.setattr(NearestMatcher, "match", lambda *given: used.add(threading.get_ident()) or matched(*given))
    monkeypatch.setattr(stages.match, "AT_ONCE", 2)
    threads(1)
    alone = identify(photos, animals, FAST, cache=animals / "alone")
    assert used == {threading.get_ident()}
    threads(3)
    used.clear()
    assert identify(photos, animals, FAST, cache=animals / "together").rankings == alone.rankings
    assert len(used - {threading.get_ident()}) > 1
    kept = [sorted((animals / cache / "matches").rglob("*.safetensors")) for cache in ("alone", "together")]
    assert [file.read_bytes() for file in kept[0]] == [file.read_bytes() for file in kept[1]] and kept[0]


def test_what_is_stored_is_not_extracted_again(animals, monkeypatch):
    assert index(animals, FAST).n_extracted == 16
    assert index(animals, FAST).n_extracted == 0
    monkeypatch.setattr("reid.imaging.prepare", lambda *_: pytest.fail("decoded again"))
    (animals / "animal-0" / "0.png").rename(animals / "animal-0" / "renamed.png")
    assert index(animals, FAST).n_extracted == 0


def test_other_settings_are_other_features(animals):
    index(animals, FAST)
    assert index(animals, FAST.replace(max_keypoints=100)).n_extracted == 16
    assert index(animals, FAST.replace(resize=256)).n_extracted == 16
    assert index(animals, FAST.replace(score="sum", top=3)).n_extracted == 0


def test_a_damaged_file_is_reported_and_redone(animals):
    index(animals, FAST)
    victim = feature_files(animals)[3]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:100])
    listener = Recorder()
    assert index(animals, FAST, check=True, listener=listener).n_extracted == 1
    assert any("is damaged" in note for note in listener.notes)
    assert victim.read_bytes() == whole
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert identify(animals.parent / "photos", animals, FAST).rankings
    assert victim.read_bytes() == whole


def test_bad_photos_are_named_and_the_others_go_on(animals):
    folder = animals.parent / "photos"
    bad = bad_photos(folder)
    report = identify(folder, animals, FAST)
    assert {ranking.query_id for ranking in report.rankings} == {"known.png", "new.png", "good.jpg"}
    named = {failure.image_id for failure in report.failures}
    assert named == bad.keys() - {"none.jpg", "vector.eps"}  # .eps is no photo by its name: a note
    assert all("\n" not in failure.reason for failure in report.failures)


def test_a_bad_reference_does_not_stop_the_others(animals):
    (animals / "animal-0" / "empty.jpg").write_bytes(b"")
    summary = index(animals, FAST)
    assert (summary.n_photos, len(summary.failures)) == (16, 1)
    assert "empty" in summary.failures[0].reason


def test_names_in_every_script(animals):
    save(animals / "Ñandú 鹿" / "фото 1.png", draw_animal(50, 0))
    query = save(animals.parent / "запрос ?.png", draw_animal(50, 1))
    report = identify(query, animals, FAST)
    assert report.rankings[0].candidates[0].identity == "Ñandú 鹿"


def test_a_gallery_of_one_animal_is_judged_by_the_shipped_distribution(tmp_path):
    save(tmp_path / "g" / "only" / "1.png", draw_animal(1, 0))
    report = identify(save(tmp_path / "q.png", draw_animal(1, 1)), tmp_path / "g", FAST)
    assert report.gallery["impostors"] != "gallery"
    assert report.rankings[0].candidates[0].identity == "only"
    assert report.rankings[0].verdict in ("match", "unsure", "new")


def test_a_photo_without_keypoints_is_an_answer_too(animals):
    save(animals / "fog" / "1.png", np.full((100, 120, 3), 128, np.uint8))
    query = save(animals.parent / "fog.png", np.full((90, 120, 3), 100, np.uint8))
    ranking = identify(query, animals, FAST).rankings[0]
    assert (ranking.verdict, ranking.because[0][:27]) == ("unsure", "Nothing could be compared: ")
    assert len(ranking.candidates) == 9
    assert len({candidate.score for candidate in ranking.candidates}) == 1


def test_the_search_can_be_restricted(animals):
    rows = [f"animal-{i}/{v}.png,animal-{i},{'left' if v else 'right'},{'north' if i < 4 else 'south'}" for i in range(8) for v in range(2)]
    (animals / "metadata.csv").write_text("path,identity,orientation,site\n" + "\n".join(rows) + "\n")
    known = animals.parent / "photos" / "known.png"
    report = identify(known, animals, FAST, where=["site=north"], orientation="left")
    assert report.gallery["filter"] == "site=north and orientation=left"
    assert (report.gallery["n_references"], report.gallery["n_individuals"]) == (4, 4)
    assert {candidate.reference_id for candidate in report.rankings[0].candidates} == {f"animal-{i}/1.png" for i in range(4)}
    with pytest.raises(GalleryError, match="no photo of the gallery fits site=mars; site is north, south"):
        identify(known, animals, FAST, where=["site=mars"])


def test_boxes_and_masks_keep_keypoints_on_the_animal(animals):
    (animals / "metadata.csv").write_text(
        "path,identity,bbox,mask\n"
        'animal-1/0.png,a,"[100, 40, 150, 120]",\n'
        'animal-2/0.png,b,,"[[50, 50, 200, 50, 200, 180, 50, 180]]"\n'
        "animal-3/0.png,c,,\n"
    )
    settings = FAST.replace(enlarge=False)
    with reid.open(animals, settings) as opened:
        boxed, masked, plain = (opened.work.first.load(item) for item in opened.references)
    assert boxed.size == (150, 120)
    assert masked.size == plain.size == (313, 241)
    assert (masked.keypoints >= 48).all()
    assert (masked.keypoints[:, 0] <= 202).all()
    assert (masked.keypoints[:, 1] <= 182).all()
    assert (plain.keypoints < 48).any()
    assert len(masked) == len(plain) == 150  # the mask leaves room for the best inside it


def test_impostor_pairs_are_of_different_animals_and_change_little(animals):
    def pairs(refs):
        return {(a.digest, b.digest) for a, b in stages.impostor_pairs(refs, 40)}

    with reid.open(animals, FAST) as opened:
        items = opened.references
    found = stages.impostor_pairs(items, 40)
    assert len(found) == 40
    assert all(a.ref.identity != b.ref.identity for a, b in found)
    assert len(pairs(items[:-1]) - pairs(items)) < 12
    assert pairs(items) == pairs(items[::-1])
    assert pairs([one for one in items if one.ref.identity == items[0].ref.identity]) == set()


def test_mistakes_are_found_before_work_starts(animals):
    with pytest.raises(SettingsError, match="unknown extractor"):
        index(animals, FAST.replace(extractor="surf"))
    with pytest.raises(PhotoError, match="no photo"):
        identify([], animals, FAST)
    assert not (animals / ".reid").exists()


def test_evaluation_on_a_table_with_a_split(animals):
    rows = [f"animal-{i}/{v}.png,animal-{i},{'query' if v and i < 5 else 'gallery'},{i}-{v}" for i in range(8) for v in range(2)]
    save(animals / "new.png", draw_animal(77, 0))
    table = "path,identity,split,encounter\n" + "\n".join(rows) + "\nnew.png,nobody,query,new\n"
    (animals / "metadata.csv").write_text(table)
    found = evaluate(animals)
    assert (found.figures["n_queries"], found.n_references) == (6, 11)
    assert found.calibration is found.figures["ece_match"] is None  # too small a gallery
    best = found.scores["wasserstein"]
    assert best["top1"] == best["map"] == found.figures["top1"]
    assert (best["n_known"], best["n_new"], best["top1"], best["auroc"]) == (5, 1, 1, 1)
    assert sum(sum(row.values()) for row in found.verdicts.values()) == 6
    frame = found.to_frame()
    assert frame.set_index("figure").loc["top1", "value"] == 1
    # in the query's own encounter nothing counts: the same photos with one encounter an animal leave nothing to find
    (animals / "metadata.csv").write_text(table.replace("-0\n", "-1\n"))
    assert evaluate(animals).figures["n_known"] == 0


def test_a_query_that_is_gone_after_it_was_read_is_answered_still(animals, tmp_path):
    path = save(tmp_path / "gone.png", draw_animal(2, 5))
    with reid.open(animals, FAST, cache=tmp_path / "c", listener=(listener := Recorder())) as opened:
        whole = opened.identify(path).rankings[0]
        query = Query("gone.png", (opened.queries["gone.png"],))
        path.unlink()
        again = stages.identify(query, opened.references, opened.work, opened.judges)
    assert whole.quality and not again.quality and again.candidates == whole.candidates
    assert "it was answered from its stored features" in listener.notes[-1]


def test_adalam_has_results_of_its_own(animals, tmp_path):
    ways = [{"matcher": "nearest"}, {"matcher": "adalam"}, {"matcher": "adalam", "ratio": 0.7}]
    works = [reid.open(animals, FAST.replace(verify="none", **way), cache=tmp_path).work for way in ways]
    assert len({work.first.fingerprints.of_features for work in works}) == 1
    assert len({work.first.fingerprints.of_matches for work in works}) == 3


def test_a_second_query_costs_matching_only(animals, monkeypatch):
    photos = animals.parent / "photos"
    with reid.open(animals, FAST) as opened:
        opened.identify(photos / "known.png")
        monkeypatch.setattr(sessions.catalogue, "read", lambda *args, **options: pytest.fail("the gallery is read again"))
        read = []
        monkeypatch.setattr(stages.Pipeline, "stored", lambda self, item, load=None: read.append(item) or self.features.load(item.digest))
        assert opened.identify(photos / "new.png").rankings[0].query_id == "new.png"
        assert {item.ref.image_id for item in read} == {"new.png"}  # features of the gallery stay in memory


def test_a_session_is_used_from_several_threads(animals):
    queries = [save(animals.parent / "many" / f"{n}.png", draw_animal(n % 8, 5 + n)) for n in range(8)]
    with reid.open(animals, FAST) as opened:
        opened.index()
        found = {}

        def one(path):
            found[path] = opened.identify(path).rankings[0].candidates[0].identity

        threads = [threading.Thread(target=one, args=(path,)) for path in queries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {path: f"animal-{n % 8}" for n, path in enumerate(queries)}


def test_pairs_and_features_from_python(animals):
    with reid.open(animals, FAST) as opened:
        features = opened.extract(animals / "animal-1" / "0.png")
        pair = opened.match(animals / "animal-1" / "0.png", animals / "animal-1" / "1.png")
    assert (features.kind, len(features)) == ("sift", 150)
    assert (pair.confidence > 0.5).sum() > 20 and pair.n_keypoints == (150, 150)
    alone = sessions.open_pair(animals / "animal-1" / "0.png", animals / "animal-1" / "1.png", FAST)
    assert (alone.matches.indices == pair.indices).all()


def test_a_photo_changed_in_place_is_found_by_its_content(animals):
    victim = animals / "animal-2" / "0.png"
    before, stat = victim.read_bytes(), victim.stat()
    index(animals)
    other = save(animals.parent / "other.png", draw_animal(40, 0)).read_bytes()
    size = max(len(before), len(other))  # zeros behind a PNG are not looked at
    victim.write_bytes(before.ljust(size, b"\0"))
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    index(animals)
    stat = victim.stat()
    victim.write_bytes(other.ljust(size, b"\0"))
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert victim.stat().st_size == size
    assert index(animals).n_extracted == 0  # size and time of change are trusted, and `reid index` says so
    assert index(animals, check=True).n_extracted == 1


def test_copies_of_photos_are_told_as_copies(animals, tmp_path):
    """By their content: a photo under another name is no evidence of its animal, and one photo under two animals is a wrong label."""
    shutil.copy(animals / "animal-1" / "0.png", animals / "animal-2" / "again.png")
    shutil.copy(animals / "animal-3" / "1.png", tmp_path / "photos" / "copy.png")
    told = Recorder()
    with reid.open(animals, FAST, cache=tmp_path / "c", listener=told) as opened:
        found = {one.query_id: one for one in opened.identify(tmp_path / "photos").rankings}
    [twice] = [note for note in told.notes if "one photo" in note]
    assert twice == "animal-1/0.png (animal-1) and animal-2/again.png (animal-2) are one photo; one of the names is wrong"
    for folder in ("animal-1", "animal-3"):
        shutil.copy(animals / "animal-1" / "0.png", animals / folder / "more.png")
    with reid.open(animals, FAST, cache=tmp_path / "c", listener=told) as again:
        assert len(again.references) == 19
    others = {note.split(" ")[3] for note in told.notes[1:] if "one photo" in note}
    assert others == {"animal-2/again.png", "animal-3/more.png"}
    [copy] = [note for note in told.notes if "already" in note]
    assert copy == "1 photo is in the gallery already, and not compared with itself: copy.png = animal-3/1.png"
    copied = found["copy.png"]
    assert copied.in_gallery == ("animal-3/1.png",) and found["known.png"].in_gallery == ()
    assert "animal-3/1.png" not in {one.reference_id for one in copied.candidates} and copied.candidates[0].identity == "animal-3"
    assert "In the gallery already: animal-3/1.png (animal-3)." in " ".join(copied.because)


def test_a_photo_whose_copy_has_a_box_is_no_evidence_either(animals, tmp_path):
    shutil.copy(animals / "animal-3" / "1.png", tmp_path / "copy.png")
    rows = [("animal-3/1.png", "animal-3", "0, 0, 200, 150"), ("animal-1/0.png", "animal-1", "")]
    frame = pd.DataFrame(rows, columns=["path", "identity", "bbox"])
    with reid.open(animals, FAST, table=frame, cache=tmp_path / "c") as opened:
        [found] = opened.identify(tmp_path / "copy.png").rankings
    assert found.in_gallery == ("animal-3/1.png",) and [one.identity for one in found.candidates] == ["animal-1"]
    with reid.open(animals, FAST, table=frame[:1], cache=tmp_path / "c") as opened:
        report = opened.identify(tmp_path / "copy.png")
    assert not report.rankings and report.failures[0].reason == "copy.png is in the gallery already, and no other photo is searched"


def test_a_session_with_other_settings_leaves_the_engine_to_the_first(animals):
    class Counting(LocalEngine):
        n_closed = 0

        def close(self):
            self.n_closed += 1

    engine = Counting()
    with sessions.open(animals, FAST, engine=lambda *_: engine) as first:
        with first.with_settings(FAST.replace(min_confidence=0.4)) as other:
            assert other.engine is engine and other.gallery is first.gallery
        assert engine.n_closed == 0
    assert engine.n_closed == 1
