"""Catching up: ranges from many peers at once, verified and stored in their order by one task, whose pace all others keep.

What is verified stays: a fetch that is cut, or killed, goes on from there. A slow disk slows the one task that stores; what
waits for it is bounded, so peers are asked less.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from agent_core.errors import ChorusError, VerificationFailed
from agent_core.feeds import protocol
from agent_core.feeds.model import Head
from agent_core.feeds.protocol import ANSWER_TIMEOUT_S, Range, Want
from agent_core.feeds.ranges import Diverges, Extension, verify_range
from agent_core.feeds.schedule import Ask, Landed, Schedule
from agent_core.feeds.store import FeedKey, Store
from agent_core.grammar import noun, plural
from agent_core.identity.signing import Verifier
from agent_core.network import Stream
from agent_core.shapes import Underway

log = logging.getLogger(__name__)

#: A fetch this many entries long is worth a line in the log, and one more every so many seconds.
TOLD_FROM = 1000
_TELL_S = 5.0
#: A peer's fetch ends after so long, so that what came is acknowledged; the next round goes on.
FETCH_S = 2.0


class Shelf(Protocol):
    """Who keeps what was verified."""

    store: Store

    def limit(self, author: str, epoch: int) -> int | None:
        """How many entries of an epoch are wanted; nothing for all of them."""
        ...

    async def keep(self, new: Extension) -> bool:
        """Store believed entries; returns whether they were new."""
        ...


class Parted(Exception):
    """A peer's entries of a feed and ours lead to different signed checkpoints."""

    def __init__(self, feed: FeedKey, differ: int) -> None:
        super().__init__(f"{feed[0]}/{feed[1]} differs within its first {plural(differ, 'entry', 'entries')}")
        self.feed, self.differ = feed, differ


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a node is behind, and how it catches up."""

    behind: int = 0  #: entries that connected peers have and this node lacks
    feeds: int = 0  #: of so many feeds
    entries_per_s: float = 0.0  #: over the last seconds
    waiting_bytes: int = 0  #: asked for or waiting to be verified; bounded
    sources: tuple[str, ...] = ()  #: peers that are asked now

    @property
    def underway(self) -> Underway | None:
        """What people are told while this node is far behind."""
        if self.behind < TOLD_FROM:
            return None
        text, count = f"Catching up: {self.behind:,} {noun(self.behind, 'entry', 'entries')} behind", len(self.sources)
        if self.entries_per_s >= 1:
            text += f", {self.entries_per_s:,.0f}/s"
            text += f" from {plural(count, 'peer')}" if count else ""
        return Underway(kind="fetching", text=f"{text}.", brief=f"{self.behind:,} behind")


class _Fetch:
    """One peer's part, while its round lasts."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.failure: Exception | None = None


class Fetcher:
    """Fetches what peers offer.

    Args:
        shelf: stores what was verified.
        verifier: checks checkpoints.
        me: this node's peer id.
        lied: called with a peer and why when a range of it, that is no longer being fetched from, doesn't hold.
    """

    def __init__(
        self, shelf: Shelf, verifier: Verifier, me: str, lied: Callable[[str, VerificationFailed], None]
    ) -> None:
        self._shelf, self._verifier, self._lied = shelf, verifier, lied
        self.schedule = Schedule(me)
        self.pulled: Counter[str] = Counter()  #: entries stored, by the peer they came from; of the fetch going on
        self._fetches: dict[str, _Fetch] = {}
        self._landed = trio.Event()
        self._changed = trio.Event()
        self._rate = _Rate()
        self._told_at = self._began = 0.0
        self._cut = False  #: the last fetch ended before its end: another will go on

    async def run(self) -> None:
        """Verify and store what comes, until cancelled."""
        while True:
            while (one := self.schedule.due()) is not None:
                await self._take(one)
                self._change()
                self._tell()
            self._landed = trio.Event()
            self._tell()
            await self._landed.wait()

    async def fetch(self, stream: Stream, heads: Sequence[Head]) -> bool:
        """Fetch what a peer shows and this node lacks, together with everybody else who does.

        Returns:
            Whether everything that the peer can give is held now; false when time was up before.

        Raises:
            Parted: a feed of the peer's is another history.
            VerificationFailed: the peer lied.
            StoreError: the disk refuses.
            StreamClosed, trio.TooSlowError: the peer is gone or silent.
        """
        peer, store = stream.peer_id, self._shelf.store
        for head in heads:
            feed = (head.author, head.epoch)
            limit = protocol.end_of(self._shelf, *feed)
            self.schedule.offer(peer, feed, store.size(*feed), head.size if limit is None else min(limit, head.size))
        mine = self._fetches[peer] = _Fetch()
        whole = False
        try:
            with mine.scope:
                whole = await self._ask_all(stream, trio.current_time() + FETCH_S)
        finally:
            del self._fetches[peer]
            self.schedule.withdraw(peer)
            self._cut = not whole
            self._change()
            self._landed.set()
        if mine.failure is not None:
            raise mine.failure
        return whole

    async def _ask_all(self, stream: Stream, until: float) -> bool:
        peer, out = stream.peer_id, deque[Ask]()
        while True:
            now = trio.current_time()
            while now < until and (ask := self.schedule.take(peer, now)) is not None:
                want = Want(author=ask.feed[0], epoch=ask.feed[1], start=ask.start, end=ask.end)
                out.append(ask)
                with trio.fail_after(ANSWER_TIMEOUT_S):
                    await stream.send(protocol.encode(want))
            if out:
                with trio.fail_after(ANSWER_TIMEOUT_S):
                    raw = await stream.receive()
                found = protocol.decode(raw)
                if not isinstance(found, Range):
                    raise VerificationFailed("It answered with another frame than was asked for.")
                self.schedule.land(out.popleft(), found, len(raw), trio.current_time())
                self._landed.set()
            elif not self.schedule.is_waiting(peer) or now >= until:
                return not self.schedule.is_waiting(peer)
            else:
                with trio.move_on_after(self.schedule.patience_s / 2):
                    await self._changed.wait()

    # --- storing ------------------------------------------------------------------------------------------------------

    async def _take(self, one: Landed) -> None:
        store, ask = self._shelf.store, one.ask
        held = store.size(*ask.feed)
        if ask.start <= held < one.end:
            items = one.found.items[held - ask.start :]
            try:
                new = verify_range(
                    store.frontier(*ask.feed), *ask.feed, items, one.found.checkpoint, one.found.proof, self._verifier
                )
                if await self._shelf.keep(new):
                    self.pulled[ask.peer] += len(new.entries)
                    self._rate.count(len(new.entries), trio.current_time())
            except Diverges:
                if store.fork_limit(*ask.feed) is None:
                    self._fail(ask, Parted(ask.feed, held))
                self.schedule.refuse(ask.peer, ask.feed)
            except VerificationFailed as exc:
                self._fail(ask, exc)
            except ChorusError as exc:
                self._fail(ask, exc)
                self.schedule.refuse(ask.peer, ask.feed)
            except Exception as exc:
                log.exception("feeds: a range of %s failed", ask.peer)
                self._fail(ask, exc)
                self.schedule.refuse(ask.peer, ask.feed)
        self.schedule.drop(one)
        self.schedule.grew(ask.feed, store.size(*ask.feed), protocol.end_of(self._shelf, *ask.feed))

    def _fail(self, ask: Ask, failure: Exception) -> None:
        fetch = self._fetches.get(ask.peer)
        if fetch is not None:
            fetch.failure = fetch.failure or failure
            fetch.scope.cancel()
        elif type(failure) is VerificationFailed:
            self._lied(ask.peer, failure)

    def grew(self, feed: FeedKey) -> None:
        """A feed grew by another road, or is known to be forked: what lies before its end isn't asked for any more."""
        store = self._shelf.store
        self.schedule.grew(feed, store.size(*feed), protocol.end_of(self._shelf, *feed))
        self._change()
        self._landed.set()

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    # --- how it goes --------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> Progress:
        """How far this node is behind."""
        behind = self.schedule.behind
        return Progress(
            behind=sum(behind.values()),
            feeds=len(behind),
            entries_per_s=round(self._rate.per_s(trio.current_time()), 1),
            waiting_bytes=self.schedule.octets,
            sources=tuple(self.schedule.sources),
        )

    def _tell(self) -> None:
        """Say in the log how a long fetch begins, goes on and ends."""
        now, behind = trio.current_time(), sum(self.schedule.behind.values())
        stored = sum(self.pulled.values())
        if not behind and not self._cut:
            if self._began:
                took = max(now - self._began, 0.001)
                per_peer = ", ".join(f"{count} from {peer}" for peer, count in self.pulled.most_common(8))
                log.info("feeds: caught up: %d entries in %.1f s (%.0f/s): %s", stored, took, stored / took, per_peer)
                self._began = 0.0
            if not self._fetches:
                self.pulled.clear()
        elif not self._began and behind >= TOLD_FROM:
            self._began = self._told_at = now
            log.info("feeds: %d entries behind; fetching them from %d peers", behind, len(self._fetches))
        elif self._began and now - self._told_at >= _TELL_S:
            self._told_at = now
            rate = self._rate.per_s(now)
            log.info("feeds: %d entries behind, %.0f/s from %d peers", behind, rate, len(self.schedule.sources))


class _Rate:
    """Entries a second over the last few seconds."""

    _SPAN_S = 5

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int]] = deque()

    def count(self, entries: int, now: float) -> None:
        """So many came now."""
        self._counts.append((now, entries))
        self._forget(now)

    def per_s(self, now: float) -> float:
        """As it was lately."""
        self._forget(now)
        if not self._counts:
            return 0.0
        return sum(count for _, count in self._counts) / max(now - self._counts[0][0], 1.0)

    def _forget(self, now: float) -> None:
        while self._counts and self._counts[0][0] < now - self._SPAN_S:
            self._counts.popleft()
