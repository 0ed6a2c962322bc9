"""What the leader does because a member asked: approve, refuse, revoke, evict, promote, demote, and the policy (SPEC section 4)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from agent_core.election.acts import ActKind
from agent_core.errors import ChorusError
from agent_core.feeds.model import Head
from agent_core.roster.admission import Gate, is_fresh, not_now
from agent_core.roster.fold import MemberPayload, PolicyPayload, RevokePayload, VoterPayload
from agent_core.roster.judging import objection
from agent_core.roster.means import Means
from agent_core.roster.meeting import Meetings
from agent_core.roster.model import Member, Policy, Roster, VoterUse
from agent_core.roster.waiting import WaitingRoom
from agent_core.roster.warrants import Verb, Warrant, may, warrant_of
from agent_core.wire.envelope import one_line
from agent_core.wire.families.cooee import CooeeAsk, CooeeReply

log = logging.getLogger("chorus.roster")

#: Epochs of a feed that a revocation names; of more, the newest stand.
_MAX_HEADS = 64


class Governing:
    """Carries out what members ask of the leader; the caller holds the lock under which the roster changes.

    Args:
        me: this node's peer id.
        means: gets acts committed, checks signatures, knows who holds what.
        meetings: the peers.
        gate: the rules newcomers are measured by.
        room: who waits for approval.
    """

    def __init__(self, me: str, means: Means, meetings: Meetings, gate: Callable[[], Gate], room: WaitingRoom) -> None:
        self._me = me
        self._means = means
        self._meetings = meetings
        self._gate = gate
        self._room = room

    async def carry_out(self, ask: CooeeAsk, roster: Roster) -> CooeeReply:
        """Do what was asked, if it may be; the answer says "done" only once it is committed."""
        if not is_fresh(ask.at_ms, self._means.now_ms()):
            return _no("That request is not of now.", "Set the clocks right.")
        warrant = warrant_of(ask)
        done = self._already(roster, warrant)
        if done:
            return CooeeReply(status="done", message=done)
        found = self._act(roster, warrant)
        if isinstance(found, CooeeReply):
            return found
        kind, payload = found
        if warrant.target == self._me and warrant.verb in (Verb.REVOKE, Verb.EVICT, Verb.DEMOTE):
            return await self._step_aside(roster, kind, payload)
        try:
            act = await self._means.proposer.propose(kind, payload)
        except ChorusError as exc:
            return not_now(exc)
        self._room.leave(warrant.target)
        log.info("%s %s, asked for by %s: %s", kind.value, warrant.target, warrant.by, warrant.reason)
        return CooeeReply(status="done", act=act.number)

    def _already(self, roster: Roster, warrant: Warrant) -> str:
        """What makes the request one that was carried out before: its answer may have got lost."""
        member = roster.get(warrant.target)
        if member is None:
            return ""
        match warrant.verb:
            case Verb.APPROVE if member.active:
                return f"{roster.name(member.peer_id)} is a member already."
            case Verb.REVOKE if member.revoked is not None:
                return f"{roster.name(member.peer_id)} was revoked already."
            case Verb.EVICT if member.evicted is not None:
                return f"{roster.name(member.peer_id)} was evicted already."
            case Verb.PROMOTE if member.voter:
                return f"{roster.name(member.peer_id)} is a voter already."
        return ""

    def _act(self, roster: Roster, warrant: Warrant) -> tuple[ActKind, msgspec.Struct] | CooeeReply:
        member = roster.get(warrant.target)
        match warrant.verb:
            case Verb.POLICY:
                return self._policy(warrant)
            case Verb.APPROVE:
                return self._approve(warrant)
            case Verb.REFUSE:
                return self._refuse(roster, warrant)
        if member is None:
            return _no("There is no such member.", "`chorus-hap members` lists them.")
        match warrant.verb:
            case Verb.REVOKE | Verb.EVICT:
                return self._remove(roster, member, warrant)
            case Verb.PROMOTE:
                why = self._cant_vote(roster, member)
                payload = VoterPayload(peer_id=member.peer_id, reason=warrant.reason or "asked for", warrant=warrant)
                return _no(*why) if why else (ActKind.VOTER_ADD, payload)
            case Verb.DEMOTE:
                payload = VoterPayload(peer_id=member.peer_id, reason=warrant.reason or "asked for", warrant=warrant)
                return self._no_majority(roster, member) or (ActKind.VOTER_REMOVE, payload)
        return _no("That is nothing to ask for.")

    def _policy(self, warrant: Warrant) -> tuple[ActKind, msgspec.Struct] | CooeeReply:
        if warrant.target not in set(Policy):
            return _no(f"There is no policy {warrant.target[:40]!r}.", "It is open, invite or approve.")
        policy = Policy(warrant.target)
        refusal = self._gate().open_refusal() if policy is Policy.OPEN else None
        if refusal is not None:
            return _no(refusal.message, "Set cluster.force_open = true there first, or keep invite or approve.")
        return ActKind.POLICY, PolicyPayload(policy=policy, warrant=warrant)

    def _approve(self, warrant: Warrant) -> tuple[ActKind, msgspec.Struct] | CooeeReply:
        waiting = self._room.get(warrant.target, self._means.now_ms())
        if waiting is None:
            # A leader that is new in office hears of it within a second or two, if it is still there.
            message = "Nobody of that id waits any more."
            return CooeeReply(status="pending", message=message, next="`chorus-hap members pending` lists who does.")
        self._room.forgive(warrant.target)
        return ActKind.MEMBER_ADD, MemberPayload(member=self._gate().applicant(waiting.enrol), warrant=warrant)

    def _refuse(self, roster: Roster, warrant: Warrant) -> CooeeReply:
        refusal = may(roster, warrant.by, Verb.REFUSE)
        if refusal:
            return _no(refusal)
        by = roster.name(warrant.by)
        why = f": {one_line(warrant.reason, 200).rstrip('.')}" if warrant.reason else ""
        self._room.refuse(warrant.target, by + why, self._means.now_ms())
        return CooeeReply(status="done")

    def _remove(self, roster: Roster, member: Member, warrant: Warrant) -> tuple[ActKind, msgspec.Struct] | CooeeReply:
        for_good = warrant.verb is Verb.REVOKE
        if not for_good and member.peer_id in self._meetings.connected():
            return _no(
                f"{roster.name(member.peer_id)} is here; evicting is for who is gone.",
                "Revoke it, if it must not come back; stop its node, if it only should rest.",
            )
        minority = self._no_majority(roster, member)
        if minority is not None:
            return minority
        heads = standing_heads(self._means, member.peer_id)
        if heads is None:
            return CooeeReply(
                status="pending",
                message=f"Acts of {roster.name(member.peer_id)}'s feed are still on their way here.",
                next="Wait.",
            )
        payload = RevokePayload(peer_id=member.peer_id, heads=heads, reason=warrant.reason, warrant=warrant)
        return (ActKind.MEMBER_REVOKE if for_good else ActKind.MEMBER_EVICT), payload

    def _cant_vote(self, roster: Roster, member: Member) -> tuple[str, str] | None:
        """Why a member can't be made a voter now, and what to do."""
        met = self._meetings.get(member.peer_id)
        if member.peer_id == self._me:
            return None
        if met is None or member.peer_id not in self._meetings.connected():
            return f"{roster.name(member.peer_id)} isn't connected to the leader.", "Start its node, and ask again."
        if met.voter_use is VoterUse.NEVER:
            return (
                f"{roster.name(member.peer_id)} runs only for a command, or is leaving.",
                "Run it as a daemon or a console.",
            )
        if not self._means.caught_up(member.peer_id):
            return f"{roster.name(member.peer_id)} doesn't hold all acts yet.", "Ask again in a moment."
        return None

    def _no_majority(self, roster: Roster, member: Member) -> CooeeReply | None:
        """A refusal, if without this voter those in reach would be no majority of the rest."""
        rest = [v for v in roster.voters if v != member.peer_id]
        online = self._meetings.connected() | {self._me}
        reached = sum(v in online for v in rest)
        if member.peer_id not in roster.voters or not rest or reached > len(rest) // 2:
            return None
        return _no(
            f"Without {roster.name(member.peer_id)} only {reached} of {len(rest)} voters would be in reach, and no majority.",
            "Bring one back or promote another first.",
        )

    async def _step_aside(self, roster: Roster, kind: ActKind, payload: msgspec.Struct) -> CooeeReply:
        """The leader itself is to go: another one leads first and then does it, unless it may not be at all."""
        refusal = objection(roster, kind, msgspec.json.encode(payload), None, self._means.verifier)
        if refusal:
            return _no(refusal)
        try:
            await self._means.hand_over()
        except ChorusError as exc:
            return not_now(exc)
        return CooeeReply(status="pending", message="The leader hands over first.", next="Ask again in a moment.")


def standing_heads(means: Means, peer_id: str) -> tuple[Head, ...] | None:
    """What stands of the feed of one that is to go: what is held here; nothing while acts in it are still on their way."""
    heads = sorted(means.heads_of(peer_id), key=lambda h: h.epoch)[-_MAX_HEADS:]
    sizes = {head.epoch: head.size for head in heads}
    chain = means.chain()
    acts = chain.committed if chain is not None else ()
    if any(act.author == peer_id and act.seq >= sizes.get(act.epoch, 0) for act in acts):
        return None
    return tuple(heads)


def _no(message: str, next: str = "") -> CooeeReply:
    return CooeeReply(status="refused", message=message[:500], next=next[:500])
