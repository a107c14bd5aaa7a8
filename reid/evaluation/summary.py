"""What `evaluate` finds, as a record: the figures of every score, with what they were measured by, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..records import Failure
from .answers import Answer, by_group, intervals, summarize, tally

if TYPE_CHECKING:
    import pandas

Figures = Mapping[str, float | None]
OF_A_SCORE = ("top1", "top3", "top5", "mrr", "map", "auroc")  # what a score has without a verdict


@dataclass(frozen=True)
class Evaluation:
    """How often the answers are right, on queries whose animal is known to the one who asks."""

    pipelines: str  # whose scores are judged, for people
    score: str  # by which individuals are ranked
    figures: Figures  # of that score, by the names of `answers.FIGURES`, and n_queries, n_known, n_new
    intervals: Mapping[str, tuple[float, float] | None]  # of the figures, 95 %
    scores: Mapping[str, Figures]  # the figures OF_A_SCORE of every score, and the counts
    groups: Mapping[str, Mapping[str, Figures]]  # {group: {value: {n, top1, top5}}}
    verdicts: Mapping[str, Mapping[str, int]]  # {verdict: {right, wrong, new}}
    n_references: int
    calibration: Mapping[str, object] | None  # `Calibration.about`; None where nothing was calibrated
    decisions: Mapping[str, object] | None  # those of people that the labels rest on, `Labels.about`; None: the table alone
    failures: tuple[Failure, ...]
    seconds_per_query: float | None  # the median of those not matched before; None without any
    settings: Mapping[str, object]
    fingerprint: str
    versions: Mapping[str, str]

    @classmethod
    def of(
        cls,
        answers: Mapping[str, Sequence[Answer]],
        score: str,
        *,
        pipelines: str,
        n_references: int,
        calibration: Mapping[str, object] | None,
        decisions: Mapping[str, object] | None,
        failures: Sequence[Failure],
        seconds_per_query: float | None,
        settings: Mapping[str, object],
        fingerprint: str,
        versions: Mapping[str, str],
    ) -> Evaluation:
        """From the answers by each score; those by `score` have verdicts and probabilities."""
        own = answers[score]
        return cls(
            pipelines,
            score,
            summarize(own),
            intervals(own),
            {name: summarize(rows, OF_A_SCORE) for name, rows in answers.items()},
            by_group(own),
            tally(own),
            n_references,
            calibration,
            decisions,
            tuple(failures),
            seconds_per_query,
            settings,
            fingerprint,
            versions,
        )

    def as_json(self) -> dict[str, object]:
        """JSON-able; the figures stand at the top, by their names."""
        return {
            **self.figures,
            "intervals": {name: None if ends is None else list(ends) for name, ends in self.intervals.items()},
            "groups": self.groups,
            "score": self.score,
            "scores": self.scores,
            "verdicts": self.verdicts,
            "n_references": self.n_references,
            "pipelines": self.pipelines,
            "calibration": self.calibration,
            "decisions": self.decisions,
            "failures": [{"photo": failure.image_id, "reason": failure.reason} for failure in self.failures],
            "seconds_per_query": self.seconds_per_query,
            "settings": {**self.settings, "fingerprint": self.fingerprint},
            "versions": dict(self.versions),
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row a figure: `figure, value, low, high`, where low and high are the ends of the 95 % interval."""
        import pandas

        ends = {name: self.intervals.get(name) or (None, None) for name in self.figures}
        rows = [(name, value, *ends[name]) for name, value in self.figures.items()]
        return pandas.DataFrame(rows, columns=["figure", "value", "low", "high"])


def comparison(found: Mapping[str, Evaluation]) -> pandas.DataFrame:
    """A row an evaluation, in the order given: `pipeline`, its figures OF_A_SCORE and `seconds_per_query`."""
    import pandas

    rows = [
        {"pipeline": title, **{name: one.figures[name] for name in OF_A_SCORE}, "seconds_per_query": one.seconds_per_query}
        for title, one in found.items()
    ]
    return pandas.DataFrame(rows, columns=["pipeline", *OF_A_SCORE, "seconds_per_query"])
