"""A Report as JSON (schema 1, described in the README), CSV, and a table for the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..records import IdentityRanking, Report

SCHEMA = 1
COLUMNS = ("query", "verdict", "p_match", "p_other", "p_new", "p_stranger", "rank", "identity", "score", "n_matches", "reference", "photo")
COLOURS = {"match": "green", "unsure": "yellow", "new": "magenta", "odd": "red"}


def as_json(report: Report) -> str:
    """The whole report, `settings.top` candidates a query."""
    top = int(str(report.settings["top"]))
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "created": report.created.isoformat(timespec="seconds"),
        "settings": {**report.settings, "fingerprint": report.fingerprint},
        "gallery": dict(report.gallery),
        "versions": dict(report.versions),
        "queries": [_query(ranking, top) for ranking in report.rankings],
        "failures": [{"photo": failure.image_id, "reason": failure.reason} for failure in report.failures],
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _query(ranking: IdentityRanking, top: int) -> dict[str, Any]:
    candidates = [
        {
            "identity": found.identity,
            "score": round(found.score, 6),
            "n_matches": found.n_matches,
            "reference": found.reference_id,
            "photo": found.photo_id,
        }
        for found in ranking.candidates[:top]
    ]
    return {
        "query": ranking.query_id,
        "verdict": ranking.verdict,
        **{name: _rounded(getattr(ranking, name)) for name in ("p_match", "p_other", "p_new")},
        "p_match_interval": ranking.p_match_interval and [_rounded(end) for end in ranking.p_match_interval],
        "p_stranger": round(ranking.p_stranger, 6),
        "p_if_known": _rounded(ranking.p_if_known),
        "because": list(ranking.because),
        "quality": [{name: round(value, 4) for name, value in vars(seen).items()} for seen in ranking.quality],
        "candidates": candidates,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def as_csv(report: Report) -> str:
    """One row a candidate, best first; a query's verdict stands in each of its rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for ranking in report.rankings:
        answer = _query(ranking, int(str(report.settings["top"])))
        lead = {name: answer[name] for name in COLUMNS if name in answer}
        for rank, candidate in enumerate(answer["candidates"], start=1):
            writer.writerow({**lead, "rank": rank, **candidate})
    return text.getvalue()


def as_table(report: Report) -> Table:
    """The first candidates of every query, for the terminal."""
    calibrated = any(ranking.p_new is not None for ranking in report.rankings)
    chances = ("P(match)", "P(other)", "P(new)") if calibrated else ("strangers",)
    table = Table("query", "verdict", *chances, "individual", "score", "matches", "reference")
    for column in table.columns:
        if column.header in (*chances, "score", "matches"):
            column.justify = "right"
    for ranking in report.rankings:
        values = (ranking.p_match, ranking.p_other, ranking.p_new) if calibrated else (ranking.p_stranger,)
        shown = ("-" if p is None else percent(p) for p in values)
        lead = (escape(ranking.query_id), f"[{COLOURS[ranking.verdict]}]{ranking.verdict}[/]", *shown)
        for candidate in ranking.candidates[: int(str(report.settings["top"]))]:
            score = f"{candidate.score:.3f}" if isinstance(candidate.score, float) else str(candidate.score)
            table.add_row(*lead, escape(candidate.identity), score, str(candidate.n_matches), escape(candidate.reference_id))
            lead = ("",) * len(lead)
        table.add_section()
    return table


def percent(p: float) -> str:
    """A probability as people read it: never a bare 0 or 100."""
    if p < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if p > 0.999 else f"{100 * p:.1f} %"


FIGURES = {  # of an evaluation, in words
    "top1": "top-1", "top3": "top-3", "top5": "top-5", "map": "mAP", "auroc": "AUROC, known against new",
    "best_accuracy": "known or new right, best threshold", "baks": "BAKS", "baus": "BAUS", "geometric_mean": "geometric mean of the two",
    "brier": "Brier score", "ece": "expected calibration error", "coverage_at_1": "decided at 1 % error",
    "coverage_at_2": "decided at 2 % error", "coverage_at_5": "decided at 5 % error", "false_merge": "matches that are wrong, of all",
    "false_split": "known animals called new, of the known",
}  # fmt: skip
PLAIN = ("auroc", "brier", "ece", "map", "geometric_mean")


def of_evaluation(found: dict[str, Any]) -> list[Table]:
    """The figures with their intervals; every score beside the others; the figures of each group."""
    figures = Table("figure", "value", "95 %")
    for name, words in FIGURES.items():
        interval = found["intervals"].get(name)
        figures.add_row(words, _figure(name, found[name]), "-" if interval is None else " to ".join(_figure(name, end) for end in interval))
    title = f"{found['opinions']}, {found['n_references']} references"
    scores = Table("score", "top-1", "top-3", "top-5", "AUROC", title=title)
    for name, row in found["scores"].items():
        scores.add_row(name, *(_figure(key, row[key]) for key in ("top1", "top3", "top5", "auroc")))
    groups = Table("group", "value", "queries", "top-1", "top-5")
    for group, values in found["groups"].items():
        for value, row in values.items():
            groups.add_row(group, escape(value), str(row["n"]), _figure("top1", row["top1"]), _figure("top5", row["top5"]))
    return [scores, figures, groups] if found["groups"] else [scores, figures]


def of_comparison(found: dict[str, dict[str, Any]]) -> Table:
    """A row an evaluation, the best of each column marked."""
    names = ("top1", "top3", "top5", "map", "auroc")
    table = Table("features + matcher", *(FIGURES[name].split(",")[0] for name in names), "s a query")
    best = {name: max((row[name] for row in found.values() if row[name] is not None), default=None) for name in names}
    for title, row in found.items():
        shown = (f"[bold]{_figure(name, row[name])}[/]" if row[name] == best[name] else _figure(name, row[name]) for name in names)
        seconds = row["seconds_per_query"]
        table.add_row(title, *shown, "-" if seconds is None else f"{seconds:.2f}")
    return table


POINTS = {  # columns of the feature benchmark, in words
    "repeatability": "repeat.", "chance": "chance", "replication": "replic.", "accuracy_1px": "right 1 px", "accuracy_3px": "3 px",
    "accuracy_5px": "5 px", "n_matches": "matches", "matching_score": "M.score", "coverage": "coverage", "harmonic_mean": "harm. mean",
}  # fmt: skip
MOTIONS = {
    "homography_1px": "right 1 px", "homography_3px": "3 px", "homography_5px": "5 px", "homography_auc_5px": "AUC 5 px",
    "ransac_1px": "RANSAC 1", "ransac_3px": "3 px", "ransac_5px": "5 px", "ransac_auc_5px": "AUC 5", "acceptable": "accept.",
    "inaccurate": "inacc.", "failed": "failed",
}  # fmt: skip


def of_features(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """Keypoints and matches of each extractor by what changes between the photos, then the homographies they lead to; the best of each
    change marked."""
    described = [row for row in rows if row["n_matches"] is not None]
    tables = []
    for title, columns, shown in (("keypoints and matches", POINTS, rows), ("homographies, by MAGSAC++ and by RANSAC", MOTIONS, described)):
        table = Table("change", "extractor", title=title)
        for words in columns.values():
            table.add_column(words, justify="right")
        for change in dict.fromkeys(row["change"] for row in shown):
            group = [row for row in shown if row["change"] == change]
            best = {name: max((row[name] for row in group if row[name] is not None), default=None) for name in columns}
            for row in group:
                table.add_row(f"{change} ({row['n_pairs']})" if row is group[0] else "", escape(row["extractor"]),
                              *(_marked(name, row[name], best[name]) for name in columns))  # fmt: skip
            table.add_section()
        tables.append(table)
    return tables if described else tables[:1]


def _marked(name: str, value: float | None, best: float | None) -> str:
    if value is None:
        return "-"
    text = f"{value:.0f}" if name == "n_matches" else f"{value:.3f}"
    neutral = name in ("chance", "n_matches", "inaccurate", "failed")
    return f"[bold]{text}[/]" if value == best and not neutral else text


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if name in PLAIN else f"{100 * value:.1f} %"
