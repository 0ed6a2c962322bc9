"""What a node does about its own log being ahead of its clock: it says so at once, and hands over if it leads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import trio

from agent_core.clock import Ahead
from agent_core.errors import ChorusError

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("chorus.node")

#: How often to look, seconds.
LOOK_S = 1.0


class _Renewal(Protocol):
    @property
    def ahead(self) -> Ahead | None: ...


class _Log(Protocol):
    @property
    def renewal(self) -> _Renewal: ...


class _Election(Protocol):
    def successor(self) -> str: ...

    async def resign(self) -> None: ...


class Timekeeping:
    """Looks at the clock now and then: a wall may be put right at any time.

    Args:
        feeds: know whether the own log is ahead.
        election: a leader whose acts are stamped ahead hands over, once: where everybody is ahead, somebody has to lead.
        changed: called when it begins or ends to be ahead.
    """

    def __init__(self, feeds: _Log, election: _Election, changed: Callable[[], None]) -> None:
        self._feeds, self._election, self._changed = feeds, election, changed

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look for ever."""
        task_status.started()
        before: str = ""
        handed_over = False
        while True:
            ahead = self._feeds.renewal.ahead
            said = ahead.sentence if ahead is not None else ""
            if said != before:
                log.warning("%s", said or "This home's log isn't ahead of its clock any more.")
                before = said
                self._changed()
            handed_over &= ahead is not None
            if ahead is not None and not handed_over and self._election.successor():
                handed_over = True
                try:
                    await self._election.resign()
                except ChorusError as exc:
                    log.warning("handing over: %s", exc)
            await trio.sleep(LOOK_S)
