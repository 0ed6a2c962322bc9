"""Proposing, voting, withdrawing: what is refused and in which words, what the card shows; the leader closes and records."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from agent_core import shapes
from agent_core.caller import Caller
from agent_core.clock import parse_rfc3339
from agent_core.decisions import views
from agent_core.decisions.closer import Closer
from agent_core.decisions.fold import DecisionsFold
from agent_core.decisions.service import DecisionsService, deadline_ms
from agent_core.election.acts import Act
from agent_core.errors import Conflict, InvalidInput, NoQuorum, NotFound, Refused, TooLarge
from agent_core.feeds.model import Via
from agent_core.ids import uuid7
from agent_core.roster.model import Authority
from agent_core.views import ViewContext
from tests.support.writing import START_MS, Cluster, member

CALLER = Caller(Via.COMMAND, "ann")


class House:
    """Three who may vote, one who may only suggest, on one fold; ``ann`` leads."""

    def __init__(self) -> None:
        self.cluster = Cluster(
            member("ann"), member("bob"), member("cyd"), member("sue", authority=Authority.SUGGESTION)
        )
        self.fold = DecisionsFold()
        self.cluster.folds.append(self.fold)
        self.leading = True
        self.refusals = 0
        self.records: list[tuple[str, str, str]] = []

    def context(self, me: str = "ann") -> ViewContext:
        return self.cluster.context(me)

    def of(self, me: str) -> DecisionsService:
        return DecisionsService(self.cluster.appender(me), lambda: self.fold, lambda: self.context(me))

    async def propose(self, me: str = "ann", **rest: object) -> str:
        request = shapes.ProposeRequest(**{"title": "Adopt the cache", **rest})  # type: ignore[arg-type]
        return (await self.of(me).propose(request, CALLER)).id

    async def vote(self, me: str, id: str, choice: str, reason: str = "", op_id: str = "") -> shapes.Posted:
        self.cluster.now_ms += 1
        return await self.of(me).vote(shapes.VoteRequest(id=id, choice=choice, reason=reason, op_id=op_id), CALLER)

    def show(self, id: str, me: str = "ann") -> shapes.Decision:
        ctx = self.context(me)
        return views.decision(views.find(self.fold, ctx, id), ctx)

    async def propose_act(self, kind: str, payload: object) -> Act:
        if self.refusals:
            self.refusals -= 1
            raise NoQuorum("No majority answered.")
        return self.cluster.chain.commit(kind, payload, self.cluster.now_ms)  # type: ignore[arg-type]

    async def record(self, address: str, text: str, op: str) -> None:
        self.records.append((address, text, op))


class Leader:
    """A proposer that commits at once."""

    def __init__(self, house: House) -> None:
        self._house = house

    @property
    def leading(self) -> bool:
        return self._house.leading

    async def propose(self, kind: str, payload: object) -> Act:
        return await self._house.propose_act(kind, payload)


async def test_the_card_says_what_stands() -> None:
    house = House()
    id = await house.propose(description="It is\n\nfaster.", deadline="10m", project="mesh", task="perf")
    await house.vote("bob", id[:4], "reject", "not measured")
    changed = await house.vote("bob", id, "approve", "measured")
    card = house.show(id, "bob")
    assert (card.title, card.description, card.state, card.provisional, card.outcome) == (
        "Adopt the cache",
        "It is\n\nfaster.",
        "open",
        True,
        "",
    )
    assert card.address == f"ucxl://agent-ann:admin@mesh:perf/decisions/{id}"
    assert (card.tally, card.eligible) == ({"approve": 1, "reject": 0, "abstain": 0}, 3)
    assert (card.your_vote, card.may_vote, card.waiting_for) == ("approve", "", ("agent-ann", "agent-cyd"))
    mine = next(v for v in card.votes if v.you)
    assert (mine.choice, mine.previous, mine.reason, mine.counted) == ("approve", "reject", "measured", True)
    assert [v.choice for v in card.votes] == ["", "approve", ""]
    assert "reject → approve" in changed.text
    assert 590 < card.time_left_s <= 600


async def test_who_cannot_vote_is_told_why() -> None:
    house = House()
    id = await house.propose()
    with pytest.raises(Refused, match="needs authority coordination; you had suggestion"):
        await house.vote("sue", id, "approve")
    members = house.cluster.chain.rosters[0].members.values()
    house.cluster.chain.set_roster(5, *members, member("new"))
    assert house.show(id, "new").may_vote == "You became a member after it was proposed, so you had no vote then."
    assert house.show(id, "stranger").may_vote == "This node is not a member of the cluster."


async def test_what_cannot_be_voted_is_refused() -> None:
    house = House()
    id = await house.propose()
    with pytest.raises(InvalidInput, match="reason"):
        await house.vote("bob", id, "reject", " ")
    with pytest.raises(InvalidInput, match="no choice"):
        await house.vote("bob", id, "maybe")
    with pytest.raises(NotFound):
        await house.vote("bob", "zzzz", "approve")
    with pytest.raises(TooLarge):
        await house.vote("bob", id, "approve", "x" * 40_000)
    assert house.show(id).waiting_for == ("agent-ann", "agent-bob", "agent-cyd")
    house.cluster.now_ms += 3_600_001
    with pytest.raises(Conflict, match="takes no votes any more"):
        await house.vote("bob", id, "approve")
    assert house.show(id).state == "closing"


@pytest.mark.parametrize(
    "change",
    [
        {"title": " "},
        {"title": "x" * 201},
        {"title": "two\nlines"},
        {"kind": "whim"},
        {"rule": "loudest"},
        {"quorum": 1.5},
        {"quorum": float("nan")},
        {"deadline": "soon"},
        {"deadline": "0s"},
        {"deadline": "2020-01-01T00:00:00Z"},
        {"deadline": "999999999d"},
        {"options": ("one",)},
        {"options": ("one", "one")},
        {"options": ("one", "abstain")},
        {"options": ("", "two")},
        {"authority": "boss"},
        {"project": "a b"},
        {"task": ""},
    ],
)
async def test_what_cannot_be_proposed_is_refused(change: dict[str, object]) -> None:
    house = House()
    with pytest.raises(InvalidInput):
        await house.propose(**change)
    assert house.fold.proposals == {}


async def test_nobody_eligible_is_refused() -> None:
    with pytest.raises(Refused, match="nobody could vote"):
        await House().propose(authority="master")


def test_deadlines() -> None:
    assert deadline_ms("90s", START_MS) == START_MS + 90_000
    assert deadline_ms("1.5h", START_MS) == START_MS + 5_400_000
    assert deadline_ms("2026-12-31T00:00:00Z", START_MS) == parse_rfc3339("2026-12-31T00:00:00Z")


async def test_repeating_an_operation_changes_nothing_even_after_the_close() -> None:
    house, op = House(), uuid7(1)
    id = await house.propose()
    first = await house.vote("bob", id, "approve", op_id=op)
    house.cluster.now_ms += 10**8
    again = await house.vote("bob", id, "approve", op_id=op)
    assert (again.id, again.key) == (first.id, first.key)
    with pytest.raises(Conflict, match="used before"):
        await house.of("bob").propose(shapes.ProposeRequest(title="x", op_id=op), CALLER)


async def test_only_its_proposer_withdraws() -> None:
    house = House()
    id = await house.propose()
    with pytest.raises(Refused, match="only its proposer"):
        await house.of("bob").withdraw(id, "", "", CALLER)
    await house.of("ann").withdraw(id, "superseded", "", CALLER)
    assert house.show(id).state == "withdrawn"
    with pytest.raises(Conflict):
        await house.of("ann").withdraw(id, "", "", CALLER)
    with pytest.raises(Conflict, match="withdrawn"):
        await house.vote("bob", id, "approve")


async def test_attention_is_what_waits_for_my_vote() -> None:
    house = House()
    id = await house.propose()

    def waiting(me: str) -> list[str]:
        return [a.target for a in views.attention(house.fold, house.context(me))]

    assert waiting("bob") == [f"decision:{id}"]
    assert waiting("sue") == []
    await house.vote("bob", id, "abstain")
    assert waiting("bob") == []


async def test_a_result_whose_cut_is_not_held_here_is_not_shown_as_one() -> None:
    house = House()
    id = await house.propose()
    for who in ("ann", "bob", "cyd"):
        await house.vote(who, id, "approve")
    closer = Closer(lambda: house.fold, house.context, Leader(house), house.cluster.heads, house.record)
    house.cluster.now_ms += 5_000
    await closer._look()
    ctx = house.context()
    behind = ViewContext(me="bob", chain=ctx.chain, bodies=ctx.bodies, now_ms=ctx.now_ms, held=lambda author, epoch: 1)
    card = views.decision(views.find(house.fold, behind, id), behind)
    assert (card.state, card.provisional, card.outcome) == ("closing", True, "")
    card = house.show(id)
    assert (card.state, card.provisional, card.outcome, card.closed_by_act) == ("approved", False, "approve", 0)


async def test_the_leader_closes_records_and_survives_a_lost_majority(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    house, started = House(), trio.current_time()

    def context() -> ViewContext:
        house.cluster.now_ms = START_MS + round((trio.current_time() - started) * 1000)
        return house.context()

    closer = Closer(lambda: house.fold, context, Leader(house), house.cluster.heads, house.record)
    house.cluster.appended = closer.wake
    house.leading, house.refusals = False, 2
    await nursery.start(lambda task_status: closer.run(task_status=task_status))
    id = await house.propose(deadline="10m")
    await house.vote("bob", id, "approve")
    await house.vote("cyd", id, "approve", "yes")
    await trio.sleep(30)
    assert house.cluster.chain.committed == [], "it doesn't lead"
    house.leading = True
    await trio.sleep(10)
    assert closer.statistics().failed == 2
    assert closer.statistics().closed == 1
    assert len(house.cluster.chain.committed) == 1
    ((address, text, op),) = house.records
    assert address == f"ucxl://agent-ann:admin@chorus:decisions/decisions/{id}"
    assert "state: approved (approve)" in text
    assert "yes" not in text, "reasons stay where they can be purged"

    again = Closer(lambda: house.fold, context, Leader(house), house.cluster.heads, house.record)
    await again._look()
    assert house.records[1] == (address, text, op), "another leader would write the same under the same operation"
    with pytest.raises(Conflict, match="closed: approved"):
        await house.vote("ann", id, "reject", "too late")
    nursery.cancel_scope.cancel()
