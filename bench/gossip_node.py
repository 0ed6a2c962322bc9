"""One gossip node for the benchmarks, told by lines of JSON on stdin what to do; answers each with a line on stdout.

``bench/js/node.mjs`` is the same on js-libp2p. Times are of the system's monotonic clock, which all processes share.

| line | does | answers |
|---|---|---|
| `{"do": "dial", "address"}` | connects | |
| `{"do": "ready", "peers"}` | waits until so many peers follow the topic here | |
| `{"do": "publish", "count", "size", "rate"}` | publishes; `rate` 0 is as fast as it goes | `seconds` |
| `{"do": "report", "expect", "quiet_s"}` | waits for so many messages, or for quiet; forgets them | `received` `span_s` `p50_ms` `p99_ms` |

Run: ``python -m bench.gossip_node [--judged] SEED``; ``--judged``: the payloads are envelopes, judged by the whole wire.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from functools import partial
from typing import Any

import trio

from agent_core.clock import HybridClock
from agent_core.mesh import LibP2PNetwork, MeshConfig
from agent_core.network import Verdict
from agent_core.wire import topics
from agent_core.wire.families import coordination
from agent_core.wire.judge import Limits, Standing
from agent_core.wire.service import Received, Speaker, Wire

TOPIC = topics.COORDINATION
STAMP = struct.Struct(">Q")
_UNLIMITED = 1e12


class Node:
    """Does what it is told.

    Args:
        network: what is measured.
        judged: publish and receive envelopes by a :class:`Wire` instead of bare payloads.
    """

    def __init__(self, network: LibP2PNetwork, judged: bool) -> None:
        self.network = network
        self.arrivals: list[tuple[int, int]] = []
        self.wire: Wire | None = None
        if judged:
            limits = Limits(rate_per_s=_UNLIMITED, burst=_UNLIMITED)
            self.wire = Wire(
                network,
                Speaker("bench", "developer", "agent"),
                HybridClock(),
                lambda peer: Standing.MEMBER,
                limits=limits,
            )
            self.wire.subscribe("task_progress", self._received)
        else:
            network.set_judge(lambda topic, relay, payload, author: Verdict.ACCEPT)
            network.set_receiver(self._heard)

    def _heard(self, topic: str, relay: str, payload: bytes) -> None:
        if relay != self.network.peer_id:
            self.arrivals.append((STAMP.unpack_from(payload)[0], time.monotonic_ns()))

    def _received(self, message: Received) -> None:
        if message.sender != self.network.peer_id:
            self.arrivals.append((int(message.data.task_id), time.monotonic_ns()))

    async def dial(self, address: str) -> dict[str, Any]:
        """Connect."""
        return {"result": str(await self.network.dial(address))}

    async def ready(self, peers: int) -> dict[str, Any]:
        """Wait until so many peers are in the topic's mesh."""
        session = self.network._session
        assert session is not None
        with trio.fail_after(30):
            while len(session.gossip.router.mesh.get(TOPIC, ())) < peers:  # noqa: ASYNC110  (libp2p has no event for it)
                await trio.sleep(0.05)
        return {}

    async def publish(self, count: int, size: int, rate: float) -> dict[str, Any]:
        """Publish messages of ``size`` bytes, or envelopes of the length they have; ``rate`` of them a second."""
        began = time.perf_counter()
        next_at = trio.current_time()
        for _ in range(count):
            now = time.monotonic_ns()
            if self.wire is None:
                await self.network.publish(TOPIC, STAMP.pack(now) + bytes(size - STAMP.size))
            else:
                data = coordination.TaskProgress(task_id=str(now), project="bench", agent_id="bench", progress=0.5)
                await self.wire.publish(TOPIC, "task_progress", data)
            if rate:
                next_at += 1 / rate
                await trio.sleep_until(next_at)
        return {"seconds": time.perf_counter() - began}

    async def report(self, expect: int, quiet_s: float) -> dict[str, Any]:
        """Wait until ``expect`` messages have come, or none for ``quiet_s``; how they travelled."""
        before, since = -1, trio.current_time()
        while len(self.arrivals) < expect and trio.current_time() - since < quiet_s:
            if len(self.arrivals) != before:
                before, since = len(self.arrivals), trio.current_time()
            await trio.sleep(0.05)
        arrivals, self.arrivals = self.arrivals, []
        latencies = sorted((got - sent) / 1e6 for sent, got in arrivals)
        return {
            "received": len(arrivals),
            "span_s": (arrivals[-1][1] - arrivals[0][0]) / 1e9 if arrivals else 0,
            "p50_ms": latencies[len(latencies) // 2] if latencies else None,
            "p99_ms": latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)] if latencies else None,
        }


async def main(seed: int, judged: bool) -> None:
    """Run a node until its stdin ends."""
    network = LibP2PNetwork(
        MeshConfig(
            seed=bytes([seed]) * 32,
            listen=("/ip4/127.0.0.1/tcp/0",),
            network="bench",
            messages_per_s=_UNLIMITED,  # what is measured is the stack, not the ration
            message_burst=_UNLIMITED,
            bytes_per_s=_UNLIMITED,
            byte_burst=_UNLIMITED,
        )
    )
    node = Node(network, judged)
    async with trio.open_nursery() as nursery:
        await network.join(TOPIC)
        await nursery.start(network.run)
        if node.wire is not None:
            await nursery.start(node.wire.run)
        say({"address": network.addresses[0]})
        lines = iter(partial(sys.stdin.readline), "")
        while line := await trio.to_thread.run_sync(next, lines, None):
            command = json.loads(line)
            say(await getattr(node, command.pop("do"))(**command))
        nursery.cancel_scope.cancel()


def say(answer: dict[str, Any]) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[-1]), "--judged" in sys.argv)
