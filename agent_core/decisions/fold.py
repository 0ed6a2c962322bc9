"""Proposals, votes and withdrawals as they came, each decision's together. What they add up to is ``tally``'s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

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
from agent_core.requests import OperationIndex


class DecisionsFold:
    """All decisions. Implements :class:`agent_core.feeds.model.Fold`.

    Votes may come before the proposal they are about; they are kept under its hash until it does.
    """

    def __init__(self) -> None:
        self.proposals: dict[str, Proposal] = {}
        self.operations = OperationIndex()
        self._votes: dict[str, dict[str, Ballot]] = defaultdict(dict)
        self._withdrawals: dict[str, dict[str, Ballot]] = defaultdict(dict)

    def apply(self, entries: Iterable[Entry]) -> None:
        """Take entries in; other types and unreadable data are skipped, repeats change nothing."""
        for entry in entries:
            if entry.header.type == DECISION_PROPOSE:
                self._proposal(entry)
            elif entry.header.type == DECISION_VOTE and (vote := entry.data(VoteData)):
                self._ballot(entry, self._votes[vote.decision], vote.choice)
            elif entry.header.type == DECISION_WITHDRAW and (withdrawal := entry.data(WithdrawData)):
                self._ballot(entry, self._withdrawals[withdrawal.decision], "")

    def _proposal(self, entry: Entry) -> None:
        data = entry.data(ProposeData)
        if data is not None and len(set(data.options)) == len(data.options):
            hash = entry.hash.hex()
            self.proposals[hash] = Proposal(hash, entry.id, entry.key, entry.order, data)
            self.operations.add(entry)

    def _ballot(self, entry: Entry, among: dict[str, Ballot], choice: str) -> None:
        hash = entry.hash.hex()
        among[hash] = Ballot(hash, entry.id, entry.key, entry.order, choice)
        self.operations.add(entry)

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
