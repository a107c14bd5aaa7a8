"""Runs beside each other, killed, interrupted, or on a disk that takes nothing: each ends as if alone, or in one line."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import draw_animal, save
from test_session import FAST, Recorder, feature_files, identify, index

from reid.errors import StoreError

SCRIPT = (
    "import sys, reid; "
    "settings = reid.Settings.of(extractor='sift', matcher='nearest', fuse='none', max_keypoints=150, resize=320); "
    "print(reid.open(sys.argv[1], settings).index().n_photos)"
)


def start(root):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_at_once_both_finish_with_the_right_result(animals):
    runs = [start(animals) for _ in range(2)]
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert (run.returncode, out.strip()) == (0, "16"), err
    assert len(feature_files(animals)) == 16
    assert index(animals, FAST).n_extracted == 0


def test_a_killed_run_is_taken_up_where_it_was(tmp_path):
    root, n = tmp_path / "gallery", 60
    for identity in range(n):
        save(root / f"animal-{identity}" / "0.png", draw_animal(identity, 0, (640, 480)))
    run = start(root)
    deadline = time.monotonic() + 60
    while not feature_files(root) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    stored = len(feature_files(root))
    assert 0 < stored < n
    summary = index(root, FAST)
    assert (summary.n_photos, summary.n_extracted) == (n, n - stored)


def test_an_interrupted_query_keeps_what_was_matched(animals, monkeypatch):
    index(animals, FAST)
    query = animals.parent / "photos" / "known.png"

    class Stop(Recorder):
        def progress(self, what, done, total):
            if what == "pairs" and total == 16 and done == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        identify(query, animals, FAST, listener=Stop())
    listener = Recorder()
    resumed = identify(query, animals, FAST, listener=listener)
    assert listener.stages["pairs"] == (11, 11)
    again = identify(query, animals, FAST, cache=animals.parent / "elsewhere")
    assert resumed.rankings == again.rankings


def test_a_folder_that_cannot_be_written_is_one_line(animals):
    with pytest.raises(StoreError, match="--cache"):
        index(animals, FAST, cache="/proc/nowhere")
