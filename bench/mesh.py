"""Gossip between processes on loopback, ours beside js-libp2p in the same run. Prints JSON.

What is measured, in medians of several rounds: messages a second from one publisher to one subscriber; latency at a calm
100 a second; and what five subscribers of a full mesh get of 50 a second. Run: ``python -m bench.mesh [--rounds N] [--only ours|js|judged]``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

from bench import idle
from bench import js_libp2p as js

CALM_PER_S, CALM_S = 100, 4
#: Mesh peers with which GossipSub is content; it asks for no more, whoever else is connected.
DEGREE_LOW = 4
FULL_MESH, FULL_PER_S, FULL_S = 5, 50, 4
#: (payload bytes, messages of one round of ours, of one round of js)
BURSTS = ((256, 20_000, 3_000), (4096, 6_000, 2_000))


class Node:
    """A node's process, and what it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = str(self._answer()["address"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, do: str, **arguments: Any) -> None:
        """Give a command without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do} | arguments) + "\n")
        self._process.stdin.flush()

    def call(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Give a command and wait until it is done."""
        self.tell(do, **arguments)
        return self._answer()


@contextmanager
def nodes(count: int, command: Callable[[int], Sequence[str]]) -> Iterator[list[Node]]:
    """So many processes, everybody connected with everybody, the topic's mesh formed."""
    with ExitStack() as stack:
        running: list[Node] = []
        for number in range(1, count + 1):
            process = subprocess.Popen(command(number), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            node = Node(process)
            for other in running:
                node.call("dial", address=other.address)
            running.append(node)
        for node in running:
            node.call("ready", peers=min(count - 1, DEGREE_LOW))
        yield running


def burst(publisher: Node, subscriber: Node, count: int, size: int) -> tuple[float, int]:
    """As many as go: messages a second from the first one's publishing to the last one's arrival, and how many got lost."""
    publisher.tell("publish", count=count, size=size, rate=0)
    report = subscriber.call("report", expect=count, quiet_s=3)
    publisher._answer()
    return report["received"] / report["span_s"], count - report["received"]


def calm(
    publisher: Node, subscribers: Sequence[Node], rate: int, seconds: int, size: int = 256
) -> list[dict[str, Any]]:
    """A steady rate: each subscriber's report."""
    count = rate * seconds
    publisher.call("publish", count=count, size=size, rate=rate)
    return [node.call("report", expect=count, quiet_s=1) for node in subscribers]


def stack(command: Callable[[int], Sequence[str]], rounds: int, counts: Sequence[int]) -> dict[str, Any]:
    """All that is measured of one stack: as many kinds of burst as there are counts, and the rest."""
    result: dict[str, Any] = {}
    with nodes(2, command) as (publisher, subscriber):
        calm(publisher, [subscriber], CALM_PER_S, 1)  # warm
        for (size, *_), count in zip(BURSTS, counts, strict=False):
            said = [burst(publisher, subscriber, count, size) for _ in range(rounds)]
            result[f"{size}_bytes"] = {
                "messages_per_s": round(median(rate for rate, _ in said)),
                "rounds": [round(rate) for rate, _ in said],
                "lost": sum(lost for _, lost in said),
            }
        reports = [calm(publisher, [subscriber], CALM_PER_S, CALM_S)[0] for _ in range(rounds)]
        result["calm"] = {
            "rate_per_s": CALM_PER_S,
            "p50_ms": round(median(r["p50_ms"] for r in reports), 2),
            "p99_ms": round(median(r["p99_ms"] for r in reports), 2),
        }
    with nodes(FULL_MESH + 1, command) as (publisher, *subscribers):
        full = [calm(publisher, subscribers, FULL_PER_S, FULL_S) for _ in range(rounds)]
        sent = FULL_PER_S * FULL_S * FULL_MESH
        result["full_mesh"] = {
            "subscribers": FULL_MESH,
            "rate_per_s": FULL_PER_S,
            "delivered_percent": round(median(100 * sum(r["received"] for r in said) / sent for said in full), 2),
            "worst_p50_ms": round(median(max(r["p50_ms"] for r in said) for said in full), 2),
            "worst_p99_ms": round(median(max(r["p99_ms"] for r in said) for said in full), 2),
        }
    return result


def ours(seed: int) -> Sequence[str]:
    """Our stack at the level of ``Network``: signed, an application's judge and receiver."""
    return (sys.executable, "-m", "bench.gossip_node", str(seed))


def judged(seed: int) -> Sequence[str]:
    """Our stack with envelopes judged by the whole wire."""
    return (sys.executable, "-m", "bench.gossip_node", "--judged", str(seed))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("ours", "js", "judged"))
    parser.add_argument(
        "--no-idle", action="store_true", help="leave out what an idle daemon costs, which takes a minute"
    )
    arguments = parser.parse_args()
    stacks: dict[str, tuple[Callable[[int], Sequence[str]], int]] = {"ours": (ours, 1), "judged": (judged, 1)}
    if arguments.only != "ours" and js.available():
        stacks["js"] = (js.command, 2)
    result: dict[str, Any] = {}
    for name, (command, column) in stacks.items():
        if arguments.only in (None, name):
            counts = [row[column] for row in BURSTS]
            result[name] = stack(command, arguments.rounds, counts[:1] if name == "judged" else counts)
    if "js" in result and "ours" in result:
        result["ratio_to_js"] = ratios(result["ours"], result["js"])
    if arguments.only is None:
        result["idle"] = idle.measure()
    print(json.dumps(result, indent=2))


def ratios(ours: dict[str, Any], js: dict[str, Any]) -> dict[str, float]:
    """How many times ours is js: over 1 is better for throughput, under 1 for latency."""
    return {
        "256_bytes_throughput": round(ours["256_bytes"]["messages_per_s"] / js["256_bytes"]["messages_per_s"], 2),
        "4096_bytes_throughput": round(ours["4096_bytes"]["messages_per_s"] / js["4096_bytes"]["messages_per_s"], 2),
        "calm_p50": round(ours["calm"]["p50_ms"] / js["calm"]["p50_ms"], 2),
        "calm_p99": round(ours["calm"]["p99_ms"] / js["calm"]["p99_ms"], 2),
        "full_mesh_worst_p99": round(ours["full_mesh"]["worst_p99_ms"] / js["full_mesh"]["worst_p99_ms"], 2),
    }


if __name__ == "__main__":
    main()
