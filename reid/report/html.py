"""A Report as one HTML page that loads nothing and runs nothing: for e-mail, for a phone, for paper.

Records in, text out; the template beside this module is the only file read. Jinja escapes all that comes from outside, and the SVG made
here does it by itself. The page's own policy (CSP) forbids scripts and every address but data URIs, should an escape ever be forgotten.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePath

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from ..decision.reasons import of_share, of_twins, percent
from ..records import Candidate, Health, IdentityRanking, Report
from ..scoring import Floats, ImpostorDistribution
from .tables import list_rates

VERDICTS = {  # in the order they are shown
    "match": "looks like an animal of the gallery",
    "unsure": "may be known or new",
    "new": "looks like no animal of the gallery",
    "odd": "fits neither known nor new; look at the photo",
}
MOST = 5  # exhibits shown of a query
BEST, OTHER = (1000, 60), (560, 40)  # px, JPEG quality: of the best exhibit, of the others
GRID = np.linspace(0, 1, 201)  # confidences at which a cumulative curve is drawn
LEFT, TOP, WIDE, HIGH = 60, 10, 336, 216  # px: where the curves lie in their figure


@dataclass(frozen=True)
class Exhibit:
    """What is shown for one candidate."""

    candidate: Candidate
    picture: NDArray[np.uint8] | None  # (H, W, 3) RGB as `pictures.draw_matches` gives; None where nothing could be drawn
    confidence: Floats  # (S,) match confidences of the pair
    n_keypoints: int  # of the query


@dataclass(frozen=True)
class Picture:
    uri: str
    size: tuple[int, int]  # width, height, px


@dataclass(frozen=True)
class _Section:
    """A query as the template shows it."""

    ranking: IdentityRanking
    best: Candidate | None  # of the gallery
    shown: list[tuple[Candidate, Picture | None]]  # best first
    curves: list[str]  # the individuals that have one, best first
    figure: Markup


@dataclass(frozen=True)
class _List:
    """The queries that a verdict can be said of together."""

    what: str
    others: str  # what some of them may be
    rate: float  # the share of those, at most
    queries: list[str]


def as_html(
    report: Report,
    exhibits: Mapping[str, Sequence[Exhibit]],
    impostors: ImpostorDistribution,
    health: Health | None = None,
) -> str:
    """The whole page. `exhibits` maps a query_id to its exhibits, best first; the first MOST are shown.

    Each query's exhibits are asked for once and not kept, so a mapping may draw its pictures when it is asked."""
    return page(
        "report.html.jinja",
        report=report,
        impostors=impostors,
        health=health,
        name=PurePath(str(report.gallery["path"])).name or str(report.gallery["path"]),
        created=f"{report.created.day} {report.created:%B %Y, %H:%M} UTC",
        verdicts=VERDICTS,
        counts=Counter(ranking.verdict for ranking in report.rankings),
        lists=_lists(report),
        share=None if report.new_share is None else of_share(report.new_share),
        notes=_notes(report.gallery.get("calibration")),
        n_calibrated=sum(ranking.p_new is not None for ranking in report.rankings),
        about=list(_flat({**report.gallery, **report.settings, **report.versions})),
        sections=[_section(ranking, exhibits.get(ranking.query_id, ()), impostors) for ranking in sorted(report.rankings, key=_order)],
    )


def page(template: str, **values: object) -> str:
    """The page of a template beside this module."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, number=_number, count=_count)
    return environment.from_string(resources.files(__package__).joinpath(template).read_text("utf-8")).render(**values)


def _flat(about: Mapping[str, object], within: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) for people, of groups within groups, too."""
    for name, value in about.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return "none" if value is None or value == "" else str(value).lower() if isinstance(value, bool) else str(value)


def _lists(report: Report) -> list[_List]:
    words = {"match": ("matches", "new animals"), "new": ("new animals", "known ones")}
    return [
        _List(*words[verdict], rate, sorted(one.query_id for one in report.rankings if one.listed and one.verdict == verdict))
        for verdict, rate in list_rates(report).items()
    ]


def _notes(calibration: object) -> list[str]:
    """What people should know of how the gallery was calibrated; `calibration` is `Calibration.about`, or None."""
    if not isinstance(calibration, Mapping):
        return []
    twins = of_twins([tuple(pair) for pair in calibration.get("twins_left_out", ())])
    return [*([] if twins is None else [twins]), *calibration.get("notes", ())]


def _order(ranking: IdentityRanking) -> tuple[bool, float, str]:
    """The likeliest to be new first; those without a calibrated probability after the others, by how alike impostors look."""
    p = ranking.p_impostor if ranking.p_new is None else ranking.p_new
    return ranking.p_new is None, -p, ranking.query_id


def _section(ranking: IdentityRanking, exhibits: Sequence[Exhibit], impostors: ImpostorDistribution) -> _Section:
    exhibits = exhibits[:MOST] or [Exhibit(candidate, None, np.zeros(0), 0) for candidate in ranking.candidates[:MOST]]
    shown = [(one.candidate, jpeg(one.picture, *(OTHER if rank else BEST))) for rank, one in enumerate(exhibits)]
    curved = [one for one in exhibits if one.n_keypoints > 0]
    curves = [(one.candidate.called, cumulative(one.confidence, one.n_keypoints)) for one in curved]
    best = ranking.candidates[0] if ranking.candidates else None
    return _Section(ranking, best, shown, [name for name, _ in curves], _figure(curves, impostors))


def jpeg(picture: NDArray[np.uint8] | None, width: int, quality: int) -> Picture | None:
    """At most `width` px wide, as a data URI."""
    if picture is None:
        return None
    image = Image.fromarray(picture)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=quality, optimize=True)
    return Picture("data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode(), image.size)


def cumulative(confidence: Floats, n_keypoints: int) -> Floats:
    """The share of `n_keypoints` with at most each confidence of GRID; unmatched keypoints count as 0."""
    n = max(n_keypoints, len(confidence))
    return (n - len(confidence) + np.searchsorted(np.sort(confidence), GRID, side="right")) / n


def _figure(curves: Sequence[tuple[str, Floats]], impostors: ImpostorDistribution) -> Markup:
    """SVG: the curves of the best individuals on that of different animals. Colours and dashes are classes of the page's style."""
    bottom, right = TOP + HIGH, LEFT + WIDE
    parts = []
    for at in range(0, 101, 25):
        x, y = LEFT + WIDE * at / 100, bottom - HIGH * at / 100
        parts.append(f'<path class="grid" d="M{LEFT} {y:g}H{right}M{x:g} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:g}" text-anchor="end">{at} %</text>')
        parts.append(f'<text x="{x:g}" y="{bottom + 16}" text-anchor="middle">{at / 100:g}</text>')
    parts.append(f'<text x="{LEFT + WIDE / 2:g}" y="{bottom + 34}" text-anchor="middle">match confidence</text>')
    parts.append(f'<text transform="translate(11 {TOP + HIGH / 2:g}) rotate(-90)" text-anchor="middle">keypoints at most that sure</text>')
    background = [("impostors", "different animals", cumulative(impostors.all_keypoints, len(impostors.all_keypoints)))]
    ranked = [(f"rank{rank}", name, shares) for rank, (name, shares) in enumerate(curves, start=1)]
    for kind, name, shares in background + ranked[::-1]:  # the best on top
        points = " ".join(f"{x:.4g},{y:.4g}" for x, y in zip(LEFT + WIDE * GRID, bottom - HIGH * shares))
        parts.append(str(Markup('<polyline class="curve {}" points="{}"><title>{}</title></polyline>').format(kind, points, name)))
    label = "Cumulative curves of the match confidences of the best individuals and of pairs of different animals"
    return Markup(f'<svg viewBox="0 0 {right + 14} {bottom + 42}" role="img" aria-label="{label}">{"".join(parts)}</svg>')


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _count(n: int, one: str, more: str) -> str:
    return f"{n:,} {one if n == 1 else more}"
