"""A review app without a server: drawn animals, quick features, the worker's work done before the first request."""

from __future__ import annotations

from pathlib import Path

from conftest import draw_animal, save
from starlette.testclient import TestClient

import reid
from reid.review.app import create_app
from reid.review.desk import Desk
from reid.review.guard import Door
from reid.review.tasks import Task
from reid.review.worker import Progress

FAST = reid.Settings.of(extractor="sift", matcher="nearest", fuse="none", max_keypoints=150, resize=320)
BASE = "http://127.0.0.1:8420"


class App:
    """A desk, its door, and a browser that has been let in."""

    def __init__(self, gallery: Path, *photos: Path, observer: str = "zoe", settings: reid.Settings = FAST, **options):
        progress = Progress()
        self.session = reid.open(gallery, settings, listener=progress)
        self.desk = Desk(self.session, progress, observer=observer, photos=photos, **options)
        if not self.desk.empty:
            self.desk.worker._work()
        progress.change(said="", finished=True)
        self.door = Door("127.0.0.1", 8420)
        self.guard = create_app(self.desk, self.door)
        self.browser = self.another()
        assert self.browser.post("/open", data={"code": self.door.link().split("#")[1]}).status_code == 204

    def another(self) -> TestClient:
        """A browser that has no token yet."""
        headers = {"Origin": BASE, "X-CSRF": self.door.csrf, "HX-Request": "true"}
        return TestClient(self.guard, BASE, headers=headers, follow_redirects=False)

    def task(self, title: str) -> Task:
        return next(task for task in self.desk.tasks() if task.title == title)

    def answer(self, task: Task, verdict: str, *, choice: int = 0, name: str = "", seen: int | None = None):
        """Press a key on the page of a question; `seen` is what that page knew."""
        seen = self.desk.book().number if seen is None else seen
        reference = task.choices[choice].reference.digest
        return self.browser.post("/answers", data={"task": task.id, "reference": reference, "verdict": verdict, "name": name, "seen": seen})

    def animal_of(self, task: Task) -> str | None:
        return self.desk.book().of_photo[task.photos[0].digest].animal


def five_animals(folder: Path) -> Path:
    """Five animals with two photos each, a photo of a known one to review and one of a new one."""
    rows = ["path,identity,date,orientation,site"]
    for identity in range(5):
        for view in range(2):
            save(folder / "gallery" / f"animal-{identity}" / f"{view}.png", draw_animal(identity, view))
            rows.append(f"animal-{identity}/{view}.png,animal-{identity},2024-0{view + 1}-0{identity + 1},left,Reef")
    (folder / "gallery" / "metadata.csv").write_text("\n".join(rows))
    save(folder / "photos" / "known.png", draw_animal(3, 5))
    save(folder / "photos" / "new.png", draw_animal(99, 0))
    return folder


def forget(app: App) -> None:
    """What is computed stays, what is decided does not."""
    app.desk.log.path.unlink(missing_ok=True)
    (app.session.work.folder / "review" / "photos.json").unlink()
