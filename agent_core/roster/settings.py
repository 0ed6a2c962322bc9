"""What the roster's service is told: who this node is, and how it comes into a cluster."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from os import cpu_count
from typing import TYPE_CHECKING

import msgspec

from agent_core.errors import ConfigError, InvalidInput
from agent_core.roster.model import Kind, Policy
from agent_core.roster.warrants import Invitation, from_token
from agent_core.setting_kinds import Unfit, multiaddr, network, role
from agent_core.text import marked
from agent_core.wire.families.cooee import CooeeTicket

if TYPE_CHECKING:
    from agent_core.settings import Settings


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who this node is to others."""

    agent_id: str
    role: str
    kind: Kind
    age_recipient: str = ""
    capabilities: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    host: str = ""  #: what kind of machine it runs on, for whoever approves
    ticket: CooeeTicket | None = None


@dataclass(frozen=True, slots=True)
class RosterSettings:
    """How this node comes into a cluster. Durations in seconds.

    Args:
        network: the name that separates meshes.
        policy: how the cluster it founds admits newcomers.
        found: found at once.
        may_found: false for a command's node.
        nobody_to_look_for: no bootstrap peer named and mDNS off.
        beyond_loopback: it listens for others than this machine.
        force_open: admit under ``open`` even so.
        discovery_s: how long to look for peers before founding.
        demote_s: how long a voter may be away.
        evict_s: how long a member without a vote may be; 0 for ever.
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
    evict_s: float = 0.0
    join_s: float = 30.0


def invited(settings: Settings) -> Settings:
    """The settings with what a ticket says of the way in: network, role and where members are, unless somebody set them.

    Raises:
        ConfigError: ``cluster.ticket`` is no ticket, or what it says can't be.
    """
    values = settings.values
    if not values.cluster.ticket:
        return settings
    invitation = _read(settings)
    said: dict[str, tuple[str, str]] = {"cluster.network": ("network", invitation.network)}
    if invitation.ticket.role:
        said["agent.role"] = ("role", invitation.ticket.role)
    origins = dict(settings.origins)
    for name, (key, value) in said.items():
        if not settings.asked_for(name):
            section = name.partition(".")[0]
            changed = msgspec.structs.replace(getattr(values, section), **{key: value})
            values = msgspec.structs.replace(values, **{section: changed})
            origins[name] = "ticket"
    peers = (*values.bootstrap.peers, *(a for a in invitation.addresses if a not in values.bootstrap.peers))
    values = msgspec.structs.replace(values, bootstrap=msgspec.structs.replace(values.bootstrap, peers=peers))
    return replace(settings, values=values, origins=origins)


def _read(settings: Settings) -> Invitation:
    """The ticket, what it says judged like what a person says: an inviter may be anybody."""
    origin = settings.origins.get("cluster.ticket", "")
    try:
        invitation = from_token(settings.values.cluster.ticket)
    except InvalidInput as exc:
        raise ConfigError(f"cluster.ticket ({origin}): {exc.message}", exc.next) from exc
    try:
        network(invitation.network)
        if invitation.ticket.role:
            role(invitation.ticket.role)
        for address in invitation.addresses:
            multiaddr(address)
    except Unfit as exc:
        raise ConfigError(
            f"cluster.ticket ({origin}): the ticket holds what can't be: {exc.reason}.",
            "Ask for another one, by `chorus-hap members invite`.",
        ) from exc
    return invitation


def ticket_of(settings: Settings) -> CooeeTicket | None:
    """The ticket among the settings, if there is one."""
    token = settings.values.cluster.ticket
    return from_token(token).ticket if token else None


def host_facts() -> str:
    """What kind of machine this is, in a line for whoever approves it."""
    cores, name = cpu_count() or 1, marked(platform.node().split(".")[0], keep="")
    return f"{platform.system()} {platform.machine()}, {cores} core{'s' * (cores > 1)}, {name[:64]}"
