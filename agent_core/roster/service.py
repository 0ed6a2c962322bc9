"""Membership as it runs: finding, founding or entering a cluster, and saying where this node belongs (SPEC section 4)."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
import trio

from agent_core.clock import off_median_s, wall_ms
from agent_core.election.acts import ActKind, Chain, Proposer
from agent_core.errors import ChorusError
from agent_core.feeds.model import Appender, Draft, Head
from agent_core.identity.signing import Signer, Verifier
from agent_core.network import Network
from agent_core.roster import machine
from agent_core.roster.admission import Gate, Message, renewed, signed_enrol, signed_leave
from agent_core.roster.asking import Asking
from agent_core.roster.changes import Changes
from agent_core.roster.fold import RevokePayload, genesis_of, read
from agent_core.roster.leading import Leading
from agent_core.roster.meeting import Meetings
from agent_core.roster.model import (
    ROSTER_YIELD,
    Authority,
    Lost,
    Member,
    Policy,
    Roster,
    VoterUse,
    YieldData,
)
from agent_core.roster.roles import Role, load
from agent_core.roster.settings import Applicant, RosterSettings
from agent_core.wire.envelope import one_line
from agent_core.wire.families.cooee import (
    CooeeEnrol,
    CooeeHello,
    CooeeLeave,
    CooeeReply,
    CooeeWaiting,
)
from agent_core.wire.judge import Standing

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("chorus.roster")

#: Where the home keeps to which cluster it belongs.
CLUSTER_KEY = "cluster"
#: How long a cluster that refused is left alone, and one that said "pending".
REFUSED_MS = 15_000
PENDING_MS = 1_000
#: A revoked peer is told so, then cut off after so long, and refused for so long; seconds.
TELL_S = 1.0
CUT_FOR_S = 600.0


class Durable(Protocol):
    """Small state on disk."""

    def read(self, key: str) -> bytes | None:
        """The value, if there is one."""
        ...

    async def write(self, key: str, value: bytes) -> None:
        """Keep a value; on disk when it returns."""
        ...


@dataclass(frozen=True, slots=True)
class RosterStatistics:
    """Counters since the start."""

    members: int
    voters: int
    met: int
    admitted: int
    refused: int
    promoted: int
    demoted: int


class RosterService:
    """This node's membership, and while it leads everybody's.

    Args:
        network: streams and peers.
        signer, verifier: sign its own requests, check others'.
        me: who this node is.
        voter_use: what it may be made a voter as; see :meth:`set_voter_use`.
        settings: see :class:`RosterSettings`.
        durable: holds to which cluster the home belongs.
        appender: writes the entry of yielding.
        chain: the committed acts of the cluster last told to ``on_bound``.
        proposer: gets acts committed while this node leads.
        leader: the leader's peer id as known here, or empty.
        found: makes the genesis with this member, in place of a lost cluster if one is given; returns the cluster id.
        on_bound: awaited when the cluster changes, with its id (empty for none), so that folds are rebuilt.
        caught_up: whether a member holds what this node holds.
        heads: the feeds that hold the acts, told to newcomers.
        heads_of: what is held here of an author's feed.
        hand_over: has another node lead.
        doubt: the mark of this home's loss of memory, empty if it had none; :meth:`doubt_changed` when that changes.
        roles: the roles in force.
        now_ms: Unix time in milliseconds.
    """

    def __init__(
        self,
        *,
        network: Network,
        signer: Signer,
        verifier: Verifier,
        me: Applicant,
        voter_use: VoterUse,
        settings: RosterSettings,
        durable: Durable,
        appender: Appender,
        chain: Callable[[], Chain | None],
        proposer: Proposer,
        leader: Callable[[], str],
        found: Callable[[Member, Policy, Lost | None], Awaitable[str]],
        on_bound: Callable[[str], Awaitable[None]],
        caught_up: Callable[[str], bool],
        heads: Callable[[], Sequence[Head]] = lambda: (),
        heads_of: Callable[[str], Sequence[Head]] = lambda author: (),
        hand_over: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        doubt: Callable[[], str] = lambda: "",
        roles: Mapping[str, Role] | None = None,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self.me = me
        self.peer_id = network.peer_id
        self._network = network
        self._signer = signer
        self._verifier = verifier
        self._settings = settings
        self._durable = durable
        self._appender = appender
        self._chain = chain
        self._proposer = proposer
        self._leader = leader
        self._found = found
        self._on_bound = on_bound
        self._caught_up = caught_up
        self._heads = heads
        self._doubt = doubt
        self._now_ms = now_ms
        self.voter_use = voter_use
        self._gate = self._gate_of(load() if roles is None else roles)
        self.bound = (durable.read(CLUSTER_KEY) or b"").decode("ascii", "replace")
        self._joining = self._goal = ""
        self._asking = False
        self._since_ms = now_ms()
        self._avoid: dict[str, int] = {}
        self._refusal = ""
        self._waiting_since_ms = 0
        #: Revoked peers that are connected, and since when; and those that were cut off before.
        self._told: dict[str, float] = {}
        self._cut: set[str] = set()
        self._changes = Changes()
        self._leading = Leading(
            self,
            proposer,
            leader,
            verifier,
            self._gate,
            caught_up,
            heads,
            self._changes,
            settings.demote_s,
            settings.evict_s,
            chain,
            heads_of,
            hand_over,
            now_ms,
        )
        self._meetings = Meetings(network, self._hello, self._answer, self.changed, now_ms)
        self._leading.room_changed = self._meetings.greet_all
        #: What this node asks the leader for, and the tickets it gives.
        self.asking = Asking(self, signer, lambda: self._gate.roles, self._put, self._changes, now_ms)

    def _gate_of(self, roles: Mapping[str, Role]) -> Gate:
        return Gate(self._verifier, roles, self._settings.beyond_loopback, self._settings.force_open)

    def use_roles(self, roles: Mapping[str, Role]) -> None:
        """Other roles from now on, for those who come from now on."""
        self._gate = self._gate_of(roles)
        self._leading.use_gate(self._gate)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Meet peers, find or found a cluster, and keep its voters right while leading. Runs until cancelled."""
        self._since_ms = self._now_ms()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._meetings.run)
            nursery.start_soon(self._repeat, self._belong)
            nursery.start_soon(self._repeat, lambda: self._leading.tend_voters(self._meetings))
            nursery.start_soon(self._repeat, self._cut_off)
            task_status.started()

    def changed(self) -> None:
        """Something this depends on changed: the chain, the leader, a peer. Cheap; call it freely."""
        self._changes.ring()

    # --- what others ask ----------------------------------------------------------------------------------------------

    @property
    def cluster_id(self) -> str:
        """The cluster this node belongs to, or is moving into; empty for none."""
        return self._joining or self.bound

    @property
    def network_name(self) -> str:
        """The name that separates meshes."""
        return self._settings.network

    @property
    def moving(self) -> bool:
        """A cluster of one on its way into another: it admits nobody meanwhile."""
        return bool(self.bound) and self._asking

    @property
    def roster(self) -> Roster | None:
        """The roster in force in that cluster, as far as it is known here."""
        chain = self._chain()
        roster = chain.roster if chain is not None and self.cluster_id else None
        return roster if roster is not None and roster.cluster_id == self.cluster_id else None

    @property
    def member(self) -> Member | None:
        """This node's own record, once the cluster's committed acts show it."""
        roster = self.roster
        return roster.get(self.peer_id) if roster else None

    @property
    def lone(self) -> bool:
        """The cluster's only member ever is this node."""
        roster = self.roster
        return roster is not None and set(roster.members) == {self.peer_id}

    @property
    def met(self) -> tuple[machine.Meeting, ...]:
        """What the peers connected now have said of themselves."""
        return self._meetings.met()

    @property
    def stage(self) -> str:
        """Where membership stands: ``looking for peers``, ``enrolling``, ``waiting for approval``, ``member``, ``evicted`` or
        ``revoked``."""
        if self._waiting_since_ms:
            return "waiting for approval"
        if self._joining:
            return "enrolling"
        if self.member is not None:
            return "member" if self.member.active else "evicted" if self.member.revoked is None else "revoked"
        return "enrolling" if any(m.cluster for m in self._meetings.met()) else "looking for peers"

    @property
    def looking_left_s(self) -> float:
        """How long it will still look for peers before it founds, seconds; 0 once it belongs somewhere."""
        left = self._settings.discovery_s - (self._now_ms() - self._since_ms) / 1000
        return max(0.0, left) if not self.cluster_id and self._settings.may_found else 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences a person should read."""
        inside = self.member is not None and self.member.active
        out = [self._refusal] if self._refusal and not inside else []
        out += self._gone_note()
        out += [self._foreign_note(m) for m in machine.foreign(self._situation())]
        networks = sorted(set(self._meetings.other_networks.values()))
        out += [f"A peer of network {n} is connected; this is network {self._settings.network}." for n in networks]
        return tuple(out)

    def _foreign_note(self, met: machine.Meeting) -> str:
        here, there = self.bound[:8], met.cluster[:8]
        if met.replaces and met.replaces == self.bound:
            return (
                f"{met.agent_id} founded cluster {there} in place of this one, {here}. If this one's majority is lost "
                f"for good, go there: chorus-hap cluster join {there}"
            )
        return (
            f"{met.agent_id} of cluster {there} is in reach; this home belongs to cluster {here}. Clusters of several "
            f"members never merge by themselves; this home alone goes there with: chorus-hap cluster join {there}"
        )

    def standing(self, peer_id: str) -> Standing:
        """The roster's word on an author, for judging messages."""
        roster = self.roster
        member = roster.get(peer_id) if roster else None
        if member is None:
            return Standing.UNKNOWN
        if member.active:
            return Standing.MEMBER
        return Standing.UNKNOWN if member.revoked is None else Standing.REVOKED

    def limit(self, author: str, epoch: int) -> int | None:
        """How much of an author's epoch is fetched and shown to others: nothing for all of it (SPEC section 4, revocation)."""
        roster = self.roster
        member = roster.get(author) if roster else None
        if member is None or member.stands is None:
            return None
        return next((head.size for head in member.stands if head.epoch == epoch), 0)

    def waiting(self) -> tuple[CooeeWaiting, ...]:
        """Who waits for approval, as far as the leader has told."""
        if self._proposer.leading:
            return self._leading.room.told(self._now_ms())
        met = self._meetings.get(self._leader())
        return met.waiting if met is not None else ()

    def accepts(self, author: str) -> bool:
        """Whether an author's feed is taken in: everybody's until the roster is known, then the members'."""
        roster = self.roster
        return roster is None or author == self.peer_id or roster.get(author) is not None

    def set_voter_use(self, use: VoterUse) -> None:
        """What this node may be made a voter as from now on (a console's node becomes a daemon, a node ends)."""
        if use is not self.voter_use:
            self.voter_use = use
            self._meetings.greet_all()
            self.changed()

    @property
    def clock_off_s(self) -> float:
        """How far this node's clock is ahead of the median of the members' it is connected to; negative for behind."""
        roster = self.roster
        return off_median_s(
            ahead_s for peer, ahead_s in self._meetings.ahead_s.items() if roster and roster.is_member(peer)
        )

    def doubt_changed(self) -> None:
        """This home was found to have forgotten something, or is trusted again: the leader must hear of it."""
        self._meetings.greet_all()
        self.changed()

    def statistics(self) -> RosterStatistics:
        """Counters since the start."""
        roster = self.roster
        return RosterStatistics(
            members=sum(1 for m in roster.members.values() if m.active) if roster else 0,
            voters=len(roster.voters) if roster else 0,
            met=len(self._meetings.met()),
            admitted=self._leading.admitted,
            refused=self._leading.refused,
            promoted=self._leading.promoted,
            demoted=self._leading.demoted,
        )

    async def take_leave(self, timeout_s: float = 5.0) -> bool:
        """Stop being a voter before a clean exit, if this node is one only for want of others.

        The election must go on meanwhile, since this node's own acknowledgement may be needed; a leader resigns first.

        Returns:
            Whether nothing holds this node any more: its leave is committed, or it had no need of one.
        """
        return self.voter_use is VoterUse.FULL or await self.stop_voting(timeout_s)

    async def stop_voting(self, timeout_s: float) -> bool:
        """Have this node removed from the voters, and be nobody to promote until :meth:`set_voter_use` says otherwise.

        Returns:
            Whether that is committed, or it was no voter anyway.
        """
        roster, member = self.roster, self.member
        if roster is None or member is None or not member.voter:
            return True
        self.set_voter_use(VoterUse.NEVER)
        if len(roster.voters) == 1:
            return False
        leave = CooeeLeave(cluster=self.bound, peer_id=self.peer_id, at_ms=self._now_ms())
        request = signed_leave(leave, self._signer)
        end = trio.current_time() + timeout_s
        while (left_s := end - trio.current_time()) > 0:
            for peer in self._towards_leader():
                reply = await self._meetings.ask(peer, request, left_s)
                if isinstance(reply, CooeeReply) and reply.status == "done":
                    return True
            await trio.sleep(0.2)
        return False

    async def go_to(self, cluster: str, timeout_s: float) -> str:
        """Move into a cluster whose members are connected, because the person says so.

        Returns:
            Why it didn't come to that in time; empty if this home belongs there now.
        """
        self._goal, self._refusal = cluster, ""
        self._avoid.pop(cluster, None)
        self.changed()
        try:
            await self._changes.until(lambda: self.bound == cluster or self._turned_down(cluster), timeout_s)
        finally:
            self._goal = ""
        return "" if self.bound == cluster else self._refusal or "It doesn't answer."

    async def found_anew(self, lost: Lost) -> str:
        """Found a cluster in place of the one this home belongs to; its id. What it takes with it is in :func:`founded`."""
        member = self.member
        assert member is not None
        cluster = await self._found_cluster(msgspec.structs.replace(member, authority=Authority.MASTER), lost)
        log.warning("cluster %s takes the place of %s", cluster, lost.cluster)
        return cluster

    # --- who is no member any more ------------------------------------------------------------------------------------

    async def _cut_off(self) -> float:
        """Revoked peers are told so by the election's stream, and lose their connections a moment later."""
        now = trio.current_time()
        revoked = [p for p in self._meetings.connected() if self.standing(p) is Standing.REVOKED and not self._is_out()]
        self._told = {p: self._told.get(p, now) for p in revoked}
        for peer in [p for p, since in self._told.items() if now - since >= TELL_S]:
            # The first time it may have been too busy to listen: it is let in and told once more.
            known = peer in self._cut
            self._cut.add(peer)
            log.info("cut off %s, which was revoked", peer)
            await self._network.disconnect(peer, refuse_s=CUT_FOR_S if known else 0.0)
        return TELL_S / 4 if self._told else 1.0

    def _is_out(self) -> bool:
        member = self.member
        return member is not None and not member.active

    # --- belonging ----------------------------------------------------------------------------------------------------

    async def _repeat(self, step: Callable[[], Awaitable[float]]) -> None:
        """Take a step at every change, or when the step's own time comes."""
        while True:
            seen = self._changes.count
            try:
                rest_s = await step()
            except ChorusError as exc:
                log.warning("membership: %s", exc)
                rest_s = 1.0
            await self._changes.until(lambda seen=seen: self._changes.count != seen, rest_s)  # type: ignore[misc]
            await trio.lowlevel.checkpoint()

    async def _belong(self) -> float:
        """One step towards a cluster; returns how long it may rest, seconds."""
        match machine.next_step(self._situation()):
            case machine.Found():
                record = self._gate.applicant(self._request(""))
                cluster = await self._found_cluster(msgspec.structs.replace(record, authority=Authority.MASTER))
                log.info("founded cluster %s", cluster)
                return 0.0
            case machine.Enrol(peer_id=peer, cluster=cluster):
                await self._enrol(peer, cluster)
                return 0.2
            case machine.Wait(until_ms=until):
                return min(1.0, max(0.05, (until - self._now_ms()) / 1000))
            case _ if self._is_out():
                return await self._come_back()
            case _:
                await self._renew_record()
                return 1.0

    def _situation(self) -> machine.Situation:
        now = self._now_ms()
        if not self._network.addresses:
            self._since_ms = now  # who can't be reached yet hasn't looked for anybody: a mesh may take seconds to start
        self._avoid = {c: until for c, until in self._avoid.items() if until > now}
        return machine.Situation(
            me=self.peer_id,
            now_ms=now,
            since_ms=self._since_ms,
            cluster=self.bound,
            lone=self.lone,
            met=self._meetings.met(),
            grace_ms=round(self._settings.discovery_s * 1000),
            found_now=self._settings.found,
            nobody_to_look_for=self._settings.nobody_to_look_for,
            may_found=self._settings.may_found,
            avoid=frozenset(self._avoid),
            goal=self._goal,
            invited=self.me.ticket.cluster if self.me.ticket is not None else "",
        )

    async def _found_cluster(self, founder: Member, lost: Lost | None = None) -> str:
        roster = self.roster
        policy = roster.policy if lost is not None and roster is not None else self._settings.policy
        cluster = await self._found(msgspec.structs.replace(founder, voter=True), policy, lost)
        await self._say_moved(cluster, 0)
        await self._durable.write(CLUSTER_KEY, cluster.encode())
        self.bound = cluster
        await self._on_bound(cluster)
        self._meetings.greet_all()
        self.changed()
        return cluster

    async def _say_moved(self, cluster: str, act: int) -> None:
        """Write into the own feed where it ends to count for one cluster and begins for another."""
        if self.bound:
            await self._appender.append([Draft(ROSTER_YIELD, YieldData(old=self.bound, new=cluster, act=act))])

    def _request(self, cluster: str) -> CooeeEnrol:
        me = self.me
        enrol = CooeeEnrol(
            network=self._settings.network,
            cluster=cluster,
            peer_id=self.peer_id,
            agent_id=me.agent_id,
            role=me.role,
            kind=me.kind.value,
            at_ms=self._now_ms(),
            age_recipient=me.age_recipient,
            voter_use=self.voter_use.value,
            capabilities=me.capabilities,
            models=me.models,
            host=me.host,
            ticket=me.ticket if me.ticket is not None and me.ticket.cluster == cluster else None,
        )
        return signed_enrol(enrol, self._signer)

    async def _enrol(self, peer: str, cluster: str) -> None:
        """Ask for admission by way of a peer; once it is committed and seen, belong there."""
        self._asking = True
        try:
            reply = await self._ask_admission(peer, cluster)
            self._note_waiting(reply)
            if reply is not None and reply.status == "admitted" and reply.cluster == cluster:
                await self._move_into(cluster)
            elif reply is not None and reply.status == "waiting":
                self._avoid_for(cluster, PENDING_MS, self._waiting_words(cluster))
            elif reply is None or reply.status in ("pending", "redirect"):
                self._avoid_for(cluster, PENDING_MS, one_line(reply.message, 300) if reply else "")
            else:
                said = one_line(f"{reply.message} {reply.next}", 400)
                self._avoid_for(cluster, REFUSED_MS, f"Cluster {cluster[:8]} doesn't admit this node: {said}")
        finally:
            self._asking = False

    def _note_waiting(self, reply: CooeeReply | None) -> None:
        if reply is None or reply.status == "pending":
            return  # nobody said that it changed
        waits = reply.status == "waiting"
        self._waiting_since_ms = (self._waiting_since_ms or self._now_ms()) if waits else 0

    def _waiting_words(self, cluster: str) -> str:
        since = time.strftime("%H:%M", time.localtime(self._waiting_since_ms / 1000))
        return (
            f"Waiting for approval by a person of cluster {cluster[:8]} since {since}; there this node is "
            f"{self.me.agent_id} …{self.peer_id[-6:]}."
        )

    def _gone_note(self) -> list[str]:
        """What a person must know first of a node that is no member any more."""
        chain, member = self._chain(), self.member
        if chain is None or member is None or member.active:
            return []
        kind = ActKind.MEMBER_REVOKE if member.revoked is not None else ActKind.MEMBER_EVICT
        said = (read(act.payload, RevokePayload) for act in reversed(chain.committed) if act.kind == kind)
        payload = next((p for p in said if p is not None and p.peer_id == self.peer_id), None)
        roster, by, why = self.roster, "", ""
        if payload is not None:
            asker = roster.get(payload.warrant.by) if roster and payload.warrant else None
            by = f" by {asker.agent_id}" if asker else ""
            why = f": {one_line(payload.reason, 200).rstrip('.')}" if payload.reason else ""
        if member.revoked is None:
            return [f"This node was evicted from cluster {self.bound[:8]}{by}{why}. It asks to be admitted again."]
        return [
            f"This node was revoked from cluster {self.bound[:8]}{by}{why}. Nothing it writes reaches the others any more; "
            "make a new home to come in as somebody new."
        ]

    async def _come_back(self) -> float:
        """An evicted member asks to be admitted again, by the cluster's policy; a revoked one has nobody to ask."""
        member = self.member
        if member is None or member.revoked is not None or self._avoid.get(self.bound):
            return 1.0
        for peer in self._towards_leader()[:2]:
            reply = await self._ask_admission(peer, self.bound)
            self._note_waiting(reply)
            if reply is None:
                continue
            if reply.status == "admitted":
                await self._changes.until(lambda: not self._is_out(), self._settings.join_s)
                return 0.2
            if reply.status == "waiting":
                self._avoid_for(self.bound, PENDING_MS, self._waiting_words(self.bound))
            elif reply.status == "refused":
                said = one_line(f"{reply.message} {reply.next}", 400)
                self._avoid_for(self.bound, REFUSED_MS, f"Cluster {self.bound[:8]} doesn't admit this node: {said}")
            break
        return 1.0

    async def _ask_admission(self, peer: str, cluster: str) -> CooeeReply | None:
        reply = await self._meetings.ask(peer, self._request(cluster), 30.0)
        if isinstance(reply, CooeeReply) and reply.status == "redirect" and reply.leader in self._meetings.connected():
            reply = await self._meetings.ask(reply.leader, self._request(cluster), 30.0)
        return reply if isinstance(reply, CooeeReply) else None

    def _avoid_for(self, cluster: str, ms: int, why: str) -> None:
        if len(self._avoid) < 64:
            self._avoid[cluster] = self._now_ms() + ms
        self._refusal = why or self._refusal

    def _turned_down(self, cluster: str) -> bool:
        """Whether a cluster said no, rather than not yet."""
        return self._avoid.get(cluster, 0) - self._now_ms() > PENDING_MS

    async def _move_into(self, cluster: str) -> None:
        """Fold the cluster's acts; belong to it when they show this node's admission, else stay what it was."""
        self._joining = cluster
        try:
            await self._on_bound(cluster)
            if await self._changes.until(lambda: self.member is not None, self._settings.join_s):
                await self._settle(cluster)
        finally:
            joined, self._joining = self.bound == cluster, ""
            if not joined:
                self._avoid_for(
                    cluster, REFUSED_MS, f"Cluster {cluster[:8]} admitted this node, but its acts don't come."
                )
                with trio.CancelScope(shield=True):
                    await self._on_bound(self.bound)

    async def _settle(self, cluster: str) -> None:
        chain = self._chain()
        if chain is not None:
            await self._say_moved(cluster, len(chain.committed) - 1)
        await self._durable.write(CLUSTER_KEY, cluster.encode())
        self.bound = cluster
        self._refusal = ""
        self._meetings.greet_all()
        log.info("enrolled in cluster %s", cluster)

    async def _renew_record(self) -> None:
        """See to it that the roster says of this node what it says of itself."""
        self._waiting_since_ms = 0
        before = self.member
        if before is None or not before.active or self._avoid.get(self.bound):
            return
        request = self._request(self.bound)
        if renewed(before, self._gate.applicant(request)) == before:
            return
        self._avoid[self.bound] = self._now_ms() + REFUSED_MS
        if self._proposer.leading:
            await self._leading.admit(request)
            return
        for peer in self._towards_leader()[:2]:
            reply = await self._meetings.ask(peer, request, 10.0)
            if isinstance(reply, CooeeReply) and reply.status == "admitted":
                return

    async def _put(self, request: Message, left_s: float) -> CooeeReply | None:
        """Bring a request to the leader, which may be this node."""
        if self._proposer.leading:
            return await self._leading.answer(self.peer_id, request, self._meetings)
        for peer in self._towards_leader()[:2]:
            reply = await self._meetings.ask(peer, request, min(left_s, 10.0))
            if isinstance(reply, CooeeReply) and reply.status != "redirect":
                return reply
        return None

    def _towards_leader(self) -> list[str]:
        """Connected members of this cluster, the leader first."""
        leader = self._leader()
        ours = [m.peer_id for m in self._meetings.met() if m.cluster == self.bound]
        return sorted(ours, key=lambda p: p != leader)

    @property
    def _replaces(self) -> str:
        """The cluster whose place this one took, if it did."""
        chain = self._chain()
        genesis = genesis_of(chain.committed[0]) if chain is not None and chain.committed else None
        return genesis.replaces if genesis else ""

    def _hello(self, peer: str) -> CooeeHello:
        roster = self.roster
        tells = roster is not None and roster.is_member(peer) and self._proposer.leading
        return CooeeHello(
            network=self._settings.network,
            agent_id=self.me.agent_id,
            cluster=self.bound,
            lone=self.lone,
            moving=self.moving,
            members=len(roster.members) if roster else 0,
            replaces=self._replaces,
            leader=self._leader(),
            voter_use=self.voter_use.value,
            at_ms=self._now_ms(),
            doubt=self._doubt(),
            waiting=self._leading.room.told(self._now_ms()) if tells else (),
        )

    async def _answer(self, peer: str, message: Message) -> Message:
        return await self._leading.answer(peer, message, self._meetings)
