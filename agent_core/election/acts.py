"""Acts: what the admin decides for the whole cluster, one chain across the admins' feeds, committed by a majority."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from agent_core.roster.model import Roster

#: Entry type of an act and of the acknowledgements that commit it.
ACT = "act"
ACT_COMMIT = "act.commit"


class ActKind(StrEnum):
    """What an act does."""

    GENESIS = "genesis"  #: founds a cluster; number 0
    TERM = "term"  #: a new admin's first act, empty but for its certificate; commits what precedes it
    MEMBER_ADD = "member.add"
    MEMBER_CHANGE = "member.change"
    MEMBER_REVOKE = "member.revoke"
    MEMBER_EVICT = "member.evict"
    VOTER_ADD = "voter.add"
    VOTER_REMOVE = "voter.remove"
    POLICY = "policy"
    DECISION_CLOSE = "decision.close"


class ActData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An act as its entry's header carries it."""

    cluster: str  #: cluster id, hex; empty in the genesis, whose own leaf hash it is
    term: int
    number: int  #: place in the chain, from 0 without gaps
    prev: str = ""  #: leaf hash (hex) of the act before
    cert: str = ""  #: SHA-256 (hex) of the certificate this admin leads by
    kind: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")  #: typed by ``kind``


class Ack(msgspec.Struct, frozen=True):
    """A voter's signed word that it holds an act, on disk."""

    voter: str
    sig: bytes


class CommitData(msgspec.Struct, frozen=True, kw_only=True):
    """The acknowledgements that commit an act and all that precedes it."""

    cluster: str
    term: int
    number: int
    hash: str
    acks: tuple[Ack, ...]


def ack_message(cluster: str, term: int, number: int, hash: str) -> bytes:
    """The bytes a voter signs to acknowledge an act."""
    return f"chorus-hap ack v1\n{cluster}\n{term}\n{number}\n{hash}\n".encode()


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """A committed act, as folds see it."""

    number: int
    term: int
    hash: str
    kind: str
    payload: msgspec.Raw
    author: str
    epoch: int
    seq: int
    hlc: str


class Chain(Protocol):
    """The committed acts as this node can prove them; a pure function of the set of entries held."""

    @property
    def committed(self) -> Sequence[Act]:
        """Committed acts by number, from 0 without gaps."""
        ...

    @property
    def acts(self) -> Sequence[Act]:
        """The acts that count: those of the clusters that this one replaces, up to the last one proven, then its own."""
        ...

    @property
    def roster(self) -> Roster | None:
        """The roster after the last committed act; nothing before a genesis is known."""
        ...

    def opening(self, term: int) -> Act | None:
        """The act that opened a term, committed or not; of several that say so, the one that is proven best."""
        ...

    def roster_at(self, version: int) -> Roster | None:
        """The roster as it stood at a version (the number of an act)."""
        ...

    def roster_of(self, cluster_id: str, version: int) -> Roster | None:
        """The same of this cluster or of one that it replaces; nothing of what doesn't count here."""
        ...


class Proposer(Protocol):
    """How a domain gets an act committed while this node leads."""

    @property
    def leading(self) -> bool:
        """Whether this node holds a current claim to lead, checked now."""
        ...

    async def propose(self, kind: str, payload: msgspec.Struct) -> Act:
        """Append an act and wait until a majority acknowledged it.

        Raises:
            NotLeader: this node doesn't lead, or lost the term meanwhile (the act may still commit, or be void).
            NoQuorum: no majority acknowledged within the timeout.
        """
        ...
