"""What a decision is made of: the entries that propose, vote and withdraw, and the payload of the act that closes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from agent_core.feeds.model import EntryKey, Head
from agent_core.roster.model import Authority
from agent_core.ucxl.model import Hash

#: Entry types. The bodies are: title, empty line, description; the vote's reason; the withdrawal's reason.
DECISION_PROPOSE = "decision.propose"
DECISION_VOTE = "decision.vote"
DECISION_WITHDRAW = "decision.withdraw"

APPROVE, REJECT, ABSTAIN = "approve", "reject", "abstain"
YES_NO = (APPROVE, REJECT)
MAX_OPTIONS = 16
MAX_OPTION_CHARS = 64
MAX_TITLE_CHARS = 200
#: No early close before this, and a close at the deadline comes so much after it (SPEC section 7), milliseconds.
GRACE_MS = 5_000
#: A cut names at most so many feeds: what an act's header has room for.
MAX_CUT = 80

#: The first instant of the year 10000, which RFC 3339 can't write, in Unix milliseconds.
END_OF_TIME_MS = 253_402_300_800_000

_Word: TypeAlias = Annotated[str, Meta(max_length=64)]


class DecisionKind(StrEnum):
    """What a decision is about. An ``emergency`` closes at its deadline or when all have voted, never earlier."""

    ARCHITECTURE = "architecture"
    SECURITY = "security"
    OPERATIONAL = "operational"
    POLICY = "policy"
    CODE = "code"
    EMERGENCY = "emergency"


class Rule(StrEnum):
    """What share of the votes for options the winner needs; abstentions count for the quorum only."""

    MAJORITY = "majority"  #: more than half
    SUPERMAJORITY = "supermajority"  #: two thirds or more
    UNANIMOUS = "unanimous"  #: all of them


class State(StrEnum):
    """Where a decision stands."""

    OPEN = "open"
    CLOSING = "closing"  #: past the deadline, and no committed close yet
    APPROVED = "approved"
    REJECTED = "rejected"
    NO_QUORUM = "no_quorum"
    WITHDRAWN = "withdrawn"


class ProposeData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A proposal. Who may vote is settled by the roster version it names; ``cluster`` says whose roster that is."""

    cluster: str
    roster_version: Annotated[int, Meta(ge=0)]
    kind: _Word = DecisionKind.OPERATIONAL.value
    project: _Word
    task: _Word
    options: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=MAX_OPTION_CHARS)], ...],
        Meta(min_length=2, max_length=MAX_OPTIONS),
    ] = YES_NO
    rule: Rule = Rule.MAJORITY
    quorum: Annotated[float, Meta(ge=0, le=1)] = 0.5  #: share of the eligible that must vote
    deadline_ms: Annotated[int, Meta(ge=0, lt=END_OF_TIME_MS)]  #: Unix milliseconds, by the stamps of the votes
    authority: Authority = Authority.COORDINATION


class VoteData(msgspec.Struct, frozen=True, kw_only=True):
    """A vote: the hash of the proposal's entry, and an option or ``abstain``."""

    decision: Hash
    choice: Annotated[str, Meta(min_length=1, max_length=MAX_OPTION_CHARS)]


class WithdrawData(msgspec.Struct, frozen=True, kw_only=True):
    """The proposer takes its proposal back."""

    decision: Hash


class ClosePayload(msgspec.Struct, frozen=True, kw_only=True):
    """The act ``decision.close``: the result is the fold over exactly the entries within the cut."""

    decision: Hash
    cut: Annotated[tuple[Head, ...], Meta(max_length=MAX_CUT)]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal as the fold keeps it."""

    hash: str
    id: str  #: short id
    key: EntryKey
    order: tuple[str, str, int, int]  #: (hlc, author, epoch, seq)
    data: ProposeData

    @property
    def at_ms(self) -> int:
        """When it was made, Unix milliseconds."""
        return int(self.order[0][:12], 16)


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote, or with ``choice`` empty one withdrawal, as the fold keeps it."""

    hash: str
    id: str
    key: EntryKey
    order: tuple[str, str, int, int]
    choice: str

    @property
    def voter(self) -> str:
        return self.key.author

    @property
    def at_ms(self) -> int:
        return int(self.order[0][:12], 16)
