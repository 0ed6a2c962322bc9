"""How a node stands: its status, the surroundings of views, and what its rooms ask about themselves and the others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import trio

from agent_core.api import views
from agent_core.api.views import clock_state, held_until
from agent_core.blocks.audit import verify_home
from agent_core.blocks.store import BlockStore
from agent_core.clock import wall_ms
from agent_core.decisions.fold import DecisionsFold
from agent_core.election.chain import ActChain
from agent_core.feeds.model import EntryKey, Head
from agent_core.feeds.store import Store
from agent_core.hmmm.fold import RoomsFold
from agent_core.hmmm.machine import Periods
from agent_core.identity.signing import Verifier
from agent_core.roster.model import Authority
from agent_core.shapes import Election, PeerInfo, Status, Verification
from agent_core.ucxl.fold import UcxlFold
from agent_core.version import VERSION
from agent_core.views import ViewContext
from agent_core.wire.judge import Standing

if TYPE_CHECKING:
    from agent_core.assembly import Assembly
    from agent_core.node import Node


class Surroundings:
    """Reads the rooms of an assembly; changes nothing.

    Args:
        built: the rooms.
        node: the node's life.
        store: the open store.
        verifier: checks signatures.
    """

    def __init__(self, built: Assembly, node: Node, store: Store, verifier: Verifier) -> None:
        self._built, self._node, self._store, self._verifier = built, node, store, verifier

    # --- the folds in force: the set is replaced when the node moves to another cluster -----------------------------

    @property
    def rooms(self) -> RoomsFold:
        return self._built.folds.rooms

    @property
    def decisions(self) -> DecisionsFold:
        return self._built.folds.decisions

    @property
    def ucxl(self) -> UcxlFold:
        return self._built.folds.ucxl

    # --- for faces ----------------------------------------------------------------------------------------------------

    def context(self) -> ViewContext:
        """The surroundings of a view, taken now."""
        return ViewContext(
            me=self._built.identity.peer_id,
            chain=self._built.folds.chain,
            bodies=self._built.blocks.bodies,
            now_ms=wall_ms(),
            online=frozenset(p.peer_id for p in self._built.network.peers()),
            held=self._built.folds.folded,
            waiting=self._built.feeds.holding,
            folding=self._built.folds.behind,
        )

    def peers(self) -> Sequence[PeerInfo]:
        """The live connections."""
        network = self._built.network
        return views.connections(self.context(), self._store, (*network.peers(), *network.shunned()))

    def election(self) -> Election:
        """One consistent read of who leads and why."""
        return self._built.election.view(self.context())

    def status(self) -> Status:
        """How the node and its cluster stand, the leader read once."""
        node, built, election = self._node, self._built, self.election()
        me = built.identity
        member = self.context().member(me.peer_id)
        return Status(
            peer_id=me.peer_id,
            agent_id=member.agent_id if member else built.agent_id,
            role=member.role if member else built.role,
            kind=me.kind.value,
            authority=member.authority.value if member else "",
            network=node.settings.values.cluster.network,
            cluster_id=built.roster.cluster_id,
            policy=built.roster.roster.policy.value if built.roster.roster else "",
            leader=election.leader,
            term=election.term,
            state=election.state,
            stage=self._stage(election),
            voters=election.voters,
            peers=len(built.network.peers()),
            addresses=tuple(built.network.addresses),
            entries=self._store.entry_count,
            uptime_s=node.uptime_s,
            version=VERSION,
            home=str(node.home.root),
            mode=node.sessions.mode,
            sessions=len(node.sessions),
            voter=member is not None and member.voter,
            lone=built.roster.lone,
            clock_skew_s=round(built.roster.clock_off_s, 3),
            underway=tuple(u for u in (built.feeds.progress.underway, built.folding.underway) if u is not None),
            notes=(*built.roster.notes, *node.supervisor.notes(), *self._doubts(), *node.notes),
            ahead=clock_state(built.feeds.renewal.ahead),
            held=built.feeds.holding.count,
            held_until=held_until(built.feeds.holding),
            ports=dict(node.ports),
        )

    def _stage(self, election: Election) -> str:
        """The start-up walk of SPEC section 16, and what comes after it."""
        node, roster = self._node, self._built.roster
        if node.stage != "up":
            return node.stage
        if node.supervisor.notes() or self._built.feeds.disk.trouble:
            return "degraded"
        if roster.stage != "member":
            left = roster.looking_left_s
            return f"{roster.stage} {left:.0f} s" if left and roster.stage.startswith("looking") else roster.stage
        return "member" if election.state in ("idle", "discovering") else "ready"

    def _doubts(self) -> Sequence[str]:
        feeds = self._built.feeds
        lost = f"No vote until the admin promotes this node again: {feeds.restored}."
        ahead = feeds.renewal.ahead
        said = (
            ahead.sentence if ahead is not None else "",
            self.doubt(self._built.folds.chain) and lost,
            feeds.disk.trouble,
        )
        return [sentence for sentence in said if sentence]

    async def verify(self) -> Verification:
        """Check the store through a connection of its own, in a thread."""

        def check() -> Verification:
            home = self._node.home
            with (
                closing(BlockStore.open(home.blocks, read_only=True)) as blocks,
                closing(Store.open(home.store, read_only=True)) as store,
            ):
                return verify_home(store, blocks, self._verifier)

        return await trio.to_thread.run_sync(check)

    # --- for the rooms ------------------------------------------------------------------------------------------------

    def doubt(self, chain: ActChain) -> str:
        """The mark of this home's loss of memory, unless the cluster was founded here since: of that it forgot nothing."""
        feeds = self._built.feeds
        genesis = chain.committed[0] if chain.committed else None
        since = genesis is not None and genesis.author == feeds.me and genesis.epoch > feeds.lost_epoch
        return "" if since else feeds.doubt

    def standing(self, peer_id: str) -> Standing:
        """The roster's word on the author of a message."""
        # Before the roster is known there is nobody to tell strangers from members; feeds are checked by themselves.
        roster = self._built.roster
        return roster.standing(peer_id) if roster.roster is not None else Standing.MEMBER

    def name(self, peer_id: str, claimed: str) -> str:
        """What a sender is called: what the roster says, and of a stranger what it says itself, told apart from members."""
        roster = self._built.folds.roster
        if roster is None:
            return claimed or peer_id
        return roster.name(peer_id) if peer_id in roster.members else roster.label(claimed, peer_id)

    def caught_up(self, peer_id: str) -> bool:
        """Whether a member holds the acts this node holds."""
        heads = self.act_heads()
        return bool(heads) and all(
            peer_id == h.author or self._built.feeds.holds(peer_id, EntryKey(h.author, h.epoch, h.size - 1))
            for h in heads
        )

    def act_heads(self) -> Sequence[Head]:
        """The feeds that hold the committed acts, as far as they do."""
        sizes: dict[tuple[str, int], int] = {}
        for act in self._built.folds.chain.acts:
            sizes[act.author, act.epoch] = max(act.seq + 1, sizes.get((act.author, act.epoch), 0))
        return [
            Head(author=a, epoch=e, size=n, root=root.hex())
            for (a, e), n in sizes.items()
            if (root := self._store.root_at(a, e, n)) is not None
        ]

    def may_purge(self, purger: str, target: EntryKey) -> bool:
        """Whether somebody may drop another author's body: the members with authority ``master``."""
        member = self.context().member(purger)
        return member is not None and member.active and member.authority is Authority.MASTER

    @property
    def periods(self) -> Periods:
        """How long plans wait for objections."""
        values = self._node.settings.values.hmmm
        return Periods(round(values.objection_agents_s * 1000), round(values.objection_human_s * 1000))
