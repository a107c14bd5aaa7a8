"""The benchmark's table has every row that it promises, with figures; how large they are is the machine's business."""

import json
import subprocess
import sys

import pytest

import reid
from reid import cli
from reid.errors import GalleryError
from reid.evaluation import speed as bench
from reid.evaluation import speed_gallery, speed_networks, timing
from reid.extractors import outline
from reid.settings import Settings

SMALL = Settings.of(max_keypoints=64, resize=160, shortlist=40)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(timing, "ROUNDS", 1)
    monkeypatch.setattr(speed_networks, "PAIRS", {"cpu": 3})
    monkeypatch.setattr(speed_networks, "PHOTOS", {"cpu": 2})
    monkeypatch.setattr(speed_gallery, "SIZES", (30, 200))
    monkeypatch.setattr(speed_gallery, "ADDED", 10)


@pytest.mark.parametrize(("what", "n_rows", "n_peers"), [("matching", 5, 5), ("extraction", 3, 2)])
def test_rows_have_both_sides_and_their_ratio(quick, what, n_rows, n_peers):
    found = bench.run(what, None, SMALL, None, reid.Listener())
    assert len(found["rows"]) == n_rows
    assert sum(row["peer"] is not None for row in found["rows"]) == n_peers
    for row in found["rows"]:
        assert row["ours"] > 0
        assert row["ratio"] == (row["peer"] and pytest.approx(row["peer"] / row["ours"]))
    assert found["machine"]["threads"] >= 1
    assert found["machine"]["versions"]["torch"]
    json.dumps(found)


def test_the_outline_is_looked_for_in_every_round_that_is_said_to_include_it(quick, monkeypatch):
    seen = []
    likely = outline.Outline.likely
    monkeypatch.setattr(outline.Outline, "likely", lambda self, pixels: seen.append(pixels) or likely(self, pixels))
    rows = bench.run("extraction", None, SMALL, None, reid.Listener())["rows"]
    assert [row["name"].rpartition(", ")[2] for row in rows] == ["network alone", "decoding included", "decoding and outline included"]
    assert len(seen) == 2 * 2  # photos, rounds
    assert len(bench.run("extraction", None, SMALL.replace(segment=False), None, reid.Listener())["rows"]) == 2 and len(seen) == 4


@pytest.mark.slow
def test_networks_are_timed_where_little_else_is_installed(tmp_path):
    """A machine with a GPU may have no kornia, no FAISS and no typer: nothing imports them, and there is no peer."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("kornia", "faiss", "typer"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from reid.evaluation import speed, speed_networks, timing
timing.ROUNDS, speed_networks.PAIRS, speed_networks.PHOTOS = 1, {"cpu": 2}, {"cpu": 2}
speed_networks.find_spec = lambda name: None
sys.argv = ["speed", "--device", "cpu", "--max-keypoints", "64", "--json", sys.argv[1]]
speed.main()
"""
    file = tmp_path / "speed.json"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert [len(found[what]["rows"]) for what in ("matching", "extraction")] == [5, 3]
    assert all(row["peer"] is None for one in found.values() for row in one["rows"])
    assert "every layer, 64 keypoints" in done.stdout and "a second" in done.stdout


def test_the_shortlists_rows_are_there_for_every_size(quick, animals):
    rows = [f"animal-{i}/{v}.png,animal-{i},{i}-{v}" for i in range(8) for v in range(2)]
    (animals / "metadata.csv").write_text("path,identity,encounter\n" + "\n".join(rows) + "\n")
    found = bench.run("shortlist", animals, SMALL, None, reid.Listener())["rows"]
    recall, *rest = found
    assert recall["name"] == "right animal within a tenth of 16 references, 16 queries"
    assert 50 < recall["ours"] <= 100  # by chance 1 of 8 animals: 12 %
    assert [row["name"].split(" ")[0] for row in rest] == ["30"] * len(rest[::2]) + ["200"] * len(rest[::2])
    assert all(row["ours"] >= 0 for row in rest)


@pytest.mark.slow
def test_the_whole_command_is_timed_on_a_photo_that_was_never_asked_about(quick, animals):
    fast = Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=100, resize=160)
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
    with pytest.raises(GalleryError, match="needs 13 photos, the gallery has 6"):
        bench.run("matching", animals, SMALL, None, reid.Listener())
