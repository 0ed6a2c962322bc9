"""TCP and QUIC side by side: frames echoed between two nodes on loopback, and what idle connections cost. Prints JSON."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from typing import Any

import trio

from agent_core.mesh import LibP2PNetwork, MeshConfig
from agent_core.multiaddrs import is_quic
from agent_core.network import Stream

ECHO = "/chorus/bench-echo/1.0.0"
FRAME_BYTES = 128 * 1024


async def _echo(stream: Stream) -> None:
    while True:
        await stream.send(await stream.receive())


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _measure(quic: bool, frames: int, idle_s: float) -> dict[str, Any]:
    listen = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1")
    async with trio.open_nursery() as nursery:
        here, there = (
            LibP2PNetwork(MeshConfig(seed=bytes([n]) * 32, listen=listen, network="bench", wanted_peers=0), note=print)
            for n in (1, 2)
        )
        for network in (here, there):
            await nursery.start(network.run)
        there.handle(ECHO, _echo)
        began = time.perf_counter()
        await here.dial(next(a for a in there.addresses if is_quic(a) == quic))
        dial_ms = (time.perf_counter() - began) * 1000
        stream = await here.open(there.peer_id, ECHO)
        small = []
        for _ in range(100):
            began = time.perf_counter()
            await stream.send(b"x" * 100)
            await stream.receive()
            small.append((time.perf_counter() - began) * 1000)
        began, cpu = time.perf_counter(), _cpu_s()
        for _ in range(frames):
            await stream.send(bytes(FRAME_BYTES))
            await stream.receive()
        took, cpu = time.perf_counter() - began, _cpu_s() - cpu
        await stream.aclose()
        idle_cpu = _cpu_s()
        await trio.sleep(idle_s)
        idle_cpu = _cpu_s() - idle_cpu
        nursery.cancel_scope.cancel()
    mib = 2 * frames * FRAME_BYTES / (1 << 20)
    return {
        "dial_ms": round(dial_ms, 1),
        "echo_100_bytes_ms": {"p50": round(statistics.median(small), 2), "p99": round(sorted(small)[98], 2)},
        "mib_per_s": round(mib / took, 1),
        "cpu_ms_per_mib": round(1000 * cpu / mib, 1),
        "idle_cpu_percent": round(100 * idle_cpu / idle_s, 1),
    }


def main() -> int:
    """Measure both, each twice in turns, and print the second figures."""
    found: dict[str, Any] = {}
    for _ in range(2):
        for name in ("tcp", "quic"):
            found[name] = trio.run(_measure, name == "quic", 60, 3.0)
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
