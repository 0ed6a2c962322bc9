"""The wire on the simulated network: publishing, judging, dispatch, waiting for the roster, traffic, topics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from agent_core.clock import HybridClock, wall_ms
from agent_core.errors import InvalidInput, SecretFound
from agent_core.network import Verdict
from agent_core.shapes import Traffic
from agent_core.simulated.world import SimulatedWorld
from agent_core.wire import catalogue, topics
from agent_core.wire.envelope import Priority, encode
from agent_core.wire.judge import Limits, Standing
from agent_core.wire.service import BACKLOG, Received, Speaker, Wire
from agent_core.wire.traffic import TrafficTap
from agent_core.wire.waiting import Waiting, WaitingRoom
from tests.support.envelopes import ALICE, NOW_MS, envelope

BOB = "12D3KooWBobBobBobBobBobBobBobBobBobBobBobBobBobBobBo"
STATUS = catalogue.get("status_update").schema
START_MS = wall_ms()


class Pair:
    """Two wires joined by a simulated link, on virtual time."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.members = {ALICE, BOB}
        self.world = world
        self.alice = self._wire(ALICE)
        self.bob = self._wire(BOB)

    def _wire(self, peer: str) -> Wire:
        def standing(who: str) -> Standing:
            return Standing.MEMBER if who in self.members else Standing.UNKNOWN

        return Wire(
            self.world.add(peer),
            Speaker(peer[-3:], "agent", "agent"),
            HybridClock(now_ms),
            standing,
            now_ms=now_ms,
            limits=Limits(burst=400),
        )


def now_ms() -> int:
    return START_MS + round(trio.current_time() * 1000)


@pytest.fixture
async def pair(nursery: trio.Nursery) -> AsyncIterator[Pair]:
    world = SimulatedWorld()
    await nursery.start(world.run)
    both = Pair(world)
    await nursery.start(both.alice.run)
    await nursery.start(both.bob.run)
    world.connect(ALICE, BOB)
    yield both
    nursery.cancel_scope.cancel()


def says(text: str) -> Any:
    return STATUS(status=text)


async def test_a_message_reaches_the_others_and_its_author_by_the_same_road(
    pair: Pair, autojump_clock: MockClock
) -> None:
    heard: list[tuple[str, str]] = []
    pair.alice.subscribe("status_update", lambda m: heard.append(("alice", m.data.status)))
    pair.bob.subscribe("roles", lambda m: heard.append(("bob", m.data.status)))
    pair.bob.subscribe("status_update_", lambda m: heard.append(("nobody", "")))
    await pair.alice.publish(topics.COORDINATION, "status_update", says("here"), priority=Priority.HIGH)
    await trio.sleep(1)
    assert heard == [("alice", "here"), ("bob", "here")]
    assert [t.verdict for t in pair.alice.newest_traffic()] == ["sent"]
    [seen] = pair.bob.newest_traffic()
    assert (seen.n, seen.verdict, seen.type, seen.sender, seen.text) == (1, "accept", "status_update", "ox2", "here")
    assert '"priority": "high"' in seen.raw


async def test_a_handler_that_fails_costs_one_message(pair: Pair, autojump_clock: MockClock) -> None:
    heard: list[str] = []

    async def later(message: Received) -> None:
        await trio.sleep(0.1)
        if message.data.status == "one":
            raise ZeroDivisionError
        heard.append(message.data.status)

    def at_once(message: Received) -> None:
        raise KeyError("bug")

    pair.bob.subscribe("*", at_once)
    pair.bob.subscribe("*", later)
    for text in ("one", "two", "three"):
        await pair.alice.publish(topics.COORDINATION, "status_update", says(text))
    await trio.sleep(1)
    assert sorted(heard) == ["three", "two"]
    assert pair.bob.statistics().handler_failures == 4


async def test_a_slow_handler_drops_and_counts(pair: Pair, autojump_clock: MockClock) -> None:
    async def never(message: Received) -> None:
        await trio.sleep_forever()

    pair.bob.subscribe("status_update", never)
    for _ in range(BACKLOG + 10):
        await pair.alice.publish(topics.COORDINATION, "status_update", says("x"))
    await trio.sleep(0.5)
    assert pair.bob.statistics().dropped == 9  # one is being served
    assert pair.bob.statistics().received == BACKLOG + 10


async def test_garbage_and_strangers_are_refused_with_a_reason_and_shown(pair: Pair, autojump_clock: MockClock) -> None:
    network = pair.world.network(ALICE)
    pair.members.discard(ALICE)
    await network.publish(topics.COORDINATION, b"\xff garbage \x1b[2J")
    await pair.alice.publish(topics.COORDINATION, "status_update", says("stranger"))
    await trio.sleep(7)
    refused = pair.bob.newest_traffic()
    assert [(t.verdict, t.type) for t in refused] == [("reject", "?"), ("ignore", "status_update")]
    assert refused[1].reason == "the author is unknown"
    assert "\x1b" not in refused[0].raw
    assert dict(pair.bob.statistics().verdicts) == {"reject": 1, "ignore": 1}
    assert pair.bob.statistics().waiting == 0


async def test_an_unknown_authors_message_waits_for_the_roster(pair: Pair, autojump_clock: MockClock) -> None:
    heard: list[str] = []
    asked: list[str] = []
    pair.bob._fetch_roster = asked.append
    pair.bob.subscribe("status_update", lambda m: heard.append(m.data.status))
    pair.members.discard(ALICE)
    await pair.alice.publish(topics.COORDINATION, "status_update", says("new here"))
    await trio.sleep(2)
    assert (heard, asked, pair.bob.statistics().waiting) == ([], [ALICE], 1)
    pair.members.add(ALICE)
    pair.bob.roster_changed()
    assert heard == ["new here"]
    assert [t.verdict for t in pair.bob.newest_traffic()] == ["accept"]


async def test_an_unknown_type_is_counted_and_shown_raw(pair: Pair, autojump_clock: MockClock) -> None:
    got: list[Any] = []
    pair.bob.subscribe("*", lambda m: got.append(m.data))
    payload = encode(envelope("later.version", says("?"), now_ms=now_ms()))
    await pair.world.network(ALICE).publish(topics.COORDINATION, payload)
    await trio.sleep(1)
    assert got == [None]
    assert pair.bob.statistics().unknown_types == 1
    assert '"status": "?"' in pair.bob.newest_traffic()[0].raw


async def test_a_storm_of_one_author_is_ignored_and_the_next_one_is_heard(
    pair: Pair, autojump_clock: MockClock
) -> None:
    for n in range(700):
        await pair.alice.publish(topics.COORDINATION, "status_update", says(str(n)))
    await trio.sleep(1)
    verdicts = pair.bob.statistics().verdicts
    assert verdicts["ignore"] > 200
    assert verdicts["accept"] >= 400
    await trio.sleep(10)
    await pair.alice.publish(topics.COORDINATION, "status_update", says("calm"))
    await trio.sleep(1)
    assert pair.bob.newest_traffic()[-1].text == "calm"
    assert pair.bob.newest_traffic()[-1].verdict == "accept"


async def test_what_may_not_leave_is_refused_before_it_is_sent(pair: Pair, autojump_clock: MockClock) -> None:
    def door(text: str) -> str:
        if "PRIVATE" in text:
            raise SecretFound("A private key is in line 1.", "Take it out.")
        return text.replace("hunter2", "[REDACTED:password]")

    pair.alice._door = door
    with pytest.raises(SecretFound):
        await pair.alice.publish(topics.COORDINATION, "status_update", says("PRIVATE KEY"))
    await pair.alice.publish(topics.COORDINATION, "status_update", says("it is hunter2"))
    await trio.sleep(1)
    assert [t.text for t in pair.bob.newest_traffic()] == ["it is [REDACTED:password]"]
    with pytest.raises(InvalidInput, match="not a topic"):
        await pair.alice.publish("elsewhere", "status_update", says("x"))
    with pytest.raises(InvalidInput, match="doesn't carry"):
        await pair.alice.publish(topics.COORDINATION, "task_claim", says("x"))


async def test_topics_are_joined_until_the_last_one_leaves(pair: Pair, autojump_clock: MockClock) -> None:
    room = topics.issue("42")
    heard: list[str] = []
    pair.bob.subscribe("status_update", lambda m: heard.append(m.data.status))

    async def say(text: str) -> None:
        await pair.alice.publish(room, "status_update", says(text))
        await trio.sleep(1)

    await say("not joined")
    await pair.bob.join(room)
    await pair.bob.join(room)
    await say("joined")
    await pair.bob.leave(room)
    await say("still")
    await pair.bob.leave(room)
    await pair.bob.leave(room)
    await say("left")
    assert heard == ["joined", "still"]
    assert set(pair.bob.statistics().topics) == set(topics.STATIC)
    with pytest.raises(InvalidInput):
        await pair.bob.join("nowhere")


async def test_own_messages_pass_before_there_is_a_roster(pair: Pair, autojump_clock: MockClock) -> None:
    pair.members.clear()
    payload = encode(envelope("status_update", says("me"), now_ms=now_ms()))
    assert pair.alice.judge(topics.COORDINATION, BOB, payload, ALICE) is Verdict.ACCEPT


def test_the_ring_keeps_the_newest_and_watchers_cant_break_it() -> None:
    tap = TrafficTap(keep=3)
    seen: list[Traffic] = []

    def broken(item: Traffic) -> None:
        raise RuntimeError

    tap.watch(broken)
    end = tap.watch(seen.append)
    for n in range(5):
        tap.record(now_ms=NOW_MS + n, topic="t", peer="p", payload=b"{}", verdict="reject")
    end()
    tap.record(now_ms=NOW_MS, topic="t", peer="p", payload=b"x" * 300_000, verdict="reject")
    assert [t.n for t in tap.newest()] == [4, 5, 6]
    assert (len(seen), tap.failed_watchers, tap.count) == (5, 6, 6)
    assert len(tap.newest(1)[0].raw) == 8192


def test_the_waiting_room_is_bounded() -> None:
    def waiting(n: int, author: str, size: int = 10) -> Waiting:
        mail = msgspec.structs.replace(envelope("status_update", says("x"), sender=author), id=f"id{n}")
        return Waiting("t", "p", b"x" * size, mail, None, 0)

    room = WaitingRoom(messages=4, of_one=2, size_bytes=100)
    assert [room.add(waiting(n, "a")) for n in (1, 1, 2, 3)] == [True, False, True, False]
    assert not room.add(waiting(4, "b", 81))
    assert [room.add(waiting(n, f"c{n}")) for n in (5, 6, 7)] == [True, True, False]
    assert [w.envelope.id for w in room.take_all()] == ["id1", "id2", "id5", "id6"]
    assert room.add(waiting(8, "b", 100))
