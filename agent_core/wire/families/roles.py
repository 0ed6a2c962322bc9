"""Roles: who acts as what, finding expertise, handing out and reporting work, mentoring."""

from __future__ import annotations

from typing import Literal

from agent_core.wire import topics
from agent_core.wire.payload import (
    Address,
    Addresses,
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
    Time,
    Urgency,
)


class RoleAnnouncement(Payload, frozen=True):
    """An agent takes up a role."""

    role: Name
    level: Literal["master", "decision", "coordination", "suggestion", "read_only"]
    expertise: Names = ()
    reports_to: Name = ""
    responsibilities: tuple[Line, ...] = ()


class ExpertiseRequest(Payload, frozen=True):
    """A question for whoever knows an area."""

    request_id: Id
    area: Name
    question: Text
    needed_by: Time = ""


class ExpertiseResponse(Payload, frozen=True):
    """An expert's answer."""

    request_id: Id
    area: Name
    answer: Text
    confidence: Share = 1.0
    references: Addresses = ()


class StatusUpdate(Payload, frozen=True):
    """What an agent in a role is doing, for those it reports to."""

    status: Line
    task_id: Name = ""
    progress: Share = 0.0
    blockers: tuple[Line, ...] = ()


class WorkAllocation(Payload, frozen=True):
    """Work handed to an agent."""

    task_id: Id
    assignee: Name
    project: Name = ""
    instructions: Text = ""
    priority: Urgency = "normal"
    deadline: Time = ""


class RoleCollaboration(Payload, frozen=True):
    """One role asks others to work on something together."""

    subject: Line
    roles: Names
    purpose: Text = ""
    project: Name = ""
    tasks: Ids = ()


class MentorshipRequest(Payload, frozen=True):
    """An agent wants to learn."""

    request_id: Id
    area: Name
    goal: Text
    level: Literal["beginner", "intermediate", "advanced"] = "beginner"


class MentorshipResponse(Payload, frozen=True):
    """An agent offers to teach, or declines."""

    request_id: Id
    area: Name
    accepted: bool
    guidance: Text = ""


class ProjectUpdate(Payload, frozen=True):
    """Where a project stands."""

    project: Id
    summary: Text
    phase: Name = ""
    progress: Share = 0.0
    open_tasks: Count = 0


class DeliverableReady(Payload, frozen=True):
    """Something is ready to be looked at."""

    name: Line
    address: Address
    project: Name = ""
    task_id: Name = ""
    version: Name = ""
    reviewers: Names = ()


FAMILY = Family(
    "roles",
    topics.COORDINATION,
    (
        MessageType(
            "role_announcement",
            RoleAnnouncement(role="reviewer", level="coordination", expertise=("parsing",), reports_to="operator"),
            "acts as {role} ({level})",
        ),
        MessageType(
            "expertise_request",
            ExpertiseRequest(request_id="x-1", area="parsing", question="Is the grammar LL(1)?"),
            "asks about {area}: {question}",
        ),
        MessageType(
            "expertise_response",
            ExpertiseResponse(request_id="x-1", area="parsing", answer="Yes, with one token.", confidence=0.9),
            "answers about {area}: {answer}",
        ),
        MessageType(
            "status_update",
            StatusUpdate(status="writing tests", task_id="parser-17", progress=0.7),
            "{status}",
        ),
        MessageType(
            "work_allocation",
            WorkAllocation(task_id="browser-4", assignee="agent-c", project="ucxl", priority="normal"),
            "gives {task_id} to {assignee}",
        ),
        MessageType(
            "role_collaboration",
            RoleCollaboration(subject="address type", roles=("architect", "reviewer"), project="ucxl"),
            "calls {roles} together on {subject}",
        ),
        MessageType(
            "mentorship_request",
            MentorshipRequest(request_id="m-1", area="elections", goal="Understand leases."),
            "wants to learn {area}: {goal}",
        ),
        MessageType(
            "mentorship_response",
            MentorshipResponse(request_id="m-1", area="elections", accepted=True, guidance="Read the safety notes."),
            "on teaching {area}, accepted {accepted}: {guidance}",
        ),
        MessageType(
            "project_update",
            ProjectUpdate(
                project="ucxl", summary="The parser is in review.", phase="build", progress=0.6, open_tasks=4
            ),
            "{project}: {summary}",
        ),
        MessageType(
            "deliverable_ready",
            DeliverableReady(
                name="parser report",
                address="ucxl://agent-b:agent@ucxl:parser-17/report.md",
                project="ucxl",
                reviewers=("agent-c",),
            ),
            "{name} is ready at {address}",
        ),
    ),
)
