"""What the leader does for the roster: admitting and letting go, and keeping the voters right (SPEC section 4)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
import trio

from agent_core.election.acts import ActKind
from agent_core.errors import ChorusError
from agent_core.roster import machine
from agent_core.roster.admission import Gate, Message, Refusal, Wait, is_fresh, is_signed, not_now
from agent_core.roster.belonging import Belonging
from agent_core.roster.changes import QUIET_S
from agent_core.roster.fold import MemberPayload, RevokePayload, VoterPayload
from agent_core.roster.governing import Governing, standing_heads
from agent_core.roster.judging import objection
from agent_core.roster.means import Means
from agent_core.roster.meeting import Meetings
from agent_core.roster.model import Member, Roster
from agent_core.roster.settings import RosterSettings
from agent_core.roster.waiting import WaitingRoom
from agent_core.wire.envelope import one_line
from agent_core.wire.families.cooee import CooeeAsk, CooeeEnrol, CooeeLeave, CooeeReply, FeedHead

log = logging.getLogger("chorus.roster")

#: How long a member waits for the leader's answer to what it passes on, seconds.
_PASS_ON_S = 25.0
_HEADS = 512
#: How often a member's record may change: every change is an act that everybody keeps.
_CHANGE_MS = 10_000


class Leading:
    """The roster's acts, while this node leads; while it doesn't, the way to the leader.

    Args:
        home: where this node belongs.
        means: gets acts committed, checks signatures, knows who holds what.
        meetings: the peers; whoever among them is a member hears who waits for approval.
        gate: the rules newcomers are measured by.
        settings: how long a voter, and a member without a vote, may be away.
    """

    def __init__(
        self, home: Belonging, means: Means, meetings: Meetings, gate: Callable[[], Gate], settings: RosterSettings
    ) -> None:
        self._home = home
        self._means = means
        self._meetings = meetings
        self._gate = gate
        self._settings = settings
        self.room = WaitingRoom()
        self._governing = Governing(home.peer_id, means, meetings, gate, self.room)
        self._one_at_a_time = trio.Lock()
        self._absent_since: dict[str, int] = {}
        #: By member, when its last request that changed something was signed, and when the change was made (ms).
        self._changed: dict[str, tuple[int, int]] = {}
        self.admitted = self.refused = self.promoted = self.demoted = 0

    # --- requests -----------------------------------------------------------------------------------------------------

    async def answer(self, peer: str, message: Message) -> CooeeReply:
        """Answer what a peer asks for, itself or for another that it passes on."""
        if not isinstance(message, CooeeEnrol | CooeeLeave | CooeeAsk):
            return CooeeReply(status="refused", message="That is no question.")
        misplaced = self._misplaced(message)
        if misplaced is not None:
            return misplaced
        if not self._means.proposer.leading:
            return await self._pass_on(peer, message)
        if not is_signed(message, self._means.verifier):
            return CooeeReply(status="refused", message="The signature doesn't hold.")
        if isinstance(message, CooeeEnrol):
            return await self.admit(message)
        if isinstance(message, CooeeLeave):
            return await self._let_go(message)
        return await self._govern(message)

    async def _govern(self, ask: CooeeAsk) -> CooeeReply:
        async with self._one_at_a_time:
            roster = self._home.roster
            if roster is None:
                return CooeeReply(status="pending", message="The roster isn't known here yet.")
            reply = await self._governing.carry_out(ask, roster)
            if reply.status == "done" and reply.act:
                await self._home.folded(reply.act)
                self.admitted += ask.verb == "approve"
        self._meetings.greet_all()  # who waits changed
        return reply

    async def admit(self, enrol: CooeeEnrol) -> CooeeReply:
        """Admit a newcomer, or bring a member's record up to date; the answer says "admitted" only once it is committed."""
        async with self._one_at_a_time:
            roster = self._home.roster
            if roster is None:
                return CooeeReply(status="pending", message="The roster isn't known here yet.")
            found = self._gate().record(enrol, roster, self._means.now_ms())
            if isinstance(found, Refusal):
                self.refused += 1
                return CooeeReply(status="refused", message=found.message, next=found.next)
            if isinstance(found, Wait):
                return self._wait(enrol)
            record, ticket = found.record, found.ticket
            before, number = roster.get(enrol.peer_id), roster.version
            signed_ms, changed_ms = self._changed.get(enrol.peer_id, (0, 0))
            if before is not None and not before.active:
                before = None  # evicted: it comes in anew
            if record != before and before is not None and self._means.now_ms() - changed_ms < _CHANGE_MS:
                return CooeeReply(
                    status="pending", message="This record changed a moment ago.", next="Ask again later."
                )
            if record != before and (before is None or enrol.at_ms > signed_ms):
                kind = ActKind.MEMBER_ADD if before is None else ActKind.MEMBER_CHANGE
                try:
                    number = (
                        await self._means.proposer.propose(kind, MemberPayload(member=record, ticket=ticket))
                    ).number
                except ChorusError as exc:
                    return not_now(exc)
                if before is not None:
                    self._changed[enrol.peer_id] = (enrol.at_ms, self._means.now_ms())
                await self._home.folded(number)
                self.admitted += before is None
                self.room.leave(record.peer_id)
                log.info("%s %s (%s)", kind.value, record.agent_id, record.peer_id)
        heads = self._means.heads()[:_HEADS]
        return CooeeReply(
            status="admitted",
            cluster=self._home.bound,
            act=number,
            heads=tuple(FeedHead(author=h.author, epoch=h.epoch, size=h.size, root=h.root) for h in heads),
        )

    def _wait(self, enrol: CooeeEnrol) -> CooeeReply:
        now_ms = self._means.now_ms()
        by = self.room.refused_by(enrol.peer_id, now_ms)
        if by:
            return CooeeReply(
                status="refused", message=f"It was refused by {by}.", next="Ask a person of that cluster."
            )
        known = self.room.get(enrol.peer_id, now_ms)
        waiting = self.room.take(enrol, now_ms)
        if waiting is None:
            return CooeeReply(status="pending", message="Too many wait for approval already.", next="Wait.")
        if known is None:
            log.info("%s (%s) waits for approval", one_line(enrol.agent_id, 64), enrol.peer_id)
            self._meetings.greet_all()
        return CooeeReply(status="waiting", cluster=self._home.bound, act=waiting.since_ms)

    async def _let_go(self, leave: CooeeLeave) -> CooeeReply:
        if not is_fresh(leave.at_ms, self._means.now_ms()):
            return CooeeReply(status="refused", message="That leave is not of now.", next="Set the clocks right.")
        async with self._one_at_a_time:
            signed_ms, changed_ms = self._changed.get(leave.peer_id, (0, 0))
            if (
                leave.at_ms <= signed_ms
            ):  # taken already: the member may be back since, and others have this message too
                return CooeeReply(status="done", cluster=self._home.bound)
            self._meetings.forget_use(leave.peer_id)
            roster = self._home.roster
            if roster is None or leave.peer_id not in roster.voters:
                return CooeeReply(status="done", cluster=self._home.bound)
            try:
                number = await self._change(machine.VoterChange(ActKind.VOTER_REMOVE, leave.peer_id, "took leave"))
            except ChorusError as exc:
                return not_now(exc)
            self._changed[leave.peer_id] = (leave.at_ms, changed_ms)
            return CooeeReply(status="done", cluster=self._home.bound, act=number)

    def _misplaced(self, message: CooeeEnrol | CooeeLeave | CooeeAsk) -> CooeeReply | None:
        """Why a request can't be for this node at all."""
        home = self._home
        if isinstance(message, CooeeEnrol) and message.network != home.network_name:
            return CooeeReply(
                status="refused",
                message=f"This is network {home.network_name}, not {one_line(message.network, 64)}.",
                next="Set cluster.network to the same name on both.",
            )
        if not home.bound or home.roster is None:
            return CooeeReply(status="pending", message="This node doesn't belong to a cluster yet.")
        if home.moving:
            return CooeeReply(status="pending", message="This node is moving into another cluster.")
        if message.cluster != home.bound:
            return CooeeReply(
                status="refused",
                message=f"This node belongs to cluster {home.bound[:8]}, not {message.cluster[:8]}.",
                next="Connect to a node of the cluster you mean.",
            )
        return None

    async def _pass_on(self, peer: str, message: CooeeEnrol | CooeeLeave | CooeeAsk) -> CooeeReply:
        """Not the leader: ask it on the other's behalf, or say who it is."""
        leader = self._means.leader()
        if not leader or leader == self._home.peer_id:
            return self._leaderless()
        if message.hops == 0 and leader != peer and leader in self._meetings.connected():
            reply = await self._meetings.ask(leader, msgspec.structs.replace(message, hops=1), _PASS_ON_S)
            if isinstance(reply, CooeeReply):
                return reply
        return CooeeReply(status="redirect", leader=leader, message="Another node leads.", next="Ask the leader.")

    def _leaderless(self) -> CooeeReply:
        """Nobody leads: whether one only has to wait, or the majority is gone."""
        roster = self._home.roster
        voters = roster.voters if roster else ()
        reached = sum(v == self._home.peer_id or v in self._meetings.connected() for v in voters)
        if roster is None or reached >= roster.quorum:
            return CooeeReply(status="pending", message="There is no leader just now.", next="Wait for the election.")
        return CooeeReply(
            status="pending",
            message=f"Only {reached} of {len(voters)} voters can be reached, so nobody can lead.",
            next="Wait for the others; if they are gone for good, `chorus-hap cluster recover` says what to do.",
        )

    # --- voters -------------------------------------------------------------------------------------------------------

    async def tend_voters(self) -> float:
        """One change of the voters if one is due; returns how long to rest, seconds.

        Raises:
            NotLeader, NoQuorum: the change wasn't committed.
        """
        home, roster = self._home, self._home.roster
        online = self._meetings.connected() | {home.peer_id}
        self._note_absence(roster, online)
        if roster is None or home.moving or not self._means.proposer.leading:
            return QUIET_S
        uses = {m.peer_id: m.voter_use for m in self._meetings.met() if m.cluster == home.bound}
        uses[home.peer_id] = home.voter_use
        doubts = {m.peer_id: m.doubt for m in self._meetings.met() if m.doubt}
        now = self._means.now_ms()
        change = machine.voter_change(
            machine.Electorate(
                roster=roster,
                me=home.peer_id,
                online=online,
                uses=uses,
                caught_up=frozenset(p for p in uses if p == home.peer_id or self._means.caught_up(p)),
                unseen_ms={p: now - since for p, since in self._absent_since.items()},
                demote_after_ms=round(self._settings.demote_s * 1000),
                doubts=doubts,
            )
        )
        if change is None:
            return await self._tend_departed(roster)
        async with self._one_at_a_time:
            now_in_force = home.roster
            if now_in_force is not None and now_in_force.version == roster.version:  # else look again
                await self._change(change)
        return 0.0

    async def _tend_departed(self, roster: Roster) -> float:
        """Evict one that moved into another cluster, or has been away for longer than the settings allow."""
        found = self._next_eviction(roster)
        if found is None:
            # Only for those who are away or have no vote do time and what they hold by now count; all else rings.
            votes = self._meetings.connected() & roster.members.keys() <= set(roster.voters)
            return QUIET_S if votes and not self._absent_since else 1.0
        member, payload = found
        async with self._one_at_a_time:
            now_in_force = self._home.roster
            if now_in_force is not None and now_in_force.version == roster.version:  # else look again
                await self._home.folded((await self._means.proposer.propose(ActKind.MEMBER_EVICT, payload)).number)
                log.info("evicted %s (%s): %s", member.agent_id, member.peer_id, payload.reason)
        return 0.0

    def _next_eviction(self, roster: Roster) -> tuple[Member, RevokePayload] | None:
        """The first one that the voters wouldn't refuse, and of whom all is here that must stand."""
        home, now, met = self._home, self._means.now_ms(), self._meetings.get
        # Who says that it is of this cluster is back already: the entry by which it came is on its way.
        moved = {p: to for p, to in self._means.moved_out().items() if (m := met(p)) is None or m.cluster != home.bound}
        unseen_ms = {p: now - since for p, since in self._absent_since.items()}
        evict_after_ms = round(self._settings.evict_s * 1000)
        for gone in machine.departed(
            roster, home.peer_id, moved=moved, unseen_ms=unseen_ms, evict_after_ms=evict_after_ms
        ):
            heads = standing_heads(self._means, gone.member.peer_id)
            payload = RevokePayload(peer_id=gone.member.peer_id, heads=heads or (), reason=gone.reason)
            raw = msgspec.json.encode(payload)
            if heads is not None and not objection(roster, ActKind.MEMBER_EVICT, raw, None, self._means.verifier):
                return gone.member, payload
        return None

    async def _change(self, change: machine.VoterChange) -> int:
        payload = VoterPayload(peer_id=change.peer_id, reason=change.reason, trusts=change.trusts)
        number = (await self._means.proposer.propose(change.kind, payload)).number
        self.promoted += change.kind is ActKind.VOTER_ADD
        self.demoted += change.kind is ActKind.VOTER_REMOVE
        log.info("%s %s: %s", change.kind.value, change.peer_id, change.reason)
        await self._home.folded(number)
        return number

    def _note_absence(self, roster: Roster | None, online: frozenset[str]) -> None:
        now = self._means.now_ms()
        members = roster.members.values() if roster else ()
        absent = [m.peer_id for m in members if m.active and m.peer_id not in online]
        self._absent_since = {v: self._absent_since.get(v, now) for v in absent}
