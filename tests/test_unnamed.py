"""Animals of the gallery that nobody has named yet: what `reid identify` says where a photo looks like one of them."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from conftest import draw_animal
from PIL import Image

import reid
from reid.catalogue import Kind
from reid.decision.reasons import of_nameless
from reid.records import Candidate

WORDS = ["--extractor", "sift", "--matcher", "nearest", "--fuse", "none", "--max-keypoints", "150", "--resize", "320"]
OTHER_DAY = "photos/DCIM/other-day.jpg"


def frame(path, view, taken):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = taken
    Image.fromarray(draw_animal(77, view)).save(path, quality=95, exif=exif)


@pytest.fixture
def season(animals, tmp_path, monkeypatch, call):
    """A gallery with three imported photos of one animal that it did not have: two frames of one encounter, and one of another."""
    monkeypatch.chdir(tmp_path)
    for name, view, taken in (
        ("one.jpg", 1, "2024:05:01 10:00:00"), ("burst.jpg", 2, "2024:05:01 10:00:20"), ("other-day.jpg", 3, "2024:05:03 09:00:00"),
    ):  # fmt: skip
        frame(tmp_path / "card" / "DCIM" / name, view, taken)
    assert call("import", "card", "--gallery", animals, "--copy")[0] == 0
    return animals


def test_an_animal_that_has_no_name_yet_is_told_everywhere(season, call):
    wanted = ["--csv", "o.csv", "--json", "o.json", "--report", "o.html", "--matches", "m"]
    _, out, err = call("identify", "card", "--gallery", season, *wanted, *WORDS)
    assert "(no name yet)" in out and "(no name yet): the animal of that reference, which nobody has named yet" in out
    assert "unknown (" not in out
    assert "not compared with themselves, nor with unnamed photos of the same encounter: DCIM/burst.jpg = photos/DCIM/burst.jpg" in err
    rows = [row for row in csv.DictReader(io.StringIO(Path("o.csv").read_text())) if row["query"] == "DCIM/one.jpg"]
    assert (rows[0]["individual"], rows[0]["reference"], rows[0]["named"]) == (f"unknown ({OTHER_DAY})", OTHER_DAY, "False")
    assert rows[0]["verdict"] == "match" and {row["named"] for row in rows[1:]} == {"True"}  # the burst is not among them
    [one] = [query for query in json.loads(Path("o.json").read_text())["queries"] if query["query"] == "DCIM/one.jpg"]
    second = one["candidates"][1]["individual"]
    said = (
        f"It is likely the animal of {OTHER_DAY}, which nobody has named yet; of the animals with a name {second} stands first, at rank 2."
    )
    assert one["because"][0] == said and [each["named"] for each in one["candidates"][:2]] == [False, True]
    assert "alone, and not with 1 unnamed one of its encounter." in " ".join(one["because"])
    page = Path("o.html").read_text()
    assert said in page and f"<td>no name yet ({OTHER_DAY})</td>" in page and "unknown (" not in page


def test_a_card_of_one_encounter_is_compared_all_the_same(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in range(3):
        frame(tmp_path / "card" / "DCIM" / f"{place}.jpg", place, f"2024:05:01 10:00:0{place}")
    assert call("import", "card", "--gallery", "g", "--copy")[0] == 0
    status, out, err = call("identify", "card/DCIM/0.jpg", "--gallery", "g", *WORDS)
    assert status == 0 and "photos/DCIM/1.jpg" in out and "nor with unnamed" not in err


def test_what_it_means_by_hand():
    bare, amber = Candidate("unknown (a.jpg)", 3.0, 9, "a.jpg"), Candidate("amber", 2.0, 4, "b.jpg")
    apart = Candidate("unnamed-12", 2.5, 7, "c.jpg")  # told from others by a decision, and named by nobody
    assert (apart.is_named, apart.called) == (False, "unnamed-12")
    assert of_nameless("match", (apart, amber)) == (
        "It is likely the animal of c.jpg, which nobody has named yet; of the animals with a name amber stands first, at rank 2."
    )
    assert (bare.is_named, bare.called, amber.is_named, amber.called) == (False, "no name yet (a.jpg)", True, "amber")
    assert of_nameless("match", (amber, bare)) is of_nameless("unsure", ()) is None
    assert of_nameless("new", (bare,)) == "It is most like the animal of a.jpg, which nobody has named yet."


def test_a_photo_that_another_row_names_is_not_asked_about(season, call):
    [photo] = [path for path in season.rglob("0.png") if path.parent.name == "animal-0"]
    rows = (season / "metadata.csv").read_text()
    shutil.copy(photo, season / "photos" / "again.png")
    (season / "metadata.csv").write_text(f"{rows.rstrip()}\nphotos/again.png,unknown\n")
    assert "next: reid review" not in call("identify", photo, "--gallery", season, *WORDS)[1]
    assert "next: reid review card" in call("identify", "card", "--gallery", season, *WORDS)[1]


def test_an_animal_that_decisions_tell_apart_has_no_name(season, call):
    with reid.open(season) as opened:
        keys = {ref.image_id: opened.key(ref) for ref in opened.gallery.references}
        opened.decisions.append(Kind.SAME, [keys["photos/DCIM/one.jpg"], keys[OTHER_DAY]], observer="zoe")
    _, out, _ = call("identify", "card/DCIM/burst.jpg", "--gallery", season, "--csv", "o.csv", *WORDS)
    rows = list(csv.DictReader(io.StringIO(Path("o.csv").read_text())))
    assert (rows[0]["individual"], rows[0]["named"]) == ("unnamed-1", "False") and {row["named"] for row in rows[1:]} == {"True"}
    assert "unnamed-1 " in out and "(no name yet)" not in out


def test_a_photo_that_is_in_no_row_is_told_by_the_index(season, call):
    words = ["index", "--gallery", season, *WORDS]
    assert "in no row" not in call(*words)[2]
    (season / "animal-0" / "late.png").write_bytes((season / "animal-1" / "0.png").read_bytes())
    assert (
        "note: 1 photo in a folder of the gallery is in no row of its table, and so no part of it: animal-0/late.png; " in call(*words)[2]
    )
