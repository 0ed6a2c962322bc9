"""Durable appends to this node's own feed: whoever appends at the same time shares a commit, a signature and a sync."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import trio

from agent_core.errors import TooLarge, Unavailable
from agent_core.feeds.disk import Disk
from agent_core.feeds.epochs import Place
from agent_core.feeds.intake import Intake, call
from agent_core.feeds.model import MAX_BODY_BYTES, Draft, Entry, Head
from agent_core.feeds.ranges import Extension
from agent_core.feeds.store import Store
from agent_core.feeds.writing import Pending, Writer

#: Drafts in one commit: making that many entries keeps the event loop for some 10 ms.
MAX_BATCH = 1000


class Appending:
    """The queue of drafts and the commits made of it.

    Args:
        store: the open store.
        disk: runs the store's work.
        writer: makes entries of drafts.
        place: is told when an epoch was opened.
        intake: whose lock orders all writing, and who hands out what is durable.
        door: SHHH, in front of every append.
        committed: called with each commit once it is durable.
    """

    def __init__(
        self,
        store: Store,
        disk: Disk,
        writer: Writer,
        place: Place,
        intake: Intake,
        door: Callable[[Draft], Draft],
        committed: Callable[[Extension], None],
    ) -> None:
        self._store, self._disk, self._writer, self._place = store, disk, writer, place
        self._intake, self._door, self._committed = intake, door, committed
        self.cut: Callable[[bytes], Awaitable[bytes]] | None = None
        self._queue: deque[Pending] = deque()
        self.appended = self.commits = 0

    async def admit(self, drafts: Sequence[Draft]) -> Sequence[Draft]:
        """What of drafts may be appended: redacted by SHHH, within the bounds, and large bodies as blocks.

        Raises:
            SecretFound: SHHH refuses a draft.
            TooLarge: a body is over its limit.
            StoreError: the disk refuses the blocks.
        """
        clean = []
        for draft in drafts:
            if draft.body is None or len(draft.body) <= MAX_BODY_BYTES:
                clean.append(self._door(draft))
            else:
                clean.append(await self._as_blocks(draft))
        return clean

    async def _as_blocks(self, draft: Draft) -> Draft:
        """A draft with a large body: its blocks are durable when this returns, before the entry is (SPEC section 8)."""
        assert draft.body is not None
        if self.cut is None:
            raise TooLarge(
                f"The text has {len(draft.body)} bytes; the limit is {MAX_BODY_BYTES}.",
                "Shorten it, or put it at an address with `chorus-hap ucxl put` and cite that.",
            )
        clean = await trio.to_thread.run_sync(self._door, draft)  # megabytes take SHHH longer than others can wait
        assert clean.body is not None
        return replace(clean, body=await self.cut(clean.body), content=len(clean.body))

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Entry]:
        """Append admitted drafts in one commit, shared with whoever else appends now.

        Raises:
            StoreError: the disk refuses; nothing was appended.
            TooLarge: a header is over its limit.
            Conflict: an ``op`` was used for an entry of another type.
        """
        pending = Pending(drafts)
        self._queue.append(pending)
        try:
            async with self._intake.writing:
                while not pending.done:
                    with trio.CancelScope(shield=True):  # others' drafts are in this commit too
                        await self._commit()
        finally:
            if not pending.done and pending in self._queue:
                self._queue.remove(pending)
        if pending.error is not None:
            raise pending.error
        return pending.entries

    async def _commit(self) -> None:
        """Commit what waits, at most :data:`MAX_BATCH` drafts (and always one caller's whole)."""
        batch: list[Pending] = []
        count = 0
        while self._queue and (not batch or count + len(self._queue[0].drafts) <= MAX_BATCH):
            batch.append(self._queue.popleft())
            count += len(batch[-1].drafts)
        try:
            new = self._writer.prepare(batch)
            if new is not None:
                await self._store_own(new)
        except Exception as exc:
            for pending in batch:
                pending.error, pending.done = pending.error or exc, True
            return
        for pending in batch:
            pending.done = True
        if new is not None:
            await self._stored(new)

    async def open_epoch(self, make: Callable[[Head | None], Draft]) -> Entry:
        """Open the next epoch of this node's feed, in a commit of its own.

        Args:
            make: gives its first entry, told the last head known; nothing is appended meanwhile.

        Raises:
            StoreError: the disk refuses; nothing was appended.
            TooLarge: the header is over its limit.
        """
        async with self._intake.writing:
            with trio.CancelScope(shield=True):
                new = self._writer.open_epoch(make)
                await self._store_own(new)
                await self._stored(new)
        return new.entries[0]

    async def _stored(self, new: Extension) -> None:
        self.appended += len(new.entries)
        self.commits += 1
        await self._intake.stored(new)
        call(self._committed, new)

    async def _store_own(self, new: Extension) -> None:
        if not await self._disk.extend(self._store, new, index_ops=True):
            raise Unavailable("This node's feed was extended by a peer just now.", "Try again.")
        if new.start == 0 and new.epoch > 0:
            await self._disk.run(functools.partial(self._place.opened, new.epoch))
