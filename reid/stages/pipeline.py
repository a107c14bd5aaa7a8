"""One extractor and one matcher with what they have computed so far. Networks are loaded when first needed, not before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from .. import devices, extractors, imaging, matchers, weights
from ..errors import PhotoError
from ..listener import Listener
from ..records import Features, Indexed, Photo, PhotoRef
from ..retrieval import Shortlist
from ..settings import Settings
from ..store import CoarseStore, DamagedFile, FeatureStore, Fingerprints, MatchStore, Remote, sha256_of

KEPT = 1024  # photos whose features stay in memory, 0.2 GB of 512 keypoints
NO_ANIMAL = "no animal can be made out, so the whole photo is used"
Read = Callable[[], Features | None]


class Kept:
    """Features of the photos that were asked for last; for several threads, and for all pipelines of one extractor."""

    def __init__(self) -> None:
        self._found: dict[str, Features] = {}  # by digest, the oldest first
        self._lock = threading.RLock()

    def __contains__(self, digest: str) -> bool:
        return digest in self._found

    def get(self, digest: str) -> Features | None:
        return self._found.get(digest)

    def add(self, digest: str, features: Features) -> None:
        """As the newest; what is beyond `KEPT` goes."""
        with self._lock:
            self._found.pop(digest, None)
            self._found[digest] = features
            if len(self._found) > KEPT:
                del self._found[next(iter(self._found))]


class Pipeline:
    """The settings' extractor and matcher, and one folder of stored results; usable from several threads."""

    def __init__(self, settings: Settings, folder: Path, listener: Listener, remote: Remote | None = None):
        matchers.weights_name(settings.extract, settings.match)  # names what cannot work before work starts, as the next line
        extractors.weights_digest(settings.extract)
        self.settings, self.folder, self.listener, self.remote = settings, folder, listener, remote
        self.n_matched = 0  # pairs matched now, stored ones not counted
        self.kept = Kept()

    @property
    def name(self) -> str:
        return f"{self.settings.extract.extractor} + {self.settings.match.matcher}"

    @cached_property
    def device(self) -> str:
        return devices.choose(self.settings.device)

    @cached_property
    def fingerprints(self) -> Fingerprints:
        extract, match = self.settings.extract, self.settings.match
        return Fingerprints(
            features={**extractors.describe(extract), "numerics": extractors.numerics(extract, self.device)},
            matches={**matchers.describe(extract, match), "numerics": matchers.numerics(match, self.device)},
            coarse=matchers.describe_coarse(extract, match),
        )

    @cached_property
    def embedding(self) -> Pipeline | None:
        """What chooses the shortlist together with this pipeline's votes."""
        of = self.settings.match.embedding
        if of == "none" or extractors.entry(self.settings.extract.extractor).votes_for:
            return None
        own = {"extractor": "embedding", "weights": "" if of == "network" else of, "matcher": "cosine"}
        return Pipeline(self.settings.replace(**own, lightglue_weights="", embedding="none"), self.folder, self.listener, self.remote)

    @cached_property
    def learned(self) -> frozenset[str]:
        """The sha256 of the photos' files whose animals' names its weights have learned from."""
        match = self.settings.match
        files = self.settings.extract.weights, match.lightglue_weights if match.matcher == "lightglue" else ""
        return frozenset[str]().union(*(weights.learned(Path(file)) for file in files if file and file not in weights.REGISTRY))

    def knows(self, item: Indexed, of_file: Callable[[Path], str] = sha256_of) -> bool:
        """Whether its weights have learned from this photo's name, whatever box and mask it had then."""
        if not self.learned or item.digest in self.learned:
            return bool(self.learned)
        with suppress(PhotoError):  # gone, and answered from what is stored
            return of_file(item.ref.path) in self.learned
        return False

    @cached_property
    def features(self) -> FeatureStore:
        return FeatureStore(self.folder, self.fingerprints.of_features, self.remote)

    @cached_property
    def matches(self) -> MatchStore:
        return MatchStore(self.folder, self.fingerprints.of_matches)

    @cached_property
    def coarse(self) -> CoarseStore:
        return CoarseStore(self.folder, self.fingerprints.of_coarse)

    @cached_property
    def index(self) -> Shortlist:
        extract = self.settings.extract
        return Shortlist(self.folder, self.fingerprints.of_features, extractors.entry(extract.extractor).votes_for, bool(extract.weights))

    @cached_property
    def extractor(self) -> extractors.Extractor:
        return extractors.create(self.settings.extract, self.device)

    @cached_property
    def matcher(self) -> matchers.Matcher:
        return matchers.create(self.settings.extract, self.settings.match, self.device)

    def prepare(self, ref: PhotoRef) -> Photo:
        """Decoded and resized; as the settings want, evened out, and with a mask of the animal where none is given;
        without info bars and borders.

        Raises PhotoError."""
        extract = self.settings.extract
        prepared = imaging.prepare(ref, extract.resize, extract.enlarge)
        photo = imaging.without_borders(prepared)
        if extract.segment and prepared.mask is None:
            photo = self._outlined(photo)
        return replace(photo, pixels=imaging.equalized(photo.pixels)) if extract.equalize else photo

    def _outlined(self, photo: Photo) -> Photo:
        """With a mask of the animal, within that which it has; one that lies beside it is of a maker's mark on an info bar."""
        mask = extractors.segmenter(self.device).foreground(photo.pixels)
        if mask is not None and photo.mask is not None:
            mask = mask & photo.mask if imaging.mostly_within(mask, photo.mask) else None
        return replace(photo, mask=mask) if mask is not None else replace(photo, flaws=(*photo.flaws, NO_ANIMAL))

    def stored(self, item: Indexed, read: Read | None = None) -> Features | None:
        """What is stored; None, and a note, if it is damaged. `read` gives what the file holds where somebody has begun to read it."""
        try:
            return read() if read else self.features.load(item.digest)
        except DamagedFile as error:
            self.listener.note(f"{error} is damaged; the features of {item.ref.image_id} are extracted again")
            return None

    def load(self, item: Indexed, read: Read | None = None) -> Features:
        """The stored features, extracted again if the file has been deleted or is damaged. The last `KEPT` stay in memory.

        `read` as in `stored`. Raises PhotoError for a photo that is gone."""
        features = self.kept.get(item.digest)
        if features is None:
            features = self.stored(item, read)
        if features is None:
            try:
                self.features.save(item.digest, self.extractor.extract(self.prepare(item.ref)))
            except PhotoError:
                self.features.delete(item.digest)  # so that the next run finds it missing, and does without the photo
                raise
            features = self.features.load(item.digest)
            assert features is not None
        self.kept.add(item.digest, features)
        return features
