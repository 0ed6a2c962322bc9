"""Election, shown: the voting itself runs on streams between voters; these tell everybody else who leads and why."""

from __future__ import annotations

from typing import Literal

from agent_core.wire import topics
from agent_core.wire.payload import Count, Family, Hash, Line, MessageType, Name, Payload, PeerId, Share

_ME = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2"
_CLUSTER = "5f" * 32


class ElectionDiscovery(Payload, frozen=True):
    """A node asks who leads."""

    cluster: Hash
    term: Count = 0


class ElectionWhoami(Payload, frozen=True):
    """The answer: whom this node holds for the leader."""

    cluster: Hash
    term: Count
    leader: Name = ""
    state: Name = ""


class ElectionCandidacy(Payload, frozen=True):
    """A node stands for a term. The score is its own claim; voters reckon for themselves."""

    cluster: Hash
    term: Count
    candidate: PeerId
    trigger: Literal["heartbeat_timeout", "discovery_failed", "split_brain", "quorum_lost", "manual"]
    score: Share = 0.0
    capabilities: Share = 0.0
    uptime: Share = 0.0
    resources: Share = 0.0
    network: Share = 0.0
    experience: Share = 0.0


class ElectionVote(Payload, frozen=True):
    """A vote that was cast."""

    cluster: Hash
    term: Count
    voter: PeerId
    candidate: PeerId


class ElectionAnnouncement(Payload, frozen=True):
    """A node leads a term, by the certificate whose hash is given."""

    cluster: Hash
    term: Count
    leader: PeerId
    certificate: Hash = ""
    votes: Count = 0
    trigger: Name = ""


class ElectionHeartbeat(Payload, frozen=True):
    """The leader lives."""

    cluster: Hash
    term: Count
    leader: PeerId
    number: Count
    committed_act: Count = 0


class ElectionResignation(Payload, frozen=True):
    """The leader hands over."""

    cluster: Hash
    term: Count
    leader: PeerId
    successor: Name = ""
    reason: Line = ""


FAMILY = Family(
    "election",
    topics.ELECTION,
    (
        MessageType("election.discovery", ElectionDiscovery(cluster=_CLUSTER, term=3), "asks who leads"),
        MessageType(
            "election.whoami",
            ElectionWhoami(cluster=_CLUSTER, term=3, leader=_ME, state="follower"),
            "is {state} in term {term}, leader {leader}",
        ),
        MessageType(
            "election.candidacy",
            ElectionCandidacy(cluster=_CLUSTER, term=4, candidate=_ME, trigger="heartbeat_timeout", score=0.71),
            "stands for term {term} ({trigger}), score {score:.2f}",
        ),
        MessageType(
            "election.vote",
            ElectionVote(cluster=_CLUSTER, term=4, voter=_ME, candidate=_ME),
            "votes for {candidate} in term {term}",
        ),
        MessageType(
            "election.announcement",
            ElectionAnnouncement(cluster=_CLUSTER, term=4, leader=_ME, certificate="ab" * 32, votes=3),
            "leads term {term} with {votes:vote|votes}",
        ),
        MessageType(
            "election.heartbeat",
            ElectionHeartbeat(cluster=_CLUSTER, term=4, leader=_ME, number=12, committed_act=7),
            "heartbeat {number} of term {term}",
        ),
        MessageType(
            "election.resignation",
            ElectionResignation(cluster=_CLUSTER, term=4, leader=_ME, reason="shutdown"),
            "resigns term {term} {reason}",
        ),
    ),
)
