"""What a gallery's own photos are as calibration queries: by how many photos, with what left out."""

from dataclasses import replace

import pytest
from conftest import draw_animal, save
from herd import FAST, N, Notes, calibrate
from trials import crowd

import reid
from reid import stages
from reid.decision import Standing, reasons
from reid.decision import calibrate as calibrate_trials
from reid.records import Indexed, PhotoRef, Query


def test_an_encounter_is_judged_by_encounters_of_as_many_photos(herd, tmp_path, store):
    settings = FAST.replace(encounters=True)
    calibration = calibrate(herd, settings, cache=store)
    assert (calibration.n_photos, [one.n_photos for one in calibration.larger]) == (1, [2])
    assert calibration.of(1) is calibration and calibration.of(2) is calibration.of(9) is calibration.larger[0]
    two = calibration.of(2)
    assert two.n_known == calibration.n_known == two.n_new == calibration.n_new == 2 * N
    assert calibration.about()["top1_by_photos"] == {"2": two.top1}
    photos = [save(tmp_path / "q" / f"{view}.png", draw_animal(3, view)) for view in (4, 5)]
    with reid.open(herd, settings, cache=store) as opened:

        def chances(shown, calibration):
            items, _ = stages.read([PhotoRef(path.name, path) for path in shown], opened.work.digests, opened.work.listener)
            judges = replace(opened.judges, calibration=calibration)
            found = stages.identify(Query("today", tuple(items)), opened.references, opened.work, judges)
            return found.p_match, found.p_new, found.p_if_known

        small, large = replace(calibration, larger=()), replace(two, n_photos=1)
        for shown, by, not_by in ((photos[:1], small, large), (photos, large, small)):
            assert chances(shown, calibration) == chances(shown, by) != chances(shown, not_by)
        assert opened.judges.calibration.as_json() == calibration.as_json()  # as it is stored


def test_encounters_of_fewer_photos_say_nothing_of_larger_ones(herd, store, tmp_path):
    """Half of the encounters have one photo."""
    header, *rows = (herd / "metadata.csv").read_text().splitlines()
    for path in herd.glob("*.png"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "metadata.csv").write_text("\n".join([header, *(row for n, row in enumerate(rows) if n % 4 != 1)]))
    calibration = calibrate(tmp_path, FAST.replace(encounters=True), cache=store)
    assert calibration.n_known == 2 * N and [(one.n_photos, one.n_known) for one in calibration.larger] == [(2, N)]


def test_a_query_between_two_sizes_is_judged_by_the_smaller_one(herd, store):
    whole = calibrate(herd, cache=store)
    assert whole.n_photos == 1 and whole.larger == () and whole.of(3) is whole
    large = replace(whole, larger=tuple(replace(whole, n_photos=n) for n in (2, 3, 4, 6, 9)))
    assert [large.of(n).n_photos for n in (1, 4, 5, 6, 7, 9, 30)] == [1, 4, 4, 6, 6, 9, 9]


def test_a_query_is_judged_by_what_can_give_a_verdict():
    """300 encounters of one photo, 24 of two, of which 24 are of four: at 5 % 3 photos by 24 encounters of two would never be a match."""
    many, some = calibrate_trials(crowd(0, 300), 0.3), calibrate_trials(crowd(1, 24), 0.3)
    both = replace(many, larger=tuple(replace(some, n_photos=n) for n in (2, 4)))
    assert [both.of(n).n_photos for n in (1, 2, 3, 4, 5, 6)] == [1, 2, 2, 4, 4, 4]
    assert [both.of(n, 0.05, 0.05).n_photos for n in (1, 2, 3, 4, 5, 6, 15, 16, 40)] == [1, 2, 1, 4, 4, 1, 1, 1, 1]
    assert [both.of(n, 0.01, 0.01).n_photos for n in (1, 2, 3)] == [1, 1, 1] and both.of(2, 0.05, 0.01) is both
    perfect = Standing(9.0, 9.0, 9.0, 40.0)
    for n in (1, 2, 3, 6, 12):
        assert both.of(n, 0.05, 0.05).decide(perfect, 0.05, 0.05, 0.3, n).verdict == "match", n


def test_more_photos_than_are_known_of_are_judged_with_more_care(herd, store):
    calibration = calibrate(herd, cache=store)
    for strength in (0.0, 1.0, 3.0, 9.0):
        one, three, many = (calibration.decide(Standing(strength, 1.0, 1.0, 1.0), 0.05, 0.05, None, n) for n in (1, 3, 9999))
        assert three.p_if_new == pytest.approx(min(3 * one.p_if_new, 1)) and many.p_if_new == 1
        assert (three.p_if_known, three.n_as_well) == (one.p_if_known, one.n_as_well)
    said = reasons.reasons(three, calibration, 0.05, 0.05, 3)
    assert f"{three.n_as_well or 'None'} of {2 * N} encounters" in said[0] and ", by 1 photo each," in said[0]
    assert said[2] == "It has 3 photos, more than those, so that a new animal may look as alike 3 times as often."


def test_animals_taken_out_are_looked_at_again_as_new_ones_are(herd, store, monkeypatch):
    """Nothing of the look with the animal there is left in the look without it."""
    looks = {}

    def watched(photos, references, columns, work, impostors, without=None):
        columns = list(columns)
        looks.setdefault((photos[0].digest, without), []).append(columns)
        return [replace(one, parts=one.parts - 1) for one in columns]

    monkeypatch.setattr(stages.leave_one_out, "look_again", watched)
    calibrate(herd, FAST.replace(calibration_queries=20), cache=store)
    for (digest, without), [given] in looks.items():
        if without is not None:
            assert given == looks[digest, None][0]
    assert len(looks) == 40


def test_unnamed_frames_of_the_same_day_are_not_what_a_photo_is_found_by(herd, store, tmp_path):
    header, *rows = (herd / "metadata.csv").read_text().splitlines()
    for path in herd.glob("*.png"):
        (tmp_path / path.name).symlink_to(path)
    dated = [f"{row},20{10 + int(row.split('-')[1][0]) // 2}-01-{1 + int(row.split('-')[0]):02}" for row in rows]
    unnamed = [(n, row) for n, row in enumerate(dated) if n % 4 == 1]
    for n, row in unnamed:
        path, _, _, day = row.split(",")
        dated[n] = f"{path},,,{day}"
    (tmp_path / "metadata.csv").write_text("\n".join([f"{header},date", *dated]))
    with reid.open(tmp_path, FAST, cache=store) as opened:
        for one in stages.leave_one_out.tried(opened.references, opened.work, opened.impostors):
            photo = one.query.photos[0].ref
            assert {item.ref.date for item in one.pool if item.ref.identity is None} == {
                item.ref.date for item in opened.references if item.ref.identity is None and item.ref.date != photo.date
            }
            assert len(one.pool) > 4 * N - 4


def test_two_animals_in_one_photo_are_of_one_encounter_each(tmp_path):
    shown = [("1.jpg", "a"), ("1.jpg", "b"), ("2.jpg", "b"), ("2.jpg", "a")]
    items = [Indexed(PhotoRef(f"{n}", tmp_path / name, who, encounter="e"), f"{n}") for n, (name, who) in enumerate(shown)]
    found = stages.queries(items, True, labelled=True)
    assert [[item.ref.identity for item in query.photos] for query in found] == [["a", "a"], ["b", "b"]]


def test_copies_take_nothing_from_a_calibration(herd, store, tmp_path):
    """A gallery in which every photo stands twice."""
    header, *rows = (herd / "metadata.csv").read_text().splitlines()
    for path in herd.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / f"copy-{path.name}").write_bytes(path.read_bytes())
    (tmp_path / "metadata.csv").write_text("\n".join([header, *rows, *(f"copy-{row}" for row in rows)]))
    made, told = calibrate(tmp_path, cache=store), Notes()
    with reid.open(tmp_path, FAST, cache=store, listener=told) as opened:
        assert opened.judges.calibration.as_json() == made.as_json()
    assert not [note for note in told.notes if "again" in note]


def test_a_calibration_of_another_version_is_told(herd, store, monkeypatch):
    calibrate(herd, cache=store)
    monkeypatch.setattr(stages.second_look, "TOLERANCE", 0.051)
    told = Notes()
    with reid.open(herd, FAST, cache=store, listener=told) as opened:
        assert opened.judges.calibration is None
    assert told.notes[-1] == "the gallery was calibrated on another device or by another version; run `reid calibrate` again"


def test_recall_of_a_large_gallery_is_kept_until_it_has_grown(herd, store, tmp_path, monkeypatch):
    monkeypatch.setattr(stages.leave_one_out, "LARGE", 50)
    header, *rows = (herd / "metadata.csv").read_text().splitlines()
    for path in herd.glob("*.png"):
        (tmp_path / path.name).symlink_to(path)
    settings = FAST.replace(shortlist=20, impostor_pairs=20)

    def measured(n):
        (tmp_path / "metadata.csv").write_text("\n".join([header, *rows[-n:]]))
        with reid.open(tmp_path, settings, cache=store) as opened:
            assert opened.index().recall.n_queries > 0
        return {path.name for path in (store / "recall").glob("*.json")}

    first = measured(78)
    assert measured(79) == first < measured(96)
