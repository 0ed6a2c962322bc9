"""What a decision adds up to: who is eligible, whose vote counts, the outcome by rule and quorum. Pure.

Before a close everything held counts and is *provisional*. A committed close names a cut, and then exactly the entries
within the cut count, so every node that holds them computes the same (SPEC section 7).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import msgspec

from agent_core.decisions.fold import DecisionsFold
from agent_core.decisions.model import ABSTAIN, APPROVE, YES_NO, Ballot, ClosePayload, Proposal, Rule, State
from agent_core.election.acts import Act, ActKind, Chain
from agent_core.feeds.model import EntryKey, Head
from agent_core.roster.model import Authority, Roster

#: How many entries of an author's epoch are held and folded here.
Held: TypeAlias = Callable[[str, int], int]


@dataclass(frozen=True, slots=True)
class Close:
    """A committed close."""

    act: Act
    payload: ClosePayload

    def within(self, key: EntryKey) -> bool:
        """Whether an entry is within the cut."""
        return any(h.author == key.author and h.epoch == key.epoch and key.seq < h.size for h in self.payload.cut)

    def missing(self, held: Held) -> int:
        """How many entries within the cut aren't held here; until they are, the result isn't known here."""
        return sum(max(0, h.size - held(h.author, h.epoch)) for h in self.payload.cut)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a count comes out, and which option won, if one did."""

    state: State
    winner: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """One decision as it stands."""

    proposal: Proposal
    eligible: tuple[str, ...]  #: peer ids, sorted
    counted: Mapping[str, Ballot]  #: by voter, the one vote that counts
    replaced: Mapping[str, Ballot]  #: by voter, the last vote before that one with another choice
    left_out: tuple[Ballot, ...]  #: votes of eligible voters outside the cut or stamped after the deadline
    counts: Mapping[str, int]  #: by option, and ``abstain``
    outcome: Outcome  #: as it would be if this were all
    state: State
    close: Close | None

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The eligible who haven't voted."""
        return tuple(p for p in self.eligible if p not in self.counted)

    @property
    def final(self) -> bool:
        return self.close is not None


def closes(chain: Chain) -> dict[str, Close]:
    """The committed closes by decision; of several the first counts."""
    found: dict[str, Close] = {}
    for act in chain.acts:
        if act.kind == ActKind.DECISION_CLOSE:
            try:
                payload = msgspec.json.decode(act.payload, type=ClosePayload)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            found.setdefault(payload.decision, Close(act, payload))
    return found


def electorate(proposal: Proposal, chain: Chain) -> Roster | None:
    """The roster version that a proposal names, if the proposal is valid under it: of this cluster, proposer a member who may write."""
    roster = chain.roster_of(proposal.data.cluster, proposal.data.roster_version)
    if roster is None:
        return None
    proposer = roster.get(proposal.key.author)
    if proposer is None or not proposer.active or not proposer.authority.at_least(Authority.SUGGESTION):
        return None
    return roster


def tally(fold: DecisionsFold, proposal: Proposal, roster: Roster, close: Close | None, now_ms: int) -> Tally:
    """Count one decision.

    Args:
        fold: where the votes are.
        proposal: the decision.
        roster: what :func:`electorate` gave.
        close: its committed close, if there is one.
        now_ms: Unix milliseconds; decides only between ``open`` and ``closing``.
    """
    data = proposal.data
    eligible = roster.eligible(data.authority)

    def counts(ballot: Ballot) -> bool:
        return ballot.at_ms <= data.deadline_ms and (close is None or close.within(ballot.key))

    choices = (*data.options, ABSTAIN)
    valid = [b for b in fold.votes(proposal.hash) if b.voter in eligible and b.choice in choices]
    counted: dict[str, Ballot] = {}
    replaced: dict[str, Ballot] = {}
    left_out = []
    for ballot in valid:
        if not counts(ballot):
            left_out.append(ballot)
            continue
        before = counted.get(ballot.voter)
        if before is not None and before.choice != ballot.choice:
            replaced[ballot.voter] = before
        counted[ballot.voter] = ballot
    votes = Counter(b.choice for b in counted.values())
    outcome = count(data.options, data.rule, data.quorum, len(eligible), votes)
    if any(w.voter == proposal.key.author and counts(w) for w in fold.withdrawals(proposal.hash)):
        outcome = Outcome(State.WITHDRAWN)
    if close is not None or outcome.state is State.WITHDRAWN:
        state = outcome.state
    else:
        state = State.CLOSING if now_ms > data.deadline_ms else State.OPEN
    return Tally(
        proposal=proposal,
        eligible=eligible,
        counted=counted,
        replaced=replaced,
        left_out=tuple(left_out),
        counts={choice: votes[choice] for choice in choices},
        outcome=outcome,
        state=state,
        close=close,
    )


def count(options: Sequence[str], rule: Rule, quorum: float, eligible: int, votes: Mapping[str, int]) -> Outcome:
    """How votes come out.

    - Quorum: votes cast, abstentions among them, must be at least ``quorum`` × eligible, and at least one.
    - Rule: of the votes for options (without abstentions) the winner has more than half (``majority``), two thirds or more
      (``supermajority``), or all (``unanimous``). With several options that is asked of the one with most votes; if it
      falls short, or nobody chose any, the decision is rejected and no option wins.
    - With yes and no the question is whether ``approve`` carries; else ``reject`` won.
    """
    cast = sum(votes.get(o, 0) for o in (*options, ABSTAIN))
    needed = max(1, math.ceil(Fraction(quorum).limit_denominator(10_000) * eligible))
    if cast < needed:
        return Outcome(State.NO_QUORUM)
    chosen = cast - votes.get(ABSTAIN, 0)
    yes_no = tuple(options) == YES_NO
    leading = APPROVE if yes_no else max(options, key=lambda o: votes.get(o, 0))
    if chosen and _carries(rule, votes.get(leading, 0), chosen):
        return Outcome(State.APPROVED, leading)
    return Outcome(State.REJECTED, options[1] if yes_no else "")


def settled(tally: Tally) -> bool:
    """Whether votes not yet cast could not turn the outcome if those cast stand.

    The extremes decide: nobody else votes, all abstain, all choose one same option. A winner that survives all others
    choosing one rival survives any split among rivals, and an option that fails with all of them fails with fewer.
    """
    data, remaining = tally.proposal.data, len(tally.waiting_for)
    if not remaining:
        return True
    return all(
        count(
            data.options,
            data.rule,
            data.quorum,
            len(tally.eligible),
            {**tally.counts, choice: tally.counts[choice] + remaining},
        )
        == tally.outcome
        for choice in (*data.options, ABSTAIN)
    )


def _carries(rule: Rule, votes: int, of: int) -> bool:
    match rule:
        case Rule.MAJORITY:
            return 2 * votes > of
        case Rule.SUPERMAJORITY:
            return 3 * votes >= 2 * of
        case Rule.UNANIMOUS:
            return votes == of


def cut(
    proposal: Proposal, roster: Roster, voters: Sequence[str], heads: Sequence[Head], limit: int
) -> tuple[Head, ...]:
    """The cut a close names: the heads held of every eligible feed and of the proposer's.

    Where there are more than ``limit``, those of the feeds that voted, and the proposer's, come first.
    """
    concerned = {proposal.key.author, *roster.eligible(proposal.data.authority)}
    first = {proposal.key.author, *voters}
    mine = [h for h in heads if h.author in concerned and h.size > 0]
    return tuple(sorted(mine, key=lambda h: (h.author not in first, h.author, h.epoch))[:limit])
