"""Coordination: tasks announced, claimed, worked and done; what an agent can do and whether it has time."""

from __future__ import annotations

from typing import Literal

from agent_core.wire import topics
from agent_core.wire.payload import (
    Address,
    Count,
    Family,
    Id,
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


class TaskAnnouncement(Payload, frozen=True):
    """A task that somebody may claim, and what it takes."""

    task_id: Id
    project: Id
    title: Line
    description: Text = ""
    repository: Line = ""
    required_capabilities: Names = ()
    required_expertise: Names = ()
    priority: Urgency = "normal"
    estimate_s: Count = 0
    deadline: Time = ""
    address: Address = ""


class TaskClaim(Payload, frozen=True):
    """An agent asks for a task, with its own reckoning of how well it fits."""

    task_id: Id
    project: Id
    agent_id: Name
    score: Share = 0.0
    capabilities: Names = ()
    estimate_s: Count = 0
    plan: Text = ""


class TaskProgress(Payload, frozen=True):
    """How far a claimed task is."""

    task_id: Id
    project: Id
    agent_id: Name
    progress: Share
    status: Literal["claimed", "working", "reviewing", "blocked"] = "working"
    note: Line = ""
    lease: Count = 0


class TaskComplete(Payload, frozen=True):
    """A task ended: done, failed or given back."""

    task_id: Id
    project: Id
    agent_id: Name
    outcome: Literal["completed", "failed", "released"] = "completed"
    summary: Text = ""
    artefacts: tuple[Address, ...] = ()
    duration_s: Count = 0


class CapabilityBroadcast(Payload, frozen=True):
    """What an agent can do; sent only when it changed."""

    capabilities: Names
    models: Names = ()
    specialization: Line = ""
    version: Name = ""
    reason: Line = ""


class AvailabilityBroadcast(Payload, frozen=True):
    """Whether an agent has time; sent every 30 s."""

    available_for_work: bool
    current_tasks: Count = 0
    max_tasks: Count = 0
    status: Literal["ready", "working", "busy", "away"] = "ready"
    last_activity: Time = ""


FAMILY = Family(
    "coordination",
    topics.COORDINATION,
    (
        MessageType(
            "task_announcement",
            TaskAnnouncement(
                task_id="parser-17",
                project="ucxl",
                title="Reject wildcards in writes",
                required_capabilities=("backend", "python"),
                priority="high",
                estimate_s=5400,
            ),
            "announces {project}:{task_id}, {title}",
        ),
        MessageType(
            "task_claim",
            TaskClaim(task_id="parser-17", project="ucxl", agent_id="agent-b", score=0.82, capabilities=("python",)),
            "{agent_id} asks for {project}:{task_id}, fit {score:.2f}",
        ),
        MessageType(
            "task_progress",
            TaskProgress(task_id="parser-17", project="ucxl", agent_id="agent-b", progress=0.5, note="grammar done"),
            "{agent_id} is at {progress:.0%} of {project}:{task_id} {note}",
        ),
        MessageType(
            "task_complete",
            TaskComplete(
                task_id="parser-17",
                project="ucxl",
                agent_id="agent-b",
                summary="Writes with wildcards are refused.",
                artefacts=("ucxl://agent-b:agent@ucxl:parser-17/report.md",),
                duration_s=4810,
            ),
            "{agent_id} ended {project}:{task_id}, {outcome}",
        ),
        MessageType(
            "capability_broadcast",
            CapabilityBroadcast(capabilities=("backend", "review"), models=("phi3",), version="0.1.0", reason="start"),
            "can {capabilities}",
        ),
        MessageType(
            "availability_broadcast",
            AvailabilityBroadcast(available_for_work=True, current_tasks=1, max_tasks=3, status="working"),
            "is {status}, {current_tasks} of {max_tasks:task|tasks}",
        ),
    ),
)
