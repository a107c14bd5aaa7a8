"""A gallery that is copied to another computer: what was decided, learned and asked there goes on here."""

import shutil

from conftest import draw_animal, save
from reviewing import FAST, App

import reid


def test_a_copied_gallery_goes_on_where_the_first_stopped(tmp_path):
    first, second = tmp_path / "first" / "turtles", tmp_path / "second" / "turtles"
    for identity in range(12):
        for view in range(2):
            save(first / f"animal-{identity}" / f"202{view}-05-01.png", draw_animal(identity, view))
    inside = [save(first / "today" / f"{name}.png", draw_animal(*of)) for name, of in (("a", (3, 5)), ("b", (7, 6)), ("c", (40, 0)))]
    rows = [f"{path.relative_to(first)},{path.parent.name}" for path in sorted(first.glob("animal-*/*.png"))]
    (first / "metadata.csv").write_text("\n".join(["path,identity", *rows]))
    with reid.open(first, FAST) as opened:
        learned = opened.calibrate()
    app = App(first, *inside)
    for title, verdict, name in (("a.png", "same", ""), ("c.png", "new", "nova")):
        assert app.answer(app.task(title), verdict, name=name).status_code == 200
    asked, labels = [task.id for task in app.desk.waiting()], {card.ref.image_id: card.animal for card in app.desk.book().of_photo.values()}
    app.session.close()

    shutil.copytree(first, second)
    shutil.rmtree(first.parent)
    app = App(second)  # the photos are remembered
    assert [task.id for task in app.desk.waiting()] == asked and app.task("b.png").id in asked
    assert {card.ref.image_id: card.animal for card in app.desk.book().of_photo.values()} == labels
    assert labels["a.png"] == "animal-3" and labels["c.png"] == "nova"
    assert app.session.judges.calibration.about() == learned.about() and app.session.index().n_extracted == 0
    assert app.answer(app.task("b.png"), "same").status_code == 200 and app.animal_of(app.task("b.png")) == "animal-7"
    for _ in range(2):  # what was decided on the first computer is undone here
        app.browser.post("/undo")
    assert app.animal_of(app.task("c.png")) is None and len(app.desk.log.history()) == 5
