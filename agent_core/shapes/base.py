"""The base of all shapes, and the numbers that callers may say."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

#: The most that one answer lists.
MAX_LIMIT = 5000

#: How many at most: 0 is none.
Limit: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_LIMIT)]
#: How long to wait, seconds; what is over an operation's own bound is cut to it.
Wait: TypeAlias = Annotated[float, Meta(ge=0, le=1e9)]
#: A share of all.
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]

#: No listing answers more than this at once.
MAX_LIMIT = 5000
#: Of the addresses so many are watched by faces; there may be more.
WATCHED_ADDRESSES = 2000


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all: JSON objects with these fields; unknown ones are ignored."""
