"""The side that photos show, said in the review app: from a card without sides to capture histories of one side."""

import re

import pytest
from conftest import draw_animal, save
from reviewing import App

import reid
from reid.catalogue import Kind
from reid.review.tasks import opaque

CARD = {"a1": (1, 5), "a2": (1, 6), "b1": (2, 5), "c1": (50, 0)}  # animal and view


@pytest.fixture
def gallery(tmp_path):
    """Three animals, and a card that nobody has sorted; nothing says a side."""
    rows = ["path,identity,date"]
    for identity in range(3):
        save(tmp_path / "g" / f"{identity}.png", draw_animal(identity, 0))
        rows.append(f"{identity}.png,turtle-{identity},2023-06-0{identity + 1}")
    for name, shot in CARD.items():
        save(tmp_path / "g" / "card" / f"{name}.png", draw_animal(*shot))
        rows.append(f"card/{name}.png,unknown,2024-06-1{name[1]}")
    (tmp_path / "g" / "metadata.csv").write_text("\n".join(rows))
    return tmp_path / "g"


@pytest.fixture
def app(gallery):
    return App(gallery, gallery / "card")


def say(app, title, side, dialog="sides"):
    """As the page of a question does."""
    _, _, page = app.browser.get(f"/review/{app.task(title).id}").text.partition(f'<dialog id="{dialog}"')
    form = re.search(r'hx-post="(/review/\w+/sides)" hx-target="#main" hx-vals="([^"]*)">\s*<button name="side"', page)
    given = dict(re.findall("&#34;(\\w+)&#34;: (?:&#34;)?([^,&}]*)", form[2]))
    return app.browser.post(form[1], data={**given, "side": side})


def shown(app, title):
    return app.desk.book().of_photo[app.task(title).photos[0].digest].ref.orientation


def test_from_a_card_without_sides_to_a_mark_file_of_left_sides(app, gallery, tmp_path, call):
    for name, animal, side in (("a1", "turtle-1", "left"), ("a2", "turtle-1", "right"), ("b1", "turtle-2", "left"), ("c1", "nova", "left")):
        answer = say(app, f"card/{name}.png", side)
        assert answer.status_code == 200 and f"Who is card/{name}.png?" in answer.text and shown(app, f"card/{name}.png") == side
        app.answer(app.task(f"card/{name}.png"), "new", name=animal)
    first = app.desk.book().animals["turtle-1"][0]
    assert app.browser.post("/sides", data={"photos": first.id, "side": "left"}).status_code == 200
    out = tmp_path / "season.inp"
    status, said, _ = call("export", "--gallery", gallery, "--to", "mark", "--out", out, "--occasions", "year", "--side", "left")
    assert out.read_text().splitlines()[1:] == ["/*nova*/ 01 1;", "/*turtle-1*/ 11 1;", "/*turtle-2*/ 01 1;"]
    assert status == 0 and "2 of 4 animals are unlinked" in said


def test_a_side_is_a_decision_that_ctrl_z_takes_back_to_where_it_was_said(app):
    task = app.task("card/a1.png")
    app.answer(task, "different")
    assert "a1.png: side left." in say(app, "card/a1.png", "left").text
    assert "It stands so already." in say(app, "card/a1.png", "left").text  # and is not written down again
    assert [(one.kind, one.value, one.observer) for one in app.desk.log.effective()][1:] == [(Kind.SIDE, "left", "zoe")]
    assert "<td>side left</td>" in app.browser.get("/history").text and app.desk.n_answers == 1
    undone = app.browser.post("/undo")
    assert (
        "<title>card/a1.png" in undone.text
        and "which side?" in undone.text
        and shown(app, "card/a1.png") is None
        and app.desk.n_answers == 1
    )
    assert say(app, "card/a1.png", "</option>?").status_code == 200 and "&lt;/option&gt;?" in app.browser.get(f"/review/{task.id}").text
    assert say(app, "card/a1.png", "?").status_code == 400
    assert app.browser.post(f"/review/{task.id}/sides", data={"side": "left"}).status_code == 404


def test_the_side_of_the_candidate_is_said_beside_it(app):
    task = app.task("card/a1.png")
    app.browser.post("/answers", data={"task": task.id, "verdict": "different", "reference": task.choices[0].reference.digest, "seen": 0})
    assert say(app, "card/a1.png", "right", "sides-right").status_code == 200
    [one] = [one for one in app.desk.log.effective() if one.kind is Kind.SIDE]
    assert [photo.digest for photo in one.photos] == [task.choices[1].reference.digest] and one.value == "right"
    page = app.browser.get(f"/review/{task.id}").text
    assert re.findall(r'"shift\+s".*?</span>(\w+)', page) == ["right"] and re.findall(r'"s" .*?</span>(which side)', page)
    assert page.count("matched by it once the app is started again") == 2
    assert shown(app, "card/a1.png") is None
    assert "Candidate" in app.browser.post("/undo").text and not [one for one in app.desk.log.effective() if one.kind is Kind.SIDE]


def test_pages_of_animals_and_encounters_say_sides_and_take_them_back(app):
    book = app.desk.book()
    encounter = next(name for name, cards in book.encounters.items() if len(cards) > 1)
    page = f"/encounters/{opaque('encounter', encounter)}"
    here = {"HX-Current-URL": f"http://127.0.0.1:8420{page}", "HX-Target": "main"}
    text = app.browser.get(page).text
    cards = book.encounters[encounter]
    assert text.count('class="side"') == len(cards) and f"Side of all {len(cards)} photos" in text and "Undo" not in text
    ids = " ".join(card.id for card in cards)
    done = app.browser.post("/sides", data={"photos": ids, "side": "right"}, headers=here)
    assert (done.status_code, done.headers["Location"]) == (303, page)
    text = app.browser.get(page).text
    assert text.count("<option selected>right") == len(cards) and "Side of" not in text.replace("Side of card", "") and "Undo" in text
    one = app.browser.post("/sides", data={"photos": cards[0].id, "side": ""}, headers={**here, "HX-Target": ""})  # it is hard to see
    assert one.status_code == 200 and 'id="undo" hx-swap-oob="true"' in one.text and ": side not known." in one.text
    assert "side not known" in app.browser.get("/history").text
    assert [card.ref.orientation for card in app.desk.book().encounters[encounter]] == [None, *["right"] * (len(cards) - 1)]
    for left in (len(cards), 0):
        undone = app.browser.post("/undo")
        assert (undone.status_code, undone.headers["Location"]) == (303, page)
        assert app.browser.get(page).text.count("<option selected>right") == left
    elsewhere = {**here, "HX-Current-URL": "http://127.0.0.1:8420//evil.example/encounters/0123456789abcdef"}
    assert app.browser.post("/sides", data={"photos": ids, "side": "left"}, headers=elsewhere).status_code == 200
    assert "Location" not in app.browser.post("/undo").headers


def test_what_the_table_says_comes_back_in_a_later_run(gallery):
    table = gallery / "metadata.csv"
    table.write_text(table.read_text().replace("identity,date", "identity,date,orientation").replace("-01", "-01,ventral"))
    app = App(gallery)
    card = next(card for card in app.desk.book().cards.values() if card.ref.image_id == "0.png")
    app.browser.post("/sides", data={"photos": card.id, "side": ""})
    with reid.open(gallery) as opened:
        assert next(ref for ref in opened.gallery.references if ref.image_id == "0.png").orientation is None
    later = App(gallery)
    assert later.desk.book().cards[card.id].ref.orientation is None
    assert "0.png" in later.browser.get("/catalogue?show=unsided").text
    later.browser.post("/undo")
    assert later.desk.book().cards[card.id].ref.orientation == "ventral"
    assert f"/photos/{card.id}/" not in later.browser.get("/catalogue?show=unsided").text
