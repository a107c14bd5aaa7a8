"""`reid duplicates` and `reid decisions` on a real gallery: suspicions, decisions, what they change, and the way back."""

import csv
import json

import pytest
from conftest import draw_animal, save
from PIL import Image

import reid
from reid.catalogue import Kind
from reid.catalogue.decisions import FILE

QUICK = "--extractor", "sift", "--matcher", "nearest", "--fuse", "none", "--max-keypoints", 150, "--resize", 320
ZOE = "--observer", "Zoë"


@pytest.fixture(scope="module")
def herd(tmp_path_factory):
    """Twelve animals met twice; animal 5 has been entered a second time, as animal 99. Calibrated by the first test."""
    root = tmp_path_factory.mktemp("herd")
    rows = ["path,identity,encounter"]
    for identity, views, name in [*((n, range(2), n) for n in range(12)), (5, range(20, 22), 99)]:
        for view in views:
            save(root / f"{name}-{view}.png", draw_animal(identity, view))
            rows.append(f"{name}-{view}.png,animal-{name},{name}-{view}")
    (root / "metadata.csv").write_text("\n".join(rows))
    return root


def suspected(call, herd, folder):
    status, out, err = call("duplicates", "--gallery", herd, "--csv", folder / "found.csv", "--matches", folder / "pictures", *QUICK)
    assert status == 0, err
    rows = list(csv.DictReader((folder / "found.csv").read_text().splitlines()))
    assert len(rows) == len(list((folder / "pictures").iterdir()) if rows else [])
    return {frozenset((row["individual"], row["other"])) for row in rows if row["suspicion"] == "one animal"}, out


def identities(herd):
    with reid.open(herd) as opened:
        return opened.gallery.identities


TWINS = frozenset(("animal-5", "animal-99"))


def test_a_pair_of_names_is_suspected_merged_and_taken_apart_again(call, herd, tmp_path):
    status, _, err = call("duplicates", "--gallery", herd, *QUICK)
    assert status == 2 and "run `reid calibrate` before" in err and len(err.strip().splitlines()[-1:]) == 1
    assert call("calibrate", "--gallery", herd, *QUICK)[0] == 0
    found, out = suspected(call, herd, tmp_path)
    assert TWINS in found and "suspicions, not findings" in out
    assert Image.open(next((tmp_path / "pictures").iterdir())).width > 300
    (tmp_path / "log.csv").write_text("of another gallery")
    assert "nobody has decided anything" in call("decisions", "--gallery", herd, "--csv", tmp_path / "log.csv")[1]
    assert (tmp_path / "log.csv").read_text(encoding="utf-8-sig").startswith("number,")

    status, out, _ = call("duplicates", "--gallery", herd, "--merge", "animal-5", "animal-99", *ZOE, *QUICK)
    assert status == 0 and "decision 1 by Zoë: animal-99 is animal-5" in out
    assert "animal-99" not in identities(herd) and len(identities(herd)) == 12
    (tmp_path / "2").mkdir()
    assert TWINS not in suspected(call, herd, tmp_path / "2")[0]
    status, out, _ = call("calibrate", "--gallery", herd, *QUICK)
    assert status == 0 and "labels are those of the table and of 1 decision" in out
    file = tmp_path / "answer.json"
    assert call("identify", herd / "3-0.png", "--gallery", herd, "--json", file, *QUICK)[0] == 0
    about = json.loads(file.read_text())["gallery"]
    assert about["decisions"]["last"] == 1 and about["calibration"]["decisions"] == about["decisions"]

    status, out, _ = call("decisions", "--gallery", herd, "--undo", *ZOE)
    assert status == 0 and "took back decision 1 by Zoë: merge" in out and "animal-99" in identities(herd)
    assert call("decisions", "--gallery", herd, "--undo", *ZOE)[0] == 2  # nothing is left
    status, out, _ = call("decisions", "--gallery", herd, "--redo", *ZOE, "--csv", tmp_path / "history.csv")
    assert status == 0 and "brought back decision 1" in out and "animal-99" not in identities(herd)
    history = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [(row["kind"], row["counts"], row["undoes"]) for row in history] == [("merge", "yes", ""), ("undo", "", "1"), ("undo", "", "2")]
    assert call("decisions", "--gallery", herd, "--take-back", 1, "--observer", "Max")[0] == 0

    assert call("duplicates", "--gallery", herd, "--keep-apart", "animal-5", "animal-99", *ZOE, *QUICK)[0] == 0
    (tmp_path / "3").mkdir()
    assert TWINS not in suspected(call, herd, tmp_path / "3")[0] and len(identities(herd)) == 13
    status, _, err = call("duplicates", "--gallery", herd, "--merge", "animal-5", "animal-99", *ZOE, *QUICK)
    assert status == 2 and "--take-back 5" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["duplicates", "--merge", "animal-1", "nobody"], "no animal is called 'nobody'"),
        (["duplicates", "--merge", "animal-1", "animal-1"], "one animal already"),
        (["duplicates", "--merge", "animal-1", "animal-2", "--keep-apart", "animal-3", "animal-4"], "not both at once"),
        (["decisions", "--undo", "--redo"], "one of --undo"),
        (["decisions", "--take-back", "99"], "decision 99 does not exist"),
    ],
)
def test_what_cannot_be_decided_is_told_in_one_line(call, herd, words, told):
    status, _, err = call(*words, "--gallery", herd, *ZOE)
    assert status == 2 and told in err.strip().splitlines()[-1]


@pytest.mark.parametrize("words", [["decisions", "--csv"], ["duplicates", "--csv"], ["identify", "x.jpg", "--json"]])
def test_no_output_takes_the_place_of_a_log(call, herd, words):
    log = herd / FILE
    before = log.read_bytes() if log.exists() else None
    status, _, err = call(*words, log, "--gallery", herd)
    assert status == 2 and "log of decisions" in err and (log.read_bytes() if log.exists() else None) == before


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(200)])
def test_a_file_that_is_no_log_stops_every_command_and_stays(call, herd, tmp_path, content):
    for name in ("0-0.png", "1-0.png"):
        save(tmp_path / "g" / f"animal-{name[0]}" / name, draw_animal(int(name[0]), 0))
    (tmp_path / "g" / FILE).write_bytes(content)
    for words in (["index"], ["decisions"], ["decisions", "--undo"], ["duplicates", "--merge", "animal-0", "animal-1"]):
        status, _, err = call(*words, "--gallery", tmp_path / "g")
        assert status == 2 and FILE in err and len(err.strip().splitlines()) == 1, err
        assert (tmp_path / "g" / FILE).read_bytes() == content


def test_an_undo_shows_what_it_took_back_and_the_last_few(tmp_path, call):
    for name in ("luna", "zoe"):
        save(tmp_path / name / "1.png", draw_animal(len(name), 0))
    with reid.open(tmp_path) as opened:
        keys = [opened.key(ref) for ref in opened.gallery.references]
        for side in ("left", "right", "left", "right", "left", "right"):
            opened.decisions.append(Kind.SIDE, keys[:1], observer="Zoë", value=side)
    status, out, _ = call("decisions", "--gallery", tmp_path, "--undo", *ZOE)
    assert status == 0 and "took back decision 6 by Zoë: side right luna/1.png" in out and "the last 5 of 7" in out
    assert "the last 5 of" not in call("decisions", "--gallery", tmp_path)[1]
    with reid.open(tmp_path) as opened:
        for side in ("left", "right"):  # taken at once
            opened.decisions.append(Kind.SIDE, keys[1:], observer="Zoë", value=side, evidence={"follows": 8})
    for option, did, counting in (("--undo", "took back", 5), ("--redo", "brought back", 7)):
        status, out, _ = call("decisions", "--gallery", tmp_path, option, *ZOE)
        said = f"{did} 2 decisions that were taken at once, 8 to 9, by Zoë: side left zoe/1.png, side right zoe/1.png"
        assert status == 0 and said in " ".join(out.split()) and len(opened.decisions.effective()) == counting
