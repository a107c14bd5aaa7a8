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
    outcomes = run("kills", "--runs", 5)["outcomes"]
    assert {outcome.partition(":")[0] for outcome in outcomes} == {"index", "calibrate", "identify", "import", "review"}
    assert set(outcomes) - {outcome for outcome in outcomes if outcome.endswith("killed 0 times")}


@pytest.mark.slow
def test_more_killed_commands_go_on():
    outcomes = run("kills", "--runs", 36, "--seed", 1)["outcomes"]
    assert sum(outcomes.values()) == 36 and "train: killed 3 times" in outcomes


@pytest.mark.slow
def test_a_call_that_fails_is_one_line_and_leaves_a_sound_store():
    outcomes = run("calls", "--runs", 90)["outcomes"]
    assert all(any(one.startswith(f"{command}, ") and "one line" in one for one in outcomes) for command in ("index", "calibrate"))


def test_processes_on_one_gallery_all_finish_with_one_result():
    assert run("company", "--runs", 2)["runs"] == 2


@pytest.mark.slow
def test_more_processes_on_one_gallery():
    assert run("company", "--runs", 8, "--seed", 1)["runs"] == 8


def test_a_writer_that_dies_does_not_disturb_the_other():
    assert run("crashes", "--runs", 2)["runs"] == 2


@pytest.mark.slow
def test_a_writer_may_die_at_any_point():
    assert any("moved, features" in outcome for outcome in run("crashes", "--runs", 40, "--seed", 1)["outcomes"])


def test_odd_places():
    assert run("places", "--runs", 6)["runs"] == 6


@pytest.mark.slow
def test_every_command_in_every_odd_place():
    outcomes = run("places", "--runs", 90)["outcomes"]
    assert {"read-only: one line", "locked: one line", "C locale, no home: works", "paths of 300 characters: works"} <= outcomes.keys()


def test_power_that_goes_costs_the_store_work_alone():
    assert run("power", "--runs", 2)["runs"] == 2


@pytest.mark.slow
def test_power_goes_again_and_again():
    assert run("power", "--runs", 45, "--seed", 1)["runs"] == 45


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
