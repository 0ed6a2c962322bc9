"""What voters and members say on ``/chorus/election/1.0.0``, the bytes they sign, and the certificate of a majority.

Frames are msgpack of :class:`Frame`. The stream authenticates the sender, so only what is passed on to third parties is signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from agent_core.election.acts import CommitData
from agent_core.identity.signing import Verifier
from agent_core.roster.model import Roster

PROTOCOL = "/chorus/election/1.0.0"
#: No frame is longer; a catch-up is cut into several.
MAX_FRAME_BYTES = 1024 * 1024
#: A certificate with more votes is noise: there are at most seven voters.
MAX_VOTES = 16


def prevote_message(cluster: str, term: int, candidate: str, known: int) -> bytes:
    """The bytes a voter signs to say it would vote for the candidate in the term, ``known`` being the highest it knows."""
    return f"chorus-hap prevote v1\n{cluster}\n{term}\n{candidate}\n{known}\n".encode()


def vote_message(cluster: str, term: int, candidate: str, number: int, hash: str) -> bytes:
    """The bytes a voter signs as its vote, with number and hash of the last act it holds."""
    return f"chorus-hap vote v1\n{cluster}\n{term}\n{candidate}\n{number}\n{hash}\n".encode()


def death_message(cluster: str, term: int, leader: str) -> bytes:
    """The bytes a voter signs to report that the leader closed its connection and its host refuses a fresh dial."""
    return f"chorus-hap death v1\n{cluster}\n{term}\n{leader}\n".encode()


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base of all messages."""


class DeathReport(Message, frozen=True):
    """A voter's signed word that the leader of the term is dead."""

    reporter: str
    term: int
    leader: str
    sig: bytes


class PreVoteAsk(Message, frozen=True):
    """Would you vote for me in this term? Carries what evidence of death the asker has."""

    term: int
    last_term: int
    last_number: int
    reports: tuple[DeathReport, ...] = ()


class PreVote(Message, frozen=True):
    """The answer; signed if granted. ``wait_s``: how long the voter is still bound by its promise to a leader."""

    voter: str
    term: int
    candidate: str
    known: int
    granted: bool
    wait_s: float = 0.0
    sig: bytes = b""


class Candidacy(Message, frozen=True):
    """I stand in this term; a majority would vote for me. Nothing else moves a voter's term but a certificate."""

    term: int
    last_term: int
    last_number: int
    roster: int
    trigger: str
    prevotes: tuple[PreVote, ...]


class Vote(Message, frozen=True):
    """A voter's one vote of a term."""

    voter: str
    term: int
    candidate: str
    number: int
    hash: str
    sig: bytes


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A majority's signed votes: what a leader leads by. Anybody with the roster can check it, also years later."""

    cluster: str
    term: int
    leader: str
    roster: int
    votes: tuple[Vote, ...]

    def verify(self, verifier: Verifier, roster: Roster) -> bool:
        """Whether a majority of the roster's voters signed votes for this leader in this term."""
        if len(self.votes) > MAX_VOTES:
            return False
        voters = set(roster.voters)
        signed = {
            v.voter
            for v in self.votes
            if v.voter in voters
            and v.term == self.term
            and v.candidate == self.leader
            and verifier.verify(v.voter, vote_message(self.cluster, self.term, self.leader, v.number, v.hash), v.sig)
        }
        return roster.cluster_id == self.cluster and self.leader in voters and len(signed) >= roster.quorum

    @property
    def digest(self) -> str:
        """SHA-256 (hex) by which acts name it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class TermPayload(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a ``term`` act: the certificate it is led by, and why the election was held."""

    certificate: Certificate
    trigger: str


class Announce(Message, frozen=True):
    """I lead; here is the certificate."""

    certificate: Certificate
    trigger: str


class Heartbeat(Message, frozen=True):
    """Numbered within the term; ``commit`` is the number of the last committed act."""

    term: int
    n: int
    commit: int


class HeartbeatAck(Message, frozen=True):
    """``ok`` binds the voter for a full timeout; not ok says in which term it is instead, or that it lacks the certificate."""

    term: int
    n: int
    ok: bool
    last_number: int
    last_hash: str
    commit: int


class Append(Message, frozen=True):
    """Acts after ``prev``, as their entries' stored header bytes, and the commits among them."""

    term: int
    prev_number: int
    prev_hash: str
    acts: tuple[bytes, ...]
    proofs: tuple[CommitData, ...]


class AppendAck(Message, frozen=True):
    """What of the acts the voter holds, on disk: a signature (``acts.ack_message``) for each act of the leader's own term."""

    term: int
    ok: bool
    number: int
    hash: str
    commit: int
    sigs: tuple[tuple[int, bytes], ...] = ()
    objection: Annotated[str, Meta(max_length=500)] = (
        ""  #: why the next act may not be, where that is why it wasn't taken
    )


class Resign(Message, frozen=True):
    """My claim to this term has ended; vote for the successor at once, if one is named: it holds all acts up to my last one."""

    term: int
    successor: str = ""
    last_term: int = 0
    last_number: int = -1


class CatchUp(Message, frozen=True):
    """Send me the acts after this number."""

    commit: int


class Challenge(Message, frozen=True):
    """A person asks the leader to let the voters choose again."""

    term: int


class Farewell(Message, frozen=True):
    """You are no member any more, as the acts up to this number prove; ask for them."""

    act: int


AnyMessage: TypeAlias = (
    DeathReport
    | PreVoteAsk
    | PreVote
    | Candidacy
    | Vote
    | Announce
    | Heartbeat
    | HeartbeatAck
    | Append
    | AppendAck
    | Resign
    | CatchUp
    | Challenge
    | Farewell
)


class Frame(msgspec.Struct, frozen=True):
    """One message and the cluster it is meant for."""

    cluster: str
    message: AnyMessage


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def encode(cluster: str, message: AnyMessage) -> bytes:
    """A frame's bytes."""
    return _encoder.encode(Frame(cluster, message))


def decode(data: bytes) -> Frame | None:
    """The frame, or nothing if it isn't one."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return None


def majority(signed: Iterable[str], voters: tuple[str, ...]) -> bool:
    """Whether the signed are a majority of the voters."""
    return len(set(signed).intersection(voters)) > len(voters) // 2
