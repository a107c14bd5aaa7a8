"""Photos -> digests -> stored features. A photo whose features are stored is not decoded again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .. import store
from ..catalogue import nothing_collected
from ..errors import PhotoError
from ..listener import Listener
from ..records import UNKNOWN, Failure, Features, Indexed, Photo, PhotoRef
from ..store import Digests, Seen
from .pipeline import Pipeline
from .workspace import Workspace

AHEAD = 3  # photos decoded ahead of the network, for each thread that decodes
AT_ONCE = {"cpu": 1, "mps": 4, "cuda": 16}  # photos of one size that go through the network together


def seen(paths: Sequence[Path]) -> Iterator[Seen | None]:
    """The files by their content; None for one that cannot be read, which whoever asks for it is told."""
    for path in paths:
        try:
            yield store.seen(path)
        except PhotoError:
            yield None


def read(refs: Sequence[PhotoRef], digests: Digests, listener: Listener, check: bool = False) -> tuple[list[Indexed], list[Failure]]:
    """The photos by their content, and those that cannot be read; with `check` every file is read, whatever its size and time say."""
    items: list[Indexed] = []
    failures: list[Failure] = []
    digests.look_again()
    with nothing_collected():
        for done, (ref, digest) in enumerate(zip(refs, digests.of_all(refs, check))):
            listener.progress("photos checked", done, len(refs))
            if isinstance(digest, PhotoError):
                failures.append(Failure(ref.image_id, str(digest)))
            else:
                items.append(Indexed(ref, digest))
    listener.progress("photos checked", len(refs), len(refs))
    return items, failures


def _copies(items: Sequence[Indexed]) -> Iterator[tuple[Indexed, Indexed]]:
    """Each photo that has the content, box and mask of an earlier one, with the first such photo."""
    first: dict[str, Indexed] = {}
    for item in items:
        if (other := first.setdefault(item.digest, item)) is not item:
            yield item, other


def tell_names(items: Sequence[Indexed], listener: Listener) -> None:
    """A note of each photo that stands in a gallery under two names."""
    for item, other in _copies(items):
        if item.ref.identity != other.ref.identity:
            pair = " and ".join(f"{one.ref.image_id} ({one.ref.identity or UNKNOWN})" for one in (other, item))
            listener.note(f"{pair} are one photo; one of the names is wrong")


@dataclass(frozen=True)
class Extracted:
    """A photo whose features are stored."""

    is_new: bool = False  # whether they were extracted now
    flaws: tuple[str, ...] = ()  # what was forgiven in reading it then


def extract(items: Sequence[Indexed], pipelines: Sequence[Pipeline]) -> tuple[list[Indexed], list[Failure], int]:
    """Store the features of every photo that has none yet, by every pipeline; what is returned is that of `settle`."""
    return settle(items, items, list(extracted(items, pipelines)), pipelines[0].listener)


def missing(items: Sequence[Indexed], pipelines: Sequence[Pipeline]) -> list[Indexed]:
    """The photos whose features some pipeline has not stored."""
    stores = {pipeline.features.folder: pipeline.features for pipeline in pipelines}  # several matchers share an extractor's
    lacking = store.lacking((item.digest for item in items), list(stores.values()))
    return [item for item in items if item.digest in lacking]


def extracted_in(items: Sequence[Indexed], work: Workspace, n_references: int, check: bool = False) -> Iterator[Extracted | Failure]:
    """`extracted` by all that a workspace extracts for a gallery of so many references."""
    return extracted(items, work.extracting(n_references), check)


def extracted(items: Sequence[Indexed], pipelines: Sequence[Pipeline], check: bool = False) -> Iterator[Extracted | Failure]:
    """Store the features of every photo that has none yet, by every pipeline; a photo that one cannot use is a failure.

    With `check` stored files are read to see that they are whole; otherwise a damaged one is found when it is needed."""
    found: list[Extracted | Failure] = [Extracted()] * len(items)
    for pipeline in pipelines:
        usable = [(place, item) for place, item in enumerate(items) if isinstance(found[place], Extracted)]
        wanted = {
            id(item): place
            for place, item in usable
            if not (pipeline.stored(item) is not None if check else item.digest in pipeline.features)
        }
        what = f"photos extracted by {pipeline.settings.extract.extractor}"
        flaws: dict[int, tuple[str, ...]] = {}
        for done, (item, features) in enumerate(features_of([items[place] for place in wanted.values()], pipeline, flaws)):
            pipeline.listener.progress(what, done, len(wanted))
            place = wanted[id(item)]
            if isinstance(features, PhotoError):
                found[place] = Failure(item.ref.image_id, str(features))
            else:
                pipeline.features.save(item.digest, features)
                found[place] = Extracted(True, flaws.get(id(item), ()))
        if wanted:
            pipeline.listener.progress(what, len(wanted), len(wanted))
    yield from found


def lost(item: Indexed, reason: str) -> Failure:
    """Of a photo whose worker died of it, again and again."""
    return Failure(item.ref.image_id, f"{item.ref.path} cannot be used: {reason}")


def settle(
    items: Sequence[Indexed], tried: Sequence[Indexed], found: Sequence[Extracted | Failure], listener: Listener
) -> tuple[list[Indexed], list[Failure], int]:
    """Of photos of which some were tried: those that can be used, in their order; the failures; how many were extracted now. Flaws are
    noted."""
    failed = {id(item) for item, one in zip(tried, found, strict=True) if isinstance(one, Failure)}
    names: dict[str, list[str]] = {}
    for item, one in zip(tried, found, strict=True):
        for flaw in one.flaws if isinstance(one, Extracted) else ():
            names.setdefault(flaw, []).append(item.ref.image_id)
    for flaw, photos in names.items():
        more = f" and {len(photos) - 3} more photos" if len(photos) > 3 else ""
        listener.note(f"{', '.join(photos[:3])}{more}: {flaw}")
    failures = [one for one in found if isinstance(one, Failure)]
    usable = [item for item in items if id(item) not in failed]
    return usable, failures, sum(isinstance(one, Extracted) and one.is_new for one in found)


def features_of(
    items: Sequence[Indexed], pipeline: Pipeline, flaws: dict[int, tuple[str, ...]] | None = None
) -> Iterator[tuple[Indexed, Features | PhotoError]]:
    """The features of each photo, or why it cannot be used, as they are ready: on a GPU photos of one size go together. What was forgiven
    in reading them is added to `flaws`, by the `id` of the item."""
    at_once = AT_ONCE[pipeline.device]
    waiting: dict[tuple[int, int], list[tuple[Indexed, Photo]]] = {}

    def together(group: list[tuple[Indexed, Photo]]) -> Iterator[tuple[Indexed, Features]]:
        return zip((item for item, _ in group), pipeline.extractor.extract_all([photo for _, photo in group]))

    for item, outcome in _prepared(items, pipeline):
        try:
            photo = outcome.result()
        except PhotoError as error:
            yield item, error
            continue
        if flaws is not None and photo.flaws:
            flaws[id(item)] = photo.flaws
        waiting.setdefault(photo.size, []).append((item, photo))
        size = max(waiting, key=lambda size: len(waiting[size]))
        if len(waiting[size]) >= at_once or sum(map(len, waiting.values())) >= 4 * at_once:
            yield from together(waiting.pop(size))
    for group in waiting.values():
        yield from together(group)


def _prepared(items: Sequence[Indexed], pipeline: Pipeline) -> Iterator[tuple[Indexed, Future[Photo]]]:
    """Photos decoded and resized by other threads while the network works on those before."""
    n_threads = 1 if pipeline.device == "cpu" else os.cpu_count() or 1
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[tuple[Indexed, Future[Photo]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(pipeline.prepare, item.ref)))
                if len(waiting) > AHEAD * n_threads:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for _, outcome in waiting:
                outcome.cancel()
