"""What UCXL writes into the log: one entry type, and the citation that messages share with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from agent_core.feeds.model import EntryKey

#: Entry type of a version; its body is the content.
UCXL_PUT = "ucxl.put"

MAX_ADDRESS_CHARS = 1024
MAX_NOTE_CHARS = 500
MAX_MEDIA_CHARS = 100
MAX_CITATIONS = 32
#: A write names at most so many heads; with more, the greatest of them.
MAX_PARENTS = 64

#: An entry's leaf hash in hex: what a version is called by.
Hash: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
OptionalHash: TypeAlias = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]


class Cited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A citation as headers carry it: an address, the version it stood at (hash), and why."""

    address: Annotated[str, Meta(max_length=MAX_ADDRESS_CHARS)]
    reason: Annotated[str, Meta(max_length=MAX_NOTE_CHARS)] = ""
    version: OptionalHash = ""


class PutData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new version of an address. ``parents`` are all heads its writer knew: the versions it replaces."""

    address: Annotated[str, Meta(max_length=MAX_ADDRESS_CHARS)]
    parents: Annotated[tuple[Hash, ...], Meta(max_length=MAX_PARENTS)] = ()
    media: Annotated[str, Meta(max_length=MAX_MEDIA_CHARS)] = "text/plain"
    note: Annotated[str, Meta(max_length=MAX_NOTE_CHARS)] = ""
    citations: Annotated[tuple[Cited, ...], Meta(max_length=MAX_CITATIONS)] = ()
    deleted: bool = False  #: a tombstone: history stays


@dataclass(frozen=True, slots=True)
class Put:
    """One version as the fold keeps it."""

    hash: str
    key: EntryKey
    order: tuple[str, str, int, int]  #: (hlc, author, epoch, seq)
    size: int  #: bytes of content
    op: str
    data: PutData

    @property
    def hlc(self) -> str:
        return self.order[0]
