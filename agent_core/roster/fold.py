"""Committed acts to rosters, one step at a time. Pure: the same acts give the same roster on every node."""

from __future__ import annotations

from types import MappingProxyType
from typing import TypeVar

import msgspec

from agent_core.election.acts import Act, ActKind
from agent_core.feeds.model import Head
from agent_core.roster.model import Member, Policy, Roster
from agent_core.roster.warrants import Warrant
from agent_core.wire.families.cooee import CooeeTicket

T = TypeVar("T", bound=msgspec.Struct)


class GenesisPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The act that founds a cluster: 32 random bytes (hex), the network's name and the founder, its only voter."""

    random: str
    network: str
    policy: Policy
    founder: Member
    replaces: str = ""  #: cluster id of the one that was lost, after ``cluster recover --force-new``
    last: int = 0  #: number of the last act of that one which the founder could prove, and its hash
    last_hash: str = ""


class MemberPayload(msgspec.Struct, frozen=True, kw_only=True):
    """A member added or changed: the whole record as it stands afterwards. It can't make or unmake a voter.

    An addition carries what the cluster's policy asks for: the ticket that was used, or the word of who approved.
    """

    member: Member
    ticket: CooeeTicket | None = None
    warrant: Warrant | None = None


class VoterPayload(msgspec.Struct, frozen=True, kw_only=True):
    """A voter added or removed. ``trusts`` names the loss of memory that the admin knew of when it made it one again."""

    peer_id: str
    reason: str = ""
    trusts: str = ""
    warrant: Warrant | None = None  #: who asked for it; nothing for what the leader does by itself


class RevokePayload(msgspec.Struct, frozen=True, kw_only=True):
    """A revocation or an eviction, what of the member's feed stands, and who asked for it."""

    peer_id: str
    heads: tuple[Head, ...]
    reason: str = ""
    warrant: Warrant | None = None


class PolicyPayload(msgspec.Struct, frozen=True, kw_only=True):
    """How newcomers are admitted from now on."""

    policy: Policy
    warrant: Warrant | None = None


#: Kinds of acts that change the roster; at most one voter may change an act.
ROSTER_KINDS = frozenset(
    {
        ActKind.GENESIS,
        ActKind.MEMBER_ADD,
        ActKind.MEMBER_CHANGE,
        ActKind.MEMBER_REVOKE,
        ActKind.MEMBER_EVICT,
        ActKind.VOTER_ADD,
        ActKind.VOTER_REMOVE,
        ActKind.POLICY,
    }
)


def genesis_of(act: Act) -> GenesisPayload | None:
    """What a genesis says; nothing of another act, or if it can't be read."""
    return _read(act, GenesisPayload) if act.kind == ActKind.GENESIS else None


def founded(act: Act, lost: Roster | None = None) -> Roster | None:
    """The roster that a genesis makes: its founder as the only voter, beside the members of the cluster it replaces.

    Args:
        act: the genesis.
        lost: the roster of the replaced cluster as of the act that the genesis names; nothing if it replaces none.

    Returns:
        Nothing if the act is no genesis, or ``lost`` isn't what it replaces.
    """
    genesis = genesis_of(act)
    if genesis is None or (lost.cluster_id if lost else "") != genesis.replaces:
        return None
    founder = msgspec.structs.replace(genesis.founder, voter=True, trusted="", revoked=None)
    members = {p: msgspec.structs.replace(m, voter=False) for p, m in lost.members.items()} if lost else {}
    return Roster(
        cluster_id=act.hash,
        network=genesis.network,
        version=act.number,
        policy=genesis.policy,
        members=MappingProxyType({**members, founder.peer_id: founder}),
    )


def after(roster: Roster | None, act: Act) -> Roster | None:
    """The roster after an act; unchanged by acts of other kinds and by ones whose payload can't be read or makes no sense."""
    if roster is None:
        return founded(act)
    changed = _change(roster, act)
    return roster if changed is None else msgspec.structs.replace(changed, version=act.number)


def _change(roster: Roster, act: Act) -> Roster | None:
    match act.kind:
        case ActKind.MEMBER_ADD | ActKind.MEMBER_CHANGE:
            payload = _read(act, MemberPayload)
            if payload is None:
                return None
            before = roster.get(payload.member.peer_id)
            if before is not None and before.revoked is not None:
                return None  # a revocation is for good: who comes back comes as somebody new
            if before is not None and not before.active and act.kind == ActKind.MEMBER_CHANGE:
                return None
            kept = (before.voter, before.trusted, before.benched) if before is not None else (False, "", False)
            votes, trusted, benched = kept
            record = msgspec.structs.replace(
                payload.member, voter=votes, trusted=trusted, benched=benched, revoked=None, evicted=None
            )
            used = {payload.ticket.nonce} if payload.ticket is not None else set()
            return msgspec.structs.replace(_put(roster, record), tickets=roster.tickets | used)
        case ActKind.VOTER_ADD | ActKind.VOTER_REMOVE:
            voter = _read(act, VoterPayload)
            member = roster.get(voter.peer_id) if voter else None
            if voter is None or member is None or not member.active:
                return None
            adds = act.kind == ActKind.VOTER_ADD
            changed = _put(
                roster,
                msgspec.structs.replace(
                    member,
                    voter=adds,
                    trusted=voter.trusts if adds else member.trusted,
                    benched=member.benched if voter.warrant is None else not adds,
                ),
            )
            return changed if changed.voters else None
        case ActKind.MEMBER_REVOKE | ActKind.MEMBER_EVICT:
            gone = _read(act, RevokePayload)
            member = roster.get(gone.peer_id) if gone else None
            if gone is None or member is None:
                return None
            if act.kind == ActKind.MEMBER_REVOKE:
                left = msgspec.structs.replace(member, voter=False, revoked=gone.heads)
            elif member.active:
                left = msgspec.structs.replace(member, voter=False, evicted=gone.heads)
            else:
                return None
            changed = _put(roster, left)
            return changed if changed.voters else None
        case ActKind.POLICY:
            policy = _read(act, PolicyPayload)
            return None if policy is None else msgspec.structs.replace(roster, policy=policy.policy)
    return None


def _put(roster: Roster, member: Member) -> Roster:
    return msgspec.structs.replace(roster, members=MappingProxyType({**roster.members, member.peer_id: member}))


def _read(act: Act, kind: type[T]) -> T | None:
    return read(act.payload, kind)


def read(payload: bytes | msgspec.Raw, kind: type[T]) -> T | None:
    """What an act says, as its type; nothing if it can't be read so."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
