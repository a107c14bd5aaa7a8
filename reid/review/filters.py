"""What is chosen of the photos of a catalogue. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from urllib.parse import urlencode

from .book import Card

UNSIDED = "unsided"


@dataclass(frozen=True)
class Filters:
    """What is chosen of the catalogue; empty: everything."""

    animal: str = ""
    site: str = ""
    side: str = ""
    since: str = ""  # ISO dates
    until: str = ""
    show: str = ""  # animals, asked, unnamed, or UNSIDED

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


def sides(cards: Iterable[Card]) -> list[str]:
    """Those that any photo shows, sorted."""
    return sorted({card.ref.orientation for card in cards if card.ref.orientation})
