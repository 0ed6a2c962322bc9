"""The simulated network keeps the Network protocol, and its faults do what they say."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from agent_core.network import DialResult, Network, Stream, StreamClosed, Verdict
from agent_core.simulated.network import SimulatedNetwork, SimulatedWorld
from tests.support.network_conformance import *  # noqa: F403  (the suite)
from tests.support.network_conformance import ECHO, TOPIC, Ear, Watched, ears_of, echo


@pytest.fixture
async def world() -> AsyncIterator[SimulatedWorld]:
    world = SimulatedWorld(seed=7)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.run)
        yield world
        nursery.cancel_scope.cancel()


@pytest.fixture
def trio_of_networks(world: SimulatedWorld) -> list[Network]:
    return [world.add(peer, joined=True) for peer in ("anna", "bert", "carl")]


@pytest.fixture
def three(trio_of_networks: list[Network], world: SimulatedWorld) -> list[SimulatedNetwork]:
    return [world.network(n.peer_id) for n in trio_of_networks]


async def test_a_partition_is_silent_until_both_sides_give_up(
    world: SimulatedWorld, three: list[SimulatedNetwork], autojump_clock: MockClock
) -> None:
    ears = await ears_of(three)
    watched = Watched(three[0])
    world.partition([["anna"], ["bert", "carl"]])
    await three[0].publish(TOPIC, b"into the void")
    await trio.sleep(5)
    assert b"into the void" not in ears[1].payloads()
    assert watched.events == [], "silence isn't a close"
    assert await three[0].probe("bert") is DialResult.SILENT
    await trio.sleep(world.silence_s)
    assert sorted(watched.events) == [("bert", False, False), ("carl", False, False)]
    world.heal()
    await watched.sees(("bert", True, False))


async def test_a_short_partition_only_delays_streams(
    world: SimulatedWorld, three: list[SimulatedNetwork], autojump_clock: MockClock
) -> None:
    three[1].handle(ECHO, echo)
    stream = await three[0].open("bert", ECHO)
    world.partition([["anna"], ["bert"]])
    for n in range(5):
        await stream.send(b"%d" % n)
    await trio.sleep(3)
    world.heal()
    assert [await stream.receive() for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_cut_is_one_way(
    world: SimulatedWorld, three: list[SimulatedNetwork], autojump_clock: MockClock
) -> None:
    got: list[bytes] = []

    async def keep(stream: Stream) -> None:
        while True:
            got.append(await stream.receive())

    three[0].handle(ECHO, keep)
    three[1].handle(ECHO, keep)
    there, back = await three[0].open("bert", ECHO), await three[1].open("anna", ECHO)
    world.cut("anna", "bert")
    await there.send(b"lost for now")
    await back.send(b"through")
    await trio.sleep(1)
    assert got == [b"through"]
    world.mend("anna", "bert")
    await trio.sleep(1)
    assert got == [b"through", b"lost for now"]


async def test_a_crash_is_seen_and_the_host_refuses_until_it_is_back(
    world: SimulatedWorld, three: list[SimulatedNetwork], autojump_clock: MockClock
) -> None:
    watched = Watched(three[0])
    three[2].handle(ECHO, echo)
    stream = await three[0].open("carl", ECHO)
    world.crash("carl")
    await watched.sees(("carl", False, True), timeout_s=1)
    assert await three[0].probe("carl") is DialResult.REFUSED
    with pytest.raises(StreamClosed):
        await stream.receive()
    with pytest.raises(StreamClosed):
        await three[2].open("anna", ECHO)
    fresh = world.add("carl", joined=True)
    ear = Ear(fresh)
    await fresh.join(TOPIC)
    await three[0].publish(TOPIC, b"welcome back")
    await ear.hears(b"welcome back")


async def test_loss_and_duplication_are_drawn_from_the_seed() -> None:
    def play(seed: int) -> tuple[int, ...]:
        counts: list[int] = []

        async def main() -> None:
            world = SimulatedWorld(seed=seed, loss=0.5, duplication=0.2)
            async with trio.open_nursery() as nursery:
                await nursery.start(world.run)
                nets = [world.add(peer, joined=True) for peer in ("a", "b")]
                ear = Ear(nets[1])
                await nets[0].join(TOPIC)
                await nets[1].join(TOPIC)
                for n in range(200):
                    await nets[0].publish(TOPIC, b"%d" % n)
                await trio.sleep(1)
                assert len(set(ear.payloads())) == len(ear.payloads())
                s = world.statistics()
                counts[:] = [len(ear.payloads()), s.gossip_lost, s.gossip_duplicated]
                nursery.cancel_scope.cancel()

        trio.run(main, clock=MockClock(autojump_threshold=0))
        return tuple(counts)

    results = await trio.to_thread.run_sync(lambda: (play(3), play(3), play(4)))
    assert results[0] == results[1] != results[2]
    assert 60 < results[0][0] < 140


async def test_before_a_judge_is_set_everything_is_ignored(
    three: list[SimulatedNetwork], autojump_clock: MockClock
) -> None:
    heard: list[bytes] = []
    three[1].set_receiver(lambda topic, relay, payload: heard.append(payload))
    for network in three:
        await network.join(TOPIC)
    await three[0].publish(TOPIC, b"unjudged")
    await trio.sleep(1)
    assert heard == []
    three[1].set_judge(lambda topic, relay, payload, author: Verdict.ACCEPT)
    await three[0].publish(TOPIC, b"judged")
    await trio.sleep(1)
    assert heard == [b"judged"]
