"""The base of all shapes."""

from __future__ import annotations

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all: JSON objects with these fields; unknown ones are ignored."""
