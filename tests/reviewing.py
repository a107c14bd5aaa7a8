"""A review app without a server: drawn animals, quick features, the worker's work done before the first request."""

from __future__ import annotations

from pathlib import Path

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
