"""What is answered about a query and about a gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from .photo import Quality


@dataclass(frozen=True)
class Candidate:
    """An individual the query may be, with the reference that speaks for it most."""

    identity: str
    score: float
    n_matches: int
    reference_id: str
    photo_id: str = ""  # the query's photo that matches it, where a query has several


@dataclass(frozen=True)
class IdentityRanking:
    """The answer for one query, a photo or the photos of an encounter."""

    query_id: str
    candidates: tuple[Candidate, ...]  # best first
    verdict: str  # match, unsure, new or odd
    p_stranger: float  # how likely the best of as many strangers would look at least as alike, 0..1
    p_match: float | None = None  # probability that the first candidate is right; None where nothing is calibrated, as the next three
    p_other: float | None = None  # that it is another animal of the gallery
    p_new: float | None = None  # that it is an animal never seen; the three sum to one
    p_match_interval: tuple[float, float] | None = None  # where p_match lies for all that the calibration can tell
    p_if_known: float | None = None  # the share of known animals that stand no better (conformal p-value); None as above
    because: tuple[str, ...] = ()  # why this verdict, in sentences for people
    quality: tuple[Quality, ...] = ()  # of the query's photos, where they were looked at


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

    single_photo: tuple[str, ...]  # individuals that have one photo, or one encounter
    mislabels: tuple[Mislabel, ...]  # the most suspicious first
    twins: tuple[Twins, ...]  # the likeliest first
    n_asked: int  # photos whose label was tried


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
    settings: Mapping[str, object]
    fingerprint: str
    gallery: Mapping[str, object]  # photos and individuals searched, the filter that was used
    versions: Mapping[str, str]
    created: datetime  # UTC
