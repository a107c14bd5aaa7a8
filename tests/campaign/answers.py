"""Somebody answers the questions of `reid review` as a browser does, and the server is killed."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import httpx
from world import World, clock, cut_off

from reid.catalogue import DecisionLog
from reid.catalogue.decisions import fingerprint

LATER = "reid.review.desk reid.review.serve reid.review.worker uvicorn.protocols.http.auto uvicorn.loops.auto"
N_ANSWERS, PATIENCE = 16, 60.0  # seconds until a question is there
Answer = dict[str, str]  # as a form; without any field: undo


class Reviewer:
    """A server, and a browser that it has let in."""

    def __init__(self, world: World, gallery: Path, store: Path):
        words = (world.photos, "--gallery", gallery, "--cache", store, "--config", world.config, "--observer", "zoe")
        self.killer: threading.Thread | None = None
        self.child = world.begin("review", *words, "--no-browser", "--port", 0)
        address, code = wait(lambda: re.search(r"^open (\S+)/open#(\S+)$", world.said.read_text(), re.MULTILINE), world.said).groups()
        self.browser = httpx.Client(base_url=address, headers={"Origin": address}, timeout=PATIENCE, trust_env=False)
        self.browser.post("/open", data={"code": code}).raise_for_status()
        page = self.browser.get("/catalogue", follow_redirects=True).text
        self.browser.headers.update({"X-CSRF": re.search('"X-CSRF": "([^"]*)"', page)[1], "HX-Request": "true"})
        self.log = DecisionLog(gallery)

    def question(self, path: str) -> dict[str, str]:
        """The fields of a question's page, once it is there."""

        def look() -> dict[str, str]:
            return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', self.browser.get(path).text))

        return wait(look, path)

    def say(self, answer: Answer) -> None:
        seen = str(len(self.log.history()))
        said = self.browser.post("/answers", data={**answer, "seen": seen}) if answer else self.browser.post("/undo")
        assert said.status_code in (200, 409), said.text  # 409: there is a reason why not

    def cut_off(self, seconds: float) -> None:
        """Let it be killed in so many seconds of a processor."""
        self.killer = threading.Thread(target=cut_off, args=(self.child, clock(self.child) + seconds))
        self.killer.start()

    def kill(self) -> None:
        os.kill(self.child, signal.SIGKILL)
        if self.killer:
            self.killer.join()
        os.waitpid(self.child, 0)
        self.browser.close()


def wait(look: Callable[[], object], what: object) -> object:
    until = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < until, what
        time.sleep(0.005)
    return found


def of_review(world: World, rng: random.Random) -> Callable[[random.Random], tuple[list[int], list[str]]]:
    """Between the first and the last answer; another server takes the rest of the answers."""
    for module in LATER.split():
        import_module(module)
    gallery = shutil.copytree(world.root, world.folder / "reviewed")
    log = DecisionLog(gallery)

    def opened() -> Reviewer:
        found = Reviewer(world, gallery, store)
        for question in questions:
            found.question(f"/review/{question}")
        return found

    def state() -> tuple[int, str]:
        """How much was ever decided, and what counts of it."""
        history = log.history()
        return len(history), fingerprint(log.effective())

    questions: list[str] = []
    store = world.copy(world.whole, "of the review")
    reviewer = opened()
    questions += (first := reviewer.question("/review")["task"],)
    reviewer.browser.post("/skip", data={"task": first})
    wait(lambda: reviewer.question("/review")["task"] != first, "two questions")
    questions += (reviewer.question("/review")["task"],)
    pages = [reviewer.question(f"/review/{question}?choice={choice}") for question in questions for choice in (1, 2)]
    answers = [answer(pages, rng) for _ in range(N_ANSWERS)]
    states, started = [state()], clock(reviewer.child)
    for one in answers:
        reviewer.say(one)
        states.append(state())
    seconds = clock(reviewer.child) - started
    reviewer.kill()

    def run(rng: random.Random) -> tuple[list[int], list[str]]:
        nonlocal store
        log.path.unlink(missing_ok=True)
        store = world.copy(world.whole, "of the review")
        acknowledged, statuses = 0, list[int]()
        for kill in (*(rng.uniform(0, seconds / 2) for _ in range(3)), None):
            reviewer = opened()
            if kill:
                reviewer.cut_off(kill)
            try:
                for one in answers[acknowledged:]:
                    reviewer.say(one)
                    acknowledged += 1
            except httpx.TransportError:
                pass
            statuses.append(-signal.SIGKILL if acknowledged < N_ANSWERS else 0)
            reviewer.kill()
            there, known = state(), states[acknowledged : acknowledged + 2]
            if there not in known:
                return statuses, [f"{acknowledged} acknowledged: {known} expected, {there} there"]
            acknowledged += there != known[0]
        return statuses, []

    return run


def answer(pages: Sequence[dict[str, str]], rng: random.Random) -> Answer:
    verdict = rng.choice(("same", "different", "cannot_tell", "new", "undo"))
    fields = {name: value for name, value in rng.choice(pages).items() if name in ("task", "reference")}
    return {} if verdict == "undo" else {**fields, "verdict": verdict, "name": rng.choice(("Zora", "Mia")) if verdict == "new" else ""}
