"""Where a home belongs by its person's word: moving it into another cluster, and founding a lost one anew (SPEC section 4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio

from agent_core.errors import ChorusError, Conflict, InvalidInput, NoQuorum, NotFound, NotLeader, Refused, TimedOut
from agent_core.feeds.model import Appender, Draft
from agent_core.multiaddrs import canonical
from agent_core.network import DialResult
from agent_core.roster.machine import Meeting
from agent_core.roster.model import ROSTER_SHARE, Authority, Lost, Roster, ShareData, VoterUse
from agent_core.shapes import Moved

#: The shortest beginning of a cluster id that names one.
MIN_PREFIX = 4
#: How long leaving the voters, and being admitted elsewhere, may take, seconds.
LEAVE_S = 10.0
JOIN_S = 45.0


class Membership(Protocol):
    """What is asked of :class:`agent_core.roster.service.RosterService`."""

    @property
    def voter_use(self) -> VoterUse: ...

    @property
    def peer_id(self) -> str: ...

    @property
    def bound(self) -> str: ...

    @property
    def roster(self) -> Roster | None: ...

    @property
    def met(self) -> Sequence[Meeting]: ...

    def set_voter_use(self, use: VoterUse) -> None: ...

    async def stop_voting(self, timeout_s: float) -> bool: ...

    async def go_to(self, cluster: str, timeout_s: float) -> str: ...

    async def found_anew(self, lost: Lost) -> str: ...


class Moving:
    """Carries out what a person says about where this home belongs.

    Args:
        membership: where it belongs now.
        appender: writes the entry that shows what was written before.
        dial: connects to a multiaddr.
        resign: hands the lead over, if this node has it.
        online: peer ids with an open connection, this node's among them.
        last: the last act of the cluster that entries prove: number and hash.
    """

    def __init__(
        self,
        membership: Membership,
        appender: Appender,
        dial: Callable[[str], Awaitable[DialResult]],
        resign: Callable[[], Awaitable[None]],
        online: Callable[[], frozenset[str]],
        last: Callable[[], tuple[int, str]],
    ) -> None:
        self._membership = membership
        self._appender = appender
        self._dial = dial
        self._resign = resign
        self._online = online
        self._last = last
        self._one_at_a_time = trio.Lock()

    async def join(self, wanted: str, force: bool = False) -> Moved:
        """Move this home, and nobody else's, into a cluster in reach.

        Args:
            wanted: the beginning of the cluster's id, or a multiaddr of one of its nodes.
            force: leave even though the old cluster can't let this voter go, or nobody could govern it any more.

        Raises:
            InvalidInput, NotFound, Conflict: no cluster, or several, are meant; or this home belongs there already.
            NoQuorum: this node votes where it is, and no majority there can remove it.
            Refused: the other cluster doesn't admit it, or only this member could govern the one it is in.
            TimedOut: the other cluster didn't answer.
        """
        async with self._one_at_a_time:
            home = self._membership
            target, old, use = await self._target(wanted), home.bound, home.voter_use
            try:
                if old and target.replaces != old:
                    await self._leave(force)
                refusal = await home.go_to(target.cluster, JOIN_S)
            finally:
                home.set_voter_use(use)
            if refusal:
                raise Refused(refusal, "This home stays where it was.")
        before = "What it wrote before stays with the old one; show it here with: chorus-hap cluster share"
        carried = "What was written before counts here too."
        return Moved(
            cluster_id=home.bound,
            left=old,
            text=f"This home belongs to cluster {home.bound[:8]} now. {carried if target.replaces == old else before}",
        )

    async def recover(self, force_new: bool) -> Moved:
        """Found a cluster in place of this home's, whose majority is lost for good.

        Raises:
            Refused: there is nothing to recover, or ``force_new`` isn't said; the message tells what may be lost.
        """
        async with self._one_at_a_time:
            home, roster = self._membership, self._membership.roster
            if roster is None or not roster.is_member(home.peer_id):
                raise Refused("This home is a member of no cluster, so there is none to recover.")
            gone = sorted(set(roster.voters) - self._online())
            if len(roster.voters) - len(gone) >= roster.quorum:
                raise Refused(
                    f"Cluster {home.bound[:8]} has a majority of its voters in reach, so there is nothing to recover.",
                    "`chorus-hap election why` says how it stands.",
                )
            last, last_hash = self._last()
            if not force_new:
                raise Refused(_warning(roster, gone, last), "If they are gone for good, say so with --force-new.")
            old = home.bound
            cluster = await home.found_anew(Lost(cluster=old, last=last, last_hash=last_hash))
        text = (
            f"Cluster {cluster[:8]} takes the place of {old[:8]}, with this node as its only voter. "
            f"On each other home that is left: chorus-hap cluster join {cluster[:8]}"
        )
        return Moved(cluster_id=cluster, left=old, text=text)

    async def share(self, *, op: str = "", via: str = "service", login: str = "") -> Moved:
        """Show the others what this home wrote before it came into their cluster.

        Raises:
            Refused: this home belongs to no cluster.
        """
        cluster = self._membership.bound
        if not cluster:
            raise Refused("This home belongs to no cluster, so there is nobody to show anything.")
        await self._appender.append([Draft(ROSTER_SHARE, ShareData(cluster=cluster), op=op, via=via, login=login)])
        return Moved(
            cluster_id=cluster,
            left="",
            text=f"What this home wrote before it came counts in cluster {cluster[:8]} from now on.",
        )

    async def _target(self, wanted: str) -> Meeting:
        if wanted.startswith("/"):
            return await self._at(wanted)
        if len(wanted) < MIN_PREFIX:
            raise InvalidInput(
                f"{wanted!r} is too short for a cluster.", f"Give {MIN_PREFIX} characters of its id, or an address."
            )
        if self._membership.bound.startswith(wanted):
            raise Conflict(f"This home belongs to cluster {wanted} already.")
        found = {m.cluster: m for m in self._membership.met if m.cluster.startswith(wanted)}
        if len(found) > 1:
            raise InvalidInput(f"{wanted!r} means several clusters in reach.", "Give more characters.")
        if not found:
            others = sorted({m.cluster[:8] for m in self._membership.met if m.cluster} - {self._membership.bound[:8]})
            raise NotFound(
                f"No connected peer is of a cluster {wanted!r}.",
                f"In reach: {', '.join(others)}." if others else "Give the address of one of its nodes instead.",
            )
        return found.popitem()[1]

    async def _at(self, address: str) -> Meeting:
        """The node at an address, once it has said where it belongs."""
        try:
            address = canonical(address)
        except ValueError as exc:
            raise InvalidInput(
                f"{address[:200]!r} is no peer's address: {exc}.", "Copy one from `chorus-hap status` over there."
            ) from exc
        peer_id = address.rpartition("/p2p/")[2]
        result = await self._dial(address)
        if result is DialResult.CONNECTED:
            with trio.move_on_after(LEAVE_S):
                while True:
                    met = next((m for m in self._membership.met if m.peer_id == peer_id and m.cluster), None)
                    if met is not None and met.cluster == self._membership.bound:
                        raise Conflict(f"That node is of this home's own cluster, {met.cluster[:8]}.")
                    if met is not None:
                        return met
                    await trio.sleep(0.05)
        raise TimedOut(f"No node of a cluster answered at {address}.", "Check it with `chorus-hap status` over there.")

    async def _leave(self, force: bool) -> None:
        """Stop voting in the old cluster, so that its majority doesn't need this node any more."""
        home, roster = self._membership, self._membership.roster
        others = {p for p, m in roster.members.items() if m.active} - {home.peer_id} if roster else set()
        if roster is None or not others:
            return
        if roster.eligible(Authority.MASTER) == (home.peer_id,) and not force:
            raise Refused(
                f"This home is the only one of cluster {home.bound[:8]} with authority master: without it nobody could set "
                "the policy there, or revoke whoever has authority decision.",
                "Nobody else can be given that authority. Leave all the same with --force.",
            )
        if home.peer_id not in roster.voters:
            return
        try:
            await self._resign()
        except (NotLeader, Refused):
            pass  # it doesn't lead, or nobody could take over: the next step says whether that matters
        except ChorusError as exc:
            if not force:
                raise NoQuorum(f"The lead could not be handed over: {exc.message}", _FORCE) from exc
        if not await home.stop_voting(LEAVE_S) and not force:
            raise NoQuorum(
                f"This node is a voter of cluster {home.bound[:8]}, and no majority there could let it go.", _FORCE
            )


_FORCE = "Wait until they are back, or leave all the same with --force: the others then need a majority without it."


def _warning(roster: Roster, gone: Sequence[str], last: int) -> str:
    names = [roster.name(p) for p in gone]
    return (
        f"{len(gone)} of {len(roster.voters)} voters are out of reach ({', '.join(names)}), so nothing can be committed. "
        f"A new cluster takes over the members, and the acts up to number {last}, the last that this home can prove. "
        "What the others committed or wrote since, and never sent here, is lost to it. If a majority of them comes back, "
        "there are two clusters, each with a leader of its own."
    )
