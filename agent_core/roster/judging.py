"""Whether an act of the roster may be: what a voter asks itself before it acknowledges one. Pure.

It depends on the acts before and on the act alone, so every voter whose log is the same judges the same, and a leader
that judges its own acts first never proposes one that the others refuse. An act that a majority acknowledged all the same
counts: this is how voters keep a leader from doing what nobody may, not how acts are folded.
"""

from __future__ import annotations

import msgspec

from agent_core.election.acts import ActKind
from agent_core.grammar import plural
from agent_core.identity.signing import Verifier
from agent_core.roster import warrants
from agent_core.roster.fold import (
    ROSTER_KINDS,
    MemberPayload,
    PolicyPayload,
    RevokePayload,
    VoterPayload,
    read,
)
from agent_core.roster.model import Authority, Member, Policy, Roster
from agent_core.roster.roles import MOST_BY_ROLE
from agent_core.roster.warrants import Verb, Warrant

#: Members a cluster has at most: identities cost nothing, rosters do.
MAX_MEMBERS = 256
#: Voters a cluster has at most.
MAX_VOTERS = 7

_UNREADABLE = "It can't be read."


def objection(
    roster: Roster | None, kind: str, payload: bytes | msgspec.Raw, at_ms: int | None, verifier: Verifier
) -> str:
    """Why an act may not be, one sentence; empty if it may.

    Args:
        roster: the roster after all acts before it.
        kind: what it does; kinds that don't change the roster are nobody's to judge here.
        payload: what it says.
        at_ms: when it was written, Unix milliseconds; nothing before it is, then times aren't compared.
        verifier: checks the signatures in it.
    """
    if roster is None or kind not in ROSTER_KINDS:
        return ""
    return _Judge(roster, at_ms, verifier).judge(kind, payload)


class _Judge:
    def __init__(self, roster: Roster, at_ms: int | None, verifier: Verifier) -> None:
        self._roster, self._at_ms, self._verifier = roster, at_ms, verifier

    def judge(self, kind: str, payload: bytes | msgspec.Raw) -> str:
        match kind:
            case ActKind.MEMBER_ADD:
                added = read(payload, MemberPayload)
                return self._added(added) if added else _UNREADABLE
            case ActKind.MEMBER_CHANGE:
                changed = read(payload, MemberPayload)
                return self._changed(changed.member) if changed else _UNREADABLE
            case ActKind.VOTER_ADD | ActKind.VOTER_REMOVE:
                voter = read(payload, VoterPayload)
                return self._voter(voter, kind == ActKind.VOTER_ADD) if voter else _UNREADABLE
            case ActKind.MEMBER_REVOKE | ActKind.MEMBER_EVICT:
                gone = read(payload, RevokePayload)
                return self._gone(gone, kind == ActKind.MEMBER_REVOKE) if gone else _UNREADABLE
            case ActKind.POLICY:
                policy = read(payload, PolicyPayload)
                if policy is None:
                    return _UNREADABLE
                return self._asked(policy.warrant, Verb.POLICY, policy.policy.value)
        return "A cluster is founded once."

    def _added(self, payload: MemberPayload) -> str:
        roster, member = self._roster, payload.member
        before = roster.get(member.peer_id)
        if before is not None and before.revoked is not None:
            return "This identity was revoked."
        if before is not None and before.active:
            return f"{roster.name(before.peer_id)} is a member already."
        if sum(m.active for m in roster.members.values()) >= MAX_MEMBERS:
            return f"This cluster has {plural(MAX_MEMBERS, 'member')}, as many as it may have."
        if not MOST_BY_ROLE[member.kind].at_least(member.authority):
            return f"A newcomer can't have authority {member.authority.value}."
        if payload.ticket is not None:
            return warrants.ticket_objection(roster, payload.ticket, member.role, self._at_ms, self._verifier)
        if roster.policy is Policy.INVITE:
            return "This cluster admits by ticket, and there is none."
        if roster.policy is Policy.APPROVE:
            return self._asked(payload.warrant, Verb.APPROVE, member.peer_id)
        return ""

    def _changed(self, member: Member) -> str:
        before = self._roster.get(member.peer_id)
        if before is None or not before.active:
            return "Only a member's record can change."
        if (before.authority, before.kind) != (member.authority, member.kind):
            return "A change of a record can't change authority or kind."
        return ""

    def _voter(self, payload: VoterPayload, adds: bool) -> str:
        roster, member = self._roster, self._roster.get(payload.peer_id)
        if member is None or not member.active:
            return "Only a member can become a voter, or stop being one."
        if payload.warrant is not None:
            refusal = self._asked(payload.warrant, Verb.PROMOTE if adds else Verb.DEMOTE, payload.peer_id)
            if refusal:
                return refusal
        if adds:
            if member.voter:
                return "" if payload.trusts else f"{roster.name(member.peer_id)} is a voter already."
            if len(roster.voters) >= MAX_VOTERS:
                return f"This cluster has {plural(MAX_VOTERS, 'voter')}, as many as it may have."
            return ""
        if not member.voter:
            return f"{roster.name(member.peer_id)} is no voter."
        return self._last(member)

    def _gone(self, payload: RevokePayload, for_good: bool) -> str:
        member = self._roster.get(payload.peer_id)
        if member is None:
            return "There is no such member."
        if member.revoked is not None or not (for_good or member.active):
            return f"{self._roster.name(member.peer_id)} is no member any more."
        if any(head.author != payload.peer_id for head in payload.heads):
            return "It names somebody else's feed."
        if for_good or payload.warrant is not None:
            refusal = self._asked(payload.warrant, Verb.REVOKE if for_good else Verb.EVICT, payload.peer_id)
            if refusal:
                return refusal
        return self._last(member) or self._last_master(member)

    def _last(self, member: Member) -> str:
        if self._roster.voters == (member.peer_id,):
            return (
                f"{self._roster.name(member.peer_id)} is the only voter; without one nothing could be decided any more."
            )
        return ""

    def _last_master(self, member: Member) -> str:
        masters = [m for m in self._roster.members.values() if m.active and m.authority is Authority.MASTER]
        if masters == [member] and len(self._roster.members) > 1:
            return f"{self._roster.name(member.peer_id)} is the only one with authority master; nobody could govern the cluster any more."
        return ""

    def _asked(self, warrant: Warrant | None, verb: Verb, target: str) -> str:
        if warrant is None:
            return "It doesn't say who asked for it."
        return warrants.objection(self._roster, warrant, verb, target, self._at_ms, self._verifier)
