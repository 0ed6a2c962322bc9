"""Which decisions the leader must close now, and when to look again. Pure: decisions and time in, closes and a timer out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent_core.decisions.model import GRACE_MS, DecisionKind, State
from agent_core.decisions.tally import Tally, settled


@dataclass(frozen=True, slots=True)
class Agenda:
    """What the leader has to do. ``next_ms`` is the Unix time in milliseconds at which the next decision falls due, if any does."""

    due: tuple[Tally, ...]
    next_ms: int | None


def due_at(tally: Tally) -> int:
    """When a decision that nothing more happens to is to be closed, Unix milliseconds.

    A withdrawn one at once. One whose remaining votes couldn't turn it 5 s after the proposal, or for an ``emergency``
    when all have voted. Every other 5 s after the deadline, so that votes stamped in time can still arrive.
    """
    proposal = tally.proposal
    if tally.state is State.WITHDRAWN:
        return proposal.at_ms
    at_deadline = proposal.data.deadline_ms + GRACE_MS
    early = not tally.waiting_for if proposal.data.kind == DecisionKind.EMERGENCY else settled(tally)
    return min(at_deadline, proposal.at_ms + GRACE_MS) if early else at_deadline


def agenda(tallies: Iterable[Tally], now_ms: int) -> Agenda:
    """What is due now, and when the next of the rest is.

    Args:
        tallies: the decisions; those already closed are passed over.
        now_ms: Unix milliseconds.
    """
    waiting = [(due_at(t), t) for t in tallies if not t.final]
    due = tuple(t for at, t in waiting if at <= now_ms)
    return Agenda(due, min((at for at, _ in waiting if at > now_ms), default=None))
