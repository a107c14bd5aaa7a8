"""What the review app says of answers, names and counts, through its routes, on drawn animals."""

import re

import pytest
from conftest import draw_animal, save
from reviewing import App

import reid
from reid.catalogue import DecisionLog, Kind, PhotoKey
from reid.catalogue.names import alike
from reid.report.pictures import MOST, drawn
from reid.review.tasks import opaque


@pytest.fixture
def gallery(tmp_path):
    """Three animals, a photo that nobody has named, and a card in the gallery's own folder."""
    rows = ["path,identity"]
    for identity, name in enumerate(("amber", "T-042", "Zoë")):
        save(tmp_path / "g" / f"{identity}.png", draw_animal(identity, 0))
        rows.append(f"{identity}.png,{name}")
    for name, shot in {"a": (0, 5), "b": (60, 0), "c": (70, 0)}.items():
        save(tmp_path / "g" / "card" / "DCIM" / f"{name}.png", draw_animal(*shot))
        rows.append(f"card/DCIM/{name}.png,unknown")
    (tmp_path / "g" / "metadata.csv").write_text("\n".join(rows), "utf-8")
    return tmp_path / "g"


@pytest.fixture
def app(gallery):
    return App(gallery, gallery / "card")


A, B, C = (f"card/DCIM/{name}.png" for name in "abc")


def last(page: str) -> str:
    """What stands beside Undo."""
    found = re.search(r'<span class="last"[^>]*>([^<]*)</span> <button[^>]*hx-post="/undo"', page)
    return found[1] if found else ""


def choice_of(app, title, animal):
    return next(place for place, one in enumerate(app.task(title).choices) if one.animal == animal)


def test_names_that_differ_in_writing_alone_are_alike():
    names = ["amber", "T-042", "Zoë", "T-43", "Ambers"]
    given = ("Amber", "T 042", "t42", "zoe", "ZOË ", "amber", "T-044", "?")
    assert [alike(name, names) for name in given] == [["amber"], ["T-042"], ["T-042"], ["Zoë"], ["Zoë"], [], [], []]


def test_a_name_that_is_written_otherwise_is_asked_about(app):
    task = app.task(B)
    asked = app.answer(task, "new", name=" t 042 ")
    assert asked.status_code == 409 and not app.desk.log.effective()
    assert "T-042 exists: is it that animal?" in asked.text and '<dialog id="alike" tabindex="-1" data-now' in asked.text
    one, other = (re.search(rf'<button name="name" value="([^"]*)" data-key="{key}"', asked.text)[1] for key in "yn")
    assert (one, other) == ("T-042", "t 042")
    assert app.answer(task, "new", name=one).status_code == 200 and app.animal_of(task) == "T-042"
    app.browser.post("/undo")
    data = {"task": task.id, "verdict": "new", "name": other, "meant": "1", "seen": app.desk.book().number}
    assert app.browser.post("/answers", data=data).status_code == 200 and app.animal_of(task) == "t 042"
    assert app.answer(task, "new", name="T  042").status_code == 409  # by its own old name nothing is asked
    assert "T-042 exists" in app.answer(task, "new", name="T 042").text


def test_an_animal_keeps_its_name_when_it_is_called_new_again(app):
    task = app.task(B)
    for name in ("nova", "nova", "Nova"):
        assert app.answer(task, "new", name=name).status_code == 200 and app.animal_of(task) == name
    assert [one.value for one in app.desk.log.effective()] == ["Nova"]


def test_an_unnamed_animal_is_named_on_its_page_and_undo_leads_back(app):
    task = app.task(C)
    app.answer(task, "same", choice=choice_of(app, C, f"unknown ({B})"))
    unnamed = app.animal_of(task)
    assert unnamed == "unnamed-1"
    page = f"/animals/{opaque('animal', unnamed)}"
    assert "Give it a name" in app.browser.get(page).text and "What is unnamed-1 called?" in app.browser.get(page).text
    for name, status, said in (
        ("", 409, "names nobody"), ("amber", 409, "another animal is called amber"), ("AMBER", 409, "amber exists"), ("unnamed-1", 200, ""),
    ):  # fmt: skip
        answer = app.browser.post(f"{page}/name", data={"name": name})
        assert answer.status_code == status and said in answer.text and len(app.desk.log.effective()) == 1, name
    done = app.browser.post(f"{page}/name", data={"name": "nova"})
    assert done.headers["HX-Push-Url"] == f"/animals/{opaque('animal', 'nova')}" and last(done.text) == "The animal is called nova."
    assert len(app.desk.book().animals["nova"]) == 2 and app.browser.get(page).status_code == 404 and app.desk.n_answers == 1
    assert "called nova" in app.browser.get("/history").text
    undone = app.browser.post("/undo")
    assert (undone.status_code, undone.headers["Location"]) == (303, page) and app.browser.get(page).status_code == 200
    assert app.browser.post(f"{page}/name", data={"name": "AMBER", "meant": "1"}).status_code == 200 and "AMBER" in app.desk.book().animals


def test_an_animal_of_the_table_is_renamed_with_all_its_photos(app, gallery):
    task = app.task(A)
    app.answer(task, "same", choice=choice_of(app, A, "amber"))
    page = f"/animals/{opaque('animal', 'amber')}"
    assert app.browser.post(f"{page}/name", data={"name": "Ämber"}).status_code == 200  # its own name written otherwise
    with reid.open(gallery) as opened:
        assert [ref.identity for ref in opened.gallery.references].count("Ämber") == 2
    blind = App(gallery, observer="ben", blind=True)
    assert blind.browser.post(f"/animals/{opaque('animal', 'T-042')}/name", data={"name": "x"}).status_code == 409
    assert "Rename" not in blind.browser.get(f"/animals/{opaque('animal', 'T-042')}").text


def test_the_last_answer_stands_beside_undo_in_words(app):
    a, b = app.task(A), app.task(B)
    amber, other = choice_of(app, A, "amber"), choice_of(app, A, "T-042")
    assert last(app.browser.get(f"/review/{a.id}").text) == ""
    said = re.compile(r'id="said"[^>]*>([^<]*)<')
    for task, verdict, more, words in (
        (a, "different", {"choice": other}, "a.png is not T-042."), (a, "cannot_tell", {"choice": other}, "a.png may or may not be T-042."),
        (a, "same", {"choice": amber}, "a.png is amber."), (b, "new", {"name": "nova"}, "b.png is a new animal, nova."),
        (b, "different", {"choice": choice_of(app, B, f"unknown ({C})")}, "b.png is not the animal of c.png."),
    ):  # fmt: skip
        page = app.answer(task, verdict, **more).text
        assert last(page) == words and said.search(page)[1].startswith(f"{words} Now "), words
    assert last(app.browser.get(f"/review/{a.id}").text) == words and last(app.browser.get("/history").text) == words  # it stays
    undone = app.browser.post("/undo").text
    assert said.search(undone)[1].startswith(f"Taken back: {words} Now ") and last(undone) == "b.png is a new animal, nova."
    app.browser.post("/skip", data={"task": app.task(C).id})
    assert last(app.browser.get("/review").text) == "b.png is a new animal, nova."


def test_an_answered_photo_opens_with_its_answer(app):
    task = app.task(A)
    place = choice_of(app, A, "Zoë")
    app.answer(task, "different", choice=choice_of(app, A, "amber"))
    app.answer(task, "same", choice=place)
    page = app.browser.get(f"/review/{task.id}").text
    assert re.search(rf'choice={place + 1}"[^>]*data-key="{place + 1}" aria-current="true"', page)
    assert 'data-key="enter">Go on' in page.replace('hx-post="/skip" hx-target="#main" ', "")  # nothing is confirmed a second time


def test_a_photo_has_one_name_everywhere(app):
    task = app.task(A)
    assert task.title == A and "Who is card/DCIM/a.png?" in app.browser.get(f"/review/{task.id}").text
    app.answer(task, "same", choice=choice_of(app, A, "amber"))
    assert app.desk.log.effective()[0].photos[0].image_id == A
    assert not re.search(r"[^/]DCIM/", app.browser.get("/history").text + app.browser.get("/review").text)


def test_a_photo_that_has_been_copied_in_since_is_called_as_it_is_now(tmp_path):
    save(tmp_path / "g" / "amber" / "0.png", draw_animal(0, 0))
    shot = save(tmp_path / "card" / "DCIM" / "q.png", draw_animal(1, 0))
    app = App(tmp_path / "g", tmp_path / "card")
    app.answer(app.task("DCIM/q.png"), "new", name="nova")
    assert "<td>DCIM/q.png</td>" in app.browser.get("/history").text
    (tmp_path / "g" / "photos").mkdir()
    shot.rename(tmp_path / "g" / "photos" / "IMG_7.png")
    later = App(tmp_path / "g")
    assert "<td>photos/IMG_7.png</td>" in (page := later.browser.get("/history").text)
    assert last(page) == "IMG_7.png is a new animal, nova." and later.desk.log.effective()[0].photos[0].image_id == "DCIM/q.png"


def test_the_catalogue_says_which_photos_are_asked_about_and_names_files(app):
    page = app.browser.get("/catalogue?show=asked").text
    assert page.count("<figure") == 3 and "3 of 6 photos · 3 photos without a name" in page
    assert all(f"{name}.png" in re.sub("<img[^>]*>", "", page) for name in "abc")
    everything = app.browser.get("/catalogue").text
    assert "6 photos · 3 animals · 3 photos without a name" in everything
    review = app.browser.get(f"/review/{app.task(A).id}").text
    assert "5 candidates" not in review  # few enough to be seen
    health = " ".join(re.sub("<[^>]*>", " ", app.browser.get("/health").text).split())
    assert "Photos 6" in health and "Photos without a name 3" in health and "Animals 3" in health


def test_candidates_are_told_from_animals(tmp_path):
    for identity in range(12):
        save(tmp_path / "g" / f"{identity}.png", draw_animal(identity, 0))
    names = [f"{identity}.png,{f'turtle-{identity}' if identity < 8 else 'unknown'}" for identity in range(12)]
    (tmp_path / "g" / "metadata.csv").write_text("\n".join(["path,identity", *names]))
    app = App(tmp_path / "g", save(tmp_path / "q.png", draw_animal(0, 1)))
    page = app.browser.get(f"/review/{app.task('q.png').id}").text
    assert "1 to 9 of 12 candidates: 8 animals, 4 photos without a name" in page


def test_chance_is_told_in_plain_words(app):
    page = app.browser.get(f"/review/{app.task(B).id}").text
    assert "P(impostor)" not in page and "as alike by chance: " in page and "An animal that the catalogue does not have" in page


def test_counts_of_marks_say_whose_and_how_many_are_drawn(app):
    import numpy as np

    from reid.records import PairMatches

    def matches(n):
        indices = np.stack([np.arange(n), np.arange(n)], axis=1).astype(np.int32)
        return PairMatches("q", "r", indices, np.full(n, 0.9, np.float32), (n, n))

    assert [drawn(matches(n), 0.5) for n in (1, MOST, MOST + 63)] == ["1 match", "80 matches", "80 of 143 matches"]
    task = app.task(A)
    left, right = (app.desk.book().of_photo[item.digest].id for item in (task.photos[0], task.choices[0].reference))
    assert re.fullmatch(r"\d+ marks? match(es)? \(sift \+ nearest\)", app.browser.get(f"/marks/{left}/{right}").json()["said"])
    assert not re.search(r"\d marks?<", app.browser.get(f"/review/{task.id}").text)  # none without a name


def test_decisions_at_once_are_taken_back_at_once_or_not_at_all(tmp_path):
    log = DecisionLog(tmp_path)
    for name in "abc":
        log.append(Kind.NEW, [PhotoKey(name, name)], observer="zoe")
    with pytest.raises(reid.errors.DecisionError, match="9 does not exist"):
        log.undo("zoe", 1, 9)
    assert len(log.effective()) == 3
    assert log.undo("ben", 1, 2).undoes == 2 and [one.number for one in log.effective()] == [3]
