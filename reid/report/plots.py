"""Plots of an evaluation, drawn by matplotlib without a window: answers in, PNG files out."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.answers import N_BINS, Answer, auroc, cmc, reliability, roc
from ..store import write_atomically

if TYPE_CHECKING:
    from ..evaluation.features import Measured

BLUE, ORANGE, PURPLE, GREY = "#0067a5", "#e0a100", "#b5468b", "#666666"  # told apart by the colour-blind
SERIES = BLUE, ORANGE, PURPLE, "#009e73", "#d55e00", "#56b4e9", "#000000", GREY  # of many, the same
RANKS = 20


def save_all(answers: Sequence[Answer], folder: Path) -> list[Path]:
    """Write each plot that these answers allow; returns the files."""
    calibrated = bool(answers) and all(one.p_new is not None for one in answers)
    known, new = [one for one in answers if one.known], [one for one in answers if not one.known]
    plots: dict[str, Callable[[Axes], None] | None] = {
        "cmc": (lambda axes: draw_cmc(axes, answers)) if known else None,
        "roc": (lambda axes: draw_roc(axes, answers)) if known and new else None,
        "reliability": (lambda axes: draw_reliability(axes, answers)) if calibrated else None,
        "scores": (lambda axes: draw_scores(axes, answers)) if answers else None,
    }
    return [_save(draw, folder / f"{name}.png") for name, draw in plots.items() if draw is not None]


def _save(draw: Callable[[Axes], None], file: Path) -> Path:
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    draw(figure.subplots())
    write_atomically(file, lambda path: figure.savefig(path, format="png", dpi=150))
    return file


def save_features(rows: Sequence[dict[str, Any]], measured: Sequence[Measured], folder: Path) -> list[Path]:
    """Write the plots of the feature benchmark; returns the files."""
    described = [row for row in rows if row["n_matches"] is not None and row["change"] == "all"]
    plots: dict[str, Callable[[Axes], None] | None] = {
        "repeatability": lambda axes: draw_repeatability(axes, rows),
        "matches": (lambda axes: draw_matches(axes, described)) if described else None,
        "homographies": (lambda axes: draw_homographies(axes, measured)) if described else None,
    }
    return [_save(draw, folder / f"{name}.png") for name, draw in plots.items() if draw is not None]


def draw_repeatability(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Of each extractor by what changes, with what as many random points would have."""
    changes = list(dict.fromkeys(row["change"] for row in rows))
    changes = [change for change in changes if change != "all" or len(changes) == 1]
    names = list(dict.fromkeys(row["extractor"] for row in rows))
    height = 0.8 / len(changes)
    for number, change in enumerate(changes):
        group = [row for row in rows if row["change"] == change]
        at = np.arange(len(names)) + height * (number - (len(changes) - 1) / 2)
        shares, chance = ([row[name] or 0 for row in group] for name in ("repeatability", "chance"))
        axes.barh(at, shares, height, color=SERIES[number], label=f"{change}, {group[0]['n_pairs']} pairs")
        axes.vlines(chance, at - height / 2, at + height / 2, color=GREY, label="by chance" if number == 0 else "")
    axes.set(xlabel="repeatability within 3 px", xlim=(0, 1))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_title("Points that are found again", fontsize=10)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, fontsize=8)  # below: bars reach everywhere
    axes.grid(alpha=0.3, axis="x")


def draw_matches(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Accuracy, coverage and repeatability of each extractor, and their harmonic mean, over all pairs."""
    figures = {"accuracy_3px": "accuracy, 3 px", "coverage": "coverage", "repeatability": "repeatability", "harmonic_mean": "harmonic mean"}
    width = 0.8 / len(rows)
    for number, row in enumerate(rows):
        at = np.arange(len(figures)) + width * (number - (len(rows) - 1) / 2)
        axes.bar(at, [row[name] or 0 for name in figures], width, color=SERIES[number % len(SERIES)], label=row["extractor"])
    axes.set_xticks(range(len(figures)), list(figures.values()))
    axes.set(ylim=(0, 1))
    axes.set_title(f"Matches of mutual nearest neighbours, {rows[0]['n_pairs']} pairs", fontsize=10)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, fontsize=8)  # below: bars reach everywhere
    axes.grid(alpha=0.3, axis="y")


def draw_homographies(axes: Axes, measured: Sequence[Measured], most: float = 10.0) -> None:
    """The share of pairs whose corners end up within so many pixels; failed pairs never do."""
    described = [one for one in measured if one.matching is not None]
    for number, name in enumerate(dict.fromkeys(one.extractor for one in described)):
        errors = [one.matching.corner_errors["homography"] for one in described if one.extractor == name and one.matching is not None]
        steps = np.append(np.sort(errors), np.inf)
        share = np.append(np.arange(len(errors)) + 1, len(errors)) / len(errors)
        x, y = np.concatenate(([0], steps)), 100 * np.concatenate(([0], share))
        axes.step(x, y, where="post", color=SERIES[number % len(SERIES)], label=name)
    axes.set(xlabel="mean error of the corners (px)", ylabel="homographies (%)", xlim=(0, most), ylim=(0, 101))
    axes.set_title("Homographies by MAGSAC++", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)


def save_training(folder: Path) -> Path:
    """Draw the log of a training (`folder`/log.csv) as `folder`/curve.png: losses left, figures on photos held out right."""
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 4), layout="constrained")
    judged = [name for name in rows[-1] if name.startswith("val_")]
    for axes, chosen, title in zip(figure.subplots(1, 2), (["loss"], judged), ("loss", "on photos held out")):
        for name, colour in zip(chosen, (BLUE, ORANGE, PURPLE, GREY)):
            points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
            axes.plot(*zip(*points), color=colour, marker="o", markersize=3, label=name.removeprefix("val_"))
        axes.set(xlabel="step", title=title)
        axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=4, fontsize=8)  # below: curves reach everywhere
    write_atomically(folder / "curve.png", lambda path: figure.savefig(path, format="png", dpi=150))
    return folder / "curve.png"


def draw_cmc(axes: Axes, answers: Sequence[Answer]) -> None:
    """The share of known animals among the first k individuals."""
    n = sum(one.known for one in answers)
    axes.plot(range(1, RANKS + 1), 100 * cmc(answers, RANKS), color=BLUE, marker="o", markersize=3.5)
    axes.set(xlabel="individuals looked at", ylabel="right animal among them (%)", ylim=(0, 102), xlim=(0.5, RANKS + 0.5))
    axes.set_title(f"Cumulative match characteristic, {n} queries of known animals", fontsize=10)
    axes.set_xticks([1, 5, 10, 15, 20])
    axes.grid(alpha=0.3)


def draw_roc(axes: Axes, answers: Sequence[Answer]) -> None:
    """Known animals called known against new animals called known, over all thresholds."""
    value = np.array([one.familiarity for one in answers])
    known = np.array([one.known for one in answers])
    false, true = roc(answers)
    area = auroc(value[known], value[~known])
    axes.plot(100 * false, 100 * true, color=BLUE, label=f"area {area:.3f}")
    axes.plot((0, 100), (0, 100), color=GREY, linestyle=":", label="chance")
    axes.set(xlabel="new animals taken for known (%)", ylabel="known animals taken for known (%)", xlim=(-1, 101), ylim=(-1, 101))
    axes.set_title(f"Known or new, {known.sum()} known and {(~known).sum()} new", fontsize=10)
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)


def draw_reliability(axes: Axes, answers: Sequence[Answer]) -> None:
    """What came true against what was promised, in bins of as many answers each."""
    axes.plot((0, 100), (0, 100), color=GREY, linestyle=":", label="as promised")
    for name, colour, marker, chance, true in (
        ("the first individual is right", BLUE, "o", [one.p_match for one in answers], [one.right for one in answers]),
        ("the animal is new", PURPLE, "s", [one.p_new for one in answers], [not one.known for one in answers]),
    ):
        points = [(100 * p, 100 * share) for p, share, _ in reliability(np.array(chance, float), np.array(true, float))]
        axes.plot(*zip(*points), color=colour, marker=marker, markersize=5, label=name)
    axes.set(xlabel="probability given (%)", ylabel="came true (%)", xlim=(-2, 102), ylim=(-2, 102))
    axes.set_title(f"Are the probabilities true? {len(answers)} queries, {min(N_BINS, len(answers))} bins", fontsize=10)
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)


def draw_scores(axes: Axes, answers: Sequence[Answer]) -> None:
    """How the first individual scores: known animals that are found, those that are not, and new ones."""
    groups = {
        "known, first is right": ([one.score for one in answers if one.right], BLUE),
        "known, first is wrong": ([one.score for one in answers if one.known and not one.right], ORANGE),
        "new": ([one.score for one in answers if not one.known], PURPLE),
    }
    bins = np.histogram_bin_edges([one.score for one in answers], bins=24)
    for name, (values, colour) in groups.items():
        if values:
            axes.hist(values, bins=bins.tolist(), histtype="step", linewidth=1.8, color=colour, label=f"{name} ({len(values)})")
    axes.set(xlabel="score of the first individual", ylabel="queries")
    axes.set_title("Scores of known and new animals", fontsize=10)
    axes.legend()
    axes.grid(alpha=0.3)
