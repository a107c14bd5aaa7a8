"""Routes of the review itself: the pair that is looked at, its marks, the answers, undo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from .. import imaging
from ..catalogue import Decision
from ..decision.verdicts import MATCH, NEW
from ..errors import DecisionError, PhotoError, ReidError, WeightsError
from ..records import Indexed, PhotoRef
from . import sides
from .agreement import WORDS
from .answering import Alike, Overtaken, Verdict, record, take_back
from .book import Book, Card
from .desk import Desk
from .naming import proposed_name
from .pages import Pages, form, telling
from .pictures import outline, shown_size
from .tasks import MOST, MOST_PHOTOS, SURE_NEW, Choice, Task, Topic, opaque
from .words import SAID, sentence

Form = Annotated[Mapping[str, str], Depends(form)]
FRESH = {"Cache-Control": "private, max-age=600"}  # of marks, which a page asks for ahead
ELSEWHERE = "That has been taken back in another window. Undo now says what it takes back next."
MOST_MARKS = 300  # that are drawn, the surest


@dataclass(frozen=True)
class Offer:
    """A candidate in the strip."""

    number: int  # its rank, from 1
    key: int  # 1 to 9
    choice: Choice
    card: Card
    animal: str  # as it is called now
    photos: tuple[Card, ...]  # all of the animal, the one that speaks for it first
    said: str | None  # what this observer, or anybody where they are not blind, has said


@dataclass(frozen=True)
class View:
    """A question as the page shows it."""

    task: Task
    offers: list[Offer]
    offer: Offer | None  # the one that is looked at
    names: tuple[str, str]  # what the two photos are called
    left: Card
    lefts: list[Card]  # the photos of the query
    right: Card | None
    sizes: tuple[tuple[int, int], tuple[int, int]]  # (width, height) px of the pictures
    seen: int  # the newest decision that the page knows
    proposal: str  # what Enter does: same, new or on
    proposed: str  # name for a new animal
    ahead: list[str]  # addresses that the browser may fetch while somebody looks
    waiting: int
    decision: Decision | None  # what has been said of this pair
    pages: tuple[int, int]  # ranks of the first of the nine before and of the nine after; 0 where there are none
    looks_first: bool  # whether further candidates are shown before a new animal is named
    n_candidates: tuple[int, int]  # animals, and photos of which nobody has said who they show


def add_to(app: FastAPI, desk: Desk, pages: Pages) -> None:
    @app.get("/review")
    def review(request: Request, poll: bool = False) -> Response:
        task = desk.next()
        if poll and task is None and not desk.worker.state.finished:
            return Response(status_code=204)  # nothing to show yet
        if "hx-request" in request.headers:
            return _show(request, task)
        return _nothing(request) if task is None else RedirectResponse(f"/review/{task.id}", 303)

    @app.get("/review/{task}")
    def one(request: Request, task: str, choice: int = 0, left: str = "", right: str = "") -> Response:
        return _show(request, asked(desk, task), choice=choice, left=left, right=right)

    @app.post("/answers")
    def answer(request: Request, given: Form) -> Response:
        task = asked(desk, given.get("task", ""))
        choice = next((one for one in task.choices if one.reference.digest == given.get("reference")), None)
        place = _place(task, choice)
        try:
            verdict, seen = Verdict(given.get("verdict", "")), int(given.get("seen", ""))
        except ValueError as error:
            raise HTTPException(400, "this is no answer") from error
        try:
            decision = record(desk, task, choice, verdict, given.get("name", ""), seen, is_meant="meant" in given)
        except Alike as error:
            return _show(request, task, status=409, alike=error, choice=place)
        except Overtaken as error:
            return _show(request, task, status=409, overtaken=error.decision, choice=place)
        except DecisionError as error:
            return _show(request, task, status=409, problem=str(error), choice=place)
        said = sentence(decision, desk.book())
        animal = desk.book().of_photo[task.choices[0].photo.digest].animal if desk.is_own(task) else None
        if animal is not None:  # back to where it was asked
            return RedirectResponse(f"/animals/{opaque('animal', animal)}", 303)
        following = _unsaid(desk, task, place) if verdict in (Verdict.DIFFERENT, Verdict.CANNOT_TELL) and not desk.is_used else 0
        return _show(request, task, said=said, choice=following) if following else _show(request, desk.next(), said=said)

    @app.post("/review/{task}/sides")
    def side(request: Request, task: str, given: Form) -> Response:
        """Which side photos on this page show; the pair stays as it is looked at."""
        found, left, right = asked(desk, task), given.get("left", ""), given.get("right", "")
        number = _number(given.get("choice", ""))
        choice = found.choices[number - 1] if 0 < number <= len(found.choices) else None
        shown = {} if choice is None else {"shown": [choice.photo.digest, choice.reference.digest]}
        said = sides.say(desk, given, {"task": found.id, **shown})
        return _show(request, found, said=said, choice=number, left=left, right=right)

    @app.post("/skip")
    def skip(request: Request, given: Form) -> Response:
        """The question waits until all others are answered; without one, those that were skipped come again."""
        if task := given.get("task"):
            desk.skipped.add(task)
        else:
            desk.skipped.clear()
        return _show(request, desk.next())

    @app.post("/undo")
    def undo(request: Request, given: Form) -> Response:
        """What the page says beside Undo, whatever was said in other windows since."""
        number = _number(given.get("number", ""))
        last = desk.last(number)
        if last is None:
            return pages.told(ELSEWHERE) if number else _show(request, desk.next(), said="There is nothing to undo.")
        said = f"Taken back: {desk.said(last)}"
        try:
            undone = str(take_back(desk, last.number))
        except DecisionError:
            return pages.told(ELSEWHERE)
        if page := sides.page_of(last):
            return RedirectResponse(page, 303)
        pair, said = last.evidence.get("shown"), " ".join(filter(None, (said, undone)))
        back = next((desk.whole(task) for task in desk.tasks() if task.id == last.evidence.get("task")), None)
        if back is None:
            return telling(_show(request, desk.next(), said=said), undone)
        shown = [[one.photo.digest, one.reference.digest] for one in back.choices]
        return telling(_show(request, back, choice=shown.index(pair) + 1 if pair in shown else 0, said=said), undone)

    @app.get("/marks/{left}/{right}")
    def marks(left: str, right: str, by: int = -1) -> Response:
        items = desk.items()
        pair = [items.get(card.digest or "") for card in map(desk.book().cards.get, (left, right)) if card is not None]
        if len(pair) != 2 or pair[0] is None or pair[1] is None or not -1 <= by < len(desk.session.work.pipelines):
            raise HTTPException(404)
        try:
            return JSONResponse(_marks(desk, pair[0], pair[1], None if by < 0 else by), headers=FRESH)
        except PhotoError as error:
            raise HTTPException(404, str(error)) from error

    @app.get("/outlines/{photo}")
    def outlined(photo: str) -> Response:
        card = desk.book().cards.get(photo)
        if card is None:
            raise HTTPException(404)
        try:
            polygons, said = outline(card.ref, desk.session.work)
        except (PhotoError, WeightsError) as error:
            raise HTTPException(404, str(error)) from error
        return JSONResponse({"polygons": polygons, "said": said}, headers=FRESH)

    def _nothing(request: Request, said: str = "") -> HTMLResponse:
        return pages.page(
            request, "done", said=said, url="/review", here="/review", skipped=len(desk.waiting()), inbox=desk.worker.has_photos,
            unsided=sides.unsaid(desk), unsided_page=sides.UNSIDED_PAGE,
        )  # fmt: skip

    def _show(
        request: Request, task: Task | None, *, said: str = "", status: int = 200, choice: int = 0, left: str = "", right: str = "",
        overtaken: Decision | None = None, problem: str = "", alike: Alike | None = None,
    ) -> HTMLResponse:  # fmt: skip
        if task is None:
            return _nothing(request, said)
        view = _view(desk, desk.whole(task), choice, left, right)
        pair = " beside ".join(view.names) if view.offer else view.names[0]
        about = f"{said} Now {pair}." if said else f"{pair}."
        url = f"/review/{task.id}" if request.method == "POST" or request.url.path == "/review" else None
        return pages.page(
            request,
            "review",
            status=status,
            said=about,
            url=url,
            here="/review",
            view=view,
            views=sides.views(desk.book()),
            overtaken=overtaken,
            problem=problem,
            alike=alike,
            SAID=SAID,
        )


def asked(desk: Desk, id: str) -> Task:
    """The question of this id, with every candidate. Raises HTTPException."""
    task = next((one for one in desk.tasks() if one.id == id), None)
    if task is None:
        raise HTTPException(404, "this question is not there any more, or not yet; go on with Review")
    return desk.whole(task)


def _place(task: Task, choice: Choice | None) -> int:
    return 0 if choice is None or choice not in task.choices else task.choices.index(choice) + 1


def _view(desk: Desk, task: Task, number: int, left: str, right: str) -> View:
    waiting, book = desk.waiting(), desk.book()  # in this order: the book knows every photo of the questions
    offers, number = [], number if 0 < number <= len(task.choices) else _answered(book, task) or _unsaid(desk, task) or 1
    first = (number - 1) // MOST * MOST
    for place, choice in enumerate(task.choices[first : first + MOST], start=first + 1):
        card, judged = book.of_photo[choice.reference.digest], book.judged(task, choice)
        photos = [one for one in book.animals.get(card.animal or "", ()) if one != card][: MOST_PHOTOS - 1]
        name = "" if task.topic is Topic.SECOND else card.animal or "unnamed"
        said = None if judged is None else WORDS[judged.kind]
        offers.append(Offer(place, place - first, choice, card, name, (card, *photos) if name else (card,), said))
    offer = next((one for one in offers if one.number == number), None)
    lefts = [book.of_photo[item.digest] for item in task.photos]
    usual = book.of_photo[offer.choice.photo.digest] if offer else lefts[0]
    left_card = next((one for one in lefts if one.id == left), usual)
    right_card = None if offer is None else next((one for one in offer.photos if one.id == right), offer.card)
    decision = None if offer is None else book.judged(task, offer.choice)
    names = [book.of_photo[choice.reference.digest].animal for choice in task.choices]
    return View(
        task,
        offers,
        offer,
        _names(task, offer, left_card),
        left_card,
        lefts,
        right_card,
        (_size(left_card.ref, desk), _size(right_card.ref if right_card else left_card.ref, desk)),
        book.number,
        "on" if _answered(book, task) else _proposal(task, offer),
        proposed_name(book.animals),
        _ahead(book, task, number, [one for one in waiting if one.id not in desk.skipped]),
        len(waiting),
        decision,
        (max(0, first + 1 - MOST), first + 1 + MOST if first + MOST < len(task.choices) else 0),
        number <= MOST and task.n_further > 0 and ((task.ranking and task.ranking.p_new) or 0) < SURE_NEW,
        (len({name for name in names if name}), names.count(None)),
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 16 else 0


def _answered(book: Book, task: Task) -> int:
    """The rank of the animal that somebody has said it is; 0 where nobody has."""
    animal = book.of_photo[task.photos[0].digest].animal if task.topic is Topic.QUERY and book.is_done(task) else None
    ranks = (rank for rank, choice in enumerate(task.choices, start=1) if book.of_photo[choice.reference.digest].animal == animal)
    return next(ranks, 0) if animal else 0


def _unsaid(desk: Desk, task: Task, after: int = 0) -> int:
    """The rank of the next candidate that nobody has judged, or else of the first; 0 where all are."""
    book = desk.book()
    ranks = [rank for rank, choice in enumerate(task.choices, start=1) if book.judged(task, choice) is None]
    return next((rank for rank in ranks if rank > after), ranks[0] if ranks else 0)


def _names(task: Task, offer: Offer | None, left: Card) -> tuple[str, str]:
    """A query by its file, a photo of the gallery by its animal; in a second look neither, since folders are called by animals."""
    if task.topic is Topic.SECOND:
        return "One photo", "The other"
    own = left.animal if task.topic in (Topic.TWINS, Topic.MISLABEL) else None
    return own or left.ref.image_id, offer.animal if offer is not None else "No candidate"


def _size(ref: PhotoRef, desk: Desk) -> tuple[int, int]:
    try:
        return shown_size(ref, desk.session.work)
    except ReidError:
        return 800, 600  # of a photo that is gone; its place says so


def _proposal(task: Task, offer: Offer | None) -> str:
    """What Enter does: confirms the verdict on the best candidate, or goes on where there is nothing sure to confirm."""
    verdict = task.ranking.verdict if task.ranking is not None else ""
    if verdict == MATCH and offer is not None and offer.number == 1 and offer.said is None:
        return "same"
    return "new" if verdict == NEW else "on"


def _ahead(book: Book, task: Task, number: int, waiting: list[Task]) -> list[str]:
    """What the next key will show: the next candidate, and the next question's best."""
    pairs = [(one.photo, one.reference) for one in task.choices[number : number + 1]]
    following = next((one for one in waiting if one.id != task.id), None)
    if following is not None and following.choices:
        pairs.append((following.choices[0].photo, following.choices[0].reference))
    found = []
    for photo, reference in pairs:
        left, right = book.of_photo[photo.digest].id, book.of_photo[reference.digest].id
        found += [f"/photos/{left}/large", f"/photos/{right}/large", f"/marks/{left}/{right}"]
    return found


def _marks(desk: Desk, query: Indexed, reference: Indexed, by: int | None) -> dict[str, object]:
    """The marks that match, as shares of the pictures' sides before they are turned, the surest last."""
    pair = desk.session.view(query, reference, by)
    order = pair.matches.confidence.argsort(kind="stable")[-MOST_MARKS:]
    points = []
    for side, (ref, features) in enumerate(zip((pair.query, pair.reference), pair.features)):
        chosen = features.keypoints[pair.matches.indices[order, side]].astype(float)
        share = imaging.to_upright(chosen, features.size, (1, 1), replace(ref, crop=None)) + 0.5
        points.append(share.astype(float).round(4).tolist())
    n = int((pair.matches.confidence > desk.session.settings.score.min_confidence).sum())
    said = f"{n:,} {'mark matches' if n == 1 else 'marks match'}" if n <= MOST_MARKS else f"{MOST_MARKS} of {n:,} marks that match"
    return {
        "points": points,
        "confidence": pair.matches.confidence[order].astype(float).round(3).tolist(),
        "quarters": pair.query.quarters,
        "mirrored": pair.query.mirrored,
        "said": f"{said} ({pair.pipeline})",
        "n_pipelines": len(desk.session.work.pipelines),
    }
