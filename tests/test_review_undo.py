"""Undo takes back what stands beside it, whatever was said in other windows since; an animal that two people name at once."""

import json
import re

import pytest
from reviewing import App

from reid.catalogue import Kind
from reid.errors import DecisionError
from reid.review.answering import rename
from reid.review.tasks import opaque


def beside(page: str) -> tuple[str, dict[str, str]]:
    """What Undo says on a page, and what its button sends."""
    found = re.search(r'<span class="last"[^>]*>([^<]*)</span> <button[^>]*hx-post="/undo"[^>]*hx-vals="([^"]*)"', page)
    return found[1], json.loads(found[2].replace("&#34;", '"'))


def test_undo_takes_back_what_it_says_though_another_window_has_answered_since(app, folder):
    known, new = app.task("known.png"), app.task("new.png")
    said, sent = beside(app.answer(known, "same").text)
    other = App(folder / "gallery", folder / "photos")  # the same observer
    other.answer(new, "new", name="nova")
    undone = app.browser.post("/undo", data=sent)
    assert undone.status_code == 200 and f"Taken back: {said} Now " in undone.text and "<title>known.png" in undone.text
    assert [one.kind for one in app.desk.log.effective()] == [Kind.NEW]
    assert beside(undone.text)[0] == "new.png is a new animal, nova."  # what it takes back next


def test_what_another_window_has_taken_back_is_told_and_nothing_else_is(app, folder):
    app.answer(app.task("known.png"), "same")
    _, sent = beside(app.answer(app.task("new.png"), "new", name="nova").text)
    other = App(folder / "gallery", folder / "photos")
    assert other.browser.post("/undo", data=sent).status_code == 200
    late = app.browser.post("/undo", data=sent)
    assert (late.status_code, late.headers["HX-Reswap"]) == (409, "none") and "another window" in json.loads(late.headers["HX-Trigger"])[
        "told"
    ]
    assert beside(late.text)[0] == "known.png is animal-3." and 'id="undo" hx-swap-oob="true"' in late.text
    assert [one.kind for one in app.desk.log.effective()] == [Kind.SAME]
    ben = App(folder / "gallery", folder / "photos", observer="ben")
    assert ben.browser.post("/undo", data=beside(late.text)[1]).status_code == 409  # is not his
    assert [one.kind for one in app.desk.log.effective()] == [Kind.SAME]


def test_what_an_answer_has_replaced_comes_back_with_undo(app, folder, call):
    task = app.task("known.png")
    for choice in (1, 0):
        app.answer(task, "same", choice=choice)
    app.browser.post("/undo")
    assert app.animal_of(task) == task.choices[1].animal and app.desk.n_answers == 1
    _, out, _ = call("decisions", "--gallery", folder / "gallery", "--redo", "--observer", "zoe")
    assert "took back decision 1 by zoe: same" in out and "brought back decision 3 by zoe: same" in out
    assert app.animal_of(task) == task.choices[0].animal
    _, out, _ = call("decisions", "--gallery", folder / "gallery", "--undo", "--observer", "zoe")
    assert "took back decision 3 by zoe: same" in out and "brought back decision 1 by zoe: same" in out
    app.browser.post("/undo")
    assert app.animal_of(task) is None and not app.desk.log.effective()


@pytest.mark.parametrize("by", ["undo", "history"])
def test_undo_joins_no_two_animals_though_others_have_answered_since(app, folder, by):
    task = app.task("new.png")
    zero, one = ([choice.animal for choice in task.choices].index(f"animal-{n}") for n in (0, 1))
    for verdict in ("same", "different"):
        app.answer(task, verdict, choice=zero)
    App(folder / "gallery", folder / "photos", observer="max").answer(task, "same", choice=one)
    undone = app.browser.post("/undo" if by == "undo" else "/history/3/undo")
    told = "stays taken back: with it animal-0 and animal-1 would become one animal"
    assert undone.status_code == 200 and told in undone.text and (by == "history" or told in undone.headers["HX-Trigger"])
    assert app.animal_of(task) == "animal-1" and len(app.desk.book().animals) == 5
    assert [one.observer for one in app.desk.log.effective()] == ["max"]


def test_undo_brings_back_that_two_animals_are_one_and_no_third(app, folder):
    def ask(who, *pair):
        task = who.desk.ask(*pair)
        return lambda verdict: who.answer(task, verdict)

    merges = ask(app, "animal-0", "animal-1")
    for verdict in ("same", "different"):
        merges(verdict)
    app.browser.post("/undo")
    assert len(app.desk.book().animals) == 4
    merges("different")
    ask(App(folder / "gallery", observer="max"), "animal-1", "animal-2")("same")
    undone = app.browser.post("/undo")
    assert "stays taken back" in undone.text and [*app.desk.book().animals] == ["animal-0", "animal-1", "animal-3", "animal-4"]


def test_history_brings_back_what_an_answer_has_replaced_and_the_command_says_what(app, folder, call):
    task = app.task("known.png")
    for choice in (1, 0):
        app.answer(task, "same", choice=choice)
    assert app.browser.post("/history/3/undo").status_code == 200
    assert [one.number for one in app.desk.log.effective()] == [1] and app.desk.n_answers == 1
    assert app.browser.post("/history/3/undo").status_code == 409 and [one.number for one in app.desk.log.effective()] == [1]
    app.answer(task, "different", choice=0)
    other = app.answer(task, "same", choice=0)  # in place of both
    assert other.status_code == 200 and len(app.desk.log.effective()) == 1
    _, out, _ = call("decisions", "--gallery", folder / "gallery", "--undo", "--observer", "zoe")
    assert "brought back 2 decisions, 1 and 6, by zoe: same" in out


def test_what_a_settled_contradiction_has_taken_back_of_others_comes_back_with_undo(app):
    task = app.task("known.png")
    pair = [app.session.key(item.ref) for item in (task.photos[0], task.choices[0].reference)]
    for kind, observer in ((Kind.SAME, "ann"), (Kind.DIFFERENT, "ben")):
        app.desk.log.append(kind, pair, observer=observer)
    before = app.desk.log.effective()
    [asked] = [one for one in app.desk.waiting() if one.topic == "contradiction"]
    app.answer(asked, "same")
    assert [one.observer for one in app.desk.log.effective()] == ["ann", "zoe"]
    app.browser.post("/undo")
    assert app.desk.log.effective() == before and len(app.desk.book().contradictions) == 1


def test_who_names_an_animal_that_somebody_else_has_just_named_is_told(app, folder):
    page = f"/animals/{opaque('animal', 'animal-1')}"
    photo = re.search(r'name="photo" value="(\w+)"', app.browser.get(page).text)[1]
    App(folder / "gallery", observer="ben").browser.post(f"{page}/name", data={"name": "Nyx"})
    late = app.browser.post(f"{page}/name", data={"name": "Nora", "photo": photo})
    assert late.status_code == 409 and "<title>Nyx" in late.text and "somebody else has named this animal" in late.text
    assert "ben" in late.text.split("<h2>Decisions")[1]
    assert app.browser.post(f"{page}/name", data={"name": "Nora"}).status_code == 404  # without a word of which animal it was
    assert [one.value for one in app.desk.log.effective()] == ["Nyx"]


def test_another_animal_that_is_called_so_by_now_is_not_named_in_its_place(app, folder):
    page = f"/animals/{opaque('animal', 'animal-1')}"
    photo = re.search(r'name="photo" value="(\w+)"', app.browser.get(page).text)[1]
    ben = App(folder / "gallery", observer="ben")
    rename(ben.desk, "animal-1", "Nyx", {})
    rename(ben.desk, "animal-2", "animal-1", {})
    late = app.browser.post(f"{page}/name", data={"name": "Nora", "photo": photo})
    assert late.status_code == 409 and "<title>Nyx" in late.text and "Nora" not in app.desk.book().animals


@pytest.mark.parametrize(
    ("renamed", "to", "told"), [("animal-1", "Nyx", "called otherwise by now"), ("animal-2", "Nora", "another animal is called Nora")]
)
def test_a_name_that_is_given_between_the_look_and_the_word_is_no_fault(app, folder, monkeypatch, renamed, to, told):
    """Somebody else is quicker than the log's transaction."""
    other, real = App(folder / "gallery", observer="ben"), app.desk.log.together

    def together():
        monkeypatch.setattr(app.desk.log, "together", real)
        rename(other.desk, renamed, to, {})
        return real()

    monkeypatch.setattr(app.desk.log, "together", together)
    with pytest.raises(DecisionError, match=told):
        rename(app.desk, "animal-1", "Nora", {})
    assert [(one.observer, one.value) for one in app.desk.log.effective()] == [("ben", to)]


def test_who_judges_blind_takes_back_nothing_of_others(app, folder):
    app.answer(app.task("known.png"), "same")
    blind = App(folder / "gallery", observer="ben", blind=True)
    [task] = blind.desk.tasks()
    blind.answer(task, "different")
    assert blind.browser.post("/history/1/undo").status_code == 409 and len(app.desk.log.effective()) == 2
    assert blind.browser.post("/history/2/undo").status_code == 200 and [one.number for one in app.desk.log.effective()] == [1]


def test_who_judges_blind_reads_no_name_of_an_animal_where_files_are_called_by_it(app, folder):
    app.answer(app.task("known.png"), "same")
    blind = App(folder / "gallery", observer="ben", blind=True)
    [task] = blind.desk.tasks()
    photo = blind.desk.book().of_photo[task.choices[0].reference.digest]
    said = blind.browser.post(f"/review/{task.id}/sides", data={"photos": photo.id, "side": "right"}).text
    assert "The photo: side right." in said and photo.ref.image_id not in said
    blind.answer(task, "same")
    history = blind.browser.get("/history").text
    assert "<td>side right</td><td>1 photo</td>" in history and "<td>2 photos</td>" in history and "animal-" not in history
    assert photo.ref.image_id in app.browser.get("/history").text  # who is not blind reads it


def test_what_is_refused_makes_no_log(app):
    page = f"/animals/{opaque('animal', 'animal-1')}/name"
    for name, status in (("animal-2", 409), ("ANIMAL 2", 409), ("animal-1", 200)):
        assert app.browser.post(page, data={"name": name}).status_code == status
    assert app.browser.post("/undo").status_code == 200 and app.browser.post("/undo", data={"number": "3"}).status_code == 409
    assert app.browser.post("/sides/estimated?show=unsided", data={"photos": "0" * 16}).status_code == 303
    assert not app.desk.log.path.exists()
