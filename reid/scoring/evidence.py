"""From match confidences to scores: columns over the references of a query. NumPy only; larger always means more alike.

The Wasserstein score compares the distribution of a pair's match confidences with that of impostors. A distance has no sign and is
undefined where nothing matched; both are settled here, once:

* the sign: the area by which the pair's cumulative curve lies to the right of the impostors', minus the area by which it lies to the left.
  Where the curves do not cross this is the 1-Wasserstein distance, positive where the pair is surer than impostors. Where they cross, the
  distance would add both areas, and a pair would gain by its weak matches being weaker; so a surer match never lowers this score;
* nothing matched is a distribution too, all of it at confidence 0: the lowest score there is, minus the impostors' mean.

It is measured over all keypoints of the query, an unmatched one counting as 0, and over the matched ones alone, where it does not depend on
how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from . import fusion
from .impostors import GALLERY, MIN_PAIRS, QUANTILES, Floats, ImpostorDistribution

Ints = NDArray[np.integer]
SCORES = ("joint", "wasserstein", "wasserstein-matched", "n_matches", "sum", "mean")  # by their names in the settings


@dataclass(frozen=True)
class Scores:
    """Every score of a query's photo with each of R references."""

    wasserstein: Floats  # (R,) over all keypoints of the query
    wasserstein_matched: Floats  # (R,) over the matched ones
    total: Floats  # (R,) sum of the confidences
    mean: Floats  # (R,) mean of the confidences, 0 without any
    sure: Ints  # (P, R) matches above `min_confidence` of each pipeline: the first, then those that are fused with it
    parts: Floats  # (P, R) how far each pipeline's scores exceed impostors', by its weight; see `fusion`

    def __post_init__(self) -> None:
        for column in fields(self):
            values = np.asarray(getattr(self, column.name)).view()
            wanted = self.parts.shape if column.name in ("sure", "parts") else self.parts.shape[1:]
            if values.shape != wanted:
                raise ValueError(f"Scores.{column.name} has shape {values.shape}, not {wanted}")
            values.flags.writeable = False
            object.__setattr__(self, column.name, values)

    def __len__(self) -> int:
        return len(self.total)

    @property
    def excess(self) -> Floats:
        """(R,) of all pipelines together."""
        total: Floats = self.parts.sum(axis=0)
        return total

    @property
    def strongest(self) -> NDArray[np.intp]:
        """(R,) the pipeline with the greatest excess; the first where they tie."""
        found: NDArray[np.intp] = np.argmax(self.parts, axis=0)
        return found

    @property
    def shown(self) -> Ints:
        """(R,) matches above `min_confidence` of that pipeline, whose matches are drawn."""
        found: Ints = np.take_along_axis(self.sure, self.strongest[None], axis=0)[0]
        return found

    def by(self, score: str) -> Floats:
        """(R,) the score of that name, one of SCORES."""
        return self._named()[score] if score != "joint" else fusion.joint(self.excess)

    def take(self, places: Sequence[int] | Ints) -> Scores:
        """Of the references in these places."""
        rows = np.asarray(places, np.intp)
        return Scores(**{column.name: getattr(self, column.name)[..., rows] for column in fields(self)})

    @property
    def n_matches(self) -> Ints:
        """(R,) matches above `min_confidence` of the first pipeline."""
        found: Ints = self.sure[0]
        return found

    def _named(self) -> dict[str, Floats]:
        columns = self.wasserstein, self.wasserstein_matched, self.n_matches.astype(np.float64), self.total, self.mean
        return dict(zip(SCORES[1:], columns, strict=True))


def signed_wasserstein(values: Floats, n: int, impostors: Floats) -> float:
    """How far `values` and `n - len(values)` zeros lie above `impostors`: the integral of F_impostors - F over the confidence.

    The integral of the difference of two cumulative distributions is the difference of their means."""
    return float(np.sum(values) / max(n, len(values), 1) - np.mean(impostors))


def evidence(
    confidences: Sequence[Floats],
    n_keypoints: int | Sequence[int],
    impostors: ImpostorDistribution,
    min_confidence: float,
) -> Scores:
    """Every score of one pipeline from the match confidences with each reference, (S,) each, empty for one that was not matched.

    `n_keypoints` is of the query, or (R,) where each pair has a query of its own. What a pair gets does not depend on the other pairs."""
    n_pairs = len(confidences)
    n = np.fromiter(map(len, confidences), np.intp, n_pairs)
    pair = np.repeat(np.arange(n_pairs), n)
    values = np.concatenate([np.zeros(0), *confidences]).astype(np.float64)
    total = np.bincount(pair, values, n_pairs).astype(np.float64)
    sure = np.bincount(pair[values > min_confidence], minlength=n_pairs)
    mean = total / np.maximum(n, 1)
    own = Scores(
        wasserstein=total / np.maximum(np.maximum(n_keypoints, n), 1) - np.mean(impostors.all_keypoints),
        wasserstein_matched=mean - np.mean(impostors.matched),
        total=total,
        mean=mean,
        sure=sure[None],
        parts=np.zeros((1, n_pairs)),
    )
    return replace(own, parts=fusion.excess(own._named(), impostors, n_pairs)[None])


def fused(first: Scores, *others: Scores) -> Scores:
    """The first pipeline's scores, with the others' shares of the joint score; of the same pairs, each made with its own distribution."""
    together = (first, *others)
    return replace(first, sure=np.vstack([one.sure for one in together]), parts=np.vstack([one.parts for one in together]))


def averaged(scores: Scores, place: int, again: Scores) -> Scores:
    """The scores, those of the first pipeline with the reference in this place the mean of what they are and of one pair's scores. Which
    matches are sure, and so are shown, stays."""
    changed = {name: np.array(getattr(scores, name)) for name in ("wasserstein", "wasserstein_matched", "total", "mean", "parts")}
    for name, column in changed.items():
        first = column[0] if name == "parts" else column
        first[place] = (first[place] + getattr(again, name)[..., 0].item()) / 2
    return replace(scores, **changed)


def measure_impostors(
    confidences: Sequence[Floats],
    n_keypoints: Sequence[int],
    min_confidence: float,
    joined: tuple[str, ...],
    *,
    source: str = GALLERY,
    weight: float = 1.0,
    others: Sequence[tuple[Scores, ImpostorDistribution]] = (),
) -> ImpostorDistribution | None:
    """The distribution of pairs of different animals, each its match confidences and its query's number of keypoints; None from too few.

    `joined` are the scores that count in the joint score (`fusion.JOINED`), `weight` is what they count beside other pipelines; `others`
    are the further pipelines' scores of the same pairs, and the distribution each was made with. A pair whose query has no keypoints counts
    for nothing."""
    kept = [place for place, n in enumerate(n_keypoints) if n > 0]
    pairs = [np.asarray(confidences[place], np.float64) for place in kept]
    n_kept = [n_keypoints[place] for place in kept]
    if len(pairs) < MIN_PAIRS:
        return None
    padded = [np.pad(values, (0, max(0, n - len(values)))) for values, n in zip(pairs, n_kept, strict=True)]
    matched = np.concatenate(pairs)
    of_matched = np.quantile(matched, QUANTILES) if len(matched) else np.zeros(2)
    found = ImpostorDistribution(
        np.quantile(np.concatenate(padded), QUANTILES), of_matched, {}, source, (), tuple(other for _, other in others), weight
    )
    shares = [scores.take(kept) for scores, _ in others]
    for names in (joined, SCORES):  # what is joined first; then all of them, the joint one too
        scores = fused(evidence(pairs, n_kept, found, min_confidence), *shares)
        found = replace(found, scores={name: scores.by(name) for name in names}, joined=joined)
    return found
