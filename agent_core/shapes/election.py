"""Who leads and why, and what proves it."""

from __future__ import annotations

from agent_core.shapes.base import Shape
from agent_core.shapes.status import Leader, Voters


class Claim(Shape, frozen=True, kw_only=True):
    """Who claims to lead which term, and until when, on the clock of the node that says so.

    ``own`` is that node's claim itself: acknowledged by a majority, and over at ``until_s`` unless renewed. Else it is what a
    follower may believe: the leader's newest heartbeat is so young that its claim may last.
    """

    peer_id: str
    agent_id: str
    term: int
    own: bool
    clock: str = "CLOCK_BOOTTIME"
    read_s: float  #: that clock when this was read, in seconds
    until_s: float  #: when the claim ends on that clock
    age_s: float  #: since the newest heartbeat that carries it
    left_s: float  #: ``until_s - read_s``


#: How much each part of a score counts.
SCORE_WEIGHTS = {"capabilities": 0.30, "uptime": 0.20, "resources": 0.20, "network": 0.15, "experience": 0.15}


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
    """One consistent read of who leads and why.

    ``claim`` is there exactly while ``leader`` is certain, and of the same leader and term; ``term`` may be later than the last
    known leader's, when the election in it has none yet.
    """

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
    claim: Claim | None = None
    patience_s: float = (
        0.0  #: waited beyond the timeout before a leader's silence counts, since this node itself runs late
    )


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
