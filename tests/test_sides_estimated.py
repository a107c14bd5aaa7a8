"""The side of a photo that nobody has said: estimated from those that are known, proposed in the review app, and never taken for said."""

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import save
from reviewing import FAST, App

import reid
from reid import extractors, stages
from reid.catalogue import Kind
from reid.catalogue.sides import mirrored
from reid.decision.reasons import percent
from reid.decision.sides import LEAST, MOST, STRENGTHS, SURE, SideEstimate, learn, learnable
from reid.errors import WeightsError
from reid.extractors.layout import _box, layouts
from reid.records import Indexed, Photo, PhotoRef
from reid.review.desk import Desk

N = 44  # photos of known sides, half of them left


def beast(number: int, size=(160, 120)) -> np.ndarray:
    """A spotted body with a head on the left, somewhere on grass."""
    rng = np.random.default_rng([23, number])
    width, height = size
    canvas = np.ascontiguousarray(rng.normal((70, 120, 60), 14, (height, width, 3)).clip(0, 255).astype(np.uint8))
    x, y = int(width * rng.uniform(0.45, 0.6)), int(height * rng.uniform(0.45, 0.55))
    fur = tuple(int(value) for value in rng.integers(110, 200, 3))
    for leg in (-34, -22, 20, 32):
        cv2.line(canvas, (x + leg, y), (x + leg, y + 40), fur, 7, cv2.LINE_AA)
    cv2.ellipse(canvas, (x, y), (46, 20), 0, 0, 360, fur, -1, cv2.LINE_AA)
    cv2.line(canvas, (x - 36, y), (x - 56, y - 26), fur, 13, cv2.LINE_AA)
    cv2.ellipse(canvas, (x - 60, y - 28), (15, 9), 20, 0, 360, fur, -1, cv2.LINE_AA)
    for _ in range(25):
        spot = int(x + rng.uniform(-36, 36)), int(y + rng.uniform(-12, 12))
        cv2.circle(canvas, spot, int(rng.integers(2, 5)), tuple(int(value) for value in rng.integers(0, 90, 3)), -1, cv2.LINE_AA)
    return canvas


def shot(number: int, side: str) -> np.ndarray:
    return beast(number) if side == "left" else np.ascontiguousarray(beast(number)[:, ::-1])


@pytest.fixture
def gallery(tmp_path):
    """Animals of two photos each, whose sides the table says but for the last two photos; and one that a card has."""
    rows = ["path,identity,orientation"]
    for number in range(N + 2):
        side = ("left", "right")[number % 2]
        save(tmp_path / "g" / f"{number}.png", shot(number, side))
        rows.append(f"{number}.png,animal-{number // 2},{side if number < N else ''}")
    (tmp_path / "g" / "metadata.csv").write_text("\n".join(rows))
    save(tmp_path / "card" / "new.png", shot(99, "right"))
    return tmp_path / "g"


def pretended(n=120, noise=0.6, seed=0, sides=("left", "right", "top")):
    """Layouts of photos and mirror images in which a number tells left from right and another the top."""
    rng = np.random.default_rng(seed)
    truth = [sides[number % len(sides)] for number in range(n)]
    found = rng.normal(size=(n, 2, 40)).astype(np.float32)
    across = np.array([{"left": 1.0, "right": -1.0}.get(side, 0.0) for side in truth])
    found[:, :, 0] = noise * found[:, :, 0] + 2 * np.stack([across, -across], axis=1)
    found[:, :, 1] = noise * found[:, :, 1] + 2 * np.array([side == "top" for side in truth])[:, None]
    return found, truth, [f"animal-{number // 4}" for number in range(n)]


def test_a_mirror_image_shows_the_opposite_side():
    words = {"left": "right", "topleft": "topright", "top": "top", "frontright": "frontleft", "dorsal": "dorsal", "flank": "flank"}
    assert {word: mirrored(word) for word in words} == words


def test_sides_are_learned_from_enough_photos_of_two_that_are_known_words():
    assert learnable([*["left"] * LEAST, *["right"] * (LEAST - 1)]) == [] == learnable([*["left"] * 99, None, "tail"])
    some = ["tail", *["left"] * LEAST, "top", None, *["right"] * LEAST, *["tail"] * 50]
    assert [some[place] for place in learnable(some)] == [*["left"] * LEAST, *["right"] * LEAST]


def test_a_rare_side_is_learned_from_however_large_the_gallery(tmp_path):
    sides = ["right" if number % 100 == 7 else "left" for number in range(3000)]
    items = [Indexed(PhotoRef(str(number), tmp_path, orientation=side), str(number)) for number, side in enumerate(sides)]
    known = [item.ref.orientation for item in stages.known_sides(items)]
    assert learnable(known) and known.count("right") == LEAST and MOST - LEAST <= len(known) <= MOST + LEAST
    assert stages.known_sides(items[:900]) == []  # nine right ones


def test_probabilities_are_those_of_animals_that_were_left_out():
    told, truth, animals = pretended()
    model = learn(told, truth, animals)
    right = np.array(model.sides)[model.left_out.argmax(axis=1)] == truth
    sure = model.left_out.max(axis=1) >= SURE
    assert model.sides == ("left", "right", "top") and right.mean() > 0.9 and right[sure].mean() > 0.95 and sure.mean() > 0.5
    fresh, wanted, _ = pretended(seed=1)
    p = model.probabilities(fresh)
    assert (np.array(model.sides)[p.argmax(axis=1)] == wanted).mean() > 0.9
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(model.probabilities(fresh[:, ::-1])[:, [1, 0, 2]], p)  # no side is preferred
    again = learn(told, truth, animals)
    assert np.array_equal(again.weights, model.weights)
    rng = np.random.default_rng(2)
    nothing = learn(rng.normal(size=(120, 2, 40)).astype(np.float32), truth, animals).left_out  # where nothing tells them apart
    assert (nothing.max(axis=1) >= SURE).mean() < 0.05


def test_an_animal_that_is_known_by_heart_is_no_proof():
    """What tells animals apart, and sides of each animal only within it, is of no use for another one."""
    rng = np.random.default_rng(3)
    own = np.repeat(rng.normal(size=(30, 1, 1, 40)), 4, axis=1).reshape(120, 1, 40)
    told = np.concatenate([own, -own], axis=1).astype(np.float32) + rng.normal(scale=0.05, size=(120, 2, 40)).astype(np.float32)
    truth = [("left", "right")[number // 4 % 2] for number in range(120)]
    model = learn(told, truth, [f"animal-{number // 4}" for number in range(120)])
    right = np.array(model.sides)[model.left_out.argmax(axis=1)] == truth
    assert right.mean() < 0.75 and np.abs(model.left_out.max(axis=1).mean() - right.mean()) < 0.2


def test_photos_that_all_look_alike_or_are_of_one_animal_teach_caution():
    found, truth, animals = pretended()
    nothing = learn(np.zeros_like(found), truth, animals).estimate(found[0])
    assert nothing.p < 0.5
    assert learn(found, truth, ["one"] * len(truth)).strength == max(STRENGTHS)  # no animal is left out that would say which serves


def test_a_photo_is_told_by_its_animals_box_and_by_its_mirror_image():
    network = extractors.segmenter("cpu")
    pixels = beast(1)
    found = layouts(Photo("a", pixels), network)
    other = layouts(Photo("b", np.ascontiguousarray(pixels[:, ::-1])), network)
    assert found.shape == (2, 16 * 112) and np.isfinite(found).all()
    np.testing.assert_allclose(found.astype(float), other[::-1].astype(float), atol=0.02)
    assert np.abs(found[0].astype(float) - found[1]).max() > 0.5
    mask = np.zeros(pixels.shape[:2], bool)
    mask[20:60, 30:90] = True
    assert _box(Photo("a", pixels, mask)) == (24, 16, 96, 64) and _box(Photo("a", pixels)) == (0, 0, 160, 120)


def test_the_review_app_proposes_what_nobody_has_said(gallery, tmp_path, call):
    app = App(gallery, tmp_path / "card")
    items = {item.ref.image_id: item for item in app.desk.items().values()}
    sides = {name: app.desk.worker.sides[items[name].digest] for name in (f"{N}.png", f"{N + 1}.png")}
    task = app.task("new.png")
    new = app.desk.worker.sides[task.photos[0].digest]
    assert [one.side for one in (*sides.values(), new)] == ["left", "right", "right"] and min(
        one.p for one in (*sides.values(), new)
    ) >= SURE
    assert len(app.desk.worker.sides) == 3  # of no photo whose side is said

    page = app.browser.get(f"/review/{task.id}").text
    assert re.search(r"right\? \(estimated\) <kbd>S</kbd>", page) and re.search(r'value="right" data-key="enter">Right, as estimated', page)
    assert task.photos[0].ref.orientation is None and app.desk.book().of_photo[task.photos[0].digest].ref.orientation is None
    with reid.open(gallery, FAST) as opened:  # and is nothing that anything else rests on
        assert [ref.orientation for ref in opened.gallery.references].count(None) == 2
    out = tmp_path / "sides.csv"
    assert call("export", "--gallery", gallery, "--to", "wildlife-datasets", "--out", out)[0] == 0
    assert [out.read_text().count(side) for side in ("left", "right")] == [N // 2, N // 2]

    answer = app.browser.post(
        f"/review/{task.id}/sides", data={"photos": app.desk.book().of_photo[task.photos[0].digest].id, "side": "right"}
    )
    [said] = [one for one in app.desk.log.effective() if one.kind is Kind.SIDE]
    assert (
        said.value == "right"
        and said.evidence["estimated"] == ["right", round(new.p, 3)]
        and "(estimated)" not in answer.text.split("panel")[1]
    )

    card = app.desk.book().of_photo[items[f"{N}.png"].digest]
    animal = next(name for name, cards in app.desk.book().animals.items() if card in cards)
    address = re.search(r"/animals/[0-9a-f]{16}", app.browser.get("/catalogue").text.split(f">{animal}<")[0].rsplit("<a ", 1)[1])[0]
    assert re.search(r'<option value="" hidden disabled selected>left\? (&gt; )?9[\d.]+ %</option>', app.browser.get(address).text)
    app.browser.post("/sides", data={"photos": card.id, "side": "left"})
    app.browser.post("/sides", data={"photos": card.id, "side": ""})  # it is hard to see: that is not asked again
    assert app.desk.estimate(app.desk.book().cards[card.id]) is None
    assert App(gallery, observer="ben", blind=True).desk.estimate(card) is None


@pytest.mark.parametrize(("seconds", "estimated"), [(N + 1, [False, True, True]), (N / 2 + 1, [False, False, True]), (1, [False] * 3)])
def test_sides_are_proposed_while_questions_are_answered(gallery, tmp_path, monkeypatch, seconds, estimated):
    """What tells them is learned beside the questions, as long as each of these takes; a look at a photo takes a second here."""
    clock, found = [0.0], []
    monkeypatch.setattr("reid.review.worker.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def look_at(items, work):
        for _ in stages.look_at(items, work):
            clock[0] += 1
            yield

    def answer(session, query, real=reid.Session.answer):
        clock[0] += seconds
        return real(session, query)

    monkeypatch.setattr("reid.review.worker.look_at", look_at)
    monkeypatch.setattr(reid.Session, "answer", answer)
    told = Desk._answered

    def answered(desk, query, ranking):
        found.append(query.photos[0].digest in desk.worker.sides)
        told(desk, query, ranking)

    monkeypatch.setattr(Desk, "_answered", answered)
    for number in (98, 97):
        save(tmp_path / "card" / f"{number}.png", shot(number, "left"))
    app = App(gallery, tmp_path / "card")
    assert found == estimated and len(app.desk.worker.sides) == 5  # in the end that of each


def accepts(page):
    """Where the button below the photos writes them down, and what app.js gives it: the photos above it whose side is estimated."""
    return re.search(r'hx-post="(/sides/estimated[^"]*)" hx-target="#main" data-accepts', page)[1], re.findall(
        'data-estimated="(\\w+)"', page
    )


def test_the_next_photos_follow_those_that_are_shown_whatever_is_said_meanwhile(gallery, tmp_path, monkeypatch):
    for number in range(100, 106):
        save(tmp_path / "card" / f"{number}.png", shot(number, ("left", "right")[number % 2]))
    monkeypatch.setattr("reid.review.browsing.BATCH", 3)
    app, sorts = App(gallery, tmp_path / "card"), []
    everything = app.browser.get("/catalogue?show=unsided").text
    monkeypatch.setattr("reid.review.desk.sorted", lambda *given, **how: sorts.append(1) or sorted(*given, **how), raising=False)
    assert len(accepts(everything)[1]) == 3 and "Of 9 photos" in everything  # no more than is shown
    sides = dict(app.desk.worker.sides)
    page, seen = everything, []
    while True:
        shown = re.findall(r'src="/photos/(\w+)/small"', page)
        seen += shown
        for photo in shown[-2:]:  # the last one, too, after which the next follow
            app.browser.post("/sides", data={"photos": photo, "side": "" if photo == shown[-1] else "top"})
        first = next(iter(sides))
        app.desk.worker.sides = {**sides, "a" * 64: SideEstimate("left", 0.9), first: sides[first]}  # and another is estimated
        more = re.search(r'<a href="(/catalogue/more[^"]*)"', page)
        if more is None:
            break
        assert "intersect" not in page  # what nobody has looked for is not above the button
        page = app.browser.get(more[1].replace("&amp;", "&")).text
    assert len(seen) == len(set(seen)) == 9 and not sorts  # the order is that of the page before


def test_all_estimates_are_accepted_at_once_and_taken_back_at_once(gallery, tmp_path, call):
    app = App(gallery, tmp_path / "card")
    app.answer(app.task("new.png"), "new", name="nova")
    done = app.browser.get("/review").text
    assert '<a href="/catalogue?show=unsided">3 photos have no side yet</a>; of 3 it is estimated' in done
    page = app.browser.get("/catalogue?show=unsided").text
    assert page.count("<figure") == page.count("data-estimated=") == 3 and [
        float(p) for p in re.findall(r">(?:left|right)\? ([\d.]+) %<", page.replace("&gt; ", ""))
    ]
    sides = re.findall(r">(left|right)\? ", page)
    assert sides == ["left", "right", "right"] and "Accept these 3 estimates" in page and "Undo takes all of them back" in page
    where, (spared, *rest) = accepts(page)
    ids = " ".join([spared, *rest])
    app.browser.post("/sides", data={"photos": spared, "side": ""})  # hard to see, said after the page was made
    answer = app.browser.post(where, data={"photos": " ".join([spared, *rest, "0123456789abcdef"])})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/catalogue?show=unsided")
    said = [one for one in app.desk.log.effective() if one.kind is Kind.SIDE][1:]
    assert [(one.value, len(one.photos), one.evidence["estimated"][0]) for one in said] == [("right", 1, "right")] * 2
    page = app.browser.get("/catalogue?show=unsided").text
    assert "2 photos: sides as estimated." in page and page.count("<figure") == 1 and "Accept" not in page
    told = [f"estimated right, {percent(one.evidence['estimated'][1])}" for one in said]
    assert all(one in app.browser.get("/history").text.replace("&gt;", ">") for one in told)
    shown = " ".join(call("decisions", "--gallery", gallery)[1].split())
    assert shown.count("(estimated right, ") == 2
    undone = app.browser.post("/undo")
    assert undone.headers["Location"] == "/catalogue?show=unsided" and app.browser.get("/catalogue?show=unsided").text.count("<figure") == 3
    assert [one.value for one in app.desk.log.effective() if one.kind is Kind.SIDE] == [""] and app.desk.n_answers == 1
    assert ">2 photos have no side yet<" in app.browser.get("/review").text  # of the third somebody has said that it cannot be told
    app.browser.post(where, data={"photos": ids})
    first, second = [one.number for one in app.desk.log.effective()][-2:]
    app.browser.post(f"/history/{first}/undo")  # any of them by itself, and the rest still at once
    assert [one.number for one in app.desk.log.effective()][-1] == second
    app.browser.post("/undo")
    assert second not in [one.number for one in app.desk.log.effective()]
    blind = App(gallery, observer="ben", blind=True)
    assert "estimated" not in blind.browser.get("/catalogue?show=unsided").text
    blind.browser.post(where, data={"photos": ids})
    assert not [one for one in blind.desk.log.effective() if one.observer == "ben"]


def test_photos_are_answered_where_the_weights_that_tell_sides_have_gone(gallery, tmp_path, monkeypatch):
    App(gallery, settings=FAST.replace(segment=False))  # all of the gallery is stored

    def gone(device):
        raise WeightsError("not on this machine")

    monkeypatch.setattr("reid.extractors.segmenter", gone)
    save(tmp_path / "card" / "newer.png", shot(98, "left"))
    app = App(gallery, tmp_path / "card", settings=FAST.replace(segment=False))
    assert app.desk.worker.state.error is None and app.task("new.png") and app.task("newer.png")


@pytest.mark.parametrize("where", ["look_at", "learn_sides", "estimated_sides", "has_layouts"])
def test_questions_go_on_where_sides_cannot_be_learned_and_it_is_tried_again(gallery, tmp_path, monkeypatch, where):
    def broken(*given):
        raise ValueError("nothing\nfits")

    save(tmp_path / "card" / "newer.png", shot(98, "left"))
    with monkeypatch.context() as patch:
        patch.setattr(f"reid.review.worker.{where}", broken)
        app = App(gallery, tmp_path / "card")
        assert app.desk.worker.state.error is None and app.task("new.png") and app.task("newer.png")
        told = "No side is estimated: ValueError: nothing fits. It is tried again with the next photos"
        is_told = where != "has_layouts"  # which says only whether it takes long
        assert len(app.desk.worker.sides) == 4 * (not is_told)
        for page in ("/health", "/catalogue?show=unsided"):
            assert (told in app.browser.get(page).text) == is_told, page
    app.desk.add([save(tmp_path / "more" / "more.png", shot(97, "right"))])
    app.desk.worker._work()
    assert len(app.desk.worker.sides) == 5 and "No side is estimated" not in app.browser.get("/health").text


def test_what_photos_are_told_by_is_stored_and_computed_again_where_it_is_damaged(gallery, monkeypatch):
    work = reid.open(gallery, FAST).work
    with reid.open(gallery, FAST) as opened:
        known = stages.known_sides(opened.references)
        assert len(known) == N and not stages.has_layouts(known, work)
        model = stages.learn_sides(known, work)
        assert stages.has_layouts(known, work)
        monkeypatch.setattr("reid.extractors.layout.layouts", lambda *given: pytest.fail("it is stored"))
        assert np.array_equal(stages.learn_sides(known, work).weights, model.weights)
        monkeypatch.undo()
        file = next((work.folder / "layouts").rglob("*.safetensors"))
        file.write_bytes(file.read_bytes()[:-3])
        assert np.array_equal(stages.learn_sides(known, work).weights, model.weights)
        few = stages.learn_sides(known[: LEAST + 3], work)
    assert few is None


def test_index_says_how_many_sides_can_be_estimated(gallery, tmp_path, call):
    config = tmp_path / "fast.toml"
    config.write_text(
        '[extract]\nextractor = "sift"\nresize = 160\nsegment = false\n[match]\nmatcher = "nearest"\n[score]\nfuse = "none"\n'
    )
    index = ("index", "--gallery", gallery, "--config", config)
    assert "sides: nobody has said that of 2 photos; `reid review` estimates and proposes it" in call(*index)[1]
    table = gallery / "metadata.csv"
    table.write_text(re.sub(r",left$", ",", table.read_text(), count=4, flags=re.M))  # too few to learn from
    assert "sides:" not in call(*index)[1]


def test_an_estimate_is_a_side_and_its_probability():
    model, told = learn(*pretended()), pretended(seed=5)[0][:3]
    for one, p in zip(told, model.probabilities(told)):
        assert model.estimate(one) == SideEstimate(model.sides[int(p.argmax())], float(p.max()))
