"""How long the review app lets people wait: the figures of README.md. A real Chromium looks; nothing is written into the gallery.

python notebooks/review_speed.py GALLERY PHOTOS [CACHE]     # a gallery whose features are stored, a card of new photos
python notebooks/review_speed.py GALLERY PHOTOS CACHE first # the first pair alone
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import reid
from reid.catalogue import find_table
from reid.review.app import create_app
from reid.review.desk import Desk
from reid.review.guard import Door
from reid.review.worker import Progress

N_KEYS, LOOK = 30, 1500  # keys pressed, and ms that a person looks before each
N_PHOTOS, N_ANIMALS = 10_000, 500
PORT = 8433
SEEN = "Promise.all([...document.querySelectorAll('figure.panel img')].map(one => one.decode()))"
PRESS = """key => new Promise(done => {
  const start = performance.now();
  const shown = async event => {
    if (event.detail.target.id !== "main") return;  // the progress in the head
    document.removeEventListener("htmx:afterSwap", shown);
    await Promise.all([...document.querySelectorAll("figure.panel img")].map(one => one.decode()));
    requestAnimationFrame(() => done(performance.now() - start));
  };
  document.addEventListener("htmx:afterSwap", shown);
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
})"""
SCROLL = """() => new Promise(done => {
  const gaps = [], end = performance.now() + 5000;
  let last = performance.now();
  const step = () => {
    const now = performance.now();
    gaps.push(now - last); last = now;
    window.scrollBy(0, 120);
    if (now < end) requestAnimationFrame(step); else done([Math.max(...gaps.slice(5)), document.querySelectorAll(".photo").length]);
  };
  requestAnimationFrame(step);
})"""


def first_pair_and_next(page: Page, gallery: Path, photos: Path, cache: Path, goes_on: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, gallery.name)
        root.mkdir()
        for path in gallery.iterdir():
            if path.is_dir() and not path.name.startswith("."):
                (root / path.name).symlink_to(path.resolve())
        table = find_table(gallery)
        if table is not None:
            shutil.copy(table, root)
        start = time.perf_counter()
        words = ["review", str(photos), "--gallery", str(root), "--cache", str(cache), "--no-browser", "--port", "0"]
        server = subprocess.Popen([sys.executable, "-m", "reid", *words], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            page.goto(next(found[1] for line in server.stdout if (found := re.match(r"open (\S+)", line))))
            print(f"page there: {time.perf_counter() - start:.1f} s")
            page.wait_for_selector("#pair", timeout=600_000)
            page.evaluate(SEEN)
            print(f"first pair on screen: {time.perf_counter() - start:.1f} s")
            for name, keys in (("while others are matched", N_KEYS), ("at rest", N_KEYS)) if goes_on else ():
                if name == "at rest":
                    page.wait_for_selector("#progress:not([hx-get])", state="attached", timeout=3_600_000)
                took = []
                for _ in range(keys):
                    page.wait_for_timeout(LOOK)
                    took.append(page.evaluate(PRESS, "n"))
                print(f"next pair {name}: median {statistics.median(took):.0f} ms, 90 % {np.quantile(took, 0.9):.0f} ms of {keys}")
        finally:
            server.kill()


def catalogue(page: Page) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows, rng = ["path,identity,date,orientation,site"], np.random.default_rng(0)
        for number in range(N_PHOTOS):
            name = f"{number % N_ANIMALS:03}/{number}.png"
            Path(folder, name).parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (45, 60, 3), np.uint8)).save(Path(folder, name))
            rows.append(f"{name},animal {number % N_ANIMALS:03},{2000 + number % 25}-0{1 + number % 9}-11,left,Site {number % 7}")
        Path(folder, "metadata.csv").write_text("\n".join(rows))
        progress, door = Progress(), Door("127.0.0.1", PORT)
        with reid.open(folder, listener=progress) as session:
            desk = Desk(session, progress, observer="nobody")
            progress.change(said="", finished=True)
            server = uvicorn.Server(uvicorn.Config(create_app(desk, door), port=PORT, log_level="warning"))
            threading.Thread(target=server.run, daemon=True).start()
            while not server.started:
                time.sleep(0.05)
            page.goto(door.link())
            page.wait_for_url(lambda url: "/open" not in url)
            took = []
            for _ in range(5):
                page.goto(f"{door.address}/catalogue")
                page.wait_for_timeout(500)
                took.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            stall, shown = page.evaluate(SCROLL)
            print(f"catalogue of {N_PHOTOS:,} photos: first paint {statistics.median(took):.0f} ms (the slowest of 5: {max(took):.0f} ms); "
                  f"longest stall of 5 s of scrolling {stall:.0f} ms, {shown} photos passed")  # fmt: skip
            server.should_exit = True


if __name__ == "__main__":
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page(viewport={"width": 1366, "height": 768})
        whole = sys.argv[4:] != ["first"]
        if whole:
            catalogue(page)
        if len(sys.argv) > 2:
            gallery, photos = map(Path, sys.argv[1:3])
            first_pair_and_next(page, gallery, photos, Path(sys.argv[3]) if len(sys.argv) > 3 else gallery / ".reid", whole)
