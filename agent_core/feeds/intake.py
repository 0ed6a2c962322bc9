"""The one way into the store: believed entries are kept one commit at a time, purged if asked, and handed out in their time."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Sequence

import trio

from agent_core.clock import HybridClock
from agent_core.errors import ChorusError
from agent_core.feeds.disk import Disk
from agent_core.feeds.epochs import Place
from agent_core.feeds.forks import ForkProof
from agent_core.feeds.heads import LOG_PURGE, PurgeData
from agent_core.feeds.holding import Holding
from agent_core.feeds.model import Body, Entry, EntryKey
from agent_core.feeds.ranges import Extension
from agent_core.feeds.store import Store
from agent_core.telemetry.sparing import Sparing

log = logging.getLogger(__name__)


class Intake:
    """Stores entries, own and others', and tells who listens.

    Args:
        store: the open store.
        disk: runs the store's work.
        place: which epoch of its own feed this home writes.
        clock: follows the stamps of what comes in.
        may_purge: whether a peer may have somebody else's entry purged.
    """

    def __init__(
        self, store: Store, disk: Disk, place: Place, clock: HybridClock, may_purge: Callable[[str, EntryKey], bool]
    ) -> None:
        self.store, self.me = store, place.me
        #: How many entries of an author's epoch are wanted; nothing for all of them.
        self.limit: Callable[[str, int], int | None] = lambda author, epoch: None
        self.writing = trio.Lock()  #: held by whoever writes to the store
        self.received = self.purged = 0
        self._sparing = Sparing(log)
        self._disk, self._place, self._clock, self._may_purge = disk, place, clock, may_purge
        self.holding = Holding(store, clock)  #: what waits for its time
        self._to_purge = set(
            store.purge_claims()
        )  #: bodies somebody wants gone: not held yet, or nobody who may has asked
        self._judge_purges = True  #: whether one of these that are held may have become due
        self._entry_callbacks: list[Callable[[Sequence[Entry]], None]] = []
        self._purge_callbacks: list[Callable[[Sequence[EntryKey]], None]] = []
        self._fork_callbacks: list[Callable[[str, int], None]] = []
        self._doubt_callbacks: list[Callable[[], None]] = []
        self._put_back_callbacks: list[Callable[[], None]] = []
        self._begun = trio.Event()
        disk.refuses = self._begin

    def on_entries(self, callback: Callable[[Sequence[Entry]], None]) -> None:
        """Call back with entries once they are durable and their time has come; each feed in its order."""
        self._entry_callbacks.append(callback)

    def on_purged(self, callback: Callable[[Sequence[EntryKey]], None]) -> None:
        """Call back with the entries whose bodies were dropped."""
        self._purge_callbacks.append(callback)

    def on_fork(self, callback: Callable[[str, int], None]) -> None:
        """Call back with author and epoch when a fork was proven."""
        self._fork_callbacks.append(callback)

    def on_doubt(self, callback: Callable[[], None]) -> None:
        """Call back when this home is found to have forgotten something."""
        self._doubt_callbacks.append(callback)

    def on_put_back(self, callback: Callable[[], None]) -> None:
        """Call back when the wall was put back so far that entries which were handed out wait again."""
        self._put_back_callbacks.append(callback)

    # --- what comes in ------------------------------------------------------------------------------------------------

    async def keep(self, new: Extension) -> bool:
        """Store believed entries of a peer's range or announcement; returns whether they were new."""
        mine = new.author == self.me
        async with self.writing:
            if self.store.size(new.author, new.epoch) != new.start:
                return False
            limit = None if mine else self.limit(new.author, new.epoch)
            if limit is not None and new.start >= limit:
                return False
            claims = self.store.purge_claims()
            purged = [e.header.seq for e in new.entries if self._is_purged(e.key)] if claims else []
            with trio.CancelScope(shield=True):
                if mine and new.epoch >= self._place.epoch:
                    # Noted first: a crash between the two must not leave an old copy that takes itself for whole.
                    reason = "a peer holds more of this home's feed than the home itself: it is an older copy"
                    await self._doubt_memory(reason, new.epoch)
                await self._disk.extend(self.store, new, index_ops=mine, purged=purged)
                self._to_purge.difference_update(EntryKey(new.author, new.epoch, seq) for seq in purged)
                self.received += len(new.entries)
                self._clock.observe_all([entry.header.hlc for entry in new.entries])
                await self.stored(new)
        return True

    async def keep_bodies(self, bodies: Sequence[tuple[EntryKey, Body]]) -> None:
        """Store bodies that were missing."""
        async with self.writing:
            await self._disk.run(functools.partial(self.store.add_bodies, bodies))
            await self._purge([key for key, _ in bodies if self._is_purged(key)])

    async def keep_fork(self, proof: ForkProof) -> Sequence[int]:
        """Store a checked fork proof; returns the epochs that may end elsewhere now, none if it said nothing new."""
        async with self.writing:
            if proof.author == self.me and proof.epoch >= self._place.epoch:
                reason = "this home's feed forked: it was written in two places"
                await self._doubt_memory(reason, proof.epoch)
            epochs = await self._disk.run(functools.partial(self.store.add_fork, proof))
        if epochs:
            log.warning("feeds: %s wrote two histories of epoch %d from %d on", proof.author, proof.epoch, proof.seq)
        for epoch in epochs:
            for callback in self._fork_callbacks:
                call(callback, proof.author, epoch)
        return epochs

    async def stored(self, new: Extension) -> None:
        """Entries are durable: apply the purges among them, then hand out those whose time has come.

        The caller holds :attr:`writing`.
        """
        targets = {EntryKey(d.author, d.epoch, d.seq) for e in new.entries if (d := _purge_data(e))}
        if targets:
            self._to_purge |= targets
            await self._purge(self._due(targets))
        self._deliver(self.holding.ready(new.author, new.epoch, new.entries))
        if self.holding.feeds:
            self._begin()

    def roster_changed(self) -> None:
        """Somebody may have become one who may purge: judge again at the next tick."""
        self._judge_purges = True
        self._begin()

    # --- what time brings ---------------------------------------------------------------------------------------------

    async def rest(self, again_s: float, quiet_s: float) -> None:
        """Rest until the next tick.

        Args:
            again_s: how long while something waits for time to pass: an entry's stamp, a disk that refuses, a purge; seconds.
            quiet_s: how long at most otherwise, seconds; shorter if something begins to wait.
        """
        if not self._waits:
            self._begun = trio.Event()
            with trio.move_on_after(quiet_s):
                await self._begun.wait()
        if self._waits:
            await trio.sleep(again_s)

    @property
    def _waits(self) -> bool:
        return bool(self.holding.feeds or self._disk.trouble or self._judge_purges)

    def _begin(self) -> None:
        self._begun.set()

    async def tick(self) -> None:
        """Deliver what was held when its time comes; try again a refusing disk, and purges if they may be judged otherwise now."""
        self._clock.settle()
        try:
            if self.holding.look():
                for callback in self._put_back_callbacks:
                    call(callback)
            for entries in self.holding.due():
                self._deliver(entries)
        except ChorusError as exc:
            self._sparing.error(f"feeds: what was held can't be read: {exc.message}")
        if self._disk.trouble:
            async with self.writing:
                await self._disk.recover(self.store.write)
        if self._judge_purges:
            self._judge_purges = False
            async with self.writing:
                await self._purge(self._due(self._to_purge))

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _doubt_memory(self, reason: str, epoch: int) -> None:
        await self._disk.run(functools.partial(self._place.close_epoch, reason, epoch))
        for callback in self._doubt_callbacks:
            call(callback)

    async def _purge(self, keys: Sequence[EntryKey]) -> None:
        if not keys:
            return
        try:
            gone = await self._disk.run(functools.partial(self.store.purge, keys))
        except ChorusError as exc:
            self._sparing.error(f"feeds: bodies couldn't be purged yet: {exc.message}")
            self._judge_purges = True
            return
        self.purged += len(gone)
        for callback in self._purge_callbacks:
            call(callback, keys)
        self._to_purge.difference_update(keys)

    def _due(self, keys: Collection[EntryKey]) -> list[EntryKey]:
        """Those whose entries are held and whose bodies are to go; what isn't held is purged as it comes in."""
        return [key for key in keys if self.store.size(key.author, key.epoch) > key.seq and self._is_purged(key)]

    def _is_purged(self, key: EntryKey) -> bool:
        """Whether somebody who may has asked for this entry's body to go."""
        claims = self.store.purge_claims().get(key, frozenset())
        return any(purger == key.author or self._may_purge(purger, key) for purger in claims)

    def _deliver(self, entries: Sequence[Entry]) -> None:
        if entries:
            for callback in self._entry_callbacks:
                call(callback, entries)


def call(callback: Callable[..., None], *args: object) -> None:
    """A callback's bug costs that call, not the commit it came from."""
    try:
        callback(*args)
    except Exception:
        log.exception("feeds: %r failed", callback)


def _purge_data(entry: Entry) -> PurgeData | None:
    return entry.data(PurgeData) if entry.header.type == LOG_PURGE else None
