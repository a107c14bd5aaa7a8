"""The order of things: photos -> features -> matches -> scores -> individuals. The only module that knows it.

Everything computed is stored, so each of these can be interrupted and goes on where it stopped. Progress and notes leave through a
`Listener`; nothing here prints.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import resources
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import devices, extractors, imaging, matchers, scoring, weights
from .catalogue import sides as views
from .decision import openset as novelty
from .decision.openset import Calibration, Standing
from .errors import PhotoError, SettingsError
from .imaging import segmentation
from .records import Candidate, Failure, Features, IdentityRanking, PairMatches, Photo, PhotoRef, Score
from .retrieval import shortlist
from .scoring import Evidence, Null, ranking
from .settings import Settings
from .store import FORMAT, DamagedFile, Digests, FeatureStore, MatchStore, fingerprint, remove_leftovers, write_atomically

if TYPE_CHECKING:
    import torch

AHEAD = 3  # photos decoded ahead of the network, for each thread that decodes
AT_ONCE = {"cpu": 1, "mps": 4, "cuda": 16}  # photos of one size that go through the network together
LOADERS = {"cpu": 0, "mps": 2, "cuda": 4}  # threads that read features ahead of the matcher; on the processor that computes they cost more
KEPT = 1024  # photos whose features stay in memory, 0.2 GB of 512 keypoints
# The scores that make up a matcher's opinion, as measured.
JOINED = {"lightglue": ("wasserstein", "wasserstein-matched"), "nearest": ("sum",), "adalam": ("sum",)}
SAVE_EVERY = 60.0  # seconds between saves of a query's matches
LEFTOVER_AGE = 3600.0  # seconds after which a part of a file is nobody's any more


class Listener:
    """Told what happens; the command line draws bars from it. This one is silent."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` `what` ("photos", "queries", ...) are finished."""

    def note(self, text: str) -> None:
        """Something the user should know, in one line."""


@dataclass(frozen=True)
class Indexed:
    """A photo whose features are stored."""

    ref: PhotoRef
    digest: str


@dataclass(frozen=True)
class Query:
    """What is asked: one photo, or those of one encounter."""

    name: str
    photos: tuple[Indexed, ...]


class Pipeline:
    """The settings' networks and one folder of stored results. Networks are loaded when first needed, not before."""

    def __init__(self, settings: Settings, folder: Path, listener: Listener | None = None):
        matchers.weights_name(settings)  # names what cannot work before work starts
        self.settings, self.folder, self.listener = settings, folder, listener or Listener()
        ways: list[Any] = [name for name in ("enlarge", "segment", "equalize") if getattr(settings, name)]
        ways += [segmentation.WAY] if settings.segment else []
        own = settings.extractor, settings.max_keypoints, settings.resize, *ways
        self.features_fingerprint = fingerprint(FORMAT, *own, extractors.weights_digest(settings))
        self.digests = Digests(folder)
        self.features = FeatureStore(folder, self.features_fingerprint)
        try:
            self.others = [Pipeline(other, folder, self.listener) for other in settings.others()]
        except SettingsError as error:
            raise SettingsError(f"also: {error}") from None
        self.n_matched = 0  # pairs matched by this pipeline, stored ones not counted
        self._kept: dict[str, Features] = {}  # the oldest first
        self.opinions = [self, *self.others]

    @cached_property
    def device(self) -> str:
        return devices.choose(self.settings.device)

    @cached_property
    def dtype(self) -> torch.dtype:
        """What the matcher's products are computed in."""
        return matchers.dtype(self.settings, self.device)

    @cached_property
    def matches_fingerprint(self) -> str:
        """Covers features, matcher, its settings and weights, and the precision it has here: two devices do not share their results."""
        settings = self.settings
        glue = settings.depth_confidence, settings.width_confidence, str(self.dtype)
        model = matchers.verification(settings)
        own = {"lightglue": glue, "nearest": (settings.ratio,), "adalam": (settings.ratio,)}[settings.matcher]
        options = own + (() if model is None else (model,))
        return fingerprint(
            self.features_fingerprint,
            settings.matcher,
            options,
            weights.digest(matchers.weights_name(settings), settings.lightglue_weights),
        )

    @cached_property
    def opinions_fingerprint(self) -> str:
        """Covers all that a pair's evidence is made of."""
        return fingerprint([(own.matches_fingerprint, JOINED[own.settings.matcher]) for own in self.opinions])

    @cached_property
    def matches(self) -> MatchStore:
        return MatchStore(self.folder, self.matches_fingerprint)

    @cached_property
    def extractor(self) -> extractors.Extractor:
        return extractors.create(self.settings, self.device)

    @cached_property
    def matcher(self) -> matchers.Matcher:
        return matchers.create(self.settings, self.device)

    @cached_property
    def searched(self) -> shortlist.Shortlist:
        return shortlist.Shortlist(self.folder, self.features_fingerprint)

    # -- photos -> features

    def index(self, refs: Sequence[PhotoRef], check: bool = False) -> tuple[list[Indexed], list[Failure], int]:
        """Store the features of every photo that has none yet, for every opinion; those that cannot be used come back as failures.

        With `check` stored files are read to see that they are whole; otherwise a damaged one is found when it is needed.
        Returns what is indexed in the order of `refs`, the failures, and how many were extracted now."""
        remove_leftovers(self.folder, time.time() - LEFTOVER_AGE)
        indexed: list[Indexed] = []
        failures: list[Failure] = []
        for done, ref in enumerate(refs):
            self.listener.progress("photos checked", done, len(refs))
            try:
                indexed.append(Indexed(ref, self.digests.of(ref)))
            except PhotoError as error:
                failures.append(Failure(ref.image_id, str(error)))
        self.listener.progress("photos checked", len(refs), len(refs))
        n_extracted = 0
        for own in self.opinions:
            bad, n = own._store_features(indexed, check)
            failures += [Failure(item.ref.image_id, str(error)) for item, error in bad]
            left_out = {item.digest for item, _ in bad}
            indexed = [item for item in indexed if item.digest not in left_out]
            n_extracted = max(n_extracted, n)
        return indexed, failures, n_extracted

    def _store_features(self, items: Sequence[Indexed], check: bool) -> tuple[list[tuple[Indexed, PhotoError]], int]:
        """Extract what is missing of this opinion: what cannot be used, and how many were extracted."""
        missing = [item for item in items if not (self._read(item) is not None if check else item.digest in self.features)]
        what = f"photos, {self.settings.extractor}"
        bad: list[tuple[Indexed, PhotoError]] = []
        for done, (item, found) in enumerate(self.extract(missing)):
            self.listener.progress(what, done, len(missing))
            if isinstance(found, PhotoError):
                bad.append((item, found))
            else:
                self.features.save(item.digest, found)
        if missing:
            self.listener.progress(what, len(missing), len(missing))
        return bad, len(missing) - len(bad)

    def _read(self, item: Indexed, read: Callable[[], Features | None] | None = None) -> Features | None:
        """What is stored; None, and a note, if it is damaged. `read` gives what the file holds where somebody has begun to read it."""
        try:
            return read() if read else self.features.load(item.digest)
        except DamagedFile as error:
            self.listener.note(f"{error} is damaged; the features of {item.ref.image_id} are extracted again")
            return None

    def load(self, item: Indexed, read: Callable[[], Features | None] | None = None) -> Features:
        """The stored features, extracted again if the file has been deleted or is damaged. The last `KEPT` stay in memory.

        `read` as in `_read`."""
        features = self._kept.pop(item.digest, None)
        if features is None:
            features = self._read(item, read)
        if features is None:
            self.features.save(item.digest, self.extractor.extract(self._prepare(item.ref)))
            features = self.features.load(item.digest)
            assert features is not None
        self._kept[item.digest] = features
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return features

    def extract(self, items: Sequence[Indexed]) -> Iterator[tuple[Indexed, Features | PhotoError]]:
        """The features of each photo, or why it cannot be used, as they are ready: on a GPU photos of one size go together."""
        at_once = AT_ONCE[self.device]
        waiting: dict[tuple[int, int], list[tuple[Indexed, Photo]]] = {}

        def together(group: list[tuple[Indexed, Photo]]) -> Iterator[tuple[Indexed, Features]]:
            return zip((item for item, _ in group), self.extractor.extract_all([photo for _, photo in group]))

        for item, outcome in self._prepared(items):
            try:
                photo = outcome.result()
            except PhotoError as error:
                yield item, error
                continue
            waiting.setdefault(photo.size, []).append((item, photo))
            size = max(waiting, key=lambda size: len(waiting[size]))
            if len(waiting[size]) >= at_once or sum(map(len, waiting.values())) >= 4 * at_once:
                yield from together(waiting.pop(size))
        for group in waiting.values():
            yield from together(group)

    def _prepare(self, ref: PhotoRef) -> Photo:
        """Decoded and resized; as the settings want, evened out, and with a mask of what stands out where none is given."""
        photo = imaging.prepare(ref, self.settings.resize, self.settings.enlarge)
        mask = photo.mask
        if self.settings.segment and mask is None:
            mask = segmentation.foreground(photo.pixels)
            if mask is None and not (ref.quarters or ref.mirrored):
                self.listener.note(f"nothing stands out in {ref.image_id}; its whole frame is used")
        pixels = imaging.equalized(photo.pixels) if self.settings.equalize else photo.pixels
        return replace(photo, pixels=pixels, mask=mask)

    def _prepared(self, items: Sequence[Indexed]) -> Iterator[tuple[Indexed, Future[Photo]]]:
        """Photos decoded and resized by other threads while the network works on those before."""
        n_threads = 1 if self.device == "cpu" else os.cpu_count() or 1
        with ThreadPoolExecutor(n_threads) as pool:
            waiting: deque[tuple[Indexed, Future[Photo]]] = deque()
            try:
                for item in items:
                    waiting.append((item, pool.submit(self._prepare, item.ref)))
                    if len(waiting) > AHEAD * n_threads:
                        yield waiting.popleft()
                while waiting:
                    yield waiting.popleft()
            finally:
                for _, outcome in waiting:
                    outcome.cancel()

    # -- features -> matches

    def shortlist(self, query: Indexed, references: Sequence[Indexed]) -> list[int]:
        """Places of the references that are worth matching, in order: all of them where they are no more than the settings allow."""
        most = self.settings.shortlist
        if not 0 < most < len(references):
            return list(range(len(references)))
        return sorted(self.first(query, references, most))

    def first(self, query: Indexed, references: Sequence[Indexed], most: int) -> list[int]:
        """Places of the references that go first by the votes of the query's descriptors, see `shortlist`."""
        votes = self.searched.votes(self.load(query), [item.digest for item in references])
        return ranking.first(votes, [item.ref.identity for item in references], most)

    def update_shortlist(self, references: Sequence[Indexed]) -> None:
        """Bring the index of descriptors to the photos of a gallery that needs one."""
        if 0 < self.settings.shortlist < len(references):
            items = {item.digest: item for item in references}
            self.searched.update(list(items), lambda digest: self.load(items[digest]), partial(self.listener.progress, "photos voted for"))

    def variants(self, query: Indexed, references: Sequence[Indexed]) -> Iterator[tuple[Indexed, list[int]]]:
        """The query as it is, turned and mirrored as the settings want, each with the places of the references that it is compared with:
        all but opposite sides; the mirrored query meets only those, and those of which nothing is known."""
        settings, own = self.settings, query.ref.orientation
        across = [views.opposite(own, item.ref.orientation) for item in references]
        straight = [place for place, is_across in enumerate(across) if not is_across or settings.sides == "all"]
        unknown = [own is None or item.ref.orientation is None for item in references]
        mirrored = [place for place in range(len(references)) if across[place] or unknown[place]] if settings.mirror else []
        for quarters in range(0, 4, 4 // settings.rotations):
            for is_mirrored, places in ((False, straight), (True, mirrored)):
                if places:
                    ref = replace(query.ref, quarters=quarters, mirrored=is_mirrored)
                    yield (Indexed(ref, self.digests.of(ref)) if quarters or is_mirrored else query), places

    def chosen(self, query: Indexed, references: Sequence[Indexed]) -> Iterator[tuple[Indexed, list[int]]]:
        """The query's variants, each with the places of the references that it is matched with: those on its shortlist."""
        for variant, places in self.variants(query, references):
            yield variant, [places[place] for place in self.shortlist(variant, [references[place] for place in places])]

    def confidences(
        self, query: Indexed, references: Sequence[Indexed], chosen: Iterable[tuple[Indexed, list[int]]] | None = None
    ) -> list[np.ndarray]:
        """Match confidences (S,) float16 of the query with each reference, by whichever of its variants has the greatest sum; stored ones
        are not matched again, those that are not on the shortlist have none."""
        of_all = [np.zeros(0, np.float16)] * len(references)
        for variant, places in self.chosen(query, references) if chosen is None else chosen:
            found = self._match([references[place] for place in places], variant)
            for place in places:
                new, old = found[references[place].digest], of_all[place]
                if new.sum(dtype=np.float64) > old.sum(dtype=np.float64):
                    of_all[place] = new
        return of_all

    def _match(self, references: Sequence[Indexed], query: Indexed) -> dict[str, np.ndarray]:
        """Confidences by the digest of the reference. Where references race, what each gets depends on the others: then they are stored
        together, under a name that tells whom the query met."""
        digests = {item.digest: item for item in references}
        rules = matchers.race(self.settings)
        race = rules is not None and len(digests) > rules[2]
        met = sorted((digest, item.ref.identity or "") for digest, item in digests.items())
        key = f"{query.digest}-{fingerprint(met, rules)}" if race else query.digest
        try:
            found = self.matches.load(key)
        except DamagedFile as error:
            self.listener.note(f"{error} is damaged; {query.ref.image_id} is matched again")
            found = {}
        missing = [item for digest, item in digests.items() if digest not in found]
        if race and missing:
            missing, found = list(digests.values()), {}
        if missing:
            saved = time.monotonic()
            try:
                results = self.matcher.match(self.load(query), _Stored(self, missing), [item.ref.identity for item in missing])
                for done, (place, (_, confidence)) in enumerate(results):
                    found[missing[place].digest] = confidence.astype(np.float16)
                    self.n_matched += 1
                    if len(missing) > 1:
                        self.listener.progress("pairs", done + 1, len(missing))
                    if time.monotonic() - saved > SAVE_EVERY and not race:
                        self.matches.save(key, found)
                        saved = time.monotonic()
            finally:  # also when interrupted
                if not race or len(found) == len(digests):
                    self.matches.save(key, found)
        return found

    def speaker(self, query: Indexed, reference: Indexed, null: Null) -> Pipeline:
        """The opinion that speaks for this pair most: the one whose matches exceed strangers' by most."""
        least = self.settings.min_confidence
        excess = [
            scoring.evidence.evidence(own.confidences(query, [reference])[0], len(own.load(query)), judge, least).excess
            for own, judge in zip(self.opinions, (null, *null.others), strict=True)
        ]
        return self.opinions[int(np.argmax(excess))]

    def match_pair(self, query: Indexed, reference: Indexed) -> tuple[Indexed, PairMatches]:
        """The matches of one pair, with their indices into the features of the query's best variant, which comes with them."""
        b = self.load(reference)
        pairs = []
        for variant, _ in self.variants(query, [reference]):
            a = self.load(variant)
            [(_, (indices, confidence))] = self.matcher.match(a, [b])
            pairs.append((variant, PairMatches(query.ref.image_id, reference.ref.image_id, indices, confidence, (len(a), len(b)))))
        if not pairs:
            none = np.zeros((0, 2), np.int32), np.zeros(0, np.float32)
            return query, PairMatches(query.ref.image_id, reference.ref.image_id, *none, (len(self.load(query)), len(b)))
        return max(pairs, key=lambda pair: float(pair[1].confidence.sum()))

    # -- matches -> scores -> individuals

    def null(self, references: Sequence[Indexed]) -> Null:
        """The null of this gallery, estimated once for its present photos; the shipped default where it has too few pairs of strangers."""
        pairs = stranger_pairs(references, self.settings.null_pairs, self.settings.sides)
        settings = self.settings
        ways = settings.sides, settings.mirror, settings.rotations
        key = fingerprint(self.opinions_fingerprint, ways, settings.min_confidence, [(a.digest, b.digest) for a, b in pairs])
        path = self.folder / "nulls" / f"{key}.json"
        try:
            return Null.from_json(json.loads(path.read_text()))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.listener.note(f"{path} is damaged; the null is estimated again")
        nulls = tuple(other.null(references) for other in self.others)
        values, others = [], []
        for done, (a, b) in enumerate(pairs):
            self.listener.progress("pairs of strangers", done, len(pairs))
            values.append((self.confidences(a, [b])[0], len(self.load(a))))
            others.append([other.compare([a], [b], null)[0][0] for other, null in zip(self.others, nulls)])
        self.listener.progress("pairs of strangers", len(pairs), len(pairs))
        null = scoring.evidence.estimate_null(values, settings.min_confidence, "gallery", JOINED[settings.matcher], others, nulls)
        if null is None:
            return default_null(settings, nulls)
        borrowed = next((other.source for other in nulls if other.source != "gallery"), None)
        if borrowed is not None:
            return replace(null, source=borrowed)
        write_atomically(path, json.dumps(null.as_json()).encode())
        return Null.from_json(null.as_json())  # rounded as it is stored, so that the first run equals the second

    def compare(self, photos: Sequence[Indexed], references: Sequence[Indexed], null: Null) -> list[list[Evidence]]:
        """What the matches of each of a query's photos with each reference say, by every score."""
        rows = []
        for photo in photos:
            chosen = list(self.chosen(photo, references))
            met = sorted({place for _, places in chosen for place in places})
            n_keypoints, found = len(self.load(photo)), self.confidences(photo, references, chosen)
            others = [other.asked_of(met, photo, references, judge) for other, judge in zip(self.others, null.others, strict=True)]
            seen = zip(*others) if others else repeat(())
            rows.append(
                [scoring.evidence.evidence(one, n_keypoints, null, self.settings.min_confidence, also) for one, also in zip(found, seen)]
            )
        return rows

    def asked_of(self, places: Sequence[int], photo: Indexed, references: Sequence[Indexed], null: Null) -> list[Evidence]:
        """As `compare`, of the references in these places; those elsewhere have no matches."""
        nothing = scoring.evidence.evidence(np.zeros(0), len(self.load(photo)), null, self.settings.min_confidence)
        found = dict(zip(places, self.compare([photo], [references[place] for place in places], null)[0]))
        return [found.get(place, nothing) for place in range(len(references))]

    def identify(self, query: Query, references: Sequence[Indexed], null: Null, calibration: Calibration | None = None) -> IdentityRanking:
        """Every individual of the gallery, best first, the verdict, and what is wrong with the photo."""
        candidates = self.rank_by(self.settings.score, query.photos, references, self.compare(query.photos, references, null))
        found = self.judge(query, candidates, references, null, calibration)
        try:
            seen = tuple(imaging.quality(photo.ref) for photo in query.photos)
        except PhotoError as error:
            self.listener.note(f"{error}; it was answered from its stored features")
            return found
        faults = min((imaging.shortcomings(one) for one in seen), key=lambda words: len(words))  # of the best photo
        if not faults:
            return replace(found, quality=seen)
        which = "The photo is" if len(seen) == 1 else "The best of the photos is"
        why = f"{which} {', '.join(faults)}: even of known animals fewer such are recognised."
        return replace(found, quality=seen, because=(*found.because, why))

    def judge(
        self, query: Query, candidates: tuple[Candidate, ...], references: Sequence[Indexed], null: Null, calibration: Calibration | None
    ) -> IdentityRanking:
        """The verdict on what `rank_by` has found among these references, with probabilities where the gallery is calibrated.

        Where nothing could be compared, no keypoint or no compatible side, nothing is known, and so the verdict is unsure."""
        settings = self.settings
        met = [
            place for photo in query.photos if len(self.load(photo)) for _, places in self.variants(photo, references) for place in places
        ]
        if not met:
            nothing = ("Nothing could be compared: the photo has no keypoints, or the gallery has no photo of a side that it could show.",)
            return IdentityRanking(query.name, candidates, novelty.UNSURE, 1.0, because=nothing)
        p = scoring.evidence.stranger_probability(candidates[0].score, null, settings.score, len(met))
        if calibration is None:
            return IdentityRanking(query.name, candidates, novelty.uncalibrated(p, settings.match_below, settings.new_above), p)
        decision = calibration.decide(standing_of(candidates), settings.max_false_match, settings.max_false_new, self._prior)
        chances = decision.p_match, decision.p_other, decision.p_new, decision.interval
        why: tuple[str, ...] = novelty.reasons(decision, calibration)
        n_left_out = len(candidates) - len({references[place].ref.identity or references[place].ref.image_id for place in set(met)})
        if n_left_out:
            whom = "1 individual has" if n_left_out == 1 else f"{n_left_out} individuals have"
            why += (f"{whom} no photo of a side that could be compared.",)
        return IdentityRanking(query.name, candidates, decision.verdict, p, *chances, decision.p_if_known, why)

    @property
    def _prior(self) -> float | None:
        return self.settings.prior_new if self.settings.prior_new >= 0 else None

    def rank_by(
        self, score: str, photos: Sequence[Indexed], references: Sequence[Indexed], rows: Sequence[Sequence[Evidence]]
    ) -> tuple[Candidate, ...]:
        """The individuals, best first."""
        scores = [
            Score(photo.ref.image_id, item.ref.image_id, seen.by(score), seen.shown)
            for photo, row in zip(photos, rows, strict=True)
            for item, seen in zip(references, row, strict=True)
        ]
        return ranking.rank(scores, {item.ref.image_id: item.ref.identity for item in references})


class _Stored(Sequence[Features]):
    """Features that are loaded when they are asked for; in a walk along them, by other threads, ahead of who walks."""

    def __init__(self, pipeline: Pipeline, items: Sequence[Indexed]):
        self.pipeline, self.items = pipeline, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: Any) -> Any:
        return self.pipeline.load(self.items[place])

    def __iter__(self) -> Iterator[Features]:
        n_threads = LOADERS[self.pipeline.device]
        if not n_threads:
            yield from map(self.pipeline.load, self.items)
            return
        with ThreadPoolExecutor(n_threads) as pool:
            load, kept = self.pipeline.features.load, self.pipeline._kept
            begun = ((item, None if item.digest in kept else pool.submit(load, item.digest)) for item in self.items)
            waiting = deque(islice(begun, 4 * n_threads))
            while waiting:
                item, reading = waiting.popleft()
                yield self.pipeline.load(item, reading.result if reading else None)
                waiting.extend(islice(begun, 1))


def standing_of(candidates: Sequence[Candidate]) -> Standing:
    """How the first of these individuals stands, best first."""
    return novelty.standing([candidate.score for candidate in candidates], candidates[0].n_matches)


def apart(a: Indexed, b: Indexed) -> bool:
    """Two photos, not of one encounter."""
    return a.digest != b.digest and not same_encounter(a.ref, b.ref)


def without_encounter(photos: Sequence[Indexed], references: Sequence[Indexed]) -> list[Indexed]:
    """The references that are of no encounter of these photos."""
    return [item for item in references if all(apart(photo, item) for photo in photos)]


def same_encounter(a: PhotoRef, b: PhotoRef) -> bool:
    """Photos without an encounter count as of one each."""
    return a.encounter is not None and a.encounter == b.encounter


def stranger_pairs(references: Sequence[Indexed], most: int, sides: str = "all") -> list[tuple[Indexed, Indexed]]:
    """Up to `most` pairs of photos of different named animals, never of one encounter, nor of opposite sides where those are not compared;
    adding a photo changes few of them.

    References stand in a ring by their digests; each is paired with the next, then with the one after the next, and so on."""
    ring = sorted((item for item in references if item.ref.identity is not None), key=lambda item: (item.digest, item.ref.image_id))
    pairs: dict[frozenset[str], tuple[Indexed, Indexed]] = {}
    for step in range(1, len(ring) // 2 + 1):
        for i, a in enumerate(ring):
            b = ring[(i + step) % len(ring)]
            if len(pairs) >= most:
                return list(pairs.values())
            across = sides != "all" and views.opposite(a.ref.orientation, b.ref.orientation)
            if a.ref.identity != b.ref.identity and apart(a, b) and not across:
                pairs.setdefault(frozenset((a.digest, b.digest)), (a, b))
    return list(pairs.values())


def default_null(settings: Settings, others: tuple[Null, ...] | None = None) -> Null:
    """The null that ships for this extractor and matcher, or else for this matcher with the extractor nearest to it.

    `others` are the nulls of the further opinions, where they are known. Of several opinions the joint score is taken to be as high as
    where all are at their highest together."""
    shipped = json.loads(resources.files("reid").joinpath("nulls.json").read_text())
    name = next(name for name in (settings.extractor, "aliked-n16") if f"{name}+{settings.matcher}" in shipped)
    own = Null.from_json(shipped[f"{name}+{settings.matcher}"])
    if others is None:
        others = tuple(map(default_null, settings.others()))
    joint = np.log1p(sum(np.expm1(one.scores["joint"]) for one in (own, *others)))
    return replace(own, others=others, scores=own.scores | {"joint": joint})
