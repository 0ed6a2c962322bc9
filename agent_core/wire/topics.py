"""Topics: every name and pattern of SPEC section 3, and whether a name is one of them."""

from __future__ import annotations

import hashlib
import re

from agent_core.errors import InvalidInput

COORDINATION = "CHORUS/coordination/v1"
META_DISCUSSION = "hmmm/meta-discussion/v1"
CONTEXT_FEEDBACK = "CHORUS/context-feedback/v1"
ELECTION = "CHORUS/election/v1"
FEEDS = "CHORUS/feeds/v1"

#: Joined by every node for as long as it runs.
STATIC = (COORDINATION, META_DISCUSSION, CONTEXT_FEEDBACK, ELECTION, FEEDS)

_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_TEAM = r"whoosh\.team\.[0-9a-f]{16}(?:\.(?:control|voting|artefacts))?"
_VALID = re.compile(rf"(?:CHORUS/(?:issue|task|project|role|expertise|reports)/{_ID}/v1|{_TEAM})\Z")
_IS_ID = re.compile(rf"{_ID}\Z")


def is_valid(topic: str) -> bool:
    """Whether the name is a topic of SPEC section 3."""
    return topic in STATIC or _VALID.match(topic) is not None


def issue(id: str) -> str:
    """The topic of an issue, joined while somebody here cares."""
    return _named("issue", id)


def task(id: str) -> str:
    """The topic of a task, joined while somebody here cares."""
    return _named("task", id)


def project(id: str) -> str:
    """The topic of a project, joined while somebody here cares."""
    return _named("project", id)


def role(name: str) -> str:
    """What is meant for everybody in a role."""
    return _named("role", name)


def expertise(area: str) -> str:
    """What is meant for everybody who knows an area."""
    return _named("expertise", area)


def reports(role: str) -> str:
    """What goes up the reporting line to a role."""
    return _named("reports", role)


def team(project: str, task: str) -> str:
    """A team's topic: ``whoosh.team.`` and the first 16 hex digits of the SHA-256 of ``project:task``."""
    return f"whoosh.team.{hashlib.sha256(f'{project}:{task}'.encode()).hexdigest()[:16]}"


def team_control(project: str, task: str) -> str:
    """A team's topic for control messages."""
    return team(project, task) + ".control"


def team_voting(project: str, task: str) -> str:
    """A team's topic for votes."""
    return team(project, task) + ".voting"


def team_artefacts(project: str, task: str) -> str:
    """A team's topic for artefacts."""
    return team(project, task) + ".artefacts"


def _named(kind: str, id: str) -> str:
    if not _IS_ID.match(id):
        raise InvalidInput(
            f"{id[:60]!r} can't name a topic.",
            "Use letters, digits, '.', '_' and '-', at most 128, the first a letter or digit.",
        )
    return f"CHORUS/{kind}/{id}/v1"
