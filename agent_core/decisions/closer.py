"""The leader's duty: close what is due by a committed act that names a cut, and put the record at the decision's address."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import structlog
import trio

from agent_core.decisions import views
from agent_core.decisions.fold import DecisionsFold
from agent_core.decisions.machine import agenda
from agent_core.decisions.model import MAX_CUT, ClosePayload
from agent_core.decisions.tally import Tally, cut, electorate
from agent_core.election.acts import ActKind, Proposer
from agent_core.errors import ChorusError, ClockAhead
from agent_core.feeds.model import Head
from agent_core.requests import derived_operation_id
from agent_core.views import ViewContext

#: Puts a text at an address under an operation id; repeating it changes nothing.
Record: TypeAlias = Callable[[str, str, str], Awaitable[None]]

if TYPE_CHECKING:
    from trio_typing import TaskStatus

#: How long to wait after a close that couldn't be committed, and between two looks while nothing happens, seconds.
RETRY_S, QUIET_S = 1.0, 5.0
#: How long what is folded is collected before looking again, seconds.
COALESCE_S = 0.05

_log = structlog.get_logger("decisions")


@dataclass(frozen=True, slots=True)
class CloserStatistics:
    """What the closer has done since the start."""

    closed: int
    failed: int
    recorded: int


class Closer:
    """Runs on every node and acts only while it leads.

    Args:
        fold: gives the fold in force.
        context: gives the surroundings as they are now.
        proposer: gets the closing acts committed.
        heads: how much of each feed is *folded* here, with the root over just that: the cut names nothing that isn't
            counted yet, or what is held for its time would turn a result afterwards.
        record: puts the record of a closed decision.
    """

    def __init__(
        self,
        fold: Callable[[], DecisionsFold],
        context: Callable[[], ViewContext],
        proposer: Proposer,
        heads: Callable[[], Sequence[Head]],
        record: Record,
    ) -> None:
        self._fold = fold
        self._context = context
        self._proposer = proposer
        self._heads = heads
        self._record = record
        self._changed = trio.Event()
        self._committed: set[str] = set()
        self._recorded: set[str] = set()
        self._closed = self._failed = 0

    def wake(self) -> None:
        """Something was folded, or another leads: look again."""
        self._changed.set()

    def statistics(self) -> CloserStatistics:
        return CloserStatistics(self._closed, self._failed, len(self._recorded))

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Close and record for ever."""
        task_status.started()
        while True:
            self._changed = trio.Event()
            wait_s = min(await self._look(), QUIET_S) if self._proposer.leading else QUIET_S
            with trio.move_on_after(wait_s):
                await self._changed.wait()
            await trio.sleep(COALESCE_S)

    async def _look(self) -> float:
        """Do what is due; returns the seconds until something else is."""
        ctx = self._context()
        if ctx.folding:
            return RETRY_S  # votes that are stored might not be counted
        tallies = views.tallies(self._fold(), ctx)
        todo = agenda((t for t in tallies if t.proposal.hash not in self._committed), ctx.now_ms)
        try:
            for t in todo.due:
                await self._close(t, ctx)
            with suppress(
                ClockAhead
            ):  # the record waits until the log isn't ahead of the clock; closes are acts and don't
                for t in tallies:
                    await self._write(t, ctx)
        except ChorusError as exc:
            # No longer leading, no majority, or a full disk: all of them pass, and the next round tries again.
            self._failed += 1
            _log.warning("a decision could not be closed or recorded", code=exc.code, reason=exc.message)
            await trio.sleep(RETRY_S)
            return 0.0
        return math.inf if todo.next_ms is None else max(0, todo.next_ms - ctx.now_ms) / 1000

    async def _close(self, t: Tally, ctx: ViewContext) -> None:
        roster = electorate(t.proposal, ctx.chain)
        assert roster is not None
        named = cut(t.proposal, roster, tuple(t.counted), self._heads(), MAX_CUT)
        act = await self._proposer.propose(ActKind.DECISION_CLOSE, ClosePayload(decision=t.proposal.hash, cut=named))
        self._committed.add(t.proposal.hash)
        self._closed += 1
        self.wake()
        _log.info("closed a decision", decision=t.proposal.id, act=act.number)

    async def _write(self, t: Tally, ctx: ViewContext) -> None:
        close = t.close
        if close is None or t.proposal.hash in self._recorded:
            return
        if ctx.held is not None and close.missing(ctx.held):
            return
        roster = electorate(t.proposal, ctx.chain)
        assert roster is not None
        op = derived_operation_id(int(close.act.hlc[:12], 16), "decision.record", close.act.hash)
        await self._record(views.address(t.proposal, roster), views.record(t, ctx), op)
        self._recorded.add(t.proposal.hash)
