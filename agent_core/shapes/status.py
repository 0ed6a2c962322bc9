"""Who this node is and how it is: status, health, verification, findings."""

from __future__ import annotations

from typing import Any

import msgspec

from agent_core.shapes.base import Shape


class Leader(Shape, frozen=True, kw_only=True):
    """Who leads, as far as this node can prove now. ``certain`` is false for a last known leader without a live lease."""

    peer_id: str
    agent_id: str
    term: int
    certain: bool
    lease_age_s: float = 0.0  #: since the newest heartbeat
    lease_left_s: float = 0.0  #: until the claim ends; 0 when not certain


class Voters(Shape, frozen=True, kw_only=True):
    """How near the cluster is to not being able to decide."""

    total: int = 0
    reachable: int = 0
    quorum: int = 0

    @property
    def spare(self) -> int:
        """How many more voters may go before elections stop; negative without a majority."""
        return self.reachable - self.quorum


class Underway(Shape, frozen=True, kw_only=True):
    """Something long that a node does by itself and that needs nobody, such as catching up."""

    kind: str  #: fetching (entries from peers), or folding (what is stored already)
    text: str  #: one sentence, with how far it is and how fast it goes
    brief: str  #: the same in two or three words, for a status line


class ClockState(Shape, frozen=True, kw_only=True):
    """The home's log is stamped ahead of its clock: what would be written now is held by everybody until then."""

    until: str  #: RFC 3339
    by_s: float
    text: str  #: one sentence, the same wherever it is said
    next: str


class Status(Shape, frozen=True, kw_only=True):
    """Everything the status line and ``status --json`` say."""

    peer_id: str
    agent_id: str
    role: str
    kind: str
    authority: str
    network: str
    cluster_id: str  #: empty while it belongs to none
    leader: Leader | None
    term: int
    state: str  #: election state, SPEC section 5
    stage: str  #: start-up walk: starting, store, identity, listening, looking for peers, member, ready; or degraded
    voters: Voters
    peers: int
    addresses: tuple[str, ...]  #: full multiaddrs to paste as another node's bootstrap
    entries: int  #: held in the store, all feeds
    uptime_s: float
    version: str
    home: str
    mode: str  #: owned or daemon
    sessions: int = 0
    voter: bool = False
    policy: str = ""  #: how newcomers are admitted: open, invite, approve
    lone: bool = False  #: a cluster of one
    offline: bool = False  #: folded from the store, no node runs
    as_of: str = ""
    clock_skew_s: float = 0.0
    notes: tuple[str, ...] = ()  #: sentences a person should read (degraded services, a replaced port, a minority)
    underway: tuple[
        Underway, ...
    ] = ()  #: what it catches up with; nothing to worry about, but not everything shows yet
    ahead: ClockState | None = None
    held: int = 0  #: entries, of whomever, that are stored and count later: their stamps are ahead of the clock
    held_until: str = ""  #: when the last of them counts
    ports: dict[str, int] = msgspec.field(default_factory=dict)


class Finding(Shape, frozen=True, kw_only=True):
    """A secret found in a text: where, by which rule; never the secret."""

    rule: str
    severity: str
    line: int  #: from 1
    column: int  #: from 1
    length: int
    message: str


class Verification(Shape, frozen=True, kw_only=True):
    """What ``log verify`` found."""

    ok: bool
    feeds: int
    entries: int
    bodies: int
    blocks: int = 0  #: of bodies over 32 KiB
    bad: str = ""  #: the first bad entry, and why
    forks: tuple[str, ...] = ()


class Health(Shape, frozen=True, kw_only=True):
    """One answer of a health endpoint."""

    status: str  #: ok, degraded, down
    checks: dict[str, Any]
