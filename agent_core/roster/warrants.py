"""Warrants and tickets: a member's signed word that somebody may come, must go, or shall vote. Pure.

An act that a person asked for carries that person's signature, so a leader can't do in a member's name what the member
never asked for, and voters check it before they acknowledge the act.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from agent_core.clock import MAX_AHEAD_MS
from agent_core.errors import InvalidInput
from agent_core.identity.signing import Signer, Verifier
from agent_core.roster.model import Authority, Member, Roster
from agent_core.wire.families.cooee import CooeeAsk, CooeeTicket

#: How long a ticket is good unless asked otherwise, and at most; seconds.
TICKET_S = 3600
MAX_TICKET_S = 30 * 24 * 3600
#: How old a signed request may be when its act is written; also how far clocks may differ.
WARRANT_MS = MAX_AHEAD_MS

_PREFIX = "chorus-ticket-"
_MAX_TOKEN = 2048
_MAX_ADDRESSES = 2


class Verb(StrEnum):
    """What a member may ask for."""

    INVITE = "invite"
    APPROVE = "approve"
    REFUSE = "refuse"
    REVOKE = "revoke"
    EVICT = "evict"
    PROMOTE = "promote"
    DEMOTE = "demote"
    POLICY = "policy"


#: The least authority for each. Over a member it takes more than that member has, or ``master``.
LEAST: Mapping[Verb, Authority] = MappingProxyType(
    {verb: Authority.MASTER if verb is Verb.POLICY else Authority.DECISION for verb in Verb}
)
#: What anybody may ask for itself.
_OF_ONESELF = frozenset({Verb.REVOKE, Verb.DEMOTE})


class Warrant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asked for an act, when, and for what; signed."""

    by: str
    at_ms: int
    verb: Verb
    target: str
    reason: str = ""
    signature: bytes = b""

    def message(self, cluster: str) -> bytes:
        """The bytes that are signed."""
        fields = (cluster, self.by, self.at_ms, self.verb, self.target, self.reason)
        return b"chorus-hap warrant v1\n" + msgspec.json.encode(fields)


def warrant_of(ask: CooeeAsk) -> Warrant:
    """A request as the act carries it."""
    return Warrant(
        by=ask.by,
        at_ms=ask.at_ms,
        verb=Verb(ask.verb),
        target=ask.target,
        reason=ask.reason,
        signature=ask.signature,
    )


def signed_ask(ask: CooeeAsk, signer: Signer) -> CooeeAsk:
    """The request with its sender's signature."""
    return msgspec.structs.replace(ask, signature=signer.sign(warrant_of(ask).message(ask.cluster)))


def may(roster: Roster, by: str, verb: Verb, over: Member | None = None) -> str:
    """Why a member may not ask for something; empty if it may.

    Args:
        roster: the roster in force.
        by: who asks.
        verb: for what.
        over: the member it is about, if it is about one.
    """
    member = roster.get(by)
    if member is None or not member.active:
        return "Only a member may ask for this."
    if over is not None and over.peer_id == by and verb in _OF_ONESELF:
        return ""
    least = LEAST[verb]
    if not member.authority.at_least(least):
        return f"This takes authority {least.value}; {roster.name(member.peer_id)} has {member.authority.value}."
    if over is None or member.authority is Authority.MASTER or not over.authority.at_least(member.authority):
        return ""
    return f"{roster.name(over.peer_id)} has authority {over.authority.value}: this takes more than that, or master."


def objection(
    roster: Roster,
    warrant: Warrant,
    verb: Verb,
    target: str,
    at_ms: int | None,
    verifier: Verifier,
) -> str:
    """Why a warrant doesn't carry an act; empty if it does.

    Args:
        roster: the roster before the act.
        warrant: who asked.
        verb: what the act does.
        target: to whom; for a policy, its name.
        at_ms: when the act was written, Unix milliseconds; nothing before it is.
        verifier: checks the signature.
    """
    if (warrant.verb, warrant.target) != (verb, target):
        return "Who asked for it asked for something else."
    over = None if verb in (Verb.POLICY, Verb.APPROVE, Verb.REFUSE) else roster.get(target)
    refusal = may(roster, warrant.by, verb, over)
    if refusal:
        return refusal
    if at_ms is not None and abs(at_ms - warrant.at_ms) > WARRANT_MS:
        return "It was asked for at another time."
    if not verifier.verify(warrant.by, warrant.message(roster.cluster_id), warrant.signature):
        return "The signature of who asked doesn't hold."
    return ""


# --- tickets ----------------------------------------------------------------------------------------------------------


def ticket_message(ticket: CooeeTicket) -> bytes:
    """The bytes that an inviter signs."""
    fields = (ticket.cluster, ticket.by, ticket.nonce, ticket.expires_ms, ticket.role)
    return b"chorus-hap ticket v1\n" + msgspec.json.encode(fields)


def signed_ticket(ticket: CooeeTicket, signer: Signer) -> CooeeTicket:
    """The ticket with its inviter's signature."""
    return msgspec.structs.replace(ticket, signature=signer.sign(ticket_message(ticket)))


def ticket_objection(roster: Roster, ticket: CooeeTicket, role: str, at_ms: int | None, verifier: Verifier) -> str:
    """Why a ticket admits nobody; empty if it does. One sentence for the newcomer's screen.

    Args:
        roster: the roster before the admission.
        ticket: what the newcomer bears.
        role: the role it asks for.
        at_ms: now, or when the act was written, Unix milliseconds; nothing leaves the time out.
        verifier: checks the inviter's signature.
    """
    inviter = roster.get(ticket.by)
    if ticket.cluster != roster.cluster_id:
        return "The ticket is for another cluster."
    if inviter is None or not verifier.verify(ticket.by, ticket_message(ticket), ticket.signature):
        return "The ticket wasn't signed by a member of this cluster, or was changed since."
    if not inviter.active:
        return f"{roster.name(inviter.peer_id)}, who gave the ticket, was {'evicted' if inviter.revoked is None else 'revoked'} since."
    if may(roster, ticket.by, Verb.INVITE):
        return f"{roster.name(inviter.peer_id)}, who gave the ticket, may not invite."
    if ticket.nonce in roster.tickets:
        return "The ticket was used already; each admits one."
    if at_ms is not None and at_ms > ticket.expires_ms:
        return f"The ticket expired {ago(at_ms - ticket.expires_ms)} ago."
    if ticket.role and ticket.role != role:
        return f"The ticket is for the role {ticket.role}, not {role}."
    return ""


def ago(ms: int) -> str:
    """A span of milliseconds in words."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= size:
            return f"{ms // size} {unit}"
    return f"{max(1, ms // 1000)} s"


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket, and what its bearer needs beside it: the network's name, and where members are."""

    ticket: CooeeTicket
    network: str
    addresses: tuple[str, ...] = ()


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """A token's content; short, since people copy it."""

    cluster: bytes
    by: str
    nonce: bytes
    expires_ms: int
    role: str
    signature: bytes
    network: str
    addresses: tuple[str, ...]


def to_token(invitation: Invitation) -> str:
    """One word to copy. Whoever has it can join: it is a secret until it is used or expires."""
    ticket = invitation.ticket
    packed = _Packed(
        bytes.fromhex(ticket.cluster),
        ticket.by,
        bytes.fromhex(ticket.nonce),
        ticket.expires_ms,
        ticket.role,
        ticket.signature,
        invitation.network,
        tuple(a.removesuffix(f"/p2p/{ticket.by}") for a in invitation.addresses[:_MAX_ADDRESSES]),
    )
    return _PREFIX + base64.urlsafe_b64encode(msgspec.msgpack.encode(packed)).decode().rstrip("=")


def from_token(token: str) -> Invitation:
    """Read a token back; white space that came with copying is forgiven. Whether it is any good, the cluster says.

    Raises:
        InvalidInput: it isn't one, or a part is missing.
    """
    word = "".join(token.split())
    code = word.removeprefix(_PREFIX)
    try:
        if word == code or len(word) > _MAX_TOKEN:
            raise ValueError
        packed = msgspec.msgpack.decode(base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)), type=_Packed)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as exc:
        raise InvalidInput(
            "That is no ticket, or a part of it is missing.", "Copy the whole word that `members invite` printed."
        ) from exc
    ticket = CooeeTicket(
        cluster=packed.cluster.hex(),
        by=packed.by,
        nonce=packed.nonce.hex(),
        expires_ms=packed.expires_ms,
        role=packed.role,
        signature=packed.signature,
    )
    addresses = tuple(a if "/p2p/" in a else f"{a}/p2p/{packed.by}" for a in packed.addresses)
    return Invitation(ticket=ticket, network=packed.network, addresses=addresses)
