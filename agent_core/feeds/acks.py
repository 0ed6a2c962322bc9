"""Who holds what, as peers have said: an entry that another member holds is delivered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import trio

from agent_core.feeds.model import EntryKey, Head
from agent_core.feeds.store import FeedKey, Store

MAX_KNOWN_PEERS = 1024


class Acks:
    """The latest sizes each peer named, of feeds that are held here. Lost at a restart; peers say it again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[str, dict[FeedKey, int]] = OrderedDict()
        self._changed = trio.Event()

    def heard(self, peer_id: str, heads: Sequence[Head]) -> None:
        """A peer said what it holds."""
        known = self._known.setdefault(peer_id, {})
        self._known.move_to_end(peer_id)
        while len(self._known) > MAX_KNOWN_PEERS:
            self._known.popitem(last=False)
        for head in heads:
            if self._store.size(head.author, head.epoch):  # feeds it makes up take no memory here
                known[head.author, head.epoch] = head.size
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def size(self, peer_id: str, feed: FeedKey) -> int:
        """How much of a feed a peer said it holds."""
        return self._known.get(peer_id, {}).get(feed, 0)

    def holders(self, key: EntryKey, counts: Callable[[str], bool]) -> int:
        """How many peers that count hold an entry."""
        feed = (key.author, key.epoch)
        return sum(sizes.get(feed, 0) > key.seq and counts(peer_id) for peer_id, sizes in self._known.items())

    async def wait(self) -> None:
        """Wait until a peer says something."""
        await self._changed.wait()
