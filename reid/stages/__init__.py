"""The order of things: photos -> features -> matches -> scores -> individuals -> verdicts. Each stage takes records and returns records.

Everything computed is stored, so each can be interrupted and goes on where it stopped. Progress and notes leave through a `Listener`;
nothing here prints.
"""

from .calibrations import calibrate, judges
from .cluster import Grouped, Grouping, Likeness, PairScores, cluster, grouping, pair_scores
from .extract import copies, extract, features_of, read
from .identify import Judges, identify, judge
from .leave_one_out import Recall, evidence, health, learn, recall, trials
from .listener import Listener
from .match import match_pair, update_index
from .pipeline import Pipeline
from .queries import photos, queries
from .results import IndexSummary, PairView
from .score import Compared, compare, impostor_pairs, impostors, rank, strongest, without_encounter
from .second_look import look_again
from .select import Selection, Stage, stage
from .upkeep import Damage, collect, damages, needed
from .workspace import Workspace

__all__ = [
    "Compared", "Damage", "Grouped", "Grouping", "IndexSummary", "Judges", "Likeness", "Listener", "PairScores", "PairView", "Pipeline",
    "Recall", "Selection", "Stage", "Workspace", "calibrate", "cluster", "collect", "compare", "copies", "damages", "evidence", "extract",
    "features_of", "grouping", "health", "identify", "impostor_pairs", "impostors", "judge", "judges", "learn", "look_again",
    "match_pair", "needed", "pair_scores", "photos", "queries", "rank", "read", "recall", "stage", "strongest", "trials", "update_index",
    "without_encounter",
]  # fmt: skip
