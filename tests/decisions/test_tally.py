"""Counting: rules, quorum, cuts, deadlines, changed votes, and when a result can't be turned any more."""

from __future__ import annotations

import itertools
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.decisions.fold import DecisionsFold
from agent_core.decisions.machine import agenda, due_at
from agent_core.decisions.model import (
    ABSTAIN,
    DECISION_PROPOSE,
    DECISION_VOTE,
    DECISION_WITHDRAW,
    YES_NO,
    ClosePayload,
    ProposeData,
    Rule,
    State,
    VoteData,
    WithdrawData,
)
from agent_core.decisions.tally import Outcome, Tally, closes, count, cut, electorate, settled, tally
from agent_core.election.acts import ActKind
from agent_core.feeds.model import Entry, Head
from agent_core.roster.model import Authority
from tests.support.permute import assert_order_free
from tests.support.writing import CLUSTER, START_MS, FakeChain, Feed, member

DEADLINE = START_MS + 60_000
CARS = ("red", "green", "blue")


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Proposals, votes, withdrawals of a few authors, votes on what never came, unreadable data."""
    feeds = [Feed(name) for name in "abc"]
    written: list[Entry] = []
    proposals = ["f" * 64]
    for step in range(draw(st.integers(0, 14))):
        feed = draw(st.sampled_from(feeds))
        ms = START_MS + draw(st.integers(0, 5)) * 1000 + step
        decision = draw(st.sampled_from(proposals))
        match draw(st.sampled_from(["propose", "vote", "withdraw", "junk"])):
            case "propose":
                data = ProposeData(cluster=CLUSTER, roster_version=0, project="p", task="t", deadline_ms=DEADLINE)
                written.append(feed.write(DECISION_PROPOSE, data, ms, b"title", op=draw(st.sampled_from(["", "o"]))))
                proposals.append(written[-1].hash.hex())
            case "vote":
                choice = draw(st.sampled_from([*YES_NO, ABSTAIN, "perhaps"]))
                written.append(feed.write(DECISION_VOTE, VoteData(decision=decision, choice=choice), ms))
            case "withdraw":
                written.append(feed.write(DECISION_WITHDRAW, WithdrawData(decision=decision), ms))
            case _:
                type = draw(st.sampled_from([DECISION_PROPOSE, DECISION_VOTE, DECISION_WITHDRAW]))
                junk = draw(st.sampled_from([b"7", b"{}", b'{"decision":"x","choice":""}', b'{"quorum":1e999}']))
                written.append(feed.write(type, msgspec.Raw(junk), ms))
    return written


@given(histories(), st.data())
def test_state_depends_on_the_set_of_entries_only(entries: list[Entry], data: st.DataObject) -> None:
    assert_order_free(DecisionsFold, entries, data)


@pytest.mark.parametrize(
    ("rule", "quorum", "eligible", "votes", "expected"),
    [
        (Rule.MAJORITY, 0.5, 3, {"approve": 2}, (State.APPROVED, "approve")),
        (Rule.MAJORITY, 0.5, 4, {"approve": 1, "reject": 1}, (State.REJECTED, "reject")),
        (Rule.MAJORITY, 0.5, 4, {"approve": 1}, (State.NO_QUORUM, "")),
        (Rule.MAJORITY, 0.5, 4, {"approve": 1, "abstain": 1}, (State.APPROVED, "approve")),
        (Rule.MAJORITY, 0.5, 4, {"abstain": 4}, (State.REJECTED, "reject")),
        (Rule.MAJORITY, 0.0, 4, {}, (State.NO_QUORUM, "")),
        (Rule.MAJORITY, 0.0, 4, {"reject": 1}, (State.REJECTED, "reject")),
        (Rule.MAJORITY, 0.7, 10, {"approve": 7}, (State.APPROVED, "approve")),
        (Rule.MAJORITY, 0.7, 10, {"approve": 6}, (State.NO_QUORUM, "")),
        (Rule.MAJORITY, 1.0, 3, {"approve": 3}, (State.APPROVED, "approve")),
        (Rule.SUPERMAJORITY, 0.5, 6, {"approve": 4, "reject": 2}, (State.APPROVED, "approve")),
        (Rule.SUPERMAJORITY, 0.5, 5, {"approve": 3, "reject": 2}, (State.REJECTED, "reject")),
        (Rule.UNANIMOUS, 0.5, 3, {"approve": 2, "abstain": 1}, (State.APPROVED, "approve")),
        (Rule.UNANIMOUS, 0.5, 3, {"approve": 2, "reject": 1}, (State.REJECTED, "reject")),
    ],
)
def test_rules_of_yes_and_no(
    rule: Rule, quorum: float, eligible: int, votes: dict[str, int], expected: tuple[State, str]
) -> None:
    assert count(YES_NO, rule, quorum, eligible, votes) == Outcome(*expected)


@pytest.mark.parametrize(
    ("rule", "votes", "expected"),
    [
        (Rule.MAJORITY, {"red": 3, "green": 2}, (State.APPROVED, "red")),
        (Rule.MAJORITY, {"red": 2, "green": 2, "blue": 1}, (State.REJECTED, "")),
        (Rule.SUPERMAJORITY, {"blue": 4, "green": 2}, (State.APPROVED, "blue")),
        (Rule.UNANIMOUS, {"green": 3, "abstain": 2}, (State.APPROVED, "green")),
        (Rule.UNANIMOUS, {"green": 3, "blue": 1}, (State.REJECTED, "")),
    ],
)
def test_rules_of_options(rule: Rule, votes: dict[str, int], expected: tuple[State, str]) -> None:
    assert count(CARS, rule, 0.5, 6, votes) == Outcome(*expected)


class Ballots:
    """One decision among ``members``, and its votes."""

    def __init__(self, members: str = "abc", *, now_ms: int = START_MS, **data: object) -> None:
        self.chain = FakeChain(*map(member, members))
        self.feeds = {name: Feed(name) for name in members}
        self.now_ms = now_ms
        fields = {"cluster": CLUSTER, "roster_version": 0, "project": "p", "task": "t", "deadline_ms": DEADLINE, **data}
        self.entry = self.feeds["a"].write(DECISION_PROPOSE, ProposeData(**fields), START_MS, b"title")  # type: ignore[arg-type]
        self.hash = self.entry.hash.hex()

    def vote(self, who: str, choice: str, ms: int = START_MS + 1000) -> Entry:
        return self.feeds.setdefault(who, Feed(who)).write(
            DECISION_VOTE, VoteData(decision=self.hash, choice=choice), ms
        )

    def heads(self) -> tuple[Head, ...]:
        return tuple(feed.head for feed in self.feeds.values())

    def close(self, heads: tuple[Head, ...]) -> None:
        self.chain.commit(ActKind.DECISION_CLOSE, ClosePayload(decision=self.hash, cut=heads))

    def tally(self) -> Tally:
        fold = DecisionsFold()
        for feed in self.feeds.values():
            fold.apply(feed.entries)
        proposal = fold.proposals[self.hash]
        roster = electorate(proposal, self.chain)
        assert roster is not None
        return tally(fold, proposal, roster, closes(self.chain).get(self.hash), self.now_ms)


def test_one_voice_each_and_the_last_counts() -> None:
    ballots = Ballots()
    ballots.vote("b", "approve")
    ballots.vote("b", "reject")
    ballots.vote("z", "approve")
    ballots.vote("c", "perhaps")
    t = ballots.tally()
    assert t.counts == {"approve": 0, "reject": 1, "abstain": 0}
    assert t.replaced["b"].choice == "approve"
    assert t.waiting_for == ("a", "c")
    assert t.left_out == ()


def test_open_until_the_deadline_then_closing() -> None:
    assert Ballots(now_ms=DEADLINE).tally().state is State.OPEN
    assert Ballots(now_ms=DEADLINE + 1).tally().state is State.CLOSING


def test_the_result_is_the_fold_over_exactly_the_cut() -> None:
    ballots = Ballots()
    ballots.vote("a", "approve")
    ballots.vote("b", "reject")
    heads = ballots.heads()
    ballots.vote("b", "approve")
    ballots.vote("c", "approve")
    ballots.close(heads)
    t = ballots.tally()
    assert (t.state, t.counts["approve"], t.counts["reject"]) == (State.REJECTED, 1, 1)
    assert sorted(b.voter for b in t.left_out) == ["b", "c"]
    assert t.final
    assert t.close is not None
    assert t.close.missing(lambda author, epoch: 0) == sum(h.size for h in heads)
    assert t.close.missing(lambda author, epoch: 9) == 0


def test_another_epoch_is_outside_the_cut() -> None:
    ballots = Ballots()
    ballots.close(ballots.heads())
    ballots.feeds["b"] = Feed("b", epoch=1)
    ballots.vote("b", "approve")
    assert [b.voter for b in ballots.tally().left_out] == ["b"]


def test_votes_stamped_after_the_deadline_are_left_out_even_within_the_cut() -> None:
    ballots = Ballots()
    ballots.vote("b", "approve", DEADLINE)
    ballots.vote("c", "approve", DEADLINE + 1)
    ballots.close(ballots.heads())
    t = ballots.tally()
    assert list(t.counted) == ["b"]
    assert [b.voter for b in t.left_out] == ["c"]
    assert t.state is State.NO_QUORUM


def test_the_first_close_counts() -> None:
    ballots = Ballots()
    ballots.vote("a", "approve")
    ballots.close(ballots.heads())
    ballots.vote("b", "approve")
    ballots.close(ballots.heads())
    ballots.chain.commit(
        ActKind.DECISION_CLOSE, ProposeData(cluster="", roster_version=0, project="", task="", deadline_ms=0)
    )
    assert ballots.tally().state is State.NO_QUORUM


def test_only_the_proposer_withdraws_and_a_close_that_had_not_seen_it_stands() -> None:
    ballots = Ballots()
    ballots.feeds["b"].write(DECISION_WITHDRAW, WithdrawData(decision=ballots.hash), START_MS + 5)
    assert ballots.tally().state is State.OPEN
    for who in "abc":
        ballots.vote(who, "approve")
    heads = ballots.heads()
    ballots.feeds["a"].write(DECISION_WITHDRAW, WithdrawData(decision=ballots.hash), START_MS + 9)
    assert ballots.tally().state is State.WITHDRAWN
    assert agenda([ballots.tally()], START_MS).due
    ballots.close(heads)
    assert ballots.tally().state is State.APPROVED


def test_eligible_is_who_was_so_in_the_version_that_the_proposal_names() -> None:
    ballots = Ballots(authority=Authority.COORDINATION)
    ballots.chain.set_roster(4, *map(member, "abcd"))
    assert ballots.tally().eligible == ("a", "b", "c")
    ballots.vote("d", "approve")
    assert ballots.tally().counted == {}


@pytest.mark.parametrize("data", [{"cluster": "another"}, {"roster_version": 0, "authority": Authority.MASTER}])
def test_a_proposal_of_another_cluster_is_none_here(data: dict[str, object]) -> None:
    ballots = Ballots(**data)
    proposal_roster = None if "cluster" in data else ballots.chain.roster
    fold = DecisionsFold()
    fold.apply([ballots.entry])
    assert electorate(fold.proposals[ballots.hash], ballots.chain) == proposal_roster
    ballots.chain.set_roster(0, *map(member, "bc"))
    assert electorate(fold.proposals[ballots.hash], ballots.chain) is None, "its proposer wasn't a member"


@given(
    st.sampled_from([YES_NO, CARS]),
    st.sampled_from(list(Rule)),
    st.sampled_from([0.0, 0.34, 0.5, 1.0]),
    st.lists(st.integers(0, 3), max_size=5),
    st.integers(0, 4),
)
def test_settled_means_that_no_completion_turns_it(
    options: tuple[str, ...], rule: Rule, quorum: float, cast: list[int], remaining: int
) -> None:
    """The shortcut by extremes against every way in which the remaining voters could vote."""
    choices = (*options, ABSTAIN)
    names = "abcdefghijk"[: max(1, len(cast) + remaining)]
    ballots = Ballots(names, options=options, rule=rule, quorum=quorum)
    for who, choice in zip(names, cast, strict=False):
        ballots.vote(who, choices[choice % len(choices)])
    t = ballots.tally()
    outcomes = {
        count(options, rule, quorum, len(names), Counter(t.counts) + Counter(c for c in more if c))
        for more in itertools.combinations_with_replacement((*choices, ""), len(t.waiting_for))
    }
    assert settled(t) == (outcomes == {t.outcome})


def test_a_deadline_that_no_calendar_has_makes_no_proposal() -> None:
    fold, feed = DecisionsFold(), Feed("a")
    for deadline_ms in (253_402_300_800_000, -1):
        feed.write(
            DECISION_PROPOSE,
            ProposeData(cluster=CLUSTER, roster_version=0, project="p", task="t", deadline_ms=deadline_ms),
        )
    fold.apply(feed.entries)
    assert fold.proposals == {}


def test_the_leaders_agenda() -> None:
    early = Ballots()
    early.vote("a", "approve")
    early.vote("b", "approve")
    assert due_at(early.tally()) == START_MS + 5_000
    waits = Ballots()
    waits.vote("a", "approve")
    assert due_at(waits.tally()) == DEADLINE + 5_000
    emergency = Ballots(kind="emergency")
    emergency.vote("a", "approve")
    emergency.vote("b", "approve")
    assert due_at(emergency.tally()) == DEADLINE + 5_000
    emergency.vote("c", "reject")
    assert due_at(emergency.tally()) == START_MS + 5_000
    short = Ballots(deadline_ms=START_MS + 1000)
    assert due_at(short.tally()) == START_MS + 6_000

    plan = agenda([early.tally(), waits.tally()], START_MS + 4_999)
    assert (plan.due, plan.next_ms) == ((), START_MS + 5_000)
    plan = agenda([early.tally(), waits.tally()], START_MS + 5_000)
    assert ([t.proposal.hash for t in plan.due], plan.next_ms) == ([early.hash], DEADLINE + 5_000)
    early.close(early.heads())
    assert agenda([early.tally()], DEADLINE * 2).due == ()


def test_the_cut_names_the_eligible_and_the_proposer_and_voters_first() -> None:
    ballots = Ballots("abc")
    ballots.vote("b", "approve")
    ballots.feeds["z"] = Feed("z")
    t, roster = ballots.tally(), ballots.chain.roster
    assert roster is not None
    heads = [*ballots.heads(), Head(author="c", epoch=1, size=4, root="")]
    assert [(h.author, h.epoch, h.size) for h in cut(t.proposal, roster, ("b",), heads, 80)] == [
        ("a", 0, 1),
        ("b", 0, 1),
        ("c", 1, 4),
    ]
    assert [h.author for h in cut(t.proposal, roster, ("b",), heads, 2)] == ["a", "b"]
