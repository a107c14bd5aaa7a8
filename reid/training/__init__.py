"""Networks trained on one's own photos, without a label. `METHODS` names them; a new one is a file here and a line.

Each file offers `create(photos, held_out, choices) -> loop.Task`: its network, how its pairs are made, its loss, and how good it is on
photos that it does not learn from. `loop.train` does the rest. A method of several stages offers `stages` instead, which yields its tasks
in their order. What the last one leaves behind is one file of weights with a card.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ..records import PhotoRef
    from ..session import Session
    from .loop import Plan, Task


@dataclass(frozen=True)
class Method:
    """A line of the registry: where the method is, and what a training of it takes unless the user says otherwise."""

    module: str
    about: str
    begin: str  # what it starts from: "shipped", a name that its file knows, or "scratch"
    steps: int
    batch: int  # pairs a step
    rate: float
    side: int = 256  # px of the square crops
    rotation: float = 5.0  # degrees at most, either way
    decay: float = 0.01  # of the weights


METHODS: dict[str, Method] = {
    "goodpoint": Method("goodpoint", "GoodPoint (arXiv 2006.01030): keypoints and descriptors", "shipped", 2000, 8, 3e-4, 192, 30.0),
    "glampoints": Method("glampoints", "GLAMpoints (ICCV 2019): keypoints for RootSIFT", "shipped", 2000, 8, 1e-3, 256, 30.0, decay=0.0),
    "lightglue": Method("lightglue", "LightGlue (arXiv 2306.13643): a matcher for any extractor", "aliked-n16", 500, 16, 1e-3, 320, 30.0),
    "superpoint": Method("superpoint", "SuperPoint's recipe (arXiv 1712.07629), from drawn shapes on", "scratch", 2000, 8, 1e-3, 192, 30.0,
                         decay=0.0),
    "outline": Method("rendered.outline", "where rendered animals end, and so real ones", "shipped", 700, 16, 1.5e-3, 320),
}  # fmt: skip
EMBEDDING = "embedding"  # beside them: it has names to learn, in closed form; see its file
RENDERED: dict[str, Method] = {  # those that learn from rendered animals, too
    "goodpoint": Method("rendered.goodpoint", "GoodPoint on rendered animals", "shipped", 800, 8, 2e-4, 192, 30.0),
    "lightglue": Method("rendered.train", "LightGlue, low-rank updates on rendered animals", "shipped", 1000, 16, 1e-4, 480, 30.0),
    "outline": METHODS["outline"],  # from nothing else
}  # fmt: skip
LABELS: dict[str, Method] = {  # those that learn from photos whose animals are known, too
    "lightglue": Method("identities.train", "LightGlue, low-rank updates on a gallery's animals", "shipped", 400, 8, 1e-4, 480, 30.0),
}


@dataclass(frozen=True)
class Choices:
    """What may be chosen about a training beside its length, batch and rate."""

    side: int  # px of the square crops
    rotation: float  # degrees
    seed: int
    begin: str  # "scratch", "shipped", another name that the method knows, or a file of weights
    extractor: str = ""  # whose features a matcher is trained for
    weights: str = ""  # file of that extractor's weights; empty: the published ones
    device: str = "cpu"  # where it extracts them
    rendered: bool = False  # learn from rendered animals, too; the photos then lie behind them
    gallery: Session | None = None  # whose labels are learned from, too


def method(name: str, rendered: bool = False, labels: bool = False) -> Method:
    if name not in METHODS:
        raise SettingsError(f"unknown network {name!r}; known: {', '.join(METHODS)}")
    if rendered and name not in RENDERED:
        raise SettingsError(f"{name} does not learn from rendered animals; these do: {', '.join(RENDERED)}")
    if labels and name not in LABELS:
        raise SettingsError(f"{name} does not learn from labels; these do: {', '.join(LABELS)}")
    return (LABELS if labels else RENDERED if rendered else METHODS)[name]


def create(name: str, photos: Sequence[PhotoRef], held_out: Sequence[PhotoRef], choices: Choices) -> Task:
    """The task of this name: learn from `photos`, be judged on `held_out`."""
    module: Any = import_module(f".{method(name, choices.rendered, choices.gallery is not None).module}", __package__)
    task: Task = module.create(photos, held_out, choices)
    return task


def stages(
    name: str,
    photos: Sequence[PhotoRef],
    held_out: Sequence[PhotoRef],
    choices: Choices,
    plan: Plan,
    out: Path,
    progress: Callable[[str, int, int], None],
) -> Iterator[Task]:
    """The tasks of this name, in order, most often one. The next is to be asked for when one has been trained, as `plan` says, and has
    left its files in `out`; `progress` is told what is done in between: what, how many, of how many."""
    module: Any = import_module(f".{method(name, choices.rendered, choices.gallery is not None).module}", __package__)
    if hasattr(module, "stages"):
        yield from module.stages(photos, held_out, choices, plan, out, progress)
    else:
        yield create(name, photos, held_out, choices)
