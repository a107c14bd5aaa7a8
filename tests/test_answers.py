"""A report as rows, as a table of pandas, as CSV and JSON, and in the terminal: one vocabulary."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console

from reid.records import Candidate, Failure, IdentityRanking, Quality, Report
from reid.records.answer import COLUMNS
from reid.report import tables

KNOWN = IdentityRanking(
    "known.jpg", (Candidate("amber", 3.25, 40, "a/1.jpg", "known.jpg"), Candidate("=basil", 1.5, 2, "b/1.jpg", "known.jpg")),
    "match", 0.0001, 0.9, 0.06, 0.04, (0.8, 0.95), 0.0123456789, 0.75, True, ("Because.",), (Quality(640, 20.0, 0.5, 0.2),),
)  # fmt: skip
BARE = IdentityRanking("bare.jpg", (Candidate("amber", 0.5, 0, "a/2.jpg", "bare.jpg"),), "new", 0.75, in_gallery=("b/2.jpg",))
FLAT = {"top": 2, "max_false_match": 0.05, "max_false_new": 0.1}
GROUPED = {"score": {"score": "joint"}, "decide": {"max_false_match": 0.05, "max_false_new": 0.1}, "top": 2}


def report(*rankings, settings=GROUPED):
    about = {"path": "turtles", "n_references": 9, "n_individuals": 3, "filter": None}
    created = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
    return Report(rankings, (Failure("bad.jpg", "empty"),), settings, "f00d", about, {"reid": "0.2"}, created)


@pytest.mark.parametrize("settings", [FLAT, GROUPED])
def test_a_setting_is_found_in_any_group(settings):
    found = report(settings=settings)
    assert (found.setting("top"), found.setting("max_false_new")) == (2, 0.1)
    with pytest.raises(KeyError):
        found.setting("nonsense")
    assert report().setting("score") == "joint"  # the setting, not its group


def test_a_table_of_pandas_has_a_row_for_each_candidate():
    frame = report(KNOWN, BARE).to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert frame["query"].tolist() == ["known.jpg", "known.jpg", "bare.jpg"]
    assert frame["rank"].tolist() == [1, 2, 1]
    assert frame["individual"].tolist() == ["amber", "=basil", "amber"]
    assert frame["probability"].isna().tolist() == [False, True, True]  # of the second only the sum of all others is known
    first = frame.iloc[0]
    assert (first["probability"], first["p_match"], first["p_match_low"], first["p_match_high"]) == (0.9, 0.9, 0.8, 0.95)
    assert (first["p_if_new"], first["p_if_known"], first["p_impostor"]) == (0.0123456789, 0.75, 0.0001)
    assert (first["verdict"], bool(first["listed"]), first["n_matches"], first["reference"]) == ("match", True, 40, "a/1.jpg")
    assert len(report(KNOWN, settings={**FLAT, "top": 1}).to_frame()) == 1
    assert tuple(report().to_frame().columns) == COLUMNS


def test_csv_has_the_same_columns():
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(report(KNOWN, BARE)).decode())))
    assert [tuple(row) for row in rows] == [COLUMNS] * 3
    assert (rows[0]["listed"], rows[0]["p_if_new"], rows[2]["listed"], rows[2]["p_new"]) == ("True", "0.012346", "", "")
    assert [row["in_gallery"] for row in rows] == ["", "", "b/2.jpg"]
    assert [row["individual"] for row in rows] == ["amber", "'=basil", "amber"]  # no formula


def test_json_of_schema_2():
    value = json.loads(tables.as_json(report(KNOWN, BARE)))
    assert value["schema"] == 2
    assert value["lists"] == {"match": {"rate": 0.05, "queries": ["known.jpg"]}, "new": {"rate": 0.1, "queries": []}}
    known, bare = value["queries"]
    assert list(known) == [
        "query", "verdict", "listed", "p_match", "p_other", "p_new", "p_match_interval", "p_if_new", "p_if_known", "p_impostor",
        "in_gallery", "because", "quality", "candidates",
    ]  # fmt: skip
    assert known["candidates"][1] == {
        "rank": 2, "individual": "=basil", "named": True, "score": 1.5, "n_matches": 2, "reference": "b/1.jpg", "photo": "known.jpg",
    }  # fmt: skip
    assert (known["listed"], known["p_match_interval"], known["quality"][0]["pixels"]) == (True, [0.8, 0.95], 640)
    assert (known["in_gallery"], bare["in_gallery"]) == ([], ["b/2.jpg"])
    assert (bare["listed"], bare["p_new"], bare["p_match_interval"], bare["p_impostor"]) == (None, None, None, 0.75)
    assert value["settings"] == {**GROUPED, "fingerprint": "f00d"}
    assert value["failures"] == [{"photo": "bad.jpg", "reason": "empty"}]


def test_the_terminal_marks_what_is_on_a_list():
    def printed(*rankings):
        text = io.StringIO()
        Console(file=text, width=150).print(tables.as_table(report(*rankings)))
        return text.getvalue()

    said = printed(KNOWN)
    assert "match *" in said and "P(match)" in said and "90.0 %" in said
    assert "of the matches at most 5.0 % are expected to be new animals" in said
    bare = printed(BARE)
    assert "P(impostor)" in bare and "75.0 %" in bare and "*" not in bare
    assert "bare.jpg =" in bare and "= in the gallery already" in bare and "already" not in said
