"""The benchmark's table has every row that it promises, with figures; how large they are is the machine's business."""

import json

import pytest

import reid
from reid import cli
from reid.evaluation import speed as bench
from reid.settings import Settings

SMALL = Settings.of(max_keypoints=64, resize=160, shortlist=40)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "PAIRS", 3)
    monkeypatch.setattr(bench, "PHOTOS", {"cpu": 2})
    monkeypatch.setattr(bench, "SIZES", (30, 200))


@pytest.mark.parametrize(("what", "n_rows", "n_peers"), [("matching", 5, 5), ("extraction", 2, 2)])
def test_rows_have_both_sides_and_their_ratio(quick, what, n_rows, n_peers):
    found = bench.run(what, None, SMALL, None, reid.Listener())
    assert len(found["rows"]) == n_rows
    assert sum(row["peer"] is not None for row in found["rows"]) == n_peers
    for row in found["rows"]:
        assert row["ours"] > 0
        assert row["ratio"] == pytest.approx(row["peer"] / row["ours"])
    assert found["machine"]["threads"] >= 1
    assert found["machine"]["versions"]["torch"]
    json.dumps(found)


def test_the_shortlists_rows_are_there_for_every_size(quick, animals):
    rows = [f"animal-{i}/{v}.png,animal-{i},{i}-{v}" for i in range(8) for v in range(2)]
    (animals / "metadata.csv").write_text("path,identity,encounter\n" + "\n".join(rows) + "\n")
    found = bench.run("shortlist", animals, SMALL, None, reid.Listener())["rows"]
    recall, *rest = found
    assert recall["name"] == "right animal within a tenth of 16 references, 16 queries"
    assert 50 < recall["ours"] <= 100  # by chance 1 of 8 animals: 12 %
    assert [row["name"].split(" ")[0] for row in rest] == ["30"] * len(rest[::2]) + ["200"] * len(rest[::2])
    assert all(row["ours"] >= 0 for row in rest)


def test_the_whole_command_is_timed_on_a_photo_that_was_never_asked_about(quick, animals):
    fast = Settings.of(extractor="sift", matcher="nearest", max_keypoints=100, resize=160)
    first, second = (bench.run("identify", animals, fast, None, reid.Listener())["rows"] for _ in range(2))
    assert [row["unit"] for row in first + second] == ["s a query"] * 2
    assert len(list((animals / ".reid" / "matches").rglob("*.safetensors"))) >= 2


def test_an_unknown_benchmark_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["reid", "bench", "speed"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "'speed' is not one of 'matching', 'extraction', 'shortlist', 'identify'" in said


def test_a_gallery_too_small_to_measure_on_says_so(animals):
    for folder in sorted(animals.glob("animal-*"))[3:]:
        for photo in folder.iterdir():
            photo.unlink()
    with pytest.raises(bench.GalleryError, match="needs 13 photos, the gallery has 6"):
        bench.run("matching", animals, SMALL, None, reid.Listener())
