"""One node of the search: its disk, its clock, its feeds and folds, and the real election machine on top."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from agent_core.decisions.fold import DecisionsFold
from agent_core.election.acts import ACT, ACT_COMMIT, CommitData
from agent_core.election.chain import ActChain
from agent_core.election.core import Send
from agent_core.election.machine import ElectionMachine
from agent_core.election.messages import AnyMessage, Append, Heartbeat
from agent_core.election.model import AppendAct, AppendCommit, DurableState, Persist, Probe, Score, StateChanged
from agent_core.feeds.model import Draft, Entry
from agent_core.hmmm.fold import RoomsFold
from agent_core.network import DialResult
from agent_core.simulated.search_fakes import EPOCH_MS, FakeSigner, FakeVerifier, make_entry
from agent_core.simulated.search_faults import Moment

if TYPE_CHECKING:
    from agent_core.simulated.search import World


class Backup(NamedTuple):
    """A copy of a home, and when it was made (s)."""

    at: float
    durable: DurableState
    store: dict[tuple[str, int], list[Entry]]


class Node:
    """A process and the disk under it. What is on disk survives :meth:`crash`; nothing else does.

    Args:
        world: schedules and delivers.
        peer_id: its name.
        feed: the founder's feed, which everybody holds at the start.
        cluster: the cluster's id.
        rate: how fast its clock runs against true time.
        offset: what its clock shows at true time zero (s).
    """

    def __init__(
        self, world: World, peer_id: str, cluster: str, feed: tuple[Entry, ...], rate: float, offset: float
    ) -> None:
        self.world = world
        self.peer_id = peer_id
        self.cluster = cluster
        self.rate = rate
        self.offset = offset
        self.rng = random.Random(world.rng.random())
        self.signer = FakeSigner(peer_id, world.counted)
        self.verifier = FakeVerifier(world.counted)
        # on disk
        self.durable = DurableState(term=1)
        #: Feeds by author and epoch.
        self.store: dict[tuple[str, int], list[Entry]] = {(feed[0].header.author, 0): list(feed)}
        self.epoch = 0
        #: What its home forgot when it was last restored, until the admin trusted it again; kept outside the copied part.
        self.doubt = ""
        self.backup: Backup | None = None
        # in the process
        self.alive = False
        self.incarnation = 0
        self.paused_until = 0.0
        #: Peers with an open connection, and which that is.
        self.connected: dict[str, int] = {}
        self.timer_at = float("inf")
        self.claim: float | None = None
        self._revision = -1
        self._writes: deque[tuple[Callable[[], None], Callable[[], None]]] = deque()
        self._disk_free_at = 0.0
        self.disk_slow_until = 0.0

    # --- time ---------------------------------------------------------------------------------------------------------

    def local(self) -> float:
        """What its clock shows now (s)."""
        return self.offset + self.rate * self.world.now

    def true_time(self, local: float) -> float:
        """When its clock shows the given time (s)."""
        return (local - self.offset) / self.rate

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process from what is on disk."""
        self.alive = True
        self.incarnation += 1
        self.paused_until = 0.0
        self.timer_at = float("inf")
        self.claim = None
        self._revision = -1
        self._disk_free_at = self.world.now
        self.chain = ActChain(self.cluster, self.verifier)
        self.rooms, self.decisions = RoomsFold(), DecisionsFold()
        for entries in self.store.values():
            self._fold(entries)
        self.machine = ElectionMachine(
            chain=self.chain,
            signer=self.signer,
            verifier=self.verifier,
            rng=self.rng,
            timings=self.world.timings,
            durable=self.durable,
            now=self.local(),
            doubt=self.doubt,
        )
        self.results_seen: set[str] = set()
        for peer in self.world.nodes:
            self.machine.observe(peer, Score(network=self.rng.random(), uptime=self.rng.random()))
        self.after_input()

    def crash(self) -> None:
        """End the process. Of the writes under way some reached the disk, in order, and nobody was told."""
        for write, _ in islice(self._writes, self.world.rng.randint(0, len(self._writes))):
            write()
        self._writes.clear()
        self.alive = False
        self.incarnation += 1
        self.connected.clear()

    def back_up(self) -> None:
        """Copy the home as it is on disk."""
        self.backup = Backup(self.world.now, self.durable, {key: list(feed) for key, feed in self.store.items()})

    def restore(self, doubt: str, epoch: int) -> None:
        """Put the copy back, between two runs of the process.

        Args:
            doubt: the mark of this loss of memory, which the next run starts with.
            epoch: in which the feed goes on: the old one may have entries that the copy lacks.
        """
        if self.backup is not None:
            self.durable = self.backup.durable
            self.store = {key: list(feed) for key, feed in self.backup.store.items()}
            self.doubt, self.epoch = doubt, epoch

    # --- inputs -------------------------------------------------------------------------------------------------------

    def message(self, sender: str, message: AnyMessage) -> None:
        if sender in self.connected:
            self.machine.message(sender, message, self.local())
            self.after_input()

    def timer(self) -> None:
        self.timer_at = float("inf")
        self.machine.tick(self.local())
        self.after_input()

    def connect(self, peer_id: str, connection: int) -> None:
        fresh = peer_id not in self.connected
        self.connected[peer_id] = connection
        if fresh:
            self.machine.peer_connected(peer_id, self.local())
            self.after_input()

    def disconnect(self, peer_id: str, closed_by_remote: bool, connection: int | None = None) -> None:
        """A connection closed; nothing happens if it has been replaced by another since."""
        known = self.connected.get(peer_id)
        if known is not None and connection in (None, known):
            del self.connected[peer_id]
            self.machine.peer_disconnected(peer_id, closed_by_remote, self.local())
            self.after_input()

    def probed(self, peer_id: str, result: DialResult) -> None:
        self.machine.probe_result(peer_id, result, self.local())
        self.after_input()

    def rebuild_mesh(self) -> None:
        self.machine.mesh_rebuilding(self.local())
        self.after_input()

    def resign(self) -> None:
        self.machine.resign(self.local())
        self.after_input()

    # --- feeds --------------------------------------------------------------------------------------------------------

    def append(self, draft: Draft) -> Entry:
        """Append to the own feed, durably, and tell everybody connected."""
        feed = self.store.setdefault((self.peer_id, self.epoch), [])
        entry = make_entry(self.peer_id, len(feed), EPOCH_MS + int(self.world.now * 1000), draft, self.epoch)
        feed.append(entry)
        if self.alive:
            self._fold([entry])
            for peer in sorted(self.connected) if self.world.eager else ():
                self.world.offer(self.peer_id, peer)
        return entry

    def replicate(self, source: Node, held: dict[tuple[str, int], int]) -> None:
        """Take what the source held and this node doesn't."""
        fresh: list[Entry] = []
        for key, size in held.items():
            feed = self.store.setdefault(key, [])
            if len(feed) < size:
                entries = source.store[key][len(feed) : size] if key in source.store else []
                feed.extend(entries)
                fresh.extend(entries)
        if fresh:
            self._fold(fresh)
            self.machine.poke(self.local())
            self.after_input()

    def _fold(self, entries: list[Entry]) -> None:
        acts = [e for e in entries if e.header.type in (ACT, ACT_COMMIT)]
        if acts:
            self.chain.apply(acts)
        if len(acts) < len(entries):
            self.rooms.apply(entries)
            self.decisions.apply(entries)

    def size(self, author: str, epoch: int) -> int:
        """How many entries of a feed's epoch it holds."""
        return len(self.store.get((author, epoch), ()))

    def canonical(self) -> tuple[object, ...]:
        """All folds' states; equal on nodes that hold the same entries."""
        return (self.chain.canonical(), self.rooms.canonical(), self.decisions.canonical())

    # --- outputs ------------------------------------------------------------------------------------------------------

    def after_input(self) -> None:
        """Carry out what the machine wants, check the invariants, set the timer."""
        out = self.machine.take()
        said = {type(o.message) for o in out if type(o) is Send} if self.machine.reign is not None else ()
        for kind, moment, odds in _MOMENTS:
            if kind in said and self.world.rng.random() < odds:
                self.world.at(self.world.now, self.world.faults.worst_moment, self, moment)
        while out:
            for output in out:
                if type(output) is Send:
                    self.world.send(self.peer_id, output.to, output.message)
                elif type(output) is Persist:
                    self._write(partial(self._save, output.state), partial(self._persisted, output.token))
                elif type(output) is Probe:
                    self.world.probe(self, output.peer_id)
                elif type(output) is AppendAct:
                    self.world.check.asked(self, output.data)
                    self._append_act(output)
                elif type(output) is AppendCommit:
                    self._write(partial(self._append_commit, output.data), _nothing)
                elif type(output) is StateChanged:
                    self.world.note(f"{self.peer_id} is {output.state.value} in term {output.term}")
            out = self.machine.take()
        if self.chain.revision != self._revision:
            self._revision = self.chain.revision
            self.world.check.committed(self)
            if self.machine.reign is not None and self.world.rng.random() < 0.05:
                self.world.at(self.world.now, self.world.faults.worst_moment, self, Moment.COMMITTED)
        if self.doubt and not self.machine.doubt:
            self.doubt = ""
            self.world.note(f"{self.peer_id} is trusted again")
        self.world.check.claims(self)
        wake = self.machine.wake_at
        if wake is not None and (at := max(self.true_time(wake) + 1e-6, self.world.now)) < self.timer_at:
            self.timer_at = at
            self.world.later(self, at, self._timer_due, at)

    def _timer_due(self, at: float) -> None:
        if at == self.timer_at:
            self.machine.late(self.rate * (self.world.now - at), self.local())
            self.timer()

    def _save(self, state: DurableState) -> None:
        self.durable = state

    def _persisted(self, token: int) -> None:
        self.machine.persisted(token, self.local())
        self.after_input()

    def _append_commit(self, data: CommitData) -> None:
        self.append(Draft(ACT_COMMIT, data))

    def _append_act(self, output: AppendAct) -> None:
        entry: list[Entry] = []

        def done() -> None:
            self.machine.act_appended(output.token, entry[0].raw, self.local())
            self.after_input()

        self._write(lambda: entry.append(self.append(Draft(ACT, output.data))), done)

    def _write(self, write: Callable[[], None], done: Callable[[], None]) -> None:
        """Do a write when the disk gets to it, in order; then say so."""
        self._writes.append((write, done))
        seconds = self.rng.uniform(0.5e-3, 4e-3) if self.rng.random() < 0.98 else self.rng.uniform(0.02, 0.3)
        if self.world.now < self.disk_slow_until and self.world.faulty:
            seconds += self.rng.uniform(0.1, 1.0)
        self._disk_free_at = max(self._disk_free_at, self.world.now) + seconds
        self.world.later(self, self._disk_free_at, self._written)

    def _written(self) -> None:
        """The first write in the queue is done, whichever it was that a pause held up: no write overtakes another."""
        write, done = self._writes.popleft()
        write()
        done()


#: After what a leader says it may fall silent at the worst moment, and how often.
_MOMENTS = ((Append, Moment.APPENDED, 0.01), (Heartbeat, Moment.BEAT, 0.01))


def _nothing() -> None:
    """Nobody waits for this write."""
