"""Feeds in figures: durable appends a second, and entries a second when a late node catches up. Prints JSON.

    python -m bench.feeds [--seconds 3] [--entries 50000]

Appends go to a store on this disk, each caller waiting until its entries are durable; catch-up runs between two nodes in
one process over streams in memory, so it counts reading, proving, verifying and storing, not the network.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import trio

from tests.support.feeds import Node, note
from tests.support.streams import MemoryMesh

CALLERS = 64
BATCH = 100


async def appends(folder: Path, seconds: float, *, callers: int, batch: int) -> dict[str, float]:
    """Callers that append batches one after the other."""
    node = Node(0, None, folder / f"append-{callers}-{batch}.db")
    feeds = node.open()
    waits: list[float] = []
    worst_gap = 0.0

    async def call() -> None:
        while True:
            start = time.perf_counter()
            await feeds.append([note(n, b"a message of a common length, " * 4) for n in range(batch)])
            waits.append(time.perf_counter() - start)

    async def watch() -> None:
        nonlocal worst_gap
        last = time.perf_counter()
        while True:
            await trio.sleep(0.001)
            now = time.perf_counter()
            worst_gap, last = max(worst_gap, now - last - 0.001), now

    start = time.perf_counter()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            for _ in range(callers):
                nursery.start_soon(call)
    took = time.perf_counter() - start
    stats = feeds.statistics()
    feeds.store.close()
    return {
        "callers": callers,
        "batch": batch,
        "entries_per_s": round(stats.appended / took),
        "commits_per_s": round(stats.commits / took),
        "wait_median_ms": round(statistics.median(waits) * 1000, 2),
        "event_loop_worst_gap_ms": round(worst_gap * 1000, 1),
    }


async def catch_up(folder: Path, entries: int) -> dict[str, float]:
    """A new node fetches everything of one feed, bodies too."""
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(nursery)
        old, new = Node(0, mesh, folder / "old.db"), Node(1, mesh, folder / "new.db")
        await old.start(nursery)
        for n in range(0, entries, 1000):
            await old.feeds.append([note(n + i, b"a message of a common length, " * 4) for i in range(1000)])
        await new.start(nursery)
        start = time.perf_counter()
        mesh.connect(old.me, new.me)
        while new.feeds.statistics().entries < entries:  # noqa: ASYNC110 - nothing to wait on from outside
            await trio.sleep(0.01)
        took = time.perf_counter() - start
        await new.stop()
        await old.stop()
        nursery.cancel_scope.cancel()
    return {"entries": entries, "seconds": round(took, 2), "entries_per_s": round(entries / took)}


async def latency(folder: Path, rounds: int = 100) -> dict[str, float]:
    """From the call of append until another node holds the entry and has said so, without gossip."""
    times: list[float] = []
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(nursery)
        one, two = Node(0, mesh, folder / "one.db"), Node(1, mesh, folder / "two.db")
        await one.start(nursery)
        await two.start(nursery)
        mesh.connect(one.me, two.me)
        await trio.sleep(0.1)
        for n in range(rounds):
            start = time.perf_counter()
            (entry,) = await one.feeds.append([note(n)])
            await one.feeds.wait_held(entry.key, 1, 5.0)
            times.append(time.perf_counter() - start)
        await one.stop()
        await two.stop()
        nursery.cancel_scope.cancel()
    return {
        "held_by_another_median_ms": round(statistics.median(times) * 1000, 2),
        "worst_ms": round(max(times) * 1000, 1),
    }


async def main(seconds: float, entries: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "one_entry_each": await appends(folder, seconds, callers=CALLERS, batch=1),
            "batches": await appends(folder, seconds, callers=1, batch=BATCH),
            "batches_of_many_callers": await appends(folder, seconds, callers=CALLERS, batch=BATCH),
            "catch_up": await catch_up(folder, entries),
            "delivery": await latency(folder),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=2.0, help="length of each append run")
    arguments.add_argument("--entries", type=int, default=20_000, help="entries to catch up")
    chosen = arguments.parse_args()
    trio.run(main, chosen.seconds, chosen.entries)
