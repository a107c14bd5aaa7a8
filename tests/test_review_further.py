"""The rest of the catalogue, which the review app shows before an animal counts as new; new animals that may be known all the same."""

import re
from dataclasses import replace

import pytest
from conftest import draw_animal, save
from reviewing import App

import reid
from reid.catalogue import DecisionLog, Kind, PhotoKey
from reid.records import Health, Twins
from reid.review import further
from reid.review.tasks import MOST, SURE_NEW, opaque

N = 13  # animals


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirteen animals, every other one in a bay, and two photos of animals that are new."""
    folder = tmp_path_factory.mktemp("further")
    rows = ["path,identity,orientation,site"]
    for identity in range(N):
        save(folder / "gallery" / f"{identity}.png", draw_animal(identity, 0))
        rows.append(f"{identity}.png,animal-{identity},left,{'Bay' if identity % 2 else 'Reef'}")
    (folder / "gallery" / "metadata.csv").write_text("\n".join(rows))
    for name, identity in (("one", 98), ("two", 99)):
        save(folder / "photos" / f"{name}.png", draw_animal(identity, 0))
    return folder


@pytest.fixture
def app(folder):
    app = App(folder / "gallery", folder / "photos")
    yield app
    app.desk.log.path.unlink(missing_ok=True)


def opened_by(page: str, key: str) -> str:
    """The dialog that a key of the page opens."""
    return re.search(rf'data-open="(\w+)"[^>]*data-key="{key}"', page)[1]


def ranks(app, task, **filters) -> list[int]:
    """Of the animals that the dialog shows, in its order."""
    page = app.browser.get(f"/review/{task.id}/rest", params=filters).text
    return [int(number) for number in re.findall(r'hx-get="/review/\w+\?choice=(\d+)', page)]


def test_every_animal_is_a_candidate_nine_at_a_time(app):
    task = app.task("one.png")
    assert len(task.choices) == N and task.n_further == N - MOST
    first, last = (app.browser.get(f"/review/{task.id}?choice={choice}").text for choice in (1, MOST + 2))
    assert f"1 to 9 of {N} candidates" in first and f"10 to {N} of {N} candidates" in last
    assert (first.count('class="choice"'), last.count('class="choice"')) == (MOST, N - MOST)
    assert f'choice={MOST + 1}" hx-target="#main" hx-push-url="true" data-key="shift+j"' in first and "shift+k" not in first
    assert 'choice=1" hx-target="#main" hx-push-url="true" data-key="shift+k"' in last and "shift+j" not in last
    assert re.search(f'choice={MOST + 2}"[^>]*data-key="2" aria-current', last)  # keys are 1 to 9 on every page
    ninth = app.browser.get(f"/review/{task.id}?choice={MOST}").text
    assert re.search(f'choice={MOST + 1}"[^>]*data-key="j arrowdown"', ninth)  # one by one it goes on, too
    tenth = app.browser.get(f"/review/{task.id}?choice={MOST + 1}").text
    assert re.search(f'choice={MOST}"[^>]*data-key="k arrowup"', tenth)


def test_before_a_new_animal_is_named_the_rest_is_shown_once(app):
    task = app.task("one.png")
    assert opened_by(app.browser.get(f"/review/{task.id}").text, "w") == "rest"  # in doubt
    assert opened_by(app.browser.get(f"/review/{task.id}/rest").text, "w") == "naming"  # one key goes on
    assert opened_by(app.browser.get(f"/review/{task.id}?choice=10").text, "w") == "naming"  # who is there has looked
    for p_new, dialog in ((SURE_NEW - 0.01, "rest"), (SURE_NEW, "naming")):
        ranking = replace(task.ranking, verdict="new", p_match=0.0, p_other=1 - p_new, p_new=p_new)
        app.desk._queries[task.id] = replace(task, ranking=ranking)
        page = app.browser.get(f"/review/{task.id}").text
        assert opened_by(page, "w") == opened_by(page, "enter") == dialog and opened_by(page, "b") == "rest"


def test_the_rest_is_ranked_and_filtered_and_comes_in_batches(app, monkeypatch):
    task = app.task("one.png")
    assert ranks(app, task) == [10, 11, 12, 13]
    bay = [place for place, one in enumerate(task.choices, start=1) if int(one.animal.split("-")[1]) % 2]
    assert ranks(app, task, site="Bay") == [place for place in bay if place > MOST]
    assert ranks(app, task, side="right") == [] and "No further candidate" in app.browser.get(f"/review/{task.id}/rest?side=right").text
    best = task.choices[0].animal
    assert 1 in ranks(app, task, animal=best)  # by its name even one of the nine
    monkeypatch.setattr(further, "BATCH", 3)
    assert ranks(app, task) == [10, 11, 12]
    more = re.search(r'hx-get="([^"]*)" hx-trigger="intersect once"', app.browser.get(f"/review/{task.id}/rest").text)[1]
    page = app.browser.get(more.replace("&amp;", "&")).text
    assert "choice=13&" in page and "<form" not in page and "intersect" not in page
    assert app.browser.get("/review/0123456789abcdef/rest").status_code == 404


def test_suspected_twins_of_the_nine_and_animals_named_since_come_first(app):
    task, other = app.task("one.png"), app.task("two.png")
    near, far = task.choices[2], task.choices[11]
    app.desk.worker.health = Health(
        (), (), (Twins((far.animal, near.animal), (far.reference.ref.image_id, near.reference.ref.image_id), 0.7),), 9
    )
    assert ranks(app, task) == [12, 10, 11, 13]
    assert f"may be one with {near.animal}" in app.browser.get(f"/review/{task.id}/rest").text
    app.answer(other, "new", name="nova")
    assert ranks(app, task) == [12, 14, 10, 11, 13] and "named since" in app.browser.get(f"/review/{task.id}/rest").text
    whole = app.desk.whole(task)
    assert app.answer(whole, "same", choice=13).status_code == 200 and app.animal_of(task) == "nova"
    assert [one.kind for one in app.desk.log.effective()] == [Kind.NEW, Kind.SAME] and len(app.desk.book().animals) == N + 1


def test_after_nine_noes_the_tenth_follows_though_nobody_has_to_answer_it(app):
    task = app.task("one.png")
    for place in range(MOST):
        page = app.answer(task, "different", choice=place).text
    assert "<title>one.png" in page and "10 to 13" in page and "leaves the photo without a name" in page
    assert app.desk.book().is_done(task) and [one.title for one in app.desk.waiting()] == ["two.png"]
    page = app.answer(task, "different", choice=11).text
    assert f'<strong><a href="/animals/{opaque("animal", task.choices[12].animal)}' in page  # not back to the tenth
    assert "<title>two.png" in app.browser.post("/skip", data={"task": task.id}).text


def test_new_animals_stand_beside_what_they_are_most_like_until_they_are_judged(app):
    task, other = app.task("one.png"), app.task("two.png")
    assert "may be known" not in app.browser.get("/health").text
    app.answer(task, "new", name="ghost")
    app.answer(other, "different")
    app.answer(other, "new", name="nova")
    page = app.browser.get("/health").text
    assert f"ghost: is it {task.choices[0].animal}?" in page and f"nova: is it {other.choices[1].animal}?" in page
    likely = replace(other.ranking, p_match=0.6, p_other=0.2, p_new=0.2), replace(task.ranking, p_match=0.1, p_other=0.0, p_new=0.9)
    for one, ranking in zip((other, task), likely):
        app.desk._queries[one.id] = replace(one, ranking=ranking)
    found = further.ghosts(app.desk.tasks(), app.desk.book())
    assert [(one.task.title, one.number, one.p_new) for one in found] == [("two.png", 2, 0.2), ("one.png", 1, 0.9)]
    assert app.answer(other, "same", choice=1).status_code == 200  # it was known
    assert app.animal_of(other) == other.choices[1].animal and "nova" not in app.desk.book().animals
    assert [one.task.title for one in further.ghosts(app.desk.tasks(), app.desk.book())] == ["one.png"]


def test_what_a_person_called_new_is_looked_at_by_duplicates(folder, app, monkeypatch):
    asked = []

    def health(answers, calibration, n_encounters, called_new):
        asked.append(called_new)
        pairs = [Twins((name, "animal-1"), ("2.png", "1.png"), 0.2) for name in ("nova", "animal-3")]
        return Health((), (), (), 13, tuple(pairs))

    monkeypatch.setattr("reid.decision.health", health)
    keys = {item.ref.image_id: PhotoKey(item.digest, item.ref.image_id) for item in app.session.references}
    log = DecisionLog(folder / "gallery")
    log.append(Kind.NEW, [keys["2.png"]], observer="zoe", value="nova")
    log.append(Kind.DIFFERENT, [keys["1.png"], keys["3.png"]], observer="zoe")
    with reid.open(folder / "gallery", app.session.settings) as session:
        monkeypatch.setitem(session.__dict__, "judges", replace(session.judges, calibration=object()))
        found = session.health()
    assert asked == [{"nova"}] and [one.identities for one in found.newcomers] == [("nova", "animal-1")]  # others are apart


def test_the_table_names_them_below_the_other_suspicions():
    from reid.cli.duplicates import _suspicions

    one, other = (Twins(("a", "b"), ("1", "2"), p) for p in (0.8, 0.1))
    assert [row[:4] for row in _suspicions(Health((), (), (one,), 9, (other,)))] == [
        ("one animal", "a", "b", 0.8),
        ("called new", "a", "b", 0.1),
    ]
