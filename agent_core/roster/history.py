"""The roster's history, act by act: what changed, when, for whom, and under which admin. Pure."""

from __future__ import annotations

import msgspec

from agent_core.election.acts import Act, ActKind
from agent_core.roster.fold import (
    ROSTER_KINDS,
    GenesisPayload,
    MemberPayload,
    PolicyPayload,
    RevokePayload,
    VoterPayload,
)
from agent_core.roster.model import Member
from agent_core.shapes import RosterChange
from agent_core.views import ViewContext

_OTHERS: dict[str, str] = {ActKind.TERM: "took the lead of term {term}", ActKind.DECISION_CLOSE: "closed a decision"}


class _Said(msgspec.Struct, frozen=True):
    """What an act says: whom it concerns, and in words what it does."""

    peer_id: str
    words: str
    name: str = ""


def history(ctx: ViewContext) -> tuple[RosterChange, ...]:
    """Every committed act that changes the roster, oldest first."""
    return tuple(_change(act, ctx) for act in ctx.chain.committed if act.kind in ROSTER_KINDS)


def told(act: Act, ctx: ViewContext) -> str:
    """What an act does, in a few words, whether it is committed yet or not."""
    if act.kind not in ROSTER_KINDS:
        return _OTHERS.get(act.kind, act.kind).format(term=act.term)
    said = _said(act, ctx)
    who = _who(said, ctx)
    return f"{who} {said.words}".strip()


def _change(act: Act, ctx: ViewContext) -> RosterChange:
    said = _said(act, ctx)
    roster = ctx.chain.roster_at(act.number)
    effective = roster is not None and roster.version == act.number
    return RosterChange(
        number=act.number,
        term=act.term,
        at=ctx.at(act.hlc),
        kind=act.kind,
        who=_who(said, ctx),
        peer_id=said.peer_id,
        by=ctx.name(act.author),
        text=said.words if effective else f"{said.words} (without effect)",
        voters=len(roster.voters) if roster else 0,
    )


def _who(said: _Said, ctx: ViewContext) -> str:
    """Who it is about, under the name it had then."""
    if not said.name or ctx.roster is None:
        return ctx.name(said.peer_id) if said.peer_id else ""
    return ctx.roster.label(said.name, said.peer_id)


def _said(act: Act, ctx: ViewContext) -> _Said:
    try:
        match act.kind:
            case ActKind.GENESIS:
                genesis = msgspec.json.decode(act.payload, type=GenesisPayload)
                founded = f"founded network {genesis.network}, admission {genesis.policy.value}"
                again = f", in place of cluster {genesis.replaces[:8]}" if genesis.replaces else ""
                return _Said(genesis.founder.peer_id, founded + again, genesis.founder.agent_id)
            case ActKind.MEMBER_ADD | ActKind.MEMBER_CHANGE:
                member = msgspec.json.decode(act.payload, type=MemberPayload).member
                return _Said(member.peer_id, _record(member, act, ctx), member.agent_id)
            case ActKind.VOTER_ADD | ActKind.VOTER_REMOVE:
                voter = msgspec.json.decode(act.payload, type=VoterPayload)
                words = "became a voter" if act.kind == ActKind.VOTER_ADD else "is no voter any more"
                words += ", after its home had been restored" if voter.trusts else ""
                return _Said(voter.peer_id, words + (f": {voter.reason}" if voter.reason else ""))
            case ActKind.MEMBER_REVOKE | ActKind.MEMBER_EVICT:
                gone = msgspec.json.decode(act.payload, type=RevokePayload)
                words = "was revoked" if act.kind == ActKind.MEMBER_REVOKE else "was evicted"
                words += f" by {ctx.name(gone.warrant.by)}" if gone.warrant else ""
                return _Said(gone.peer_id, words + (f": {gone.reason}" if gone.reason else ""))
            case ActKind.POLICY:
                policy = msgspec.json.decode(act.payload, type=PolicyPayload)
                by = f", by {ctx.name(policy.warrant.by)}" if policy.warrant else ""
                return _Said("", f"admission is {policy.policy.value}{by}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return _Said("", "can't be read")


def _record(member: Member, act: Act, ctx: ViewContext) -> str:
    """An admission as who came, a change as what differs from the record before."""
    roster = ctx.chain.roster_at(act.number - 1)
    before = roster.get(member.peer_id) if roster else None
    if before is None:
        return f"joined as {member.role}, authority {member.authority.value}"
    shown = {
        "name": (before.agent_id, member.agent_id),
        "role": (before.role, member.role),
        "kind": (before.kind.value, member.kind.value),
        "authority": (before.authority.value, member.authority.value),
        "may vote": (_yes(before.may_vote), _yes(member.may_vote)),
        "capabilities": (", ".join(before.capabilities), ", ".join(member.capabilities)),
    }
    differs = [f"{what} {old or 'none'} → {new or 'none'}" for what, (old, new) in shown.items() if old != new]
    return "; ".join(differs) or "record written anew"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
