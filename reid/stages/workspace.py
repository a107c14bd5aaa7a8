"""What stages work with: settings, their pipelines, and the folder where everything computed is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from .. import decision, retrieval, scoring
from ..errors import SettingsError
from ..settings import Settings
from ..store import AnswerFingerprints, DamagedFile, Digests, JsonStore, SecondStore, fingerprint, remove_leftovers
from ..store.description import constants
from .listener import Listener
from .pipeline import Pipeline

Value = TypeVar("Value")
SECOND_LOOK = f"{__package__}.second_look"


class Workspace:
    """Usable from several threads; several processes may have one on the same folder."""

    def __init__(self, settings: Settings, folder: Path, listener: Listener):
        self.settings, self.folder, self.listener = settings, folder, listener
        first, *others = settings.pipelines()
        self.first = Pipeline(first, folder, listener)
        try:
            self.pipelines = (self.first, *(Pipeline(other, folder, listener) for other in others))
        except SettingsError as error:
            raise SettingsError(f"fuse: {error}") from None
        self.digests = Digests(folder)

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
                **constants(SECOND_LOOK),
            },
            decide=decision.describe(),
            promise={name: settings.get(name) for name in ("max_false_match", "max_false_new", "prior_new", "match_below", "new_above")},
        )

    def second_looks(self, counted: Sequence[Pipeline]) -> SecondStore:
        """What second looks have found by the first pipeline, of motions that these have seen."""
        matches = [self.first.fingerprints.of_matches, *sorted(one.fingerprints.of_matches for one in counted)]
        return SecondStore(self.folder, fingerprint(matches, constants(SECOND_LOOK)))

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
