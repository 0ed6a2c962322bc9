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
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from agent_core.election import messages
from agent_core.election.messages import AnyMessage, Heartbeat, HeartbeatAck, PreVote, PreVoteAsk, Vote
from agent_core.election.model import Timings
from agent_core.network import DialResult
from agent_core.simulated.search_check import Checker, Violation
from agent_core.simulated.search_fakes import Counted, founded, names
from agent_core.simulated.search_faults import Faults
from agent_core.simulated.search_load import Load
from agent_core.simulated.search_node import Node

TIMINGS = Timings(heartbeat_s=1.0, timeout_s=3.0, discovery_s=1.0, stability_s=5.0)
#: Virtual seconds of a seed, and from when on nothing fails any more.
LENGTH_S, HEALED_S = 60.0, 42.0
#: After healing somebody leads within this time (s).
LEADER_WITHIN_S = 4 * TIMINGS.timeout_s
#: How large a seed's cluster is, unless it is said: two sizes in four are the common one.
SIZES = (3, 5, 5, 7)
#: The cluster whose votes stray into this one.
OTHER_CLUSTER = "ff" * 32
#: Messages that a history leaves out: there are too many of them.
QUIET = (Heartbeat, HeartbeatAck, PreVoteAsk, PreVote)
#: Clocks run between these rates, so that two differ by less than 5 %.
RATES = (0.977, 1.024)


class World:
    """One seed's cluster.

    Args:
        seed: decides everything.
        count: how many nodes, all voters at the start; by default the seed decides (:data:`SIZES`).
        timings: of the election.
        without: names of faults that are left out.
        only: if given, every other fault is left out.
        tell: see the attribute.
    """

    def __init__(
        self,
        seed: int,
        count: int | None = None,
        timings: Timings = TIMINGS,
        *,
        without: Collection[str] = (),
        only: Collection[str] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.timings = timings
        self.counted = Counted()
        self.check = Checker(self)
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = self._connections = 0
        self.events = 0
        self.faulty = True
        #: Told what happens, one line each, with the time in front.
        self.tell = tell
        # The seed's temper: how the network behaves.
        self.loss = self.rng.choice((0.0, 0.01, 0.05, 0.2))
        self.delay_s = self.rng.choice((0.001, 0.005, 0.03))
        self.sync_every_s = self.rng.choice((1.0, 1.0, 15.0))
        self.eager = self.sync_every_s < 10.0
        #: From whom to whom no packets pass.
        self.blocked: frozenset[tuple[str, str]] = frozenset()
        self._held: list[tuple[Node, int, Node, int, AnyMessage]] = []
        self.faults = Faults(self, seed, without, only)
        count = SIZES[seed % len(SIZES)] if count is None else count
        cluster, feed = founded(count)
        self.nodes: dict[str, Node] = {}
        for name in names(count):
            rate = self.rng.uniform(*RATES)
            self.nodes[name] = Node(self, name, cluster, feed, rate, self.rng.uniform(0, 1e6))
        self.load = Load(self, revokes=seed % 4 == 3)

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
            self.at(self._awake(node), self._in_process, node, incarnation, do, args)
        else:
            do(*args)

    def _awake(self, node: Node) -> float:
        """When a paused process gets to something: timers and what arrived meanwhile come in any order."""
        return node.paused_until + self.rng.random() * 1e-3

    def note(self, what: str) -> None:
        """Say what happens, if anybody listens."""
        if self.tell is not None:
            self.tell(f"{self.now:9.4f}  {what}")

    def run(self) -> None:
        """Run the seed.

        Raises:
            Violation: something doesn't hold.
        """
        self.start()
        self.faults.start()
        self.at(HEALED_S, self.faults.heal)
        self.at(HEALED_S + LEADER_WITHIN_S, self._must_lead)
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
            self.at(self.rng.uniform(1, 10), self._back_up, node)

    def run_until(self, end_s: float) -> None:
        """Let the virtual time pass."""
        heap = self._heap
        while heap and heap[0][0] <= end_s:
            self.now, _, do, args = heapq.heappop(heap)
            self.events += 1
            do(*args)
        self.now = end_s

    # --- the network --------------------------------------------------------------------------------------------------

    def passes(self, sender: str, to: str) -> bool:
        """Whether packets pass from one node to another."""
        return (sender, to) not in self.blocked

    def reachable(self, a: str, b: str) -> bool:
        """Whether they pass both ways, as every connection needs."""
        return self.passes(a, b) and self.passes(b, a)

    def delay(self) -> float:
        """How long a message takes (s)."""
        rng = self.rng
        if self.faulty and rng.random() < 0.02:
            return rng.uniform(0.05, 1.5)
        return rng.expovariate(1 / self.delay_s) + 0.0002

    def send(self, sender: str, to: str, message: AnyMessage) -> None:
        """Send a message: it may be lost, late, doubled and out of order; one that a cut holds up may come after it."""
        if type(message) is Vote:
            self.check.vote(message)
            self._echo(sender, message)
            self.faults.voted(message)
        if self.tell is not None and type(message) not in QUIET:
            self.note(f"{sender} to {to}: {shown(message)}")
        source, target = self.nodes[sender], self.nodes[to]
        if to not in source.connected:
            return
        if not self.passes(sender, to):
            self._hold(source, target, message)
            return
        if self.faulty and self.rng.random() < self.loss:
            return
        self.at(self.now + self.delay(), self._deliver, sender, to, message)
        if self.faulty and self.rng.random() < 0.01:
            self.at(self.now + self.delay(), self._deliver, sender, to, message)

    def _deliver(self, sender: str, to: str, message: AnyMessage) -> None:
        node = self.nodes[to]
        if not self.passes(sender, to):
            self._hold(self.nodes[sender], node, message)
            return
        if not node.alive:
            return
        if node.paused_until > self.now:
            self.later(node, self._awake(node), node.message, sender, message)
        else:
            node.message(sender, message)

    def _hold(self, source: Node, target: Node, message: AnyMessage) -> None:
        if self.rng.random() < 0.7:
            self._held.append((source, source.incarnation, target, target.incarnation, message))

    def _echo(self, voter: str, vote: Vote) -> None:
        """Now and then a voter's vote of another cluster comes along: one of the same members, whose terms ran as high."""
        if self.rng.random() > 0.1:
            return
        for node in self.nodes.values():
            ballot = node.machine.ballot if node.alive else None
            if ballot is None or ballot.term != vote.term or node.peer_id not in ballot.candidacies:
                continue
            if node.peer_id not in (voter, vote.candidate):
                signed = messages.vote_message(OTHER_CLUSTER, vote.term, node.peer_id, vote.number, vote.hash)
                sig = self.nodes[voter].signer.sign(signed)
                stray = msgspec.structs.replace(vote, candidate=node.peer_id, sig=sig)
                self.at(self.now + self.delay(), self._deliver, voter, node.peer_id, stray)

    def mend(self) -> None:
        """Let everybody reach everybody again; connections that nobody gave up deliver what they held."""
        if self.blocked:
            self.note("the network is whole again")
        self.blocked = frozenset()
        held, self._held = self._held, []
        for a, a_run, b, b_run, message in held:
            same = a.incarnation == a_run and b.incarnation == b_run
            if same and b.peer_id in a.connected and a.peer_id in b.connected:
                self.at(self.now + self.delay(), self._deliver, a.peer_id, b.peer_id, message)
        for node in self.nodes.values():
            if node.alive:
                self.join(node)

    def probe(self, node: Node, peer: str) -> None:
        """Dial afresh: only a dead process on a reachable host refuses."""
        if not self.reachable(node.peer_id, peer):
            self.later(node, self.now + 1.0, node.probed, peer, DialResult.SILENT)
            return
        result = DialResult.CONNECTED if self.nodes[peer].alive else DialResult.REFUSED
        self.later(node, self.now + self.delay(), node.probed, peer, result)

    def join(self, node: Node) -> None:
        """Connect a node with everybody it can reach."""
        for peer in self.nodes.values():
            if peer is not node and peer.alive and self.reachable(node.peer_id, peer.peer_id):
                at, self._connections = self.now + self.delay(), self._connections + 1
                self.later(node, at, self._connected, node, peer.peer_id, peer.incarnation, self._connections)
                self.later(peer, at, self._connected, peer, node.peer_id, node.incarnation, self._connections)

    def _connected(self, node: Node, peer: str, incarnation: int, connection: int) -> None:
        if self.nodes[peer].incarnation == incarnation and self.reachable(node.peer_id, peer):
            node.connect(peer, connection)

    def offer(self, source: str, to: str) -> None:
        """Tell a peer of new entries."""
        if self.reachable(source, to) and not (self.faulty and self.rng.random() < self.loss):
            held = {key: len(f) for key, f in self.nodes[source].store.items()}
            peer = self.nodes[to]
            self.later(peer, self.now + self.delay(), peer.replicate, self.nodes[source], held)

    def _back_up(self, node: Node) -> None:
        """Somebody copies the home now and then."""
        self.at(self.now + self.rng.uniform(2, 20), self._back_up, node)
        node.back_up()

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

    def _must_lead(self) -> None:
        if self.check.last_claim_s < HEALED_S:
            raise Violation(f"at {self.now:.3f} s: nobody leads {LEADER_WITHIN_S} s after healing")


def shown(message: AnyMessage) -> str:
    """A message in one line."""
    fields = {f: getattr(message, f) for f in message.__struct_fields__}
    words = [
        f"{name}={value}" for name, value in fields.items() if isinstance(value, str | int) and len(str(value)) < 24
    ]
    words += [f"{name}:{len(value)}" for name, value in fields.items() if isinstance(value, tuple)]
    return " ".join([type(message).__name__, *words])


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed came to."""

    seed: int
    events: int
    terms: int
    acts: int
    signed: int
    verified: int
    faults: tuple[str, ...] = ()
    violation: str = ""


def run_seed(
    seed: int,
    count: int | None = None,
    *,
    without: Collection[str] = (),
    only: Collection[str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Result:
    """Run one seed; arguments as for :class:`World`."""
    world = World(seed, count, without=without, only=only, tell=tell)
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
        faults=tuple(world.faults.happened),
        violation=violation,
    )


def shrink(seed: int, count: int | None = None) -> Result:
    """The seed with the fewest faults that still fail: left out one part after the other, in ever smaller parts.

    Returns:
        The result of the smallest run found; the seed's own if it doesn't fail.
    """
    best = run_seed(seed, count)
    parts = 2
    while best.violation and best.faults:
        kept, size = best.faults, -(-len(best.faults) // parts)
        for start in range(0, len(kept), size):
            tried = run_seed(seed, count, only=kept[:start] + kept[start + size :])
            if tried.violation:
                best, parts = tried, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(kept))
    return best


def _run(job: tuple[int, int | None]) -> Result:
    return run_seed(*job)


def search(base: int, seeds: int, count: int | None = None, processes: int = 1) -> list[Result]:
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
    parser.add_argument("--nodes", type=int, help="nodes in the cluster; by default 3, 5 or 7, as the seed decides")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--replay", type=int, metavar="SEED", help="print one seed's history")
    parser.add_argument(
        "--shrink", type=int, metavar="SEED", help="find the fewest faults with which a seed still fails"
    )
    parser.add_argument("--only", metavar="FAULTS", help="with --replay: leave out all other faults, e.g. f3,b1")
    options = parser.parse_args(argv)
    if options.shrink is not None:
        return _shrink(options.shrink, options.nodes)
    if options.replay is not None:
        only = None if options.only is None else [f for f in options.only.split(",") if f]
        return _replay(options.replay, options.nodes, only)
    started = time.perf_counter()
    results = search(options.base, options.seeds, options.nodes, options.processes)
    found = sorted((r for r in results if r.violation), key=lambda r: r.seed)
    for result in found[:20]:
        again = f"python -m agent_core.simulated.search{_nodes(options.nodes)} --replay {result.seed}"
        sys.stderr.write(f"seed {result.seed}: {result.violation}\n    replay: {again}\n")
    summary = {
        "seeds": len(results),
        "nodes": options.nodes or sorted(set(SIZES)),
        "violations": len(found),
        "elapsed_s": round(time.perf_counter() - started, 1),
        "faults": sum(len(r.faults) for r in results),
        **{k: sum(getattr(r, k) for r in results) for k in ("events", "terms", "acts", "signed", "verified")},
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 1 if found else 0


def _nodes(count: int | None) -> str:
    return "" if count is None else f" --nodes {count}"


def _replay(seed: int, count: int | None, only: Collection[str] | None) -> int:
    result = run_seed(seed, count, only=only, tell=_line)
    _line(result.violation or f"nothing is violated: {result.terms} terms, {result.acts} acts")
    return 1 if result.violation else 0


def _shrink(seed: int, count: int | None) -> int:
    result = shrink(seed, count)
    if not result.violation:
        _line(f"seed {seed} violates nothing")
        return 0
    only = ",".join(result.faults)
    _line(f"seed {seed}: {result.violation}\n    with {len(result.faults)} faults: {only or 'none'}")
    _line(f"    replay: python -m agent_core.simulated.search{_nodes(count)} --replay {seed} --only '{only}'")
    return 1


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
