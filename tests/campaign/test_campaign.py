"""A small part of the campaign; `campaign.py` runs all of it, notebooks/README.md has its figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")


def run(*words):
    done = subprocess.run([sys.executable, CAMPAIGN, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_bit_that_flips_in_a_file_of_any_kind_is_found_and_changes_no_answer_in_silence():
    found = run("bits", "--runs", 9)
    assert found["runs"] == 9 and all("found" in outcome for outcome in found["outcomes"])
    assert "calibration: found, said" in found["outcomes"]  # the others are computed again


@pytest.mark.slow
def test_bits_that_flip():
    assert run("bits", "--runs", 90, "--seed", 1)["runs"] == 90


def test_killed_commands_go_on():
    assert any("killed" in outcome for outcome in run("kills", "--runs", 3)["outcomes"])


@pytest.mark.slow
def test_more_killed_commands_go_on():
    assert run("kills", "--runs", 60, "--seed", 1)["runs"] == 60


@pytest.mark.slow
def test_a_call_that_fails_is_one_line_and_leaves_a_sound_store():
    outcomes = run("calls", "--runs", 90)["outcomes"]
    assert all(any(one.startswith(f"{command}, ") and "one line" in one for one in outcomes) for command in ("index", "calibrate"))


def test_power_that_goes_loses_no_decision_that_was_acknowledged():
    assert run("decisions", "--runs", 100)["runs"] in (1, 100)  # 1: strace is not here


def test_a_damaged_photo_is_read_or_told_in_one_line():
    outcomes = run("photos", "--runs", 300)["outcomes"]
    assert sum(outcomes.values()) == 300 and outcomes["JPEG: read"] and outcomes["JPEG: one line"]


@pytest.mark.slow
def test_many_damaged_photos():
    assert run("photos", "--runs", 5000, "--seed", 1)["runs"] == 5000


@pytest.mark.slow
def test_bombs_take_little():
    assert run("bombs")["runs"] == 22


def test_weights_that_mean_harm_are_refused():
    assert all("refused" in outcome for outcome in run("networks", "--runs", 16)["outcomes"])
