"""Decisions, shown: proposals, votes and closes told by gossip; what counts are the entries."""

from __future__ import annotations

from typing import Literal

from agent_core.wire import topics
from agent_core.wire.payload import Address, Count, Family, Id, Line, MessageType, Name, Payload, Text, Time


class DecisionProposed(Payload, frozen=True):
    """A proposal is open for votes."""

    decision: Id
    title: Line
    kind: Literal["architecture", "security", "operational", "policy", "code", "emergency"] = "operational"
    address: Address = ""
    options: tuple[Name, ...] = ("approve", "reject", "abstain")
    rule: Literal["majority", "supermajority", "unanimous"] = "majority"
    deadline: Time = ""


class DecisionVoted(Payload, frozen=True):
    """Somebody voted, or changed their vote."""

    decision: Id
    choice: Name
    reason: Text = ""


class DecisionClosed(Payload, frozen=True):
    """A committed act closed a decision."""

    decision: Id
    state: Literal["approved", "rejected", "no_quorum", "withdrawn"]
    outcome: Name = ""
    act: Count = 0


FAMILY = Family(
    "decision",
    topics.META_DISCUSSION,
    (
        MessageType(
            "decision.proposed",
            DecisionProposed(decision="k3f7qa2m", title="Freeze the grammar", deadline="2026-01-01T12:00:00.000Z"),
            "proposes {decision}: {title}",
        ),
        MessageType(
            "decision.voted",
            DecisionVoted(decision="k3f7qa2m", choice="approve", reason="Two parsers depend on it."),
            "votes {choice} on {decision}",
        ),
        MessageType(
            "decision.closed",
            DecisionClosed(decision="k3f7qa2m", state="approved", outcome="approve", act=12),
            "{decision} is {state}",
        ),
    ),
)
