"""Entries whose time hasn't come: stored, and kept back from the folds until the clock is within two minutes of their stamp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent_core.clock import MAX_AHEAD_MS, HybridClock, unpack
from agent_core.feeds.model import Entry, EntryKey
from agent_core.feeds.store import FeedKey, Store

_PAGE = 500
#: Of each feed so many held entries are looked over when they are to be shown, the newest.
MAX_SHOWN = 2000


class Holding:
    """Where each feed waits: the number of its first entry that is stamped too far ahead.

    What follows in the same feed waits with it, since an author's own order is kept. Only the number is remembered; the
    entries are read from the store again when their time comes. What its author withdrew waits for nothing.
    """

    def __init__(self, store: Store, clock: HybridClock) -> None:
        self._store, self._clock = store, clock
        self._first: dict[FeedKey, int] = {}
        #: By type, what :meth:`entries` found last, and where.
        self._shown: dict[str, tuple[dict[FeedKey, range], list[Entry]]] = {}
        self.look()

    @property
    def feeds(self) -> int:
        """How many feeds wait."""
        return sum(1 for feed in self._first if self._waiting(feed))

    @property
    def count(self) -> int:
        """How many entries wait."""
        return sum(len(self._waiting(feed)) for feed in self._first)

    @property
    def until_ms(self) -> int:
        """When the last of those that wait counts, Unix milliseconds; 0 if none waits."""
        last = [EntryKey(*feed, waiting[-1]) for feed in self._first if (waiting := self._waiting(feed))]
        found = (self._store.entry(key) for key in last)
        return max((unpack(entry.header.hlc)[0] - MAX_AHEAD_MS for entry in found if entry), default=0)

    def held(self, entry: Entry) -> bool:
        """Whether the entry waits."""
        header = entry.header
        first = self._first.get((header.author, header.epoch))
        if first is None:
            return self._is_early(entry)  # stored a moment ago, not handed out yet
        return header.seq >= first and not self._is_withdrawn(entry)

    def until(self, entry: Entry) -> int | None:
        """When an entry that waits counts, Unix milliseconds; nothing for one that doesn't wait or is withdrawn."""
        if not self.held(entry):
            return None
        return unpack(entry.header.hlc)[0] - MAX_AHEAD_MS

    def withdrawn(self, entry: Entry) -> bool:
        """Whether its author took it back with the clock that stamped it."""
        return self._store.withdrew(entry) is not None

    def entries(self, type: str) -> list[Entry]:
        """The entries of one type that wait, the newest of each feed."""
        ranges = {feed: waiting[-MAX_SHOWN:] for feed in self._first if (waiting := self._waiting(feed))}
        known = self._shown.get(type)
        if known is None or known[0] != ranges:
            found = [
                entry
                for feed, waiting in ranges.items()
                for entry in self._store.entries(*feed, waiting.start, waiting.stop)
                if entry.header.type == type
            ]
            known = self._shown[type] = ranges, found
        return known[1]

    def look(self) -> bool:
        """Look for feeds that end ahead of the clock: at the start, and now and then, since a wall may be put back.

        Returns:
            Whether there are some that didn't wait until now: of them, too much may have been handed out.
        """
        found = False
        for info in self._store.feeds():
            feed = (info.head.author, info.head.epoch)
            if feed not in self._first and self._ahead(info.latest_hlc):
                end = self._store.withdrawn_from(*feed)
                last = None if end is None else self._store.entry(EntryKey(*feed, end - 1))
                if end is not None and (last is None or not self._ahead(last.header.hlc)):
                    continue  # all that is ahead is withdrawn
                early = (e.header.seq for e in self._store.entries(*feed, 0, end) if self._ahead(e.header.hlc))
                self._first[feed] = next(early, info.head.size)
                found = True
        return found

    def ready(self, author: str, epoch: int, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Of entries that were just stored, those whose time has come."""
        if (author, epoch) in self._first:
            return ()
        if not self._ahead(max(entry.header.hlc for entry in entries)):
            return entries
        for place, entry in enumerate(entries):
            if self._is_early(entry):
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
                ready = self.ready(*feed, batch)
                if counted := [entry for entry in ready if self._store.withdrew(entry) is None]:
                    yield counted

    def _waiting(self, feed: FeedKey) -> range:
        """The numbers of a feed's entries that wait: those that are withdrawn don't."""
        size, withdrawn = self._store.size(*feed), self._store.withdrawn_from(*feed)
        return range(self._first[feed], size if withdrawn is None else min(size, withdrawn))

    def _is_early(self, entry: Entry) -> bool:
        """Whether an entry's time hasn't come. What is left of a withdrawn part, such as acts, has no time to wait for."""
        return self._ahead(entry.header.hlc) and not self._is_withdrawn(entry)

    def _is_withdrawn(self, entry: Entry) -> bool:
        limit = self._store.withdrawn_from(entry.header.author, entry.header.epoch)
        return limit is not None and entry.header.seq >= limit

    def _ahead(self, stamp: str) -> bool:
        return self._clock.ahead_ms(stamp) > MAX_AHEAD_MS
