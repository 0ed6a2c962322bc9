"""Saying once what goes on failing: at first, then after ever longer times, with how often it was not said."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from agent_core.grammar import plural

#: How long a failure is not said again after the first time, and at most, seconds; the time doubles each time it is said.
FIRST_S = 60.0
MAX_S = 3600.0
#: Different failures that are remembered; the one not heard of longest is forgotten first.
MAX_KNOWN = 256


class Sparing:
    """Logs errors that may come again and again, such as a full disk's at every entry that a peer sends.

    Args:
        log: where they are said.
        clock: seconds, monotonic.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        #: By what is said: when it may be said again, the time to wait then, and how often it wasn't said since.
        self._said: OrderedDict[str, tuple[float, float, int]] = OrderedDict()

    def error(self, sentence: str) -> None:
        """Say a sentence, unless it was said not long ago. What differs each time, such as a peer, doesn't belong into it."""
        now = self._clock()
        due, wait_s, kept = self._said.pop(sentence, (now, FIRST_S, 0))
        if now - due > 2 * MAX_S:
            wait_s = FIRST_S  # it was well for long
        if now < due:
            self._said[sentence] = (due, wait_s, kept + 1)
            return
        self._said[sentence] = (now + wait_s, min(2 * wait_s, MAX_S), 0)
        while len(self._said) > MAX_KNOWN:
            self._said.popitem(last=False)
        self._log.error("%s%s", sentence, f" ({plural(kept, 'time')} more since it was last said)" if kept else "")
