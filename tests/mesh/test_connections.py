"""Connections of real nodes: kills, restarts, wrong addresses, taken ports, foreign networks, crashes of the stack."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
import trio

from agent_core.errors import ConfigError, PortInUse
from agent_core.mesh import LibP2PNetwork
from agent_core.network import DialResult, StreamClosed, Verdict
from tests.support.meshes import config, connected, process, running
from tests.support.network_conformance import ECHO, TOPIC, Watched, ears_of, echo, eventually

pytestmark = pytest.mark.real


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_a_killed_process_is_seen_at_once_and_refuses() -> None:
    async with running(config(1)) as (network,), process(2, "/ip4/127.0.0.1/tcp/0", network.addresses[0]) as other:
        watched = Watched(network)
        await eventually(lambda: network.peers())
        os.kill(other.process.pid, signal.SIGSTOP)
        assert await network.probe(other.peer_id) is DialResult.CONNECTED, "the host of a stopped process still accepts"
        other.kill()
        await watched.sees((other.peer_id, False, True), timeout_s=1)
        assert await network.probe(other.peer_id) is DialResult.REFUSED


async def test_a_restarted_node_with_its_identity_and_port_delivers_at_once() -> None:
    listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
    async with running(config(1)) as (network,):
        watched = Watched(network)
        heard: list[bytes] = []
        network.set_judge(lambda topic, relay, payload, author: Verdict.ACCEPT)
        network.set_receiver(lambda topic, relay, payload: heard.append(payload))
        await network.join(TOPIC)
        peer_ids = []
        for _ in range(2):
            heard.clear()
            async with process(2, listen, network.addresses[0]) as other:
                peer_ids.append(other.peer_id)
                await eventually(lambda: len(heard) > 10, 15)
                watched.events.clear()
                other.kill()
                await watched.sees((other.peer_id, False, True), timeout_s=1)
        assert peer_ids[0] == peer_ids[1]


async def test_peers_learn_of_each_other_so_that_losing_the_bootstrap_node_splits_nothing() -> None:
    async with running(config(2)) as (b,), running(config(3)) as (c,):
        async with running(config(1)) as (a,):
            assert await b.dial(a.addresses[0]) is DialResult.CONNECTED
            assert await c.dial(a.addresses[0]) is DialResult.CONNECTED
            await eventually(lambda: connected(a, b, c))
        await eventually(lambda: connected(b, c) and len(b.peers()) == len(c.peers()) == 1)
        ears = await ears_of([b, c])
        await b.publish(TOPIC, b"still one mesh")
        await ears[1].hears(b"still one mesh")


async def test_two_peers_dialling_each_other_at_once_end_up_stable() -> None:
    async with running(config(1), config(2)) as (a, b):
        watched = Watched(a)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.dial, b.addresses[0])
            nursery.start_soon(b.dial, a.addresses[0])
        ears = await ears_of([a, b])
        await trio.sleep(1)
        assert watched.events == [(b.peer_id, True, False)]
        await b.publish(TOPIC, b"there")
        await ears[0].hears(b"there")


async def test_a_wrong_bootstrap_address_is_told_once_and_tried_on() -> None:
    port = free_port()
    late = config(2, listen=(f"/ip4/127.0.0.1/tcp/{port}",))
    right = f"/ip4/127.0.0.1/tcp/{port}/p2p/{LibP2PNetwork(late).peer_id}"
    async with running(config(1, "nonsense", "/ip4/127.0.0.1/tcp/9", right)) as (network,):
        await eventually(lambda: len(network.notes) == 3)
        assert "'nonsense' can't be used" in network.notes[0]
        assert "doesn't end in /p2p/PEER" in network.notes[1]
        assert right in network.notes[2]
        assert "connection refused" in network.notes[2]
        await trio.sleep(1)
        assert len(network.notes) == 3, "each is told once"
        async with running(late) as (other,):
            await eventually(lambda: connected(network, other))
            await eventually(lambda: right not in " ".join(network.notes))


async def test_an_address_that_names_another_peer_is_told() -> None:
    async with running(config(2)) as (other,):
        wrong = other.addresses[0].replace(other.peer_id, LibP2PNetwork(config(3)).peer_id)
        async with running(config(1, wrong)) as (network,):
            await eventually(lambda: network.notes)
            assert "another peer than the address names" in network.notes[0]
            assert not network.peers()


async def test_a_taken_port_is_one_clear_error() -> None:
    async with running(config(1)) as (network,):
        listen = network.addresses[0].rpartition("/p2p/")[0]
        with pytest.raises(PortInUse) as caught:
            await LibP2PNetwork(config(2, listen=(listen,))).run()
        assert "is in use by another program" in caught.value.message
        assert caught.value.next
    for impossible in ("/ip4/192.0.2.1/tcp/0", "/ip4/127.0.0.1/udp/1", "9000"):
        with pytest.raises(ConfigError):
            await LibP2PNetwork(config(2, listen=(impossible,))).run()


async def test_networks_of_different_names_dont_mix() -> None:
    async with running(config(1), config(2, network="other"), config(3)) as (a, foreign, b):
        watched = Watched(a)
        assert await foreign.dial(a.addresses[0]) is DialResult.SILENT
        await eventually(lambda: a.notes and foreign.notes)
        assert "is of network 'other', not 'test'" in a.notes[0]
        assert "is of network 'test', not 'other'" in foreign.notes[0]
        assert await a.dial(b.addresses[0]) is DialResult.CONNECTED
        assert watched.events == [(b.peer_id, True, False)]
        assert not foreign.peers()


async def test_a_silent_peer_is_disconnected_from_here() -> None:
    async with (
        running(config(1, ping_interval_s=0.2, ping_timeout_s=1.0)) as (network,),
        process(2, "/ip4/127.0.0.1/tcp/0", network.addresses[0]) as other,
    ):
        watched = Watched(network)
        await eventually(lambda: network.peers() and network.peers()[0].rtt_ms)
        assert 0 < (network.peers()[0].rtt_ms or 0) < 1000
        os.kill(other.process.pid, signal.SIGSTOP)
        await watched.sees((other.peer_id, False, False), timeout_s=6)


async def test_who_pings_is_not_pinged() -> None:
    async with (
        running(config(1, ping_interval_s=1.0)) as (calm,),
        running(config(2, calm.addresses[0], ping_interval_s=0.05)) as (eager,),
    ):
        answers: dict[LibP2PNetwork, int] = {calm: 0, eager: 0}

        def count(network: LibP2PNetwork) -> None:
            answered = network._table.answered

            def counted(peer: str, rtt_ms: float) -> None:
                answers[network] += 1
                answered(peer, rtt_ms)

            network._table.answered = counted  # type: ignore[method-assign]

        count(calm)
        count(eager)
        await eventually(lambda: answers[eager] >= 100, 30)
        assert answers[calm] <= 2, "in these five seconds it would have pinged as often itself"
        assert calm.peers()[0].rtt_ms


async def test_the_stack_is_rebuilt_under_the_running_services_when_it_crashes() -> None:
    async with running(config(1)) as (a,), running(config(2, a.addresses[0])) as (b,):
        ears = await ears_of([a, b])
        a.handle(ECHO, echo)
        watched, address = Watched(a), a.addresses
        session = a._session
        assert session is not None
        session.gossip.manager.run_task(_crash)
        await watched.sees((b.peer_id, False, False))
        await eventually(lambda: a.statistics().rebuilding)
        await eventually(lambda: any("it is being rebuilt" in note for note in a.notes))
        with pytest.raises(StreamClosed):
            await a.open(b.peer_id, ECHO)
        await watched.sees((b.peer_id, True, False), timeout_s=15)
        assert a.addresses == address
        assert a.statistics().rebuilds == 1
        assert not any("it is being rebuilt" in note for note in a.notes)
        again = await ears_of([a, b])
        await b.publish(TOPIC, b"after the crash")
        await again[0].hears(b"after the crash")
        stream = await b.open(a.peer_id, ECHO)
        await stream.send(b"echo")
        assert await stream.receive() == b"echo"
        assert ears


async def _crash() -> None:
    raise RuntimeError("libp2p breaks")


def test_importing_the_mesh_imports_neither_libp2p_nor_zeroconf() -> None:
    code = "import sys, agent_core.mesh; sys.exit(any(m in sys.modules for m in ('libp2p', 'zeroconf', 'multiaddr')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0


def test_nothing_is_written_to_the_terminal() -> None:
    code = """
import trio
from tests.support.meshes import config, connected, running
from tests.support.network_conformance import eventually

async def main():
    async with running(config(1)) as (a,):
        async with running(config(2, a.addresses[0])) as (b,):
            await eventually(lambda: connected(a, b))
        await eventually(lambda: not a.peers())

trio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_patches_notice_another_libp2p(monkeypatch: pytest.MonkeyPatch) -> None:
    from agent_core.mesh import compat

    monkeypatch.setattr(compat, "VERSION", "0.8.0")
    with pytest.raises(RuntimeError, match=r"libp2p 0\.8\.1 is installed; this mesh needs 0\.8\.0"):
        compat.check()


async def test_connections_that_ended_leave_their_places_to_others() -> None:
    """As many come and go as there are places, and one more."""
    places = 4
    async with running(config(1, max_connections=places, knocks_per_s=1000.0)) as (node,):
        for seed in range(2, places + 4):
            async with running(config(seed)) as (guest,):
                assert await guest.dial(node.addresses[0]) is DialResult.CONNECTED
            await eventually(lambda: not node.peers())
