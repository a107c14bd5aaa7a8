"""The order of things: photos -> features -> matches -> scores -> individuals -> verdicts. Each stage takes records and returns records.

Everything computed is stored, so each can be interrupted and goes on where it stopped. Progress and notes leave through a `Listener`;
nothing here prints.
"""

from ..listener import Listener
from .calibrations import calibrate, judges, tell_preparation
from .cluster import Grouped, Grouping, Likeness, PairScores, cluster, grouping, likeness
from .extract import Extracted, extract, extracted_in, features_of, lost, missing, read, seen, settle, tell_names
from .identify import Finding, Judges, decided, identified, identify, judge, together
from .leave_one_out import Recall, calibration_queries, evidence, health, learn, match_apart, n_encounters, recall, trials
from .match import match_pair, update_index
from .pipeline import Pipeline
from .queries import apart_from_itself, photos, queries
from .results import IndexSummary, PairView, about
from .score import Compared, by_heart, compare, impostor_pairs, impostors, rank, strongest, without_encounter
from .second_look import look_again
from .select import Selection, Stage, stage
from .sides import estimated_sides, has_layouts, known_sides, learn_sides, look_at, n_to_estimate
from .upkeep import Damage, collect, damages, needed
from .workspace import Workspace

__all__ = [
    "Compared", "Damage", "Extracted", "Finding", "Grouped", "Grouping", "IndexSummary", "Judges", "Likeness", "Listener", "PairScores",
    "PairView", "Pipeline", "Recall", "Selection", "Stage", "Workspace", "about", "apart_from_itself", "by_heart", "calibrate",
    "calibration_queries", "cluster", "collect", "compare", "damages", "decided", "estimated_sides", "evidence", "extract", "extracted_in",
    "features_of", "grouping", "has_layouts", "health", "identified", "identify", "impostor_pairs", "impostors", "judge", "judges",
    "known_sides", "learn", "learn_sides", "likeness", "look_again", "look_at", "lost", "match_apart", "match_pair", "missing",
    "n_encounters", "n_to_estimate", "needed", "photos", "queries", "rank", "read", "recall", "seen", "settle", "stage", "strongest",
    "tell_names", "tell_preparation", "together", "trials", "update_index", "without_encounter",
]  # fmt: skip
