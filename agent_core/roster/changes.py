"""Waiting until something is so: one bell that everything rings, and any number of waiters that look again."""

from __future__ import annotations

from collections.abc import Callable

import trio

#: Waiters look again this often without a bell too, so that a forgotten one costs time and not liveness; seconds.
_LOOK_AGAIN_S = 0.5
#: The same for those who wait for nothing in particular.
QUIET_S = 5.0


class Changes:
    """Counts changes and wakes those who wait for one."""

    def __init__(self) -> None:
        self.count = 0
        self._next = trio.Event()

    def ring(self) -> None:
        """Something changed. Cheap, and safe to call from callbacks."""
        self.count += 1
        self._next.set()
        self._next = trio.Event()

    async def next(self, seen: int, timeout_s: float) -> None:
        """Wait for a change beyond those counted as ``seen``, or until the time is over."""
        if self.count == seen:
            with trio.move_on_after(timeout_s):
                await self._next.wait()

    async def until(self, so: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition holds or the time is over; says whether it holds."""
        with trio.move_on_after(timeout_s):
            while not so():
                with trio.move_on_after(_LOOK_AGAIN_S):
                    await self._next.wait()
        return so()
