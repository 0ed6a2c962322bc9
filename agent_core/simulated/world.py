"""The simulated world: who is connected to whom, how long things take, what gets lost, and the faults to inject."""

from __future__ import annotations

import heapq
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from agent_core.clock import wall_ms
from agent_core.network import DialResult

if TYPE_CHECKING:
    from trio_typing import TaskStatus

    from agent_core.simulated.network import SimulatedNetwork
    from agent_core.simulated.stream import SimulatedStream

log = logging.getLogger("chorus.simulated")


@dataclass(frozen=True, slots=True)
class Gossip:
    """One gossip message; the author stands for the signature that a real network checks."""

    topic: str
    id: int
    author: str
    payload: bytes


@dataclass(frozen=True)
class WorldStatistics:
    """What a world carried so far."""

    gossip_sent: int
    gossip_lost: int
    gossip_duplicated: int
    frames: int
    links: int


@dataclass(eq=False)
class Link:
    """One open connection. ``held`` keeps what can't get through while a direction is cut, as TCP would."""

    dialer: str
    listener: str
    opened_ms: int
    streams: list[SimulatedStream] = field(default_factory=list)
    held: dict[str, list[Callable[[], None]]] = field(default_factory=dict)
    last_at: dict[str, float] = field(default_factory=dict)
    open: bool = True

    def other(self, peer: str) -> str:
        """The peer at the other end."""
        return self.listener if peer == self.dialer else self.dialer


class SimulatedWorld:
    """A network in one trio process, on whatever clock trio runs on (use the mock clock with autojump in tests).

    Args:
        seed: of all randomness here. Trio's own scheduling order isn't covered by it.
        latency_s: least and greatest one-way delay, seconds.
        loss: probability that one gossip hop is lost, 0 to 1. Streams lose nothing, as over TCP.
        duplication: probability that one gossip hop arrives twice.
        redial_s: how often a lost connection that somebody dialed is tried again, seconds.
        silence_s: after how long without a way through a connection is given up by both ends, seconds.
        wall: Unix milliseconds, for ``connected_at_ms``.

    Run it with ``nursery.start(world.run)``; every handler runs inside that task.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        latency_s: tuple[float, float] = (0.001, 0.005),
        loss: float = 0.0,
        duplication: float = 0.0,
        redial_s: float = 1.0,
        silence_s: float = 15.0,
        wall: Callable[[], int] = wall_ms,
    ) -> None:
        self.random = random.Random(seed)
        self.latency_s, self.loss, self.duplication = latency_s, loss, duplication
        self.redial_s, self.silence_s, self.wall = redial_s, silence_s, wall
        self.nursery: trio.Nursery | None = None
        self._networks: dict[str, SimulatedNetwork] = {}
        self._links: dict[frozenset[str], Link] = {}
        self._kept: dict[frozenset[str], str] = {}
        self._dead: set[str] = set()
        self._cuts: set[tuple[str, str]] = set()
        self._groups: dict[str, int] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._wake = trio.Event()
        self._sent = self._lost = self._doubled = self._frames = 0

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver what is on its way, until cancelled."""
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            nursery.start_soon(self._redial)
            task_status.started()
            try:
                while True:
                    now = trio.current_time()
                    while self._heap and self._heap[0][0] <= now:
                        heapq.heappop(self._heap)[2]()
                    self._wake = trio.Event()
                    with trio.move_on_at(self._heap[0][0] if self._heap else float("inf")):
                        await self._wake.wait()
            finally:
                self.nursery = None

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something at a trio time; what falls on the same instant happens in the order it was asked for."""
        self._count += 1
        heapq.heappush(self._heap, (time, self._count, action))
        self._wake.set()

    def delay(self) -> float:
        """A one-way delay, drawn, in seconds."""
        return self.random.uniform(*self.latency_s)

    async def _redial(self) -> None:
        while True:
            await trio.sleep(self.redial_s)
            for pair, dialer in list(self._kept.items()):
                if pair not in self._links and dialer not in self._dead:
                    self._try(dialer, next(iter(pair - {dialer})))

    # -- the peers -------------------------------------------------------------------------------------------------

    def add(self, peer_id: str, *, joined: bool = False) -> SimulatedNetwork:
        """A new peer's network, or a fresh one for a peer that crashed and comes back.

        Args:
            peer_id: its peer id.
            joined: connect it to every peer that is there.
        """
        from agent_core.simulated.network import SimulatedNetwork

        if peer_id in self._networks and peer_id not in self._dead:
            raise ValueError(f"{peer_id} is in this world already")
        self._dead.discard(peer_id)
        network = self._networks[peer_id] = SimulatedNetwork(self, peer_id)
        if joined:
            for other in list(self._networks):
                if other != peer_id:
                    self.connect(peer_id, other)
        return network

    def network(self, peer_id: str) -> SimulatedNetwork:
        """A peer's network."""
        return self._networks[peer_id]

    def connect(self, a: str, b: str) -> DialResult:
        """Connect two peers, ``a`` dialing, and keep them connected from now on."""
        self._kept.setdefault(frozenset((a, b)), a)
        return self._try(a, b)

    def connect_all(self) -> None:
        """Connect everybody with everybody."""
        ids = sorted(self._networks)
        for i, a in enumerate(ids):
            for b in ids[i + 1 :]:
                self.connect(a, b)

    def probe(self, a: str, b: str) -> DialResult:
        """What a fresh dial from ``a`` to ``b`` would find now."""
        if b not in self._networks or self.blocked(a, b) or self.blocked(b, a):
            return DialResult.SILENT
        return DialResult.REFUSED if b in self._dead else DialResult.CONNECTED

    def _try(self, a: str, b: str) -> DialResult:
        result = self.probe(a, b)
        pair = frozenset((a, b))
        if result is DialResult.CONNECTED and pair not in self._links and a != b:
            link = self._links[pair] = Link(a, b, self.wall())
            self._networks[a].opened(link)
            self._networks[b].opened(link)
        return result

    def link(self, a: str, b: str) -> Link | None:
        """The open connection of two peers."""
        return self._links.get(frozenset((a, b)))

    # -- carrying --------------------------------------------------------------------------------------------------

    def carry(self, link: Link, source: str, action: Callable[[], None]) -> None:
        """Bring one action to the other end of a link: in order, delayed, held while the way is cut."""
        self._frames += 1
        when = max(link.last_at.get(source, 0.0), trio.current_time() + self.delay())
        link.last_at[source] = when
        self.at(when, lambda: self._arrive(link, source, action))

    def _arrive(self, link: Link, source: str, action: Callable[[], None]) -> None:
        if not link.open:
            return
        if self.blocked(source, link.other(source)) or link.held.get(source):
            link.held.setdefault(source, []).append(action)
        else:
            action()

    def gossip(self, source: str, target: str, message: Gossip) -> None:
        """One gossip hop: perhaps lost, perhaps doubled."""
        self._sent += 1
        if self.random.random() < self.loss:
            self._lost += 1
            return
        copies = 1
        if self.random.random() < self.duplication:
            self._doubled += 1
            copies = 2
        for _ in range(copies):
            self.at(
                trio.current_time() + self.delay(),
                lambda: self._gossip_arrives(source, target, message),
            )

    def _gossip_arrives(self, source: str, target: str, message: Gossip) -> None:
        if self.blocked(source, target) or self.link(source, target) is None or target in self._dead:
            self._lost += 1
            return
        self._networks[target].hear(source, message)

    # -- faults ----------------------------------------------------------------------------------------------------

    def blocked(self, a: str, b: str) -> bool:
        """Whether nothing gets from ``a`` to ``b`` now."""
        return (a, b) in self._cuts or self._groups.get(a, 0) != self._groups.get(b, 0)

    def partition(self, groups: Iterable[Iterable[str]]) -> None:
        """Split the world: peers of different groups, and those in none, hear nothing of each other."""
        self._groups = {peer: n for n, group in enumerate(groups, 1) for peer in group}
        self._watch_silence()

    def cut(self, a: str, b: str) -> None:
        """Let nothing through from ``a`` to ``b``; the other way stays."""
        self._cuts.add((a, b))
        self._watch_silence()

    def mend(self, a: str, b: str) -> None:
        """End a cut."""
        self._cuts.discard((a, b))
        self._release()

    def heal(self) -> None:
        """End the partition and all cuts."""
        self._groups, self._cuts = {}, set()
        self._release()

    def crash(self, peer_id: str) -> None:
        """The process dies: the others see its connections closed from its side, or nothing where the way is cut.

        Its own network object is dead from now on; :meth:`add` gives a fresh one.
        """
        self._dead.add(peer_id)
        self._networks[peer_id].die()
        for link in [k for k in self._links.values() if peer_id in (k.dialer, k.listener)]:
            other = link.other(peer_id)
            if not self.blocked(peer_id, other):
                self.at(trio.current_time() + self.delay(), lambda k=link: self._close(k, by=peer_id))  # type: ignore[misc]
            else:
                self.at(trio.current_time() + self.silence_s, lambda k=link: self._close(k))  # type: ignore[misc]

    def close(self, a: str, b: str) -> None:
        """``a`` closes its connection to ``b`` and stops wanting one."""
        self._kept.pop(frozenset((a, b)), None)
        if link := self.link(a, b):
            self._close(link, by=a)

    def _close(self, link: Link, by: str | None = None) -> None:
        if not link.open:
            return
        link.open = False
        if self._links.get(frozenset((link.dialer, link.listener))) is link:
            del self._links[frozenset((link.dialer, link.listener))]
        for stream in link.streams:
            stream.break_off()
        for peer in (link.dialer, link.listener):
            if peer not in self._dead:
                self._networks[peer].closed(link, by is not None and by != peer)

    def _watch_silence(self) -> None:
        deadline = trio.current_time() + self.silence_s
        for link in self._links.values():
            if self.blocked(link.dialer, link.listener) or self.blocked(link.listener, link.dialer):
                self.at(deadline, lambda k=link: self._give_up(k))  # type: ignore[misc]

    def _give_up(self, link: Link) -> None:
        if self.blocked(link.dialer, link.listener) or self.blocked(link.listener, link.dialer):
            self._close(link)

    def _release(self) -> None:
        for link in self._links.values():
            for source in list(link.held):
                if not self.blocked(source, link.other(source)):
                    for action in link.held.pop(source):
                        action()

    def statistics(self) -> WorldStatistics:
        """What was carried so far."""
        return WorldStatistics(self._sent, self._lost, self._doubled, self._frames, len(self._links))
