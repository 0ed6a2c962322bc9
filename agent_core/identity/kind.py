"""What sort of being speaks through an identity."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What sort of being speaks through an identity; fixed when the home is made."""

    HUMAN = "human"
    AGENT = "agent"
