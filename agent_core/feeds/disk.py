"""The store's work, done where it holds up nobody, and whether the disk refuses it at the moment."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TypeVar

import trio

from agent_core.errors import StoreError
from agent_core.feeds.model import MAX_BODY_BYTES
from agent_core.feeds.ranges import Extension
from agent_core.feeds.store import Store
from agent_core.telemetry.sparing import Sparing

log = logging.getLogger(__name__)

T = TypeVar("T")

_PROBE = "disk.probe"


class Disk:
    """Runs what reads and writes the store.

    Args:
        threaded: in a worker thread, for a store that waits for a disk.
    """

    def __init__(self, threaded: bool) -> None:
        self._threaded = threaded
        self._sparing = Sparing(log)
        self.trouble = ""  #: what the disk said when it last refused, with what to do; empty once it obeys again
        self.changed: Callable[[], None] = lambda: None
        self.refuses: Callable[[], None] = lambda: None  #: called when it begins to

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work on the store.

        Raises:
            StoreError: the disk refuses; :attr:`trouble` says so until :meth:`recover` finds it mended.
        """
        try:
            return await trio.to_thread.run_sync(work) if self._threaded else work()
        except StoreError as exc:
            self._say(str(exc))
            raise

    async def extend(
        self, store: Store, new: Extension, *, index_ops: bool = False, purged: Collection[int] = ()
    ) -> bool:
        """Store entries as :meth:`Store.extend` does; only the wait for the disk is spent in the worker thread.

        SQLite gives up the interpreter's lock at each statement, and beside a busy event loop takes up to 5 ms to get it back, so
        a thread that inserts hundreds of rows starves. Inserted here they take a few microseconds each.

        Raises:
            StoreError: nothing was stored.
        """
        try:
            settle = store.stage(new, index_ops=index_ops, purged=purged)
        except StoreError as exc:
            self._say(str(exc))
            raise
        if settle is not None:
            await self.run(store.sync)
            settle()  # here, so that nobody sees the entries held before they are counted and handed out
        return settle is not None

    async def recover(self, write: Callable[[str, bytes], None]) -> None:
        """Find out whether a disk that refused obeys again, by writing as much as the largest entry takes.

        A smaller write proves nothing: on a full disk there is still room inside the files.
        """
        with suppress(StoreError):
            await self.run(functools.partial(write, _PROBE, bytes(2 * MAX_BODY_BYTES)))
            await self.run(functools.partial(write, _PROBE, b""))
            self._say("")

    def _say(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        self.trouble = trouble
        if trouble:
            self._sparing.error(f"the store can't be written: {trouble}")
            self.refuses()
        else:
            log.info("the store can be written again")
        self.changed()
