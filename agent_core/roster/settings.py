"""What the roster's service is told: who this node is, and how it comes into a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from agent_core.roster.model import Kind, Policy


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who this node is to others."""

    agent_id: str
    role: str
    kind: Kind
    age_recipient: str = ""
    capabilities: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RosterSettings:
    """How this node comes into a cluster. Durations in seconds.

    Args:
        network: the name that separates meshes.
        policy: how the cluster it founds admits newcomers; only ``open`` in this version.
        found: found at once.
        may_found: false for a command's node.
        nobody_to_look_for: no bootstrap peer named and mDNS off.
        beyond_loopback: it listens for others than this machine.
        force_open: admit under ``open`` even so.
        discovery_s: how long to look for peers before founding.
        demote_s: how long a voter may be away.
        join_s: how long the feeds of a cluster that admitted this node may take to show it.
    """

    network: str = "chorus"
    policy: Policy = Policy.OPEN
    found: bool = False
    may_found: bool = True
    nobody_to_look_for: bool = False
    beyond_loopback: bool = False
    force_open: bool = False
    discovery_s: float = 10.0
    demote_s: float = 600.0
    join_s: float = 30.0
