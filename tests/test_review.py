"""What the review app asks and records, through its routes, on drawn animals."""

import re
from dataclasses import replace

import pytest
from conftest import draw_animal, save
from reviewing import FAST, App

import reid
from reid.catalogue import Kind, PhotoKey
from reid.errors import DecisionError
from reid.records import Candidate, Health, IdentityRanking, Indexed, Mislabel, PhotoRef, Twins
from reid.review import tasks
from reid.review.agreement import agreements, kappa
from reid.review.answering import Verdict, record
from reid.review.naming import proposed_name
from reid.review.tasks import Choice, Task, Topic, entropy, in_order, value_of


def kinds(app):
    return [str(one.kind) for one in app.desk.log.effective()]


# -- what is asked


def test_what_is_least_foreseen_comes_first():
    photo = Indexed(PhotoRef("a", None), "a" * 64)

    def task(title, topic, value):
        return Task(topic, title, (photo,), (Choice("x", photo, photo),), value)

    def ranking(verdict, *p):
        return IdentityRanking("q", (), verdict, 0.1, *p)

    sure, unsure = value_of(ranking("match", 0.98, 0.01, 0.01)), value_of(ranking("unsure", 0.4, 0.2, 0.4))
    assert sure < entropy(0.7, 0.3) < unsure < 1 < tasks.CONTRADICTED
    assert value_of(ranking("match")) < value_of(ranking("new")) < value_of(ranking("unsure"))
    assert entropy(0.5, 0.5) == pytest.approx(1) and entropy(1, 0) == 0
    many = [
        task("sure", Topic.QUERY, sure), task("b", Topic.QUERY, unsure), task("a", Topic.QUERY, unsure),
        task("against", Topic.CONTRADICTION, tasks.CONTRADICTED), task("twins", Topic.TWINS, entropy(0.7, 0.3)),
    ]  # fmt: skip
    ordered = in_order(many)
    assert [one.title for one in ordered] == ["against", "a", "b", "twins", "sure"]


@pytest.mark.parametrize(
    ("names", "proposed"),
    [
        ([], "new-1"), (["amber", "basil"], "new-1"), (["new-1", "amber", "basil", "cleo"], "new-2"), (["T001", "T041", "luna"], "T042"),
        (["T-9"], "T-10"), (["07", "08", "09"], "10"), (["A1", "A3", "B9"], "A4"), (["x 99", "x 98", "x 100"], "x 101"),
    ],
)  # fmt: skip
def test_names_go_on_as_the_catalogue_counts(names, proposed):
    assert proposed_name(names) == proposed


def test_the_first_question_is_the_less_sure_one_and_links_to_itself(app):
    assert [task.title for task in app.desk.waiting()] == ["new.png", "known.png"]
    answer = app.another().get("/review")
    assert answer.status_code == 401
    assert app.browser.get("/review").headers["HX-Push-Url"] == f"/review/{app.task('new.png').id}"
    whole = app.browser.get(f"/review/{app.task('new.png').id}", headers={"HX-History-Restore-Request": "true"}).text
    assert whole.startswith("<!DOCTYPE html>") and "<title>new.png" in whole


def test_a_photo_that_the_gallery_holds_is_not_asked_about_itself(tmp_path):
    for identity in range(3):
        save(tmp_path / "g" / f"animal-{identity}.png", draw_animal(identity, 0))
    (tmp_path / "g" / "metadata.csv").write_text("path,identity\nanimal-0.png,animal-0\nanimal-1.png,unknown\nanimal-2.png,unknown\n")
    app = App(tmp_path / "g", tmp_path / "g" / "animal-1.png")
    [task] = app.desk.waiting()
    assert sorted(choice.reference.ref.image_id for choice in task.choices) == ["animal-0.png", "animal-2.png"]
    assert any(note.endswith("not compared with itself: animal-1.png") for note in app.desk.worker.state.notes)
    assert [app.answer(task, "cannot_tell", choice=choice).status_code for choice in range(2)] == [200, 200] and not app.desk.waiting()


def test_what_is_skipped_comes_again_at_the_end(app):
    first, second = (app.task(title) for title in ("new.png", "known.png"))
    assert "<title>known.png" in app.browser.post("/skip", data={"task": first.id}).text
    assert "1 question was skipped" in app.answer(second, "same").text
    assert "<title>new.png" in app.browser.post("/skip").text and not app.desk.skipped


# -- what is answered


def test_a_yes_names_the_photos_and_the_next_question_follows(app):
    task = app.task("known.png")
    assert task.choices[0].animal == "animal-3" and app.animal_of(task) is None
    answer = app.answer(task, "same")
    assert answer.status_code == 200 and "No photos" not in answer.text
    assert app.animal_of(task) == "animal-3" and app.desk.book().is_done(task)
    (one,) = app.desk.log.effective()
    assert one.kind is Kind.SAME and one.observer == "zoe" and one.photos[0].image_id == "known.png"
    assert one.evidence["shown"] == [task.photos[0].digest, task.choices[0].reference.digest]
    assert one.evidence["verdict"] == task.ranking.verdict and one.evidence["fingerprint"] == app.session.fingerprint


def test_a_no_brings_the_next_candidate_and_the_last_no_the_next_question(app):
    task = app.task("new.png")
    for place in range(len(task.choices)):
        answer = app.answer(task, "different" if place else "cannot_tell", choice=place)
        title = re.search("<title>(.*?) ·", answer.text)[1]
        assert title == ("new.png" if place < len(task.choices) - 1 else "known.png")
    assert kinds(app) == ["cannot_tell"] + ["different"] * (len(task.choices) - 1)
    assert app.desk.log.effective()[0].photos[0].digest == task.choices[0].reference.digest  # it is what the others differ from


def test_a_new_animal_gets_its_name_and_a_known_name_is_that_animal(app):
    new, known = app.task("new.png"), app.task("known.png")
    assert 'value="animal-5"' in app.browser.get(f"/review/{new.id}").text
    assert app.answer(new, "new", name="Müritz 7").status_code == 200 and app.animal_of(new) == "Müritz 7"
    assert app.answer(known, "new", name="animal-1").status_code == 200 and app.animal_of(known) == "animal-1"
    assert kinds(app) == ["new", "same"]
    assert "score" not in app.desk.log.effective()[0].evidence  # which is another animal's
    refused = app.answer(known, "new", name="unknown")
    assert refused.status_code == 409 and "names nobody" in refused.text
    assert app.animal_of(known) == "animal-1" and kinds(app) == ["new", "same"]  # a refused answer takes nothing back


def test_an_encounter_is_one_question_with_all_its_photos(folder, tmp_path):
    for view in (5, 6):
        save(tmp_path / "today" / f"{view}.png", draw_animal(3, view))
    app = App(folder / "gallery", tmp_path / "today", settings=FAST.replace(encounters=True))
    (task,) = app.desk.waiting()
    page = app.browser.get(f"/review/{task.id}").text
    assert "Who is today?" in page and page.count('aria-current="true"') == 3
    left, right = (re.search(f'hx-get="([^"]*)"[^>]*data-key="{re.escape(key)}"', page)[1].replace("&amp;", "&") for key in "[]")
    assert left == right and app.browser.get(left).text.split("data-marks=")[1][:30] != page.split("data-marks=")[1][:30]
    app.answer(task, "same")
    (one,) = app.desk.log.effective()
    assert len(one.photos) == 3 and {card.ref.image_id for card in app.desk.book().animals["animal-3"] if card.is_new} == {"5.png", "6.png"}
    app.desk.log.path.unlink()
    (app.session.work.folder / "review" / "photos.json").unlink()


def test_undo_has_no_end_and_comes_back_to_the_pair(app):
    new, known = app.task("new.png"), app.task("known.png")
    app.answer(new, "different", choice=1)
    app.answer(new, "new", name="n")
    app.answer(known, "same")
    assert app.desk.n_answers == 3 and not app.desk.waiting()
    for title, left in (("known.png", 2), ("new.png", 1), ("new.png", 0)):
        answer = app.browser.post("/undo")
        assert f"<title>{title}" in answer.text and len(kinds(app)) == left
    assert 'data-key="2 ' in answer.text or 'aria-current="true"' in answer.text
    assert "nothing to undo" in app.browser.post("/undo").text
    assert len(app.desk.log.history()) == 6 and app.desk.n_answers == 0


def test_who_changes_their_mind_contradicts_nobody(app):
    task = app.task("known.png")
    app.answer(task, "same")
    app.answer(task, "different")
    assert kinds(app) == ["different"] and not app.desk.book().contradictions


def test_who_changes_their_mind_about_an_animal_joins_no_two(app, folder):
    task = app.task("known.png")
    for choice in (1, 0):
        app.answer(task, "same", choice=choice)
        assert app.animal_of(task) == task.choices[choice].animal and kinds(app) == ["same"] and len(app.desk.book().animals) == 5
    app.answer(task, "new", name="n")
    assert kinds(app) == ["new"] and not app.desk.book().contradictions
    other = App(folder / "gallery", folder / "photos", observer="ben")
    refused = other.answer(task, "same")
    assert refused.status_code == 409 and "by decision 5 of zoe" in refused.text and len(other.desk.book().animals) == 6
    tabled = next(item for item in app.session.references if item.ref.identity == "animal-1")
    with pytest.raises(DecisionError, match="this is animal-1 by the table"):
        record(app.desk, replace(task, photos=(tabled,)), task.choices[0], Verdict.SAME, "", app.desk.book().number)


def test_an_answer_to_what_another_tab_has_decided_is_told_and_not_doubled(app, folder):
    task, before = app.task("known.png"), app.desk.book().number
    other = App(folder / "gallery", folder / "photos", observer="ben")
    assert other.answer(other.task("known.png"), "different", seen=before).status_code == 200
    late = app.answer(task, "same", seen=before)
    assert late.status_code == 409 and "ben has answered this" in late.text and "not recorded" in late.text
    assert kinds(app) == ["different"]
    again = re.search(r'name="seen" value="(\d+)"', late.text)[1]
    assert app.answer(task, "same", seen=int(again)).status_code == 200  # having been told
    assert kinds(app) == ["different", "same"] and len(app.desk.book().contradictions) == 1
    assert app.answer(app.task("new.png"), "same", choice=1, seen=before).status_code == 200  # another pair is nobody's business


def test_the_same_click_twice_is_one_answer(app):
    task = app.task("known.png")
    assert [app.answer(task, "same", seen=0).status_code for _ in range(3)] == [200, 409, 409] and kinds(app) == ["same"]


@pytest.mark.parametrize("given", [{}, {"verdict": "same"}, {"verdict": "perhaps", "seen": "0"}, {"verdict": "same", "seen": "x"}])
def test_what_is_no_answer_is_refused(app, given):
    assert app.browser.post("/answers", data={"task": app.task("new.png").id, **given}).status_code in (400, 409)
    assert app.browser.post("/answers", data={"task": "0" * 16, "verdict": "same", "seen": "0"}).status_code == 404
    assert not kinds(app)


def test_a_page_that_waits_is_left_alone_until_there_is_a_pair(app):
    assert "new.png" in app.browser.get("/review?poll=true").text
    for title in ("new.png", "known.png"):
        app.answer(app.task(title), "new", name=title)
    app.desk.worker.progress.change(finished=False)
    assert app.browser.get("/review?poll=true").status_code == 204 and "on their way" in app.browser.get("/review").text
    assert "how long this step still takes" in app.browser.get("/review").text
    app.desk.worker.progress.change(finished=True)
    assert "All questions are answered" in app.browser.get("/review?poll=true").text


def test_a_budget_ends_the_run(folder):
    app = App(folder / "gallery", folder / "photos", budget=1)
    assert "0 of 1 answers" in app.browser.get("/review").text
    assert "That was the budget" in app.answer(app.task("new.png"), "new", name="n").text
    app.desk.log.path.unlink()


# -- second looks, contradictions, doubtful labels


def test_a_second_observer_sees_the_same_pairs_blind_and_their_disagreement_is_told(app, folder):
    new, known = app.task("new.png"), app.task("known.png")
    app.answer(known, "same")
    app.answer(new, "different")
    app.answer(new, "new", name="n")
    blind = App(folder / "gallery", folder / "photos", observer="ben", blind=True)
    pairs = [(one.photos[0].digest, one.choices[0].reference.digest) for one in blind.desk.waiting()]
    assert pairs == [(task.photos[0].digest, task.choices[0].reference.digest) for task in (known, new)]
    for task in blind.desk.waiting():
        page = blind.browser.get(f"/review/{task.id}").text
        assert not re.search("zoe|animal-3|said-of|verdict|P\\(", page.replace('name="verdict"', ""))
    assert "zoe" not in blind.browser.get("/history").text
    first, second = blind.desk.waiting()
    blind.answer(first, "same")
    blind.answer(second, "cannot_tell", seen=0)  # what zoe has said meanwhile does not concern ben
    assert not blind.desk.waiting()
    (found,) = agreements(app.desk.log.effective())
    assert (found.observers, found.n_pairs, found.n_agreed, len(found.disagreed)) == (("ben", "zoe"), 2, 1, 1)
    page = app.browser.get("/agreement").text
    assert "ben and zoe" in page and "1 (50 %)" in page and "cannot tell" in page


def test_kappa_by_hand():
    assert kappa([("a", "a"), ("b", "b")]) == 1 and kappa([("a", "b"), ("b", "a")]) == -1
    assert kappa([("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15) == pytest.approx(0.4)
    assert kappa([("a", "a")]) is None


@pytest.mark.parametrize(("verdict", "left"), [("same", ["same", "same"]), ("different", ["same", "different", "different"])])
def test_a_contradiction_is_asked_about_first_and_an_answer_settles_it(app, verdict, left):
    new, (one, other) = app.task("new.png"), app.task("new.png").choices[:2]
    for choice in (one, other):
        photos = [PhotoKey(item.digest, item.ref.image_id) for item in (new.photos[0], choice.reference)]
        app.desk.log.append(Kind.SAME, photos, observer="ben", evidence={"p_same": 0.9 if choice is one else 0.4})
    apart = [PhotoKey(choice.reference.digest, choice.reference.ref.image_id) for choice in (one, other)]
    app.desk.log.append(Kind.DIFFERENT, apart, observer="zoe")
    task = app.desk.waiting()[0]
    assert task.topic is Topic.CONTRADICTION and task.choices[0].reference == other.reference  # the weakest link
    assert "contradicts" in app.browser.get(f"/review/{task.id}").text and "contradicts" in app.browser.get("/health").text
    assert app.answer(task, verdict).status_code == 200
    assert not app.desk.book().contradictions and app.desk.waiting()[0].topic is not Topic.CONTRADICTION
    assert sorted(kinds(app)) == sorted([*left, *(["same"] if verdict == "same" else [])])


@pytest.fixture
def doubtful(app):
    """With what a calibrated gallery would say of its labels."""
    by_name = {item.ref.image_id: item for item in app.session.references}
    one, two, three, four = (next(name for name in sorted(by_name) if name.startswith(f"animal-{n}/")) for n in range(4))
    like = Candidate("animal-2", 3.1, 40, three)
    health = Health((), (Mislabel(two, "animal-1", 0.3, like),), (Twins(("animal-0", "animal-3"), (one, four), 0.8),), 10)
    app.desk.worker.health = health
    return app, by_name[two]


def test_twins_become_one_animal_and_two_again(doubtful):
    app, _ = doubtful
    task = app.task("animal-0 and animal-3")
    assert "Are animal-0 and animal-3 one animal?" in app.browser.get(f"/review/{task.id}").text
    assert "animal-0 and animal-3: one animal?" in app.browser.get("/health").text
    app.answer(task, "same")
    assert kinds(app) == ["merge"] and "animal-3" not in app.desk.book().animals and len(app.desk.book().animals["animal-0"]) == 4
    app.browser.post("/undo")
    assert len(app.desk.book().animals["animal-3"]) == 2


def test_a_wrong_label_moves_one_photo_and_leaves_its_animal(doubtful):
    app, photo = doubtful
    task = app.task("a photo of animal-1")
    assert "This is a photo of animal-1. Is it animal-2?" in app.browser.get(f"/review/{task.id}").text
    app.answer(task, "same")
    book = app.desk.book()
    assert book.of_photo[photo.digest].animal == "animal-2" and len(book.animals["animal-1"]) == 1 and len(book.animals["animal-2"]) == 3
    app.browser.post("/undo")  # both of its decisions
    assert not kinds(app) and app.desk.book().of_photo[photo.digest].animal == "animal-1" and app.desk.n_answers == 0


def test_a_wrong_label_that_was_none_after_all_leaves_the_photo_where_it_stood(doubtful):
    app, photo = doubtful
    task = app.task("a photo of animal-1")
    for verdict, animal in (("same", "animal-2"), ("different", "animal-1"), ("same", "animal-2")):
        app.answer(task, verdict)
        assert app.desk.book().of_photo[photo.digest].animal == animal
    assert kinds(app) == ["not_this_animal", "same"]
    for animal in ("animal-1", "animal-2", "animal-1"):
        app.browser.post("/undo")
        assert app.desk.book().of_photo[photo.digest].animal == animal


def test_a_later_run_goes_on_where_the_last_one_stopped(app, folder):
    app.answer(app.task("known.png"), "same")
    later = App(folder / "gallery")  # remembers the photos
    assert [task.title for task in later.desk.waiting()] == ["new.png"] and later.animal_of(later.task("known.png")) == "animal-3"
    reopened = reid.open(folder / "gallery", FAST)
    assert len(reopened.gallery.references) == 10  # the log beside the photos disturbs nobody
