"""What stages work with: settings, their pipelines, and the folder where everything computed is stored.

A workspace that is sent to another process, of this machine or of another that sees the same folder, is opened there, once.
"""

from __future__ import annotations

import os
import platform
import secrets
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from .. import decision, devices, retrieval, scoring, weights
from ..errors import SettingsError
from ..listener import EAR, Listener
from ..settings import Settings
from ..store import AnswerFingerprints, DamagedFile, Digests, JsonStore, Remote, SecondStore, fingerprint, is_old, remove, remove_leftovers
from ..store.description import constants
from .pipeline import Pipeline

Value = TypeVar("Value")
SECOND_LOOK = f"{__package__}.second_look"
A_DAY = 86400.0  # seconds


class Workspace:
    """Usable from several threads; several processes may have one on the same folder. `features` is a URL where they are kept, too."""

    def __init__(self, settings: Settings, folder: Path, listener: Listener, features: str | None = None, copies: Path | None = None):
        self.settings, self.folder, self.listener, self.features, self._copies = settings, folder, listener, features, copies
        remote = None if features is None else Remote(features, copies)
        first, *others = settings.pipelines()
        self.first = Pipeline(first, folder, listener, remote)
        try:
            self.pipelines = (self.first, *(Pipeline(other, folder, listener, remote) for other in others))
        except SettingsError as error:
            raise SettingsError(f"fuse: {error}") from None
        self.extractors = (*self.pipelines, *filter(None, [self.first.embedding]))
        for place, one in enumerate(self.pipelines):
            one.kept = next(other for other in self.pipelines[: place + 1] if other.settings.extract == one.settings.extract).kept
        self.digests = Digests(folder)

    def with_settings(self, settings: Settings) -> Workspace:
        return Workspace(settings, self.folder, self.listener, self.features, self._copies)

    @cached_property
    def fingerprints(self) -> AnswerFingerprints:
        settings = self.settings
        ways = {name: settings.get(name) for name in ("sides", "mirror", "rotations")}
        return AnswerFingerprints(
            pipelines=[one.fingerprints for one in self.pipelines],
            score={
                **ways,
                "weights": settings.pipeline_weights(),
                **scoring.describe(),
                **{name: settings.get(name) for name in ("score", "min_confidence", "impostor_pairs")},
            },
            search={
                **retrieval.describe(),
                **{name: settings.get(name) for name in ("shortlist", "coarse", "encounters", "second_look")},
                **({"embedding": self.first.embedding.fingerprints.of_features} if self.first.embedding else {}),
                **constants(SECOND_LOOK),
            },
            decide=decision.describe(),
            promise={
                **{name: settings.get(name) for name in ("max_false_match", "max_false_new", "prior_new", "match_below", "new_above")},
                **decision.describe_together(),
            },
        )

    def extracting(self, n_references: int) -> tuple[Pipeline, ...]:
        """Whose features every photo has, in a gallery of so many: without a shortlist nothing chooses it."""
        return self.extractors if 0 < self.settings.match.shortlist < n_references else self.pipelines

    def second_looks(self, counted: Sequence[Pipeline]) -> SecondStore:
        """What second looks have found by the first pipeline, of motions that these have seen."""
        matches = [self.first.fingerprints.of_matches, *sorted(one.fingerprints.of_matches for one in counted)]
        return SecondStore(self.folder, fingerprint(matches, constants(SECOND_LOOK)))

    @property
    def computes(self) -> dict[str, str]:
        """What has to be equal in two processes that share the work: they then compute the same, and find what the other has stored."""
        described = {one.name: one.fingerprints for one in self.extractors}
        numerics = {
            f"{what} of {name}": str(getattr(one, what)["numerics"]) for name, one in described.items() for what in ("features", "matches")
        }
        return {**devices.versions(), **numerics, "fingerprint": self.fingerprints.of_answers}

    def __reduce__(self) -> tuple[Callable[..., Workspace], tuple[object, ...]]:
        return _opened_elsewhere, (self.settings, Path(os.path.abspath(self.folder)), tuple(self.computes.items()), self.features)

    def results(self, kind: str) -> JsonStore:
        """Small results of one kind, by name."""
        return JsonStore(self.folder / kind)

    def known(self, kind: str, name: str, read: Callable[[Any], Value], otherwise: str) -> Value | None:
        """A stored result, as `JsonStore.load` gives it; None where there is none, and where it is damaged, and a note of what happens
        `otherwise`."""
        try:
            return self.results(kind).load(name, read)
        except DamagedFile as error:
            self.listener.note(f"{error} is damaged; {otherwise}")
            return None

    def tidy(self) -> None:
        """Delete parts of files that killed runs have left behind."""
        remove_leftovers(self.folder)

    def close(self) -> None:
        self.digests.close()


@lru_cache(maxsize=1)
def _opened_elsewhere(settings: Settings, folder: Path, computes: tuple[tuple[str, str], ...], features: str | None) -> Workspace:
    """A workspace as another process has it, its networks loaded once for all that is asked of this one. Raises SettingsError where this
    process would compute something else.

    Its digests are its own: SQLite does not bear processes of several machines on one file. So are copies of features from elsewhere."""
    found = Workspace(settings, folder, EAR, features, weights.of_user())
    here = found.computes
    for name, there in computes:
        if here.get(name) != there:
            raise SettingsError(
                f"{platform.node()} would not compute what the process that asks does ({name}: {here.get(name)}, there {there}); give "
                "both the same versions, weights and kind of device: --device cpu, --precision full, --gpus-per-worker are ways to that"
            )
    for old in Path(tempfile.gettempdir()).glob("reid-digests-*"):  # of processes that were killed, as most are
        if is_old(old, A_DAY):
            remove(old)
    found.digests = Digests(Path(tempfile.gettempdir()) / f"reid-digests-{secrets.token_hex(8)}")
    return found
