"""The log of decisions: what is acknowledged is kept, nothing is changed, damage is told."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC

import pytest

from reid.catalogue import decisions
from reid.catalogue.decisions import FILE, DecisionLog, Kind, PhotoKey, fingerprint
from reid.errors import DecisionError, StoreError


def key(name: str) -> PhotoKey:
    return PhotoKey(f"digest of {name}", f"{name}.jpg")


A, B, C = map(key, "abc")
WRITER = """
import sys
from pathlib import Path
from reid.catalogue.decisions import DecisionLog, Kind, PhotoKey

log, name = DecisionLog(Path(sys.argv[1])), sys.argv[2]
for i in range(int(sys.argv[3])):
    done = log.append(Kind.SAME, [PhotoKey(f"{name} {i}", "x"), PhotoKey("other", "y")], observer=name, evidence={"i": i})
    print(done.number, flush=True)
"""


def writer(folder, name: str, n: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), name, str(n)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def log(tmp_path):
    return DecisionLog(tmp_path)


def test_a_decision_comes_back_as_it_was_written(log, tmp_path):
    assert log.history() == () and not list(tmp_path.iterdir())
    written = log.append(Kind.SAME, [A, B], observer="Zoë", evidence={"p_same": 0.97, "score": 4.2})
    named = log.append(Kind.NEW, [C], observer="Zoë", value=" Luna\u200b ")
    assert log.history() == log.effective() == (written, named)
    assert (written.number, named.number, named.value, written.when.tzinfo) == (1, 2, "Luna", UTC)
    assert [photo.image_id for photo in written.photos] == ["a.jpg", "b.jpg"] and written.evidence["p_same"] == 0.97
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_what_is_written_together_is_there_at_once_or_not_at_all(log):
    same = log.append(Kind.SAME, [A, B], observer="zoe")
    with log.together():
        log.undo("zoe", same.number)
        other = log.append(Kind.DIFFERENT, [A, B], observer="zoe")
        assert log.history() == (same,)
    assert log.effective() == (other,) and other.number == 3
    with pytest.raises(DecisionError), log.together():  # noqa: PT012
        log.undo("zoe", other.number)
        log.append(Kind.SAME, [A], observer="zoe")  # says nothing
    assert log.effective() == (other,) and len(log.history()) == 3


@pytest.mark.parametrize(
    ("kind", "photos", "value"),
    [
        (Kind.SAME, [A], ""), (Kind.SAME, [A, PhotoKey(A.digest, "copy.jpg")], ""), (Kind.NEW, [], "luna"), (Kind.NAME, [A], ""),
        (Kind.NEW, [A], "unknown"), (Kind.SIDE, [A], "?"), (Kind.DATE, [A], "yesterday"),
    ],
)  # fmt: skip
def test_what_says_nothing_is_refused(log, kind, photos, value):
    with pytest.raises(DecisionError):
        log.append(kind, photos, observer="zoe", value=value)
    assert not log.path.exists()


def test_undo_walks_back_and_redo_forth(log):
    one, two, other = (log.append(Kind.SAME, [A, B], observer=name) for name in ("zoe", "zoe", "max"))
    assert log.undo("zoe").undoes == two.number and log.undo("zoe").undoes == one.number and log.undo("zoe") is None
    assert log.effective() == (other,)
    assert log.redo("zoe").undoes == 5 and log.effective() == (one, other)
    assert log.redo("zoe").undoes == 4 and log.redo("zoe") is None
    assert log.effective() == (one, two, other) and len(log.history()) == 7
    assert log.undo("zoe").undoes == two.number
    new = log.append(Kind.DIFFERENT, [A, B], observer="zoe")
    assert log.redo("zoe") is None and log.effective() == (one, other, new)


def test_what_was_taken_at_once_is_taken_back_and_brought_back_at_once(log):
    alone = log.append(Kind.SIDE, [C], observer="zoe", value="left")
    first = log.append(Kind.SIDE, [A], observer="zoe", value="left")
    second, third = (log.append(Kind.SIDE, [photo], observer="zoe", value="left", evidence={"follows": first.number}) for photo in (B, C))
    assert log.undo("zoe").undoes == third.number and log.effective() == (alone,)
    assert log.redo("zoe") and log.effective() == (alone, first, second, third)  # at once, too
    log.undo("max", first.number)  # one of them by itself, the first
    assert log.undo("zoe").undoes == third.number and log.effective() == (alone,)
    assert log.redo("zoe") and log.effective() == (alone, second, third) and log.redo("zoe") is None
    log.undo("zoe")
    assert log.undo("zoe").undoes == alone.number and log.undo("zoe") is None
    assert log.redo("zoe") and log.effective() == (alone,)


def test_what_a_decision_has_replaced_comes_back_with_its_undo(log):
    first, other = (log.append(Kind.SAME, [A, B], observer=name) for name in ("zoe", "max"))
    with log.together():
        undone = log.undo("zoe", other.number, first.number)
        second = log.append(Kind.DIFFERENT, [A, C], observer="zoe", evidence={"follows": undone.evidence["follows"]})
    assert log.effective() == (second,)
    for _ in range(2):
        assert log.undo("zoe").undoes == second.number and log.effective() == (first, other)
        assert log.redo("zoe") and log.effective() == (second,) and log.redo("zoe") is None
    log.undo("zoe")
    assert log.undo("zoe").undoes == first.number and log.effective() == (other,) and log.undo("zoe") is None
    assert log.redo("zoe") and log.redo("zoe") and log.effective() == (second,)


def test_taking_back_where_nothing_was_decided_makes_no_log(log):
    assert log.undo("zoe") is None and log.redo("zoe") is None
    with pytest.raises(DecisionError, match="decision 1 does not exist"):
        log.undo("zoe", 1)
    assert not log.path.exists()


def test_any_decision_can_be_taken_back_by_its_number(log):
    one = log.append(Kind.SAME, [A, B], observer="zoe")
    undo = log.undo("max", one.number, one.number)  # named twice, taken back once
    assert log.effective() == () and undo.observer == "max" and log.history() == (one, undo)
    with pytest.raises(DecisionError, match="taken back already"):
        log.undo("max", one.number)
    with pytest.raises(DecisionError, match="does not exist"):
        log.undo("max", 9)
    log.undo("max", undo.number)
    assert log.effective() == (one,)


def test_the_fingerprint_is_of_what_counts(log):
    log.append(Kind.SAME, [A, B], observer="zoe")
    before = fingerprint(log.effective())
    log.append(Kind.DIFFERENT, [A, C], observer="zoe")
    assert fingerprint(log.effective()) != before
    log.undo("zoe")
    assert fingerprint(log.effective()) == before != fingerprint([]) == ""


@pytest.mark.parametrize("n", [20, pytest.param(250, marks=pytest.mark.slow)])
def test_eight_processes_write_at_once(tmp_path, n):
    log = DecisionLog(tmp_path)
    writers = [writer(tmp_path, f"writer {i}", n) for i in range(8)]
    told = [{int(line) for line in one.communicate()[0].split()} for one in writers]
    assert all(one.returncode == 0 for one in writers) and [len(numbers) for numbers in told] == [n] * 8
    found = log.effective()
    assert [one.number for one in found] == list(range(1, 8 * n + 1)) and set.union(*told) == set(range(1, 8 * n + 1))
    for i, numbers in enumerate(told):  # each writer's own, in its order
        own = [one for one in found if one.observer == f"writer {i}"]
        assert {one.number for one in own} == numbers and [one.evidence["i"] for one in own] == list(range(n))


def test_threads_share_a_log(log):
    def write():
        for _ in range(20):
            log.append(Kind.SAME, [A, B], observer="zoe")

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.history()) == 120


@pytest.mark.parametrize("n_kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path, n_kills):
    log, acknowledged = DecisionLog(tmp_path), 0
    for kill in range(n_kills):
        process = writer(tmp_path, "killed", 100_000)
        first = process.stdout.readline()
        time.sleep(0.003 * (kill % 17))
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate()
        numbers = [int(line) for line in (first + rest).splitlines() if line]
        history = log.history()
        assert [one.number for one in history] == list(range(1, len(history) + 1))
        assert len(history) in (numbers[-1], numbers[-1] + 1) and numbers[0] > acknowledged  # the last one may be written, and not told
        acknowledged = numbers[-1]


def test_nothing_is_changed_or_removed(log):
    log.append(Kind.SAME, [A, B], observer="zoe")
    connection = sqlite3.connect(log.path)
    for statement in ("UPDATE decisions SET value = 'x'", "DELETE FROM decisions"):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            connection.execute(statement)
    connection.close()


def test_a_log_goes_on_from_what_was_read_and_is_read_anew_where_it_does_not(log, tmp_path, monkeypatch):
    other, read, real = DecisionLog(tmp_path), [], decisions._checked_rows
    monkeypatch.setattr(decisions, "_checked_rows", lambda rows, *given: read.append(len(rows)) or real(rows, *given))
    first = other.append(Kind.SAME, [A, B], observer="max")
    for _ in range(3):
        other.append(Kind.SAME, [A, C], observer="max")
    assert log.history() == other.history() and read == [4, 4]
    other.undo("max", first.number)
    assert len(log.history()) == 5 and log.history()[-1].undoes == 1 and read[2:] == [0, 1, 0]
    with pytest.raises(DecisionError), log.together():  # noqa: PT012
        log.append(Kind.SAME, [A, B], observer="zoe", check=lambda counting: None)
        log.undo("zoe")
        assert len(log._known[0]) == 6  # which nobody else ever sees
        log.undo("zoe", 99)
    for _ in range(2):  # as many as were never written
        other.append(Kind.DIFFERENT, [A, B], observer="max")
    assert log.history() == DecisionLog(tmp_path).history() and [one.kind for one in log.history()[5:]] == [Kind.DIFFERENT] * 2
    log.path.unlink()  # and a copy of an earlier day in its place
    other.append(Kind.NEW, [C], observer="max", value="luna")
    assert [one.value for one in log.history()] == ["luna"] and [one.number for one in log.effective()] == [1]


def test_a_copy_of_the_folder_goes_on(log, tmp_path):
    log.append(Kind.NEW, [A], observer="zoe", value="luna")
    shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name} 2nd")
    other = DecisionLog(tmp_path.parent / f"{tmp_path.name} 2nd")
    assert other.history() == log.history()
    assert other.undo("zoe").undoes == 1 and other.effective() == () and len(log.effective()) == 1


def broken(path, kind):
    if kind == "a photo":
        path.write_bytes(b"\xff\xd8\xff" + bytes(5000))
        return
    connection = sqlite3.connect(path)
    connection.executescript({
        "another program's": "DROP TABLE IF EXISTS decisions; PRAGMA application_id = 0; CREATE TABLE t (x)",
        "a newer version's": "PRAGMA user_version = 99",
        "a changed row": "DROP TRIGGER never_changed; UPDATE decisions SET observer = 'max' WHERE number = 1",
        "a missing row": "DROP TRIGGER never_removed; DELETE FROM decisions WHERE number = 1",
        "another kind": "DROP TRIGGER never_changed; UPDATE decisions SET kind = 'sold' WHERE number = 2",
    }[kind])  # fmt: skip
    connection.close()


@pytest.mark.parametrize(
    "kind", ["a photo", "another program's", "a newer version's", "a changed row", "a missing row", "another kind"]
)  # fmt: skip
def test_a_damaged_or_foreign_file_is_told_and_left_as_it_is(log, kind):
    for _ in range(2):
        log.append(Kind.SAME, [A, B], observer="zoe")
    broken(log.path, kind)
    before = log.path.read_bytes()
    for act in (log.history, lambda: log.undo("zoe")):
        with pytest.raises(StoreError) as raised:
            act()
        assert "\n" not in str(raised.value) and str(log.path) in str(raised.value)
    assert log.path.read_bytes() == before


def test_pages_that_are_lost_are_told(log):
    for _ in range(100):
        log.append(Kind.SAME, [A, B], observer="zoe")
    whole = log.path.read_bytes()
    for cut in range(4096, len(whole), 4096):
        log.path.write_bytes(whole[:cut] + bytes(4096) + whole[cut + 4096 :])
        with pytest.raises(StoreError):
            log.history()


def test_a_log_that_others_never_let_go_is_told(log, monkeypatch):
    monkeypatch.setattr(decisions, "PATIENCE", 0.2)
    log.append(Kind.SAME, [A, B], observer="zoe")
    other = sqlite3.connect(log.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="in use by others"):
        log.append(Kind.SAME, [A, B], observer="zoe")
    assert len(log.history()) == 1  # readers wait for nobody who has not begun to write
    other.execute("ROLLBACK")
    other.close()
    assert log.append(Kind.SAME, [A, B], observer="zoe").number == 2


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(StoreError, match="cannot use"):
        DecisionLog(tmp_path / "gone").append(Kind.SAME, [A, B], observer="zoe")
