"""Meta-discussion: talk outside rooms, help, dependencies between tasks, and calling a human."""

from __future__ import annotations

from typing import Literal

from agent_core.wire import topics
from agent_core.wire.payload import (
    Citations,
    Count,
    Family,
    Id,
    Ids,
    Line,
    MessageType,
    Name,
    Names,
    Payload,
    Share,
    Text,
)


class MetaDiscussion(Payload, frozen=True):
    """A word to everybody that belongs to no room."""

    text: Text
    intent: Literal["proposal", "question", "answer", "update", "escalation"] = "update"
    parent_id: Name = ""
    citations: Citations = ()


class TaskHelpRequest(Payload, frozen=True):
    """An agent is stuck and asks for help."""

    request_id: Id
    task_id: Id
    problem: Text
    project: Name = ""
    tried: Text = ""
    needed_expertise: Names = ()


class TaskHelpResponse(Payload, frozen=True):
    """An offer of help, or an answer."""

    request_id: Id
    task_id: Id
    can_help: bool
    answer: Text = ""
    available_in_s: Count = 0


class CoordinationRequest(Payload, frozen=True):
    """Asks the owners of several tasks to plan together."""

    session_id: Id
    tasks: Ids
    agents: Names
    objective: Text
    reason: Line = ""
    constraints: tuple[Line, ...] = ()


class CoordinationComplete(Payload, frozen=True):
    """How a coordination session ended."""

    session_id: Id
    outcome: Literal["resolved", "escalated", "expired"]
    resolution: Text = ""
    participants: Names = ()


class DependencyAlert(Payload, frozen=True):
    """Two tasks depend on each other: by which rule, how surely, and on what evidence."""

    task: Id
    other_task: Id
    relationship: Literal["blocks", "duplicates", "relates-to", "requires"]
    rule: Name
    confidence: Share
    evidence: tuple[Line, ...] = ()
    repositories: tuple[Line, ...] = ()


class EscalationTrigger(Payload, frozen=True):
    """A human is needed."""

    subject: Id
    reason: Line
    requires_human: bool = True
    session_id: Name = ""
    summary: Text = ""


FAMILY = Family(
    "meta",
    topics.META_DISCUSSION,
    (
        MessageType(
            "meta_discussion",
            MetaDiscussion(text="Shall we freeze the grammar before the parser?", intent="question"),
            "{intent}: {text}",
        ),
        MessageType(
            "task_help_request",
            TaskHelpRequest(
                request_id="help-3",
                task_id="parser-17",
                problem="The fragment eats the query.",
                needed_expertise=("parsing",),
            ),
            "needs help with {task_id}: {problem}",
        ),
        MessageType(
            "task_help_response",
            TaskHelpResponse(request_id="help-3", task_id="parser-17", can_help=True, answer="Split at '#' first."),
            "answers on {task_id}: {answer}",
        ),
        MessageType(
            "coordination_request",
            CoordinationRequest(
                session_id="dep_ucxl_parser-17",
                tasks=("parser-17", "browser-4"),
                agents=("agent-b", "agent-c"),
                objective="Agree on the address type.",
            ),
            "asks {agents} to coordinate {tasks}: {objective}",
        ),
        MessageType(
            "coordination_complete",
            CoordinationComplete(session_id="dep_ucxl_parser-17", outcome="resolved", resolution="The parser owns it."),
            "session {session_id} {outcome}. {resolution}",
        ),
        MessageType(
            "dependency_alert",
            DependencyAlert(
                task="browser-4",
                other_task="parser-17",
                relationship="requires",
                rule="API_Contract",
                confidence=0.74,
                evidence=("both name UcxlAddress",),
            ),
            "{task} {relationship} {other_task} ({rule}, {confidence:.2f})",
        ),
        MessageType(
            "escalation_trigger",
            EscalationTrigger(subject="parser-17", reason="10 messages without resolution"),
            "calls a human to {subject}: {reason}",
        ),
    ),
)
