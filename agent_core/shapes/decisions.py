"""Decisions and votes."""

from __future__ import annotations

from agent_core.shapes.base import Shape, Share, Wait


class Vote(Shape, frozen=True, kw_only=True):
    """One voice. ``counted`` is false for a vote outside the cut or after the deadline."""

    voter: str  #: agent id
    peer_id: str
    choice: str  #: empty when not cast
    reason: str
    at: str
    counted: bool
    you: bool
    previous: str = ""
    held: str = ""  #: when it counts, if its stamp is ahead of the clock


class Decision(Shape, frozen=True, kw_only=True):
    """A proposal with its tally; ``provisional`` until the close is committed."""

    id: str
    title: str
    description: str
    kind: str
    address: str
    proposer: str
    proposer_peer: str
    options: tuple[str, ...]
    rule: str
    quorum: float
    deadline: str
    at: str
    state: str  #: open, closing, approved, rejected, no_quorum, withdrawn
    outcome: str  #: the option that won, empty while open
    provisional: bool
    tally: dict[str, int]
    eligible: int
    votes: tuple[Vote, ...]  #: one per eligible member, and those not counted
    may_vote: str  #: empty if you may; else the reason why not
    your_vote: str
    time_left_s: float
    closed_by_act: int | None = None
    waiting_for: tuple[str, ...] = ()


class ProposeRequest(Shape, frozen=True, kw_only=True):
    """A new proposal. ``deadline`` is RFC 3339 or a duration like ``10m``."""

    title: str
    description: str = ""
    kind: str = "operational"
    project: str = "chorus"
    task: str = "decisions"
    options: tuple[str, ...] = ()
    rule: str = "majority"
    quorum: Share = 0.5
    deadline: str = "1h"
    authority: str = "coordination"
    op_id: str = ""
    wait_s: Wait = 0.0


class VoteRequest(Shape, frozen=True, kw_only=True):
    """A vote on a decision, named by any unique prefix of its id."""

    id: str
    choice: str
    reason: str = ""
    op_id: str = ""
    wait_s: Wait = 0.0
