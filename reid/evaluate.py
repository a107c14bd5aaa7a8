"""How often the answer is right. Pure NumPy on records: rankings and the truth in, figures out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Answer:
    """One query's ranking by one score, with the truth."""

    truth: str | None  # the query's individual
    identities: tuple[str, ...]  # best first
    surprise: float  # what the verdict is made of; larger means known

    @property
    def known(self) -> bool:
        return self.truth in self.identities


def top_k(answers: Sequence[Answer], k: int) -> float:
    """The share of queries of known animals whose animal is among the first k; NaN without such queries."""
    hits = [answer.truth in answer.identities[:k] for answer in answers if answer.known]
    return float(np.mean(hits)) if hits else float("nan")


def auroc(known: Sequence[float], new: Sequence[float]) -> float:
    """The probability that a known animal's query scores above a new one's, ties counting half (Mann-Whitney U); NaN if one is empty."""
    from scipy.stats import rankdata  # most of a second to import, and only here

    if not len(known) or not len(new):
        return float("nan")
    ranks = rankdata([*known, *new])
    wins = ranks[: len(known)].sum() - len(known) * (len(known) + 1) / 2
    return float(wins / (len(known) * len(new)))


def summarize(answers: Sequence[Answer]) -> dict[str, float | None]:
    """top1, top3, top5 over known animals; auroc of known against new; how many of each. None where a figure is undefined."""
    known = [answer.surprise for answer in answers if answer.known]
    new = [answer.surprise for answer in answers if not answer.known]
    figures = {f"top{k}": top_k(answers, k) for k in (1, 3, 5)}
    figures["auroc"] = auroc(known, new)
    defined = {name: None if np.isnan(value) else value for name, value in figures.items()}
    return {**defined, "n_known": len(known), "n_new": len(new)}


def tally(verdicts: Sequence[tuple[str, Answer]]) -> dict[str, dict[str, int]]:
    """How often each verdict was given to known animals (the first individual right or wrong) and to new ones."""
    table: dict[str, dict[str, int]] = {}
    for verdict, answer in verdicts:
        kind = "new" if not answer.known else "right" if answer.identities[0] == answer.truth else "wrong"
        row = table.setdefault(verdict, {"right": 0, "wrong": 0, "new": 0})
        row[kind] += 1
    return table
