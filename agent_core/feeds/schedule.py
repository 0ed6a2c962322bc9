"""Which range of which feed is asked of whom: ranges spread over the peers that have them, within bounds. Pure; time is passed in.

Each peer is asked for the first range of a feed that nobody else was asked for, so a quick peer serves more. The range a
feed waits for is asked of a second peer when the first is late. Ranges come in any order and are verified in theirs.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent_core.feeds.protocol import MAX_FRAME_BYTES, Range
from agent_core.feeds.store import FeedKey

#: Questions out to one peer at a time; each may bring a whole frame, so this bounds its bytes too.
MAX_ASKS = 4
#: Bytes asked for or waiting to be verified, of all feeds and peers; what a feed waits for may always be asked for.
MAX_BYTES = 8 * 1024 * 1024
#: What one range is meant to bring; an answer that doesn't fit a frame ends earlier, and the rest is asked for again.
_RANGE_BYTES = MAX_FRAME_BYTES * 3 // 4
_FIRST_RANGE = 256
#: A range is late after this many times what an answer takes as a rule, and within these bounds, seconds.
_LATE_FACTOR, _LATE_MIN_S, _LATE_MAX_S = 4.0, 0.25, 2.0


@dataclass(slots=True, eq=False)
class Ask:
    """A range asked of a peer: entries from ``start`` to before ``end``."""

    feed: FeedKey
    start: int
    end: int
    peer: str
    since: float


@dataclass(slots=True, eq=False)
class Landed:
    """A range that came and isn't verified yet."""

    ask: Ask
    found: Range
    octets: int

    @property
    def end(self) -> int:
        return self.ask.start + len(self.found.items)


@dataclass(slots=True)
class _Feed:
    held: int
    offers: dict[str, int] = field(default_factory=dict)  #: by peer, how many entries it says it has
    asks: list[Ask] = field(default_factory=list)
    landed: list[Landed] = field(default_factory=list)
    octets: float = 0.0  #: an entry's, as a rule

    @property
    def target(self) -> int:
        return max(self.offers.values(), default=self.held)

    @property
    def is_over(self) -> bool:
        return not (self.asks or self.landed or self.offers)


class Schedule:
    """The ranges of all feeds that are being fetched.

    Args:
        first: an author whose feeds go before all others.
    """

    def __init__(self, first: str) -> None:
        self._first = first
        self._feeds: dict[FeedKey, _Feed] = {}
        self._asks: dict[str, list[Ask]] = {}
        self._late: set[str] = set()
        self._took: deque[float] = deque([_LATE_MAX_S / _LATE_FACTOR], 32)
        self.asked_twice = 0

    # --- what peers say -----------------------------------------------------------------------------------------------

    def offer(self, peer: str, feed: FeedKey, held: int, size: int) -> None:
        """A peer has the first ``size`` entries of a feed of which ``held`` are here."""
        found = self._feeds.setdefault(feed, _Feed(held))
        found.held = max(found.held, held)
        if size > found.held:
            found.offers[peer] = size
        self._tidy(feed)

    def withdraw(self, peer: str) -> None:
        """Ask a peer for nothing more, and others for what it was asked for; what came from it stays."""
        for feed, found in list(self._feeds.items()):
            found.offers.pop(peer, None)
            found.asks = [ask for ask in found.asks if ask.peer != peer]
            self._tidy(feed)
        self._asks.pop(peer, None)
        self._late.discard(peer)

    def refuse(self, peer: str, feed: FeedKey) -> None:
        """A peer can't give what it said it has of a feed, or mustn't be asked for it."""
        if (found := self._feeds.get(feed)) is not None:
            found.offers.pop(peer, None)
            self._tidy(feed)

    def offers(self, peer: str, feed: FeedKey) -> bool:
        """Whether a feed is being fetched from a peer."""
        found = self._feeds.get(feed)
        return found is not None and peer in found.offers

    # --- asking -------------------------------------------------------------------------------------------------------

    def take(self, peer: str, now: float) -> Ask | None:
        """The next range to ask of a peer; nothing if there is none, or no room."""
        mine = self._asks.get(peer, ())
        if len(mine) >= (1 if peer in self._late else MAX_ASKS):
            return None
        feeds = sorted(self._feeds, key=lambda feed: feed[0] != self._first)
        ask = next((ask for feed in feeds if (ask := self._overdue(peer, feed, now))), None)
        if ask is not None:
            self.asked_twice += 1
        else:
            ask = next((ask for feed in feeds if (ask := self._gap(peer, feed, now))), None)
        if ask is not None:
            self._feeds[ask.feed].asks.append(ask)
            self._asks.setdefault(peer, []).append(ask)
        return ask

    def _gap(self, peer: str, feed: FeedKey, now: float) -> Ask | None:
        """The first range of a feed that is neither here nor asked for."""
        found = self._feeds[feed]
        start, end = found.held, found.offers.get(peer, 0)
        taken = [(ask.start, ask.end) for ask in found.asks] + [(one.ask.start, one.end) for one in found.landed]
        for first, last in sorted(taken):
            if first > start:
                end = min(end, first)
                break
            start = max(start, last)
        if start >= end or (start > found.held and self.octets + MAX_FRAME_BYTES > MAX_BYTES):
            return None
        count = int(_RANGE_BYTES / found.octets) if found.octets else _FIRST_RANGE
        return Ask(feed, start, min(end, start + max(1, count)), peer, now)

    def _overdue(self, peer: str, feed: FeedKey, now: float) -> Ask | None:
        """The range a feed waits for, asked once more if its peer is late with it."""
        found = self._feeds[feed]
        if found.offers.get(peer, 0) <= found.held or any(one.ask.start <= found.held for one in found.landed):
            return None
        front = [ask for ask in found.asks if ask.start <= found.held < ask.end]
        if len(front) != 1 or front[0].peer == peer or now - front[0].since < self.patience_s:
            return None
        self._late.add(front[0].peer)
        return Ask(feed, found.held, min(front[0].end, found.offers[peer]), peer, now)

    @property
    def patience_s(self) -> float:
        """After how many seconds an answer is late."""
        return min(_LATE_MAX_S, max(_LATE_MIN_S, _LATE_FACTOR * statistics.median(self._took)))

    # --- what comes ---------------------------------------------------------------------------------------------------

    def land(self, ask: Ask, found: Range, octets: int, now: float) -> None:
        """The answer to a question came, ``octets`` long."""
        self._asks[ask.peer].remove(ask)
        self._took.append(now - ask.since)
        if now - ask.since < self.patience_s:
            self._late.discard(ask.peer)
        feed = self._feeds.get(ask.feed)
        if feed is None or ask not in feed.asks:
            return
        feed.asks.remove(ask)
        if not found.items:
            feed.offers.pop(ask.peer, None)
        else:
            one = Landed(ask, found, octets)
            each = octets / len(found.items)
            feed.octets = each if not feed.octets else 0.8 * feed.octets + 0.2 * each
            if one.end > feed.held and not any(o.ask.start <= ask.start and one.end <= o.end for o in feed.landed):
                feed.landed.append(one)
        self._tidy(ask.feed)

    def due(self) -> Landed | None:
        """A range that can be verified now: it goes on from what is held."""
        for found in self._feeds.values():
            for one in found.landed:
                if one.ask.start <= found.held < one.end:
                    return one
        return None

    def drop(self, one: Landed) -> None:
        """Forget a range that came: it was stored, or doesn't hold."""
        found = self._feeds.get(one.ask.feed)
        if found is not None and one in found.landed:
            found.landed.remove(one)
            self._tidy(one.ask.feed)

    def grew(self, feed: FeedKey, held: int, limit: int | None) -> None:
        """So many entries of a feed are held now; nothing from ``limit`` on is wanted."""
        found = self._feeds.get(feed)
        if found is None:
            return
        found.held = max(held, found.held)
        if limit is not None:
            found.offers = {peer: min(size, limit) for peer, size in found.offers.items()}
        found.offers = {peer: size for peer, size in found.offers.items() if size > found.held}
        found.landed = [one for one in found.landed if one.end > found.held]
        self._tidy(feed)

    # --- how it goes --------------------------------------------------------------------------------------------------

    def is_waiting(self, peer: str) -> bool:
        """Whether something a peer offers isn't held yet."""
        return any(peer in found.offers for found in self._feeds.values())

    @property
    def octets(self) -> int:
        """Bytes that were asked for, as much as they may be, or wait to be verified."""
        asked = sum(map(len, self._asks.values())) * MAX_FRAME_BYTES
        return asked + sum(one.octets for found in self._feeds.values() for one in found.landed)

    @property
    def behind(self) -> Mapping[FeedKey, int]:
        """How many entries of each feed peers have and this node lacks."""
        return {feed: found.target - found.held for feed, found in self._feeds.items() if found.target > found.held}

    @property
    def sources(self) -> Sequence[str]:
        """The peers that are asked for ranges now."""
        return sorted(peer for peer, asks in self._asks.items() if asks)

    def _tidy(self, feed: FeedKey) -> None:
        if self._feeds[feed].is_over:
            del self._feeds[feed]
