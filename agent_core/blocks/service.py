"""The blocks of one node: cut and kept before the entry that names them, fetched from others, served to them, and dropped with their body."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import trio

from agent_core.blocks.catalogue import Catalogue
from agent_core.blocks.exchange import Exchange
from agent_core.blocks.fetching import Fetcher, Providers
from agent_core.blocks.model import EAGER_BYTES, MAX_CONTENT_BYTES, Manifest, address, cut
from agent_core.blocks.store import BlockStore
from agent_core.errors import ChorusError, TooLarge
from agent_core.feeds.model import Entry, EntryKey, Missing
from agent_core.feeds.service import Feeds
from agent_core.network import Network
from agent_core.telemetry.sparing import Sparing

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Entries looked at before others get a turn, and how often cursors are written when nothing else is, seconds.
_PAGE, _CURSORS_S = 500, 30.0
#: How often the others are asked whether they hold a body, while somebody waits for it, seconds.
_ASK_S = 0.2


@dataclass(frozen=True, slots=True)
class BlockSettings:
    """How much is kept.

    Args:
        max_bytes: largest body that is written here.
        eager_bytes: bodies up to this are fetched unasked.
        room_bytes: blocks held at most, before others' bodies aren't fetched any more.
    """

    max_bytes: int = 64 * 1024 * 1024
    eager_bytes: int = EAGER_BYTES
    room_bytes: int = 4 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BlocksStatistics:
    """Counters since the start, and sizes now."""

    held: int
    held_bytes: int
    bodies: int
    wanted: int  #: bodies that aren't whole here
    fetched: int
    fetched_bytes: int
    served: int
    served_bytes: int
    lies: int  #: answers that weren't the block asked for
    dropped: int  #: blocks that went with their bodies
    provided: int  #: provider records put into the DHT
    found: int  #: peers found by provider records


class Blocks:
    """Bodies over 32 KiB. Hooks itself into the feeds: they cut with it, and it follows what they store and purge.

    Args:
        store: the open block store; stays the caller's to close.
        feeds: the feeds of this node.
        network: where peers are.
        settings: how much is kept.
        providers: the provider records of the mesh; nothing without a DHT.
        rng: picks peers.
    """

    def __init__(
        self,
        store: BlockStore,
        feeds: Feeds,
        network: Network,
        *,
        settings: BlockSettings | None = None,
        providers: Providers | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._store, self._feeds, self._network = store, feeds, network
        self._settings = settings or BlockSettings()
        self.bodies = Catalogue(store, feeds.store)  #: reads all bodies of this node
        self._writing = trio.Lock()
        self._fresh: dict[bytes, Manifest] = {}  # cut, and no entry names them yet
        self._found: dict[EntryKey, int] = {}
        self._purged = self._moved = False
        self._news = trio.Event()
        self._sparing = Sparing(log)
        self._dropped = 0
        self._exchange = Exchange(network, store, self.bodies, feeds.wants)
        self._fetcher = Fetcher(self._exchange, self.bodies, store, feeds, self._settings, self.keep, providers, rng)
        self.bodies.why = self._fetcher.why
        self.changed: Callable[[], None] = lambda: None  #: called when a body has become whole
        feeds.cut_with(self.cut)
        feeds.on_entries(self._stored)
        feeds.on_purged(self._body_purged)

    def statistics(self) -> BlocksStatistics:
        """Counters and sizes."""
        return BlocksStatistics(
            held=self._store.count,
            held_bytes=self._store.octets,
            bodies=len(self.bodies.sizes),
            wanted=self._fetcher.wanted,
            fetched=self._exchange.fetched,
            fetched_bytes=self._exchange.fetched_bytes,
            served=self._exchange.served,
            served_bytes=self._exchange.served_bytes,
            lies=self._exchange.lies,
            dropped=self._dropped,
            provided=self._fetcher.provided,
            found=self._fetcher.found,
        )

    # --- writing ------------------------------------------------------------------------------------------------------

    async def cut(self, body: bytes) -> bytes:
        """Keep the blocks of a body, durable when this returns, and give their manifest.

        Raises:
            TooLarge: over the limit.
            StoreError: the disk refuses.
        """
        limit = min(self._settings.max_bytes, MAX_CONTENT_BYTES)
        if len(body) > limit:
            raise TooLarge(
                f"The content has {len(body):,} bytes; the limit here is {limit:,}.",
                "Split it over several addresses, or raise blocks.max_mib.",
            )
        manifest, blocks = await trio.to_thread.run_sync(cut, body)
        hash = address(manifest)
        self._fresh[hash] = Manifest(v=1, size=len(body), blocks=b"".join(blocks))
        try:
            await self.keep(blocks)
        except BaseException:
            del self._fresh[hash]
            raise
        return manifest

    async def keep(self, blocks: dict[bytes, bytes]) -> None:
        """Store blocks. Raises ``StoreError``."""
        await self._write(functools.partial(self._store.add, blocks))

    async def probe(self) -> bool:
        """Put a block and get it; whether it came back as it was. Raises ``StoreError``."""
        return await self._write(self._store.probe)

    async def _write(self, work: Callable[[], T]) -> T:
        async with self._writing:
            with trio.CancelScope(shield=True):
                return await trio.to_thread.run_sync(work) if self._store.on_disk else work()

    # --- who holds ----------------------------------------------------------------------------------------------------

    async def wait_held(self, key: EntryKey, n: int, timeout_s: float) -> int:
        """Wait until ``n`` other members hold an entry with its whole body, at most so long in seconds; how many do."""
        if not self.bodies.size(key):
            return await self._feeds.wait_held(key, n, timeout_s)
        holders: set[str] = set()
        with trio.move_on_after(timeout_s):
            while True:
                asked = [p for p in self._exchange.members() if p not in holders and self._feeds.holds(p, key)]
                async with trio.open_nursery() as nursery:
                    for peer in asked:
                        nursery.start_soon(self._ask_held, peer, key, holders)
                if len(holders) >= n:
                    break
                await trio.sleep(_ASK_S)
        return len(holders)

    async def _ask_held(self, peer: str, key: EntryKey, holders: set[str]) -> None:
        if await self._exchange.holds_whole(peer, key):
            holders.add(peer)

    async def fetch(self, key: EntryKey, timeout_s: float) -> str:
        """Get a body that is fetched only when asked for.

        Args:
            key: the entry.
            timeout_s: how long to wait for it, seconds; it is fetched on in the background.

        Returns:
            Why it is still missing; empty when it is here.
        """
        if not self.bodies.size(key):
            body = self.bodies.body(key)
            return body.value if isinstance(body, Missing) else ""
        if not self.bodies.is_whole(key):
            await self._fetcher.demand(key, timeout_s)
        return "" if self.bodies.is_whole(key) else self._reason(key)

    def _reason(self, key: EntryKey) -> str:
        manifest = self.bodies.manifest(key)
        return manifest.value if isinstance(manifest, Missing) else self._fetcher.why(key).value

    # --- following the feeds ------------------------------------------------------------------------------------------

    def _stored(self, entries: Sequence[Entry]) -> None:
        found = self.bodies.look(entries)
        self._moved = True
        if found:
            self._found |= found
            self._news.set()

    def _body_purged(self, keys: Sequence[EntryKey]) -> None:
        if any(key in self.bodies.sizes for key in keys):
            self._purged = True
            self._news.set()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look through the feeds, fetch, provide and drop, until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            try:
                await self._catch_up()
                nursery.start_soon(self._fetcher.run, self._became_whole)
                while True:
                    await self._follow()
                    with trio.move_on_after(_CURSORS_S):
                        await self._news.wait()
            finally:
                await self._note()

    def _became_whole(self, key: EntryKey) -> None:
        self.changed()

    async def _catch_up(self) -> None:
        """Look at what came while this didn't run, then drop what no body names any more."""
        for head in self._feeds.heads():
            feed = (head.author, head.epoch)
            while (start := self.bodies.cursors.get(feed, 0)) < head.size:
                entries = self._feeds.store.entries(*feed, start, min(start + _PAGE, head.size))
                self._found |= self.bodies.look(entries)
                self._moved = True
                await trio.lowlevel.checkpoint()
        await self._note()
        self._fetcher.want(self.bodies.sizes)
        self._purged = True

    async def _follow(self) -> None:
        self._news = trio.Event()
        found = dict(self._found)
        await self._note()
        self._fetcher.want(found)
        for key in found:
            if key.author == self._network.peer_id:
                raw = self._feeds.body(key)
                self._fresh.pop(address(raw) if isinstance(raw, bytes) else b"", None)
        if self._purged:
            await self._drop()

    async def _note(self) -> None:
        """Write down what was found and how far was looked."""
        found, self._found = self._found, {}
        if not found and not self._moved:
            return
        self._moved = False
        try:
            await self._write(functools.partial(self._store.note, found, dict(self.bodies.cursors)))
        except ChorusError as exc:
            self._sparing.error(f"blocks: what was found couldn't be noted: {exc.message}")
            self._found, self._moved = found | self._found, True

    async def _drop(self) -> None:
        """Drop bodies that are gone for good, and the blocks nobody names; what others still name stays."""
        gone = [k for k in self.bodies.sizes if self.bodies.manifest(k) in (Missing.PURGED, Missing.EXPIRED)]
        keep = self.bodies.named().union(*self._fresh.values())
        try:
            self._dropped += await self._write(functools.partial(self._store.forget, gone, keep))
        except ChorusError as exc:
            self._sparing.error(f"blocks: what was purged couldn't be dropped yet: {exc.message}")
            return
        self._purged = False
        self._fetcher.forget(gone)
        for key in gone:
            self.bodies.sizes.pop(key, None)
