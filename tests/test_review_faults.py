"""What the review app once got wrong between two observers, and with what it does not hold."""

import os
import re
import sys

import pytest
from conftest import draw_animal, save
from reviewing import App

from reid.catalogue import DecisionLog, Kind, PhotoKey
from reid.errors import StoreError
from reid.review.guard import Door
from reid.review.tasks import Topic, opaque


@pytest.fixture
def folder(tmp_path):
    for identity in range(3):
        save(tmp_path / "gallery" / f"animal-{identity}" / "0.png", draw_animal(identity, 0))
    save(tmp_path / "photos" / "known.png", draw_animal(1, 5))
    return tmp_path


def pages(app, *names):
    every = ["/catalogue", "/health", "/history", "/agreement", *(f"/animals/{opaque('animal', name)}" for name in names)]
    every += [f"/encounters/{opaque('encounter', name)}" for name in app.desk.book().encounters]
    found = {path: app.browser.get(path) for path in every}
    return {path: answer.text for path, answer in found.items() if answer.status_code == 200}


def test_who_judges_blind_sees_nothing_that_others_have_said(folder):
    app = App(folder / "gallery", folder / "photos")
    app.answer(app.task("known.png"), "same")
    first = app.desk.gallery.references[0]
    app.desk.log.append(Kind.NAME, [app.session.key(first)], observer="zoe", value="Zora")
    app.desk.log.append(Kind.SIDE, [app.session.key(first)], observer="zoe", value="belly")
    blind = App(folder / "gallery", observer="ben", blind=True)
    for path, text in pages(blind, "animal-0", "animal-1", "Zora").items():
        assert not [word for word in ("zoe", "Zora", "belly", "same animal") if word in text], path
    catalogue = blind.browser.get("/catalogue").text
    assert catalogue.count("<strong>animal-0") == 1 and catalogue.count("<strong>animal-1") == 1 and "<strong>unnamed" in catalogue
    [task] = blind.desk.waiting()
    blind.answer(task, "same")
    assert blind.desk.book().of_photo[task.photos[0].digest].animal == "animal-1"  # their own word counts for them
    assert "ben" in blind.browser.get("/agreement").text


def test_an_answer_that_cannot_be_written_leaves_the_one_that_it_replaces(folder, monkeypatch):
    app = App(folder / "gallery", folder / "photos")
    task = app.task("known.png")
    app.answer(task, "different")
    before = app.desk.log.history()

    def full(*args, **options):
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(app.desk.log, "append", full)
        assert app.answer(task, "same").status_code == 500
    assert app.desk.log.history() == before
    assert app.answer(task, "same").status_code == 200
    assert [one.kind for one in app.desk.log.effective()] == ["same"]


def test_two_blind_answers_join_no_animals_that_have_names(folder):
    app = App(folder / "gallery", folder / "photos")
    keys = [app.session.key(ref) for ref in app.desk.gallery.references[:2]]
    app.desk.log.append(Kind.CANNOT_TELL, keys, observer="zoe")
    for observer in ("ben", "mia"):
        blind = App(folder / "gallery", observer=observer, blind=True)
        [task] = blind.desk.waiting()
        blind.answer(task, "same")
    app = App(folder / "gallery", folder / "photos")
    assert {"animal-0", "animal-1"} <= set(app.desk.book().animals) and not app.desk.book().contradictions
    task = app.desk.waiting()[0]
    assert task.topic is Topic.TWINS and task.title == "animal-0 and animal-1" and "blind" in task.because[0]
    app.answer(task, "same")
    assert len({"animal-0", "animal-1"} & set(app.desk.book().animals)) == 1 and task.id not in {one.id for one in app.desk.waiting()}
    app.browser.post("/undo")
    assert app.desk.waiting()[0].id == task.id
    app.answer(task, "different")
    assert {"animal-0", "animal-1"} <= set(app.desk.book().animals)


def test_a_blind_answer_still_names_what_has_no_name(folder):
    app = App(folder / "gallery", folder / "photos")
    task = app.task("known.png")
    app.answer(task, "cannot_tell")
    blind = App(folder / "gallery", observer="ben", blind=True)
    blind.answer(blind.desk.waiting()[0], "same")
    assert app.animal_of(task) == task.choices[0].animal


def test_the_cookies_of_two_apps_are_two():
    cookies = {Door("127.0.0.1", port).exchange(door.link().split("#")[1]) for port in (1, 2) for door in [Door("127.0.0.1", port)]}
    assert cookies == {None}  # a code is of one door
    names = {re.match("[^=]+", str(door.exchange(door.link().split("#")[1])))[0] for door in (Door("127.0.0.1", 1), Door("127.0.0.1", 2))}
    assert len(names) == 2


def test_an_empty_gallery_says_how_to_fill_it(tmp_path):
    (tmp_path / "none").mkdir()
    app = App(tmp_path / "none")
    for page in ("/review", "/catalogue", "/health"):
        text = app.browser.get(page).text
        assert "reid import card/ --gallery none --copy" in text and "Undo" not in text and "calibrate" not in text, page
    assert "Undo" not in app.browser.get("/history").text and "the work has stopped" not in app.browser.get("/progress").text


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode")
def test_names_that_are_no_unicode_are_shown_on_every_page(folder):
    gallery = folder / os.fsdecode(b"caf\xe9")
    (folder / "gallery").rename(gallery)
    for broken in (gallery / "animal-0", folder / "photos"):
        (broken / os.fsdecode(b"br\xf6ken.png")).write_bytes(b"no photo")
    app = App(gallery, folder / "photos")
    assert r"<title>Catalogue · caf\udce9" in app.browser.get("/catalogue").text
    assert app.browser.get("/health").text.count(r"br\udcf6ken.png") == 2 and app.browser.get("/review").status_code == 200
    (empty := folder / os.fsdecode(b"\xe9")).mkdir()
    assert r"\udce9 holds no photos" in App(empty).browser.get("/review").text


def test_a_log_that_others_have_begun_is_no_surprise(tmp_path):
    """Two writers make the first decision at once: one file, both decisions."""
    logs = [DecisionLog(tmp_path), DecisionLog(tmp_path)]
    for log in logs:
        log._create()
    for log in logs:
        log.append(Kind.NEW, [PhotoKey("a", "a")], observer="zoe")
    assert len(logs[0].history()) == 2 and sorted(path.name for path in tmp_path.iterdir()) == ["decisions.sqlite"]
