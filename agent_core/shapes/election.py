"""Who leads and why, and what proves it."""

from __future__ import annotations

from agent_core.shapes.base import Shape
from agent_core.shapes.status import Leader, Voters


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
