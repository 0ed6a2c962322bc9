"""The feeds of one node as its services use them: durable appends in group commits, replication, purge, who holds what."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from agent_core.clock import MAX_AHEAD_MS, HybridClock
from agent_core.errors import ChorusError, NotFound, Refused, Unavailable
from agent_core.feeds import protocol
from agent_core.feeds.acks import Acks
from agent_core.feeds.announcements import Announcements
from agent_core.feeds.appending import Appending
from agent_core.feeds.disk import Disk
from agent_core.feeds.epochs import Place
from agent_core.feeds.fetching import Progress
from agent_core.feeds.forks import ForkProof
from agent_core.feeds.heads import LOG_PURGE, SETTLING, FeedHead, FeedInfo, PurgeData
from agent_core.feeds.holding import Holding
from agent_core.feeds.intake import Intake, call
from agent_core.feeds.model import (
    Body,
    Bundle,
    Draft,
    Entry,
    EntryKey,
    Head,
    Missing,
)
from agent_core.feeds.ranges import Extension, verify_bundle
from agent_core.feeds.renewal import Renewal, Renewed
from agent_core.feeds.replication import Replicator
from agent_core.feeds.store import Store
from agent_core.feeds.writing import Writer
from agent_core.identity.signing import Signer, Verifier
from agent_core.instance import Instance
from agent_core.network import Network
from agent_core.telemetry.sparing import Sparing

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger(__name__)

#: A node further off the median of its peers appends nothing (SPEC section 2).
MAX_SKEW_S = MAX_AHEAD_MS / 1000
#: How often to look whether something waits for time to pass, at most; seconds.
QUIET_S = 5.0


@dataclass(frozen=True, slots=True)
class FeedsStatistics:
    """Counters since the start, and sizes now."""

    feeds: int
    entries: int
    appended: int
    commits: int
    received: int  #: entries of others, stored
    by_gossip: int  #: of these, straight from a head announcement
    rounds: int  #: comparisons with peers
    lies: int  #: answers and announcements that didn't verify
    purged: int
    forks: int
    held: int  #: feeds waiting for an entry's time
    links: int
    behind: int  #: entries that connected peers hold and this node lacks
    behind_feeds: int  #: feeds of which it lacks some
    catch_up_rate: float  #: entries a second stored over the last seconds
    catch_up_sources: int  #: peers asked for ranges now
    catch_up_waiting_bytes: int  #: asked for or waiting to be stored
    asked_twice: int  #: ranges asked of a second peer, the first being late


class Feeds:
    """All feeds of a node. It appends and reads without :meth:`run`; that adds replication and time.

    Args:
        store: the open store; stays the caller's to close.
        signer: signs this node's own feed.
        verifier: checks everybody's checkpoints.
        clock: stamps entries; made with ``last=store.latest_hlc(me)`` so that stamps grow across restarts.
        door: SHHH, in front of every append; returns the draft redacted or raises ``SecretFound``.
        accepts: whose feeds are wanted and shown to peers; may be replaced at any time.
        network: where peers are; nothing for a node alone.
        instance: the instance file in the home (SPEC section 2, epochs); nothing for a store without a home.
        interval_s: seconds between comparisons with one random peer.
        grace_s: how long the first append after a start waits for a peer that may hold more of our feed than we do.
        nudge_s: how long after a commit peers that didn't confirm it are told of it.
        rng: picks peers.
        threaded: commit in a worker thread. By default so for a store on disk: a commit took 0.3 ms on a fast disk and may
            take 20 on a slow one, while the hop to a thread costs 0.1; a memory store is quicker inline, and repeatable.

    Raises:
        StoreError: the store or the instance file can't be used.
    """

    def __init__(
        self,
        store: Store,
        signer: Signer,
        verifier: Verifier,
        clock: HybridClock,
        *,
        door: Callable[[Draft], Draft] = lambda draft: draft,
        accepts: Callable[[str], bool] = lambda author: True,
        network: Network | None = None,
        instance: Path | None = None,
        interval_s: float = 5.0,
        grace_s: float = 3.0,
        nudge_s: float = 0.25,
        rng: random.Random | None = None,
        threaded: bool | None = None,
    ) -> None:
        self.store = store
        self.me = signer.peer_id
        self.accepts = accepts
        #: How much of an author's epoch is fetched and shown to peers; nothing for all of it.
        self.limit: Callable[[str, int], int | None] = lambda author, epoch: None
        #: Whether a peer may have another author's body purged; asked again after :meth:`roster_changed`.
        self.may_purge: Callable[[str, EntryKey], bool] = lambda purger, target: False
        self.announce: Callable[[FeedHead], None] | None = None
        self.clock_off_s: Callable[[], float] = lambda: 0.0  #: how far this node's clock is ahead of its peers' median
        self._verifier = verifier
        self._interval_s, self._grace_s, self._nudge_s = interval_s, grace_s, nudge_s
        self.disk = Disk(store.on_disk if threaded is None else threaded)
        self._place = place = Place(store, self.me, instance)
        self._rng = rng or random.Random()
        self._links = (
            None if network is None else Replicator(network, self, verifier, interval_s=interval_s, rng=self._rng)
        )
        self._running = self._asked = False
        self._sparing = Sparing(log)
        self._acks = Acks(store)
        self._committed = trio.Event()
        clock.observe(store.latest_hlc(self.me))
        self._intake = Intake(store, self.disk, place, clock, lambda purger, target: self.may_purge(purger, target))
        self._intake.limit = lambda author, epoch: self.limit(author, epoch)
        self._announcements = Announcements(self, verifier, self._links, self.me)
        writer = Writer(store, signer, clock, place)
        self._appending = Appending(store, self.disk, writer, place, self._intake, door, self._tell)
        #: Says again in a new epoch what a clock that ran ahead stamped.
        self.renewal = Renewal(store, self.me, clock, self._appending, self.write)

    # --- reading ------------------------------------------------------------------------------------------------------

    def body(self, key: EntryKey) -> bytes | Missing:
        """The body of an entry, or why it is missing (:class:`~agent_core.feeds.model.BodyReader`)."""
        return self.store.body(key)

    def part(self, key: EntryKey, start: int, end: int) -> bytes | Missing:
        """Some bytes of a body, or why it is missing."""
        return self.store.part(key, start, end)

    def heads(self) -> list[Head]:
        """How much is held of every epoch of every feed."""
        return self.store.heads()

    def feeds(self) -> list[FeedInfo]:
        """The same with forks and newest stamps."""
        return self.store.feeds()

    def fork_limit(self, author: str, epoch: int) -> int | None:
        """How many entries of an epoch precede its first proven divergence; nothing if no fork is known."""
        return self.store.fork_limit(author, epoch)

    def held(self, entry: Entry) -> bool:
        """Whether an entry's time hasn't come: it, or one before it in its feed, is stamped too far ahead."""
        return self._intake.holding.held(entry)

    @property
    def holding(self) -> Holding:
        """What waits for its time."""
        return self._intake.holding

    def on_put_back(self, callback: Callable[[], None]) -> None:
        """Call back when the wall was put back so far that entries which were handed out wait again."""
        self._intake.on_put_back(callback)

    def read(self, key: str) -> bytes | None:
        """A small durable value (``Durable``)."""
        return self.store.read(key)

    async def write(self, key: str, value: bytes) -> None:
        """Keep a small value, on disk when this returns (``Durable``).

        Raises:
            StoreError: the disk refuses.
        """
        async with self._intake.writing:
            await self.disk.run(functools.partial(self.store.write, key, value))

    def bundle(self, key: EntryKey) -> Bundle:
        """One entry with all it takes to believe it.

        Raises:
            NotFound: it isn't held, or no checkpoint held whole covers it.
        """
        found = protocol.bundle(self.store, key)
        if found is None:
            raise NotFound(f"Entry {key} isn't held here.", "Wait until it is replicated.")
        return found

    def verify_bundle(self, bundle: Bundle) -> Entry:
        """Check an entry that travelled alone; it isn't stored.

        Raises:
            VerificationFailed: it isn't proven.
        """
        return verify_bundle(bundle, self._verifier)[0]

    def on_entries(self, callback: Callable[[Sequence[Entry]], None]) -> None:
        """Call back with entries, own and others', once they are durable and their time has come; each feed in its order."""
        self._intake.on_entries(callback)

    def on_purged(self, callback: Callable[[Sequence[EntryKey]], None]) -> None:
        """Call back with the entries whose bodies were dropped."""
        self._intake.on_purged(callback)

    def cut_with(self, cut: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Store bodies over 32 KiB as blocks.

        Args:
            cut: stores a body's blocks, durable when it returns, and gives their manifest. Raises ``TooLarge``, ``StoreError``.
        """
        self._appending.cut = cut

    def roster_changed(self) -> None:
        """Purges that were asked for are judged anew: who asked may be one who may, now."""
        self._intake.roster_changed()

    def on_fork(self, callback: Callable[[str, int], None]) -> None:
        """Call back with author and epoch when a fork was proven."""
        self._intake.on_fork(callback)

    @property
    def instance(self) -> Instance:
        """What the home is known as outside its database."""
        return self._place.instance

    @property
    def forgotten(self) -> bool:
        """The database was lost, and nothing tells whether this home was enrolled anywhere."""
        return self._place.forgotten

    def enrolled(self, cluster: str, agent_id: str, kind: str) -> None:
        """Note outside the database in which cluster this home is enrolled, and as whom.

        Raises:
            StoreError: the instance file can't be written.
        """
        self._place.enrolled(cluster, agent_id, kind)

    @property
    def restored(self) -> str:
        """Why this home was found to be restored or copied; empty if it wasn't, or was trusted again since."""
        return self._place.restored

    @property
    def no_vote(self) -> bool:
        """Whether this node's memory of its votes can't be trusted (SPEC section 2)."""
        return bool(self._place.restored)

    @property
    def doubt(self) -> str:
        """The mark of this loss of memory, which the admin's promotion names; empty if there was none."""
        return self._place.doubt

    @property
    def lost_epoch(self) -> int:
        """The last epoch of this node's feed of which it may have forgotten something; -1 for none."""
        return self._place.lost

    @property
    def epoch(self) -> int:
        """The epoch of this node's feed that its next entry belongs to."""
        return self._place.epoch

    def on_doubt(self, callback: Callable[[], None]) -> None:
        """Call back when a peer, or a fork, shows that this home forgot something: its votes can't be trusted from then on."""
        self._intake.on_doubt(callback)

    async def trust(self) -> None:
        """The admin promoted this node again: it may vote."""
        async with self._intake.writing:
            await self.disk.run(self._place.trust)

    @property
    def progress(self) -> Progress:
        """How far this node is behind its connected peers, and how it catches up."""
        return self._links.fetcher.progress if self._links else Progress()

    def statistics(self) -> FeedsStatistics:
        """Counters and sizes."""
        links = self._links
        progress = self.progress
        return FeedsStatistics(
            feeds=len(self.store.heads()),
            entries=self.store.entry_count,
            appended=self._appending.appended,
            commits=self._appending.commits,
            received=self._intake.received,
            by_gossip=self._announcements.stored,
            rounds=links.rounds if links else 0,
            lies=self._announcements.lies + (links.lies if links else 0),
            purged=self._intake.purged,
            forks=len(self.store.forks()),
            held=self._intake.holding.feeds,
            links=len(links.linked) if links else 0,
            behind=progress.behind,
            behind_feeds=progress.feeds,
            catch_up_rate=progress.entries_per_s,
            catch_up_sources=len(progress.sources),
            catch_up_waiting_bytes=progress.waiting_bytes,
            asked_twice=links.fetcher.schedule.asked_twice if links else 0,
        )

    # --- appending ----------------------------------------------------------------------------------------------------

    def made(self, op: str) -> Entry | None:
        """The first entry that an operation of this node made (:class:`~agent_core.feeds.model.OwnFeed`)."""
        return self.store.op(op)

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Entry]:
        """Append drafts in one commit, shared with whoever else appends now (:class:`~agent_core.feeds.model.Appender`).

        When the caller is cancelled the drafts may still be appended: repeat with the same ``op`` to know.

        Raises:
            SecretFound: SHHH refuses a draft; nothing was appended.
            TooLarge: a body or header is over its limit.
            StoreError: the disk refuses; nothing was appended.
            Conflict: an ``op`` was used for an entry of another type.
            Unavailable: the clock is far off.
            ClockAhead: the last entries are stamped ahead of the clock. Entries that no clock holds back, such as acts, are
                appended all the same.
        """
        self._check_skew()
        if any(draft.type not in SETTLING for draft in drafts):
            self.renewal.check()
            await self.renewal.finish()
        clean = await self._appending.admit(drafts)
        if not clean:
            return []
        await self._learn_own_head()
        return await self._appending.append(clean)

    async def renew(self, *, confirmed: bool, op: str = "", via: str = "service", login: str = "") -> Renewed:
        """Go on in a new epoch, whose clock starts at the wall, and say there again what waits for its time in the old ones.

        Args:
            confirmed: the person means it; otherwise it is only said what would be done.

        Raises:
            Refused: there is nothing to renew, or it isn't confirmed.
            Unavailable: the clock is far off the peers'.
            StoreError: the disk refuses; repeating it goes on where it ended.
        """
        self._check_skew()
        self.renewal.check_wanted(confirmed)
        await self._learn_own_head()
        return await self.renewal.renew(op=op, via=via, login=login)

    def _check_skew(self) -> None:
        off_s = self.clock_off_s()
        if abs(off_s) > MAX_SKEW_S:
            way = "ahead of" if off_s > 0 else "behind"
            raise Unavailable(
                f"This machine's clock is {abs(off_s):.0f} s {way} its peers', so nothing can be written.",
                "Set the clock right (NTP), then try again.",
            )

    async def purge(self, key: EntryKey, *, op: str = "", via: str = "service", login: str = "") -> Entry:
        """Ask every node to drop an entry's body; its header stays, and its feed still verifies.

        Raises:
            NotFound: the entry isn't held here.
            Refused: it is somebody else's, and this node has no authority to purge it.
        """
        if self.store.entry(key) is None:
            raise NotFound(f"Entry {key} isn't held here.", "Look it up with `chorus-hap log tail`.")
        if key.author != self.me and not self.may_purge(self.me, key):
            raise Refused(
                "Only its author or the admin with authority `master` may purge an entry.", "Ask one of them."
            )
        # What was said again is to be found in two places, and goes from both.
        twins = [twin for twin in self.renewal.twins(key) if twin != key]
        drafts = [
            Draft(LOG_PURGE, PurgeData(author=k.author, epoch=k.epoch, seq=k.seq), via=via, login=login, op=o)
            for k, o in ((key, op), *((twin, "") for twin in twins))
        ]
        return (await self.append(drafts))[0]

    def _tell(self, new: Extension) -> None:
        """The fast path: announce a commit by gossip; :meth:`_nudge` tells peers who don't confirm it soon."""
        if self.announce is not None:
            place = (new.author, new.epoch, new.start)
            call(self.announce, FeedHead.of(*place, new.checkpoint.note, new.entries, new.bodies))
        self._committed.set()

    # --- before the first append --------------------------------------------------------------------------------------

    async def _learn_own_head(self) -> None:
        """Before the first append after a start, let peers say what they hold of our feed: this home may be an old copy.

        A new home and a cluster of one have nobody to ask and wait for nothing.
        """
        links = self._links
        if self._asked or links is None or not self._running:
            return
        # Where nobody else was ever met, only those who are connected already are asked: founding isn't delayed.
        patient = bool(self.restored) or any(head.author != self.me for head in self.store.heads())
        size = -1
        while size != (size := self.store.entry_count):  # a long fetch that makes progress is waited for
            with trio.move_on_after(self._grace_s):
                while links.unasked() or (patient and not links.linked):
                    await links.round_done.wait()
                break
        self._asked = True

    # --- replication --------------------------------------------------------------------------------------------------

    def wants(self, author: str) -> bool:
        """Whether an author's feeds are fetched and shown to peers; our own always, so that a loss is noticed."""
        return author == self.me or self.accepts(author)

    async def keep(self, new: Extension) -> bool:
        """Store believed entries of a peer's range or announcement; returns whether they were new."""
        kept = await self._intake.keep(new)
        if self._links is not None:
            self._links.fetcher.grew((new.author, new.epoch))
        return kept

    async def keep_bodies(self, bodies: Sequence[tuple[EntryKey, Body]]) -> None:
        """Store bodies that were missing."""
        await self._intake.keep_bodies(bodies)

    async def keep_fork(self, proof: ForkProof) -> None:
        """Store a checked fork proof, and pass it on before all else."""
        epochs = await self._intake.keep_fork(proof)
        if epochs and self._links is not None:
            for epoch in epochs:
                self._links.fetcher.grew((proof.author, epoch))
            self._links.compare_all()

    def heard(self, peer_id: str, heads: Sequence[Head]) -> None:
        """A peer said what it holds: that confirms entries."""
        self._acks.heard(peer_id, heads)

    def receive_head(self, peer_id: str, head: FeedHead) -> None:
        """Take an announcement from gossip; handled by :meth:`run`, dropped when too many wait (replication repairs it)."""
        self._announcements.receive(peer_id, head)

    def holders(self, key: EntryKey) -> int:
        """How many other members confirmed that they hold an entry."""
        return self._acks.holders(key, lambda peer_id: peer_id != self.me and self.accepts(peer_id))

    def holds(self, peer_id: str, key: EntryKey) -> bool:
        """Whether a peer confirmed that it holds an entry."""
        return self._acks.holders(key, lambda peer: peer == peer_id) > 0

    async def wait_held(self, key: EntryKey, n: int, timeout_s: float) -> int:
        """Wait until ``n`` other members hold an entry, at most ``timeout_s`` seconds; returns how many do."""
        with trio.move_on_after(timeout_s):
            while self.holders(key) < n:
                await self._acks.wait()
        return self.holders(key)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Replicate, take announcements and deliver what was held, until cancelled."""
        self._running = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._announcements.run)
                nursery.start_soon(self._tick)
                if self._links is not None:
                    nursery.start_soon(self._links.run)
                    nursery.start_soon(self._nudge)
                task_status.started()
        finally:
            self._running = False

    async def _nudge(self) -> None:
        """Tell peers of commits that they didn't confirm: gossip may lose them, and five seconds are long."""
        assert self._links is not None
        while True:
            await self._committed.wait()
            self._committed = trio.Event()
            if self.announce is not None:
                await trio.sleep(self._nudge_s)
            feed = (self.me, self._place.epoch)
            size = self.store.size(*feed)
            for peer_id in self._links.linked:
                if self._acks.size(peer_id, feed) < size:
                    self._links.tell(peer_id, feed)

    async def _tick(self) -> None:
        while True:
            await self._intake.tick()
            try:
                await self.renewal.finish()
            except ChorusError as exc:
                self._sparing.error(f"feeds: what was withdrawn couldn't be said again yet: {exc.message}")
            await self._intake.rest(min(self._interval_s, 1.0), min(self._interval_s, QUIET_S))
