"""The roster and the live connections."""

from __future__ import annotations

from agent_core.shapes.base import Shape


class PeerInfo(Shape, frozen=True, kw_only=True):
    """A live connection."""

    peer_id: str
    agent_id: str  #: empty when it isn't a member
    addresses: tuple[str, ...]
    direction: str
    connected_s: float
    rtt_ms: float | None
    score: float
    entries: int  #: of its own feed, held here
    member: bool


class MemberInfo(Shape, frozen=True, kw_only=True):
    """An enrolled member."""

    peer_id: str
    agent_id: str
    role: str
    kind: str
    authority: str
    voter: bool
    online: bool
    leader: bool
    last_seen: str  #: empty if never
    entries: int
    revoked: bool
    you: bool


class RosterChange(Shape, frozen=True, kw_only=True):
    """One act of the roster's history."""

    number: int
    term: int
    at: str
    kind: str
    who: str  #: agent id whom it concerns; empty if nobody
    peer_id: str
    by: str  #: the admin whose act it is
    text: str
    voters: int  #: how many voters there are from then on


class Moved(Shape, frozen=True, kw_only=True):
    """Where a home belongs after its person said so."""

    cluster_id: str
    left: str  #: id of the cluster it left; empty if none
    text: str
