"""A node's own reckoning of how fit each member is to lead: what it saw of it, what enrolment vouches for, never a bare claim."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agent_core.election.model import Score
from agent_core.roster.model import Member

#: A round trip at which the network part is one half (ms).
HALF_RTT_MS = 50.0
#: Capabilities at which that part is full.
MANY_CAPABILITIES = 5
#: Peers remembered before those that are neither members nor connected are let go.
MAX_SEEN = 1024


class Observed:
    """How long a peer was connected since it was first seen."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._since: float | None = None
        self._up_s = 0.0

    def up(self, now: float) -> None:
        """It connected (s)."""
        self._first = now if self._first is None else self._first
        self._since = now

    def down(self, now: float) -> None:
        """It disconnected (s)."""
        if self._since is not None:
            self._up_s += now - self._since
            self._since = None

    def share(self, now: float) -> float:
        """The share of time it was connected, in [0,1]."""
        if self._first is None or now <= self._first:
            return 1.0 if self._since is not None else 0.0
        up_s = self._up_s + (now - self._since if self._since is not None else 0.0)
        return up_s / (now - self._first)


class Sightings:
    """What was seen of each peer. Identities cost nothing, so when there are many, strangers that left are forgotten."""

    def __init__(self) -> None:
        self._seen: dict[str, Observed] = {}
        self._connected: set[str] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def up(self, peer_id: str, now: float, members: Collection[str]) -> None:
        """A peer connected (s); ``members`` are remembered in any case."""
        self._connected.add(peer_id)
        if len(self._seen) >= MAX_SEEN:
            self._seen = {p: seen for p, seen in self._seen.items() if p in members or p in self._connected}
        self._seen.setdefault(peer_id, Observed()).up(now)

    def down(self, peer_id: str, now: float) -> None:
        """It disconnected (s)."""
        self._connected.discard(peer_id)
        self._seen[peer_id].down(now)

    def share(self, peer_id: str, now: float) -> float:
        """The share of time it was connected, in [0,1]; 0 for one never seen."""
        seen = self._seen.get(peer_id)
        return seen.share(now) if seen else 0.0


def reckon(member: Member, up: float, rtt_ms: float | None, led: Sequence[str]) -> Score:
    """The five parts.

    Args:
        member: as enrolled.
        up: share of time it was connected, in [0,1].
        rtt_ms: round trip; nothing when unknown.
        led: who led the newest terms.
    """
    many = min(len(member.capabilities), MANY_CAPABILITIES) / MANY_CAPABILITIES
    return Score(
        capabilities=0.5 * member.may_vote + 0.5 * many,
        uptime=up,
        resources=0.5,
        network=0.5 if rtt_ms is None else HALF_RTT_MS / (HALF_RTT_MS + max(rtt_ms, 0.0)),
        experience=led.count(member.peer_id) / len(led) if led else 0.0,
    )
