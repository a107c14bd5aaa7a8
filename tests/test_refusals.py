"""What must not be lost, overwritten or misread, whatever is asked for: each of these went wrong once."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from conftest import draw_animal, save

import reid
from reid.catalogue.columns import meanings
from reid.catalogue.folders import contents, readable
from reid.catalogue.table import read_table
from reid.errors import GalleryError, PhotoError, SettingsError, WeightsError
from reid.settings import Settings
from reid.store import write_atomically
from reid.store.digests import DIGESTS, FILE, Digests

FAST = ["--extractor", "sift", "--matcher", "nearest", "--fuse", "none", "--max-keypoints", "100", "--resize", "320"]


def command(*words):
    return [sys.executable, "-m", "reid", *map(str, words)]


@pytest.mark.parametrize(
    "what", ["--csv table", "--report photo", "--json query", "--csv out.txt --json out.txt", "--matches in", "--matches out.png"]
)
def test_no_output_overwrites_what_is_read(animals, call, tmp_path, what):
    query = save(tmp_path / "q.png", draw_animal(3, 5))
    rows = "".join(f"animal-{i}/{v}.png,animal-{i}\n" for i in range(4) for v in range(2))
    (animals / "metadata.csv").write_text("path,identity\n" + rows)
    (tmp_path / "out.png").touch()
    places = {"table": animals / "metadata.csv", "photo": animals / "animal-1" / "0.png", "query": query, "in": animals / "animal-1"}
    words = [places.get(word, word if word.startswith("--") else tmp_path / word) for word in what.split()]
    before = {path: path.read_bytes() for path in (*animals.rglob("*.*"), query) if path.is_file()}
    status, _, error = call("identify", query, "--gallery", animals, *FAST, *words)
    assert status == 2 and len(error.splitlines()) == 1, error
    assert {path: path.read_bytes() for path in before} == before
    assert not (animals / ".reid").exists()  # refused before work starts


@pytest.mark.parametrize(
    "what", ["--csv METADATA.csv", "--json ../Q.png", "--csv Decisions.SQLite", "--csv ../out --json ../OUT", "--matches Animal-1/out"]
)
def test_nor_where_capitals_are_the_same(animals, call, tmp_path, monkeypatch, what):
    """As on the disks of most laptops."""
    query = save(tmp_path / "q.png", draw_animal(3, 5))
    (animals / "metadata.csv").write_text("path,identity\nanimal-1/0.png,animal-1\n")
    monkeypatch.setattr("os.path.samefile", lambda one, other: str(one).casefold() == str(other).casefold())
    words = [word if word.startswith("--") else str(animals).replace("gallery", "Gallery") + f"/{word}" for word in what.split()]
    (tmp_path / "Gallery").mkdir(exist_ok=True)
    status, _, error = call("identify", query, "--gallery", animals, *FAST, *words)
    assert status == 2 and len(error.splitlines()) == 1 and "; name " in error, error
    assert not (animals / ".reid").exists()


def test_two_pictures_have_two_names_whatever_their_capitals(animals, call, tmp_path):
    queries = [save(tmp_path / folder / name, draw_animal(3, 5)) for folder, name in (("a", "q.png"), ("b", "Q.png"))]
    assert call("identify", *queries, "--gallery", animals, *FAST, "--matches", tmp_path / "m")[0] == 0
    assert sorted(path.name.casefold() for path in (tmp_path / "m").iterdir()) == ["_q.png.png", "q.png.png"]


def test_a_picture_of_two_photos_is_not_written_over_one_of_them(animals, call):
    photo = animals / "animal-1" / "0.png"
    before = photo.read_bytes()
    for name in ("show", "align"):
        status, _, error = call(name, photo, animals / "animal-1" / "1.png", "--extractor", "sift", "--matcher", "nearest", "--out", photo)
        assert status == 2 and "is a photo or a table that is read" in error
    assert photo.read_bytes() == before


def test_files_are_written_though_nobody_reads_the_table(animals, tmp_path):
    query = save(tmp_path / "q.png", draw_animal(3, 5))
    run = subprocess.Popen(
        command("identify", query, "--gallery", animals, *FAST, "--csv", tmp_path / "a.csv"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    run.stdout.close()
    run.stderr.close()
    assert run.wait(120) == 0
    assert "animal-3" in (tmp_path / "a.csv").read_text()


def test_an_interrupted_command_says_that_what_is_stored_stays(animals):
    run = subprocess.Popen(command("index", "--gallery", animals), stderr=subprocess.PIPE, text=True)  # many seconds by a network
    deadline = time.monotonic() + 60
    while not (animals / ".reid").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "interrupted; what is stored stays" in error and "Traceback" not in error


def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path):
    (tmp_path / "real.csv").write_text("before")
    (tmp_path / "link.csv").symlink_to("real.csv")
    write_atomically(tmp_path / "link.csv", b"after")
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "real.csv").read_text() == "after"
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        write_atomically(tmp_path / "pipe", b"through")
        assert reader.stdout.read() == b"through"
    assert (tmp_path / "pipe").is_fifo()


def test_a_damaged_table_of_digests_is_made_anew(tmp_path):
    photo = save(tmp_path / "a.png", draw_animal(1, 1))
    digests = Digests(tmp_path / "store")
    wanted = digests.of(reid.records.PhotoRef("a", photo))
    for number in range(300):  # several pages
        digests._keep(DIGESTS, (f"{number}".encode(), 1, 1, "0" * 64))
    digests.close()
    file = tmp_path / "store" / FILE
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    file.write_bytes(data)
    assert digests.of(reid.records.PhotoRef("a", photo)) == wanted


def test_a_name_that_is_too_long_is_one_photo_that_cannot_be_used(animals, tmp_path):
    query = save(tmp_path / "q.png", draw_animal(3, 5))
    with reid.open(animals, Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=100, resize=320)) as gallery:
        report = gallery.identify([f"{'a' * 300}.jpg", query])
        assert len(report.rankings) == len(report.failures) == 1
        with pytest.raises(PhotoError, match="cannot be read"):
            gallery.extract("a\0b.jpg")
    with pytest.raises(GalleryError, match="is not a folder"):
        reid.open("a" * 300)


def test_weights_that_are_not_here_are_never_fetched_by_the_way(monkeypatch):
    from reid import weights

    monkeypatch.setattr(weights, "locate", lambda entry: None)
    monkeypatch.setattr(weights, "fetch", lambda *_: pytest.fail("connected"))
    with pytest.raises(WeightsError, match="run `reid models fetch aliked-n16`"):
        weights.load("aliked-n16")


def test_an_empty_column_does_not_hide_the_full_one(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("path,identity,individual,bbox,bbox_x,bbox_y,bbox_w,bbox_h\na.jpg,,luna,,1,2,3,4\n")
    found = meanings(read_table(file))
    assert (found.name("identity"), found.box, found.problems) == ("individual", (4, 5, 6, 7), ())
    file.write_text("path,identity,remarks\na.jpg,,seen at dusk\n")  # nothing else says who it is
    assert meanings(read_table(file)).name("identity") == "identity"


def test_a_python_environment_beside_the_photos_holds_none(tmp_path):
    for photo in ("amber/1.jpg", "venv/lib/a.png"):
        save(tmp_path / photo, draw_animal(1, 1))
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "venv" / "lib64").symlink_to("lib")
    found = contents(tmp_path)
    assert found.photos == ["amber/1.jpg"] and any("venv" in note for note in found.notes())


@pytest.mark.parametrize("name", ["a-link", "z-link", "amber/link"])
def test_a_link_to_a_folder_of_the_gallery_is_named_as_the_link(tmp_path, name):
    for animal in ("amber", "luna"):
        save(tmp_path / animal / "1.jpg", draw_animal(1, 1))
    (tmp_path / name).symlink_to(tmp_path / "luna")
    with pytest.raises(GalleryError, match=rf"{name} is a link to a folder that is read itself.*remove it"):
        contents(tmp_path)


def test_names_are_one_line_without_control_characters():
    assert readable("a\nb/\x1b[31mc") == r"a\nb/\x1b[31mc"


def test_a_group_of_settings_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text("extract = 5\n")
    for wrong in (lambda: Settings.load(tmp_path / "a.toml"), lambda: Settings().replace(decide={})):
        with pytest.raises(SettingsError, match="a group of settings"):
            wrong()
