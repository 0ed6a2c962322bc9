"""What revoked peers get: word of it by the election's stream, and a moment later no connection."""

from __future__ import annotations

import logging

import trio

from agent_core.network import Network
from agent_core.roster.belonging import Belonging
from agent_core.roster.changes import QUIET_S
from agent_core.roster.meeting import Meetings
from agent_core.wire.judge import Standing

log = logging.getLogger("chorus.roster")

#: A revoked peer is told so, then cut off after so long, and refused for so long; seconds.
TELL_S = 1.0
CUT_FOR_S = 600.0


class Cutting:
    """Cuts off connected peers that were revoked.

    Args:
        network: cuts connections.
        meetings: who is connected.
        home: knows who was revoked.
    """

    def __init__(self, network: Network, meetings: Meetings, home: Belonging) -> None:
        self._network = network
        self._meetings = meetings
        self._home = home
        #: Revoked peers that are connected, and since when; and those that were cut off before.
        self._told: dict[str, float] = {}
        self._cut: set[str] = set()

    async def step(self) -> float:
        """Cut off whoever was told long enough ago; returns how long to rest, seconds."""
        home, now = self._home, trio.current_time()
        revoked = [p for p in self._meetings.connected() if home.standing(p) is Standing.REVOKED and not home.out]
        self._told = {p: self._told.get(p, now) for p in revoked}
        for peer in [p for p, since in self._told.items() if now - since >= TELL_S]:
            # The first time it may have been too busy to listen: it is let in and told once more.
            known = peer in self._cut
            self._cut.add(peer)
            log.info("cut off %s, which was revoked", peer)
            await self._network.disconnect(peer, refuse_s=CUT_FOR_S if known else 0.0)
        return TELL_S / 4 if self._told else QUIET_S
