"""What a query is and what it is compared with: encounters, sides, mirrored and turned photos, several pipelines. On drawn animals."""

import os
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_animal, save
from PIL import Image
from test_session import FAST, evaluate, identify

import reid
from reid import stages
from reid.errors import SettingsError
from reid.records import PhotoRef, Query
from reid.settings import Settings
from reid.stages import Judges


def test_the_photos_of_an_encounter_are_one_query(animals, tmp_path):
    """One shows nothing, the other the animal: together they are a match by the photo that shows it."""
    for folder, identity in (("monday", 3), ("tuesday", 99)):
        save(tmp_path / "e" / folder / "a-blank.png", np.full((200, 260, 3), 120, np.uint8))
        save(tmp_path / "e" / folder / "b-animal.png", draw_animal(identity, 5))
    alone = identify(tmp_path / "e", animals, FAST)
    assert [ranking.verdict for ranking in alone.rankings] == ["unsure", "match", "unsure", alone.rankings[3].verdict]
    together = identify(tmp_path / "e", animals, FAST.replace(encounters=True))
    monday, tuesday = together.rankings
    assert (monday.query_id, monday.verdict) == ("monday", "match")
    best = monday.candidates[0]
    assert (best.identity, best.photo_id) == ("animal-3", "monday/b-animal.png")
    assert best == alone.rankings[1].candidates[0]
    assert (tuesday.query_id, tuesday.verdict in ("new", "unsure")) == ("tuesday", True)
    assert monday.p_impostor == alone.rankings[1].p_impostor  # a photo without keypoints was compared with nobody


def test_cameras_take_the_photos_of_one_folder_apart(animals, tmp_path):
    """Two animals of one field day, met at ten and at noon, in one folder: two queries, not one of both."""
    for name, identity, hour in (("a", 3, 10), ("b", 3, 10), ("c", 5, 12)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2026:05:01 {hour}:12:00"
        save(tmp_path / "today" / f"{name}.jpg", draw_animal(identity, 5 if name != "b" else 6), exif=exif, quality=95)
    settings = FAST.replace(encounters=True)
    report = identify(tmp_path / "today", animals, settings)
    found = [(one.query_id, one.candidates[0].identity) for one in report.rankings]
    assert found == [("today, 2026-05-01 10:12", "animal-3"), ("c.jpg", "animal-5")]
    save(tmp_path / "today" / "d.png", draw_animal(3, 5))  # of any occasion: the folder is one encounter
    assert [one.query_id for one in identify(tmp_path / "today", animals, settings).rankings] == ["today"]


def test_encounters_of_one_name_stay_apart_and_so_do_two_animals_on_one_photo(animals, tmp_path):
    for site, identity in (("a", 3), ("b", 4)):
        save(tmp_path / "e" / site / "2020" / "x.png", draw_animal(identity, 5))
        save(tmp_path / "e" / site / "2020" / "y.png", draw_animal(identity, 6))
    report = identify(tmp_path / "e", animals, FAST.replace(encounters=True))
    assert [(one.query_id, one.candidates[0].identity) for one in report.rankings] == [("2020", "animal-3"), ("2020 (2)", "animal-4")]
    both = np.concatenate((draw_animal(1, 5), draw_animal(2, 5)), axis=1)
    save(animals / "two.png", both)
    rows = [f"animal-{i}/{v}.png,animal-{i},,gallery" for i in range(8) for v in range(2)]
    rows += ['two.png,unknown,"[0, 0, 313, 241]",query', 'two.png,unknown,"[313, 0, 313, 241]",query']
    (animals / "metadata.csv").write_text("path,identity,bbox,split\n" + "\n".join(rows) + "\n")
    report = identify(animals / "two.png", animals, FAST.replace(encounters=True))
    assert [one.candidates[0].identity for one in report.rankings] == ["animal-1", "animal-2"]


def test_encounters_of_the_table_are_evaluated_as_one_query_each(animals):
    rows = [f"animal-{i}/{v}.png,animal-{i},gallery,{i}" for i in range(8) for v in range(2)]
    for i in range(3):
        for view in (5, 6):
            save(animals / f"q{i}-{view}.png", draw_animal(i, view))
            rows.append(f"q{i}-{view}.png,animal-{i},query,later-{i}")
    (animals / "metadata.csv").write_text("path,identity,split,encounter\n" + "\n".join(rows) + "\n")
    assert evaluate(animals).figures["n_queries"] == 6
    found = evaluate(animals, FAST.replace(encounters=True)).figures
    assert (found["n_queries"], found["top1"]) == (3, 1)
    text = (animals / "metadata.csv").read_text()
    (animals / "metadata.csv").write_text(re.sub("later-.", "one-day", text))  # of several animals
    assert evaluate(animals, FAST.replace(encounters=True)).figures["n_queries"] == 3
    (animals / "metadata.csv").write_text(re.sub("later-.", "", text))
    assert evaluate(animals, FAST.replace(encounters=True)).figures["n_queries"] == 6


def sided(root, sides):
    """A gallery with a photo of each animal and its side; returns its table's folder."""
    rows = [f"{i}.png,animal-{i},{side}" for i, side in enumerate(sides)]
    for i in range(len(sides)):
        save(root / f"{i}.png", draw_animal(i, 0))
    (root / "metadata.csv").write_text("path,identity,orientation\n" + "\n".join(rows) + "\n")
    return root


def answer(root, query, settings):
    """The candidates, best first, of a query, and its best pair as it would be drawn."""
    with reid.open(root, settings) as opened:
        [item], _ = stages.read([query], opened.work.digests, opened.work.listener)
        found = stages.identify(Query("q", (item,)), opened.references, opened.work, Judges(opened.impostors))
        best = next(item for item in opened.references if item.ref.image_id == found.candidates[0].reference_id)
        return found.candidates, stages.match_pair(item, best, opened.work.first, opened.work.digests)


def test_no_left_is_compared_with_a_right_unless_wanted(tmp_path):
    root = sided(tmp_path / "g", ["left", "right", "topright", ""])
    query = PhotoRef("q", save(tmp_path / "q.png", draw_animal(1, 3)), orientation="left")
    candidates, _ = answer(root, query, FAST)
    assert {found.identity: found.n_matches for found in candidates}["animal-1"] == 0
    assert {found.identity for found in candidates if found.n_matches > 0} <= {"animal-0", "animal-3"}  # nor with a topright
    every, _ = answer(root, query, FAST.replace(sides="all"))
    assert every[0].identity == "animal-1" and every[0].n_matches > 20


def test_the_opposite_side_is_found_mirrored_on_request(tmp_path):
    root = sided(tmp_path / "g", ["left", "right", "right", "left"])
    mirrored = np.ascontiguousarray(draw_animal(1, 3)[:, ::-1])
    query = PhotoRef("q", save(tmp_path / "q.png", mirrored), orientation="left")
    assert answer(root, query, FAST)[0][0].n_matches < 10
    candidates, (variant, found) = answer(root, query, FAST.replace(mirror=True))
    assert (candidates[0].identity, variant.ref.mirrored, variant.ref.quarters) == ("animal-1", True, 0)
    assert (found.confidence > 0.5).sum() == candidates[0].n_matches > 20


def test_a_turned_query_is_found_with_rotations(tmp_path):
    """ALIKED, whose descriptors do not turn; the match is drawn on the photo as it is."""
    root = sided(tmp_path / "g", ["", "", ""])
    query = PhotoRef("q", save(tmp_path / "q.png", np.ascontiguousarray(np.rot90(draw_animal(1, 3)))))
    settings = Settings.of(extractor="aliked-n16", matcher="nearest", fuse="none", max_keypoints=200)
    straight, _ = answer(root, query, settings)
    candidates, (variant, found) = answer(root, query, settings.replace(rotations=4))
    assert candidates[0].identity == "animal-1" and candidates[0].n_matches > 3 * straight[0].n_matches
    assert (variant.ref.quarters, variant.ref.mirrored) == (3, False)
    assert answer(root, query, settings.replace(rotations=2))[0][0].n_matches < candidates[0].n_matches
    assert len(found.confidence)


@pytest.mark.parametrize("change", [{"rotations": 3}, {"sides": "some"}])
def test_unknown_ways_to_compare_are_refused(change):
    with pytest.raises(SettingsError, match=r"rotations is 3; it is 1, 2 or 4|unknown sides 'some'; known: compatible, all"):
        FAST.replace(**change)


@pytest.mark.parametrize(("fuse", "ways"), [("sift+nearest", {}), ("aliked-t16+nearest,sift+nearest", {"mirror": True, "rotations": 2})])
def test_scores_of_several_pipelines_are_fused(animals, tmp_path, fuse, ways):
    alone = FAST.replace(extractor="aliked-n16", fuse="none", max_keypoints=60, resize=160, shortlist=6, **ways)
    with reid.open(animals, alone.replace(fuse=fuse), cache=tmp_path) as opened, reid.open(animals, alone, cache=tmp_path) as one:
        items, work, distribution = opened.references, opened.work, opened.impostors
        assert not opened.failures and all(item.digest in own.features for item in items for own in work.pipelines)
        opened.index()
        assert [found.joined for found in (distribution, *distribution.fused)] == [("sum",)] * len(work.pipelines)
        assert work.first.fingerprints.of_matches == one.work.first.fingerprints.of_matches  # matched once for both
        assert work.fingerprints.of_scores != one.work.fingerprints.of_scores
        for photo in (items[0], items[3]):
            pool = stages.without_encounter([photo], items)
            compared = stages.compare(photo, pool, work, distribution), stages.compare(photo, pool, one.work, one.impostors)
            fused, plain = (found.scores for found in compared)
            found = [stages.match.shortlist(own, pool, work.first) for own in stages.match.variants(photo, pool, work.first, work.digests)]
            looked_at = {place for places in found for place in places}
            assert 6 <= len(looked_at) < len(pool)  # every variant has a shortlist
            assert (fused.total == plain.total).all()
            parts, sure = [distribution.excess("sum", fused.total)], [fused.n_matches]
            for pipeline, own in zip(work.pipelines[1:], distribution.fused, strict=True):
                confidences = [
                    stages.match.match(photo, [item], pipeline)[0][1].astype(float) if place in looked_at else np.zeros(0)
                    for place, item in enumerate(pool)
                ]
                parts.append(own.excess("sum", np.array([values.sum() for values in confidences])))
                sure.append(np.array([(values > 0.5).sum() for values in confidences]))
            if ways:  # a turned or mirrored query is matched by the first pipeline alone
                continue
            assert fused.excess == pytest.approx(np.sum(parts, axis=0), abs=1e-4)
            best = np.argmax(parts, axis=0)
            assert (fused.shown == np.array(sure)[best, np.arange(len(pool))]).all()


def test_a_pair_is_shown_by_the_pipeline_whose_scores_stand_out_most(animals, tmp_path):
    """ALIKED's nearest neighbours find nothing on a photo that stands on its head; SIFT turns with it."""
    save(tmp_path / "turned.png", np.rot90(draw_animal(0, 0), 2).copy())
    with reid.open(animals, FAST.replace(extractor="aliked-n16", fuse="sift+nearest"), cache=tmp_path / "c") as opened:
        best = opened.identify(tmp_path / "turned.png").rankings[0].candidates[0]
        assert best.identity == "animal-0"
        reference = next(item for item in opened.references if item.ref.image_id == best.reference_id)
        pair = opened.view(opened.queries["turned.png"], reference)
        assert pair.features[0].kind == "sift"
        assert best.n_matches == (pair.matches.confidence > 0.5).sum() > 20


def test_paths_are_led_on_as_the_system_does(tmp_path, monkeypatch):
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "deep" / "a.jpg").write_bytes(b"a")
    (tmp_path / "near").symlink_to(tmp_path / "far")
    (tmp_path / "b.jpg").symlink_to(Path("near") / "deep" / "a.jpg")
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    leads_to = import_module("reid.stages.queries")._real_paths()  # `stages.queries` is the function of that name
    names = (
        "b.jpg",
        "near/deep/a.jpg",
        "near/deep/../deep/a.jpg",
        "far",
        "near",
        "near/..",
        ".",
        "..",
        "missing/c.jpg",
        "nowhere.jpg",
        "/",
    )
    for name in names:
        for path in (Path(name), tmp_path / name):
            assert leads_to(path) == os.path.realpath(path), path
