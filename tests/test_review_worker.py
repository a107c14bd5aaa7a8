"""What the review app does behind its pages: which photos are matched, what fails, how far it is."""

import os
import shutil
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import draw_animal, save
from reviewing import BASE, FAST, App, five_animals, forget
from starlette.testclient import TestClient

import reid
from reid.catalogue import DecisionLog, Kind
from reid.errors import GalleryError, StoreError
from reid.review.worker import NICER, Progress, Worker


def test_what_stops_the_worker_is_told(tmp_path):
    from reid.review.desk import Desk

    save(tmp_path / "g" / "amber" / "1.png", np.zeros((8, 8, 3), np.uint8))
    progress = Progress()
    desk = Desk(reid.open(tmp_path / "g", FAST, listener=progress), progress, observer="zoe")
    desk.worker.start()
    deadline = time.monotonic() + 600  # the thread stands back, and others may want every processor
    while not desk.worker.state.finished and time.monotonic() < deadline:
        time.sleep(0.02)
    desk.worker.stop(600)
    assert not desk.worker._thread.is_alive()
    assert desk.worker.state.finished and "no photo of the gallery could be used" in desk.worker.state.error


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_the_worker_stands_back_behind_requests(tmp_path):
    worker = Worker(SimpleNamespace(ready=threading.Event().wait), Progress(), lambda *_: None, lambda _: False, lambda: None)
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    worker.start()
    deadline, there = time.monotonic() + 60, here
    while there == here and time.monotonic() < deadline:
        there = os.getpriority(os.PRIO_PROCESS, worker._thread.native_id)
    assert there == min(19, here + NICER) and os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == here


def test_the_command_refuses_an_open_network(animals, call):
    status, _, error = call("review", "--gallery", animals, "--host", "192.0.2.1", "--no-browser")
    assert status == 2 and "--without-tls" in error and not DecisionLog(animals).path.exists()


def test_the_command_refuses_photos_that_are_not_there(animals, call, monkeypatch):
    monkeypatch.setattr("reid.review.serve.serve", lambda *_, **__: pytest.fail("it was served"))
    status, _, error = call("review", animals / "crads", "--gallery", animals, "--no-browser")
    assert status == 2 and "no photo to identify: there is no " in error and "crads" in error
    assert not (animals / ".reid" / "review" / "photos.json").exists()


def test_a_step_says_how_long_it_still_takes(app, monkeypatch):
    progress, now = app.desk.worker.progress, [100.0]
    monkeypatch.setattr("reid.review.worker.time", SimpleNamespace(monotonic=lambda: now[0]))
    for seconds, done, left in ((100, 3, None), (101, 4, None), (110, 8, 184), (290, 98, 4)):  # three were done before it was first told
        now[0] = seconds
        progress.progress("photos extracted", done, 100)
        assert progress.state.left == (None if left is None else pytest.approx(left)), done
    progress.change(finished=False)
    assert "98 of 100" in (said := app.browser.get("/progress").text) and "less than a minute" in said
    progress.step("questions prepared", 0, 10)  # another step begins anew
    now[0] = 650
    progress.step("questions prepared", 1, 10)
    assert "about 54 min" in app.browser.get("/progress").text


def test_what_the_table_names_is_not_asked_and_not_matched(app, folder, tmp_path, monkeypatch):
    """A folder of the gallery, in which most photos have names."""
    asked = []
    monkeypatch.setattr(
        reid.Session, "answer", lambda session, query, real=reid.Session.answer: asked.append(query.name) or real(session, query)
    )
    save(folder / "gallery" / "animal-2" / "later.png", draw_animal(2, 7))  # the table does not have it
    app.desk.log.append(Kind.NOT_THIS_ANIMAL, [app.session.key(app.desk.gallery.references[0])], observer="zoe")
    again = App(folder / "gallery", folder / "gallery" / "animal-0", folder / "gallery" / "animal-2")
    (folder / "gallery" / "animal-2" / "later.png").unlink()
    assert sorted(asked) == sorted(task.title for task in again.desk.waiting()) == ["animal-0/0.png", "later.png"]
    for task in again.desk.waiting():
        again.answer(task, "new", name=f"n {task.title}")
    assert "3 photos that the catalogue has under a name were not asked about" in again.browser.get("/review").text
    assert [one.title for one in again.desk.tasks()] == ["animal-0/0.png", "later.png"]  # what people have named is there for Undo


def test_what_stops_the_worker_in_the_midst_of_its_photos_stays_told_until_they_are_tried_again(tmp_path, monkeypatch):
    from reid.review.desk import Desk

    root, is_full, real = five_animals(tmp_path), [True], reid.Session.answer
    save(root / "later.png", draw_animal(2, 7))
    progress = Progress()
    desk = Desk(reid.open(root / "gallery", FAST, listener=progress), progress, observer="zoe", photos=[root / "photos"])

    def answer(session, query):
        if is_full and query.name == "new.png":
            raise StoreError("cannot write: no space is left")
        return real(session, query)

    def wait():
        deadline = time.monotonic() + 600
        while not desk.worker.state.finished and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)  # for what might come after

    monkeypatch.setattr(reid.Session, "answer", answer)
    desk.worker.start()
    wait()
    assert "no space is left" in (desk.worker.state.error or "") and [task.title for task in desk.tasks()] == ["known.png"]
    is_full.clear()
    desk.add([root / "later.png"])
    wait()
    desk.worker.stop(600)
    assert desk.worker.state.error is None and not desk.worker._thread.is_alive()
    assert sorted(task.title for task in desk.tasks()) == ["known.png", "later.png", "new.png"]


def test_photos_behind_one_that_fails_do_not_wait_for_it(tmp_path, monkeypatch):
    root, real, asked = five_animals(tmp_path), reid.Session.answer, []
    app = App(root / "gallery", root / "photos")
    for name in ("bad", "later", "last"):
        save(root / f"{name}.png", draw_animal(2, 7 + len(name)))

    def answer(session, query):
        asked.append(query.name)
        if query.name == "bad.png":
            raise StoreError("cannot read it")
        return real(session, query)

    monkeypatch.setattr(reid.Session, "answer", answer)
    for names in (["bad", "later"], ["last"]):  # the second while the first round's failure waits
        for name in names:
            app.desk.add([root / f"{name}.png"])
        with pytest.raises(StoreError, match="cannot read it"):
            app.desk.worker._work()
    assert asked == ["bad.png", "later.png", "bad.png", "last.png"]
    assert {"later.png", "last.png"} <= {task.title for task in app.desk.tasks()}
    monkeypatch.undo()
    app.desk.worker._work()
    assert "bad.png" in {task.title for task in app.desk.tasks()}


def imported(root: Path) -> None:
    """As by another process: a photo that is being reviewed comes into the table, and one of those that it had goes."""
    shutil.copy(root / "photos" / "new.png", root / "gallery" / "imported.png")
    table = root / "gallery" / "metadata.csv"
    table.write_text(
        table.read_text().replace("animal-0/0.png,animal-0,2024-01-01,left,Reef\n", "") + "\nimported.png,unknown,2025-01-01,,\n"
    )


def test_a_table_that_changes_while_the_app_is_open_is_told_and_read_again(tmp_path):
    root = five_animals(tmp_path)
    app = App(root / "gallery", root / "photos")
    app.answer(app.task("known.png"), "same")
    imported(root)
    assert "has changed since it was read" in app.browser.get("/catalogue").text  # what htmx asks for
    assert "has changed since it was read" in TestClient(app.guard, BASE, cookies=app.browser.cookies).get("/health").text  # a whole page
    assert "imported.png" not in app.browser.get("/catalogue").text
    answer = app.browser.post("/gallery")
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/review") and not app.desk.worker.state.finished
    assert "has changed" not in app.browser.get("/catalogue").text and "read again, once" in app.browser.get("/progress").text
    app.desk.worker._work()
    page = app.browser.get("/catalogue").text
    assert "imported.png" in page and "animal-0/0.png" not in page and "has changed" not in page
    assert [task.title for task in app.desk.waiting()] == ["imported.png"] and app.animal_of(app.task("known.png")) == "animal-3"
    (root / "gallery" / "metadata.csv").write_text("path,identity\nimported.png\nimported.png,a\nnone.png,b\n")
    app.browser.post("/gallery")
    with pytest.raises(GalleryError):  # the pages say it, and offer to read it once more
        app.desk.worker._work()
    assert "has changed since it was read" in app.browser.get("/catalogue").text and app.desk.log.effective()
    assert all(app.browser.get(page).status_code == 200 for page in ("/health", "/review"))
    assert [task.title for task in app.desk.waiting()] == ["imported.png"]


def test_the_table_is_read_again_in_the_midst_of_the_work(tmp_path, monkeypatch):
    from reid.review.desk import Desk

    root, asked, real = five_animals(tmp_path), [], reid.Session.answer
    progress = Progress()
    desk = Desk(reid.open(root / "gallery", FAST, listener=progress), progress, observer="zoe", photos=[root / "photos"])

    def answer(session, query):
        asked.append(query.name)
        if len(asked) == 1:
            imported(root)
            desk.worker.read_again()
        return real(session, query)

    monkeypatch.setattr(reid.Session, "answer", answer)
    desk.worker.start()
    deadline = time.monotonic() + 600
    while (len(asked) < 3 or not desk.worker.state.finished) and time.monotonic() < deadline:
        time.sleep(0.02)
    desk.worker.stop(600)
    assert asked == ["known.png", "known.png", "new.png"] and desk.worker.state.error is None and not desk.is_outdated
    assert sorted(task.title for task in desk.tasks()) == ["imported.png", "known.png"]


def test_a_copy_with_a_box_is_not_compared_with_its_photo(tmp_path):
    """The rule of `identify`: a photo is itself, whatever the table cuts out of it."""
    for identity in range(3):
        save(tmp_path / "g" / f"{identity}.png", draw_animal(identity, 0))
    (tmp_path / "g" / "metadata.csv").write_text('path,identity,bbox\n0.png,amber,"[10, 10, 200, 150]"\n1.png,basil,\n2.png,cleo,\n')
    copy = save(tmp_path / "card" / "copy.png", draw_animal(0, 0))
    app = App(tmp_path / "g", copy)
    [task] = app.desk.tasks()
    assert sorted(choice.animal for choice in app.desk.whole(task).choices) == ["basil", "cleo"]
    assert "In the gallery already: 0.png (amber)" in app.browser.get(f"/review/{task.id}").text.replace("&#39;", "'")


def test_what_was_decided_of_a_photo_holds_once_it_has_a_box(tmp_path):
    """Imported with a box after it was reviewed: the catalogue, the question of its copy and other observers know what was said of it."""
    root = five_animals(tmp_path)
    app = App(root / "gallery", root / "photos")
    known = app.task("known.png")
    app.answer(known, "same")
    app.desk.log.append(Kind.SIDE, [app.session.key(known.photos[0].ref)], observer="zoe", value="right")
    shutil.copy(root / "photos" / "known.png", root / "gallery" / "imported.png")
    table = root / "gallery" / "metadata.csv"
    rows = table.read_text().replace("site", "site,bbox", 1).replace(",Reef", ",Reef,")
    table.write_text(f'{rows}\nimported.png,unknown,2025-01-01,,,"[10, 10, 250, 200]"\n')
    app = App(root / "gallery", root / "photos")
    [imported] = [card for card in app.desk.book().cards.values() if card.ref.image_id == "imported.png"]
    [reference] = [ref for ref in app.session.gallery.references if ref.image_id == "imported.png"]
    assert reference.identity == imported.animal == "animal-3" and reference.orientation == imported.ref.orientation == "right"
    assert [task.title for task in app.desk.waiting()] == ["new.png"]
    assert "imported.png is animal-3" in app.desk.said(next(one for one in app.desk.book().effective if one.kind is Kind.SAME))
    [pair] = App(root / "gallery", observer="ben", blind=True).desk.waiting()
    assert pair.photos[0].digest == imported.digest
    app.answer(app.task("imported.png"), "same", choice=1)  # by which the same observer replaces it
    assert app.animal_of(app.task("imported.png")) == app.task("imported.png").choices[1].animal and not app.desk.book().contradictions


def test_photos_of_the_gallery_that_fail_are_called_as_the_gallery_calls_them(tmp_path):
    for name in ("photos/DCIM/a.png", "photos/DCIM/b.png", "c.png"):
        save(tmp_path / "g" / name, draw_animal(len(name), 0))
    (tmp_path / "g" / "metadata.csv").write_text("path,identity\nphotos/DCIM/a.png,unknown\nphotos/DCIM/b.png,unknown\nc.png,cleo\n")
    (tmp_path / "g" / "photos" / "DCIM" / "b.png").write_bytes(b"no photo")
    app = App(tmp_path / "g", tmp_path / "g" / "photos")
    [failure] = app.desk.worker.state.failures  # told once
    assert failure.image_id == "photos/DCIM/b.png" and failure.reason.startswith("photos/DCIM/b.png is not a photo")
    [task] = app.desk.tasks()
    assert task.title == task.photos[0].ref.image_id == task.ranking.query_id == "photos/DCIM/a.png"


def test_a_photo_that_fails_is_called_by_its_whole_path_where_it_lies_beside_the_gallery(folder, monkeypatch):
    (folder / "my-gallery").mkdir(exist_ok=True)
    for name in ("photos/broken.png", "my-gallery/broken.png", "gallery/broken.png"):
        (folder / name).write_bytes(b"no photo")
    try:
        for root, photos, told in (
            (".", ("../photos/broken.png", "broken.png"), {"../photos/broken.png", "broken.png"}),
            ("../gallery", ("../my-gallery/broken.png", "../gallery/broken.png"), {"../my-gallery/broken.png", "broken.png"}),
            ("gallery", ("my-gallery/broken.png", "gallery/broken.png"), {"my-gallery/broken.png", "broken.png"}),
        ):
            monkeypatch.chdir(folder if root == "gallery" else folder / "gallery")
            app = App(Path(root), *map(Path, photos))
            assert {one.reason.split(" is not")[0] for one in app.desk.worker.state.failures} == told
            forget(app)
    finally:
        for file in folder.rglob("broken.png"):
            file.unlink()


def test_unnamed_photos_of_the_same_encounter_are_no_candidates(tmp_path):
    """The rule of `identify`: two frames of an animal that nobody has named would be a match of each other."""
    for identity, view in ((0, 0), (1, 0), (9, 0), (9, 1)):
        save(tmp_path / "g" / f"{identity}-{view}.png", draw_animal(identity, view))
    rows = "0-0.png,amber,2024-01-01\n1-0.png,basil,2024-01-02\n9-0.png,,2024-05-05\n9-1.png,,2024-05-05\n"
    (tmp_path / "g" / "metadata.csv").write_text(f"path,identity,date\n{rows}")
    [task] = App(tmp_path / "g", tmp_path / "g" / "9-0.png").desk.tasks()
    assert sorted(choice.animal for choice in task.choices) == ["amber", "basil"] and "not with 1 unnamed one" in " ".join(task.because)
