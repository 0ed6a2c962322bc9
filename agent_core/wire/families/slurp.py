"""SLURP: what the curator makes of the talk, and that it was taken."""

from __future__ import annotations

from typing import Literal

from agent_core.wire import topics
from agent_core.wire.payload import (
    Address,
    Addresses,
    Citations,
    Count,
    Family,
    Hash,
    Id,
    Line,
    MessageType,
    Name,
    Payload,
    Text,
)


class SlurpEventGenerated(Payload, frozen=True):
    """A discussion led to something worth keeping. Sent again with the same key it has no second effect."""

    event_id: Id
    idempotency_key: Id
    event_type: Literal[
        "approval", "announcement", "warning", "blocker", "priority_change", "access_update", "structural_change"
    ]
    discussion_id: Name = ""
    address: Address = ""
    content: Text = ""
    citations: Citations = ()


class SlurpEventAck(Payload, frozen=True):
    """The curator took an event, or says why not."""

    event_id: Id
    idempotency_key: Id
    accepted: bool
    reason: Line = ""
    address: Address = ""


class SlurpContextUpdate(Payload, frozen=True):
    """A curated context changed."""

    address: Address
    version: Hash
    sources: Addresses = ()
    decision_hops: Count = 0
    summary: Text = ""


FAMILY = Family(
    "slurp",
    topics.CONTEXT_FEEDBACK,
    (
        MessageType(
            "slurp_event_generated",
            SlurpEventGenerated(
                event_id="e-1",
                idempotency_key="9f2c41",
                event_type="approval",
                discussion_id="issue-42",
                address="ucxl://agent-b:agent@ucxl:parser-17/decision.md",
            ),
            "{event_type} from {discussion_id} {address}",
        ),
        MessageType(
            "slurp_event_ack",
            SlurpEventAck(event_id="e-1", idempotency_key="9f2c41", accepted=True),
            "event {event_id}, accepted {accepted} {reason}",
        ),
        MessageType(
            "slurp_context_update",
            SlurpContextUpdate(
                address="ucxl://any:architect@ucxl:grammar/context.md",
                version="cd" * 32,
                decision_hops=2,
                summary="Wildcards live in queries only.",
            ),
            "context of {address} changed. {summary}",
        ),
    ),
)
