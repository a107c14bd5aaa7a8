"""Whose animal a photo is, answered again and again: what was said of other photos stays, and no two animals become one in passing."""

import shutil

import pytest
from conftest import draw_animal, save
from reviewing import FAST, App, five_animals

from reid.catalogue import Kind


@pytest.fixture
def three(tmp_path):
    """Three photos of an animal that is no reference yet, each named T-1 by its question."""
    root = five_animals(tmp_path)
    for view in (1, 2):
        save(root / "photos" / f"new{view}.png", draw_animal(99, view))
    app = App(root / "gallery", root / "photos")
    tasks = [app.task(name) for name in ("new.png", "new1.png", "new2.png")]
    for task in tasks:
        assert app.answer(task, "new", name="T-1").status_code == 200
    return app, tasks


@pytest.fixture
def stray(tmp_path):
    """A gallery with a photo that nobody has named, like known.png; the place of a candidate by its animal, None for that photo."""
    root = five_animals(tmp_path)
    save(root / "gallery" / "stray" / "s.png", draw_animal(3, 7))
    table = root / "gallery" / "metadata.csv"
    table.write_text(f"{table.read_text()}\nstray/s.png,,2024-05-05,left,Reef\n")
    app = App(root / "gallery", root / "photos")
    known = [app.desk.book().of_photo[choice.reference.digest].animal for choice in app.task("known.png").choices]
    [digest] = [card.digest for card in app.desk.book().cards.values() if card.ref.image_id == "stray/s.png"]
    return app, app.task("known.png"), known.index, lambda: app.desk.book().of_photo[digest].animal


def animals(app, tasks):
    return [app.animal_of(task) for task in tasks]


def test_an_answer_about_one_photo_takes_back_none_about_others(three):
    app, tasks = three
    choice = tasks[0].choices[0].animal
    app.answer(tasks[0], "same")  # by which the other two were called T-1
    assert animals(app, tasks) == [choice] * 3 and not app.desk.book().contradictions
    assert [one.kind for one in app.desk.log.effective()] == [Kind.SAME] * 3
    app.browser.post("/undo")
    assert animals(app, tasks) == ["T-1"] * 3
    app.answer(tasks[1], "same")
    assert animals(app, tasks) == ["T-1", tasks[1].choices[0].animal, "T-1"]


def test_what_others_are_compared_with_keeps_its_name(three):
    app, tasks = three
    for verdict, name in (("new", "T-1"), ("same", "")):  # as it stands
        whole = app.desk.whole(tasks[0])
        [place] = [place for place, choice in enumerate(whole.choices) if choice.animal == "T-1"]
        assert app.answer(whole, verdict, choice=place, name=name).status_code == 200 and animals(app, tasks) == ["T-1"] * 3
    again = app.answer(tasks[0], "new", name="T-2")
    assert again.status_code == 409 and "this is T-1 by decision" in again.text and "it would leave T-1" in again.text
    assert animals(app, tasks) == ["T-1"] * 3


def test_an_answer_to_a_photo_whose_animal_was_merged_joins_no_two(three):
    app, tasks = three
    twins = app.desk.ask("T-1", "animal-4")
    app.answer(twins, "same")
    place = next(place for place, choice in enumerate(tasks[0].choices) if choice.animal == "animal-2")
    refused = app.answer(tasks[0], "same", choice=place)
    assert refused.status_code == 409 and "animal-4 and animal-2 would become one animal" in refused.text
    assert animals(app, tasks) == ["animal-4"] * 3 and len(app.desk.book().animals) == 5


def test_what_is_typed_is_compared_with_a_photo_of_the_gallery(three):
    app, tasks = three
    app.answer(tasks[1], "same")
    choice = tasks[1].choices[0].animal
    app.answer(tasks[2], "new", name=choice)
    assert app.desk.log.effective()[-1].photos[-1].image_id.startswith(f"{choice}/")


def test_a_photo_under_two_names_is_shown_under_both_and_decisions_concern_the_first(tmp_path):
    root = five_animals(tmp_path)
    (root / "gallery" / "alma").mkdir()
    shutil.copy(root / "gallery" / "animal-3" / "0.png", root / "gallery" / "alma")
    table = root / "gallery" / "metadata.csv"
    header, *rows = table.read_text().splitlines()
    for lines in ([header, "alma/0.png,alma,2024-05-05,left,Reef", *rows], [header, *rows, "alma/0.png,alma,2024-05-05,left,Reef"]):
        table.write_text("\n".join(lines))
        app = App(root / "gallery", root / "photos")
        [photo] = app.desk.book().animals["alma"]
        assert photo.digest in [card.digest for card in app.desk.book().animals["animal-3"]] and len(app.desk.book().animals) == 6
        assert app.desk.book().of_photo[photo.digest] == photo
        whole = app.desk.whole(app.task("new.png"))
        [place] = [place for place, choice in enumerate(whole.choices) if choice.reference.digest == photo.digest][:1]
        app.answer(whole, "same", choice=place)
        assert app.animal_of(whole) == "alma" and len(app.desk.book().animals) == 6
        assert {ref.identity for ref in app.session.labelled(app.desk.log.effective()).references} == set(app.desk.book().animals)
        app.browser.post("/undo")


def test_an_encounter_of_which_one_photo_has_a_name_joins_no_two_animals(tmp_path):
    root = five_animals(tmp_path)
    shutil.rmtree(root / "photos")
    for view, name in enumerate("ab"):
        save(root / "photos" / f"{name}.png", draw_animal(50, view))
    table = root / "gallery" / "metadata.csv"
    rows = table.read_text().replace("site", "site,encounter", 1).replace(",Reef", ",Reef,")
    table.write_text(f"{rows}\n../photos/a.png,unknown,2024-07-01,left,Reef,e1\n../photos/b.png,rex,2024-07-01,left,Reef,e1\n")
    app = App(root / "gallery", root / "photos", settings=FAST.replace(encounters=True))
    [task] = app.desk.tasks()
    assert [item.ref.image_id for item in task.photos] == ["../photos/a.png", "../photos/b.png"]
    place = next(place for place, choice in enumerate(task.choices) if choice.animal != "rex")
    refused = app.answer(task, "same", choice=place)
    assert (
        refused.status_code == 409 and f"b.png is rex by the table; with this answer rex and {task.choices[place].animal}" in refused.text
    )
    refused = app.answer(task, "new", name="T-1")
    assert refused.status_code == 409 and "b.png is rex by the table; with this answer it would leave rex" in refused.text
    assert not app.desk.log.path.exists()


@pytest.mark.parametrize("order", [(None, "animal-3"), ("animal-3", None)])
def test_a_photo_without_a_name_and_an_animal_are_both_the_same_in_either_order(stray, order):
    app, task, place, animal = stray
    for name in order:
        assert app.answer(task, "same", choice=place(name)).status_code == 200
    assert app.animal_of(task) == animal() == "animal-3" and [one.number for one in app.desk.log.history()] == [1, 2]
    app.answer(task, "same", choice=place("animal-1"))  # what was compared with it comes along
    assert app.animal_of(task) == animal() == "animal-1"
    app.browser.post("/undo")
    assert app.animal_of(task) == animal() == "animal-3"


def test_a_photo_without_a_name_gets_that_of_an_animal_that_somebody_else_has_given(stray, tmp_path):
    app, task, place, animal = stray
    max = App(tmp_path / "gallery", tmp_path / "photos", observer="max")
    max.answer(task, "same", choice=place("animal-3"))
    assert app.answer(task, "same", choice=place(None)).status_code == 200
    assert app.animal_of(task) == animal() == "animal-3" and len(app.desk.log.effective()) == 2


def test_an_encounter_of_two_animals_becomes_none_by_a_photo_without_a_name(tmp_path):
    root = five_animals(tmp_path)
    shutil.rmtree(root / "photos")
    for view, name in enumerate("ab"):
        save(root / "photos" / f"{name}.png", draw_animal(50, view))
    save(root / "gallery" / "stray" / "s.png", draw_animal(50, 7))
    table = root / "gallery" / "metadata.csv"
    rows = table.read_text().replace("site", "site,encounter", 1).replace(",Reef", ",Reef,")
    asked = "".join(f"../photos/{name}.png,unknown,2024-07-01,left,Reef,e1\n" for name in "ab")
    table.write_text(f"{rows}\nstray/s.png,,2024-05-05,left,Reef,\n{asked}")
    app = App(root / "gallery", root / "photos", settings=FAST.replace(encounters=True))
    [task] = app.desk.tasks()
    cards = {card.ref.image_id: card for card in app.desk.book().cards.values()}
    for photo, animal in zip(task.photos, ("animal-1", "animal-2"), strict=True):
        pair = [app.session.key(photo.ref), app.session.key(cards[f"{animal}/0.png"].ref)]
        app.desk.log.append(Kind.SAME, pair, observer="ben")
    place = [choice.reference.ref.image_id for choice in task.choices].index("stray/s.png")
    refused = app.answer(task, "same", choice=place)
    assert refused.status_code == 409 and "animal-2 and animal-1 would become one animal" in refused.text


def test_a_name_is_given_to_a_new_animal_that_others_were_compared_with_meanwhile(three):
    app, tasks = three
    for _ in tasks:
        app.browser.post("/undo")
    app.answer(tasks[0], "new")
    whole = app.desk.whole(tasks[1])
    place = [choice.animal for choice in whole.choices].index("unnamed-7")
    app.answer(whole, "same", choice=place)
    assert animals(app, tasks[:2]) == ["unnamed-7"] * 2
    said = app.answer(tasks[0], "new", name="T-1")
    assert said.status_code == 200 and "The animal is called T-1." in said.text and animals(app, tasks) == ["T-1", "T-1", None]
    refused = app.answer(tasks[0], "new", name="T-2")
    assert refused.status_code == 409 and "to call that otherwise, rename it on its page" in refused.text
    n = app.desk.n_answers
    app.browser.post("/undo")
    assert animals(app, tasks[:2]) == ["unnamed-7"] * 2 and app.desk.n_answers == n - 1
    app.answer(tasks[1], "new", name="T-3")  # another one, though it was said to be the same
    assert animals(app, tasks) == ["unnamed-7", "T-3", None] and not app.desk.book().contradictions


def test_a_photo_that_was_split_off_is_not_told_to_stand_so_by_the_table(stray):
    app, task, place, _ = stray
    app.answer(task, "same", choice=place("animal-3"))
    app.desk.log.append(Kind.SPLIT, [app.session.key(task.photos[0].ref)], observer="ben", value="Foo")
    refused = app.answer(task, "same", choice=place("animal-1"))
    assert refused.status_code == 409 and "this is Foo by decision 2 of ben, which History takes back" in refused.text
