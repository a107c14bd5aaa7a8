"""What the pages of the review app show, through its routes, on drawn animals."""

import io
import re
from datetime import date
from types import SimpleNamespace

import numpy as np
from conftest import draw_animal, save
from PIL import Image
from reviewing import FAST, App

import reid
from reid.records import PhotoRef
from reid.review import tasks
from reid.review.book import Card
from reid.review.drawings import Seen, chart, timeline
from reid.review.filters import Filters
from reid.review.pictures import Size, outline, picture, shown_size


def test_pages_show_what_the_log_says_now(app):
    task = app.task("known.png")
    app.answer(task, "same")
    animal = app.browser.get(f"/animals/{tasks.opaque('animal', 'animal-3')}").text
    assert "In review" in animal and "2024-01-04" in animal and "3</dd>" in animal and "same animal" in animal
    history = app.browser.get("/history").text
    assert "known.png, animal-3/" in history and "zoe" in history
    assert app.browser.post("/history/1/undo").status_code == 200 and app.animal_of(task) is None
    assert "taken back already" in app.browser.post("/history/1/undo").text
    assert 'class="undone"' in app.browser.get("/history").text
    assert app.browser.get("/animals/0123456789abcdef").status_code == 404


def test_filters_take_a_part_of_the_catalogue(app):
    def cards(**columns):
        return Card("1", PhotoRef("a", None, **{"columns": {}, **columns}), None, columns.get("identity"))

    many = [
        cards(identity="Ann", orientation="left", date=date(2024, 1, 2), columns={"site": "Reef"}),
        cards(identity="Ann", orientation="right", date=date(2024, 3, 2), columns={"site": "Reef"}), cards(date=date(2025, 1, 1)), cards(),
    ]  # fmt: skip
    for filters, n in (
        ({}, 4), ({"animal": "an"}, 2), ({"site": "Reef", "side": "left"}, 1), ({"since": "2024-02-01"}, 2), ({"until": "2024-12-31"}, 2),
        ({"show": "unnamed"}, 2), ({"show": "animals"}, 1), ({"show": "asked"}, 0),
    ):  # fmt: skip
        assert len(Filters(**filters).of(many)) == n, filters
    page = app.browser.get("/catalogue?animal=animal-3&since=2024-02-01").text
    assert page.count("<figure") == 1 and "1 of 12 photos · 1 animal" in page
    assert "Nothing fits" in app.browser.get("/catalogue?animal=zzz").text
    bookmark = app.browser.get("/catalogue?show=new")  # which an earlier version had
    assert bookmark.status_code == 200 and bookmark.text == app.browser.get("/catalogue").text


def test_the_catalogue_comes_in_batches(app, monkeypatch):
    monkeypatch.setattr("reid.review.browsing.BATCH", 5)
    page, seen = app.browser.get("/catalogue?side=left").text, []
    while True:
        seen += re.findall(r'src="/photos/(\w+)/small"', page)
        more = re.search(r'hx-get="(/catalogue/more[^"]*)" hx-trigger="intersect once"', page)
        if more is None:
            break
        page = app.browser.get(more[1].replace("&amp;", "&")).text
    assert len(seen) == len(set(seen)) == 10


def test_a_long_and_thin_photo_has_pictures_of_both_sizes(app, tmp_path):
    whole = save(tmp_path / "thin.png", draw_animal(1, 0, (2000, 150)))
    work = app.session.work
    for crop, small, large in ((None, (280, 21), (1600, 120)), ((0, 10, 1000, 32), (280, 9), (1000, 32))):
        ref = PhotoRef("thin", whole, crop=crop)
        sizes = [Image.open(io.BytesIO(picture(ref, size, work))).size for size in (Size.SMALL, Size.LARGE)]
        assert sizes == [small, large] and shown_size(ref, work) == large


def test_pictures_are_cropped_upright_and_without_headers(app, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "secret maker"
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[:, 200:] = 255
    path = save(tmp_path / "a.jpg", pixels, exif=exif)  # upright: 300 wide, 400 high, white below
    for ref, size in ((PhotoRef("a", path), (300, 400)), (PhotoRef("a", path, crop=(0.0, 210.0, 300.0, 100.0)), (300, 100))):
        data = picture(ref, Size.LARGE, app.session.work)
        image = Image.open(io.BytesIO(data))
        assert image.format == "JPEG" and image.size == size == shown_size(ref, app.session.work) and not image.getexif()
        assert b"secret" not in data and np.asarray(image)[-1].mean() > 250
        assert max(Image.open(io.BytesIO(picture(ref, Size.SMALL, app.session.work))).size) == 280
    path.write_bytes(b"no photo")
    assert app.browser.get("/photos/0123456789abcdef/small").status_code == 404


def test_marks_lie_where_they_are_seen(app, tmp_path):
    """Of a photo and its mirror image, compared mirrored: the same height, and sides exchanged."""
    save(tmp_path / "g" / "a" / "1.png", draw_animal(1, 0))
    other = save(tmp_path / "q.png", np.ascontiguousarray(draw_animal(1, 0)[:, ::-1]))
    with reid.open(tmp_path / "g", FAST.replace(mirror=True, sides="all")) as session:
        from reid.review.pairs import _marks

        found = _marks(SimpleNamespace(session=session), session._item(other), session.references[0], None)
    query, reference = (np.array(points) for points in found["points"])
    assert found["mirrored"] and len(query) > 20
    assert np.median(np.abs(query[:, 0] - (1 - reference[:, 0]))) < 0.01 and np.median(np.abs(query[:, 1] - reference[:, 1])) < 0.01
    assert found["said"].endswith("(sift + nearest)") and max(found["confidence"]) <= 1


def test_the_contour_lies_where_the_animal_is_in_the_picture(app, tmp_path, monkeypatch):
    """Of the table's mask, in a photo that is cut to a box; of a photo in which nothing can be made out there is none."""
    path = save(tmp_path / "a.png", np.full((300, 400, 3), 200, np.uint8))
    mask = "[[100, 100, 300, 100, 300, 200, 100, 200]]"
    [found], said = outline(PhotoRef("a", path, crop=(0.0, 100.0, 400.0, 200.0), mask=mask), app.session.work)
    np.testing.assert_allclose([np.min(found, axis=0), np.max(found, axis=0)], [(0.25, 0), (0.75, 0.5)], atol=0.01)
    assert said == "the animal is 25 % of the photo"
    card = next(iter(app.desk.book().cards))
    assert app.browser.get(f"/outlines/{card}").json()["polygons"] and app.browser.get("/outlines/0123456789abcdef").status_code == 404
    page = app.browser.get(f"/review/{app.task('known.png').id}").text
    assert len(re.findall('data-outline="/outlines/[0-9a-f]{16}"', page)) == 2 and 'data-key="c"' in page
    monkeypatch.setattr("reid.extractors.segmenter", lambda device: SimpleNamespace(foreground=lambda pixels: None))
    assert outline(PhotoRef("a", path), app.session.work) == ([], "no animal can be made out, so the whole photo is used")
    whole = App(app.session.root, settings=FAST.replace(segment=False))
    assert outline(PhotoRef("a", path), whole.session.work) == ([], "the whole photo is used")


def test_drawings_of_when_and_where():
    seen = [Seen(date(2019, 7, 1), ("left", "right"), "one"), Seen(date(2021, 1, 1), (), "two & <b>", (12.1, -68.3))]
    drawn = str(timeline(seen))
    assert drawn.count("<circle") == 3 and "two &amp; &lt;b&gt;" in drawn and ">2020<" in drawn and "no side" in drawn
    assert timeline([]) is None and chart(seen[:1]) is None and str(chart(seen)).count("<circle") == 1
    far = [Seen(date(2020, 1, 1), (), "a", (10.0, 20.0)), Seen(date(2020, 1, 2), (), "b", (10.0, 21.0))]
    xs = [float(x) for x in re.findall(r'cx="([\d.]+)"', str(chart(far)))]
    assert xs[0] < xs[1] and "50 km" in str(chart(far))
    assert "0.05 km" not in str(chart(seen)) and re.search(r"\d+ k?m<", str(chart(seen)))


def test_an_empty_gallery_and_one_photo_have_pages(tmp_path):
    (tmp_path / "none").mkdir()
    app = App(tmp_path / "none")
    for page in ("/", "/review", "/catalogue", "/health", "/history", "/agreement"):
        assert app.browser.get(page).status_code in (200, 303), page
    assert "The gallery is empty" in app.browser.get("/catalogue").text
    save(tmp_path / "one" / "amber" / "1.png", draw_animal(1, 0))
    app = App(tmp_path / "one", save(tmp_path / "q.png", draw_animal(1, 1)))
    assert [len(task.choices) for task in app.desk.tasks()] == [1]


def test_health_says_what_it_waits_for(app):
    app.desk.worker.is_ready = False
    app.desk.worker.progress.change(said="photos checked", finished=False)
    page = app.browser.get("/health").text
    assert "looked up once the gallery is ready" in page and "Doubtful labels are looked for once the gallery is ready" in page


def test_who_has_no_link_is_told_where_to_find_one(app):
    answer = app.another().get("/review", headers={"Accept": "text/html"})
    assert answer.status_code == 401 and "/static/app.css" in answer.text and "the last line in the terminal" in answer.text
    assert app.desk.name not in answer.text and app.door.csrf not in answer.text
