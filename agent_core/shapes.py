"""The shapes that leave the node: what each operation takes and gives, what each slice holds. Shapes only grow.

Times are RFC 3339 text, durations end in ``_s``. Faces import this module, so it imports nothing heavy.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all: JSON objects with these fields; unknown ones are ignored."""


# --- status -----------------------------------------------------------------------------------------------------------


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
    lone: bool = False  #: a cluster of one
    offline: bool = False  #: folded from the store, no node runs
    as_of: str = ""
    clock_skew_s: float = 0.0
    notes: tuple[str, ...] = ()  #: sentences a person should read (degraded services, a replaced port, a minority)
    ports: dict[str, int] = {}


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


# --- election ---------------------------------------------------------------------------------------------------------


class ScoreParts(Shape, frozen=True, kw_only=True):
    """The five parts, each in [0,1], and their weighted sum."""

    capabilities: float
    uptime: float
    resources: float
    network: float
    experience: float
    total: float


class VoterInfo(Shape, frozen=True, kw_only=True):
    """A voter as this node sees it."""

    peer_id: str
    agent_id: str
    reachable: bool
    vote: str  #: agent id it voted for in this term, empty if unknown
    score: ScoreParts | None
    you: bool
    leader: bool


class TermInfo(Shape, frozen=True, kw_only=True):
    """One term of the timeline."""

    term: int
    leader: str  #: agent id, empty if none was elected
    trigger: str
    at: str
    certified: bool


class Election(Shape, frozen=True, kw_only=True):
    """One consistent read of who leads and why."""

    leader: Leader | None
    term: int
    state: str
    heartbeat_s: float
    timeout_s: float
    voters: Voters
    ballots: tuple[VoterInfo, ...]
    timeline: tuple[TermInfo, ...]  #: newest first
    last_act: int
    committed_act: int
    why: str  #: in words: who leads, and why not me
    trigger: str = ""


class SignedVote(Shape, frozen=True, kw_only=True):
    """One vote of a certificate: ``good`` if a voter of its roster signed it for that leader."""

    voter: str  #: peer id
    agent_id: str
    good: bool


class CertificateCheck(Shape, frozen=True, kw_only=True):
    """What checking the certificate of a past term came to; ``text`` says it in one sentence."""

    term: int
    ok: bool
    leader: str
    peer_id: str
    roster: int  #: version that the votes are counted against; -1 if none could be read
    votes: tuple[SignedVote, ...]
    trigger: str
    at: str
    text: str


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


# --- traffic, log, attention ------------------------------------------------------------------------------------------


class Traffic(Shape, frozen=True, kw_only=True):
    """One message as it passed: ``verdict`` is accept, ignore, reject or sent; refused ones have a reason."""

    n: int
    at: str
    topic: str
    type: str
    sender: str  #: agent id or peer id
    size: int
    verdict: str
    reason: str = ""
    text: str = ""  #: one line for people
    raw: str = ""  #: the envelope, pretty JSON, at most 8 KiB


class LogEntry(Shape, frozen=True, kw_only=True):
    """One durable entry as a line of the log."""

    id: str  #: short id
    key: str  #: author/epoch/seq
    at: str
    author: str  #: agent id
    type: str
    via: str
    text: str
    body: str  #: present, or the reason why it is missing
    held: bool = False


class Attention(Shape, frozen=True, kw_only=True):
    """Something that waits for the person."""

    id: str
    at: str
    kind: str  #: vote, escalation, mention, minority, degraded, fork, secret
    text: str
    target: str  #: where enter leads: decision:<id>, room:<id>, election, members, log
    urgent: bool = False


# --- HMMM -------------------------------------------------------------------------------------------------------------


class Citation(Shape, frozen=True, kw_only=True):
    """An address, the version it stood at, and why it is cited."""

    address: str
    reason: str
    version: str = ""


class Message(Shape, frozen=True, kw_only=True):
    """One message of a room."""

    id: str
    key: str
    at: str
    author: str
    author_peer: str
    kind: str
    via: str
    room: str
    thread: str  #: id of the thread's first message
    parent: str
    intent: str
    text: str
    missing: str = ""  #: why the text isn't shown
    citations: tuple[Citation, ...] = ()
    mentions: tuple[str, ...] = ()
    stance: str = ""
    weight: str = ""
    you: bool = False


class Stances(Shape, frozen=True, kw_only=True):
    """The count of typed stances on one message."""

    agree: int = 0
    disagree: int = 0
    abstain: int = 0


class Room(Shape, frozen=True, kw_only=True):
    """A room in the list."""

    id: str
    messages: int
    participants: tuple[str, ...]
    last_at: str
    last_text: str
    escalated: bool = False
    plan: str = ""  #: none, objecting, proceeding, blocked


class RoomView(Shape, frozen=True, kw_only=True):
    """A room opened."""

    room: Room
    messages: tuple[Message, ...]  #: in thread order, threads by their first message
    stances: dict[str, Stances] = {}  #: by message id


class PostRequest(Shape, frozen=True, kw_only=True):
    """What ``hmmm post`` and the wizard send."""

    room: str
    text: str
    intent: str = "update"
    reply_to: str = ""
    citations: tuple[Citation, ...] = ()
    mentions: tuple[str, ...] = ()
    stance: str = ""
    weight: str = ""
    op_id: str = ""
    wait_s: float = 0.0  #: wait so long for one other member to confirm


class Posted(Shape, frozen=True, kw_only=True):
    """The answer to every changing operation."""

    id: str
    key: str
    delivered: int  #: other members that confirmed they hold it
    room: str = ""
    address: str = ""
    version: str = ""
    text: str = ""


# --- decisions --------------------------------------------------------------------------------------------------------


class Vote(Shape, frozen=True, kw_only=True):
    """One voice. ``counted`` is false for a vote outside the cut or after the deadline."""

    voter: str  #: agent id
    peer_id: str
    choice: str  #: empty when not cast
    reason: str
    at: str
    counted: bool
    you: bool
    previous: str = ""


class Decision(Shape, frozen=True, kw_only=True):
    """A proposal with its tally; ``provisional`` until the close is committed."""

    id: str
    title: str
    description: str
    kind: str
    address: str
    proposer: str
    proposer_peer: str
    options: tuple[str, ...]
    rule: str
    quorum: float
    deadline: str
    at: str
    state: str  #: open, closing, approved, rejected, no_quorum, withdrawn
    outcome: str  #: the option that won, empty while open
    provisional: bool
    tally: dict[str, int]
    eligible: int
    votes: tuple[Vote, ...]  #: one per eligible member, and those not counted
    may_vote: str  #: empty if you may; else the reason why not
    your_vote: str
    time_left_s: float
    closed_by_act: int | None = None
    waiting_for: tuple[str, ...] = ()


class ProposeRequest(Shape, frozen=True, kw_only=True):
    """A new proposal. ``deadline`` is RFC 3339 or a duration like ``10m``."""

    title: str
    description: str = ""
    kind: str = "operational"
    project: str = "chorus"
    task: str = "decisions"
    options: tuple[str, ...] = ()
    rule: str = "majority"
    quorum: float = 0.5
    deadline: str = "1h"
    authority: str = "coordination"
    op_id: str = ""
    wait_s: float = 0.0


class VoteRequest(Shape, frozen=True, kw_only=True):
    """A vote on a decision, named by any unique prefix of its id."""

    id: str
    choice: str
    reason: str = ""
    op_id: str = ""
    wait_s: float = 0.0


# --- UCXL -------------------------------------------------------------------------------------------------------------


class Version(Shape, frozen=True, kw_only=True):
    """One version of an address."""

    hash: str
    key: str
    at: str
    author: str
    size: int
    media: str
    deleted: bool
    parents: tuple[str, ...]
    latest: bool
    sibling: bool
    note: str = ""


class AddressInfo(Shape, frozen=True, kw_only=True):
    """One address in a listing."""

    address: str
    versions: int
    at: str
    author: str
    size: int
    hash: str
    siblings: int
    deleted: bool


class Content(Shape, frozen=True, kw_only=True):
    """What GET answers. ``data`` is base64; ``missing`` says why it isn't there."""

    address: str
    version: Version
    data: str
    siblings: tuple[Version, ...] = ()
    cited_by: tuple[str, ...] = ()
    cites: tuple[Citation, ...] = ()
    missing: str = ""


class PutRequest(Shape, frozen=True, kw_only=True):
    """A new version. ``data`` is base64. ``if_match`` is the hash that must be latest, ``none`` for a new address."""

    address: str
    data: str
    media: str = "text/plain"
    note: str = ""
    if_match: str = ""
    citations: tuple[Citation, ...] = ()
    op_id: str = ""
    wait_s: float = 0.0


class Diff(Shape, frozen=True, kw_only=True):
    """A unified diff of two versions."""

    address: str
    old: Version
    new: Version
    text: str


# --- SHHH, verification -----------------------------------------------------------------------------------------------


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
    bad: str = ""  #: the first bad entry, and why
    forks: tuple[str, ...] = ()


class Health(Shape, frozen=True, kw_only=True):
    """One answer of a health endpoint."""

    status: str  #: ok, degraded, down
    checks: dict[str, Any]


# --- subscriptions ----------------------------------------------------------------------------------------------------


class SliceEvent(Shape, frozen=True, kw_only=True):
    """One change of a slice. State slices carry ``value`` whole, stream slices the new ``items``."""

    slice: str
    rev: int
    value: msgspec.Raw | None = None
    items: tuple[msgspec.Raw, ...] = ()
    dropped: int = 0  #: items this reader was too slow for, in total


#: Slices whose latest value wins, and the type of the value.
STATE_SLICES: dict[str, Any] = {
    "status": Status,
    "election": Election,
    "members": tuple[MemberInfo, ...],
    "peers": tuple[PeerInfo, ...],
    "rooms": tuple[Room, ...],
    "decisions": tuple[Decision, ...],
    "ucxl": tuple[AddressInfo, ...],
    "attention": tuple[Attention, ...],
}
#: Slices with a parameter after a colon: ``room:<id>``.
KEYED_SLICES: dict[str, Any] = {"room": RoomView}
#: Slices that are streams of items; the snapshot is the newest few hundred.
STREAM_SLICES: dict[str, Any] = {"traffic": Traffic, "log": LogEntry}
