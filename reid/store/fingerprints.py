"""Every fingerprint is made here."""

from __future__ import annotations

import hashlib
import json
from typing import Any

FORMAT = 3  # part of every fingerprint: raise it when what is stored changes its meaning


def fingerprint(*parts: Any) -> str:
    """16 hex digits that change when any of the (JSON-able) parts does."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
