"""What is stored, looked after: `reid check` finds what is damaged, `reid gc` frees what nobody needs and nothing else."""

import os
import re
import shutil
import sqlite3
import time

import numpy as np
import pytest
from conftest import draw_animal, photo, save
from safetensors.numpy import save as as_bytes

import reid
from reid.catalogue import DecisionLog, Kind, PhotoKey, decisions
from reid.errors import GalleryError, PhotoError, StoreError
from reid.records import PhotoRef
from reid.review.pictures import Size, picture
from reid.settings import Settings
from reid.store import DamagedFile, JsonStore, digests, is_sound, read_tensors
from reid.store.files import write_tensors

SETTINGS = Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=60, resize=160, shortlist=4, embedding="none")
CHECKED = "is damaged; --repair deletes it, and it is computed again when it is needed"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A gallery of six animals that was indexed and searched for a photo beside it."""
    folder = tmp_path_factory.mktemp("searched")
    for identity in range(6):
        save(folder / "gallery" / f"animal-{identity}" / "0.png", draw_animal(identity, 0))
    save(folder / "query.png", draw_animal(3, 5))
    search(folder)
    return folder


@pytest.fixture
def world(searched, tmp_path):
    """A copy of it, searched again, so that the photos are known where they are now, and only there."""
    folder = shutil.copytree(searched, tmp_path / "world")
    (folder / "gallery" / ".reid" / "digests.sqlite").unlink()
    search(folder)
    return folder


def search(folder, **options):
    with reid.open(folder / "gallery", SETTINGS, **options) as opened:
        opened.index()
        return opened.identify(folder / "query.png").rankings


def stored(folder):
    """{path: content} of the files below."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "sqlite" not in path.name}


def age(folder, days):
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (time.time() - 86400 * days,) * 2)


def free(folder, **options):
    with reid.open(folder / "gallery", SETTINGS) as opened:
        return opened.collect(**options)


@pytest.mark.parametrize("bit", range(0, 800, 7))
def test_every_bit_of_a_stored_value_counts(tmp_path, bit):
    store = JsonStore(tmp_path)
    value = {"labels": ["amber", "b"], "share": 0.1 + 0.2, "n": 17, "none": None, "chances": [1e-300, -0.0]}
    store.save("a", value)
    assert store.names() == ["a"] and store.load("a", dict) == value and store.load("b", dict) is None
    data = bytearray(store.path("a").read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    store.path("a").write_bytes(data)
    with pytest.raises(DamagedFile):
        store.load("a", dict)


def test_a_value_of_another_kind_is_damaged_and_one_that_cannot_be_read_is_one_line(tmp_path):
    store = JsonStore(tmp_path)
    store.save("a", [1, 2])
    with pytest.raises(DamagedFile):
        store.load("a", lambda value: value["key"])
    store.path("folder").mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        store.load("folder", dict)
    store.delete("a")
    store.delete("a")
    assert store.load("a", list) is None


def test_what_stands_beside_tensors_counts_too(tmp_path):
    """The size of the photo that features are of, say. Files that were written before metadata had a checksum are still read."""
    file = tmp_path / "a.safetensors"
    write_tensors(file, {"x": np.arange(3)}, {"size": [313, 241]})
    data = file.read_bytes()
    assert data.count(b"313") == 1
    file.write_bytes(data.replace(b"313", b"317"))
    with pytest.raises(DamagedFile):
        read_tensors(file)
    write_tensors(file, {"x": np.arange(3)}, {})
    bare = re.search(rb"checksum[^0-9]*(\d+)", file.read_bytes())[1].decode()
    file.write_bytes(as_bytes({"x": np.arange(3)}, {"reid": f'{{"checksum": {bare}, "size": [313, 241]}}'}))
    assert read_tensors(file)[1] == {"size": [313, 241]}


def test_a_sound_store_is_said_to_be_sound(world, call):
    before = stored(world)
    status, said, errors = call("check", "--gallery", world / "gallery")
    assert (status, said) == (0, f"everything stored in {world / 'gallery' / '.reid'} is as it was written\n")
    assert "damaged" not in errors and stored(world) == before
    status, said, _ = call("check", "--gallery", world / "gallery", "--cache", world / "nothing here")
    assert status == 0 and not (world / "nothing here").exists()


def test_damage_is_named_file_by_file_and_repaired(world, call):
    store, answer = world / "gallery" / ".reid", search(world)
    harmed = {
        kind: next(file for file in sorted((store / kind).rglob(pattern)))
        for kind, pattern in (("features", "*.safetensors"), ("matches", "*.safetensors"), ("shortlist", "*.faiss"), ("recall", "*.json"))
    }
    for file in harmed.values():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(data)
    status, said, errors = call("check", "--gallery", world / "gallery")
    named = harmed | {"shortlist": harmed["shortlist"].parent}
    assert [line for line in errors.splitlines() if line.startswith("reid: ")] == [f"reid: {file} {CHECKED}" for file in named.values()]
    assert status == 1 and said.startswith("4 damaged: ")
    assert call("check", "--gallery", world / "gallery", "--repair")[:2] == (
        0,
        f"4 damaged, 4 of them deleted: files stored in {store}, and photos\n",
    )
    assert not any(file.exists() for file in named.values())
    assert search(world) == answer
    assert call("check", "--gallery", world / "gallery")[0] == 0


def test_a_normal_run_searches_no_damaged_index(world):
    answer = search(world)
    [file] = (world / "gallery" / ".reid" / "shortlist").rglob("*.faiss")
    whole = file.read_bytes()
    file.write_bytes(whole[:-200] + bytes(100) + whole[-100:])
    assert search(world) == answer
    [file] = (world / "gallery" / ".reid" / "shortlist").rglob("*.faiss")
    assert file.read_bytes() == whole


def test_photos_and_decisions_are_named_and_never_deleted(world, call):
    photo, decisions = world / "gallery" / "animal-1" / "0.png", world / "gallery" / "decisions.sqlite"
    times = photo.stat()
    photo.write_bytes(photo.read_bytes()[:-1] + b"x")
    os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))
    decisions.write_bytes(b"SQLite format 3\0" + bytes(1000))
    status, said, errors = call("check", "--gallery", world / "gallery", "--repair")
    assert status == 1 and said.startswith("2 damaged, 0 of them deleted")
    assert f"reid: {photo} is not what it was" in errors and f"reid: {decisions} is damaged or no log of decisions" in errors
    assert photo.exists() and decisions.exists()
    with sqlite3.connect(world / "another") as connection:
        connection.execute("CREATE TABLE decisions (number INT)")
    shutil.copy(world / "another", decisions)
    assert f"reid: {decisions} is no log of decisions, but another program's" in call("check", "--gallery", world / "gallery")[2]


@pytest.fixture
def decided(tmp_path):
    """A gallery with a log of three decisions."""
    photo(tmp_path / "gallery" / "luna" / "a.png")
    log = DecisionLog(tmp_path / "gallery")
    for number in range(3):
        log.append(Kind.NEW, [PhotoKey(f"{number}", f"{number}.png")], observer="zoe", value=f"turtle{number}")
    return log


def test_what_a_killed_writer_left_of_a_decision_is_taken_back_and_no_damage(decided, tmp_path, call):
    before, left = decided.history(), shutil.copytree(decided.path.parent, tmp_path / "left")
    with decided.together() as connection:
        connection.execute("PRAGMA cache_size = 1")  # pages are written before the end
        for number in range(3, 99):
            decided.append(Kind.NEW, [PhotoKey(f"{number}", f"{number}.png")], observer="zoe")
        for file in decided.path.parent.glob(f"{decided.path.name}*"):  # as they lie there in the midst of it
            shutil.copy(file, left)
    assert (left / "decisions.sqlite-journal").exists() and not is_sound(left / "decisions.sqlite")
    status, _, errors = call("check", "--gallery", left)
    assert status == 0 and "decisions" not in errors
    assert DecisionLog(left).history() == before


def test_a_decision_that_is_not_what_it_was_is_found(decided, call):
    whole = decided.path.read_bytes()
    assert call("check", "--gallery", decided.path.parent)[0] == 0
    decided.path.write_bytes(whole.replace(b"turtle1", b"turtlf1"))
    status, _, errors = call("check", "--gallery", decided.path.parent)
    assert status == 1 and f"reid: {decided.path} is damaged at decision 2; put a copy of it in its place\n" in errors
    decided.path.write_bytes(whole[:39] + b"\5" + whole[40:])  # the number of free pages, which no decision is read from
    status, _, errors = call("check", "--gallery", decided.path.parent)
    assert status == 1 and f"reid: {decided.path} is damaged; nothing can compute it again" in errors


def test_a_log_that_others_keep_to_themselves_is_not_called_damaged(decided, call, monkeypatch):
    monkeypatch.setattr(decisions, "PATIENCE", 0.1)
    with sqlite3.connect(decided.path) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        status, _, errors = call("check", "--gallery", decided.path.parent)
    connection.close()
    assert status == 2 and "has been in use by others" in errors and "damaged" not in errors


def test_a_row_of_digests_that_is_not_what_was_written_is_found_and_read_again(world, call):
    table = world / "gallery" / ".reid" / "digests.sqlite"
    answer = search(world)
    with sqlite3.connect(table) as connection:
        connection.execute("UPDATE digests_1 SET digest = replace(digest, 'a', 'b')")
    status, _, errors = call("check", "--gallery", world / "gallery")
    assert status == 1 and f"reid: {table} is damaged" in errors
    assert search(world) == answer  # each photo is read once more, and its row written anew
    assert call("check", "--gallery", world / "gallery")[0] == 0


def test_a_table_that_others_keep_to_themselves_is_not_called_damaged(world, call, monkeypatch):
    monkeypatch.setattr(digests, "PATIENCE", 0.1)
    with sqlite3.connect(world / "gallery" / ".reid" / "digests.sqlite") as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        status, _, errors = call("check", "--gallery", world / "gallery")
    assert status == 2 and "database is locked" in errors and "damaged" not in errors
    connection.close()


def test_what_is_of_photos_that_are_gone_is_freed_and_nothing_else(world, call):
    store = world / "gallery" / ".reid"
    shutil.rmtree(world / "gallery" / "animal-5")
    assert free(world) == {}  # written less than an hour ago
    age(store, 1)
    before = stored(store)
    status, said, _ = call("gc", "--gallery", world / "gallery", "--dry-run")
    assert status == 0 and stored(store) == before and "features: 1 files, " in said and "would be freed" in said
    counted = free(world, dry_run=True)
    assert free(world) == counted
    gone = before.keys() - stored(store).keys()
    assert sorted(path.parts[0] for path in gone) == ["features", "matches"]
    assert counted == {kind: (1, len(before[path])) for kind in ("features", "matches") for path in gone if path.parts[0] == kind}
    with reid.open(world / "gallery", SETTINGS) as opened:
        assert opened.index().n_extracted == 0
    assert free(world) == {}


def test_nothing_is_freed_while_the_disk_that_links_lead_to_is_away(world, call):
    disk = world / "disk"
    (world / "gallery" / "animal-5").rename(disk)
    (world / "gallery" / "animal-5").mkdir()
    for path in disk.iterdir():
        (world / "gallery" / "animal-5" / path.name).symlink_to(path)
    search(world)
    age(world / "gallery" / ".reid", 1)
    before = stored(world / "gallery" / ".reid")
    disk.rename(world / "away")
    status, _, errors = call("gc", "--gallery", world / "gallery", "--skip-bad")
    assert status == 2 and "nothing is freed, since what it needs is not known: connect its disk, or take it out" in errors
    assert stored(world / "gallery" / ".reid") == before


def test_a_photo_whose_features_are_damaged_and_that_is_gone_bad_stops_one_run_alone(world):
    photo = next((world / "gallery" / "animal-3").iterdir())
    with reid.open(world / "gallery", SETTINGS) as opened:
        [item] = [item for item in opened.references if item.ref.path == photo]
        opened.work.first.features.path(item.digest).write_bytes(b"damaged")
    was = photo.stat()
    photo.write_bytes(b"\0" * was.st_size)
    os.utime(photo, ns=(was.st_atime_ns, was.st_mtime_ns))
    (world / "new.png").write_bytes((world / "query.png").read_bytes() + b" ")
    for is_first in (True, False):
        with reid.open(world / "gallery", SETTINGS) as opened:
            if is_first:
                with pytest.raises(PhotoError):
                    opened.identify(world / "new.png")
            else:
                report = opened.identify(world / "new.png")
    assert len(report.rankings) == 1 and [one.image_id for one in report.failures] == [item.ref.image_id]


def test_a_query_keeps_what_is_stored_of_it_as_long_as_it_is_there(world):
    store = world / "gallery" / ".reid"
    n = len(stored(store / "features"))
    with reid.open(world / "gallery", SETTINGS) as opened:
        picture(PhotoRef("q", world / "query.png"), Size.SMALL, opened.work)
    age(store, 1)
    assert free(world) == {} and len(stored(store / "features")) == n == 7
    (world / "query.png").unlink()
    assert {kind: n for kind, (n, _) in free(world).items()} == {"features": 1, "matches": 1, "second": 1, "pictures": 1}
    assert len(stored(store / "features")) == 6


def test_a_shared_cache_keeps_the_photos_of_other_galleries(world):
    with reid.open(world / "gallery", SETTINGS, cache=world / "cache") as opened:
        opened.index()
    shutil.rmtree(world / "gallery" / "animal-5")
    age(world / "cache", 1)
    with reid.open(world / "gallery", SETTINGS, cache=world / "cache") as opened:
        assert opened.collect() == {}
        age(world / "cache", 91)
        freed = opened.collect()
    assert freed.keys() == {"features", "matches", "shortlist", "recall"}


def test_settings_that_are_used_stay_and_calibrations_always_do(world):
    store = world / "gallery" / ".reid"
    JsonStore(store / "calibration" / "f000").save("a", {})
    age(store, 91)
    before = stored(store)
    search(world)  # touches what it uses
    assert free(world) == {} and stored(store) == before
    age(store, 91)
    assert free(world, unused_for=100) == {}
    assert free(world).keys() >= {"features", "matches", "shortlist"}
    assert (store / "calibration").exists()
    assert search(world)[0].candidates[0].identity == "animal-3"


def test_an_index_of_an_earlier_version_is_not_damaged_and_goes_whole(world, call):
    store = world / "gallery" / ".reid"
    [photos] = (store / "shortlist").rglob("photos.safetensors")
    tensors, about = read_tensors(photos)
    write_tensors(photos, tensors, {name: value for name, value in about.items() if name != "centres"})
    assert call("check", "--gallery", world / "gallery")[0] == 0
    age(store, 1)
    assert free(world).keys() == {"shortlist"}
    assert not photos.parent.exists()


def test_leftovers_of_killed_runs_go_after_an_hour(world):
    store = world / "gallery" / ".reid"
    old, young = (next((store / "features").glob("*/*/")) / f".{name}.part" for name in ("old", "young"))
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    with reid.open(world / "gallery", SETTINGS) as opened:
        assert opened.references and old.exists()  # nothing is looked for where nothing is stored
        assert opened.collect() == {"leftovers": (1, 4)}
    assert young.exists() and not old.exists()
    old.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    next((store / "features").glob("*/*/*.safetensors")).unlink()
    with reid.open(world / "gallery", SETTINGS) as opened:
        assert opened.references
    assert young.exists() and not old.exists()


def test_nothing_is_freed_of_a_gallery_whose_photos_cannot_be_seen(world, call):
    age(world / "gallery" / ".reid", 1)
    for folder in (world / "gallery").glob("animal-*"):
        shutil.rmtree(folder)
    before = stored(world / "gallery" / ".reid")
    with pytest.raises(GalleryError):
        free(world)
    status, _, errors = call("gc", "--gallery", world / "gallery")
    assert status == 2 and len(errors.splitlines()) == 1 and stored(world / "gallery" / ".reid") == before


def test_what_cannot_be_listed_is_told(world, monkeypatch):
    """Root may list everything, so that a folder that refuses is made by hand."""
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("features"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with reid.open(world / "gallery", SETTINGS) as opened:
        [damage] = opened.check()
    assert damage.path.name == "features" and damage.advice.startswith("cannot be read (Permission denied); make it readable")
