"""The way to the leader: a request goes to it itself, or to members who pass it on; this node may be the leader."""

from __future__ import annotations

import trio

from agent_core.roster.admission import Message, signed_leave
from agent_core.roster.belonging import Belonging
from agent_core.roster.leading import Leading
from agent_core.roster.means import Means
from agent_core.roster.meeting import Meetings
from agent_core.wire.families.cooee import CooeeLeave, CooeeReply

#: How long one member may take to answer, seconds.
_ANSWER_S = 10.0
#: How many members are asked before the question counts as unanswered.
_MOST = 2


class Reaching:
    """Brings requests to the leader.

    Args:
        home: where this node belongs.
        means: who leads, signing, time.
        meetings: the peers.
        leading: what this node does itself while it leads.
    """

    def __init__(self, home: Belonging, means: Means, meetings: Meetings, leading: Leading) -> None:
        self._home = home
        self._means = means
        self._meetings = meetings
        self._leading = leading

    def towards(self) -> list[str]:
        """Connected members of this cluster, the leader first."""
        leader = self._means.leader()
        ours = [m.peer_id for m in self._meetings.met() if m.cluster == self._home.bound]
        return sorted(ours, key=lambda p: p != leader)

    async def put(self, request: Message, left_s: float = _ANSWER_S) -> CooeeReply | None:
        """Bring a request to the leader, which may be this node; nothing if nobody answered in so many seconds."""
        if self._means.proposer.leading:
            return await self._leading.answer(self._home.peer_id, request)
        for peer in self.towards()[:_MOST]:
            reply = await self._meetings.ask(peer, request, min(left_s, _ANSWER_S))
            if isinstance(reply, CooeeReply) and reply.status != "redirect":
                return reply
        return None

    async def leave_voters(self, timeout_s: float) -> bool:
        """Have this node removed from the voters; whether that is committed."""
        leave = CooeeLeave(cluster=self._home.bound, peer_id=self._home.peer_id, at_ms=self._means.now_ms())
        request = signed_leave(leave, self._means.signer)
        end = trio.current_time() + timeout_s
        while (left_s := end - trio.current_time()) > 0:
            for peer in self.towards():
                reply = await self._meetings.ask(peer, request, left_s)
                if isinstance(reply, CooeeReply) and reply.status == "done":
                    return True
            await trio.sleep(0.2)
        return False
