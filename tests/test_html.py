"""The page is taken apart by Python's own HTML parser, its pictures by Pillow, and looked at by a browser where there is one."""

import base64
import html
import io
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from reid.records import Candidate, Failure, Health, IdentityRanking, Mislabel, Report, Twins
from reid.report.html import BEST, GRID, HIGH, LEFT, MOST, OTHER, TOP, WIDE, Exhibit, as_html, cumulative
from reid.scoring import ImpostorDistribution

IMPOSTORS = ImpostorDistribution(np.linspace(0, 0.5, 11), np.linspace(0, 0.5, 11))
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
SETTINGS = {"extract": {"extractor": "sift"}, "decide": {"max_false_match": 0.05, "max_false_new": 0.1}, "top": 5}
SETTINGS["score"] = {"encounters": False}
HOSTILE = "<script>alert(1)</script>\"'.jpg"
WORSE = '"><img onerror=alert(2) src=http://elsewhere.example/x>'


def candidates(*names):
    return tuple(Candidate(name, 0.4 - 0.1 * rank, 100 - 10 * rank, f"turtles/{name}/1.jpg") for rank, name in enumerate(names))


def ranking(query, verdict, p_impostor, *names, p=None, **more):
    three = dict(zip(("p_match", "p_other", "p_new"), p)) if p else {}
    more = ({"listed": False} if p else {}) | more
    return IdentityRanking(query, candidates(*names), verdict, p_impostor, **three, **more)


def report(*rankings, **more):
    about = {"path": "some/turtles", "n_references": 40, "n_individuals": 7, "filter": None, "impostors": "gallery"}
    created = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
    given = {
        "failures": (),
        "settings": SETTINGS,
        "fingerprint": "0123456789abcdef",
        "gallery": about,
    } | more
    return Report(rankings, versions={"reid": "0.1.0"}, created=created, **given)


def exhibits(*rankings, shape=(534, 1292, 3)):
    picture = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    return {one.query_id: [Exhibit(candidate, picture, np.array([0.9, 0.2]), 4) for candidate in one.candidates] for one in rankings}


KNOWN = ranking("known.jpg", "match", 0.001, "amber", "basil", p=(0.9, 0.0999, 0.0001), p_match_interval=(0.82, 0.94))
NEW = ranking("new.jpg", "new", 0.8, "cedar", p=(0.05, 0.05, 0.9), because=("Few marks match.",))
ODD = ranking("odd.jpg", "odd", 0.2, "dune", p=(0.3, 0.3, 0.4))
MISLABEL = Mislabel("turtles/elm/1.jpg", "elm", -0.01, candidates("fern")[0])
HEALTH = Health(("lonely",), (MISLABEL,), (Twins(("gull", "hazel"), ("g.jpg", "h.jpg"), 1.0),), 40)


class Page(HTMLParser):
    """Every tag with its attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._skip = [], [], False
        self.feed(text)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._skip = tag == "style"

    def handle_data(self, data):
        if not self._skip:
            self.words.append(data)

    def handle_endtag(self, tag):
        self._skip = False

    def all(self, wanted):
        return [attrs for tag, attrs in self.tags if tag == wanted]


def in_order(text, *words):
    places = [text.index(word) for word in words]
    assert places == sorted(places), dict(zip(words, places))


def test_everything_stands_on_the_page_in_its_order():
    failed = report(KNOWN, NEW, ODD, failures=(Failure("bad.jpg", "bad.jpg is empty"),))
    page = Page(as_html(failed, exhibits(KNOWN, NEW, ODD), IMPOSTORS, HEALTH))
    in_order(
        page.text, "Known or new: turtles", "3 photos compared with 40 photos of 7 individuals", "21 November 2026, 10:00 UTC",
        "1 match", "0 unsure", "1 new", "1 odd", "Show", "Lines join", "Few marks match.", "The labels of 40 calibration queries",
        "turtles/elm/1.jpg", "−0.010", "fern", "gull and hazel", "lonely",
        "bad.jpg is empty", "0123456789abcdef", "max_false_new",
    )  # fmt: skip
    assert "between 82.0 % and 94.0 %" in page.text
    axes = re.compile(r"(0|25|50|75|100) %")
    shown = [word for word in page.words if re.search(r"(?<![\d.])(0|0\.0|100|100\.0) %", word) and not axes.fullmatch(word)]
    assert not shown, "a bare 0 or 100 %"
    assert "< 0.1 %" in page.text and "> 99.9 %" in page.text
    assert "calibrated" not in page.text


def test_the_likeliest_to_be_new_come_first_and_every_row_leads_to_its_section():
    page = Page(as_html(report(KNOWN, ODD, NEW, failures=(Failure("bad.jpg", "empty"),)), {}, IMPOSTORS, HEALTH))
    rows, sections = page.text.split("Photo by photo")[-2:]
    in_order(rows, "new.jpg", "odd.jpg", "known.jpg")
    in_order(sections, "new.jpg", "odd.jpg", "known.jpg")
    links = [one["href"] for one in page.all("a")]
    named = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {"#q1", "#q2", "#q3", "#health", "#failures", "#settings"} <= set(links)
    assert {link.removeprefix("#") for link in links} <= named


def test_a_report_without_calibration_says_so_and_sorts_by_impostors():
    plain = [ranking("b.jpg", "match", 0.001, "amber"), ranking("a.jpg", "new", 0.7, "basil"), ranking("c.jpg", "new", 0.7, "cedar")]
    page = Page(as_html(report(*plain), {}, IMPOSTORS))
    assert "No calibrated probabilities." in page.text
    assert "an animal never seen" not in page.text
    in_order(page.text.split("Best individual")[1], "a.jpg", "c.jpg", "b.jpg")
    mixed = Page(as_html(report(plain[1], KNOWN), {}, IMPOSTORS))
    assert "Some photos have no calibrated probabilities." in mixed.text
    in_order(mixed.text.split("Best individual")[1], "known.jpg", "a.jpg")


def test_both_lists_stand_above_the_table_and_their_photos_are_marked():
    many = [ranking(f"{n}.jpg", verdict, 0.5, "amber", p=(0.1, 0.1, 0.8), listed=listed) for n, (verdict, listed) in enumerate(
        [("match", True), ("new", True), ("match", False), ("new", True), ("unsure", False)])]  # fmt: skip
    page = Page(as_html(report(*many), {}, IMPOSTORS))
    assert "1 photo makes a list of matches of which at most 5.0 % are expected to be new animals" in page.text
    assert "2 photos make a list of new animals of which at most 10.0 % are expected to be known ones" in page.text
    assert "marked *): 0.jpg." in page.text and "marked *): 1.jpg, 3.jpg." in page.text
    assert len([attrs for attrs in page.all("b") if attrs.get("title") == "on the list"]) == 3
    assert page.text.count("on the list of matches") == 1 and page.text.count("on the list of new animals") == 2
    none = Page(as_html(report(*many[2:3]), {}, IMPOSTORS)).text
    assert "No list of matches can be made" in none and "No list of new animals can be made" in none
    assert "Benjamini" not in Page(as_html(report(ranking("a.jpg", "new", 0.7, "basil")), {}, IMPOSTORS)).text  # nothing is calibrated


def test_twins_that_the_calibration_left_out_are_named():
    about = {
        "path": "x",
        "n_references": 9,
        "n_individuals": 3,
        "calibration": {"twins_left_out": [["ann", "nan"]], "notes": ["Look out."]},
    }
    page = Page(as_html(report(NEW, gallery=about), {}, IMPOSTORS, HEALTH))
    assert "each, and the calibration does not take them for new animals: ann and nan." in page.text
    assert "Look out." in page.text


def test_a_borrowed_distribution_is_named():
    assert "judged by drawn turtles" in Page(as_html(report(NEW), {}, replace(IMPOSTORS, source="drawn turtles"))).text


def test_nothing_from_outside_becomes_markup():
    query = ranking(HOSTILE, "new", 0.5, WORSE, p=(0.1, 0.1, 0.8), because=(WORSE,))
    health = Health((WORSE,), (Mislabel(HOSTILE, WORSE, 0.1, candidates(WORSE)[0]),), (Twins((WORSE, WORSE), (HOSTILE, HOSTILE), 0.5),), 1)
    about = {"path": f"x/{HOSTILE.replace('/', '')}", "n_references": 1, "n_individuals": 1, "filter": WORSE, "impostors": WORSE}
    about["calibration"] = {"twins_left_out": [[WORSE, HOSTILE]], "notes": [WORSE]}
    outside = report(query, gallery=about, failures=(Failure(HOSTILE, WORSE),), settings={WORSE: HOSTILE, **SETTINGS}, fingerprint=WORSE)
    text = as_html(outside, exhibits(query), replace(IMPOSTORS, source=WORSE), health)
    page = Page(text)
    tame = Page(as_html(report(NEW, failures=(Failure("a", "b"),)), exhibits(NEW), IMPOSTORS, HEALTH))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in tame.tags}
    assert not page.all("script")
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert HOSTILE in page.text and WORSE in page.text  # shown as it is, not dropped
    assert page.all("img")[0]["alt"].startswith(f"Matching marks of {HOSTILE} and turtles/{WORSE}")
    assert "<title>" + html.escape(WORSE, quote=False).replace('"', "&#34;") in text  # of a curve


def test_the_page_loads_nothing():
    text = as_html(report(KNOWN, NEW), exhibits(KNOWN, NEW), IMPOSTORS, HEALTH)
    assert "http://" not in text and "https://" not in text
    assert all(source.startswith('"data:image/jpeg;base64,') for source in re.findall(r"\bsrc=(.{30})", text))
    assert not re.search(r"url\(|@import|<link|<script|<iframe|srcset", text)
    assert all(href.startswith("#") for href in re.findall(r'href="([^"]*)', text))
    assert "default-src 'none'" in Page(text).all("meta")[1]["content"]


def test_pictures_are_jpegs_that_open_and_no_wider_than_they_are_shown():
    many = ranking("many.jpg", "match", 0.001, *"abcdefg")
    page = Page(as_html(report(many), exhibits(many), IMPOSTORS))
    pictures = []
    for one in page.all("img"):
        kind, _, data = one["src"].partition(",")
        picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        picture.load()
        assert (kind, picture.format, (one["width"], one["height"])) == ("data:image/jpeg;base64", "JPEG", tuple(map(str, picture.size)))
        assert (one["loading"], one["decoding"]) == ("lazy", "async")
        pictures.append(picture.size)
    assert pictures == [(BEST[0], 413)] + [(OTHER[0], 231)] * (MOST - 1)
    small = Page(as_html(report(NEW), exhibits(NEW, shape=(53, 31, 3)), IMPOSTORS))
    assert [(one["width"], one["height"]) for one in small.all("img")] == [("31", "53")]  # never enlarged
    nothing = {"new.jpg": [replace(exhibits(NEW)["new.jpg"][0], picture=None)]}
    assert "No picture could be drawn." in Page(as_html(report(NEW), nothing, IMPOSTORS)).text


def test_a_mapping_may_draw_when_it_is_asked():
    asked = []

    class Drawn(Mapping):
        def __getitem__(self, query_id):
            asked.append(query_id)
            return exhibits(KNOWN, NEW)[query_id]

        def __iter__(self):
            raise AssertionError("all of them at once")

        __len__ = __iter__

    assert as_html(report(KNOWN, NEW), Drawn(), IMPOSTORS) == as_html(report(KNOWN, NEW), exhibits(KNOWN, NEW), IMPOSTORS)
    assert asked == ["new.jpg", "known.jpg"]


def test_cumulative_curves_by_hand():
    at = {round(float(x), 3): number for number, x in enumerate(GRID)}
    shares = cumulative(np.array([0.9, 0.2, 0.2]), 4)  # one keypoint of four has no match
    assert [shares[at[x]] for x in (0.0, 0.195, 0.2, 0.895, 0.9, 1.0)] == [0.25, 0.25, 0.75, 0.75, 1, 1]
    assert (cumulative(np.zeros(0), 3) == 1).all()


def test_the_figure_draws_those_curves():
    text = as_html(report(NEW), exhibits(NEW), IMPOSTORS)
    curves = dict(re.findall(r'<polyline class="curve (\w+)" points="([^"]*)"', text))
    drawn = {kind: np.array([point.split(",") for point in points.split()], float) for kind, points in curves.items()}
    assert drawn.keys() == {"rank1", "impostors"}
    for kind, shares in (("rank1", cumulative(np.array([0.9, 0.2]), 4)), ("impostors", cumulative(IMPOSTORS.all_keypoints, 11))):
        assert np.allclose(drawn[kind], np.stack([LEFT + WIDE * GRID, TOP + HIGH * (1 - shares)], axis=1), atol=0.06)
    assert tuple(drawn["rank1"][0]) == (LEFT, TOP + HIGH / 2)  # two of four match at all
    assert re.findall(r'class="curve (\w+)" d="M0 5H26"/></svg>([\w ]+)</li>', text) == [
        ("rank1", "cedar"),
        ("impostors", "different animals"),
    ]


def test_a_report_of_nothing_is_a_page_too():
    page = Page(as_html(report(failures=(Failure("a.jpg", "a.jpg is empty"),)), {}, IMPOSTORS))
    assert "No photo was compared." in page.text and "a.jpg is empty" in page.text
    assert "calibrated" not in page.text
    nobody = IdentityRanking("nobody.jpg", (), "unsure", 0.5)
    assert "nobody.jpg" in Page(as_html(report(nobody), {}, IMPOSTORS, Health((), (), (), 0))).text


FRAME = """<iframe width="390" height="800" style="border:0" srcdoc="{page}"></iframe><pre></pre><script>
onload = () => {{
  const inner = document.querySelector("iframe").contentDocument, root = inner.documentElement, seen = {{}};
  inner.querySelectorAll("details").forEach(one => one.open = true);
  seen.images = [...inner.images].map(one => one.complete && one.naturalWidth > 0);
  seen.over = root.scrollWidth - root.clientWidth;
  seen.rows = [...inner.querySelectorAll("tr.row")].map(one => getComputedStyle(one).display);
  inner.getElementById("only-new").click();
  seen.left = [...inner.querySelectorAll("article")].filter(one => getComputedStyle(one).display != "none").length;
  document.querySelector("pre").textContent = JSON.stringify(seen);
}};
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_it_on_a_phone(tmp_path):
    long = ranking("2024-07-12_" + "verylongname" * 12 + ".jpg", "match", 0.001, "W" * 60, "basil", p=(0.9, 0.05, 0.05))
    health = replace(HEALTH, single_encounter=("X" * 90,), twins=(Twins(("Y" * 90, "Z" * 90), ("y" * 90, "z" * 90), 0.5),))
    failed = report(long, NEW, failures=(Failure("f" * 90, "e" * 90),))
    page = as_html(failed, exhibits(long, NEW), IMPOSTORS, health).replace(
        'loading="lazy"', ""
    )  # what is there when the frame has loaded, not when it scrolls
    path = tmp_path / "frame.html"
    path.write_text(FRAME.format(page=html.escape(page)))
    options = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking"
    words = [BROWSER, *options.split(), "--enable-logging=stderr", "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert "CONSOLE" not in done.stderr
    seen = json.loads(html.unescape(re.findall(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)[-1]))
    assert seen == {"images": [True] * 3, "over": 0, "rows": ["grid", "grid"], "left": 1}
