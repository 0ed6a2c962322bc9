"""The search: whole clusters on one event heap and virtual time, with faults, a seed at a time; every violation is replayable.

``python -m agent_core.simulated.search --seeds 1000 --base 1 --processes 2`` prints one JSON object and exits 1 on a violation.
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from agent_core.election.messages import AnyMessage, Vote
from agent_core.election.model import Timings
from agent_core.network import DialResult
from agent_core.simulated.search_check import Checker, Violation
from agent_core.simulated.search_fakes import Counted, founded, names
from agent_core.simulated.search_load import Load
from agent_core.simulated.search_node import Node

TIMINGS = Timings(heartbeat_s=1.0, timeout_s=3.0, discovery_s=1.0, stability_s=5.0)
#: Virtual seconds of a seed, and from when on nothing fails any more.
LENGTH_S, HEALED_S = 60.0, 42.0
#: After healing somebody leads within this time (s).
LEADER_WITHIN_S = 4 * TIMINGS.timeout_s
#: Clocks run between these rates, so that two differ by less than 5 %.
RATES = (0.977, 1.024)


class World:
    """One seed's cluster.

    Args:
        seed: decides everything.
        count: how many nodes; all are voters at the start.
        timings: of the election.
    """

    def __init__(self, seed: int, count: int = 5, timings: Timings = TIMINGS) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.timings = timings
        self.counted = Counted()
        self.check = Checker(self)
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self.events = 0
        self.faulty = True
        # The seed's temper: how the network behaves, how often something breaks, how soon a dead connection is noticed.
        self.loss = self.rng.choice((0.0, 0.01, 0.05, 0.2))
        self.delay_s = self.rng.choice((0.001, 0.005, 0.03))
        self.fault_every_s = self.rng.choice((0.7, 1.5, 3.0))
        self.notice_s = self.rng.choice((0.5, 3.0, 10.0))
        self.sync_every_s = self.rng.choice((1.0, 1.0, 15.0))
        self.eager = self.sync_every_s < 10.0
        self.group: dict[str, int] = {}
        cluster, feed = founded(count)
        self.nodes: dict[str, Node] = {}
        for name in names(count):
            rate = self.rng.uniform(*RATES)
            self.nodes[name] = Node(self, name, cluster, feed, rate, self.rng.uniform(0, 1e6))
        self.load = Load(self)

    # --- the heap -----------------------------------------------------------------------------------------------------

    def at(self, when: float, do: Callable[..., None], *args: Any) -> None:
        """Do something at a true time (s)."""
        self._number += 1
        heapq.heappush(self._heap, (when, self._number, do, args))

    def later(self, node: Node, when: float, do: Callable[..., None], *args: Any) -> None:
        """Have a node's process do something, unless it ends before; a paused one does it when it goes on."""
        self.at(when, self._in_process, node, node.incarnation, do, args)

    def _in_process(self, node: Node, incarnation: int, do: Callable[..., None], args: tuple[Any, ...]) -> None:
        if node.incarnation != incarnation or not node.alive:
            return
        if node.paused_until > self.now:
            self.at(node.paused_until, self._in_process, node, incarnation, do, args)
        else:
            do(*args)

    def run(self) -> None:
        """Run the seed.

        Raises:
            Violation: something doesn't hold.
        """
        self.start()
        self.at(self.rng.uniform(1, 6), self._fault)
        self.at(HEALED_S, self._heal)
        self.at(LENGTH_S, self.check.healed)
        self.load.start()
        self.run_until(LENGTH_S)

    def start(self) -> None:
        """Start all nodes and connect them."""
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            self.join(node)
            self.at(self.rng.random(), self._sync, node)

    def run_until(self, end_s: float) -> None:
        """Let the virtual time pass."""
        heap = self._heap
        while heap and heap[0][0] <= end_s:
            self.now, _, do, args = heapq.heappop(heap)
            self.events += 1
            do(*args)
        self.now = end_s

    # --- the network --------------------------------------------------------------------------------------------------

    def reachable(self, a: str, b: str) -> bool:
        """Whether packets pass between two nodes."""
        return self.group.get(a) == self.group.get(b)

    def _delay(self) -> float:
        rng = self.rng
        if self.faulty and rng.random() < 0.02:
            return rng.uniform(0.05, 1.5)
        return rng.expovariate(1 / self.delay_s) + 0.0002

    def send(self, sender: str, to: str, message: AnyMessage) -> None:
        """Send a message: it may be lost, late, doubled and out of order."""
        if type(message) is Vote:
            self.check.vote(message)
        if to not in self.nodes[sender].connected or not self.reachable(sender, to):
            return
        if self.faulty and self.rng.random() < self.loss:
            return
        self.at(self.now + self._delay(), self._deliver, sender, to, message)
        if self.faulty and self.rng.random() < 0.01:
            self.at(self.now + self._delay(), self._deliver, sender, to, message)

    def _deliver(self, sender: str, to: str, message: AnyMessage) -> None:
        node = self.nodes[to]
        if not node.alive or not self.reachable(sender, to):
            return
        if node.paused_until > self.now:
            self.later(node, node.paused_until, node.message, sender, message)
        else:
            node.message(sender, message)

    def probe(self, node: Node, peer: str) -> None:
        """Dial afresh: only a dead process on a reachable host refuses."""
        if not self.reachable(node.peer_id, peer):
            self.later(node, self.now + 1.0, node.probed, peer, DialResult.SILENT)
            return
        result = DialResult.CONNECTED if self.nodes[peer].alive else DialResult.REFUSED
        self.later(node, self.now + self._delay(), node.probed, peer, result)

    def join(self, node: Node) -> None:
        """Connect a node with everybody it can reach."""
        for peer in self.nodes.values():
            if peer is not node and peer.alive and self.reachable(node.peer_id, peer.peer_id):
                at = self.now + self._delay()
                self.later(node, at, self._connected, node, peer.peer_id, peer.incarnation)
                self.later(peer, at, self._connected, peer, node.peer_id, node.incarnation)

    def _connected(self, node: Node, peer: str, incarnation: int) -> None:
        if self.nodes[peer].incarnation == incarnation and self.reachable(node.peer_id, peer):
            node.connect(peer)

    def offer(self, source: str, to: str) -> None:
        """Tell a peer of new entries."""
        if self.reachable(source, to) and not (self.faulty and self.rng.random() < self.loss):
            held = {a: len(f) for a, f in self.nodes[source].store.items()}
            peer = self.nodes[to]
            self.later(peer, self.now + self._delay(), peer.replicate, self.nodes[source], held)

    def _sync(self, node: Node) -> None:
        """The repair path: now and then with a random peer."""
        self.at(self.now + self.rng.uniform(0.5, 1.5), self._sync, node)
        if self.faulty and self.rng.random() * self.sync_every_s > 1.0:
            return
        if node.alive and node.paused_until <= self.now and node.connected:
            peer = self.rng.choice(sorted(node.connected))
            self.offer(node.peer_id, peer)
            if self.nodes[peer].alive:
                self.offer(peer, node.peer_id)

    # --- faults -------------------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        if not self.faulty:
            return
        self.at(self.now + self.rng.expovariate(1 / self.fault_every_s), self._fault)
        victim = self.rng.choice(list(self.nodes.values()))
        if self.rng.random() < 0.4:
            leaders = [n for n in self.nodes.values() if n.alive and n.machine.reign is not None]
            victim = self.rng.choice(leaders) if leaders else victim
        kind = self.rng.random()
        if kind < 0.25:
            self.crash(victim, self.rng.choice((0.02, 0.5, 2.0, 6.0)) * self.rng.uniform(0.5, 1.5))
        elif kind < 0.35:
            for node in self.rng.sample(list(self.nodes.values()), len(self.nodes) // 2 + 1):
                self.crash(node, self.rng.choice((0.02, 0.5)) * self.rng.uniform(0.5, 1.5))
        elif kind < 0.55:
            self.pause(victim, self.rng.choice((0.2, 1.0, 4.0)) * self.rng.uniform(0.5, 1.5))
        elif kind < 0.75:
            self.cut(victim)
        elif kind < 0.80:
            self.betray(victim)
        elif kind < 0.90 and victim.alive:
            self.later(victim, self.now, victim.resign)
        elif victim.alive:
            self.later(victim, self.now, self.rebuild, victim)

    def betray(self, node: Node) -> None:
        """The worst moment: a node falls silent with what it alone knows, and the rest loses its memory or not."""
        if not self.faulty or self.group:
            return
        self.cut(node, alone=True)
        if self.rng.random() < 0.5:
            self.crash(node, self.rng.uniform(1.0, 6.0))
        else:
            for other in self.nodes.values():
                if other is not node:
                    self.crash(other, self.rng.uniform(0.01, 0.3))

    def crash(self, node: Node, for_s: float) -> None:
        """End a node's process; it starts again after so many seconds."""
        if not node.alive:
            return
        watchers = [p for p in self.nodes.values() if node.peer_id in p.connected]
        node.crash()
        for peer in watchers:
            if self.reachable(node.peer_id, peer.peer_id):
                self.later(peer, self.now + self._delay(), peer.disconnect, node.peer_id, True)
            else:
                self.later(peer, self.now + self.rng.random() * self.notice_s, peer.disconnect, node.peer_id, False)
        self.at(self.now + for_s, self._restart, node)

    def _restart(self, node: Node) -> None:
        if not node.alive:
            node.start()
            self.join(node)

    def pause(self, node: Node, for_s: float) -> None:
        """Stop a node's process for so long; the kernel goes on answering for it."""
        if node.alive:
            node.paused_until = max(node.paused_until, self.now + for_s)

    def cut(self, first: Node, alone: bool = False, for_s: float | None = None) -> None:
        """Cut the network in two; connections break when somebody notices."""
        if self.group:
            return
        others = [n for n in self.nodes if n != first.peer_id]
        self.rng.shuffle(others)
        inside = [first.peer_id, *others[: 0 if alone else self.rng.randrange(len(others))]]
        self.group = dict.fromkeys(inside, 1)
        for a in self.nodes.values():
            for b in sorted(a.connected):
                if not self.reachable(a.peer_id, b):
                    self.later(a, self.now + self.rng.random() * self.notice_s, self._noticed, a, b)
        drawn_s = self.rng.choice((0.5, 5.0, 8.0)) * self.rng.uniform(0.5, 1.5)
        self.at(self.now + (drawn_s if for_s is None else for_s), self.mend)

    def _noticed(self, node: Node, peer: str) -> None:
        if not self.reachable(node.peer_id, peer):
            node.disconnect(peer, False)

    def mend(self) -> None:
        """Let everybody reach everybody again."""
        self.group = {}
        for node in self.nodes.values():
            if node.alive:
                self.join(node)

    def rebuild(self, node: Node) -> None:
        """The node's mesh is rebuilt: it drops its claim first, then its connections close and its port refuses a while."""
        node.rebuild_mesh()
        gone, node.connected = node.connected, set()
        for name in sorted(gone):
            peer = self.nodes[name]
            if peer.alive:
                self.later(peer, self.now + self._delay(), peer.disconnect, node.peer_id, True)
                self.later(peer, self.now + self._delay(), peer.probed, node.peer_id, DialResult.REFUSED)
        self.at(self.now + self.rng.uniform(0.5, 1.5), self._rebuilt, node)

    def _rebuilt(self, node: Node) -> None:
        if node.alive:
            self.join(node)

    def _heal(self) -> None:
        self.faulty = False
        for node in self.nodes.values():
            node.paused_until = min(node.paused_until, self.now)
            self._restart(node)
        self.mend()
        self.at(self.now + LEADER_WITHIN_S, self._must_lead)
        self.at(self.now + 2.0, self.mend)  # what closed late in the trouble

    def _must_lead(self) -> None:
        if self.check.last_claim_s < HEALED_S:
            raise Violation(f"at {self.now:.3f} s: nobody leads {LEADER_WITHIN_S} s after healing")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed came to."""

    seed: int
    events: int
    terms: int
    acts: int
    signed: int
    verified: int
    violation: str = ""


def run_seed(seed: int, count: int = 5) -> Result:
    """Run one seed."""
    world = World(seed, count)
    violation = ""
    try:
        world.run()
    except Violation as exc:
        violation = str(exc)
    except Exception:  # a crash of the machine is a finding like any other
        violation = f"at {world.now:.3f} s: {traceback.format_exc(limit=-4)}"
    return Result(
        seed=seed,
        events=world.events,
        terms=len(world.check.leaders),
        acts=len(world.check.acts),
        signed=world.counted.signed,
        verified=world.counted.verified,
        violation=violation,
    )


def _run(job: tuple[int, int]) -> Result:
    return run_seed(*job)


def search(base: int, seeds: int, count: int = 5, processes: int = 1) -> list[Result]:
    """Run the seeds ``base`` to ``base + seeds - 1``."""
    jobs = [(seed, count) for seed in range(base, base + seeds)]
    if processes == 1:
        return [_run(job) for job in jobs]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(pool.imap_unordered(_run, jobs, chunksize=8))


def main(argv: Sequence[str] | None = None) -> int:
    """Search and report: exit status 1 if anything was violated."""
    parser = argparse.ArgumentParser(
        description="Search seeds for violations of the election's and the folds' promises."
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--base", type=int, default=1, help="the first seed")
    parser.add_argument("--nodes", type=int, default=5, help="nodes in the cluster")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args(argv)
    started = time.perf_counter()
    results = search(options.base, options.seeds, options.nodes, options.processes)
    found = sorted((r for r in results if r.violation), key=lambda r: r.seed)
    for result in found[:20]:
        again = f"python -m agent_core.simulated.search --seeds 1 --base {result.seed} --nodes {options.nodes}"
        sys.stderr.write(f"seed {result.seed}: {result.violation}\n    replay: {again}\n")
    summary = {
        "seeds": len(results),
        "nodes": options.nodes,
        "violations": len(found),
        "elapsed_s": round(time.perf_counter() - started, 1),
        **{k: sum(getattr(r, k) for r in results) for k in ("events", "terms", "acts", "signed", "verified")},
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
