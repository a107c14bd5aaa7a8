"""What a gallery's own photos teach about the best individual of a query, learned once and kept as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SettingsError
from ..records import PhotoRef
from .conformal import FOLDS, Fold, Ranked, fold_of, jackknife, p_values
from .health import suspected_twins
from .model import LEAST, NAMES, Bools, Floats, OpenSetModel, Standing, fit, table
from .sampling import ABSENT, RIGHT, Trial, weighed
from .verdicts import Decision, verdict_of

FORMAT = 4  # of a calibration that is kept


@dataclass(frozen=True)
class Calibration:
    """Probabilities by a model of all trials, ranks by the models of the folds; see `model` and `conformal`."""

    model: OpenSetModel
    folds: tuple[Fold, ...]
    prior: float  # probability that the next animal is new
    top1: float  # the share of known animals whose best individual was right
    twins_left_out: tuple[tuple[str, str], ...] = ()  # pairs of names that are probably one animal; see `health.suspected_twins`
    notes: tuple[str, ...] = ()  # what people should know of how it was made
    labels: tuple[str, ...] = ()  # of the references it was made with, a name for each photo with its label, sorted
    decisions: Mapping[str, object] | None = None  # those of people that the labels rest on, as `Labels.about` says; None: the table alone
    n_photos: int = 1  # of each of its queries
    larger: tuple[Calibration, ...] = ()  # of queries of more photos, of the encounters that have as many

    def of(self, n_photos: int, max_false_match: float = 0.0, max_false_new: float = 0.0) -> Calibration:
        """What judges a query of so many photos: made of queries of as many, or of the next fewer, if there are enough of them to give a
        verdict at these rates (0: none is wanted). More photos find more known animals, and liken more new ones to some animal, so that a
        sample of others would promise what it cannot keep."""

        def lacks(one: Calibration) -> float:
            """By how much its verdicts are out of reach."""
            match, new = max(n_photos / one.n_photos, 1) / (one.n_new + 1), 1 / (one.n_known + 1)
            return max(match - (max_false_match or 1), new - (max_false_new or 1), 1e-9)

        return min((one for one in (self, *self.larger) if one.n_photos <= n_photos), key=lambda one: (lacks(one), -one.n_photos))

    @property
    def n_known(self) -> int:
        """Encounters of known animals."""
        return round(sum(fold.known.total for fold in self.folds))

    @property
    def n_new(self) -> int:
        """Encounters whose animal was taken out."""
        return round(sum(fold.new.total for fold in self.folds))

    def decide(
        self, where: Standing, max_false_match: float, max_false_new: float, prior: float | None = None, n_photos: int = 1
    ) -> Decision:
        """The verdict and its probabilities, see `verdicts.verdict_of`; `prior` takes the place of the gallery's own.

        A query of twice the photos of those that this is made of is a new animal that looks so alike at most twice as often: its best
        photo is among half of them, drawn at random, half of the time."""
        evidence, new = table([where]), self.prior if prior is None else prior
        p_if_new, p_if_known = (float(p[0]) for p in p_values(self.folds, evidence))
        n_as_well, n_as_badly = round(p_if_new * (self.n_new + 1)) - 1, round(p_if_known * (self.n_known + 1)) - 1
        p_if_new = min(p_if_new * max(n_photos / self.n_photos, 1), 1.0)
        p_match, p_other, p_new = (float(p) for p in self.model.chances(evidence, new)[0])
        verdict = verdict_of(p_if_new, p_if_known, p_match, p_new, max_false_match, max_false_new)
        interval = self._interval(evidence, new, p_match)
        return Decision(verdict, p_match, p_other, p_new, interval, p_if_new, p_if_known, n_as_well, n_as_badly)

    def _interval(self, evidence: Floats, prior: float, p_match: float) -> tuple[float, float]:
        """Of P(match): delete-a-group jackknife over the folds, on the logit. It tells what the calibration queries leave open, not what
        the prior does."""
        from scipy.special import expit

        without = [float(fold.model.logit_match(evidence, prior)[0]) for fold in self.folds]
        low, high = expit(jackknife(float(self.model.logit_match(evidence, prior)[0]), without))
        return min(float(low), p_match), max(float(high), p_match)  # they hold it anyway, but for rounding

    def carries(self, max_false_match: float, max_false_new: float) -> None:
        """Raises SettingsError for a promise that so few encounters cannot keep; 0 never gives the verdict, and takes none."""
        for name, rate, n, of in (
            ("max_false_match", max_false_match, self.n_new, "new"),
            ("max_false_new", max_false_new, self.n_known, "known"),
        ):
            if 0 < rate * (n + 1) < 1 - 1e-9:
                takes, least = math.ceil(1 / max(rate, 1e-9) - 1e-9) - 1, math.ceil(1 / (n + 1) * 1e4) / 1e4
                raise SettingsError(
                    f"{name} {rate:g} needs {takes} encounters of {of} animals to calibrate on; there are {n}, which allow "
                    f"{least:g} at best"
                )

    def about(self) -> dict[str, object]:
        """What people should know of it, JSON-able."""
        return {
            "n_known": self.n_known,
            "n_new": self.n_new,
            "top1": self.top1,
            "prior_new": self.prior,
            "n_references": len(self.labels),
            "decisions": self.decisions,
            "twins_left_out": [list(pair) for pair in self.twins_left_out],
            "notes": list(self.notes),
            "top1_by_photos": {str(one.n_photos): one.top1 for one in self.larger},
        }

    def as_json(self) -> dict[str, object]:
        """JSON-able, and exact: `from_json` gives the same answers, bit for bit."""
        return {
            "format": FORMAT,
            "evidence": list(NAMES),
            "model": self.model.as_json(),
            "folds": [fold.as_json() for fold in self.folds],
            "prior": self.prior,
            "top1": self.top1,
            "twins_left_out": [list(pair) for pair in self.twins_left_out],
            "notes": list(self.notes),
            "labels": list(self.labels),
            "decisions": self.decisions,
            "n_photos": self.n_photos,
            "larger": [one.as_json() for one in self.larger],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        """Raises KeyError, TypeError or ValueError for anything else than what `as_json` has made."""
        if value.get("format") != FORMAT or value["evidence"] != list(NAMES):
            raise ValueError("a calibration of another format or other evidence")
        return cls(
            OpenSetModel.from_json(value["model"]),
            tuple(map(Fold.from_json, value["folds"])),
            float(value["prior"]),
            float(value["top1"]),
            tuple((str(one), str(other)) for one, other in value["twins_left_out"]),
            tuple(map(str, value["notes"])),
            tuple(map(str, value["labels"])),
            None if (decisions := value.get("decisions")) is None else dict(decisions),
            int(value["n_photos"]),
            tuple(map(cls.from_json, value["larger"])),
        )


def too_few(photos: Iterable[PhotoRef]) -> str | None:
    """What photos lack to be calibrated on, for people; None where they may do, which their comparison tells."""
    encounters = {(ref.identity, ref.encounter or ref.image_id) for ref in photos if ref.identity is not None}
    again = [n for n in Counter(identity for identity, _ in encounters).values() if n > 1]
    if sum(again) >= LEAST and len(again) >= FOLDS:
        return None
    return (
        f"it takes {LEAST} encounters of {FOLDS} or more animals that were met again, and there are {sum(again)} of {len(again)}; dates "
        "or a column `encounter` tell encounters apart"
    )


def calibrate(trials: Sequence[Trial], prior: float, labels: Sequence[str] = (), notes: Sequence[str] = ()) -> Calibration | None:
    """From the trials of calibration queries; None from fewer than LEAST encounters of a kind, or from too few known animals for the folds.

    New trials of suspected twins are left out, see `health.suspected_twins`."""
    twins, about_twins = suspected_twins(trials)
    doubtful = {name for pair in twins for name in pair}
    kept = weighed([one for one in trials if one.outcome != ABSENT or one.animal not in doubtful])
    absent = np.array([one.outcome == ABSENT for one in kept], bool)
    encounters = {(one.animal, one.encounter, one.outcome == ABSENT) for one in kept}
    known = {one.animal for one in kept if one.outcome != ABSENT}
    n_new = sum(is_new for _, _, is_new in encounters)
    if n_new < LEAST or len(encounters) - n_new < LEAST or len(known) < FOLDS:
        return None
    evidence, weight = table([one.standing for one in kept]), np.array([one.weight for one in kept])
    right = np.array([one.outcome == RIGHT for one in kept], bool)
    dealt = fold_of([one.animal for one in kept], known)
    fold = np.array([dealt[one.animal] for one in kept])

    def made(chosen: Bools) -> OpenSetModel:
        return fit(evidence[chosen], absent[chosen], right[chosen], weight[chosen])

    folds = []
    for number in range(FOLDS):
        model, own = made(fold != number), fold == number
        strength = model.strength(evidence)
        ranked = (Ranked.of(strength[own & kind], weight[own & kind]) for kind in (~absent, absent))
        folds.append(Fold(model, *ranked))
    top1 = float(weight[right].sum() / weight[~absent].sum())
    return Calibration(made(np.ones(len(kept), bool)), tuple(folds), prior, top1, twins, (*notes, *about_twins), tuple(sorted(labels)))
