"""Texts of requests that may be empty, though they must be there."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

CONTENT: Final = Meta(extra={"content": True})
#: Content, not a name: an empty file, a text as it is typed. Every other text of a request must say something.
Content: TypeAlias = Annotated[str, CONTENT]
