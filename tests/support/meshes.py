"""Real mesh nodes for tests: in this process, or in one of their own that can be killed."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from agent_core.mesh import LibP2PNetwork, MeshConfig
from agent_core.network import Verdict
from tests.support.network_conformance import eventually

TOPIC = "CHORUS/test/v1"


def config(seed: int, *bootstrap: str, **settings: Any) -> MeshConfig:
    """A node's settings with fast timings on a free port of loopback."""
    defaults: dict[str, Any] = {
        "listen": ("/ip4/127.0.0.1/tcp/0",),
        "network": "test",
        "redial_min_s": 0.1,
        "redial_max_s": 0.5,
        "gossip_heartbeat_s": 0.2,
        "exchange_interval_s": 1.0,
        "rng_seed": seed,
    }
    return MeshConfig(seed=bytes([seed]) * 32, bootstrap=bootstrap, **(defaults | settings))


@asynccontextmanager
async def running(*configs: MeshConfig) -> AsyncIterator[list[LibP2PNetwork]]:
    """Run nodes in this process; their notes are in ``network.notes``."""
    async with trio.open_nursery() as nursery:
        networks = []
        for one in configs:
            notes: list[str] = []
            network = LibP2PNetwork(one, notes.append, notes.remove)
            network.notes = notes  # type: ignore[attr-defined]
            await nursery.start(network.run)
            networks.append(network)
        try:
            yield networks
        finally:
            nursery.cancel_scope.cancel()


def connected(*networks: LibP2PNetwork) -> bool:
    """Whether all of these are connected with one another."""
    ids = {n.peer_id for n in networks}
    return all(ids - {n.peer_id} <= {p.peer_id for p in n.peers()} for n in networks)


class MeshProcess:
    """A node in a process of its own: joins the topic, repeats what it hears on stdout, publishes ``tick N`` for ever."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.lines: list[bytes] = []

    async def read(self) -> None:
        """Collect what it prints."""
        rest = b""
        while chunk := await self.process.stdout.receive_some():
            *lines, rest = (rest + chunk).split(b"\n")
            self.lines += lines

    @property
    def address(self) -> str:
        """Its full multiaddr."""
        return self.addresses[0]

    @property
    def addresses(self) -> list[str]:
        """All its full multiaddrs."""
        return self.lines[0].decode().split()

    @property
    def peer_id(self) -> str:
        """Its peer id."""
        return self.address.rpartition("/p2p/")[2]

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()


@asynccontextmanager
async def process(seed: int, listen: str = "/ip4/127.0.0.1/tcp/0", *bootstrap: str) -> AsyncIterator[MeshProcess]:
    """Start a node in its own process; gone at the end. ``listen``: addresses with commas."""
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-m", "tests.support.meshes", str(seed), listen, *bootstrap]
        child = MeshProcess(await nursery.start(partial(trio.run_process, command, stdout=-1, check=False)))
        nursery.start_soon(child.read)
        try:
            await eventually(lambda: child.lines, 30)
            yield child
        finally:
            child.kill()
            nursery.cancel_scope.cancel()


async def _main(seed: int, listen: str, *bootstrap: str) -> None:
    async with running(config(seed, *bootstrap, listen=tuple(listen.split(",")))) as (network,):
        network.set_judge(lambda topic, relay, payload, author: Verdict.ACCEPT)
        network.set_receiver(lambda topic, relay, payload: print(payload.decode(errors="replace"), flush=True))
        await network.join(TOPIC)
        print(*network.addresses, flush=True)
        number = 0
        while True:
            number += 1
            await network.publish(TOPIC, b"tick %d of %d" % (number, seed))
            await trio.sleep(0.05)


if __name__ == "__main__":
    trio.run(_main, int(sys.argv[1]), *sys.argv[2:])
