"""Which block to ask of whom: the plan of fetching one body from several peers, some of them slow, empty or lying. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

#: A block that is under way may be asked of a second peer once nothing else is left to ask: a slow one holds up nobody.
MAX_ASKED = 2


class Plan:
    """The blocks of a body that are still to come.

    Args:
        blocks: their addresses, in the order wanted.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._waiting = deque(blocks)
        self._asked: defaultdict[bytes, set[str]] = defaultdict(set)
        self._lacking: defaultdict[str, set[bytes]] = defaultdict(set)
        self._useless: set[str] = set()

    @property
    def left(self) -> int:
        """How many blocks are still to come."""
        return len(self._waiting) + len(self._asked)

    def useful(self, peer: str) -> bool:
        """Whether the peer may still have something that is wanted."""
        if peer in self._useless:
            return False
        lacking = self._lacking[peer]
        return any(block not in lacking for block in (*self._waiting, *self._asked))

    def next(self, peer: str) -> bytes | None:
        """The block to ask the peer for now; nothing if there is none for it."""
        if peer in self._useless:
            return None
        for _ in range(len(self._waiting)):
            block = self._waiting.popleft()
            if block not in self._lacking[peer]:
                self._asked[block].add(peer)
                return block
            self._waiting.append(block)
        for block, peers in self._asked.items():
            if peer not in peers and len(peers) < MAX_ASKED and block not in self._lacking[peer]:
                peers.add(peer)
                return block
        return None

    def got(self, block: bytes) -> bool:
        """The block is here; returns whether it was still wanted."""
        return self._asked.pop(block, None) is not None

    def lacks(self, peer: str, block: bytes) -> None:
        """The peer says it doesn't have the block."""
        self._lacking[peer].add(block)
        self._give_back(peer, block)

    def drop(self, peer: str) -> None:
        """The peer lied, broke off or is too slow: nothing more is asked of it."""
        self._useless.add(peer)
        for block in [block for block, peers in self._asked.items() if peer in peers]:
            self._give_back(peer, block)

    def _give_back(self, peer: str, block: bytes) -> None:
        peers = self._asked.get(block)
        if peers is not None:
            peers.discard(peer)
            if not peers:
                del self._asked[block]
                self._waiting.appendleft(block)
