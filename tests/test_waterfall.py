"""Where the right animal is lost: on drawn galleries in which one is lost at each stage on purpose, and by hand on a few courses."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_animal, save
from scipy.stats import binomtest
from test_evaluate import evaluation
from test_html import HOSTILE, WORSE, Page

import reid
from reid.evaluation.circumstances import Circumstances, band
from reid.evaluation.waterfall import LOSSES, Course, Waterfall, wilson
from reid.records import Candidate, Indexed, PhotoRef, Quality, Query
from reid.report import tables
from reid.report.waterfall import Lost, as_html
from reid.settings import Settings
from reid.stages import Selection, Stage, stage
from reid.stages.match import Variant

FAST = Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=150, resize=320)
GOOD = Quality(500, 20.0, 0.5, 0.2)


@pytest.fixture
def lossy(animals):
    """Queries of animal-0, whose reference is of the same encounter; animal-1, whose reference shows the other side; animal-2, whose photo
    shows animal-3; animal-4, as it should be; and of an animal that is not there."""
    rows = [f"animal-{i}/0.png,animal-{i},gallery,{'q0' if i == 0 else i},{'right' if i == 1 else 'left'},2020-01-01" for i in range(8)]
    for number, shown in enumerate((0, 1, 3, None, 4)):
        if shown is not None:
            save(animals / f"q{number}.png", draw_animal(shown, 5))
            rows.append(f"q{number}.png,animal-{number},query,q{number},left,2022-07-01")
    save(animals / "new.png", draw_animal(77, 0))
    rows.append("new.png,nobody,query,new,left,2022-07-01")
    (animals / "metadata.csv").write_text("path,identity,split,encounter,orientation,date\n" + "\n".join(rows) + "\n")
    return animals


@pytest.mark.parametrize(
    ("changes", "n_finalists", "lost"),
    [({"shortlist": 1}, None, Stage.shortlist), ({}, 1, Stage.finalists), ({}, None, Stage.outscored)],
)
def test_an_animal_is_lost_at_the_stage_at_which_it_is_lost(lossy, monkeypatch, changes, n_finalists, lost):
    monkeypatch.setattr(reid.matchers, "n_finalists", lambda *_: n_finalists)
    with reid.open(lossy, FAST.replace(calibration_queries=0, **changes)) as opened:
        found = opened.evaluate()
    courses = {one.query_id: one for one in found.waterfall.courses}
    assert {name: one.stage for name, one in courses.items()} == {
        "q0.png": Stage.reference, "q1.png": Stage.view, "q2.png": lost, "q4.png": Stage.first
    }  # fmt: skip
    funnel = {name: (gone, left) for name, (gone, left, _) in found.waterfall.funnel().items()}
    assert funnel == dict(
        zip(
            LOSSES,
            [(1, 3), (1, 2), *((int(name == lost), 2 - (LOSSES.index(name) >= LOSSES.index(lost))) for name in LOSSES[2:])],
            strict=True,
        )
    )
    assert funnel[Stage.outscored][1] == found.figures["top1"] * found.figures["n_known"] == 1
    assert courses["q0.png"].right is None and courses["q0.png"].rank == 0
    seen_as = courses["q2.png"]
    assert seen_as.first.identity == "animal-3" and seen_as.right.reference_id == "animal-2/0.png" and seen_as.gap > 1
    assert seen_as.is_finalist == (lost == Stage.outscored)
    assert (courses["q1.png"].circumstances.view, seen_as.circumstances.view) == ("other", "same")
    assert seen_as.circumstances.pixels == 313 and seen_as.circumstances.years == pytest.approx(2.5, abs=0.01)


def test_the_terminal_the_json_and_the_page_say_where(lossy, tmp_path, call):
    words = "--extractor sift --matcher nearest --fuse none --max-keypoints 150 --resize 320 --calibration-queries 0".split()
    out = ["--stages", "--json", tmp_path / "e.json", "--report", tmp_path / "page.html"]
    status, said, errors = call("evaluate", "--gallery", lossy, *words, *out)
    assert status == 0, errors
    assert "where the right animal is lost: 4 queries of animals of the gallery" in said and "one on the shortlist" in said
    rows = {row["query"]: row for row in json.loads((tmp_path / "e.json").read_text())["stages"]["queries"]}
    assert rows["q2.png"].keys() == {
        "query", "individual", "stage", "finalist", "rank", "right", "first", "verdict", "view", "size", "quality", "years"
    }  # fmt: skip
    assert (rows["q2.png"]["stage"], rows["q2.png"]["first"]["individual"], rows["q0.png"]["right"]) == ("outscored", "animal-3", None)
    page = (tmp_path / "page.html").read_text()
    assert [name for name in ("q0.png", "q1.png", "q2.png", "q4.png") if f"<h3>{name}" in page] == ["q1.png", "q2.png"]
    assert page.index("<h3>q2.png") < page.index("<h3>q1.png")  # of the same view: one would have expected it to be found
    assert page.count("<img ") == 4
    assert "where the right animal is lost" not in call("evaluate", "--gallery", lossy, *words)[1]


def test_what_no_pipeline_looked_at_is_lost_even_where_its_name_stands_first():
    photo = Variant(Indexed(PhotoRef("q", Path("q")), "q"), [0, 1, 2, 3])

    def selection(comparable, shortlist, finalists):
        return Selection(frozenset(comparable), frozenset(shortlist), (((photo, finalists),), ((photo, shortlist),)))

    one = [selection((0, 1, 2), (0, 1), [0])]
    assert [stage(one, right, False) for right in (set(), {3}, {2, 3}, {1, 2}, {0})] == list(LOSSES)
    assert [stage(one, right, True) for right in (set(), {3}, {2, 3}, {1, 2}, {0})] == [*LOSSES[:3], Stage.first, Stage.first]
    assert stage([*one, selection((3,), (3,), [3])], {3}, False) == Stage.outscored  # one photo of an encounter is enough


def course(name, where, *, identity=None, gap=0.0, view="same", pixels=500, years=0.5, verdict="unsure", finalist=True):
    right, first = Candidate("right", 1.0, 3, "r.jpg", name), Candidate("first", 1.0 + gap, 9, "f.jpg", name)
    sides = ("left",), {"same": ("left",), "other": ("top",), "unknown": (None,)}[view]
    about = Circumstances(*sides, years, None, (replace(GOOD, pixels=pixels),))
    return Course(name, identity or name, where, finalist, 2, None if where == Stage.reference else right, first, about, verdict)


COURSES = Waterfall((
    course("a", Stage.first, verdict="match"), course("b", Stage.first, finalist=False), course("c", Stage.reference, years=None),
    course("d", Stage.view, view="other", pixels=100), course("e", Stage.outscored, gap=2, years=7, identity="d"),
    course("f", Stage.outscored, gap=1, view="unknown"), course("g", Stage.finalists, gap=5, pixels=399),
    course("h", Stage.shortlist, gap=3),
))  # fmt: skip


def test_the_numbers_add_up():
    assert [(lost, left) for lost, left, _ in COURSES.funnel().values()] == [(1, 7), (1, 6), (1, 5), (1, 4), (2, 2)]
    assert COURSES.funnel()[Stage.outscored][2] == pytest.approx(wilson(2 / 8, 7))  # d and e are one animal
    for values in COURSES.groups().values():
        assert sum(row.n for row in values.values()) == 8
        assert all(sum(row.lost.values()) + row.first == row.n for row in values.values())
    groups = COURSES.groups()
    assert {value: row.n for value, row in groups["size"].items()} == {"under 250 px": 1, "250 to 400 px": 1, "400 px or more": 6}
    assert list(groups["size"]) == ["under 250 px", "250 to 400 px", "400 px or more"]
    assert list(groups["years"]) == ["under 1 year", "3 years or more", "unknown"]
    assert (groups["view"]["unknown"].n, groups["photo"]["good"].n) == (1, 7)
    assert COURSES.verdicts() == {"match": 1, "unsure": 1} and COURSES.n_seen_by_others == 1
    assert [one.query_id for one in COURSES.worst(3)] == ["g", "h", "e"] and len(COURSES.worst(20)) == 5
    value = json.loads(json.dumps(COURSES.as_json()))
    assert value["funnel"]["outscored"]["left"] == 2 and len(value["queries"]) == len(COURSES.to_frame()) == 8
    empty = Waterfall()
    assert empty.groups() == {} and json.dumps(empty.as_json()) and tables.of_waterfall(empty)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 7), (40, 90)])
def test_intervals_are_wilsons(k, n):
    assert wilson(k / n, n) == pytest.approx(tuple(binomtest(k, n).proportion_ci(method="wilson")), abs=1e-6)


def test_views_years_and_bands():
    def of(query_sides, sides, dates=()):
        photos = tuple(Indexed(PhotoRef("q", Path("gone"), "a", side, date=date(2024, 1, 1)), "q") for side in query_sides)
        return Circumstances.of(Query("q", photos), [PhotoRef("r", Path("r"), "a", side, date=day) for side, day in zip(sides, dates)])

    day = [date(2023, 12, 31)]
    assert of(["left"], ["left"], day).view == "same"
    assert of(["left", "top"], ["top", "right"], day * 2).view == "same"
    assert of(["left"], ["top"], day).view == "other"
    assert of(["left"], [None], day).view == of([None], [None], day).view == of([None], ["left"], day).view == "unknown"
    near = of(["left"], ["left"] * 3, [date(2014, 1, 1), date(2023, 12, 31), None])
    assert near.years == pytest.approx(1 / 365.25) and near.years_since == 1 and near.pixels is None and near.photo == "unknown"
    assert [band(value, (250, 400), "px") for value in (249, 250, 399, 400, None)] == [
        "under 250 px", "250 to 400 px", "250 to 400 px", "400 px or more", "unknown"
    ]  # fmt: skip


def test_names_from_outside_stay_text():
    hostile = course(HOSTILE, Stage.outscored, identity=WORSE, gap=1)
    hostile = replace(hostile, first=replace(hostile.first, identity=WORSE, reference_id=HOSTILE))
    picture = np.zeros((40, 90, 3), np.uint8)
    found = replace(evaluation(), waterfall=Waterfall((hostile,)))
    text = as_html(found, WORSE, [Lost(hostile, picture, picture)])
    page = Page(text)
    assert not page.all("script") and len(page.all("img")) == 2
    assert all(attrs.get("src", "data:").startswith("data:") and "onerror" not in attrs for _, attrs in page.tags)
    assert page.text.count(HOSTILE) >= 2 and page.text.count(WORSE) >= 3
