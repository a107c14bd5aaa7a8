"""What is chosen of the photos of a catalogue. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from urllib.parse import urlencode

from .book import Card

UNSIDED = "unsided"
SHOWN = {
    "": "every photo", "animals": "one photo an animal", "asked": "photos in review", "unnamed": "unnamed photos",
    UNSIDED: "photos without a side",
}  # fmt: skip


@dataclass(frozen=True)
class Filters:
    """What is chosen of the catalogue; empty: everything."""

    animal: str = ""
    site: str = ""
    side: str = ""
    since: str = ""  # ISO dates
    until: str = ""
    show: str = ""  # one of SHOWN

    def __post_init__(self) -> None:
        if self.show not in SHOWN:  # the bookmark of another version
            object.__setattr__(self, "show", "")

    def of(self, cards: Iterable[Card]) -> list[Card]:
        word, found = self.animal.casefold(), []
        seen: set[str | None] = set()
        for card in cards:
            day = card.ref.date.isoformat() if card.ref.date else ""
            if (
                (word and word not in (card.animal or "").casefold())
                or (self.site and card.site != self.site)
                or (self.side and card.ref.orientation != self.side)
                or (self.since and not day >= self.since)
                or (self.until and not (day and day <= self.until))
                or (self.show == "asked" and not card.is_asked)
                or (self.show == "unnamed" and card.animal)
                or (self.show == UNSIDED and card.ref.orientation)
                or (self.show == "animals" and (card.animal is None or card.animal in seen))
            ):
                continue
            seen.add(card.animal)
            found.append(card)
        return found

    def query(self) -> str:
        return urlencode({one.name: value for one in fields(self) if (value := getattr(self, one.name))})


def behind(found: Sequence[Card], every: Iterable[Card], last: str) -> list[Card]:
    """Those of the photos found that stand behind one photo in the order of all, whether or not that one is found itself any more."""
    ids = [card.id for card in every]
    shown = set(ids[: ids.index(last) + 1]) if last in ids else set[str]()
    return [card for card in found if card.id not in shown]


def sides(cards: Iterable[Card]) -> list[str]:
    """Those that any photo shows, sorted."""
    return sorted({card.ref.orientation for card in cards if card.ref.orientation})
