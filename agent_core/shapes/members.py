"""The roster and the live connections."""

from __future__ import annotations

from agent_core.shapes.base import Shape


class PeerInfo(Shape, frozen=True, kw_only=True):
    """A live connection, or somebody who was turned away (``direction`` is empty)."""

    peer_id: str
    agent_id: str  #: empty when it isn't a member
    addresses: tuple[str, ...]
    direction: str
    connected_s: float
    rtt_ms: float | None
    score: float
    entries: int  #: of its own feed, held here
    member: bool
    refused: tuple[tuple[str, int], ...] = ()  #: what it was refused for and how often, most often first
    graylisted_s: float = 0.0  #: for how long it is refused altogether, seconds from now


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
    evicted: bool = False  #: moved into another cluster, or away for too long; it may be admitted again


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


class WaitingInfo(Shape, frozen=True, kw_only=True):
    """A newcomer that waits for a person's approval. All of it is its own word but the peer id."""

    peer_id: str
    agent_id: str
    role: str
    kind: str
    since: str
    host: str = ""
    capabilities: tuple[str, ...] = ()


class Ticket(Shape, frozen=True, kw_only=True):
    """An invitation for one newcomer. ``token`` is a secret until it is used or expires."""

    token: str
    expires_at: str
    role: str = ""


class RosterDone(Shape, frozen=True, kw_only=True):
    """A change of the roster that was committed."""

    text: str
    act: int  #: number of the act; 0 where none was needed
    peer_id: str = ""
