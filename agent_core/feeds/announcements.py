"""The fast path: head announcements from gossip, stored directly where they follow what is held, else a reason to ask."""

from __future__ import annotations

import logging
from collections import deque

import trio

from agent_core.errors import ChorusError, VerificationFailed
from agent_core.feeds import checkpoint as checkpoints
from agent_core.feeds.heads import FeedHead
from agent_core.feeds.ranges import Diverges, verify_range
from agent_core.feeds.replication import Keeper, Replicator
from agent_core.identity.signing import Verifier
from agent_core.telemetry.sparing import Sparing

log = logging.getLogger(__name__)

_WAITING = 256


class Announcements:
    """Announcements waiting to be looked at, in the order they came; too many are dropped, and replication repairs it.

    Args:
        keeper: stores what is believed.
        verifier: checks checkpoints.
        links: asks and tells peers; nothing for a node without a network.
        me: this node's peer id.
    """

    def __init__(self, keeper: Keeper, verifier: Verifier, links: Replicator | None, me: str) -> None:
        self._keeper, self._verifier, self._links, self._me = keeper, verifier, links, me
        self._waiting: deque[tuple[str, FeedHead]] = deque()
        self._came = trio.Event()
        self.stored = self.lies = 0
        self._sparing = Sparing(log)

    def receive(self, peer_id: str, head: FeedHead) -> None:
        """Queue an announcement that a peer relayed; never waits, never raises."""
        if not self._keeper.wants(head.author):
            return
        if len(self._waiting) < _WAITING:
            self._waiting.append((peer_id, head))
            self._came.set()
        elif self._links:
            self._links.compare(peer_id)

    async def run(self) -> None:
        """Look at what comes, until cancelled."""
        while True:
            await self._came.wait()
            self._came = trio.Event()
            while self._waiting:
                await self._take_safely(*self._waiting.popleft())

    async def _take_safely(self, peer_id: str, head: FeedHead) -> None:
        try:
            await self._take(peer_id, head)
        except VerificationFailed as exc:
            self.lies += 1
            log.warning("feeds: an announcement relayed by %s doesn't hold: %s", peer_id, exc.message)
        except ChorusError as exc:
            self._sparing.error(f"feeds: an announcement can't be stored: {exc.message}")
        except Exception:
            log.exception("feeds: an announcement relayed by %s failed", peer_id)

    async def _take(self, peer_id: str, head: FeedHead) -> None:
        store, feed = self._keeper.store, (head.author, head.epoch)
        size = store.size(*feed)
        if head.size < size or (head.author == self._me and head.size <= size):
            return
        if head.entries and head.start <= size < head.size == head.start + len(head.entries):
            items = head.entries[size - head.start :]
            try:
                new = verify_range(store.frontier(*feed), *feed, items, head.checkpoint, (), self._verifier)
            except Diverges:
                pass  # a fork, perhaps: the link finds out
            else:
                if await self._keeper.keep(new):
                    self.stored += len(new.entries)
                    if self._links:
                        self._links.tell(head.author, feed)  # so that the author knows it is held here
                return
        signed = checkpoints.verify(head.checkpoint, *feed, self._verifier)
        if self._links and (signed.size > size or signed.root.hex() != store.head(*feed).root):
            for source in {peer_id, head.author}:
                self._links.tell(source, feed)
