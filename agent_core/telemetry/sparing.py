"""Saying once what goes on failing: at first, then after ever longer times, with how often it was not said."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from agent_core.grammar import plural
from agent_core.telemetry.repeats import FIRST_S, MAX_KNOWN, MAX_S, Repeats

__all__ = ["FIRST_S", "MAX_KNOWN", "MAX_S", "SAID_SPARINGLY", "Sparing"]

#: Marks a record that was counted here already; the log's own sieve lets it through.
SAID_SPARINGLY = {"said_sparingly": True}


class Sparing:
    """Logs errors that may come again and again, such as a full disk's at every entry that a peer sends.

    Args:
        log: where they are said.
        clock: seconds, monotonic.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._repeats = Repeats()

    def error(self, sentence: str) -> None:
        """Say a sentence, unless it was said not long ago. What differs each time, such as a peer, doesn't belong into it."""
        kept = self._repeats.judge(sentence, self._clock())
        if kept is not None:
            again = f" ({plural(kept, 'time')} more since it was last said)" if kept else ""
            self._log.error("%s%s", sentence, again, extra=SAID_SPARINGLY)
