"""How long a person waits: one measure for everything that a command does (``--timeout``)."""

from __future__ import annotations

import time
from collections.abc import Callable


class Patience:
    """Time that runs out.

    Args:
        total_s: how much there is, in seconds.
        each: whether every single wait has all of it, as between a console and its node, rather than all of them together.
        clock: monotonic seconds.
    """

    def __init__(self, total_s: float, *, each: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.total_s = total_s
        self._clock = clock
        self._end = None if each else clock() + total_s

    def left_s(self) -> float:
        """How long the next wait may be, in seconds; 0 when there is nothing left."""
        return self.total_s if self._end is None else max(0.0, self._end - self._clock())

    def renew(self) -> None:
        """From now on every single wait has all of it: the command has begun to watch."""
        self._end = None
