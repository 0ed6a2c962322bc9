"""Posting: what is refused and in which words, replies, mentions, citations, repeats; the proposer's own proceed."""

from __future__ import annotations

import time

import pytest
import trio
import trio.testing

from agent_core import shapes
from agent_core.caller import Caller
from agent_core.errors import InvalidAddress, InvalidInput, NotFound, Refused, TooLarge
from agent_core.feeds.model import Via
from agent_core.hmmm import views
from agent_core.hmmm.fold import RoomsFold
from agent_core.hmmm.machine import Periods
from agent_core.hmmm.service import RoomsService
from agent_core.ids import uuid7
from agent_core.roster.model import Authority, Kind
from agent_core.views import ViewContext
from tests.support.writing import Cluster, member

CALLER = Caller(Via.COMMAND, "ann")
PERIODS = Periods()


class Rooms:
    """Three members, one of them a person, on one fold."""

    def __init__(self, periods: Periods = PERIODS) -> None:
        self.cluster = Cluster(
            member("ann", Kind.HUMAN), member("bob"), member("cyd"), member("ro", authority=Authority.READ_ONLY)
        )
        self.fold = RoomsFold()
        self.cluster.folds.append(self.fold)
        self.periods = periods

    def of(self, me: str) -> RoomsService:
        return RoomsService(
            self.cluster.appender(me),
            lambda: self.fold,
            lambda: self.cluster.context(me),
            self.cluster.heads,
            lambda address: "d" * 64,
            self.periods,
        )

    async def post(self, me: str, text: str, room: str = "r", **rest: object) -> shapes.Posted:
        self.cluster.now_ms += 1
        return await self.of(me).post(shapes.PostRequest(room=room, text=text, **rest), CALLER)  # type: ignore[arg-type]

    def view(self, me: str = "ann", room: str = "r", limit: int | None = None) -> shapes.RoomView:
        return views.view(self.fold, self.cluster.context(me), room, self.periods, limit)


async def test_a_post_is_shown_as_it_was_written() -> None:
    rooms = Rooms()
    first = await rooms.post("ann", "Is the *cache* cold, @agent-bob?", intent="question")
    cite = shapes.Citation(address="ucxl://a:b@c:d/#/x", reason="measured")
    reply = await rooms.post("bob", "It is.", intent="answer", reply_to=first.id[:5], citations=(cite,))
    one, two = rooms.view().messages
    assert (one.id, one.text, one.author, one.kind, one.via) == (
        first.id,
        "Is the *cache* cold, @agent-bob?",
        "agent-ann",
        "human",
        "command",
    )
    assert (one.thread, one.parent, one.mentions, one.you) == (first.id, "", ("agent-bob",), True)
    assert (two.id, two.thread, two.parent, two.intent) == (reply.id, first.id, first.id, "answer")
    assert two.citations == (shapes.Citation(address="ucxl://a:b@c:d/x", reason="measured", version="d" * 64),)
    assert reply.room == "r"
    (room,) = views.rooms(rooms.fold, rooms.cluster.context("ann"), PERIODS)
    assert (room.id, room.messages, room.last_text, room.participants) == ("r", 2, "It is.", ("agent-ann", "agent-bob"))


async def test_ten_mebibytes_are_refused_in_one_sentence_and_at_once() -> None:
    rooms, text = Rooms(), "x" * (10 << 20)
    started = time.perf_counter()
    with pytest.raises(TooLarge) as refused:
        await rooms.post("ann", text)
    assert time.perf_counter() - started < 0.1
    assert refused.value.message == "The message has 10,485,760 bytes; the limit is 32,768, and nothing was sent."
    assert refused.value.next
    assert rooms.fold.rooms == {}


async def test_bytes_count_and_not_characters() -> None:
    rooms = Rooms()
    with pytest.raises(TooLarge):
        await rooms.post("ann", "é" * 16_385)
    await rooms.post("ann", "é" * 16_384)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"text": "  "}, InvalidInput),
        ({"room": "a b"}, InvalidInput),
        ({"intent": "shout"}, InvalidInput),
        ({"stance": "agree"}, InvalidInput),
        ({"weight": "blocking"}, InvalidInput),
        ({"reply_to": "zzz"}, NotFound),
        ({"op_id": "not-a-uuid"}, InvalidInput),
        ({"text": "\ud800"}, InvalidInput),
        ({"mentions": ("x" * 81,)}, InvalidInput),
        ({"citations": (shapes.Citation(address="http://x", reason=""),)}, InvalidAddress),
        ({"citations": (shapes.Citation(address="ucxl://*:b@c:d/x", reason=""),)}, InvalidAddress),
        ({"citations": (shapes.Citation(address="ucxl://a:b@c:d/x", reason="", version="1"),)}, InvalidInput),
        ({"citations": (shapes.Citation(address="ucxl://a:b@c:d/x", reason="r" * 501),)}, InvalidInput),
        (
            {"citations": tuple(shapes.Citation(address=f"ucxl://a:b@c:d/{n}", reason="") for n in range(33))},
            InvalidInput,
        ),
        (
            {"citations": tuple(shapes.Citation(address=f"ucxl://a:b@c:d/{n}", reason="r" * 500) for n in range(32))},
            TooLarge,
        ),
    ],
)
async def test_what_cannot_be_posted_is_refused(change: dict[str, object], error: type[Exception]) -> None:
    rooms = Rooms()
    with pytest.raises(error):
        await rooms.post("ann", **{"text": "hello", **change})  # type: ignore[arg-type]
    assert rooms.fold.rooms == {}


async def test_who_may_not_write_is_told_why() -> None:
    rooms = Rooms()
    with pytest.raises(Refused, match="read_only"):
        await rooms.post("ro", "hello")
    with pytest.raises(Refused, match="session is read-only"):
        await rooms.of("ann").post(shapes.PostRequest(room="r", text="x"), Caller(read_only=True))
    rooms.cluster.chain.rosters.clear()
    with pytest.raises(Refused, match="not a member"):
        await rooms.post("ann", "hello")


async def test_repeating_an_operation_posts_once() -> None:
    rooms, op = Rooms(), uuid7(1)
    first = await rooms.post("ann", "once", op_id=op)
    again = await rooms.post("ann", "once", op_id=op)
    assert (again.id, again.key) == (first.id, first.key)
    assert len(rooms.view().messages) == 1


async def test_no_room_is_the_meta_discussion() -> None:
    rooms = Rooms()
    assert (await rooms.post("ann", "about us", room="")).room == "meta"


async def test_stances_are_counted_by_author() -> None:
    rooms = Rooms()
    plan = await rooms.post("ann", "Let us.", intent="proposal")
    await rooms.post("bob", "", reply_to=plan.id, stance="agree")
    await rooms.post("cyd", "", reply_to=plan.id, stance="agree")
    await rooms.post("cyd", "slow", reply_to=plan.id, stance="disagree")
    assert rooms.view().stances == {plan.id: shapes.Stances(agree=1, disagree=1)}
    assert rooms.view().messages[-1].weight == "advisory"
    with pytest.raises(InvalidInput, match="empty"):
        await rooms.post("bob", "", reply_to=plan.id, stance="disagree", weight="blocking")
    await rooms.post("bob", "it loses data", reply_to=plan.id, stance="disagree", weight="blocking")
    assert rooms.view().room.plan == "blocked"


async def test_hops_count_agents_only() -> None:
    rooms = Rooms()
    post = await rooms.post("bob", "?", intent="question")
    for who in ("cyd", "bob", "cyd"):
        post = await rooms.post(who, "…", reply_to=post.id)
    assert sorted(p.data.hop_count for p in rooms.fold.rooms["r"].posts.values()) == [0, 1, 2, 3]
    assert not rooms.view().room.escalated
    post = await rooms.post("bob", "…", reply_to=post.id)
    assert rooms.view().room.escalated
    await rooms.post("ann", "I am here", reply_to=post.id)
    assert not rooms.view().room.escalated


async def test_a_mention_waits_until_it_is_answered() -> None:
    rooms = Rooms()

    def waiting(me: str) -> list[str]:
        return [a.kind for a in views.attention(rooms.fold, rooms.cluster.context(me), PERIODS)]

    post = await rooms.post("ann", "@agent-bob and @role:agent, look")
    assert waiting("bob") == ["mention"]
    assert waiting("ann") == []
    await rooms.post("bob", "looking", reply_to=post.id)
    assert waiting("bob") == []


async def test_the_newest_messages_and_missing_texts() -> None:
    rooms = Rooms()
    for n in range(5):
        await rooms.post("ann", str(n))
    assert [m.text for m in rooms.view(limit=2).messages] == ["3", "4"]
    rooms.cluster.stored.clear()
    assert views.rooms(rooms.fold, rooms.cluster.context("ann"), PERIODS)[0].last_text == "(no body)"
    assert rooms.view(room="empty").messages == ()


async def test_the_proposer_proceeds_by_itself(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    rooms = Rooms(Periods(agents_ms=2_000, human_ms=2_000))
    base, started = rooms.cluster.now_ms, trio.current_time()

    def context() -> ViewContext:
        rooms.cluster.now_ms = base + round((trio.current_time() - started) * 1000)
        return rooms.cluster.context("bob")

    service = RoomsService(
        rooms.cluster.appender("bob"),
        lambda: rooms.fold,
        context,
        rooms.cluster.heads,
        lambda a: "",
        rooms.periods,
    )
    rooms.cluster.appended = service.wake
    await nursery.start(lambda task_status: service.run(task_status=task_status))
    await service.post(shapes.PostRequest(room="r", text="Let us.", intent="proposal"), CALLER)
    await trio.sleep(1.9)
    assert rooms.view().room.plan == "objecting"
    await trio.sleep(0.2)
    assert rooms.view().room.plan == "proceeding"
    await trio.sleep(60)
    assert service.statistics().proceeded == 1
    nursery.cancel_scope.cancel()
