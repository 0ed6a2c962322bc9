"""Context feedback: asking for context, giving it, and saying whether it helped."""

from __future__ import annotations

from typing import Literal

from agent_core.wire import topics
from agent_core.wire.payload import (
    Address,
    Addresses,
    Count,
    Family,
    Hash,
    Id,
    Line,
    MessageType,
    Name,
    Payload,
    Share,
    Text,
)


class FeedbackEvent(Payload, frozen=True):
    """A judgement of context that was used."""

    address: Address
    verdict: Literal["upvote", "downvote", "forgetful", "task_success", "task_failure"]
    version: Hash = ""
    task_id: Name = ""
    comment: Line = ""


class ContextRequest(Payload, frozen=True):
    """An agent asks for context about an address or a question."""

    request_id: Id
    query: Text
    address: Address = ""
    role: Name = ""
    max_bytes: Count = 0


class ContextResponse(Payload, frozen=True):
    """Context for a request: where it lies, and in short."""

    request_id: Id
    addresses: Addresses
    summary: Text = ""
    confidence: Share = 0.0


class ContextUsage(Payload, frozen=True):
    """Which version of a context an agent used, for what."""

    address: Address
    version: Hash = ""
    task_id: Name = ""
    duration_s: Count = 0


class ContextRelevance(Payload, frozen=True):
    """How relevant a context was to a task."""

    address: Address
    relevance: Share
    version: Hash = ""
    task_id: Name = ""
    reason: Line = ""


FAMILY = Family(
    "context",
    topics.CONTEXT_FEEDBACK,
    (
        MessageType(
            "feedback_event",
            FeedbackEvent(address="ucxl://any:architect@ucxl:grammar/notes.md", verdict="upvote", task_id="parser-17"),
            "{verdict} for {address} {comment}",
        ),
        MessageType(
            "context_request",
            ContextRequest(request_id="c-1", query="Why are wildcards refused in writes?", role="agent"),
            "asks for context: {query}",
        ),
        MessageType(
            "context_response",
            ContextResponse(
                request_id="c-1",
                addresses=("ucxl://any:architect@ucxl:grammar/notes.md",),
                summary="A write names one address.",
                confidence=0.8,
            ),
            "gives context: {summary}",
        ),
        MessageType(
            "context_usage",
            ContextUsage(address="ucxl://any:architect@ucxl:grammar/notes.md", version="ab" * 32, task_id="parser-17"),
            "used {address} for {task_id}",
        ),
        MessageType(
            "context_relevance",
            ContextRelevance(address="ucxl://any:architect@ucxl:grammar/notes.md", relevance=0.9, task_id="parser-17"),
            "finds {address} {relevance:.0%} relevant to {task_id}",
        ),
    ),
)
