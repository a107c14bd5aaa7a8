"""Photos -> digests -> stored features. A photo whose features are stored is not decoded again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ..errors import PhotoError
from ..records import Failure, Features, Indexed, Photo, PhotoRef
from ..store import Digests
from .listener import Listener
from .pipeline import Pipeline

AHEAD = 3  # photos decoded ahead of the network, for each thread that decodes
AT_ONCE = {"cpu": 1, "mps": 4, "cuda": 16}  # photos of one size that go through the network together


def read(refs: Sequence[PhotoRef], digests: Digests, listener: Listener, check: bool = False) -> tuple[list[Indexed], list[Failure]]:
    """The photos by their content, and those that cannot be read; with `check` every file is read, whatever its size and time say."""
    items: list[Indexed] = []
    failures: list[Failure] = []
    for done, ref in enumerate(refs):
        listener.progress("photos checked", done, len(refs))
        try:
            items.append(Indexed(ref, digests.of(ref, check=check)))
        except PhotoError as error:
            failures.append(Failure(ref.image_id, str(error)))
    listener.progress("photos checked", len(refs), len(refs))
    return items, failures


def copies(items: Sequence[Indexed], references: Sequence[Indexed]) -> Iterator[tuple[Indexed, Indexed]]:
    """Each photo that has the content, box and mask of a reference, with the first such reference other than itself."""
    by_content: dict[str, list[Indexed]] = {}
    for reference in references:
        by_content.setdefault(reference.digest, []).append(reference)
    for item in items:
        if others := [other for other in by_content.get(item.digest, ()) if other is not item]:
            yield item, others[0]


def extract(items: Sequence[Indexed], pipelines: Sequence[Pipeline], check: bool = False) -> tuple[list[Indexed], list[Failure], int]:
    """Store the features of every photo that has none yet, by every pipeline; photos that one cannot use are failures.

    With `check` stored files are read to see that they are whole; otherwise a damaged one is found when it is needed.
    Returns what can be used in the order of `items`, the failures, and how many photos were extracted now."""
    usable = list(items)
    failures: list[Failure] = []
    n_extracted = 0
    for pipeline in pipelines:
        bad, n = _store_missing(usable, pipeline, check)
        failures += [Failure(item.ref.image_id, str(error)) for item, error in bad]
        left_out = {item.digest for item, _ in bad}
        usable = [item for item in usable if item.digest not in left_out]
        n_extracted = max(n_extracted, n)
    return usable, failures, n_extracted


def _store_missing(items: Sequence[Indexed], pipeline: Pipeline, check: bool) -> tuple[list[tuple[Indexed, PhotoError]], int]:
    """What cannot be used, and how many were extracted."""
    missing = [item for item in items if not (pipeline.stored(item) is not None if check else item.digest in pipeline.features)]
    what = f"photos extracted by {pipeline.settings.extract.extractor}"
    bad: list[tuple[Indexed, PhotoError]] = []
    flaws: dict[str, list[str]] = {}
    for done, (item, found) in enumerate(features_of(missing, pipeline, flaws)):
        pipeline.listener.progress(what, done, len(missing))
        if isinstance(found, PhotoError):
            bad.append((item, found))
        else:
            pipeline.features.save(item.digest, found)
    if missing:
        pipeline.listener.progress(what, len(missing), len(missing))
    for flaw, names in flaws.items():
        more = f" and {len(names) - 3} more photos" if len(names) > 3 else ""
        pipeline.listener.note(f"{', '.join(names[:3])}{more}: {flaw}")
    return bad, len(missing) - len(bad)


def features_of(
    items: Sequence[Indexed], pipeline: Pipeline, flaws: dict[str, list[str]] | None = None
) -> Iterator[tuple[Indexed, Features | PhotoError]]:
    """The features of each photo, or why it cannot be used, as they are ready: on a GPU photos of one size go together. What was forgiven
    in reading them is added to `flaws`, with the ids of the photos."""
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
        for flaw in photo.flaws if flaws is not None else ():
            flaws.setdefault(flaw, []).append(item.ref.image_id)  # type: ignore[union-attr]
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
