"""What is answered about a query and about a gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from .photo import UNNAMED, Quality

if TYPE_CHECKING:
    import pandas


def nameless(reference_id: str) -> str:
    """What stands for the animal of a reference that nobody has named."""
    return f"unknown ({reference_id})"


@dataclass(frozen=True)
class Candidate:
    """An individual the query may be, with the reference that speaks for it most."""

    identity: str
    score: float
    n_matches: int  # sure ones, of the pipeline that speaks for the pair most
    reference_id: str
    photo_id: str = ""  # the query's photo that matches it, where a query has several

    @property
    def is_individual(self) -> bool:
        """Whether it stands for an animal that is told from others, and not for the reference alone."""
        return self.identity != nameless(self.reference_id)

    @property
    def is_named(self) -> bool:
        """Whether anybody has given it a name."""
        return self.is_individual and not UNNAMED.fullmatch(self.identity)

    @property
    def called(self) -> str:
        """The individual, for people."""
        return self.identity if self.is_individual else f"no name yet ({self.reference_id})"


@dataclass(frozen=True)
class IdentityRanking:
    """The answer for one query, a photo or the photos of an encounter."""

    query_id: str
    candidates: tuple[Candidate, ...]  # best first
    verdict: str  # match, unsure, new or odd
    p_impostor: float  # how likely the best of as many photos of other animals would look at least as alike, 0..1
    p_match: float | None = None  # probability that the first candidate is right; None where nothing is calibrated, as all that follow
    p_other: float | None = None  # that it is another animal of the gallery
    p_new: float | None = None  # that it is an animal never seen; the three sum to one
    p_match_interval: tuple[float, float] | None = None  # 95 %: what another sample of calibration queries might have made of p_match
    p_if_new: float | None = None  # the share of new animals whose best individual stands as well or better (conformal p-value)
    p_if_known: float | None = None  # the share of known animals whose best individual stands no better
    listed: bool | None = None  # whether it is on this run's list of its verdict, of matches or of new animals
    because: tuple[str, ...] = ()  # why this verdict, in sentences for people
    quality: tuple[Quality, ...] = ()  # of the query's photos, where they were looked at
    in_gallery: tuple[str, ...] = ()  # references that are the query's very photos: it was compared with the others alone


@dataclass(frozen=True)
class Mislabel:
    """A photo of the gallery that looks more like another animal than like its own."""

    reference_id: str
    identity: str  # as the gallery says
    score: float  # its best with a photo of that animal, of another encounter
    looks_like: Candidate


@dataclass(frozen=True)
class Twins:
    """Two individuals of the gallery that may be one animal, and the photos that say so."""

    identities: tuple[str, str]
    references: tuple[str, str]
    p_same: float  # 0..1


@dataclass(frozen=True)
class Health:
    """What a gallery's own photos say about its labels."""

    single_encounter: tuple[str, ...]  # individuals that have one photo, or one encounter
    mislabels: tuple[Mislabel, ...]  # the most suspicious first
    twins: tuple[Twins, ...]  # the likeliest first
    n_queries: int  # calibration queries whose label was tried
    newcomers: tuple[Twins, ...] = ()  # animals of one encounter that somebody has called new, each with that which it is most like


@dataclass(frozen=True)
class NewShare:
    """The share of new animals among the queries of one run, taken together."""

    estimate: float
    low: float  # ends of its interval of 95 %
    high: float
    prior: float  # what each answer assumes, which is between the gallery's own and the estimate unless the settings say it
    n_queries: int
    n_encounters: int  # that they are of; as many where none is known


@dataclass(frozen=True)
class Failure:
    """A photo that could not be used, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True)
class Report:
    """Every answer of one run, and all that is needed to repeat it."""

    rankings: tuple[IdentityRanking, ...]
    failures: tuple[Failure, ...]
    settings: Mapping[str, object]  # by name, or in groups by name
    fingerprint: str
    gallery: Mapping[str, object]  # photos and individuals searched, the filter that was used, what judged the answers
    versions: Mapping[str, str]
    created: datetime  # UTC
    new_share: NewShare | None = None  # of a calibrated gallery, where there are enough queries

    def setting(self, name: str) -> object:
        """The value of a setting by its own name, whichever group it stands in. Raises KeyError."""
        for group in (self.settings, *(one for one in self.settings.values() if isinstance(one, Mapping))):
            if name in group and not isinstance(group[name], Mapping):
                return group[name]
        raise KeyError(name)

    def rows(self) -> list[dict[str, object]]:
        """One row a candidate, best first, the `top` of each query; what is known of the query stands in each of its rows.

        `probability` is that of the first candidate; of the others only the sum is known, `p_other`."""
        top = int(str(self.setting("top")))
        found: list[dict[str, object]] = []
        for one in self.rankings:
            low, high = one.p_match_interval or (None, None)
            about: dict[str, object] = {
                "verdict": one.verdict, "listed": one.listed, "p_match": one.p_match, "p_other": one.p_other, "p_new": one.p_new,
                "p_match_low": low, "p_match_high": high, "p_if_new": one.p_if_new, "p_if_known": one.p_if_known,
                "p_impostor": one.p_impostor, "in_gallery": "; ".join(one.in_gallery),
            }  # fmt: skip
            for rank, candidate in enumerate(one.candidates[:top], start=1):
                found.append({
                    "query": one.query_id, "rank": rank, "individual": candidate.identity,
                    "probability": one.p_match if rank == 1 else None, "score": candidate.score, "n_matches": candidate.n_matches,
                    "reference": candidate.reference_id, "photo": candidate.photo_id, **about, "named": candidate.is_named,
                })  # fmt: skip
        return found

    def to_frame(self) -> pandas.DataFrame:
        """`rows` as a table of pandas."""
        import pandas

        return pandas.DataFrame(self.rows(), columns=list(COLUMNS))


COLUMNS = (
    "query", "rank", "individual", "probability", "score", "n_matches", "reference", "photo", "verdict", "listed", "p_match", "p_other",
    "p_new", "p_match_low", "p_match_high", "p_if_new", "p_if_known", "p_impostor", "in_gallery", "named",
)  # of `Report.rows`  # fmt: skip
