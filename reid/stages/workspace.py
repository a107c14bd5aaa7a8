"""What stages work with: settings, their pipelines, and the folder where everything computed is stored."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path

from .. import decision, retrieval, scoring
from ..errors import SettingsError
from ..settings import Settings
from ..store import AnswerFingerprints, Digests, remove_leftovers
from .listener import Listener
from .pipeline import Pipeline

LEFTOVER_AGE = 3600.0  # seconds after which a part of a file is nobody's any more


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
            search={**retrieval.describe(), **{name: settings.get(name) for name in ("shortlist", "coarse", "encounters")}},
            decide=decision.describe(),
            promise={name: settings.get(name) for name in ("max_false_match", "max_false_new", "prior_new", "match_below", "new_above")},
        )

    def tidy(self) -> None:
        """Delete parts of files that killed runs have left behind."""
        remove_leftovers(self.folder, time.time() - LEFTOVER_AGE)

    def close(self) -> None:
        self.digests.close()
