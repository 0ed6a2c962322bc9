"""Entries whose time hasn't come: stored, and kept back from the folds until the clock is within two minutes of their stamp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent_core.clock import MAX_AHEAD_MS, HybridClock
from agent_core.feeds.model import Entry
from agent_core.feeds.store import FeedKey, Store

_PAGE = 500


class Holding:
    """Where each feed waits: the number of its first entry that is stamped too far ahead.

    What follows in the same feed waits with it, since an author's own order is kept. Only the number is remembered; the
    entries are read from the store again when their time comes.
    """

    def __init__(self, store: Store, clock: HybridClock) -> None:
        self._store, self._clock = store, clock
        self._first: dict[FeedKey, int] = {}
        for info in store.feeds():
            head = info.head
            if self._ahead(info.latest_hlc):
                ahead = (e.header.seq for e in store.entries(head.author, head.epoch) if self._ahead(e.header.hlc))
                self._first[head.author, head.epoch] = next(ahead, head.size)

    @property
    def feeds(self) -> int:
        """How many feeds wait."""
        return len(self._first)

    def held(self, entry: Entry) -> bool:
        """Whether the entry waits."""
        header = entry.header
        first = self._first.get((header.author, header.epoch))
        if first is not None and header.seq >= first:
            return True
        return first is None and self._ahead(header.hlc)  # stored a moment ago, not handed out yet

    def ready(self, author: str, epoch: int, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Of entries that were just stored, those whose time has come."""
        if (author, epoch) in self._first:
            return ()
        if not self._ahead(max(entry.header.hlc for entry in entries)):
            return entries
        for place, entry in enumerate(entries):
            if self._ahead(entry.header.hlc):
                self._first[author, epoch] = entry.header.seq
                return entries[:place]
        return entries

    def due(self) -> Iterator[Sequence[Entry]]:
        """Entries whose time has come since, a batch of one feed at a time."""
        for feed, first in list(self._first.items()):
            del self._first[feed]
            seq = first
            while feed not in self._first:
                batch = list(self._store.entries(*feed, seq, seq + _PAGE))
                if not batch:
                    break
                seq += len(batch)
                if ready := self.ready(*feed, batch):
                    yield ready

    def _ahead(self, stamp: str) -> bool:
        return self._clock.ahead_ms(stamp) > MAX_AHEAD_MS
