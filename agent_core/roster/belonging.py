"""Where this home belongs: the cluster it is bound to, what that one's roster says of anybody, and going over to another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from agent_core.election.acts import Chain
from agent_core.feeds.model import Appender, Draft, Durable
from agent_core.roster.changes import Changes
from agent_core.roster.fold import genesis_of
from agent_core.roster.model import ROSTER_YIELD, Member, Roster, VoterUse, YieldData
from agent_core.roster.settings import Applicant
from agent_core.wire.judge import Standing

#: Where the home keeps to which cluster it belongs.
CLUSTER_KEY = "cluster"
#: How long a committed act may take to be folded here, seconds.
_FOLD_S = 5.0


class Belonging:
    """Who this node is, and where.

    Args:
        peer_id: this node's.
        me: who it says it is.
        network_name: the name that separates meshes.
        voter_use: what it may be made a voter as.
        durable: holds to which cluster the home belongs.
        appender: writes the entry of moving.
        chain: the committed acts of the cluster last told to ``on_bound``.
        on_bound: awaited when the cluster changes, with its id (empty for none), so that folds are rebuilt.
        changes: rings when the chain grew.
        enrolled: told of the cluster before the home belongs to it, to note it outside the database.
    """

    def __init__(
        self,
        peer_id: str,
        me: Applicant,
        network_name: str,
        voter_use: VoterUse,
        *,
        durable: Durable,
        appender: Appender,
        chain: Callable[[], Chain | None],
        on_bound: Callable[[str], Awaitable[None]],
        changes: Changes,
        enrolled: Callable[[str], None] = lambda cluster: None,
    ) -> None:
        self.peer_id = peer_id
        self.me = me
        self.network_name = network_name
        self.voter_use = voter_use
        self.bound = (durable.read(CLUSTER_KEY) or b"").decode("ascii", "replace")
        self.asking = False  #: it asks to be admitted somewhere just now
        self._joining = ""
        self._durable = durable
        self._appender = appender
        self._chain = chain
        self._on_bound = on_bound
        self._changes = changes
        self._enrolled = enrolled

    @property
    def cluster_id(self) -> str:
        """The cluster this node belongs to, or is moving into; empty for none."""
        return self._joining or self.bound

    @property
    def joining(self) -> bool:
        """It was admitted, and waits until the acts show it."""
        return bool(self._joining)

    @property
    def moving(self) -> bool:
        """A cluster of one on its way into another: it admits nobody meanwhile."""
        return bool(self.bound) and self.asking

    # --- what the roster says -----------------------------------------------------------------------------------------

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
    def out(self) -> bool:
        """This node was evicted or revoked."""
        member = self.member
        return member is not None and not member.active

    @property
    def replaces(self) -> str:
        """The cluster whose place this one took, if it did."""
        chain = self._chain()
        genesis = genesis_of(chain.committed[0]) if chain is not None and chain.committed else None
        return genesis.replaces if genesis else ""

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

    def accepts(self, author: str) -> bool:
        """Whether an author's feed is taken in: everybody's until the roster is known, then the members'."""
        roster = self.roster
        return roster is None or author == self.peer_id or roster.get(author) is not None

    async def folded(self, number: int) -> None:
        """Wait a little until the roster is the one that a committed act made: what is told as done is seen here, too."""
        await self._changes.until(lambda: (r := self.roster) is not None and r.version >= number, _FOLD_S)

    def _shows(self, act: int) -> bool:
        roster = self.roster
        return roster is not None and roster.version >= act and self.peer_id in roster.members

    # --- going over ---------------------------------------------------------------------------------------------------

    async def settle(self, cluster: str, act: int) -> None:
        """Belong to a cluster from now on, and say so in the own feed, where it ends to count for the one before.

        Args:
            cluster: its id.
            act: the number of its newest act known here.
        """
        if self.bound:
            await self._appender.append([Draft(ROSTER_YIELD, YieldData(old=self.bound, new=cluster, act=act))])
        self._enrolled(cluster)
        await self._durable.write(CLUSTER_KEY, cluster.encode())
        self.bound = cluster

    async def founded(self, cluster: str) -> None:
        """Belong to a cluster that this node just founded."""
        await self.settle(cluster, 0)
        await self._on_bound(cluster)

    async def go_over(self, cluster: str, act: int, timeout_s: float) -> bool:
        """Fold a cluster's acts; belong to it if they show this node's admission in time, else stay what it was.

        Whom the cluster sent away again meanwhile belongs there as such, and says so, unless it has another one to stay in.

        Args:
            cluster: its id.
            act: the number of the act by which it is a member there.
            timeout_s: how long the acts may take to come, seconds.

        Returns:
            Whether it belongs there now.
        """
        self._joining = cluster
        try:
            await self._on_bound(cluster)
            shown = await self._changes.until(lambda: self._shows(act), timeout_s)
            if shown and not (self.out and self.bound):
                chain = self._chain()
                await self.settle(cluster, len(chain.committed) - 1 if chain is not None else 0)
        finally:
            joined, self._joining = self.bound == cluster, ""
            if not joined:
                with trio.CancelScope(shield=True):
                    await self._on_bound(self.bound)
        return joined
