"""Own gossip on its way out: nothing waits for company, what comes fast shares a frame, and who publishes too much waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
import trio
import trio.testing

from agent_core.budget import Bucket
from agent_core.mesh.publisher import FRAME_GAP_S, MAX_WAITING, Publisher


class Peers:
    """Takes frames, or doesn't."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, list[bytes]]] = []
        self.gate: trio.Event | None = None
        plenty = Bucket(1e9, 1e9)
        self.publisher = Publisher(self._send, self._room, plenty, plenty)

    def _send(self, topic: str, payloads: Sequence[bytes]) -> None:
        self.frames.append((trio.current_time(), list(payloads)))

    async def _room(self, topic: str) -> None:
        if self.gate is not None:
            await self.gate.wait()

    def messages(self) -> list[bytes]:
        return [message for _, frame in self.frames for message in frame]


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    peers = Peers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peers.publisher.run)
        await trio.testing.wait_all_tasks_blocked()
        yield peers
        nursery.cancel_scope.cancel()


async def test_a_message_leaves_at_once_and_so_do_those_that_come_slowly(
    peers: Peers, autojump_clock: trio.testing.MockClock
) -> None:
    began = trio.current_time()
    for number in range(5):
        await peers.publisher.publish("t", b"%d" % number)
        await trio.sleep(FRAME_GAP_S)
    assert [frame for _, frame in peers.frames] == [[b"%d" % n] for n in range(5)]
    assert [at - began for at, _ in peers.frames] == pytest.approx([n * FRAME_GAP_S for n in range(5)])


async def test_what_comes_fast_shares_the_next_frame_in_order(
    peers: Peers, autojump_clock: trio.testing.MockClock
) -> None:
    began = trio.current_time()
    messages = [b"%d" % n for n in range(100)]
    for message in messages:
        await peers.publisher.publish("t", message)
    await trio.sleep(1)
    assert peers.frames == [(began, messages[:1]), (began + FRAME_GAP_S, messages[1:])]


async def test_topics_do_not_wait_for_one_another(peers: Peers, autojump_clock: trio.testing.MockClock) -> None:
    await peers.publisher.publish("a", b"1")
    await peers.publisher.publish("b", b"2")
    assert peers.messages() == [b"1", b"2"]


async def test_who_publishes_more_than_is_taken_waits_and_nothing_is_lost(
    peers: Peers, autojump_clock: trio.testing.MockClock
) -> None:
    peers.gate = trio.Event()
    count = 3 * MAX_WAITING
    async with trio.open_nursery() as nursery:

        async def publish() -> None:
            for number in range(count):
                await peers.publisher.publish("t", b"%d" % number)

        nursery.start_soon(publish)
        await trio.sleep(10)
        line = peers.publisher._lines["t"]
        assert (len(peers.messages()), len(line.messages)) == (1, MAX_WAITING)
        peers.gate.set()
    await trio.sleep(1)
    assert peers.messages() == [b"%d" % n for n in range(count)]
    assert not peers.publisher._lines, "nothing is kept of a topic that is quiet"


async def test_nobody_says_more_than_the_peers_would_take(autojump_clock: trio.testing.MockClock) -> None:
    said: list[bytes] = []
    rations = Bucket(10, 20), Bucket(1000, 2000)
    publisher = Publisher(lambda topic, payloads: said.extend(payloads), trio.sleep, *rations)  # type: ignore[arg-type]
    began = trio.current_time()
    for _ in range(50):
        await publisher.publish("t", b"x")
    assert trio.current_time() - began == pytest.approx(3, abs=0.01)
    await publisher.publish("t", bytes(5000))
    assert len(said) == 51, "one message of more than the burst goes when the burst is there"
