"""Photos that come by way of a page: what is stored where, what is refused, and that they are asked about."""

import io
import json

import pytest
from conftest import draw_animal, save
from PIL import Image
from reviewing import App

from reid.review.guard import Door
from reid.review.inbox import plain


def jpeg(identity: int, view: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw_animal(identity, view)).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture
def app(tmp_path):
    for identity in range(3):
        save(tmp_path / "gallery" / f"animal-{identity}" / "0.png", draw_animal(identity, 0))
    return App(tmp_path / "gallery")


def drop(app, name, data):
    return app.browser.post("/inbox", params={"name": name}, content=data)


def test_what_is_dropped_is_stored_in_the_gallery_and_asked_about(app, tmp_path):
    first = jpeg(1, 5)
    for name, data in (("card/DCIM/a.JPG", first), ("a.jpg", jpeg(2, 5)), ("again.jpg", first)):
        assert drop(app, name, data).status_code == 201
    assert app.desk.worker.state.finished and not app.desk.waiting()  # the drop has not ended
    done = app.browser.post("/inbox/done")
    assert "2 photos are being read" in done.text and done.headers["HX-Trigger"] == "added" and "hx-get" in done.text
    assert not app.desk.worker.state.finished
    app.desk.worker._work()
    assert sorted(task.title for task in app.desk.waiting()) == ["a-2.jpg", "a.jpg"]
    assert app.task("a.jpg").choices[0].animal == "animal-1"
    assert "No photo came" in app.browser.post("/inbox/done").text
    inbox = tmp_path / "gallery" / "reid-inbox"
    assert sorted(path.name for path in inbox.iterdir()) == ["a-2.jpg", "a.jpg"] and (inbox / "a.jpg").read_bytes() == first
    later = App(tmp_path / "gallery")  # remembers them, and takes none of them for an animal
    assert len(later.desk.waiting()) == 2 and len(later.desk.gallery.references) == 3


def test_a_folder_is_named_where_it_lies(app, tmp_path):
    photo = save(tmp_path / "today" / "known.png", draw_animal(1, 5))
    assert "1 photo is being read" in app.browser.post("/inbox/folder", data={"folder": f' "{photo.parent}" '}).text
    app.desk.worker._work()
    assert [task.title for task in app.desk.waiting()] == ["known.png"] and not (tmp_path / "gallery" / "reid-inbox").exists()
    (tmp_path / "none").mkdir()
    for folder in ("today", "", str(tmp_path / "nowhere"), str(tmp_path / "none"), "\0", "/\0", "~nobody-is-called-so/x"):
        refused = app.browser.post("/inbox/folder", data={"folder": folder})
        assert refused.status_code == 409 and "HX-Trigger" not in refused.headers and len(refused.text.splitlines()) < 4, folder
    assert json.loads((app.session.work.folder / "review" / "photos.json").read_text()) == [str(photo.parent)]
    app.door.is_local = Door("192.0.2.1", 8420).is_local
    assert app.browser.post("/inbox/folder", data={"folder": str(photo.parent)}).status_code == 403
    whole = {"HX-History-Restore-Request": "true"}
    assert 'name="folder"' not in app.browser.get("/catalogue", headers=whole).text
    app.door.is_local = True
    assert 'name="folder"' in app.browser.get("/catalogue", headers=whole).text


def test_nothing_but_photos_is_kept_and_nothing_outside_is_written(app, tmp_path, monkeypatch):
    before = sorted(tmp_path.rglob("*"))
    for name, data in (
        ("a.jpg", b"no photo"),
        ("a.jpg", b""),
        ("a.svg", b"<svg/>"),
        ("a.py", jpeg(1, 5)),
        ("", jpeg(1, 5)),
        (".jpg", jpeg(1, 5)),
    ):
        refused = drop(app, name, data)
        assert refused.status_code == 415 and ".part" not in refused.text and str(tmp_path) not in refused.text, (name, refused.text)
    monkeypatch.setattr("reid.review.inbox.MOST_BYTES", 1000)
    assert drop(app, "big.jpg", jpeg(1, 5)).status_code == 413
    assert drop(app, "big.jpg", iter([jpeg(1, 5)])).status_code == 413  # without a length
    monkeypatch.undo()
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "gallery" / "reid-inbox"])
    for number, name in enumerate(
        ("../../out.jpg", "/etc/out.jpg", "..\\..\\out.jpg", "C:\\out.jpg", "a\0b.jpg", "con/../x.jpg", "~/x.jpg")
    ):
        assert drop(app, name, jpeg(number, 3)).status_code == 201
    outside = [path for path in tmp_path.rglob("*.jpg") if path.parent != tmp_path / "gallery" / "reid-inbox"]
    assert not outside and len(list((tmp_path / "gallery" / "reid-inbox").iterdir())) == 7


def test_a_link_in_the_place_of_the_inbox_is_refused(app, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "gallery" / "reid-inbox").symlink_to(tmp_path / "elsewhere")
    assert drop(app, "a.jpg", jpeg(1, 5)).status_code == 507 and not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("IMG 1 (2).JPG", "IMG 1 (2).jpg"), ("Ж龟.jpg", "Ж龟.jpg"), ("a<b>|:*?.png", "a_b_.png"), ("...jpg", "photo.jpg"),
        ("..a. .jpg", "a.jpg"),
        ("x" * 300 + ".heic", "x" * 60 + ".heic"), ("e\u0301.jpg", "é.jpg"), ("\u202egpj.jpg", "_gpj.jpg"), ("NUL.jpg", "NUL_.jpg"),
        ("notes", "notes"),
    ],
)  # fmt: skip
def test_names_are_made_plain(name, kept):
    assert plain(name) == kept
