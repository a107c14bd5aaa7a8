"""What is kept of a photo's file: from any thread and process, never of another content than the file has."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from reid.errors import PhotoError, StoreError
from reid.listener import Listener
from reid.records import PhotoFacts, PhotoRef
from reid.stages.extract import read
from reid.store import Digests
from reid.store import digests as store

FACTS = PhotoFacts((60, 40), datetime(2019, 6, 20, 10, 11, 12, 250000, timezone(timedelta(hours=2))))


def ref(path):
    return PhotoRef(path.name, path)


def test_a_photo_that_is_changed_in_place_with_its_time_kept_is_found_by_a_check(tmp_path):
    path, mask = tmp_path / "a.jpg", tmp_path / "mask.png"
    path.write_bytes(b"before")
    mask.write_bytes(b"left..")
    digests = Digests(tmp_path / "cache")
    masked = PhotoRef("a", path, mask=str(mask))
    first, first_masked = digests.of(ref(path)), digests.of(masked)
    digests.facts(path, lambda _: FACTS)
    for file, data in ((path, b"after."), (mask, b"right.")):
        stat = file.stat()
        file.write_bytes(data)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digests.of(ref(path)) == first  # trusted, as the documents say
    assert digests.of(ref(path), check=True) == hashlib.sha256(b"after.").hexdigest()
    assert digests.of(ref(path)) != first  # what a check has found is kept
    assert digests.of(masked, check=True) != first_masked
    assert digests.facts(path, lambda _: PhotoFacts((1, 2))) == PhotoFacts((1, 2))  # its header may say something else, too


def test_facts_are_read_once(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"photo")
    assert Digests(tmp_path / "cache").facts(path, lambda _: FACTS) == FACTS
    assert Digests(tmp_path / "cache").facts(path, lambda _: pytest.fail("read again")) == FACTS
    path.write_bytes(b"another photo")
    assert Digests(tmp_path / "cache").facts(path, lambda _: PhotoFacts((1, 2))) == PhotoFacts((1, 2))
    assert Digests(tmp_path / "cache").facts(path, lambda _: pytest.fail("read again")) == PhotoFacts((1, 2))


def test_what_cannot_be_read_is_not_kept(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"photo")
    digests = Digests(tmp_path / "cache")

    def fails(path):
        raise PhotoError(f"{path} is no photo")

    with pytest.raises(PhotoError, match="is no photo"):
        digests.facts(path, fails)
    assert digests.facts(path, lambda _: FACTS) == FACTS
    with pytest.raises(PhotoError, match="cannot be read"):
        digests.facts(tmp_path / "gone.jpg", lambda _: FACTS)


def test_nothing_is_written_before_the_first_question(tmp_path):
    digests = Digests(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    digests.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_bytes(b"a file")
    (tmp_path / "a.jpg").write_bytes(b"photo")
    with pytest.raises(StoreError, match=r"cannot write under .*cache.*--cache"):
        Digests(tmp_path / "cache").of(ref(tmp_path / "a.jpg"))


def files(folder, n=40):
    paths = [folder / f"{number}.bin" for number in range(n)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
    return paths, [hashlib.sha256(bytes([number])).hexdigest() for number in range(n)]


def test_from_several_threads_also_after_it_was_closed(tmp_path):
    paths, wanted = files(tmp_path)
    digests = Digests(tmp_path / "cache")
    for _ in range(2):
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda path: digests.of(ref(path)), paths * 3)) == wanted * 3
            assert list(pool.map(lambda path: digests.facts(path, lambda _: FACTS), paths)) == [FACTS] * len(paths)
        digests.close()


def test_one_thread_does_not_wait_for_the_reading_of_another(tmp_path):
    paths, wanted = files(tmp_path, 2)
    digests = Digests(tmp_path / "cache")
    reading, go_on = threading.Event(), threading.Event()

    def slow(path):
        reading.set()
        assert go_on.wait(10)
        return FACTS

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(digests.facts, paths[0], slow)
        assert reading.wait(10)
        assert digests.of(ref(paths[1])) == wanted[1]
        go_on.set()
        assert waiting.result() == FACTS


SCRIPT = """
import sys, pathlib
from reid.records import PhotoRef
from reid.store import Digests
from reid.store import digests as store
folder = pathlib.Path(sys.argv[1])
digests = Digests(folder / "cache")
for path in sorted(folder.glob("*.bin")):
    print(digests.of(PhotoRef(path.name, path), check=True))
"""


def test_from_several_processes(tmp_path):
    _, wanted = files(tmp_path, 60)
    started = [subprocess.Popen([sys.executable, "-c", SCRIPT, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert sorted(said.split()) == sorted(wanted)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="takes fork")
def test_a_forked_process_opens_its_own(tmp_path):
    paths, wanted = files(tmp_path, 4)
    digests = Digests(tmp_path / "cache")
    assert digests.of(ref(paths[0])) == wanted[0]
    own = digests._connection()  # SQLite's must not be carried over a fork
    child = os.fork()
    if not child:
        try:
            right = digests.of(ref(paths[1])) == wanted[1] and digests._connection() is not own
            digests.close()
            os._exit(0 if right else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [digests.of(ref(path)) for path in paths] == wanted


def test_where_folders_lead_to_is_looked_up_once_until_it_is_looked_again(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(5):
            file = tmp_path / name / f"{number}.jpg"
            file.write_bytes(f"{name}{number}".encode())
            os.utime(file, ns=(0, 0))

    def contents(name):
        return [hashlib.sha256(f"{name}{number}".encode()).hexdigest() for number in range(5)]

    link, digests = tmp_path / "photos", Digests(tmp_path / "cache")
    link.symlink_to("one")
    refs = [ref(link / f"{number}.jpg") for number in range(5)]
    (tmp_path / "two" / "5.jpg").symlink_to(tmp_path / "one" / "0.jpg")
    assert digests.of(ref(tmp_path / "two" / "5.jpg")) == hashlib.sha256(b"one0").hexdigest()
    asked = []
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: asked.append(path) or real(path))
    assert [item.digest for item in read(refs, digests, Listener())[0]] == [
        hashlib.sha256(f"one{n}".encode()).hexdigest() for n in range(5)
    ]
    assert asked == [str(link)]
    link.unlink()
    link.symlink_to("two")
    assert [item.digest for item in read(refs, digests, Listener())[0]] == [
        hashlib.sha256(f"two{n}".encode()).hexdigest() for n in range(5)
    ]


@pytest.mark.parametrize(
    "of", [lambda digests, one: digests.of(one), lambda digests, one: next(digests.of_all([one]))], ids=["one", "many"]
)
def test_a_path_below_the_working_folder_is_its_own_in_every_working_folder(tmp_path, monkeypatch, of):
    digests = Digests(tmp_path / "cache")
    for name in ("one", "two"):
        (tmp_path / name / "photos").mkdir(parents=True)
        (tmp_path / name / "photos" / "a.jpg").write_bytes(name.encode())
        os.utime(tmp_path / name / "photos" / "a.jpg", ns=(0, 0))
        monkeypatch.chdir(tmp_path / name)
        for _ in range(2):
            assert of(digests, ref(Path("photos/a.jpg"))) == hashlib.sha256(name.encode()).hexdigest()


@pytest.mark.parametrize("most", [0, 100])
def test_many_photos_are_asked_for_together_and_each_is_looked_at(tmp_path, monkeypatch, most):
    """Linked, in folders that are links, behind .., twice, replaced since, gone, and one whose row is damaged: what each gets alone."""
    monkeypatch.setattr(store, "AT_ONCE", 3)
    monkeypatch.setattr(store, "MOST", most)
    inner = tmp_path / "photos" / "inner"
    inner.mkdir(parents=True)
    for number in range(6):
        (inner / f"{number}.jpg").write_bytes(b"photo %d" % number)
    (tmp_path / "other").symlink_to(tmp_path / "photos")
    (tmp_path / "link.jpg").symlink_to(inner / "0.jpg")
    paths = [inner / f"{number}.jpg" for number in range(6)]
    paths += [
        tmp_path / "other" / "inner" / "1.jpg",
        tmp_path / "link.jpg",
        tmp_path / "other" / ".." / "link.jpg",
        inner / "gone.jpg",
        inner / "2.jpg",
    ]
    refs = [ref(path) for path in paths]
    digests = Digests(tmp_path / "cache")
    first = list(digests.of_all(refs))
    (inner / "3.jpg").write_bytes(b"replaced")  # its size tells
    stat = (inner / "4.jpg").stat()
    os.utime(inner / "4.jpg", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    (inner / "4.jpg").write_bytes(b"photo 9")  # its time tells
    with digests._connection() as connection:
        connection.execute(f"UPDATE {store.DIGESTS} SET digest = 'wrong' WHERE path LIKE '%5.jpg'")
    found = list(Digests(tmp_path / "cache").of_all(refs))
    gone = found.pop(9)
    assert isinstance(gone, PhotoError) and "gone.jpg cannot be read" in str(gone) and str(first.pop(9)) == str(gone)
    contents = [path.read_bytes() for path in paths if path.exists()]
    assert found == [hashlib.sha256(content).hexdigest() for content in contents]
    assert [one for one, other in zip(found, first) if one != other] == [found[3], found[4]]
    monkeypatch.setattr(Digests, "of_file", lambda *_: pytest.fail("asked for by itself"))
    assert list(Digests(tmp_path / "cache").of_all(refs[:9])) == found[:9]


def test_a_table_is_read_whole_where_most_of_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "AT_ONCE", 4)
    refs = []
    for number in range(20):
        refs.append(ref(tmp_path / f"{number}.jpg"))
        refs[-1].path.write_bytes(b"%d" % number)
    digests, asked = Digests(tmp_path / "cache"), []
    list(digests.of_all(refs))
    every = Digests._all

    def counted(self, statement, *values):
        asked.append(len(values))
        return every(self, statement, *values)

    monkeypatch.setattr(Digests, "_all", counted)
    assert len(list(digests.of_all(refs))) == 20 and asked == [0, 0]  # how many there are, and all of them
    asked.clear()
    assert len(list(digests.of_all(refs[:8]))) == 8 and asked == [0, 4, 4]


def test_photos_are_found_where_the_working_folder_is_gone(tmp_path, monkeypatch):
    paths, wanted = files(tmp_path, 3)
    digests = Digests(tmp_path / "cache")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    first, *others = digests.of_all([ref(Path("a.jpg")), *map(ref, paths)])
    assert isinstance(first, PhotoError) and others == wanted
