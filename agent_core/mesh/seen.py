"""Which gossip frames were seen: bounded in number and time, without a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

#: How long a frame is known again, seconds, and how many are at most.
KEEP_S, MOST = 120.0, 100_000


class Seen:
    """Remembers ids for a while. Has the two methods that libp2p's router asks.

    Args:
        keep_s: how long, seconds.
        most: how many; the oldest go first.
        now: seconds on a growing clock.
    """

    def __init__(self, keep_s: float = KEEP_S, most: int = MOST, now: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._most = most
        self._now = now
        self._until: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def has(self, id: bytes) -> bool:
        """Whether it was added and isn't forgotten."""
        return self._until.get(id, 0.0) > self._now()

    def add(self, id: bytes) -> bool:
        """Remember an id; whether it is new."""
        now = self._now()
        is_new = self._until.pop(id, 0.0) <= now
        self._until[id] = now + self._keep_s
        # Oldest first, as all are kept equally long.
        while self._until and (len(self._until) > self._most or next(iter(self._until.values())) <= now):
            del self._until[next(iter(self._until))]
        return is_new
