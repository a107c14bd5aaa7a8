"""The order of things: photos -> features -> matches -> scores -> individuals -> verdicts. Each stage takes records and returns records.

Everything computed is stored, so each can be interrupted and goes on where it stopped. Progress and notes leave through a `Listener`;
nothing here prints.
"""

from .calibrations import calibrate, judges
from .cluster import Grouped, Grouping, Likeness, PairScores, cluster, pair_scores
from .extract import extract, features_of, read
from .identify import Judges, identify, judge, rank
from .leave_one_out import Recall, health, learn, recall, trials
from .listener import Listener
from .match import match_pair, update_index
from .pipeline import Pipeline
from .queries import photos, queries
from .score import compare, impostor_pairs, impostors, strongest, without_encounter
from .workspace import Workspace

__all__ = [
    "Grouped", "Grouping", "Judges", "Likeness", "Listener", "PairScores", "Pipeline", "Recall", "Workspace", "calibrate", "cluster",
    "compare", "extract", "features_of", "health", "identify", "impostor_pairs", "impostors", "judge", "judges", "learn", "match_pair",
    "pair_scores", "photos", "queries", "rank", "read", "recall", "strongest", "trials", "update_index", "without_encounter",
]  # fmt: skip
