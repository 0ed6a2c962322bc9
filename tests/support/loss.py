"""Meshes that lose a fifth of their gossip: what is durable arrives everywhere all the same, and how soon."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio
import trio.testing

from agent_core.clock import HybridClock
from agent_core.feeds.heads import FeedHead
from agent_core.feeds.model import Entry, EntryKey
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.network import Network, Verdict
from agent_core.simulated.network import SimulatedWorld
from chorus_hap.tour import TIMINGS, Daemon
from tests.support.daemons import texts, voters
from tests.support.feeds import VERIFIER, note, signer
from tests.support.lossy import SAID, prefix
from tests.support.namespaces import lan
from tests.support.waiting import until

TOPIC = "CHORUS/feeds/v1"
LOSS = 0.2


@dataclass(frozen=True)
class Converged:
    """How a mesh came to hold the same, in seconds; virtual ones in a simulation."""

    nodes: int
    entries: int  #: appended by all nodes together
    lost: int  #: gossip hops that were lost; of real daemons the messages
    let: int  #: and that weren't
    converged_s: float  #: from the last append until every node held everything
    entry_median_s: float  #: from an append until every node held that entry
    entry_worst_s: float


class _Gossiper:
    """A simulated node that has feeds and gossips their heads."""

    def __init__(self, n: int, world: SimulatedWorld, arrived: Callable[[EntryKey], None]) -> None:
        key = signer(n)
        self.me, self.n = key.peer_id, n
        self.network: Network = world.add(self.me)
        self.feeds = Feeds(
            Store.open(":memory:"), key, VERIFIER, HybridClock(), network=self.network, rng=random.Random(n)
        )
        self._arrived = arrived
        self._send, self._queue = trio.open_memory_channel[FeedHead](1000)
        self.feeds.announce = self._send.send_nowait
        self.feeds.on_entries(self._stored)
        self.network.set_judge(lambda topic, relay, payload, author: Verdict.ACCEPT)
        self.network.set_receiver(self._hear)

    def _hear(self, topic: str, relay: str, payload: bytes) -> None:
        if relay != self.me:
            self.feeds.receive_head(relay, msgspec.msgpack.decode(payload, type=FeedHead))

    def _stored(self, entries: object) -> None:
        assert isinstance(entries, (list, tuple))
        for entry in entries:
            assert isinstance(entry, Entry)
            self._arrived(entry.key)

    async def run(self) -> None:
        await self.network.join(TOPIC)
        async with trio.open_nursery() as nursery:
            await nursery.start(self.feeds.run)
            async for head in self._queue:
                await self.network.publish(TOPIC, msgspec.msgpack.encode(head))


def simulated(seed: int, nodes: int = 7, entries_each: int = 20, loss: float = LOSS, degree: int = 3) -> Converged:
    """One seed: each node connected with a few others, everybody appending for ten seconds.

    Raises:
        trio.TooSlowError: not everything arrived within ten minutes of virtual time.
    """

    async def main() -> Converged:
        rng = random.Random(seed)
        world = SimulatedWorld(seed=seed, latency_s=(0.005, 0.05), loss=loss)
        seen: dict[EntryKey, int] = {}
        appended: dict[EntryKey, float] = {}
        took: dict[EntryKey, float] = {}

        def arrived(key: EntryKey) -> None:
            seen[key] = seen.get(key, 0) + 1
            if seen[key] == nodes:
                took[key] = trio.current_time() - began[key.author, key.seq]

        began: dict[tuple[str, int], float] = {}

        async def write(one: _Gossiper) -> None:
            for number in range(entries_each):
                await trio.sleep(rng.expovariate(entries_each / 10))
                began[one.me, number] = trio.current_time()
                (entry,) = await one.feeds.append([note(number)])
                appended[entry.key] = trio.current_time()

        async with trio.open_nursery() as nursery:
            await nursery.start(world.run)
            all_ = [_Gossiper(n, world, arrived) for n in range(nodes)]
            for n, one in enumerate(all_):
                nursery.start_soon(one.run)
                others = {(n + 1) % nodes, *rng.sample(range(nodes), min(degree - 1, nodes))} - {n}
                for other in sorted(others):
                    world.connect(one.me, all_[other].me)
            async with trio.open_nursery() as writers:
                for one in all_:
                    writers.start_soon(write, one)
            last = max(appended.values())
            with trio.fail_after(600):
                while len(took) < nodes * entries_each:  # noqa: ASYNC110 - virtual time
                    await trio.sleep(0.01)
            assert all(one.feeds.heads() == all_[0].feeds.heads() for one in all_)
            ended = max(began[key.author, key.seq] + took[key] for key in took)
            nursery.cancel_scope.cancel()
        return Converged(
            nodes=nodes,
            entries=len(appended),
            lost=world.statistics().gossip_lost,
            let=world.statistics().gossip_sent - world.statistics().gossip_lost,
            converged_s=round(max(0.0, ended - last), 3),
            entry_median_s=round(statistics.median(took.values()), 3),
            entry_worst_s=round(max(took.values()), 3),
        )

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def real(root: Path, nodes: int = 3, posts_each: int = 10, gossip: float = LOSS, packets: int = 20) -> Converged:
    """Daemons on hosts of their own; once they know one another a share of the gossip and of all packets is lost.

    Args:
        root: where homes go.
        nodes: daemons.
        posts_each: durable messages that each writes.
        gossip: share of the gossip that each daemon loses where it comes in, 0 to 1.
        packets: percent of the packets that each line loses each way out; TCP sends them again.
    """
    with lan(nodes) as hosts, ExitStack() as daemons:
        all_: list[Daemon] = []
        address = ""
        for host in hosts:
            name = f"agent-{host.index}"
            settings = (*TIMINGS, f"p2p.host={host.address}", "cluster.force_open=true")
            words = (*host.prefix, *prefix(gossip, host.index))
            one = Daemon(root / name, name, settings, address, words)
            daemons.callback(one.end)
            said = one.wait("addresses")["addresses"]
            assert isinstance(said, list)
            address = address or str(said[0])
            all_.append(one)
        # What somebody writes before it is a member doesn't count.
        until(lambda: all(voters(one) == nodes for one in all_), 60, "all are enrolled")
        for host in hosts:
            hosts.loss(host, packets)
        began: dict[str, float] = {}
        took: dict[str, float] = {}
        for number in range(posts_each):
            for n, one in enumerate(all_):
                text = f"{number} of {n}"
                one.call("hmmm.post", room="planning", text=text)
                began[text] = time.monotonic()

        def everywhere() -> bool:
            shown = set.intersection(*(texts(one, "planning") for one in all_))
            for text in shown & began.keys() - took.keys():
                took[text] = time.monotonic() - began[text]
            return len(took) == len(began)

        until(everywhere, 120, "every post is on every daemon")
    counts = [_counts(one) for one in all_]
    return Converged(
        nodes=nodes,
        entries=len(began),
        lost=sum(lost for lost, _ in counts),
        let=sum(let for _, let in counts),
        converged_s=round(max(0.0, max(began[text] + took[text] for text in took) - max(began.values())), 3),
        entry_median_s=round(statistics.median(took.values()), 3),
        entry_worst_s=round(max(took.values()), 3),
    )


def _counts(ended: Daemon) -> tuple[int, int]:
    """How much gossip a daemon lost and let in, as it said at its end."""
    printed = (ended.home / "daemon.out").read_text("utf-8", "replace")
    lost, let = printed.rpartition(SAID)[2].split()
    return int(lost), int(let)
