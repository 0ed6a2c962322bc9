"""A node's log of acts: the committed prefix, and after it what its leader sent that isn't committed yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent_core.clock import unpack
from agent_core.election.acts import Act
from agent_core.election.chain import ActChain, HeldAct
from agent_core.identity.signing import Verifier
from agent_core.roster.fold import after
from agent_core.roster.judging import objection
from agent_core.roster.model import Roster


class ActLog:
    """The acts a node holds in order, as Raft's log (Ongaro and Ousterhout 2014).

    Args:
        chain: gives the committed prefix, which grows under the log as commits are proven.
        verifier: checks the signatures inside acts of the roster.
    """

    def __init__(self, chain: ActChain, verifier: Verifier) -> None:
        self._chain = chain
        self._verifier = verifier
        self.suffix: list[HeldAct] = []
        #: Why the last act that was judged and not taken may not be.
        self.objection = ""

    @property
    def number(self) -> int:
        """Number of the last act; -1 for an empty log."""
        return self.suffix[-1].number if self.suffix else self._chain.tip_number

    @property
    def hash(self) -> str:
        """Hash of the last act."""
        return self.suffix[-1].hash if self.suffix else self._chain.tip_hash

    @property
    def term(self) -> int:
        """Term of the last act."""
        if self.suffix:
            return self.suffix[-1].term
        return self._chain.committed[-1].term if self._chain.committed else 0

    @property
    def roster(self) -> Roster | None:
        """The roster as it will stand when everything held here is committed."""
        roster = self._chain.roster
        for held in self.suffix:
            roster = after(roster, held.act)
        return roster

    def judge(self, act: Act) -> str:
        """Why an act may not follow what is held here; empty if it may."""
        return objection(self.roster, act.kind, act.payload, unpack(act.hlc)[0], self._verifier)

    def get(self, number: int) -> HeldAct | None:
        """The act with this number."""
        tip = self._chain.tip_number
        if number <= tip:
            return self._chain.held(number) if number >= 0 else None
        at = number - tip - 1
        return self.suffix[at] if at < len(self.suffix) else None

    def after(self, number: int) -> Sequence[HeldAct]:
        """The acts beyond a number."""
        return [h for n in range(max(number + 1, 0), self.number + 1) if (h := self.get(n)) is not None]

    def holds(self, number: int, hash: str) -> bool:
        """Whether the act with this number is the one with this hash; the empty log's end is ``(-1, "")``."""
        if number == -1:
            return hash == ""
        held = self.get(number)
        return held is not None and held.hash == hash

    def older_than_mine(self, term: int, number: int) -> bool:
        """Whether a log that ends in (term, number) lacks what this one may have acknowledged."""
        return (term, number) < (self.term, self.number)

    @property
    def voter_change_pending(self) -> bool:
        """Whether a change of voters is in the log and not proven committed: no other may follow it."""
        return any(h.changes_voters for h in self.suffix)

    def rebase(self) -> None:
        """Let go of what is committed by now, and of a suffix that the committed prefix contradicts."""
        tip = self._chain.tip_number
        if self.suffix and self.suffix[0].number <= tip:
            self.suffix = [h for h in self.suffix if h.number > tip]
        if self.suffix and self.suffix[0].prev != self._chain.tip_hash:
            self.suffix = []

    def extend(self, acts: Iterable[HeldAct]) -> bool:
        """Take a leader's acts, contiguous and starting at or before the log's end; its word replaces an uncommitted suffix.

        Returns:
            Whether all were taken. Not so for an act that contradicts the committed prefix, doesn't link, would be a second
            uncommitted change of voters, or may not be (:attr:`objection`).
        """
        self.objection = ""
        for held in acts:
            mine = self.get(held.number)
            if mine is not None and mine.hash == held.hash:
                continue
            if held.number <= self._chain.tip_number or held.number > self.number + 1:
                return False
            del self.suffix[held.number - self._chain.tip_number - 1 :]
            if held.prev != self.hash or held.term < self.term or held.cluster != self._chain.cluster_id:
                return False
            if held.changes_voters and self.voter_change_pending:
                return False
            self.objection = self.judge(held.act)
            if self.objection:
                return False
            self._chain.hold(held)
            self.suffix.append(held)
        return True

    def restore(self, tip: str) -> None:
        """Find the suffix again after a restart, by walking back from the last act's hash."""
        found: list[HeldAct] = []
        while tip != self._chain.tip_hash:
            held = self._chain.get(tip)
            if held is None or held.number <= self._chain.tip_number:
                return
            found.append(held)
            tip = held.prev
        self.suffix = found[::-1]
