"""A gallery that is open: what a notebook, the command line, a web server and a worker of a cluster hold.

    with reid.open("turtles/") as gallery:
        report = gallery.identify("query.jpg")

A session owns networks, stores and settings and keeps them warm: the gallery is read and its features are extracted when they are first
needed, and a second query costs matching only. Everything computed is stored, so whatever is interrupted goes on where it stopped.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import catalogue, decision, engines, imaging, stages
from .catalogue import Decision, DecisionLog, Gallery, PhotoKey, ReadOptions
from .decision import Calibration
from .decision.conformal import FOLDS
from .devices import versions
from .engines import Engine, LocalEngine, Opener
from .errors import GalleryError, PhotoError, SettingsError
from .records import Failure, Features, Health, IdentityRanking, Indexed, PairMatches, PhotoFacts, PhotoRef, Query, Report
from .scoring import ImpostorDistribution
from .settings import Settings
from .stages import Grouping, IndexSummary, Judges, Listener, PairView, Stage, Workspace

if TYPE_CHECKING:
    import pandas as pd

    from .evaluation.run import Comparison
    from .evaluation.summary import Evaluation
    from .evaluation.tune import Tuning

PHOTOS = 32  # that a worker extracts before it says so
Photos = str | Path | Iterable[str | Path]  # files, folders, or several of them


def open(
    gallery: str | Path,
    settings: Settings | None = None,
    *,
    table: str | Path | pd.DataFrame | None = None,
    cache: str | Path | None = None,
    features: str | None = None,
    skip_bad: bool = False,
    join: Mapping[str, str] | None = None,
    names_as_written: bool = False,
    listener: Listener | None = None,
    engine: Opener = engines.local,
) -> Session:
    """Open a folder of known animals. `table` is a file or a DataFrame with WildlifeDatasets' columns, otherwise the folder's own; what
    is computed is stored under `cache`, otherwise in the gallery's `.reid`. With `skip_bad` rows that have a problem are left out.
    `join` maps a name to the name it is to be read as; with `names_as_written` words such as "unknown" are names. The work is done
    by an `engine`, in this process or, as `engines.ray` says, on a cluster. `features` is a URL where features are kept, too.

    Raises SettingsError, StoreError; GalleryError for what is no folder, and for other faults when the gallery is first read."""
    root, chosen, told = Path(gallery), settings or Settings(), listener or Listener()
    catalogue.check_folder(root)
    work = Workspace(chosen, Path(cache) if cache is not None else root / catalogue.FOLDER, told, features)
    options = ReadOptions(skip_bad, dict(join or {}), names_as_written)
    stages.tell_preparation(work)
    return Session(root, work, Path(table) if isinstance(table, str) else table, options, engine(work.folder, told))


class Session(AbstractContextManager["Session"]):
    """One gallery, its settings, and what they take; a context manager. Made by `open`."""

    def __init__(self, root: Path, work: Workspace, table: Path | pd.DataFrame | None, options: ReadOptions, engine: Engine):
        self.root, self.work, self.table, self._options, self.engine = root, work, table, options, engine
        self.queries: dict[str, Indexed] = {}  # the photos of the last `identify` or evaluation, by id

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.close()
        self.work.close()

    @property
    def settings(self) -> Settings:
        return self.work.settings

    # -- what is known

    @cached_property
    def gallery(self) -> Gallery:
        """The photos, and their labels by the table and by what people have decided, as they are when they are first needed.

        Raises GalleryError with every problem found, StoreError for a damaged log of decisions."""
        found = self.labelled(self.decisions.effective())
        self.work.listener.tell(found.notes)
        return found

    def labelled(self, decisions: Sequence[Decision]) -> Gallery:
        """The gallery as it is by the table and these decisions that count. Raises as `gallery`."""
        digest, options = self.work.digests.of, vars(self._options)
        return catalogue.read(self.root, self._facts, table=self.table, decisions=decisions, digest=digest, **options)

    @property
    def too_few(self) -> str | None:
        """What the gallery lacks to be calibrated, in words; None where it may do."""
        return decision.too_few(self.gallery.references)

    @property
    def decisions(self) -> DecisionLog:
        """What people have decided about this gallery. What is decided from now on counts after `read_again`."""
        return DecisionLog(self.root)

    def read_again(self) -> None:
        """Forget the photos and labels, and all that was inferred from them: the next question reads table and decisions again."""
        for name in ("gallery", "_extracted", "impostors", "judges"):
            self.__dict__.pop(name, None)

    def key(self, ref: PhotoRef) -> PhotoKey:
        """What a photo is called in decisions. Raises PhotoError."""
        return PhotoKey(self.work.digests.of(ref), ref.image_id)

    def _decided(self) -> dict[str, object] | None:
        """The decisions that the labels rest on; None: the table alone."""
        return None if self.gallery.labels is None else self.gallery.labels.about()

    def _facts(self, path: Path) -> PhotoFacts:
        return self.work.digests.facts(path, imaging.facts)

    @cached_property
    def _extracted(self) -> tuple[list[Indexed], tuple[Failure, ...], int]:
        return self._extract_gallery(check=False)

    def _extract_gallery(self, check: bool) -> tuple[list[Indexed], tuple[Failure, ...], int]:
        items, failures = self.read(self.gallery.references, check)
        stages.tell_names(items, self.work.listener)
        items, failed, n = self.extract_all(items, len(items), check)
        if n or check:
            self.work.tidy()
        return items, (*failures, *failed), n

    def read(self, refs: Sequence[PhotoRef], check: bool = False) -> tuple[list[Indexed], list[Failure]]:
        """The photos by their content, and those that cannot be read; with `check` every file is read, whatever its size and time say."""
        digests = self.work.digests
        for one in filter(None, self.engine.ahead(stages.seen, partial(digests.unread, refs), "files read", key=str, size=PHOTOS)):
            digests.learn(one)
        return stages.read(refs, digests, self.work.listener, check)

    def extract_all(self, items: Sequence[Indexed], n: int, check: bool = False) -> tuple[list[Indexed], list[Failure], int]:
        """Store the missing features of photos, for a gallery of `n` references: those that can be used, the others, how many were new."""
        work = self.work
        tried = items if check else stages.missing(items, work.extracting(n))
        do = partial(stages.extracted_in, work=work, n_references=n, check=check)
        found = self.engine.map(do, tried, "photos extracted", key=lambda item: item.digest, size=PHOTOS, otherwise=stages.lost)
        return stages.settle(items, tried, list(found), work.listener)

    @property
    def references(self) -> list[Indexed]:
        """The gallery's photos that can be used, their features stored."""
        return self._extracted[0]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The gallery's photos that cannot be used."""
        return self._extracted[1]

    # -- what is inferred

    @cached_property
    def impostors(self) -> ImpostorDistribution:
        """How pairs of different animals of this gallery score."""
        return stages.impostors(self.references, self.work)

    @cached_property
    def judges(self) -> Judges:
        """What scores are judged by: the gallery's calibration, where it has one, and an impostor distribution."""
        found = stages.judges(self.references, self.work, self.impostors)
        if found.calibration is not None:
            decide = self.settings.decide
            found.calibration.carries(decide.max_false_match, decide.max_false_new)
        return found

    # -- what a user asks for

    def index(self, *, check: bool = False) -> IndexSummary:
        """Extract and store the features of the gallery. What is stored already is left as it is; with `check` it is read, and so is every
        photo, whatever its size and time of change say.

        Raises as `open`, and WeightsError; photos that cannot be used are in the summary's failures."""
        self.work.listener.tell(self.gallery.derived)
        if check:
            self.__dict__["_extracted"] = self._extract_gallery(check=True)
        items, failures, n_extracted = self._extracted
        judges, impostors = (self.ready(), self.impostors) if items else (None, None)
        length = self.settings.match.shortlist
        recall = stages.recall(items, length, self.work) if 0 < length < len(items) else None
        calibration, losses = (judges.calibration, judges.losses) if judges else (None, None)
        n = len(items), len(self.gallery.identities), n_extracted
        return IndexSummary(*n, failures, impostors, recall, calibration, losses, self.work.folder, stages.n_to_estimate(items))

    def identify(self, photos: Photos, *, where: str | Iterable[str] = (), orientation: str | None = None) -> Report:
        """Who is on each photo, by the gallery's other photos. `where` ("column=value") and `orientation` search a part of it.

        Raises as `index` does, and PhotoError if there is no photo at all."""
        work = self.work
        given = [photos] if isinstance(photos, (str, Path)) else list(photos)
        if not given:
            raise PhotoError("no photo to identify")
        chosen, said = catalogue.restrict(self.gallery, [where] if isinstance(where, str) else where, orientation)
        refs, failures = stages.photos(given, self.gallery, work.listener)
        references = self.references
        wanted = {ref.image_id for ref in chosen.references}
        searched = [item for item in references if item.ref.image_id in wanted]
        if not searched:
            raise self._unusable()
        judges = self.ready()
        if judges.calibration is not None and len(searched) < len(references):
            work.listener.note("only a part of the gallery is searched, and its calibration is of the whole: no probabilities")
            judges = Judges(judges.impostors)
        items, failed = self.read(refs)
        items, unusable, _ = self.extract_all(items, len(references))
        self.queries = {item.ref.image_id: item for item in items}
        queries = stages.queries(items, self.settings.score.encounters, self._facts)
        queries, alone = stages.apart_from_itself(queries, references, searched, work)
        ask = partial(stages.identified, references=searched, work=work, judges=judges)
        found = list(self.engine.map(ask, queries, "queries identified", key=lambda query: query.photos[0].digest))
        rankings, share = stages.together(found, work, judges)
        about = {"path": str(self.root), **stages.about(searched, judges), "filter": said, "decisions": self._decided()}
        everything, decide = (*failures, *self.failures, *failed, *unusable, *alone), self.settings.decide
        listed = decision.with_lists(rankings, decide.max_false_match, decide.max_false_new)
        return Report(listed, everything, self.settings.as_dict(), self.fingerprint, about, versions(), datetime.now(UTC), share)

    def _unusable(self) -> GalleryError:
        return GalleryError("no photo of the gallery could be used: " + "; ".join(failure.reason for failure in self.failures[:3]))

    def ready(self) -> Judges:
        """Bring about what any answer takes: stored features of the gallery, its index, what scores are judged by."""
        if not self.references:
            raise self._unusable()
        stages.update_index(self.references, self.work.first)
        return self.judges

    def queries_of(self, refs: Sequence[PhotoRef]) -> tuple[list[Query], list[Failure]]:
        """The queries that these photos (`stages.photos`) make, with nothing extracted yet, and the photos that cannot be answered."""
        items, failed = self.read(refs)
        queries = stages.queries(items, self.settings.score.encounters, self._facts)
        queries, alone = stages.apart_from_itself(queries, self.references, self.references, self.work)
        return queries, [*failed, *alone]

    def answer(self, query: Query) -> tuple[IdentityRanking | None, tuple[Failure, ...]]:
        """`identify` for one of `queries_of`, as soon as it is ready; None where none of its photos is usable."""
        items, failures, _ = stages.extract(query.photos, self.work.extracting(len(self.references)))
        query = Query(query.name, tuple(items), query.in_gallery, query.set_aside)
        return stages.identify(query, self.references, self.work, self.judges) if items else None, tuple(failures)

    def calibrate(self) -> Calibration:
        """Learn from the gallery's own photos what a score is worth, and keep it: `identify` then gives probabilities and keeps promises.

        Raises GalleryError where the gallery has too few animals, or too few that were met twice; else as `index` does."""
        least = self.settings.decide.calibration_queries
        if least < decision.LEAST:
            raise SettingsError(f"calibration_queries is {least}; a calibration needs at least {decision.LEAST}")
        self.work.listener.tell(self.gallery.derived)
        if lacking := self.too_few:
            raise GalleryError(f"{self.root} is too small to be calibrated: {lacking}. `identify` works without")
        if not self.references:
            raise self._unusable()
        self.match_ahead(self.impostors)
        found = stages.calibrate(self.references, self.work, self.impostors, self._decided())
        self.__dict__.pop("judges", None)
        if found is None:
            raise GalleryError(
                f"{self.root} is too small to be calibrated: of {decision.LEAST} encounters of {FOLDS} or more animals that were met "
                "again, and of as many without their animal, too few could be compared. `identify` works without"
            )
        assert found.calibration is not None
        return found.calibration

    def match_ahead(self, by: ImpostorDistribution, most: int | None = None) -> None:
        """Have the calibration queries, or the first so many, matched by others, where the engine has any; matches are then stored."""
        stages.update_index(self.references, self.work.first)
        match = partial(stages.match_apart, references=self.references, work=self.work, impostors=by)
        chosen = partial(stages.calibration_queries, self.references, self.work, most)
        list(self.engine.ahead(match, chosen, "calibration queries matched", key=lambda query: query.photos[0].digest))

    def losses(self) -> Mapping[Stage, int] | None:
        """How many of the calibration's queries lost their animal at each stage; None where the gallery is not calibrated."""
        return stages.judges(self.references, self.work, self.impostors).losses

    def check(self) -> Iterator[stages.Damage]:
        """What of all that is stored for the gallery, and of its photos, is not what it was."""
        return stages.damages(self.work.folder, self.root, self.work.listener)

    def collect(self, *, unused_for: float = 90, dry_run: bool = False) -> dict[str, tuple[int, int]]:
        """Delete what nobody needs of what is stored, see gallery/README.md: {kind: (number of files, bytes)}.

        That is, what was not used for so many days, what killed runs have left, and, where the store is the gallery's own, what belongs to
        no photo that is still there. With `dry_run` it is only counted. Raises GalleryError, StoreError."""
        gallery, own = self.gallery, os.path.realpath(self.root / catalogue.FOLDER)
        if not gallery.references:
            raise GalleryError(f"{self.root} holds no photo; nothing is freed, since everything could be")
        needed = None
        if os.path.realpath(self.work.folder) == own:
            needed = stages.needed((*gallery.references, *gallery.queries), self.work.digests, self.work.listener)
        return stages.collect(self.work.folder, unused_for, needed, dry_run=dry_run)

    def extract(self, photo: str | Path) -> Features:
        """The local features of a photo, by the first pipeline. Raises PhotoError, WeightsError."""
        return self.work.first.load(self._item(photo))

    def match(self, query: str | Path, reference: str | Path) -> PairMatches:
        """The matches of two photos, whichever gallery they are of, by the pipeline whose scores exceed impostors' by most; `view` has the
        features that their indices are rows of. Raises PhotoError, WeightsError."""
        return self.view(self._item(query), self._item(reference)).matches

    def view(self, query: Indexed, reference: Indexed, by: int | None = None, judges: Judges | None = None) -> PairView:
        """A pair as a picture shows it: by the pipeline at the place `by`, or else by that whose scores exceed impostors' by most, those of
        `judges` or of the gallery's own."""
        best = self.work.first if by is None else self.work.pipelines[by]
        if by is None and len(self.work.pipelines) > 1:
            best = stages.strongest(query, reference, self.work, (judges or self.judges).impostors)
        photo, found = stages.match_pair(query, reference, best, self.work.digests)
        return PairView(photo.ref, reference.ref, (best.load(photo), best.load(reference)), found, best.name)

    def confidences(self, query: Indexed, reference: Indexed) -> tuple[NDArray[np.float64], int]:
        """Match confidences (S,) of a pair by the first pipeline, and how many keypoints the query has."""
        _, found = stages.match_pair(query, reference, self.work.first, self.work.digests)
        return found.confidence.astype(np.float64), found.n_keypoints[0]

    def health(self, most: int | None = None) -> Health | None:
        """What the gallery's own photos say about its labels, as many of them as calibrate it, or at most so many. What people have decided
        to be different is not suspected again. None where the gallery is not calibrated."""
        if self.judges.calibration is None:
            return None
        self.match_ahead(self.judges.impostors, most)
        apart = {} if self.gallery.labels is None else self.gallery.labels.animals_apart
        return stages.health(self.references, self.work, self.judges, most, self.gallery.now(self.decisions.effective()), apart)

    def cluster(self) -> Grouping:
        """The photos of the folder in groups, one an animal, by their marks and by decisions alone, whatever names folders or a table give
        them. With the setting `encounters` the photos of an encounter are one animal. Raises as `index`, and PhotoError without photos."""
        decided, digest, skip_bad = self.decisions.effective(), self.work.digests.of, self._options.skip_bad
        found = catalogue.unlabelled(self.root, self._facts, self.table, skip_bad=skip_bad, decisions=decided, digest=digest)
        items, failures = self.read(refs := (*found.references, *found.queries))
        names = dict(zip((ref.image_id for ref in refs), found.tabled, strict=True))
        items, unusable, _ = self.extract_all(items, len(items))
        if not items:
            raise PhotoError(f"no photo under {self.root} could be used")
        written = tuple(names[item.ref.image_id] for item in items)
        share = partial(self.engine.map, what="photos compared", key=lambda item: item.digest)
        return stages.grouping(items, written, found.now(decided), self.work, self._facts, (*failures, *unusable), share)

    def evaluate(self, *, limit: int | None = None) -> Evaluation:
        """How often the answers are right, on a table with a column `split`. Raises GalleryError for a table without queries."""
        from .evaluation.run import evaluate

        return evaluate(self, limit=limit).evaluation

    def compare(self, extractors: Sequence[str], matchers: Sequence[str], *, limit: int | None = None) -> Comparison:
        """`evaluate` each extractor with each matcher, fused with what the settings fuse (`fuse="none"`: each by itself)."""
        from .evaluation.run import compare

        return compare(self, extractors, matchers, limit=limit)

    def tune(self, pipelines: Sequence[str] | None = None, *, queries: int | None = None) -> Tuning:
        """Which pipelines ("extractor+matcher"), with what weights, recognise the animals of this gallery; `Tuning.changes` are settings.

        Raises GalleryError where too few animals were met twice."""
        from .evaluation import tune

        return tune.tune(self, pipelines or tune.PIPELINES, queries or tune.QUERIES)

    def with_settings(self, settings: Settings) -> Session:
        """The same gallery with other settings; what is read of it is shared. To be closed by itself."""
        other = Session(self.root, self.work.with_settings(settings), self.table, self._options, self.engine)
        other.__dict__.update(gallery=self.gallery, close=other.work.close)  # the engine is closed by who has opened it
        return other

    @property
    def fingerprint(self) -> str:
        """16 hex digits over settings, weights, constants and precision: all that changes an answer but the gallery and its calibration."""
        return self.work.fingerprints.of_answers

    def _item(self, photo: str | Path) -> Indexed:
        items, failures = stages.read([PhotoRef(str(photo), Path(photo))], self.work.digests, self.work.listener)
        if failures:
            raise PhotoError(failures[0].reason)
        return items[0]


def open_pair(query: str | Path, reference: str | Path, settings: Settings, listener: Listener | None = None) -> PairView:
    """The matches of two photos that are of no gallery; nothing is kept. Raises PhotoError for one that cannot be used."""
    with tempfile.TemporaryDirectory() as folder:
        work = Workspace(settings.replace(fuse="none"), Path(folder), listener or Listener())
        with Session(Path(folder), work, None, ReadOptions(), LocalEngine()) as session:
            return session.view(session._item(query), session._item(reference))
