"""Where the right animal is lost, as one HTML page: the funnel, its parts, and the worst of the lost queries in pictures.

As the novelty report it loads nothing and runs nothing, and Jinja escapes all that comes from outside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation.summary import Evaluation
from ..evaluation.waterfall import LOSSES, Course
from . import html, tables

MOST = 20  # lost queries shown
WIDTH, QUALITY = 1000, 60  # px and JPEG quality of a pair's picture


@dataclass(frozen=True)
class Lost:
    """A lost query and its pictures: with its animal's best reference, and with the individual that stands first."""

    course: Course
    right: NDArray[np.uint8]  # (H, W, 3) RGB as `pictures.of_pair` gives
    first: NDArray[np.uint8]


def as_html(found: Evaluation, name: str, worst: Iterable[Lost]) -> str:
    """The page about an evaluation of the gallery `name`; the `worst` are shown in their order, and asked for once."""
    return html.page(
        "waterfall.html.jinja",
        name=name,
        found=found,
        funnel=[(tables.LEFT[stage], *rest) for stage, rest in found.waterfall.funnel().items()],
        losses=LOSSES,
        lost=tables.LOST,
        sections=[
            (one.course, [html.jpeg(picture, WIDTH, QUALITY) for picture in (one.right, one.first)], one.course.circumstances.in_words())
            for one in worst
        ],
    )
