"""What went wrong, or was said wrongly, when somebody used the commands for the first time."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import draw_animal, photo, read, save

import reid
from reid.catalogue.sides import side_in_name
from reid.errors import GalleryError, PhotoError, StoreError
from reid.report import pictures
from reid.settings import Settings

FAST = Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=150, resize=320, impostor_pairs=40)
WORDS = ["--extractor", "sift", "--matcher", "nearest", "--fuse", "none", "--max-keypoints", "150", "--resize", "320"]


class Notes(reid.Listener):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def herd(root, n=8):
    """Animals of two encounters each, by the dates in the names of their photos."""
    for identity in range(n):
        for view in range(2):
            save(root / f"animal-{identity}" / f"202{view}-05-01.png", draw_animal(identity, view))
    return root


def test_several_animals_in_one_encounter_are_no_match(animals, tmp_path):
    for folder, shown in (("two", (3, 5)), ("one", (3, 3))):
        for place, identity in enumerate(shown):
            save(tmp_path / folder / f"{place}.png", draw_animal(identity, 7 + place))
    with reid.open(animals, FAST.replace(encounters=True), listener=(listener := Notes())) as opened:
        [two] = opened.identify(tmp_path / "two").rankings
        assert listener.notes[-1].startswith("two: Its photos clearly match several individuals, animal-3 (0.png), animal-5 (1.png): ")
        n_notes = len(listener.notes)
        [one] = opened.identify(tmp_path / "one").rankings
    assert (two.verdict, two.because[0][:37]) == ("unsure", "Its photos clearly match several indi")
    assert (one.verdict, one.candidates[0].identity, len(listener.notes)) == ("match", "animal-3", n_notes)


def test_a_calibration_of_other_settings_is_told(tmp_path):
    root = herd(tmp_path / "g", 12)
    with reid.open(root, FAST) as opened:
        opened.calibrate()
    for changes, said in (
        ({"encounters": True}, "is calibrated without --encounter, and so"),
        ({"sides": "all", "max_keypoints": 149}, "with --max-keypoints 150, with --sides compatible"),
    ):
        with reid.open(root, FAST.replace(**changes), listener=(listener := Notes())) as opened:
            assert opened.judges.calibration is None
        [told] = [note for note in listener.notes if "reid calibrate" in note]
        assert said in told, told
    assert "of this command, with --max-keypoints 149, with --sides all" in told
    save(root / "animal-0" / "2022-05-01.png", draw_animal(40, 0))
    with reid.open(root, FAST, listener=(listener := Notes())) as opened:
        assert opened.judges.calibration is not None  # its own, and no word of another
    assert not listener.notes


def test_a_gallery_too_small_to_be_calibrated_is_told_before_work_starts(tmp_path, call):
    root = herd(tmp_path / "g", 4)
    with reid.open(root, FAST) as opened, pytest.raises(GalleryError, match=r"it takes 20 encounters of 5 .* there are 8 of 4"):
        opened.calibrate()
    assert not (root / ".reid" / "features").exists()
    _, out, error = call("index", "--gallery", root, *WORDS)
    assert "not calibrated: it takes 20 encounters" in out and "note: 8 encounters: 8 by dates in names" in error
    query = save(tmp_path / "q.png", draw_animal(2, 5))
    _, out, error = call("identify", query, "--gallery", root, *WORDS)
    assert "reid calibrate" not in out and "of a gallery so small" in out
    assert "encounters:" not in error  # `index` has said it


def test_a_picture_names_the_pipeline_of_its_matches(animals, call, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "draw_matches", lambda *values: drawn.append(values[4]) or np.zeros((4, 4, 3), np.uint8))
    one, other = animals / "animal-1" / "0.png", animals / "animal-1" / "1.png"
    _, out, _ = call("show", one, other, "--extractor", "sift", "--matcher", "nearest", "--out", tmp_path / "x.png")
    assert "matches above 0.5 by sift + nearest" in out
    assert call("identify", one, "--gallery", animals, *WORDS, "--matches", tmp_path / "m")[0] == 0
    assert drawn[-1][1].endswith(" matches by sift + nearest")


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("2020-11-02-left", "left"), ("luna RIGHT (2)", "right"), ("luna_left_flank-003", "left"), ("a-top-left", "topleft"),
        ("2019-07-15_l", None), ("leftover", None), ("left2", None), ("right-whale", None), ("left-right", None), ("12", None),
        ("side", None), ("upright", None), ("luna-rechts", "right"), ("luna-top", "top"),
        ("luna_front_2", "front"), ("IMG_12 bottom", "bottom"), ("luna-back", "back"), ("a_dorsal", "dorsal"), ("ventral view", "ventral"),
        ("laptop", None), ("luna-front-back", None), ("comeback", None),
    ],
)  # fmt: skip
def test_a_photo_is_of_the_side_that_its_name_ends_with(name, side):
    assert side_in_name(name) == side


def test_sides_in_names_are_told_and_chosen(tmp_path):
    photo(tmp_path / "amber" / "2019-left.png")
    photo(tmp_path / "amber" / "right" / "2020-left.png")  # the folder says it
    photo(tmp_path / "luna" / "1.png")
    (tmp_path / "split.csv").write_text("path,identity,split\n")
    found = read(tmp_path)
    assert [ref.orientation for ref in found.references] == ["left", "right", None]
    assert "sides by the names of 1 photo: 1 left" in found.derived
    assert not any("split.csv" in note for note in found.notes)
    (tmp_path / "amber" / "2019-left.png").rename(tmp_path / "amber" / "2019.png")
    (tmp_path / "amber" / "right" / "2020-left.png").unlink()
    with pytest.raises(GalleryError, match="no photo's side is known"):
        reid.catalogue.restrict(read(tmp_path), orientation="left")


def test_settings_in_the_report_are_words(animals, tmp_path, call):
    query = save(tmp_path / "q.png", draw_animal(2, 5))
    assert call("identify", query, "--gallery", animals, *WORDS, "--report", tmp_path / "r.html")[0] == 0
    page = (tmp_path / "r.html").read_text()
    assert "<dt>match.verify</dt><dd>auto</dd>" in page and "<dt>match.coarse</dt><dd>true</dd>" in page
    assert "{&#39;" not in page and "Verify" not in page


def test_photos_that_are_not_there_are_refused_before_work_starts(animals, call, tmp_path):
    (tmp_path / "empty").mkdir()
    known = save(tmp_path / "q.png", draw_animal(2, 5))
    with reid.open(animals, FAST) as opened:
        for name in ("nowhere", "gone.jpg", "empty"):
            status, _, error = call("identify", tmp_path / name, "--gallery", animals, *WORDS)
            assert status == 2 and f"{name}" in error and "photos checked" not in error
            assert len(opened.identify([known, tmp_path / name]).rankings) == 1  # of several the others go on
            with pytest.raises(PhotoError, match="no photo to identify: "):
                opened.identify(tmp_path / name)


@pytest.mark.parametrize("option", ["--csv", "--json", "--report", "--matches"])
def test_places_where_nothing_can_be_written_are_refused_before_work_starts(animals, call, tmp_path, option, monkeypatch):
    (tmp_path / "file").touch()
    status, _, error = call("identify", animals, "--gallery", animals, *WORDS, option, tmp_path / "file" / "below" / "x")
    assert status == 2 and "file is no folder; name another place" in error
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    status, _, error = call("identify", animals, "--gallery", animals, *WORDS, option, tmp_path / "new" / "x")
    assert status == 2 and f"{tmp_path} is read-only" in error
    assert not (animals / ".reid").exists()


def test_a_picture_that_cannot_be_written_is_refused_before_work_starts(animals, call, tmp_path):
    (tmp_path / "file").touch()
    one, other = animals / "animal-1" / "0.png", animals / "animal-1" / "1.png"
    for name in ("show", "align"):
        status, _, error = call(name, one, other, "--out", tmp_path / "file" / "x.png")
        assert status == 2 and "file is no folder" in error


def test_pictures_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    pictures.save(np.zeros((4, 6, 3), np.uint8), tmp_path / "new" / "x.png")
    before = (tmp_path / "new" / "x.png").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="free some space"):
        pictures.save(np.ones((4, 6, 3), np.uint8), tmp_path / "new" / "x.png")
    assert [path.read_bytes() for path in (tmp_path / "new").iterdir()] == [before]


@pytest.mark.slow
def test_an_interrupted_training_says_one_thing(tmp_path):
    for view in range(12):
        save(tmp_path / "photos" / f"{view}.png", draw_animal(view, 0))
    words = ["train", "goodpoint", "--photos", tmp_path / "photos", "--out", tmp_path / "out", "--steps", 100_000]
    run = subprocess.Popen([sys.executable, "-m", "reid", *map(str, words)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    try:
        _, error = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode in (130, -signal.SIGINT) and error.count("interrupted") == 1 and "with --resume goes on" in error, error


def test_a_folder_without_its_option_is_taken_for_the_gallery(animals, call):
    for name in ("index", "calibrate"):
        status, _, error = call(name, animals)
        assert status == 2 and error.endswith(f"reid: did you mean --gallery {animals}?\n")
    status, _, error = call("identify", animals)  # it has photos of its own
    assert status == 2 and "did you mean" not in error


def test_long_stages_say_how_far_they_are_where_nobody_watches(capsys, monkeypatch):
    from reid.cli import screen

    monkeypatch.setattr(screen, "SILENT", 0.0)
    monkeypatch.setattr(screen, "DRAWN", 0.0)
    with screen.listening() as listener:
        for done in range(3):
            listener.progress("photos checked", done, 2)
    assert capsys.readouterr().err.splitlines() == ["photos checked: 0 of 2", "photos checked: 1 of 2", "photos checked: 2"]


@pytest.mark.parametrize("name", ["100CANON", "101MSDCF", "100gopro", "100_PANA", "101D5000", "10160715", "DCIM", "2026-07-15", "20260715"])
def test_cameras_folders_are_no_animals(tmp_path, call, name):
    photo(tmp_path / "card" / name / "IMG_0001.JPG")
    status, _, error = call("index", "--gallery", tmp_path / "card", *WORDS)
    assert status == 2 and error.count("\n") == 1 and name in error
    assert all(f"`reid {step}" in error for step in ("import", "review", "cluster"))
    assert read(tmp_path / "card", names_as_written=True).identities == [name]
    photo(tmp_path / "card" / "luna" / name / "1.png")
    found = read(tmp_path / "card")
    assert found.identities == ["luna"] and [ref.identity for ref in found.references].count(None) == 1
    assert any(note.startswith("1 photo is of unknown animals, in folders (") for note in found.notes)


@pytest.mark.parametrize("name", ["099CANON", "100CANONS", "luna", "12345678", "19990001", "2019", "100", "T100_PANA"])
def test_other_folders_are_animals(tmp_path, name):
    photo(tmp_path / name / "1.png")
    assert read(tmp_path).identities == [name]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "--to", "marc", "--out", "o"], ("'--to'", "Did you mean mark?")),
        (["index", "--device", "cpuu"], ("'--device'", "Did you mean cpu?")),
        (["index", "--preset", "zzz"], ("'zzz' is not one of 'fast'", "")),
    ],
)
def test_a_value_that_is_unknown_is_told_in_plain_words(tmp_path, call, words, said):
    status, _, error = call(*words, "--gallery", tmp_path)
    told = " ".join(error.replace("│", " ").split())
    assert status == 2 and all(one in told for one in said) and "Value error" not in told
    assert ("Did you mean" in told) == bool(said[1])
