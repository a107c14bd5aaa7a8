"""A Report as JSON (schema 2), as CSV and as a table for the terminal; an evaluation and a comparison as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..decision.reasons import percent
from ..decision.verdicts import MATCH, NEW
from ..evaluation.summary import Evaluation
from ..evaluation.tune import SHOWN, Tuning
from ..evaluation.waterfall import LOSSES, Waterfall
from ..formats.writing import csv_bytes
from ..records import IdentityRanking, Report
from ..records.answer import COLUMNS
from ..stages import Stage

SCHEMA = 2
COLOURS = {"match": "green", "unsure": "yellow", "new": "magenta", "odd": "red"}
NO_NAME = "(no name yet)"  # in place of the individual
DIGITS = 6  # after the point, in JSON and CSV


def as_json(report: Report) -> bytes:
    """The whole report, `settings.top` candidates a query."""
    top = int(str(report.setting("top")))
    value: dict[str, object] = {
        "schema": SCHEMA,
        "created": report.created.isoformat(timespec="seconds"),
        "settings": {**report.settings, "fingerprint": report.fingerprint},
        "gallery": dict(report.gallery),
        "versions": dict(report.versions),
        "lists": {
            verdict: {"rate": rate, "queries": [one.query_id for one in report.rankings if one.listed and one.verdict == verdict]}
            for verdict, rate in list_rates(report).items()
        },
        "new_share": report.new_share and {name: _rounded(value) for name, value in vars(report.new_share).items()},
        "queries": [_query(ranking, top) for ranking in report.rankings],
        "failures": [{"photo": failure.image_id, "reason": failure.reason} for failure in report.failures],
    }
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def list_rates(report: Report) -> dict[str, float]:
    """The share of each list that is expected not to belong there, at most: new animals among matches, known ones among new animals."""
    return {MATCH: float(str(report.setting("max_false_match"))), NEW: float(str(report.setting("max_false_new")))}


def _query(ranking: IdentityRanking, top: int) -> dict[str, object]:
    candidates = [
        {
            "rank": rank,
            "individual": found.identity,
            "named": found.is_named,
            "score": _rounded(found.score),
            "n_matches": found.n_matches,
            "reference": found.reference_id,
            "photo": found.photo_id,
        }
        for rank, found in enumerate(ranking.candidates[:top], start=1)
    ]
    return {
        "query": ranking.query_id,
        "verdict": ranking.verdict,
        "listed": ranking.listed,
        **{name: _rounded(getattr(ranking, name)) for name in ("p_match", "p_other", "p_new")},
        "p_match_interval": ranking.p_match_interval and [_rounded(end) for end in ranking.p_match_interval],
        **{name: _rounded(getattr(ranking, name)) for name in ("p_if_new", "p_if_known", "p_impostor")},
        "in_gallery": list(ranking.in_gallery),
        "because": list(ranking.because),
        "quality": [{name: round(value, 4) for name, value in vars(seen).items()} for seen in ranking.quality],
        "candidates": candidates,
    }


def _rounded(value: object) -> object:
    return round(value, DIGITS) if isinstance(value, float) else value


def as_csv(report: Report) -> bytes:
    """One row a candidate, best first, as `Report.rows` and its table have them; no cell begins as a formula does."""
    return csv_bytes(COLUMNS, ([_rounded(row[name]) for name in COLUMNS] for row in report.rows()))


def as_table(report: Report) -> Table:
    """The first candidates of every query, for the terminal. A star marks the queries that are on the list of their verdict, an equals sign
    those that are in the gallery themselves."""
    calibrated = any(ranking.p_new is not None for ranking in report.rankings)
    chances = ("P(match)", "P(other)", "P(new)") if calibrated else ("P(impostor)",)
    table = Table("query", "verdict", *chances, "individual", "score", "matches", "reference")
    for column in table.columns:
        if column.header in (*chances, "score", "matches"):
            column.justify = "right"
    for ranking in report.rankings:
        values = (ranking.p_match, ranking.p_other, ranking.p_new) if calibrated else (ranking.p_impostor,)
        shown = ("-" if p is None else percent(p) for p in values)
        star = " *" if ranking.listed else ""
        lead = (
            escape(f"{ranking.query_id} =" if ranking.in_gallery else ranking.query_id),
            f"[{COLOURS[ranking.verdict]}]{ranking.verdict}[/]{star}",
            *shown,
        )
        for candidate in ranking.candidates[: int(str(report.setting("top")))]:
            score = f"{candidate.score:.3f}"
            who = escape(candidate.identity) if candidate.is_individual else NO_NAME
            table.add_row(*lead, who, score, str(candidate.n_matches), escape(candidate.reference_id))
            lead = ("",) * len(lead)
        table.add_section()
    caption = []
    if any(ranking.listed for ranking in report.rankings):
        rates = list_rates(report)
        caption.append(
            f"* on the list of its verdict: of the matches at most {percent(rates[MATCH])} are expected to be new animals, "
            f"of the new ones at most {percent(rates[NEW])} known"
        )
    if any(ranking.in_gallery for ranking in report.rankings):
        caption.append("= in the gallery already: compared with its other photos alone")
    if any(not one.is_individual for ranking in report.rankings for one in ranking.candidates[: int(str(report.setting("top")))]):
        caption.append(f"{NO_NAME}: the animal of that reference, which nobody has named yet")
    table.caption = "\n".join(caption) or None
    return table


FIGURES = {  # of an evaluation, in words
    "top1": "top-1", "top3": "top-3", "top5": "top-5", "mrr": "mean reciprocal rank", "map": "mAP over reference photos",
    "auroc": "AUROC, known against new", "decided": "decided: match or new", "decided_error": "wrong, of the decided", "baks": "BAKS",
    "baus": "BAUS", "geometric_mean": "geometric mean of the two", "brier": "Brier score", "ece_match": "calibration error of P(match)",
    "ece_new": "calibration error of P(new)", "false_merge": "matches that are wrong, of all",
    "false_split": "known animals called new, of the known", "oracle_accuracy": "oracle: known or new right",
    "oracle_coverage_at_1": "oracle: decided at 1 % error", "oracle_coverage_at_2": "oracle: decided at 2 % error",
    "oracle_coverage_at_5": "oracle: decided at 5 % error",
}  # fmt: skip
PLAIN = ("auroc", "brier", "ece_match", "ece_new", "map", "mrr", "geometric_mean")
LEGEND = (
    "BAKS: known animals that were found and not called new, BAUS: new animals called new, each a mean over animals. Mean reciprocal rank: "
    "of 1 / the rank of the right individual. An oracle chooses its threshold on these very answers: what the scores allow, not what "
    "anybody gets."
)


def of_evaluation(found: Evaluation) -> list[Table]:
    """The figures with their intervals; every score beside the others; the figures of each group."""
    figures = Table("figure", "value", "95 %", caption=LEGEND)
    for name, words in FIGURES.items():
        interval = found.intervals.get(name)
        ends = "-" if interval is None else " to ".join(_figure(name, end) for end in interval)
        figures.add_row(words, _figure(name, found.figures[name]), ends)
    title = f"{found.pipelines}, {found.n_references} references"
    scores = Table("score", "top-1", "top-3", "top-5", "mAP", "AUROC", title=title)
    for name, row in found.scores.items():
        scores.add_row(name, *(_figure(key, row[key]) for key in ("top1", "top3", "top5", "map", "auroc")))
    groups = Table("group", "value", "queries", "top-1", "top-5")
    for group, values in found.groups.items():
        for value, row in values.items():
            groups.add_row(group, escape(value), str(row["n"]), _figure("top1", row["top1"]), _figure("top5", row["top5"]))
    return [scores, figures, groups] if found.groups else [scores, figures]


LEFT = {  # what the right animal has where it is not lost at a stage
    Stage.reference: "a reference of another encounter", Stage.view: "one of a compatible view", Stage.shortlist: "one on the shortlist",
    Stage.finalists: "one matched in full", Stage.outscored: "the best score",
}  # fmt: skip
LOST = {  # the stages in short, as heads of columns
    Stage.reference: "no reference", Stage.view: "no view", Stage.shortlist: "not listed", Stage.finalists: "not in full",
    Stage.outscored: "outscored",
}  # fmt: skip


def of_waterfall(found: Waterfall) -> list[Table]:
    """Where the right animal is lost, as a funnel and by what the queries had against them."""
    n = len(found.courses)
    title = f"where the right animal is lost: {n} queries of animals of the gallery"
    funnel = Table("the right animal has", "queries", "of all", "95 %", "lost here", title=title)
    for stage, (lost, left, ends) in found.funnel().items():
        funnel.add_row(LEFT[stage], str(left), _figure("top1", left / n if n else None), _ends(ends), str(lost))
    for verdict, count in found.verdicts().items():
        funnel.add_row(f"  verdict {verdict}", str(count), _figure("top1", count / n), "", "")
    if found.n_seen_by_others:
        who = "was" if found.n_seen_by_others == 1 else "were"
        funnel.caption = f"{found.n_seen_by_others} of the first {who} not matched in full by the first pipeline, but by a further one"
    title = "the same by group"
    table = Table("group", "value", "queries", *(LOST[stage] for stage in LOSSES), "first", "95 %", title=title)
    for group, values in found.groups().items():
        for value, row in values.items():
            shown = (str(count) if count else "" for count in row.lost.values())
            table.add_row(group, escape(value), str(row.n), *shown, f"{row.first} ({_figure('top1', row.share)})", _ends(row.interval))
        table.add_section()
    return [funnel, table]


def _ends(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def of_comparison(found: Mapping[str, Evaluation]) -> Table:
    """A row an evaluation, the best of each column marked."""
    columns = {"top1": "top-1", "top3": "top-3", "top5": "top-5", "mrr": "MRR", "map": "mAP", "auroc": "AUROC"}
    table = Table("pipeline", *columns.values(), "s a query")
    best = {name: max((v for one in found.values() if (v := one.figures[name]) is not None), default=None) for name in columns}
    for title, one in found.items():
        values = [(one.figures[name], best[name], _figure(name, one.figures[name])) for name in columns]
        shown = (f"[bold]{text}[/]" if value is not None and value == top else text for value, top, text in values)
        seconds = one.seconds_per_query
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

POINTS_LEGEND = (
    "repeat.: strong keypoints found again within 3 px; chance: as many random ones; replic.: all keypoints found again; right: matches "
    "that are within so many px; M.score: visible keypoints in a right match; coverage: area around right matches; harm. mean: of repeat., "
    "right within 3 px, and coverage"
)
MOTIONS_LEGEND = (
    "right: homographies whose corners are within so many px; AUC: the area under that share up to 5 px; accept., inacc., failed: "
    "registrations that are of use, inexact, or none"
)


def of_features(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """Keypoints and matches of each extractor by what changes between the photos, then the homographies they lead to; the best of each
    change marked."""
    described = [row for row in rows if row["n_matches"] is not None]
    tables = []
    for title, columns, legend, shown in (
        ("keypoints and matches", POINTS, POINTS_LEGEND, rows),
        ("homographies, by MAGSAC++ and by RANSAC", MOTIONS, MOTIONS_LEGEND, described),
    ):
        table = Table("change", "extractor", title=title, caption=legend)
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


def of_tuning(found: Tuning) -> Table:
    """What was tried, one row each, with 95 % intervals over animals."""
    table = Table(title="calibration queries of this gallery: top-1, top-5, AUROC of known against new (95 %)")
    for name in ("pipelines", *SHOWN):
        table.add_column(name)
    for one in found.rows:
        cells = []
        for name in SHOWN:
            value, ends = one.figures[name], one.intervals[name]
            cells.append("-" if value is None else f"{value:.2f}" + ("" if ends is None else f" ({ends[0]:.2f} to {ends[1]:.2f})"))
        table.add_row(escape(one.name), *cells)
    return table
