"""Working together on one thing: patches, and coordination and editing sessions."""

from __future__ import annotations

from typing import Literal

from agent_core.wire import topics
from agent_core.wire.payload import Address, Family, Hash, Id, Ids, Line, MessageType, Name, Names, Payload, Text


class PatchCreated(Payload, frozen=True):
    """A patch exists; its diff lies at its address."""

    patch: Id
    title: Line
    kind: Literal["context", "code", "config", "docs"]
    address: Address
    base: Hash = ""


class PatchReviewed(Payload, frozen=True):
    """Somebody looked at a patch."""

    patch: Id
    verdict: Literal["approve", "reject", "comment"]
    comment: Text = ""


class PatchStatus(Payload, frozen=True):
    """A patch moved on."""

    patch: Id
    status: Literal["draft", "review", "approved", "rejected", "applied"]
    note: Line = ""


class SessionOpened(Payload, frozen=True):
    """A session begins."""

    session_id: Id
    kind: Literal["dependency", "conflict", "planning", "editing"]
    owner: Name
    participants: Names = ()
    tasks: Ids = ()
    address: Address = ""


class SessionPresence(Payload, frozen=True):
    """Somebody joins or leaves a session."""

    session_id: Id
    change: Literal["joined", "left"]


class SessionMessage(Payload, frozen=True):
    """A word in a session."""

    session_id: Id
    kind: Literal["proposal", "question", "agreement", "concern", "response"]
    content: Text


class SessionClosed(Payload, frozen=True):
    """A session ends: resolved, or handed to a human."""

    session_id: Id
    status: Literal["resolved", "escalated"]
    resolution: Text = ""


PATCH = Family(
    "patch",
    topics.COORDINATION,
    (
        MessageType(
            "patch.created",
            PatchCreated(
                patch="p-9",
                title="Refuse wildcards in writes",
                kind="code",
                address="ucxl://agent-b:agent@ucxl:parser-17/patches/p-9.diff",
            ),
            "patch {patch}: {title}",
        ),
        MessageType(
            "patch.reviewed",
            PatchReviewed(patch="p-9", verdict="approve", comment="Clear."),
            "reviews {patch}, {verdict}",
        ),
        MessageType("patch.status", PatchStatus(patch="p-9", status="applied"), "patch {patch} is {status}"),
    ),
)

SESSION = Family(
    "session",
    topics.META_DISCUSSION,
    (
        MessageType(
            "session.opened",
            SessionOpened(session_id="s-1", kind="planning", owner="agent-b", participants=("agent-b", "agent-c")),
            "{owner} opens session {session_id} ({kind})",
        ),
        MessageType("session.presence", SessionPresence(session_id="s-1", change="joined"), "{change} {session_id}"),
        MessageType(
            "session.message",
            SessionMessage(session_id="s-1", kind="proposal", content="The parser owns the type."),
            "{session_id} {kind}: {content}",
        ),
        MessageType(
            "session.closed",
            SessionClosed(session_id="s-1", status="resolved", resolution="The parser owns the type."),
            "session {session_id} {status}",
        ),
    ),
)
