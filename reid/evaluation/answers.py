"""How often the answer is right, how well known and new are told apart, and whether probabilities are true. Pure NumPy on answers.

An answer is one query's: the individuals in order, the verdict, the probabilities, and the truth. Where a figure is undefined it is None,
but for BAKS and BAUS, which count 0 then, as in AnimalCLEF 2025.

Figures named `oracle_...` choose their threshold on the very answers they judge: what the scores allow at best, not what anybody gets, who
has to choose beforehand. `decided` and `decided_error` are what one gets: by the verdicts as they were given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
N_BINS = 10  # of the calibration error, with as many answers each
ERRORS = {"oracle_coverage_at_1": 0.01, "oracle_coverage_at_2": 0.02, "oracle_coverage_at_5": 0.05}


@dataclass(frozen=True)
class Answer:
    """One query's ranking by one score, with the truth."""

    truth: str | None  # the query's individual
    identities: tuple[str, ...]  # individuals of the gallery, best first, down to the right one at least; where it has none, the first
    score: float  # of the first individual; where nothing is calibrated the verdict is made of it, and larger means known
    verdict: str = "unsure"  # match, unsure, new or odd
    p_match: float | None = None  # that the first individual is right; None where nothing is calibrated, as the next two
    p_other: float | None = None  # that it is another one of the gallery
    p_new: float | None = None  # that it is none
    average_precision: float | None = None  # of the reference photos of the right individual, see `average_precision`
    groups: Mapping[str, str] = field(default_factory=dict)  # by which figures are broken down

    @property
    def known(self) -> bool:
        return self.truth in self.identities

    @property
    def right(self) -> bool:
        return bool(self.identities) and self.identities[0] == self.truth

    @property
    def rank(self) -> int:
        """Of the right individual, from 1; 0 where it is not there."""
        return self.identities.index(self.truth) + 1 if self.truth in self.identities else 0

    @property
    def confidence(self) -> float:
        """That the first individual is right, in the best way there is."""
        return self.score if self.p_match is None else self.p_match

    @property
    def familiarity(self) -> float:
        """That the animal is known, in the best way there is; by it known and new are told apart."""
        return self.score if self.p_new is None else 1 - self.p_new


class _Table:
    """Answers as columns, so that a bootstrap is quick."""

    def __init__(self, answers: Sequence[Answer]):
        def column(of: Callable[[Answer], float | None]) -> Floats:
            return np.array([np.nan if (value := of(answer)) is None else value for answer in answers], np.float64)

        self.animal = np.array([str(answer.truth) if answer.truth is not None else f" {i}" for i, answer in enumerate(answers)])
        self.rank = np.array([answer.rank for answer in answers], int)
        self.known, self.right = self.rank > 0, self.rank == 1
        self.match, self.new = (np.array([answer.verdict == name for answer in answers], bool) for name in ("match", "new"))
        self.precision = column(lambda one: one.average_precision)
        self.familiarity, self.confidence = column(lambda one: one.familiarity), column(lambda one: one.confidence)
        chances = (column(lambda one: one.p_match), column(lambda one: one.p_other), column(lambda one: one.p_new))
        self.chances = np.column_stack(chances)  # (N, 3)

    def take(self, rows: NDArray[np.intp]) -> _Table:
        taken = object.__new__(_Table)
        taken.__dict__ = {name: values[rows] for name, values in vars(self).items()}
        return taken


def top_k(answers: Sequence[Answer], k: int) -> float | None:
    """The share of queries of known animals whose animal is among the first k."""
    return _top(_Table(answers), k)


def cmc(answers: Sequence[Answer], most: int = 20) -> Floats:
    """(most,) `top_k` for k = 1 ... `most`: the cumulative match characteristic. NaN without queries of known animals."""
    table = _Table(answers)
    return np.array([np.nan if (share := _top(table, k)) is None else share for k in range(1, most + 1)])


def auroc(known: Sequence[float] | Floats, new: Sequence[float] | Floats) -> float:
    """The probability that a known animal's query scores above a new one's, ties counting half (Mann-Whitney U); NaN if one is empty."""
    from scipy.stats import rankdata  # most of a second to import, and only here

    if not len(known) or not len(new):
        return float("nan")
    ranks = rankdata([*known, *new])
    wins = ranks[: len(known)].sum() - len(known) * (len(known) + 1) / 2
    return float(wins / (len(known) * len(new)))


def average_precision(scores: Sequence[float] | NDArray[np.floating], right: Sequence[bool] | NDArray[np.bool_]) -> float | None:
    """Of a query's references, ranked by score (R,): the mean over the `right` ones of the share of right ones among those that score as
    high or higher. Equals stand together (as in scikit-learn). None where no reference is right."""
    values, is_right = np.asarray(scores, np.float64), np.asarray(right, bool)
    if not is_right.any():
        return None
    order = np.argsort(-values, kind="stable")
    last = _ends(values[order])
    n, n_right = np.flatnonzero(last) + 1, np.cumsum(is_right[order])[last]
    return float((np.diff(n_right, prepend=0) * n_right / n).sum() / is_right.sum())


def roc(answers: Sequence[Answer]) -> tuple[Floats, Floats]:
    """The shares of new and of known animals that are taken for known, each (T,), for thresholds from above the highest down."""
    return _roc(_Table(answers))


def reliability(p: Floats, came_true: Floats) -> list[tuple[float, float, int]]:
    """Mean probability, share that came true and number of answers, in N_BINS bins of as many answers each, the least probable first."""
    bins = np.array_split(np.argsort(p, kind="stable"), min(N_BINS, len(p)))
    return [(float(p[one].mean()), float(came_true[one].mean()), len(one)) for one in bins]


def _ends(values: Floats) -> NDArray[np.bool_]:
    """(N,) True at the last of each block of equals in sorted values."""
    return np.append(np.diff(values) != 0, True)[: len(values)]


def _roc(table: _Table) -> tuple[Floats, Floats]:
    order = np.argsort(-table.familiarity, kind="stable")
    last = _ends(table.familiarity[order])
    false, true = (np.append(0, (np.cumsum(one[order]) / one.sum())[last]) for one in (~table.known, table.known))
    return false, true


def _top(table: _Table, k: int) -> float | None:
    return float((table.rank[table.known] <= k).mean()) if table.known.any() else None


def _selective(table: _Table) -> tuple[Floats, Floats]:
    """Coverage and risk, where the surest answers are accepted as they stand and the others left to a person.

    Each (T,), for T thresholds from the surest on: the share of all queries that is accepted, and the share of the accepted ones whose
    first individual is wrong, of a new animal any. Answers of equal confidence are accepted together."""
    order = np.argsort(-table.confidence, kind="stable")
    last = _ends(table.confidence[order])
    n = np.arange(1, len(order) + 1)
    return (n / max(1, len(order)))[last], (np.cumsum(~table.right[order]) / n)[last]


def _coverage(table: _Table, error: float) -> float:
    coverage, risk = _selective(table)
    return float(coverage[risk <= error].max(initial=0.0))


def _decided(table: _Table) -> float | None:
    return float((table.match | table.new).mean()) if len(table.rank) else None


def _decided_error(table: _Table) -> float | None:
    """A match whose individual is wrong or whose animal is new, and a known animal called new."""
    decided = table.match | table.new
    wrong = np.where(table.match, ~table.right, table.known)
    return float(wrong[decided].mean()) if decided.any() else None


def _reciprocal_rank(table: _Table) -> float | None:
    return float((1 / table.rank[table.known]).mean()) if table.known.any() else None


def _mean_average_precision(table: _Table) -> float | None:
    values = table.precision[table.known]
    return float(values.mean()) if len(values) and not np.isnan(values).any() else None


def _auroc(table: _Table) -> float | None:
    value = auroc(table.familiarity[table.known], table.familiarity[~table.known])
    return None if np.isnan(value) else value


def _oracle_accuracy(table: _Table) -> float | None:
    """Of known against new, at the threshold that was best for these very answers."""
    if not table.known.any() or table.known.all():
        return None
    false, true = _roc(table)
    share = table.known.mean()
    return float((share * true + (1 - share) * (1 - false)).max())


def _by_animal(table: _Table, chosen: NDArray[np.bool_], good: NDArray[np.bool_]) -> float:
    """The mean over animals of the share of their chosen queries that is good; 0 without any."""
    if not chosen.any():
        return 0.0
    _, animal = np.unique(table.animal[chosen], return_inverse=True)
    return float((np.bincount(animal, good[chosen]) / np.bincount(animal)).mean())


def _baks(table: _Table) -> float:
    """Balanced accuracy on known samples (AnimalCLEF 2025): the first individual right, and the query not called new."""
    return _by_animal(table, table.known, table.right & ~table.new)


def _baus(table: _Table) -> float:
    """Balanced accuracy on unknown samples (AnimalCLEF 2025): the query called new."""
    return _by_animal(table, ~table.known, table.new)


def _outcomes(table: _Table) -> Floats:
    """(N, 3) which of the three came true: the first individual, another of the gallery, a new animal."""
    return np.column_stack((table.right, table.known & ~table.right, ~table.known)).astype(float)


def _brier(table: _Table) -> float | None:
    """The mean squared distance of the three probabilities from what came true (Brier 1950), 0 to 2."""
    if not len(table.rank) or np.isnan(table.chances).any():
        return None
    return float(((table.chances - _outcomes(table)) ** 2).sum(axis=1).mean())


def _ece(table: _Table, which: int) -> float | None:
    """Expected calibration error: how far a probability lies from the share that came true, in N_BINS bins of as many answers each (Naeini
    2015, with bins of equal mass). `which`: 0 is P(match), 2 is P(new)."""
    if not len(table.rank) or np.isnan(table.chances).any():
        return None
    p, true = table.chances[:, which], _outcomes(table)[:, which]
    return sum(abs(mean - share) * n for mean, share, n in reliability(p, true)) / len(p)


FIGURES: dict[str, Callable[[_Table], float | None]] = {
    **{f"top{k}": lambda table, k=k: _top(table, k) for k in (1, 3, 5)},  # type: ignore[misc]
    "mrr": _reciprocal_rank,  # mean of 1 / the rank of the right individual
    "map": _mean_average_precision,  # mean average precision over the reference photos of the right individual
    "auroc": _auroc,
    "decided": _decided,  # the share that is given match or new
    "decided_error": _decided_error,  # the share of those that is wrong
    "baks": _baks,
    "baus": _baus,
    "geometric_mean": lambda table: float(np.sqrt(_baks(table) * _baus(table))),
    "brier": _brier,
    "ece_match": lambda table: _ece(table, 0),
    "ece_new": lambda table: _ece(table, 2),
    "false_merge": lambda table: float((table.match & ~table.right).mean()) if len(table.rank) else None,  # a match that is wrong
    "false_split": lambda table: float(table.new[table.known].mean()) if table.known.any() else None,  # a known animal called new
    "oracle_accuracy": _oracle_accuracy,
    **{name: lambda table, error=error: _coverage(table, error) for name, error in ERRORS.items()},  # type: ignore[misc]
}


def summarize(answers: Sequence[Answer], names: Iterable[str] = FIGURES) -> dict[str, float | None]:
    """The figures of these names, all of FIGURES unless told otherwise, and how many queries they are of: n_queries, n_known, n_new."""
    table = _Table(answers)
    n_known = int(table.known.sum())
    counts = {"n_queries": len(answers), "n_known": n_known, "n_new": len(answers) - n_known}
    return {name: FIGURES[name](table) for name in names} | counts


def intervals(
    answers: Sequence[Answer], names: Iterable[str] = FIGURES, *, n: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float] | None]:
    """Of each figure of these names where the middle `level` of `n` bootstrap samples lies.

    Animals are drawn, each with all of its queries, known and new ones by themselves; None where a figure is undefined."""
    table = _Table(answers)
    rng = np.random.default_rng(seed)
    kinds = [[np.flatnonzero((table.animal == one) & chosen) for one in np.unique(table.animal[chosen])]
             for chosen in (table.known, ~table.known)]  # fmt: skip
    values: dict[str, list[float | None]] = {name: [] for name in names}
    for _ in range(n):
        rows = [of_kind[i] for of_kind in kinds if of_kind for i in rng.integers(0, len(of_kind), len(of_kind))]
        drawn = table.take(np.concatenate(rows) if rows else np.zeros(0, int))
        drawn.animal = np.repeat(np.arange(len(rows)), [len(one) for one in rows])  # one that is drawn twice counts as two
        for name, so_far in values.items():
            so_far.append(FIGURES[name](drawn))
    found: dict[str, tuple[float, float] | None] = {}
    for name, drawn_values in values.items():
        defined = [value for value in drawn_values if value is not None]
        ends = np.quantile(defined, ((1 - level) / 2, (1 + level) / 2)) if len(defined) == n else None
        found[name] = None if ends is None else (float(ends[0]), float(ends[1]))
    return found


def by_group(answers: Sequence[Answer]) -> dict[str, dict[str, dict[str, float | None]]]:
    """{group: {value: {n, top1, top5}}} over queries of known animals."""
    found: dict[str, dict[str, list[Answer]]] = {}
    for answer in answers:
        for group, value in answer.groups.items():
            if answer.known:
                found.setdefault(group, {}).setdefault(value, []).append(answer)
    return {
        group: {value: {"n": len(rows), "top1": top_k(rows, 1), "top5": top_k(rows, 5)} for value, rows in sorted(values.items())}
        for group, values in sorted(found.items())
    }


def tally(answers: Sequence[Answer]) -> dict[str, dict[str, int]]:
    """How often each verdict was given to known animals (the first individual right or wrong) and to new ones."""
    table: dict[str, dict[str, int]] = {}
    for answer in answers:
        kind = "new" if not answer.known else "right" if answer.right else "wrong"
        row = table.setdefault(answer.verdict, {"right": 0, "wrong": 0, "new": 0})
        row[kind] += 1
    return table
