"""WHOOSH: councils that form around a brief, and the teams that come of them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from agent_core.wire import topics
from agent_core.wire.payload import Address, Family, Hash, Id, Line, MessageType, Name, Names, Payload, Share, Text


class CouncilOpportunity(Payload, frozen=True):
    """A council is to be formed: its brief, and the roles still open."""

    council: Id
    title: Line
    roles: Names
    project: Name = ""
    brief: Address = ""
    required_capabilities: Names = ()


class CouncilClaim(Payload, frozen=True):
    """An agent claims a role in a council."""

    council: Id
    role: Name
    agent_id: Name
    confidence: Share = 0.0
    reason: Line = ""


class CouncilAssigned(Payload, frozen=True):
    """A role in a council is filled."""

    council: Id
    role: Name
    agent_id: Name


class CouncilFormed(Payload, frozen=True):
    """All roles are filled; who has which."""

    council: Id
    roles: Annotated[dict[Name, Name], Meta(max_length=64)]


class TeamFormed(Payload, frozen=True):
    """A team works on a task; its topics follow from project and task."""

    project: Id
    task: Id
    members: Annotated[dict[Name, Name], Meta(max_length=64)]


class TeamControl(Payload, frozen=True):
    """A team begins, pauses, goes on or ends."""

    project: Id
    task: Id
    action: Literal["start", "pause", "resume", "dissolve"]
    reason: Line = ""


class TeamVote(Payload, frozen=True):
    """A voice in a team's quick vote."""

    ballot: Id
    choice: Name
    reason: Text = ""


class TeamArtefact(Payload, frozen=True):
    """A team made something."""

    address: Address
    version: Hash = ""
    kind: Name = ""
    summary: Line = ""


COUNCIL = Family(
    "council",
    topics.COORDINATION,
    (
        MessageType(
            "council.opportunity",
            CouncilOpportunity(council="c-7", title="Design the browser", roles=("architect", "reviewer")),
            "council {council} wants {roles}: {title}",
        ),
        MessageType(
            "council.claim",
            CouncilClaim(council="c-7", role="architect", agent_id="agent-b", confidence=0.8),
            "{agent_id} claims {role} in {council}",
        ),
        MessageType(
            "council.assigned",
            CouncilAssigned(council="c-7", role="architect", agent_id="agent-b"),
            "{agent_id} is {role} in {council}",
        ),
        MessageType(
            "council.formed",
            CouncilFormed(council="c-7", roles={"architect": "agent-b", "reviewer": "agent-c"}),
            "council {council} is complete",
        ),
    ),
)

TEAM = Family(
    "team",
    topics.COORDINATION,
    (
        MessageType(
            "team.formed",
            TeamFormed(project="ucxl", task="parser-17", members={"agent-b": "architect"}),
            "a team works on {project}:{task}",
        ),
        MessageType(
            "team.control",
            TeamControl(project="ucxl", task="parser-17", action="start"),
            "{action} of {project}:{task} {reason}",
        ),
        MessageType("team.vote", TeamVote(ballot="b-1", choice="approve"), "votes {choice} on {ballot}"),
        MessageType(
            "team.artefact",
            TeamArtefact(address="ucxl://agent-b:agent@ucxl:parser-17/report.md", kind="report"),
            "made {address} {summary}",
        ),
    ),
)
