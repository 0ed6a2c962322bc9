"""Feeds in figures, beside Hypercore's on the same disk: durable appends, and how quickly a late node catches up. Prints JSON.

    python -m bench.feeds [--seconds 2] [--entries 100000] [--without-hypercore] [--with-start]

Bodies have 256 bytes. An append counts when it is durable: in SQLite's write-ahead log, synced. Hypercore hands its blocks to
RocksDB, which writes them to the operating system and syncs none of them: what it appended since is lost when the machine loses power,
though not when the process is killed. Hypercore runs on the ``node`` on the path; its packages are installed from
``bench/js-hypercore/package-lock.json``.

Catching up is measured in one process over streams in memory, which counts reading, proving, verifying and storing on one
core; and over the real mesh, from peers in processes of their own on loopback, where the encryption counts too. The naive
peer checks one signature an entry.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from agent_core.clock import HybridClock
from agent_core.feeds.model import leaf_hash
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.mesh import LibP2PNetwork, MeshConfig
from tests.support.feeds import VERIFIER, Node, note, signer
from tests.support.streams import MemoryMesh

CALLERS, BATCH = 64, 100
BODY = b"a message of a common length, "[:16] * 16
JS = Path(__file__).parent / "js-hypercore"


def syncs(folder: Path, seconds: float) -> float:
    """How often a second this disk syncs 4 KiB appended to a file."""
    count, end = 0, time.perf_counter() + seconds
    with (folder / "sync").open("wb", buffering=0) as file:
        while time.perf_counter() < end:
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            count += 1
    return round(count / seconds)


async def appends(folder: Path, seconds: float, *, callers: int, batch: int) -> dict[str, float]:
    """Callers that append batches one after the other."""
    node = Node(0, None, folder / f"append-{callers}-{batch}.db")
    feeds = node.open()
    drafts = [note(n, BODY) for n in range(batch)]
    waits: list[float] = []
    worst_gap = 0.0

    async def call() -> None:
        while True:
            start = time.perf_counter()
            await feeds.append(drafts)
            waits.append(time.perf_counter() - start)

    async def watch() -> None:
        nonlocal worst_gap
        last = time.perf_counter()
        while True:
            await trio.sleep(0.001)
            now = time.perf_counter()
            worst_gap, last = max(worst_gap, now - last - 0.001), now

    start, cpu = time.perf_counter(), time.process_time()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            for _ in range(callers):
                nursery.start_soon(call)
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    stats = feeds.statistics()
    feeds.store.close()
    return {
        "callers": callers,
        "batch": batch,
        "entries_per_s": round(stats.appended / took),
        "entries_per_cpu_s": round(stats.appended / cpu),
        "commits_per_s": round(stats.commits / took),
        "wait_median_ms": round(statistics.median(waits) * 1000, 2),
        "event_loop_worst_gap_ms": round(worst_gap * 1000, 1),
    }


class Hypercore:
    """The same appends by Hypercore; says why it can't."""

    def __init__(self, folder: Path, seconds: float, wanted: bool) -> None:
        self._folder, self._seconds = folder, seconds
        self.skipped = "" if wanted else "not asked for"
        self.version = ""
        if wanted and not (shutil.which("node") and shutil.which("npm")):
            self.skipped = "node and npm aren't installed"
        elif wanted:
            done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=JS, capture_output=True, text=True)
            self.skipped = f"npm ci failed: {done.stderr.strip()[-300:]}" if done.returncode else ""
        if not self.skipped:
            package = json.loads((JS / "node_modules" / "hypercore" / "package.json").read_text())
            self.version = str(package["version"])

    def appends(self, *, callers: int, batch: int) -> dict[str, float] | str:
        """Callers that append batches one after the other."""
        if self.skipped:
            return self.skipped
        place = str(self._folder / f"hypercore-{callers}-{batch}")
        command = ["node", "append.mjs", place, *map(str, (self._seconds, callers, batch, len(BODY)))]
        done = subprocess.run(command, cwd=JS, capture_output=True, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout)
        return found


async def written(folder: Path, entries: int) -> Path:
    """A store with one feed."""
    node = Node(0, None, folder / "author.db")
    node.open()
    for n in range(0, entries, 500):
        await node.feeds.append([note(n + i, BODY) for i in range(min(500, entries - n))])
    node.feeds.store.close()
    return folder / "author.db"


async def reached(feeds: Feeds, entries: int) -> float:
    """Wait until a node holds so many; returns the seconds it took."""
    start = time.perf_counter()
    while feeds.store.entry_count < entries:  # noqa: ASYNC110 - nothing to wait on from outside
        await trio.sleep(0.01)
    return time.perf_counter() - start


async def catch_up(folder: Path, source: Path, entries: int, peers: int) -> dict[str, float]:
    """A new node fetches everything of one feed, bodies too, over streams in memory; on one core with its peers."""
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(nursery)
        olds = []
        for n in range(peers):
            path = folder / f"old-{peers}-{n}.db"
            shutil.copy(source, path)
            olds.append(Node(n and 10 + n, mesh, path))
            await olds[-1].start(nursery)
        new = Node(1, mesh, folder / f"new-{peers}.db")
        feeds = await new.start(nursery)
        for old in olds:
            mesh.connect(old.me, new.me)
        cpu = time.process_time()
        took = await reached(feeds, entries)
        cpu = time.process_time() - cpu
        twice = feeds.statistics().asked_twice
        for node in (new, *olds):
            await node.stop()
        nursery.cancel_scope.cancel()
    return {
        "peers": peers,
        "seconds": round(took, 2),
        "entries_per_s": round(entries / took),
        "entries_per_cpu_s": round(entries / cpu),
        "asked_twice": twice,
    }


def naive(source: Path, entries: int) -> dict[str, float]:
    """What one core does that checks one signature an entry: the leaf hash and the check, nothing stored."""
    store, author = Store.open(source, read_only=True), signer(0)
    count = min(entries, 20_000)
    leaves = [entry.raw for entry in store.entries(author.peer_id, 0, 0, count)]
    signed = [(raw, author.sign(leaf_hash(raw))) for raw in leaves]
    start = time.perf_counter()
    for raw, signature in signed:
        if not VERIFIER.verify(author.peer_id, leaf_hash(raw), signature):
            raise AssertionError("a signature of our own doesn't hold")
    took = time.perf_counter() - start
    store.close()
    return {"entries_per_s": round(count / took)}


# --- over the real mesh -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def meshed(n: int, path: Path, *bootstrap: str) -> AsyncIterator[tuple[LibP2PNetwork, Feeds]]:
    """A node of the real mesh that has nothing but feeds."""
    key, seed = signer(n), bytes([n + 1]) * 32
    config = MeshConfig(seed=seed, listen=("/ip4/127.0.0.1/tcp/0",), bootstrap=bootstrap, network="bench")
    network, store = LibP2PNetwork(config), Store.open(path)
    feeds = Feeds(store, key, VERIFIER, HybridClock(last=store.latest_hlc(key.peer_id)), network=network)
    async with trio.open_nursery() as nursery:
        await nursery.start(feeds.run)
        await nursery.start(network.run)
        try:
            yield network, feeds
        finally:
            nursery.cancel_scope.cancel()
    store.close()


async def serve(n: int, path: Path) -> None:
    """A peer in a process of its own; prints its address."""
    async with meshed(n, path) as (network, _):
        print(network.addresses[0], flush=True)
        await trio.sleep_forever()


async def catch_up_meshed(folder: Path, source: Path, entries: int, peers: int) -> dict[str, float]:
    """The same over libp2p from peers in processes of their own."""
    async with trio.open_nursery() as nursery:
        children: list[trio.Process] = []
        addresses: list[str] = []
        try:
            for n in range(peers):
                path = folder / f"mesh-{peers}-{n}.db"
                shutil.copy(source, path)
                command = [sys.executable, "-m", "bench.feeds", "--serve", str(10 + n), str(path)]
                child = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE, check=False))
                children.append(child)
                said = b""
                while not said.endswith(b"\n"):
                    said += await child.stdout.receive_some()
                addresses.append(said.decode().strip())
            async with meshed(1, folder / f"mesh-new-{peers}.db", *addresses) as (_, feeds):
                while not feeds.store.entry_count:  # noqa: ASYNC110 - nothing to wait on from outside
                    await trio.sleep(0.01)
                took = await reached(feeds, entries)
                twice = feeds.statistics().asked_twice
        finally:
            for child in children:
                child.kill()
    return {"peers": peers, "seconds": round(took, 2), "entries_per_s": round(entries / took), "asked_twice": twice}


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
    return {"median_ms": round(statistics.median(times) * 1000, 2), "worst_ms": round(max(times) * 1000, 1)}


def starts() -> object:
    """What a start costs with a history of ten and a hundred thousand entries (``bench/start.py``)."""
    command = [sys.executable, "-m", "bench.start", "--entries", "10000", "100000", "--runs", "3"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # 1 says that a goal is missed
    return [json.loads(line) for line in done.stdout.splitlines()]


async def main(seconds: float, entries: int, with_hypercore: bool, with_start: bool) -> None:
    random.seed(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hypercore = Hypercore(folder, seconds, with_hypercore)
        sizes: Sequence[tuple[str, int, int]] = (
            ("one_caller_in_a_row", 1, 1),
            ("one_entry_each", CALLERS, 1),
            ("batches", 1, BATCH),
            ("batches_of_many_callers", CALLERS, BATCH),
        )
        figures: dict[str, object] = {
            "load_of_machine": os.getloadavg()[0],
            "disk_syncs_per_s": syncs(folder, seconds),
            "hypercore_version": hypercore.version or hypercore.skipped,
            "durability": {"chorus-hap": "synced before an append returns", "hypercore": "no sync at an append"},
        }
        for word, callers, batch in sizes:
            figures[f"append_{word}"] = {
                "chorus-hap": await appends(folder, seconds, callers=callers, batch=batch),
                "hypercore": hypercore.appends(callers=callers, batch=batch),
            }
        source = await written(folder, entries)
        figures["catch_up"] = {
            "entries": entries,
            "in_memory": [await catch_up(folder, source, entries, peers) for peers in (1, 3)],
            "over_libp2p": [await catch_up_meshed(folder, source, entries, peers) for peers in (1, 3)],
            "naive_one_signature_an_entry": naive(source, entries),
        }
        figures["held_by_another"] = await latency(folder)
    if with_start:
        figures["start"] = starts()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=2.0, help="length of each append run")
    arguments.add_argument("--entries", type=int, default=100_000, help="entries to catch up")
    arguments.add_argument("--without-hypercore", action="store_true", help="only this program's figures")
    arguments.add_argument("--with-start", action="store_true", help="what a start costs, too")
    arguments.add_argument("--serve", nargs=2, metavar=("N", "STORE"), help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.serve:
        trio.run(serve, int(chosen.serve[0]), Path(chosen.serve[1]))
    else:
        trio.run(main, chosen.seconds, chosen.entries, not chosen.without_hypercore, chosen.with_start)
