"""Getting bodies whole: which ones, when, and from whom; first from members that hold the entry, then by provider records."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import trio

from agent_core.blocks.catalogue import Catalogue
from agent_core.blocks.exchange import Exchange, Lie
from agent_core.blocks.machine import Plan
from agent_core.blocks.model import Manifest, address
from agent_core.blocks.store import BlockStore
from agent_core.errors import ChorusError, StoreError
from agent_core.feeds.model import EntryKey, Missing
from agent_core.feeds.service import Feeds
from agent_core.network import StreamClosed
from agent_core.telemetry.sparing import Sparing

if TYPE_CHECKING:
    from agent_core.blocks.service import BlockSettings

log = logging.getLogger(__name__)

#: Bodies fetched at the same time, and peers asked for one of them.
MAX_BODIES, MAX_PEERS = 2, 4
#: First and longest wait before a body is tried again, and how long a liar isn't asked, seconds.
RETRY_MIN_S, RETRY_MAX_S, LIAR_S = 1.0, 60.0, 600.0
#: How often to look for bodies that have no provider record yet, seconds.
_LOOK_S = 1.0
#: Between two provider records, and before one is put again, seconds: peers take ten in ten seconds and keep them a day.
PROVIDE_PAUSE_S, PROVIDE_AGAIN_S = 2.0, 12 * 3600.0


class Providers(Protocol):
    """Provider records: who has what, by a 32-byte address. Neither raises for what the network does."""

    async def provide(self, address: bytes) -> bool:
        """Say that this node has it; whether anybody took the record."""
        ...

    async def connect_provider(self, address: bytes, accepts: Callable[[str], bool]) -> Sequence[str]:
        """Look for peers that say they have it, and connect to some of those that are accepted; their peer ids."""
        ...


@dataclass(eq=False)
class _Wanted:
    """A body that isn't whole here."""

    key: EntryKey
    size: int
    asked: bool = False  #: somebody asked for it
    why: Missing = Missing.NOT_FETCHED
    busy: bool = False
    tries: int = 0
    due: float = 0.0
    done: trio.Event = field(default_factory=trio.Event)


class Fetcher:
    """Keeps the list of bodies that aren't whole, and works on it.

    Args:
        exchange: asks peers.
        bodies: knows manifests.
        store: knows blocks.
        feeds: knows who holds which entry.
        settings: what is fetched unasked, and how much there is room for.
        keep: stores verified blocks, durable.
        providers: the second source; nothing without a DHT.
        rng: spreads the load over peers.
    """

    def __init__(
        self,
        exchange: Exchange,
        bodies: Catalogue,
        store: BlockStore,
        feeds: Feeds,
        settings: BlockSettings,
        keep: Callable[[dict[bytes, bytes]], Awaitable[None]],
        providers: Providers | None,
        rng: random.Random | None,
    ) -> None:
        self._exchange, self._bodies, self._store, self._feeds = exchange, bodies, store, feeds
        self._settings, self._keep, self._providers = settings, keep, providers
        self._rng = rng or random.Random()
        self._wanted: dict[EntryKey, _Wanted] = {}
        self._liars: dict[str, float] = {}
        self._provided: dict[EntryKey, float] = {}
        self._reserved = 0  # bytes that bodies under way may still take
        self._wake = trio.Event()
        self._sparing = Sparing(log)
        self.provided = self.found = 0

    @property
    def wanted(self) -> int:
        """Bodies that aren't whole."""
        return len(self._wanted)

    def want(self, sizes: dict[EntryKey, int]) -> None:
        """Take bodies in; those that are whole already aren't wanted."""
        for key, size in sizes.items():
            if key not in self._wanted and not self._bodies.is_whole(key):
                self._wanted[key] = _Wanted(key, size)
        self._wake.set()

    def forget(self, keys: Iterable[EntryKey]) -> None:
        """Bodies are gone for good."""
        for key in keys:
            self._provided.pop(key, None)
            if wanted := self._wanted.pop(key, None):
                wanted.done.set()

    def why(self, key: EntryKey) -> Missing:
        """Why a body isn't whole."""
        wanted = self._wanted.get(key)
        if wanted is None:
            return Missing.NOT_FETCHED
        if wanted.why is Missing.NOT_FETCHED and not self._is_eager(wanted):
            return Missing.ON_DEMAND
        return wanted.why

    async def demand(self, key: EntryKey, timeout_s: float) -> None:
        """Fetch a body although it is large, and wait for it so long."""
        self.want({key: self._bodies.size(key)})
        wanted = self._wanted.get(key)
        if wanted is not None:
            wanted.asked, wanted.due = True, 0.0
            with trio.move_on_after(timeout_s):
                await wanted.done.wait()

    async def run(self, became_whole: Callable[[EntryKey], None]) -> None:
        """Work on the list until cancelled.

        Args:
            became_whole: told of each body that became so.
        """
        async with trio.open_nursery() as nursery:
            if self._providers is not None:
                nursery.start_soon(self._provide)
            while True:
                self._wake = trio.Event()
                for wanted in self._due():
                    wanted.busy = True
                    nursery.start_soon(self._work, wanted, became_whole)
                with trio.move_on_at(self._next_due()):
                    await self._wake.wait()

    def _is_eager(self, wanted: _Wanted) -> bool:
        return wanted.asked or wanted.size <= self._settings.eager_bytes

    def _due(self) -> list[_Wanted]:
        now = trio.current_time()
        due = [w for w in self._resting() if w.due <= now]
        return sorted(due, key=lambda w: (not w.asked, w.size))[: self._free()]

    def _next_due(self) -> float:
        return min((w.due for w in self._resting()), default=math.inf) if self._free() else math.inf

    def _resting(self) -> list[_Wanted]:
        return [w for w in self._wanted.values() if not w.busy and self._is_eager(w)]

    def _free(self) -> int:
        return max(0, MAX_BODIES - sum(w.busy for w in self._wanted.values()))

    async def _work(self, wanted: _Wanted, became_whole: Callable[[EntryKey], None]) -> None:
        try:
            await self._fetch(wanted)
        except StoreError as exc:
            self._sparing.error(f"blocks: a body can't be stored: {exc.message}")
            wanted.why = Missing.NO_ROOM
        except Exception:
            log.exception("blocks: fetching %s failed", wanted.key)
        finally:
            wanted.busy = False
            wanted.tries += 1
            wanted.due = trio.current_time() + min(RETRY_MIN_S * 2 ** min(wanted.tries - 1, 10), RETRY_MAX_S)
        if wanted.key in self._wanted and self._bodies.is_whole(wanted.key):
            del self._wanted[wanted.key]
            wanted.done.set()
            became_whole(wanted.key)
        self._wake.set()

    # --- one body -----------------------------------------------------------------------------------------------------

    async def _fetch(self, wanted: _Wanted) -> None:
        manifest = self._bodies.manifest(wanted.key)
        if isinstance(manifest, Missing):
            wanted.why = manifest
            return
        missing = self._store.missing(manifest)
        sizes = manifest.sizes()
        needed = sum(sizes[block] for block in missing)
        if self._store.octets + self._reserved + needed > self._settings.room_bytes:
            wanted.why = Missing.NO_ROOM
            return
        self._reserved += needed
        try:
            await self._gather(wanted, manifest, Plan(missing), sizes)
        finally:
            self._reserved -= needed

    async def _gather(self, wanted: _Wanted, manifest: Manifest, plan: Plan, sizes: dict[bytes, int]) -> None:
        wanted.why = Missing.FETCHING
        # Ends: each peer asked in a round gives a block, lacks one more, or isn't asked again.
        while plan.left and (peers := self._holders(wanted.key, plan)):
            await self._pull_all(peers, plan, sizes)
        if plan.left and self._providers is not None:
            found = await self._providers.connect_provider(_record(manifest), self._feeds.wants)
            self.found += len(found)
            members = [p for p in found if p in self._exchange.members() and plan.useful(p) and not self._lied(p)]
            if members:
                await self._pull_all(members[:MAX_PEERS], plan, sizes)
        if plan.left:
            wanted.why = Missing.NO_HOLDER

    def _holders(self, key: EntryKey, plan: Plan) -> list[str]:
        """Members that may have blocks, those that hold the entry first."""
        peers = [p for p in self._exchange.members() if plan.useful(p) and not self._lied(p)]
        self._rng.shuffle(peers)
        return sorted(peers, key=lambda peer: not self._feeds.holds(peer, key))[:MAX_PEERS]

    def _lied(self, peer: str) -> bool:
        until = self._liars.get(peer)
        if until is not None and until <= trio.current_time():
            del self._liars[peer]
            return False
        return until is not None

    async def _pull_all(self, peers: Sequence[str], plan: Plan, sizes: dict[bytes, int]) -> None:
        refused: list[StoreError] = []

        async def pull(peer: str) -> None:
            try:
                await self._pull(peer, plan, sizes)
            except StoreError as exc:
                refused.append(exc)
            if not plan.left or refused:
                nursery.cancel_scope.cancel()  # whoever is still asked is only slower

        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(pull, peer)
        if refused:
            raise refused[0]

    async def _pull(self, peer: str, plan: Plan, sizes: dict[bytes, int]) -> None:
        """Ask one peer until it has nothing more; each block is stored as it comes, so a broken fetch goes on where it was."""
        try:
            async with self._exchange.line(peer) as line:
                while (block := plan.next(peer)) is not None:
                    data = await line.block(block, sizes[block])
                    if data is None:
                        plan.lacks(peer, block)
                        continue
                    await self._keep({block: data})
                    if plan.got(block):
                        self._exchange.fetched += 1
                        self._exchange.fetched_bytes += len(data)
        except Lie as lie:
            plan.drop(peer)
            self._exchange.lied(peer, lie)
            self._liars[peer] = trio.current_time() + LIAR_S
        except (StreamClosed, trio.TooSlowError):
            plan.drop(peer)

    # --- provider records ---------------------------------------------------------------------------------------------

    async def _provide(self) -> None:
        """Say what is whole here, one record at a time, and again before the records expire."""
        assert self._providers is not None
        while True:
            now = trio.current_time()
            for key in list(self._bodies.sizes):
                if key in self._wanted or self._provided.get(key, 0.0) > now or not self._bodies.is_whole(key):
                    continue
                manifest = self._bodies.manifest(key)
                if isinstance(manifest, Manifest):
                    taken = await self._say(manifest)
                    self._provided[key] = trio.current_time() + (PROVIDE_AGAIN_S if taken else RETRY_MAX_S)
                    await trio.sleep(PROVIDE_PAUSE_S)
            await trio.sleep(_LOOK_S)

    async def _say(self, manifest: Manifest) -> bool:
        assert self._providers is not None
        try:
            taken = await self._providers.provide(_record(manifest))
        except ChorusError as exc:
            log.debug("blocks: no provider record was put: %s", exc.message)
            return False
        self.provided += taken
        return taken


def _record(manifest: Manifest) -> bytes:
    """What a body's provider record is put under: the hash of its blocks' addresses."""
    return address(manifest.blocks)
