"""How this node comes in: it finds a cluster or founds one, asks to be admitted, waits, comes back, and keeps its record right."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec

from agent_core.network import Network
from agent_core.roster import machine, notes
from agent_core.roster.admission import Gate, renewed, signed_enrol
from agent_core.roster.belonging import Belonging
from agent_core.roster.changes import QUIET_S, Changes
from agent_core.roster.means import Means
from agent_core.roster.meeting import ANSWER_S, Meetings
from agent_core.roster.model import Authority, Lost, Member, Policy
from agent_core.roster.reaching import Reaching
from agent_core.roster.settings import RosterSettings
from agent_core.wire.envelope import one_line
from agent_core.wire.families.cooee import CooeeEnrol, CooeeReply

log = logging.getLogger("chorus.roster")

#: How long a cluster that refused is left alone, and one that said "pending".
REFUSED_MS = 15_000
PENDING_MS = 1_000
#: Clusters that are remembered as having refused.
_MOST_AVOIDED = 64


class Entering:
    """Takes one step after another towards a cluster, by :func:`agent_core.roster.machine.next_step`.

    Args:
        home: where this node belongs.
        means: signing, time, who leads.
        meetings: the peers.
        reaching: the way to the leader of its own cluster.
        network: says whether this node can be reached yet.
        gate: the rules by which this node's own record is made.
        settings: see :class:`RosterSettings`.
        changes: rings when something changed.
        found: makes the genesis with this member, in place of a lost cluster if one is given; returns the cluster id.
    """

    def __init__(
        self,
        home: Belonging,
        means: Means,
        meetings: Meetings,
        reaching: Reaching,
        *,
        network: Network,
        gate: Callable[[], Gate],
        settings: RosterSettings,
        changes: Changes,
        found: Callable[[Member, Policy, Lost | None], Awaitable[str]],
    ) -> None:
        self._home = home
        self._means = means
        self._meetings = meetings
        self._reaching = reaching
        self._network = network
        self._gate = gate
        self._settings = settings
        self._changes = changes
        self._found = found
        self._since_ms = means.now_ms()
        self._goal = ""
        self._avoid: dict[str, int] = {}
        self._refusal = ""
        self._waiting_since_ms = 0

    def begin(self) -> None:
        """The time to look for peers begins now."""
        self._since_ms = self._means.now_ms()

    # --- how it stands ------------------------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """A person has to approve it first."""
        return bool(self._waiting_since_ms)

    @property
    def refusal(self) -> str:
        """Why it isn't in yet; empty once it is, or while nothing is known."""
        member = self._home.member
        return "" if member is not None and member.active else self._refusal

    @property
    def looking_left_s(self) -> float:
        """How long it will still look for peers before it founds, seconds; 0 once it belongs somewhere."""
        left = self._settings.discovery_s - (self._means.now_ms() - self._since_ms) / 1000
        return max(0.0, left) if not self._home.cluster_id and self._settings.may_found else 0.0

    def situation(self) -> machine.Situation:
        """Everything the next step depends on."""
        now, me = self._means.now_ms(), self._home.me
        if not self._network.addresses:
            self._since_ms = now  # who can't be reached yet hasn't looked for anybody: a mesh may take seconds to start
        self._avoid = {c: until for c, until in self._avoid.items() if until > now}
        return machine.Situation(
            me=self._home.peer_id,
            now_ms=now,
            since_ms=self._since_ms,
            cluster=self._home.bound,
            lone=self._home.lone,
            met=self._meetings.met(),
            grace_ms=round(self._settings.discovery_s * 1000),
            found_now=self._settings.found,
            nobody_to_look_for=self._settings.nobody_to_look_for,
            may_found=self._settings.may_found,
            avoid=frozenset(self._avoid),
            goal=self._goal,
            invited=me.ticket.cluster if me.ticket is not None else "",
        )

    # --- steps --------------------------------------------------------------------------------------------------------

    async def step(self) -> float:
        """One step towards a cluster; returns how long it may rest, seconds."""
        match machine.next_step(self.situation()):
            case machine.Found():
                cluster = await self._found_cluster(self._gate().applicant(self.request("")))
                log.info("founded cluster %s", cluster)
                return 0.0
            case machine.Enrol(peer_id=peer, cluster=cluster):
                await self._enrol(peer, cluster)
                return 0.2
            case machine.Wait(until_ms=until):
                return min(1.0, max(0.05, (until - self._means.now_ms()) / 1000))
            case _ if self._home.out:
                return await self._come_back()
            case _:
                await self._renew_record()
                return QUIET_S

    async def go_to(self, cluster: str, timeout_s: float) -> str:
        """Move into a cluster whose members are connected, because the person says so.

        Returns:
            Why it didn't come to that in time; empty if this home belongs there now.
        """
        home = self._home
        self._goal, self._refusal = cluster, ""
        self._avoid.pop(cluster, None)
        self._changes.ring()
        try:
            await self._changes.until(lambda: home.bound == cluster or self._turned_down(cluster), timeout_s)
        finally:
            self._goal = ""
        return "" if home.bound == cluster else self._refusal or "It doesn't answer."

    async def found_anew(self, lost: Lost) -> str:
        """Found a cluster in place of the one this home belongs to; its id. What it takes with it is in :func:`founded`."""
        member = self._home.member
        assert member is not None
        cluster = await self._found_cluster(member, lost)
        log.warning("cluster %s takes the place of %s", cluster, lost.cluster)
        return cluster

    async def _found_cluster(self, founder: Member, lost: Lost | None = None) -> str:
        roster = self._home.roster
        policy = roster.policy if lost is not None and roster is not None else self._settings.policy
        master = msgspec.structs.replace(founder, authority=Authority.MASTER, voter=True)
        cluster = await self._found(master, policy, lost)
        await self._home.founded(cluster)
        self._meetings.greet_all()
        self._changes.ring()
        return cluster

    def request(self, cluster: str) -> CooeeEnrol:
        """This node's signed request to be admitted to a cluster, or to have its record there brought up to date."""
        return signed_enrol(self._unsigned(cluster), self._means.signer)

    def _unsigned(self, cluster: str) -> CooeeEnrol:
        me = self._home.me
        return CooeeEnrol(
            network=self._settings.network,
            cluster=cluster,
            peer_id=self._home.peer_id,
            agent_id=me.agent_id,
            role=me.role,
            kind=me.kind.value,
            at_ms=self._means.now_ms(),
            age_recipient=me.age_recipient,
            voter_use=self._home.voter_use.value,
            capabilities=me.capabilities,
            models=me.models,
            host=me.host,
            ticket=me.ticket if me.ticket is not None and me.ticket.cluster == cluster else None,
        )

    async def _enrol(self, peer: str, cluster: str) -> None:
        """Ask for admission by way of a peer; once it is committed and seen, belong there."""
        self._home.asking = True
        try:
            reply = await self._ask(peer, cluster)
            if reply is not None and reply.status == "admitted" and reply.cluster == cluster:
                await self._go_over(cluster, reply.act)
            elif reply is None or reply.status in ("pending", "redirect"):
                self._avoid_for(cluster, PENDING_MS, one_line(reply.message, 300) if reply else "")
            else:
                self._turned_away(cluster, reply)
        finally:
            self._home.asking = False

    async def _go_over(self, cluster: str, act: int) -> None:
        if not await self._home.go_over(cluster, act, self._settings.join_s):
            self._avoid_for(cluster, REFUSED_MS, notes.unseen(cluster))
            return
        self._refusal = ""
        self._meetings.greet_all()
        log.info("enrolled in cluster %s", cluster)

    async def _come_back(self) -> float:
        """An evicted member asks to be admitted again, by the cluster's policy; a revoked one has nobody to ask."""
        home, member = self._home, self._home.member
        if member is None or member.revoked is not None or self._avoid.get(home.bound):
            return 1.0
        for peer in self._reaching.towards()[:2]:
            reply = await self._ask(peer, home.bound)
            if reply is None:
                continue
            if reply.status == "admitted":
                await self._changes.until(lambda: not home.out, self._settings.join_s)
                return 0.2
            if reply.status in ("waiting", "refused"):
                self._turned_away(home.bound, reply)
            break
        return 1.0

    async def _ask(self, peer: str, cluster: str) -> CooeeReply | None:
        """Ask a peer for admission, and the leader if it names one."""
        reply = await self._meetings.ask(peer, self.request(cluster), ANSWER_S)
        if isinstance(reply, CooeeReply) and reply.status == "redirect" and reply.leader in self._meetings.connected():
            reply = await self._meetings.ask(reply.leader, self.request(cluster), ANSWER_S)
        if not isinstance(reply, CooeeReply):
            return None
        if reply.status != "pending":  # else nobody said that it changed
            waits = reply.status == "waiting"
            self._waiting_since_ms = (self._waiting_since_ms or self._means.now_ms()) if waits else 0
        return reply

    async def _renew_record(self) -> None:
        """See to it that the roster says of this node what it says of itself."""
        home = self._home
        self._waiting_since_ms = 0
        before = home.member
        if before is None or not before.active or self._avoid.get(home.bound):
            return
        if renewed(before, self._gate().applicant(self._unsigned(home.bound))) == before:
            return
        self._avoid[home.bound] = self._means.now_ms() + REFUSED_MS
        await self._reaching.put(self.request(home.bound))

    def _turned_away(self, cluster: str, reply: CooeeReply) -> None:
        """Not in: a person has to approve it, or it is refused."""
        if reply.status == "waiting":
            words = notes.waiting(cluster, self._waiting_since_ms, self._home.me.agent_id, self._home.peer_id)
            self._avoid_for(cluster, PENDING_MS, words)
        else:
            self._avoid_for(cluster, REFUSED_MS, notes.refused(cluster, reply))

    def _avoid_for(self, cluster: str, ms: int, why: str) -> None:
        if len(self._avoid) < _MOST_AVOIDED:
            self._avoid[cluster] = self._means.now_ms() + ms
        self._refusal = why or self._refusal

    def _turned_down(self, cluster: str) -> bool:
        """Whether a cluster said no, rather than not yet."""
        return self._avoid.get(cluster, 0) - self._means.now_ms() > PENDING_MS
