"""Two animals that somebody takes for one, on the page of one of them: compared like any other pair, merged, and two again."""

import re

import pytest
from reviewing import App

from reid.catalogue import Kind
from reid.review.tasks import opaque


def page_of(name: str) -> str:
    return f"/animals/{opaque('animal', name)}"


def ask(app, name: str, other: str):
    """As the dialog on the page of an animal does."""
    tiles = app.browser.get(f"{page_of(name)}/others").text
    photo = re.search(rf'&#34;: &#34;(\w+)&#34;}}" hx-target="#main"[^>]*><img[^>]*><figcaption><strong>{other}<', tiles)[1]
    return app.browser.post(f"{page_of(name)}/same", data={"photo": photo})


def test_an_animal_is_said_to_be_another_and_undo_takes_them_apart(app):
    assert "Same animal as…</button>" in app.browser.get(page_of("animal-1")).text
    asked = ask(app, "animal-1", "animal-4")
    assert asked.status_code == 303
    [task] = [task for task in app.desk.waiting() if task.title == "animal-1 and animal-4"]
    page = app.browser.get(asked.headers["Location"]).text
    assert "Are animal-1 and animal-4 one animal?" in page and "Photos of animal-1" in page and not app.desk.log.path.exists()
    assert len(task.photos) == 2 and task.choices[0].photo.ref.image_id == "animal-1/1.png"  # the newest of the side
    done = app.answer(task, "same")
    assert (done.status_code, done.headers["Location"]) == (303, page_of("animal-1"))
    [one] = app.desk.log.effective()
    assert one.kind is Kind.MERGE and [photo.image_id for photo in one.photos] == ["animal-1/1.png", "animal-4/1.png"]
    assert len(app.desk.book().animals["animal-1"]) == 4 and "animal-4" not in app.desk.book().animals
    merged = app.browser.get(page_of("animal-1"), headers={"HX-Current-URL": f"http://127.0.0.1:8420/review/{task.id}"})
    assert "They are one animal, animal-1." in merged.text and merged.headers["HX-Push-Url"] == page_of("animal-1")
    undone = app.browser.post("/undo")
    assert "Are animal-1 and animal-4 one animal?" in undone.text and len(app.desk.book().animals["animal-4"]) == 2
    assert "animal-1 is not animal-4." in app.browser.get(app.answer(task, "different").headers["Location"]).text
    refused = ask(app, "animal-4", "animal-1")
    assert refused.status_code == 409 and "decision 3 of zoe says that animal-4 and animal-1 are two" in refused.headers["HX-Trigger"]
    assert app.browser.post("/history/3/undo").status_code == 200 and ask(app, "animal-4", "animal-1").status_code == 303


def test_the_other_animal_is_looked_for_by_name_and_side(app, monkeypatch):
    monkeypatch.setattr("reid.review.twins.BATCH", 3)
    page, seen = app.browser.get(f"{page_of('animal-0')}/others").text, []
    while True:
        seen += re.findall("<strong>([^<]*)</strong>", page)
        more = re.search(r'hx-get="([^"]*)" hx-trigger="intersect once"', page)
        if more is None:
            break
        page = app.browser.get(more[1].replace("&amp;", "&")).text
    assert seen == [f"animal-{n}" for n in (1, 2, 3, 4)]
    assert app.browser.get(f"{page_of('animal-0')}/others?last=&animal=L-3").text.count("<figure") == 1
    assert "No other animal fits" in app.browser.get(f"{page_of('animal-0')}/others?last=&side=right").text
    assert app.browser.get("/animals/0123456789abcdef/others").status_code == 404


def test_who_judges_blind_joins_no_animals_in_passing(app, folder):
    photo = next(card.id for card in app.desk.book().cards.values() if card.animal == "animal-2")
    app.answer(app.task("known.png"), "same")
    blind = App(folder / "gallery", observer="ben", blind=True)
    assert "Same animal as" not in blind.browser.get(page_of("animal-1")).text
    assert blind.browser.post(f"{page_of('animal-1')}/same", data={"photo": photo}).status_code == 409
    assert app.browser.post(f"{page_of('animal-1')}/same", data={"photo": "0" * 16}).status_code == 404
    assert app.browser.post(f"{page_of('animal-2')}/same", data={"photo": photo}).status_code == 409  # with itself


@pytest.mark.parametrize("kind", [Kind.MERGE, Kind.DIFFERENT])
def test_two_animals_of_which_other_photos_say_it_are_not_asked_about_any_more(app, kind):
    for name, other in (("animal-1", "animal-4"), ("animal-4", "animal-1")):
        ask(app, name, other)
    [one, back] = [task for task in app.desk.waiting() if task.topic == "twins"]
    first = [app.desk.book().animals[name][0] for name in ("animal-1", "animal-4")]
    app.desk.log.append(kind, [app.session.key(card.ref) for card in first], observer="ben")
    assert not {one.id, back.id} & {task.id for task in app.desk.waiting()}
    app.desk.log.undo("ben")
    assert {one.id, back.id} <= {task.id for task in app.desk.waiting()}


def test_who_merges_two_animals_of_which_somebody_has_said_meanwhile_that_they_are_two_is_told_first(app, monkeypatch):
    ask(app, "animal-1", "animal-4")
    [task] = [task for task in app.desk.waiting() if task.topic == "twins"]
    others = [app.desk.book().animals[name][0] for name in ("animal-1", "animal-4")]  # the newest are asked about
    seen = app.desk.book().number
    apart = app.desk.log.append(Kind.DIFFERENT, [app.session.key(card.ref) for card in others], observer="ben")
    late = app.answer(task, "same", seen=seen)
    assert late.status_code == 409 and "ben has answered this" in late.text and app.desk.log.effective() == (apart,)
    assert app.answer(task, "same").status_code == 303 and len(app.desk.book().contradictions) == 1  # meant, and told from then on


def test_an_answer_leads_back_to_the_animal_whose_oldest_photo_has_left_it_meanwhile(app):
    ask(app, "animal-1", "animal-4")
    [task] = [task for task in app.desk.waiting() if task.topic == "twins"]
    app.desk.log.append(Kind.NOT_THIS_ANIMAL, [app.session.key(task.photos[0].ref)], observer="ben")
    assert app.desk.book().of_photo[task.photos[0].digest].animal is None
    assert app.browser.get(app.answer(task, "same").headers["Location"]).status_code == 200
    app.desk.log.append(Kind.NOT_THIS_ANIMAL, [app.session.key(task.choices[0].photo.ref)], observer="ben")
    assert app.answer(task, "cannot_tell").status_code == 200  # no animal any more, and so no page of it
