"""Gossip between two processes on loopback: messages a second, and latency at 100 a second. Prints JSON; takes about 12 s.

Run: ``python -m bench.mesh``.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from statistics import quantiles

import trio

from agent_core.mesh import LibP2PNetwork, MeshConfig
from agent_core.network import Verdict

TOPIC = "CHORUS/bench/v1"
PAYLOAD_BYTES = 256
BURST, CALM_PER_S, CALM_S = 3000, 100, 4
_STAMP = struct.Struct(">QQ")


def _config(seed: int, bootstrap: tuple[str, ...] = ()) -> MeshConfig:
    """No budget: what is measured is the stack, not the ration."""
    return MeshConfig(
        seed=bytes([seed]) * 32,
        listen=("/ip4/127.0.0.1/tcp/0",),
        bootstrap=bootstrap,
        network="bench",
        messages_per_s=1e9,
        message_burst=1e9,
    )


@asynccontextmanager
async def _running(config: MeshConfig) -> AsyncIterator[LibP2PNetwork]:
    network = LibP2PNetwork(config)
    network.set_judge(lambda topic, relay, payload: Verdict.ACCEPT)
    async with trio.open_nursery() as nursery:
        await network.join(TOPIC)
        await nursery.start(network.run)
        try:
            yield network
        finally:
            nursery.cancel_scope.cancel()


async def _subscriber() -> None:
    """Prints its address, then one line of JSON when a message of number 0 comes after others."""
    stamps: list[tuple[int, int]] = []
    done = trio.Event()

    def receive(topic: str, relay: str, payload: bytes) -> None:
        number, sent = _STAMP.unpack_from(payload)
        if number:
            stamps.append((sent, time.monotonic_ns()))
        else:
            print(json.dumps(stamps), flush=True)
            stamps.clear()

    async with _running(_config(1)) as network:
        network.set_receiver(receive)
        print(network.addresses[0], flush=True)
        await done.wait()


async def _publish(network: LibP2PNetwork, number: int) -> None:
    stamp = _STAMP.pack(number, time.monotonic_ns())
    await network.publish(TOPIC, stamp + bytes(PAYLOAD_BYTES - len(stamp)))


async def _publisher() -> dict[str, object]:
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-m", "bench.mesh", "--subscribe"]
        process = await nursery.start(partial(trio.run_process, command, stdout=-1, check=False))
        lines = _lines(process.stdout)
        async with _running(_config(2, (await anext(lines),))) as network:
            connected = trio.Event()
            network.watch_peers(lambda peer, up, remote: connected.set())
            if not network.peers():
                await connected.wait()
            await trio.sleep(2.5)  # the mesh forms at a heartbeat
            began = time.monotonic()
            for number in range(1, BURST + 1):
                await _publish(network, number)
            published_s = time.monotonic() - began
            await trio.sleep(1)
            await _publish(network, 0)
            burst = json.loads(await anext(lines))
            next_at = trio.current_time()
            for number in range(1, CALM_PER_S * CALM_S + 1):
                await _publish(network, number)
                next_at += 1 / CALM_PER_S
                await trio.sleep_until(next_at)
            await trio.sleep(0.5)
            await _publish(network, 0)
            calm = json.loads(await anext(lines))
        process.terminate()
    span_s = (burst[-1][1] - burst[0][1]) / 1e9
    latencies_ms = quantiles([(got - sent) / 1e6 for sent, got in calm], n=100)
    return {
        "payload_bytes": PAYLOAD_BYTES,
        "burst": {
            "sent": BURST,
            "received": len(burst),
            "published_per_s": round(BURST / published_s),
            "received_per_s": round(len(burst) / span_s),
        },
        "calm": {
            "rate_per_s": CALM_PER_S,
            "sent": CALM_PER_S * CALM_S,
            "received": len(calm),
            "p50_ms": round(latencies_ms[49], 2),
            "p99_ms": round(latencies_ms[98], 2),
        },
    }


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()


if __name__ == "__main__":
    if "--subscribe" in sys.argv:
        trio.run(_subscriber)
    else:
        print(json.dumps(trio.run(_publisher), indent=2))
