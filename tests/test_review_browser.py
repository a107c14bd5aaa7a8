"""In a real browser, by the keyboard alone: a small day on the sample gallery, and a whole one, from a card of photos to a MARK file."""

import base64
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import draw_animal, save
from PIL import Image

from reid.catalogue import DecisionLog, Kind

sync_api = pytest.importorskip("playwright.sync_api")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
GALLERY = Path(__file__).parents[1] / "gallery"
FAST = "--extractor sift --matcher nearest --fuse none --max-keypoints 300 --resize 400 --no-browser --observer zoe --port 0".split()
PATIENCE = 180_000  # ms: features of the gallery come first
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium here")]


NAMELESS = """[...document.querySelectorAll('button, input:not([type=hidden]), select')]
    .filter(one => !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map(one => one.outerHTML)"""  # to a screen reader


class Server:
    """`reid review` in a process of its own."""

    running: ClassVar[list["Server"]] = []

    def __init__(self, *words: object):
        command = [sys.executable, "-m", "reid", "review", *map(str, words), *FAST]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.running.append(self)
        said = iter(self.process.stdout.readline, "")
        self.link = next(found[1] for line in said if (found := re.match(r"open (\S+)", line)))

    def stop(self, by: int = signal.SIGINT) -> int:
        self.process.send_signal(by)
        return self.process.wait(180)  # of a busy machine


@pytest.fixture
def gallery(tmp_path):
    root = tmp_path / "gallery"
    root.mkdir()
    shutil.copytree(GALLERY / "turtles", root / "turtles")
    shutil.copytree(GALLERY / "queries", tmp_path / "queries")
    lines = (GALLERY / "metadata.csv").read_text().splitlines()
    (root / "metadata.csv").write_text("\n".join(line for line in lines if not line.startswith("queries/")))
    return root


@pytest.fixture
def page():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
        yield page
        browser.close()
        while Server.running:  # of a test that failed
            Server.running.pop().process.kill()


def photo(page) -> str:
    """What is asked about."""
    return page.locator("figure.panel figcaption strong").first.inner_text()


def press(page, key: str) -> None:
    """Press a key, and wait until the page that follows is there."""
    with page.expect_response(lambda answer: answer.request.method == "POST" or "/review" in answer.url):
        page.keyboard.press(key)
    page.wait_for_selector(".htmx-request, .htmx-swapping, .htmx-settling", state="detached")


def test_a_small_day_by_the_keyboard(gallery, page, tmp_path):
    log, server = DecisionLog(gallery), Server(tmp_path / "queries", "--gallery", gallery)
    page.goto(server.link)
    page.wait_for_selector("#pair", timeout=PATIENCE)
    page.wait_for_selector("#progress:not([hx-get])", state="attached", timeout=PATIENCE)
    assert "/open" not in page.url and "#" not in page.url and page.evaluate("document.cookie") == ""

    page.goto(server.link.partition("/open")[0] + "/review")  # all are answered: the least sure one
    first = photo(page)
    press(page, "n")
    assert photo(page) == first and page.locator("li.here kbd").first.inner_text() == "2"
    press(page, "5")
    assert page.locator("li.here kbd").first.inner_text() == "5"
    press(page, "k")
    press(page, "y")
    second = photo(page)
    assert second != first and [one.kind for one in log.effective()] == [Kind.DIFFERENT, Kind.SAME]

    for pressed in ("true", "false"):  # marks alone, nothing
        page.keyboard.press("m")
        assert page.locator("[data-do=marks]").get_attribute("aria-pressed") == pressed
    before = page.locator(".stage img").first.evaluate("one => one.style.transform")
    page.keyboard.press("c")
    page.wait_for_selector("#contours:has-text('Candidate: ')")
    page.keyboard.press("c")
    assert page.inner_text("#contours") == ""
    page.keyboard.press("z")
    assert page.locator(".stage.zoomed").count() == 2 and page.locator(".stage img").first.evaluate("one => one.style.transform") != before
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("y")  # belongs to nobody while the list is open
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.wait_for_selector("#aside[open] svg.timeline")
    page.keyboard.press("Escape")
    assert len(log.history()) == 2

    page.keyboard.press("w")  # the rest of the catalogue first
    page.wait_for_selector("#rest[open] .photo a:focus")
    page.keyboard.press("w")
    page.keyboard.type("Nyx y n")  # letters in a field are no keys
    press(page, "Enter")
    third = photo(page)
    assert third not in (first, second) and log.effective()[-1].kind is Kind.NEW and log.effective()[-1].value == "Nyx y n"
    press(page, "Control+z")
    assert photo(page) == second and log.effective()[-1].kind is Kind.SAME
    press(page, "Control+z")
    press(page, "Control+z")
    assert photo(page) == first and not log.effective() and len(log.history()) == 6
    press(page, "Space")
    assert photo(page) != first
    proposed = page.locator(".answer .first").inner_text()
    page.keyboard.press("Enter")  # confirms what is proposed; a new animal is asked for its name
    assert page.locator("#naming[open], #rest[open]").count() == ("new animal" in proposed)
    page.keyboard.press("Escape")
    page.wait_for_selector(".htmx-request", state="detached")
    assert server.stop() == 0

    page.keyboard.press("y")  # nobody is there
    page.wait_for_selector("#alert:not([hidden])")
    assert "does not answer" in page.inner_text("#alert")
    decided = len(log.history())
    page.faults.clear()
    server = Server("--gallery", gallery)  # the photos are remembered
    page.goto(server.link)
    page.wait_for_selector("#pair", timeout=PATIENCE)
    assert len(log.history()) == decided and page.faults == []
    press(page, "u")
    assert log.effective()[-1].kind is Kind.CANNOT_TELL
    assert server.stop(signal.SIGKILL) != 0 and log.effective()[-1].kind is Kind.CANNOT_TELL


def test_the_rest_of_the_catalogue_is_looked_through_by_the_keyboard(gallery, page, tmp_path):
    server = Server(tmp_path / "queries" / "q01.jpg", "--gallery", gallery)
    page.goto(server.link)
    page.wait_for_selector("#pair", timeout=PATIENCE)
    page.evaluate("window.stays = true")
    for width, height in ((1400, 900), (1280, 720), (1366, 768)):  # all nine candidates are in sight
        page.set_viewport_size({"width": width, "height": height})
        last = page.locator(".strip > li").last.bounding_box()
        assert last["x"] + last["width"] <= width and last["y"] + last["height"] <= height, width
    for key, number in (("9", 9), ("j", 10), ("k", 9), ("Shift+J", 10), ("Shift+K", 1)):
        press(page, key)
        page.wait_for_url(f"**?choice={number}")
        here, strip = (page.locator(one).bounding_box() for one in ("li.here", ".strip"))
        assert here["x"] >= strip["x"] - 1 and here["x"] < strip["x"] + strip["width"]  # in sight
    page.keyboard.press("b")
    page.wait_for_selector("#rest[open] .photo a:focus")
    tiles = page.locator("#rest .photo a")
    for key, place in (("j", 1), ("ArrowRight", 2), ("k", 1), ("ArrowLeft", 0), ("ArrowUp", 0), ("y", 0)):
        page.keyboard.press(key)
        assert tiles.nth(place).evaluate("one => one === document.activeElement"), key
    page.keyboard.press("ArrowDown")
    boxes = [tiles.nth(0).bounding_box(), page.locator("#rest .photo a:focus").bounding_box()]
    assert boxes[0]["x"] == boxes[1]["x"] and boxes[0]["y"] < boxes[1]["y"]
    page.select_option("#rest select[name=site]", index=1)
    page.wait_for_function("n => document.querySelectorAll('#rest .photo').length < n", arg=tiles.count())
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.wait_for_selector("#rest[open] .photo a:focus")
    page.keyboard.press("Enter")
    page.wait_for_url("**?choice=*&right=*")
    assert page.locator("dialog[open]").count() == 0 and "10 to" in page.inner_text(".range") and page.evaluate("window.stays")
    page.set_viewport_size({"width": 390, "height": 800})
    page.locator("[data-key=b]").click()
    page.wait_for_selector("#rest[open] .photo")
    assert page.evaluate("(one => one.scrollWidth <= one.clientWidth)(document.querySelector('#rest'))") and page.faults == []
    server.stop()


def test_a_page_that_back_leads_to_works_as_before(gallery, page, tmp_path):
    """It is made anew, as it would be answered now, with scripts of its own."""
    server = Server(tmp_path / "queries" / "q01.jpg", "--gallery", gallery)
    page.goto(server.link)
    page.wait_for_selector("#pair", timeout=PATIENCE)
    photo = "document.querySelector('#pair figure img').getBoundingClientRect().width"
    for _ in range(2):
        page.wait_for_function(f"() => {photo} > 0")
        before = page.evaluate(photo)
        page.locator("#pair [data-key~='+']").first.click()
        page.wait_for_function(f"() => {photo} > {before}")  # larger
        press(page, "j")
        page.wait_for_url("**?choice=2")
        page.go_back()
        page.wait_for_function("() => document.querySelector('.strip > li').matches('.here')")
    assert page.faults == []
    server.stop()


def test_no_page_scrolls_sideways_on_a_phone_or_breaks_the_policy(gallery, page, tmp_path):
    long = gallery / "turtles" / ("Sehrlangername" * 12)
    (gallery / "turtles" / "amber").rename(long)
    table = (gallery / "metadata.csv").read_text().replace("turtles/amber/", f"turtles/{long.name}/").replace(",amber,", f",{'Ж龟' * 60},")
    (gallery / "metadata.csv").write_text(table, "utf-8")
    server = Server(tmp_path / "queries" / "q01.jpg", "--gallery", gallery)
    page.goto(server.link)
    page.wait_for_selector("#pair", timeout=PATIENCE)
    base, review = server.link.partition("/open")[0], page.url
    name = page.locator(".choice .name", has_text="Ж")
    while not (name.count() and name.is_visible()):
        press(page, "Shift+J")
    name.click()
    page.wait_for_selector("figcaption a:has-text('Ж')")
    press(page, "n")
    assert "Ж" in page.locator(".last").inner_text()
    page.goto(f"{base}/catalogue?animal=Ж")
    animal = page.locator(".photo a").first.get_attribute("href")
    for width, path in ((w, p) for w in (390, 820, 1366) for p in ("/catalogue", animal, "/health", "/history", "/agreement", review)):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(path if path.startswith("http") else base + path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, path)
        assert page.locator("main").count() == page.locator("header nav").count() == page.locator("h1").count() == 1
        assert page.evaluate(NAMELESS) == [], path
    assert page.faults == []
    server.stop()


def card(folder: Path, shots: dict[str, tuple[int, int, str]]) -> Path:
    """A camera's folder: by file name, the animal, its view, and the moment that EXIF says."""
    for name, (identity, view, taken) in shots.items():
        exif = Image.Exif()
        exif[0x0110] = "TG-6"
        exif.get_ifd(0x8769)[0x9003] = taken  # DateTimeOriginal
        save(folder / "DCIM" / "100OLYMP" / name, draw_animal(identity, view), exif=exif, quality=95)
    return folder


def reid(*words: object) -> str:
    """A command in a process of its own; what it says."""
    done = subprocess.run([sys.executable, "-m", "reid", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_whole_day_from_a_card_to_a_mark_file(page, tmp_path):
    catalogue, season = tmp_path / "catalogue", tmp_path / "season"
    for identity in range(4):
        for view, day in enumerate(("2023-06-01", "2023-07-02")[: 1 + identity % 2]):
            save(catalogue / f"turtle-{identity}" / f"{day}.png", draw_animal(identity, view))
    photos = card(tmp_path / "card", {
        "P1010001.JPG": (1, 5, "2024:06:10 09:00:00"), "P1010002.JPG": (2, 5, "2024:06:10 11:00:00"),
        "P1010003.JPG": (50, 0, "2024:07:11 09:00:00"), "P1010004.JPG": (60, 0, "2024:07:11 12:00:00"),
    })  # fmt: skip
    assert (
        "gets 4 new photos (4 without a name)" in reid("import", photos, "--gallery", season, "--copy", "--dry-run") and not season.exists()
    )
    assert "6 new photos (6 named, 4 animals), 6 photos copied into" in reid("import", catalogue, "--gallery", season, "--copy")
    assert "4 new photos (4 without a name), 4 photos copied into" in reid("import", photos, "--gallery", season, "--copy")

    server = Server(season / "photos" / "DCIM", "--gallery", season)
    page.goto(server.link)
    page.wait_for_selector("#progress:not([hx-get])", state="attached", timeout=PATIENCE)
    decided = {"P1010001": "turtle-1", "P1010002": "turtle-2", "P1010003": "nova", "P1010004": None}
    page.goto(server.link.partition("/open")[0] + "/review")
    asked = []
    while page.locator("#pair").count() and len(asked) < 30:
        name = next(name for name in decided if name in photo(page))
        animal = decided[name]
        if name not in asked and animal == "turtle-1":  # a slip, seen at once
            press(page, "n")
            press(page, "Control+z")
            assert name in photo(page)
        if name not in asked:  # a slip here, too; what is zoomed stays so
            for key in ("z", "s", "r", "Control+z", "s", "l"):
                (page.keyboard.press if key in "zs" else partial(press, page))(key)
            assert page.locator("figcaption button[data-key=s]").inner_text().split()[-2:] == ["left", "S"]
            assert page.locator(".stage.zoomed").count() == 2
            page.keyboard.press("z")
        asked.append(name)
        if animal is None:
            press(page, "u")
        elif animal == "nova":
            page.keyboard.press("w")
            page.keyboard.type("nova")
            press(page, "Enter")
        else:
            while page.locator("figure.panel figcaption strong").last.inner_text().split()[0] != animal:
                press(page, "j")
            press(page, "y")
    assert set(asked) == set(decided) and "All questions are answered" in page.inner_text("main") and page.faults == []
    assert server.stop() == 0

    lines = {}
    for side in ("left", "linked"):  # linked: of animals that are not known from one side only
        words = "--out", tmp_path / f"{side}.inp", "--occasions", "month", "--side", side
        assert "3 of 10 photos" in reid("export", "--gallery", season, "--to", "mark", *words)
        lines[side] = (tmp_path / f"{side}.inp").read_text().splitlines()
    assert lines["left"][0] == lines["linked"][0] == "/* occasions: 2023-06, 2023-07, 2024-06, 2024-07 */"
    assert lines["left"][1:] == ["/*nova*/ 0001 1;", "/*turtle-1*/ 0010 1;", "/*turtle-2*/ 0010 1;"]
    assert lines["linked"][1:] == ["/*turtle-0*/ 1000 1;", "/*turtle-3*/ 1100 1;"]


DROP = """async ([name, data]) => {
    const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0)), given = new DataTransfer();
    given.items.add(new File([bytes], name));
    const options = { dataTransfer: given, bubbles: true, cancelable: true };
    for (const kind of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(kind, options));
}"""


def test_photos_that_are_added_on_the_page_are_asked_about(page, tmp_path):
    gallery, shots = tmp_path / "gallery", [save(tmp_path / f"{identity}.png", draw_animal(identity, 5)) for identity in range(3)]
    for identity in range(3):
        save(gallery / f"animal-{identity}" / "0.png", draw_animal(identity, 0))
    server = Server("--gallery", gallery)
    page.goto(server.link)
    page.wait_for_selector("#progress:not([hx-get])", state="attached", timeout=PATIENCE)
    page.evaluate(DROP, ["dropped.png", base64.b64encode(shots[0].read_bytes()).decode()])
    page.wait_for_selector("#pair", timeout=PATIENCE)
    assert photo(page) == "dropped.png" and not page.locator("#add").is_visible() and "/review" in page.url
    press(page, "y")
    page.keyboard.press("o")
    page.set_input_files("#add input[multiple]", [shots[1], tmp_path / "gallery" / "decisions.sqlite"])
    page.wait_for_selector("#pair", timeout=PATIENCE)
    page.wait_for_selector("#alert:not([hidden])")
    assert photo(page) == "1.png" and "decisions.sqlite is not a photo" in page.inner_text("#alert")
    page.keyboard.press("o")
    page.locator("#folder").press_sequentially(str(shots[2]))
    page.keyboard.press("Enter")
    page.wait_for_selector("#add", state="hidden")
    press(page, "y")
    page.get_by_text("Who is 2.png?").wait_for(timeout=PATIENCE)
    assert [one.kind for one in DecisionLog(gallery).effective()] == [Kind.SAME, Kind.SAME] and not page.faults[1:]
    assert server.stop() == 0 and sorted(path.name for path in (gallery / "reid-inbox").iterdir()) == ["1.png", "dropped.png"]
    assert "5 rows" in reid("import", gallery / "reid-inbox", "--gallery", gallery)


def test_names_by_the_keyboard_and_the_last_answer_beside_undo(page, tmp_path):
    gallery, shot = tmp_path / "gallery", save(tmp_path / "q.png", draw_animal(50, 0))
    for identity in range(3):
        save(gallery / f"animal-{identity}" / "0.png", draw_animal(identity, 0))
    log, server = DecisionLog(gallery), Server(shot, "--gallery", gallery)
    page.goto(server.link)
    page.wait_for_selector("#pair", timeout=PATIENCE)
    review, base = page.url, server.link.partition("/open")[0]

    def call_it(name: str) -> None:
        page.keyboard.press("w")
        page.keyboard.type(name)
        press(page, "Enter")

    for key, decided, said in (("y", (Kind.SAME, ""), "q.png is animal-1."), ("n", (Kind.NEW, "Animal 1"), "a new animal, Animal 1.")):
        page.goto(review)
        call_it("Animal 1")
        page.wait_for_selector("#alike[open]")
        press(page, key)
        assert (log.effective()[-1].kind, log.effective()[-1].value) == decided
        beside = page.locator(".last")
        assert beside.is_visible() and beside.inner_text().endswith(said)
        assert abs(beside.bounding_box()["y"] - page.locator("#undo button").bounding_box()["y"]) < 30
    assert len(log.effective()) == 1  # the second answer has taken the place of the first

    page.goto(f"{base}/catalogue")
    field = page.locator("input[name=animal]")
    field.press_sequentially("animal-2")  # and no Enter
    page.wait_for_function("() => document.querySelectorAll('.photo').length === 1")
    page.wait_for_url("**animal=animal-2**")
    assert field.evaluate("one => one === document.activeElement") and field.input_value() == "animal-2"
    page.locator(".photo a").click()
    page.locator("[data-open=renaming]").click()
    page.keyboard.type("Nyx")  # over the old name, which is selected
    press(page, "Enter")
    page.wait_for_selector("h1:has-text('Nyx')")
    assert log.effective()[-1].kind is Kind.NAME and page.locator(".last").inner_text() == "The animal is called Nyx."
    assert not page.faults[2:]  # two names that were asked about: 409
    press(page, "Control+z")
    page.wait_for_selector("h1:has-text('animal-2')")
    server.stop()
