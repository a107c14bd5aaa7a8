"""Known or new: the verdict from how likely strangers would look as alike. Not yet a calibrated probability of being new."""

from __future__ import annotations

MATCH, UNSURE, NEW = "match", "unsure", "new"


def verdict(p_stranger: float, match_below: float, new_above: float) -> str:
    """`match` where the best of as many strangers would hardly score as high, `new` where they easily would, `unsure` between."""
    if p_stranger <= match_below:
        return MATCH
    return NEW if p_stranger >= new_above else UNSURE
