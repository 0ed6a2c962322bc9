"""What every implementation of the ``Network`` protocol must do: one suite, run over the mesh and the simulated network.

An implementation's test module defines a fixture ``trio_of_networks`` giving three connected networks, and imports the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import trio
import trio.testing

from agent_core.errors import TooLarge
from agent_core.network import DialResult, Network, Stream, StreamClosed, Verdict

TOPIC = "CHORUS/test/v1"
ECHO = "/chorus/test-echo/1.0.0"


async def eventually(condition: Callable[[], object], timeout_s: float = 10) -> None:
    """Wait for a condition, on trio's clock."""
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110  (what is waited for belongs to the code under test)
            await trio.sleep(0.01)


class Ear:
    """Judges and receives for one network, and can be waited on."""

    def __init__(self, network: Network, verdicts: dict[bytes, Verdict] | None = None) -> None:
        self.network = network
        self.verdicts = verdicts or {}
        self.heard: list[tuple[str, str, bytes]] = []
        self.judged: list[bytes] = []
        network.set_judge(self._judge)
        network.set_receiver(lambda topic, relay, payload: self.heard.append((topic, relay, payload)))

    def _judge(self, topic: str, relay: str, payload: bytes, author: str) -> Verdict:
        self.judged.append(payload)
        if payload.startswith(b"raise"):
            raise ValueError("a judge with a bug")
        return self.verdicts.get(payload, Verdict.ACCEPT)

    def payloads(self) -> list[bytes]:
        """What was received, in order."""
        return [payload for _, _, payload in self.heard]

    async def hears(self, payload: bytes, timeout_s: float = 10) -> None:
        """Wait until a payload was received."""
        await eventually(lambda: payload in self.payloads(), timeout_s)


async def ears_of(networks: Sequence[Network]) -> list[Ear]:
    """Ears on joined networks, once gossip really flows from each to each."""
    ears = [Ear(network) for network in networks]
    for network in networks:
        await network.join(TOPIC)
    for n, network in enumerate(networks):
        with trio.fail_after(15):
            attempt = 0
            while not all(any(p.startswith(b"hello %d" % n) for p in ear.payloads()) for ear in ears):
                attempt += 1
                await network.publish(TOPIC, b"hello %d %d" % (n, attempt))
                await trio.sleep(0.05)
    return ears


async def echo(stream: Stream) -> None:
    """A stream handler that sends back each frame."""
    while True:
        await stream.send(await stream.receive())


class Watched:
    """Records what a network tells of its peers."""

    def __init__(self, network: Network) -> None:
        self.events: list[tuple[str, bool, bool]] = []
        network.watch_peers(lambda peer, connected, remote: self.events.append((peer, connected, remote)))

    async def sees(self, event: tuple[str, bool, bool], timeout_s: float = 10) -> None:
        """Wait for an event."""
        await eventually(lambda: event in self.events, timeout_s)


# -- the suite -----------------------------------------------------------------------------------------------------


async def test_everybody_is_everybodys_peer(trio_of_networks: list[Network]) -> None:
    for network in trio_of_networks:
        others = {n.peer_id for n in trio_of_networks} - {network.peer_id}
        assert {peer.peer_id for peer in network.peers()} == others
        assert {peer.direction for peer in network.peers()} <= {"in", "out"}
        assert all(address.endswith("/p2p/" + network.peer_id) for address in network.addresses)
        assert network.addresses


async def test_a_message_reaches_everybody_once_and_its_publisher_too(trio_of_networks: list[Network]) -> None:
    ears = await ears_of(trio_of_networks)
    messages = [b"message %d" % n for n in range(20)]
    for message in messages:
        await trio_of_networks[0].publish(TOPIC, message)
    for ear in ears:
        for message in messages:
            await ear.hears(message)
        assert sorted(p for p in ear.payloads() if p.startswith(b"message")) == sorted(messages)
    assert b"message 0" not in ears[0].judged, "one's own messages aren't judged"


async def test_only_accepted_messages_are_received(trio_of_networks: list[Network]) -> None:
    ears = await ears_of(trio_of_networks)
    ears[1].verdicts = {b"bad": Verdict.REJECT, b"unknown": Verdict.IGNORE}
    for payload in (b"bad", b"unknown", b"raise in judging", b"good"):
        await trio_of_networks[0].publish(TOPIC, payload)
    await ears[1].hears(b"good")
    await ears[2].hears(b"good")
    assert {b"bad", b"unknown", b"raise in judging"}.isdisjoint(ears[1].payloads())
    assert {b"bad", b"unknown", b"raise in judging"} <= set(ears[1].judged)


async def test_a_burst_arrives_whole_and_each_message_is_judged_alone(
    trio_of_networks: list[Network],
) -> None:
    ears = await ears_of(trio_of_networks)
    burst = [b"burst %d" % n for n in range(400)]
    ears[1].verdicts = {burst[200]: Verdict.REJECT, burst[300]: Verdict.IGNORE}
    for payload in burst:
        await trio_of_networks[0].publish(TOPIC, payload)
    for ear, missing in zip(ears, (set(), {burst[200], burst[300]}, set()), strict=True):
        for payload in set(burst) - missing:
            await ear.hears(payload)
        heard = [p for p in ear.payloads() if p.startswith(b"burst")]
        assert sorted(heard) == sorted(set(burst) - missing)


async def test_a_raising_receiver_costs_nothing(trio_of_networks: list[Network]) -> None:
    ears = await ears_of(trio_of_networks)

    def broken(topic: str, relay: str, payload: bytes) -> None:
        raise ValueError("a receiver with a bug")

    trio_of_networks[1].set_receiver(broken)
    await trio_of_networks[0].publish(TOPIC, b"one")
    await ears[2].hears(b"one")
    again = Ear(trio_of_networks[1])
    await trio_of_networks[0].publish(TOPIC, b"two")
    await again.hears(b"two")


async def test_whoever_left_hears_no_more_and_may_come_back(trio_of_networks: list[Network]) -> None:
    ears = await ears_of(trio_of_networks)
    await trio_of_networks[2].leave(TOPIC)
    await trio_of_networks[2].leave(TOPIC)
    await trio_of_networks[0].publish(TOPIC, b"after leaving")
    await ears[1].hears(b"after leaving")
    assert b"after leaving" not in ears[2].payloads()
    await trio_of_networks[2].join(TOPIC)
    await trio_of_networks[2].join(TOPIC)
    with trio.fail_after(15):
        while not any(p.startswith(b"back") for p in ears[2].payloads()):
            await trio_of_networks[0].publish(TOPIC, b"back %f" % trio.current_time())
            await trio.sleep(0.1)


async def test_too_large_a_message_is_refused_and_the_largest_arrives(trio_of_networks: list[Network]) -> None:
    ears = await ears_of(trio_of_networks)
    with pytest.raises(TooLarge):
        await trio_of_networks[0].publish(TOPIC, bytes(256 * 1024 + 1))
    await trio_of_networks[0].publish(TOPIC, bytes(256 * 1024))
    await ears[2].hears(bytes(256 * 1024))


async def test_frames_go_and_come_whole(trio_of_networks: list[Network]) -> None:
    here, there, _ = trio_of_networks
    there.handle(ECHO, echo)
    stream = await here.open(there.peer_id, ECHO)
    assert stream.peer_id == there.peer_id
    for frame in (b"", b"one", bytes(300_000), b"last"):
        await stream.send(frame)
        with trio.fail_after(10):
            assert await stream.receive() == frame
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(StreamClosed):
        await stream.send(b"too late")


async def test_the_handler_knows_who_called_and_ending_it_ends_the_stream(trio_of_networks: list[Network]) -> None:
    here, there, _ = trio_of_networks

    async def introduce(stream: Stream) -> None:
        await stream.send(stream.peer_id.encode())

    there.handle(ECHO, introduce)
    stream = await here.open(there.peer_id, ECHO)
    with trio.fail_after(10):
        assert await stream.receive() == here.peer_id.encode()
        with pytest.raises(StreamClosed):
            await stream.receive()


async def test_closing_wakes_a_waiting_reader(trio_of_networks: list[Network]) -> None:
    here, there, _ = trio_of_networks
    there.handle(ECHO, echo)
    stream = await here.open(there.peer_id, ECHO)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(StreamClosed):
                    await stream.receive()

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.05)
            await stream.aclose()


async def test_a_cancelled_receive_loses_nothing(trio_of_networks: list[Network]) -> None:
    here, there, _ = trio_of_networks
    there.handle(ECHO, echo)
    stream = await here.open(there.peer_id, ECHO)
    frames = [b"%d" % n + bytes(20_000) for n in range(40)]
    got = []
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            for frame in frames:
                await stream.send(frame)

        nursery.start_soon(send)
        with trio.fail_after(30):
            while len(got) < len(frames):
                with trio.move_on_after(0.002):
                    got.append(await stream.receive())
    assert got == frames


async def test_a_raising_handler_costs_its_stream_only(trio_of_networks: list[Network]) -> None:
    here, there, _ = trio_of_networks

    async def broken(stream: Stream) -> None:
        await stream.receive()
        raise ValueError("a handler with a bug")

    there.handle("/chorus/test-broken/1.0.0", broken)
    there.handle(ECHO, echo)
    good = await here.open(there.peer_id, ECHO)
    bad = await here.open(there.peer_id, "/chorus/test-broken/1.0.0")
    await bad.send(b"go")
    with trio.fail_after(10), pytest.raises(StreamClosed):
        await bad.receive()
    await good.send(b"still here")
    with trio.fail_after(10):
        assert await good.receive() == b"still here"


async def test_no_stream_to_a_stranger_or_for_an_unknown_protocol(trio_of_networks: list[Network]) -> None:
    here, there, _ = trio_of_networks
    with pytest.raises(StreamClosed):
        await here.open("12D3KooWAfmVgxWUSPUMyZ4hy2ZGoYfSCXdVbvLMPh5NwCdcWFvx", ECHO)
    with pytest.raises(StreamClosed):
        await here.open(there.peer_id, "/chorus/nobody-speaks-this/1.0.0")


async def test_a_disconnect_is_seen_on_both_sides(trio_of_networks: list[Network]) -> None:
    here, there, _ = trio_of_networks
    ours, theirs = Watched(here), Watched(there)
    there.handle(ECHO, echo)
    stream = await here.open(there.peer_id, ECHO)
    await here.disconnect(there.peer_id)
    await ours.sees((there.peer_id, False, False))
    await theirs.sees((here.peer_id, False, True))
    with trio.fail_after(10), pytest.raises(StreamClosed):
        await stream.receive()


async def test_dialling_again_changes_nothing(trio_of_networks: list[Network]) -> None:
    here, there, _ = trio_of_networks
    watched = Watched(here)
    assert await here.dial(there.addresses[0]) is DialResult.CONNECTED
    assert await here.probe(there.peer_id) is DialResult.CONNECTED
    assert await here.dial(here.addresses[0]) is DialResult.SILENT, "nobody dials itself"
    assert watched.events == []
