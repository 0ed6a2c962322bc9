"""Membership as it runs: what the rest of the node asks of it, and tells it (SPEC section 4)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from agent_core.clock import off_median_s, wall_ms
from agent_core.election.acts import Chain, Proposer
from agent_core.errors import ChorusError
from agent_core.feeds.model import Appender, Durable, Head
from agent_core.identity.signing import Signer, Verifier
from agent_core.network import Network
from agent_core.roster import machine, notes
from agent_core.roster.admission import Gate, Message
from agent_core.roster.asking import Asking
from agent_core.roster.belonging import CLUSTER_KEY as CLUSTER_KEY
from agent_core.roster.belonging import Belonging
from agent_core.roster.changes import Changes
from agent_core.roster.cutting import Cutting
from agent_core.roster.entering import Entering
from agent_core.roster.leading import Leading
from agent_core.roster.means import Means
from agent_core.roster.meeting import Meetings
from agent_core.roster.model import Lost, Member, Policy, Roster, VoterUse
from agent_core.roster.reaching import Reaching
from agent_core.roster.roles import Role, load
from agent_core.roster.settings import Applicant, RosterSettings
from agent_core.wire.families.cooee import CooeeHello, CooeeWaiting
from agent_core.wire.judge import Standing

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("chorus.roster")


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
    """This node's membership, and while it leads everybody's: puts the parts together and answers the rest of the node.

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
        moved_out: members whose last move leads out of the cluster, and the cluster they went to.
        hand_over: has another node lead.
        doubt: the mark of this home's loss of memory, empty if it had none; :meth:`doubt_changed` when that changes.
        enrolled: told of a cluster before this home belongs to it, to note it outside the database.
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
        moved_out: Callable[[], Mapping[str, str]] = dict,
        hand_over: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        doubt: Callable[[], str] = lambda: "",
        enrolled: Callable[[str], None] = lambda cluster: None,
        roles: Mapping[str, Role] | None = None,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        means = Means(
            signer=signer,
            verifier=verifier,
            chain=chain,
            proposer=proposer,
            leader=leader,
            caught_up=caught_up,
            heads=heads,
            heads_of=heads_of,
            moved_out=moved_out,
            hand_over=hand_over,
            now_ms=now_ms,
        )
        self.peer_id = network.peer_id
        self._means = means
        self._settings = settings
        self._doubt = doubt
        self._changes = Changes()
        self.use_roles(load() if roles is None else roles)
        #: Who this node is, and where.
        self.home = Belonging(
            self.peer_id,
            me,
            settings.network,
            voter_use,
            durable=durable,
            appender=appender,
            chain=chain,
            on_bound=on_bound,
            changes=self._changes,
            enrolled=enrolled,
        )
        self.meetings = Meetings(network, self._hello, self._answer, self.changed, now_ms)
        self.leading = Leading(self.home, means, self.meetings, lambda: self._gate, settings)
        self._reaching = Reaching(self.home, means, self.meetings, self.leading)
        self._cutting = Cutting(network, self.meetings, self.home)
        self.entering = Entering(
            self.home,
            means,
            self.meetings,
            self._reaching,
            network=network,
            gate=lambda: self._gate,
            settings=settings,
            changes=self._changes,
            found=found,
        )
        #: What this node asks the leader for, and the tickets it gives.
        self.asking = Asking(self.home, means, lambda: self._gate.roles, self._reaching.put)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Meet peers, find or found a cluster, and keep its voters right while leading. Runs until cancelled."""
        self.entering.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.meetings.run)
            nursery.start_soon(self._repeat, self.entering.step)
            nursery.start_soon(self._repeat, self.leading.tend_voters)
            nursery.start_soon(self._repeat, self._cutting.step)
            task_status.started()

    async def _repeat(self, step: Callable[[], Awaitable[float]]) -> None:
        """Take a step at every change, or when the step's own time comes."""
        while True:
            seen = self._changes.count
            try:
                rest_s = await step()
            except ChorusError as exc:
                log.warning("membership: %s", exc)
                rest_s = 1.0
            await self._changes.next(seen, rest_s)
            await trio.lowlevel.checkpoint()

    # --- what it is told ----------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Something this depends on changed: the chain, the leader, a peer. Cheap; call it freely."""
        self._changes.ring()

    def use_roles(self, roles: Mapping[str, Role]) -> None:
        """Other roles from now on, for those who come from now on."""
        self._gate = Gate(self._means.verifier, roles, self._settings.beyond_loopback, self._settings.force_open)

    def set_voter_use(self, use: VoterUse) -> None:
        """What this node may be made a voter as from now on (a console's node becomes a daemon, a node ends)."""
        if use is not self.home.voter_use:
            self.home.voter_use = use
            self._tell_all()

    def doubt_changed(self) -> None:
        """This home was found to have forgotten something, or is trusted again: the leader must hear of it."""
        self._tell_all()

    def _tell_all(self) -> None:
        self.meetings.greet_all()
        self.changed()

    # --- what it is asked ---------------------------------------------------------------------------------------------

    @property
    def bound(self) -> str:
        """The cluster this home belongs to; empty for none."""
        return self.home.bound

    @property
    def cluster_id(self) -> str:
        """The cluster this node belongs to, or is moving into; empty for none."""
        return self.home.cluster_id

    @property
    def voter_use(self) -> VoterUse:
        """What this node may be made a voter as."""
        return self.home.voter_use

    @property
    def roster(self) -> Roster | None:
        """The roster in force in that cluster, as far as it is known here."""
        return self.home.roster

    @property
    def member(self) -> Member | None:
        """This node's own record, once the cluster's committed acts show it."""
        return self.home.member

    @property
    def lone(self) -> bool:
        """The cluster's only member ever is this node."""
        return self.home.lone

    @property
    def met(self) -> tuple[machine.Meeting, ...]:
        """What the peers connected now have said of themselves."""
        return self.meetings.met()

    @property
    def stage(self) -> str:
        """Where membership stands, in a word or two; see :func:`agent_core.roster.notes.stage`."""
        return notes.stage(
            self.member,
            waits=self.entering.waits,
            joining=self.home.joining,
            clusters_met=any(m.cluster for m in self.met),
        )

    @property
    def looking_left_s(self) -> float:
        """How long it will still look for peers before it founds, seconds; 0 once it belongs somewhere."""
        return self.entering.looking_left_s

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences a person should read."""
        chain, refusal = self._means.chain(), self.entering.refusal
        return (
            *notes.gone(self.peer_id, self.roster, chain.committed if chain is not None else ()),
            *([refusal] if refusal else []),
            *(notes.foreign(m, self.bound) for m in machine.foreign(self.entering.situation())),
            *(notes.other_network(n, self._settings.network) for n in sorted({*self.meetings.other_networks.values()})),
        )

    @property
    def clock_off_s(self) -> float:
        """How far this node's clock is ahead of the median of the members' it is connected to; negative for behind."""
        roster = self.roster
        return off_median_s(
            ahead_s for peer, ahead_s in self.meetings.ahead_s.items() if roster and roster.is_member(peer)
        )

    def standing(self, peer_id: str) -> Standing:
        """The roster's word on an author, for judging messages."""
        return self.home.standing(peer_id)

    def limit(self, author: str, epoch: int) -> int | None:
        """How much of an author's epoch is fetched and shown to others: nothing for all of it (SPEC section 4, revocation)."""
        return self.home.limit(author, epoch)

    def accepts(self, author: str) -> bool:
        """Whether an author's feed is taken in: everybody's until the roster is known, then the members'."""
        return self.home.accepts(author)

    def waiting(self) -> tuple[CooeeWaiting, ...]:
        """Who waits for approval, as far as the leader has told."""
        if self._means.proposer.leading:
            return self.leading.room.told(self._means.now_ms())
        met = self.meetings.get(self._means.leader())
        return met.waiting if met is not None else ()

    def statistics(self) -> RosterStatistics:
        """Counters since the start."""
        roster = self.roster
        return RosterStatistics(
            members=sum(1 for m in roster.members.values() if m.active) if roster else 0,
            voters=len(roster.voters) if roster else 0,
            met=len(self.met),
            admitted=self.leading.admitted,
            refused=self.leading.refused,
            promoted=self.leading.promoted,
            demoted=self.leading.demoted,
        )

    # --- what it does when told ---------------------------------------------------------------------------------------

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
        return len(roster.voters) > 1 and await self._reaching.leave_voters(timeout_s)

    async def go_to(self, cluster: str, timeout_s: float) -> str:
        """Move into a cluster whose members are connected, because the person says so.

        Returns:
            Why it didn't come to that in time; empty if this home belongs there now.
        """
        return await self.entering.go_to(cluster, timeout_s)

    async def found_anew(self, lost: Lost) -> str:
        """Found a cluster in place of the one this home belongs to; its id."""
        return await self.entering.found_anew(lost)

    # --- what peers hear ----------------------------------------------------------------------------------------------

    def _hello(self, peer: str) -> CooeeHello:
        home, roster = self.home, self.roster
        tells = roster is not None and roster.is_member(peer) and self._means.proposer.leading
        return CooeeHello(
            network=self._settings.network,
            agent_id=home.me.agent_id,
            cluster=home.bound,
            lone=home.lone,
            moving=home.moving,
            members=len(roster.members) if roster else 0,
            replaces=home.replaces,
            leader=self._means.leader(),
            voter_use=home.voter_use.value,
            at_ms=self._means.now_ms(),
            doubt=self._doubt(),
            waiting=self.leading.room.told(self._means.now_ms()) if tells else (),
        )

    async def _answer(self, peer: str, message: Message) -> Message:
        return await self.leading.answer(peer, message)
