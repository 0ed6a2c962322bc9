"""What a start costs with a long history, beside a home that has none: seconds to ``ready``, of them at work, and peak memory.
Prints JSON.

    python -m bench.start [--entries 10000 100000 1000000] [--runs 3] [--keep FOLDER]

The history is the node's own: messages in rooms (threads of some ten, some of them questions), versions of
addresses, decisions with votes. It is written straight into the store by the feed's own code. The first start on it has no
snapshot and folds everything while it serves; it is timed too, and ended cleanly once all is folded. What is compared is the
quickest of the starts after that one, in turn with those of the empty home: a start waits for nothing but the processor, and a
virtual machine's is slower by half while its neighbours are busy, which only ever adds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent_core.api.offline import CLUSTER_KEY
from agent_core.clock import HybridClock
from agent_core.decisions.model import DECISION_PROPOSE, DECISION_VOTE, ProposeData, VoteData
from agent_core.feeds.epochs import Place
from agent_core.feeds.model import Draft, Entry
from agent_core.feeds.store import Store
from agent_core.feeds.writing import Pending, Writer
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.home import Home
from agent_core.identity import keys
from agent_core.identity.signing import Ed25519Signer
from agent_core.ids import uuid7
from agent_core.roster.model import Kind
from agent_core.ucxl.model import UCXL_PUT, PutData
from chorus_hap.tour import Daemon

GOAL = 1.5
SIZES = (10_000, 100_000, 1_000_000)
_SETTINGS = ("cluster.discovery_s=0.1",)
_BATCH = 1000
_ROOMS = 200
_ADDRESSES = 2000


def found(folder: Path) -> Home:
    """A home that founded a cluster and wrote nothing else."""
    home = Home(folder)
    daemon = Daemon(home.root, "bench", _SETTINGS)
    try:
        _wait(daemon)
    finally:
        daemon.end()
    return home


def fill(home: Home, entries: int) -> float:
    """Append so many entries to the home's own feed; the seconds it took."""
    began = time.perf_counter()
    identity = keys.load_or_create(home.identity, Kind.AGENT)
    signer, store = Ed25519Signer(identity.seed), Store.open(home.store)
    me = identity.peer_id
    writer = Writer(store, signer, HybridClock(last=store.latest_hlc(me)), Place(store, me, home.instance))
    story = _Story((store.read(CLUSTER_KEY) or b"").decode())
    try:
        for at in range(0, entries, _BATCH):
            pending = Pending(list(story.drafts(min(_BATCH, entries - at))))
            new = writer.prepare([pending])
            if pending.error is not None or new is None:
                raise RuntimeError(f"nothing was written: {pending.error}")
            store.extend(new, index_ops=True)
            story.written(pending.entries)
    finally:
        store.close()
    return time.perf_counter() - began


class _Story:
    """What a busy agent writes."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._rng = random.Random(7)
        self._threads: dict[str, tuple[str, str]] = {}  # by room: the first message and the newest
        self._heads: dict[str, str] = {}
        self._decisions: list[str] = []

    def drafts(self, count: int) -> Iterator[Draft]:
        rng, taken = self._rng, set[str]()
        for n in range(count):
            op, kind = uuid7(time.time_ns() // 1_000_000), rng.random()
            body = b"It was seen again, and this is what was done about it, in a few words. " * rng.randint(1, 4)
            if kind < 0.05:
                address = f"ucxl://bench:agent@work:task-{rng.randrange(20)}/notes/{rng.randrange(_ADDRESSES)}.md"
                if address not in taken:
                    taken.add(address)
                    parents = (self._heads[address],) if address in self._heads else ()
                    yield Draft(UCXL_PUT, PutData(address=address, parents=parents), body, op=op)
                    continue
            elif kind < 0.0502 or (n == 0 and not self._decisions):
                deadline_ms = time.time_ns() // 1_000_000 + 7 * 24 * 3_600_000
                data = ProposeData(
                    cluster=self._cluster, roster_version=0, project="work", task="t", deadline_ms=deadline_ms
                )
                yield Draft(DECISION_PROPOSE, data, b"Shall we?\n\nIt would help.", op=op)
                continue
            elif kind < 0.0512 and self._decisions:
                yield Draft(DECISION_VOTE, VoteData(decision=rng.choice(self._decisions), choice="approve"), op=op)
                continue
            yield Draft(HMMM_MESSAGE, self._message(f"room-{rng.randrange(_ROOMS)}"), body, op=op)

    def _message(self, room: str) -> MessageData:
        if room not in self._threads or self._rng.random() < 0.1:
            # No proposals: alone in its rooms their author goes ahead with each, thousands of them at the next start.
            return MessageData(room=room, intent=self._rng.choice(("question", "update")))
        root, last = self._threads[room]
        return MessageData(room=room, intent="answer", thread=root, parent=last)

    def written(self, entries: list[Entry]) -> None:
        for entry in entries:
            hash = entry.hash.hex()
            match entry.header.type:
                case "ucxl.put":
                    self._heads[msgspec.json.decode(entry.header.data)["address"]] = hash
                case "decision.propose":
                    self._decisions.append(hash)
                case "hmmm.message":
                    data = entry.data(MessageData)
                    assert data is not None
                    root = data.thread or hash
                    self._threads[data.room] = (root, hash)


def start(home: Home, *, until_folded: bool = False) -> dict[str, float]:
    """Start a node, wait until it is ready, end it.

    Returns:
        Seconds to ``ready``, those of them on a processor, and peak memory until then in MiB; where all is waited for, the
        same of the folding.
    """
    began = time.perf_counter()
    daemon = Daemon(home.root, "bench", _SETTINGS)
    try:
        _wait(daemon)
        took = time.perf_counter() - began
        found = {"ready_s": took, "cpu_s": _cpu_s(daemon), "peak_mib": _peak(daemon)}
        if until_folded:
            while any(doing["kind"] == "folding" for doing in daemon.call("status")["underway"]):
                time.sleep(0.5)
            found |= {"folded_s": time.perf_counter() - began, "folding_peak_mib": _peak(daemon)}
    finally:
        daemon.end(timeout_s=60)
    return found


def _wait(daemon: Daemon) -> None:
    end = time.monotonic() + 600
    while daemon.wait("peer_id", 600)["stage"] != "ready":
        if time.monotonic() > end:
            raise TimeoutError("the node was never ready")
        time.sleep(0.02)


def _cpu_s(daemon: Daemon) -> float:
    stat = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def _peak(daemon: Daemon) -> float:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def compare(empty: Home, home: Home, entries: int, runs: int) -> dict[str, object]:
    """Fill a home and compare its starts with those of the empty one."""
    written_s = fill(home, entries)
    first = start(home, until_folded=True)
    pairs = [(start(empty), start(home)) for _ in range(runs)]
    (none, none_mib), (full, full_mib) = (
        ({name: min(run[name] for run in found) for name in found[0]}, max(run["peak_mib"] for run in found))
        for found in zip(*pairs, strict=True)
    )
    return {
        "entries": entries,
        "written_s": round(written_s, 1),
        "store_mib": round(home.store.stat().st_size / 2**20),
        "snapshot_mib": round(home.snapshot.stat().st_size / 2**20),
        "first_start": {name: round(value, 2) for name, value in first.items()},
        "empty_ready_s": round(none["ready_s"], 2),
        "ready_s": round(full["ready_s"], 2),
        "empty_cpu_s": none["cpu_s"],
        "cpu_s": full["cpu_s"],
        "empty_peak_mib": round(none_mib),
        "peak_mib": round(full_mib),
        "ratio": round(full["ready_s"] / none["ready_s"], 2),
    }


def main() -> int:
    """Compare for every size, print; exit 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=SIZES)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it")
    args = parser.parse_args()
    worst = -math.inf
    with tempfile.TemporaryDirectory(prefix="chorus-bench-") as place:
        folder: Path = args.keep or Path(place)
        empty = found(folder / "empty")
        for entries in args.entries:
            result = compare(empty, found(folder / str(entries)), entries, args.runs)
            print(json.dumps(result), flush=True)
            worst = max(worst, float(str(result["ratio"])))
    print(json.dumps({"worst_ratio": worst, "goal": GOAL, "ok": worst <= GOAL}))
    return 0 if worst <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
