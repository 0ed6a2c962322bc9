"""What travels between nodes of a feed: items (header with its body), head announcements, and what is held of each feed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent_core.feeds.model import Body, Entry, EntryKey, Head

#: Entry type of a new epoch's first entry, and of a purge.
FEED_EPOCH = "feed.epoch"
LOG_PURGE = "log.purge"

#: Entry types that say which entries count, in whatever domain: a store lists them, so that they are found among millions.
SETTLING = ("act", "act.commit", "roster.yield", "roster.share")
#: Entry types that no clock holds back from what they do, so they are neither withdrawn with their clock nor said again.
STANDING = frozenset({*SETTLING, FEED_EPOCH, LOG_PURGE})

#: A head announcement with its entries stays below this, so that gossip stays quick; else the head goes alone.
MAX_ANNOUNCED_BYTES = 64 * 1024
#: The form allows more of each; nobody stores it (epochs and numbers are kept in 64-bit row ids).
MAX_EPOCH = 10**15
MAX_SIZE = 1 << 40


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """What doesn't count of an earlier epoch of the author's: everything from a number on; ``size`` is how much there was."""

    epoch: int
    seq: int
    size: int


class EpochData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The data of ``feed.epoch``: why a new epoch was opened, the last head known of the one before, and what is withdrawn."""

    reason: str
    last: Head | None = None
    withdrawn: tuple[Withdrawn, ...] = ()


class PurgeData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of ``log.purge``: the entry whose body goes."""

    author: str
    epoch: int
    seq: int

    @property
    def target(self) -> EntryKey:
        return EntryKey(self.author, self.epoch, self.seq)


class Item(msgspec.Struct, frozen=True, array_like=True):
    """An entry on the wire: its header's stored bytes, and its body with the salt where the sender has it."""

    header: bytes
    salt: bytes = b""
    body: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes it takes on the wire, at most a few more."""
        return len(self.header) + len(self.salt) + len(self.body or b"") + 16

    @classmethod
    def of(cls, entry: Entry, body: Body | None) -> Item:
        """The item of a stored entry."""
        return cls(entry.raw) if body is None else cls(entry.raw, body.salt, body.data)


class FeedHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The gossip payload ``feed.head``: a commit's checkpoint, and its new entries when they are small."""

    author: str
    epoch: int
    size: int
    checkpoint: str
    start: int = 0  #: number of the first entry that comes along; ``size`` when none does
    entries: tuple[Item, ...] = ()

    @classmethod
    def of(
        cls,
        author: str,
        epoch: int,
        start: int,
        checkpoint: str,
        entries: Sequence[Entry],
        bodies: Sequence[Body | None],
    ) -> FeedHead:
        """The announcement of a commit; without the entries when they are too big to gossip."""
        size = start + len(entries)
        octets = sum(len(entry.raw) for entry in entries) + sum(len(body.data) for body in bodies if body)
        items: tuple[Item, ...] = ()
        if octets + 32 * len(entries) + len(checkpoint) <= MAX_ANNOUNCED_BYTES * 3 // 4:  # base64 in JSON
            items = tuple(map(Item.of, entries, bodies))
        return cls(author=author, epoch=epoch, size=size, checkpoint=checkpoint, start=size - len(items), entries=items)


class FeedInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch of a feed as it is held here."""

    head: Head
    fork_limit: int | None = None
    latest_hlc: str = ""
