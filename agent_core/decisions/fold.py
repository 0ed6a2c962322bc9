"""Proposals, votes and withdrawals as they came, each decision's together. What they add up to is ``tally``'s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from agent_core.decisions.model import (
    DECISION_PROPOSE,
    DECISION_VOTE,
    DECISION_WITHDRAW,
    Ballot,
    Proposal,
    ProposeData,
    VoteData,
    WithdrawData,
)
from agent_core.feeds.model import Entry
from agent_core.kept import Kept, MemoryKept

# What the keys begin with.
_PROPOSAL = b"p"  #: hash → Proposal
_VOTE = b"v"  #: hash of the proposal, own hash → Ballot
_WITHDRAWAL = b"w"  #: the same

_pack = msgspec.msgpack.Encoder().encode
_proposal = msgspec.msgpack.Decoder(Proposal).decode
_ballot = msgspec.msgpack.Decoder(Ballot).decode


class DecisionsFold:
    """All decisions. Implements :class:`agent_core.feeds.model.Fold`.

    Votes may come before the proposal they are about; they are kept under its hash until it does. All of it is in memory
    too: who leads counts all decisions again and again.

    Args:
        kept: where the state is kept; in memory only if not given.
    """

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept: Kept = kept if kept is not None else MemoryKept()
        self.proposals: dict[str, Proposal] = {}
        self._votes: dict[str, dict[str, Ballot]] = defaultdict(dict)
        self._withdrawals: dict[str, dict[str, Ballot]] = defaultdict(dict)
        for key, raw in self._kept.scan(_PROPOSAL):
            self.proposals[key[len(_PROPOSAL) :].hex()] = _proposal(raw)
        for prefix, ballots in ((_VOTE, self._votes), (_WITHDRAWAL, self._withdrawals)):
            for key, raw in self._kept.scan(prefix):
                ballot = _ballot(raw)
                ballots[key[len(prefix) : len(prefix) + 32].hex()][ballot.hash] = ballot

    def apply(self, entries: Iterable[Entry]) -> None:
        """Take entries in; other types and unreadable data are skipped, repeats change nothing."""
        for entry in entries:
            if entry.header.type == DECISION_PROPOSE:
                self._proposal(entry)
            elif entry.header.type == DECISION_VOTE and (vote := entry.data(VoteData)):
                self._ballot(entry, self._votes, _VOTE, vote.decision, vote.choice)
            elif entry.header.type == DECISION_WITHDRAW and (withdrawal := entry.data(WithdrawData)):
                self._ballot(entry, self._withdrawals, _WITHDRAWAL, withdrawal.decision, "")

    def _proposal(self, entry: Entry) -> None:
        data = entry.data(ProposeData)
        if data is not None and len(set(data.options)) == len(data.options):
            proposal = Proposal(entry.hash.hex(), entry.id, entry.key, entry.order, data)
            self.proposals[proposal.hash] = proposal
            self._kept.put(_PROPOSAL + entry.hash, _pack(proposal))

    def _ballot(
        self, entry: Entry, among: dict[str, dict[str, Ballot]], prefix: bytes, decision: str, choice: str
    ) -> None:
        ballot = Ballot(entry.hash.hex(), entry.id, entry.key, entry.order, choice)
        among[decision][ballot.hash] = ballot
        self._kept.put(prefix + bytes.fromhex(decision) + entry.hash, _pack(ballot))

    def votes(self, decision: str) -> list[Ballot]:
        """All votes on a decision, whoever cast them, in order."""
        return _in_order(self._votes.get(decision, {}))

    def withdrawals(self, decision: str) -> list[Ballot]:
        """All withdrawals of a decision, whoever wrote them, in order."""
        return _in_order(self._withdrawals.get(decision, {}))

    def canonical(self) -> tuple[object, ...]:
        """The state in a form that is equal exactly when two folds hold the same."""
        return (
            tuple(sorted(self.proposals)),
            tuple(sorted((d, tuple((b.hash, b.choice) for b in self.votes(d))) for d in self._votes)),
            tuple(sorted((d, tuple(b.hash for b in self.withdrawals(d))) for d in self._withdrawals)),
        )


def _in_order(ballots: dict[str, Ballot]) -> list[Ballot]:
    return sorted(ballots.values(), key=lambda b: b.order)
