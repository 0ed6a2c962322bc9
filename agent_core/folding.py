"""Keeps a node's folds going: reads on bit by bit what takes long, and puts their state away now and then."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from agent_core.errors import StoreError
from agent_core.folds import FoldSet
from agent_core.shapes import Underway
from agent_core.snapshot import PUT_AWAY, SnapshotFile

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger(__name__)

#: Entries folded before others have their turn: some 10 ms.
STEP = 100
#: How long values wait in memory that are fewer than :data:`~agent_core.snapshot.PUT_AWAY`, and at most on a disk that
#: refuses them, seconds.
PUT_AWAY_S = 60.0
MAX_EVERY_S = 3600.0
#: How often to look whether there is something to do although nobody said so, and how long to wait after the store
#: refused, seconds.
LOOK_S = 5.0
RETRY_S = 30.0


class Folding:
    """Runs beside the folds of a node.

    Args:
        folds: gives the folds in force; they are replaced when the node moves to another cluster.
        snapshots: where their state is kept.
        changed: called when more is folded than before.
    """

    def __init__(self, folds: Callable[[], FoldSet], snapshots: SnapshotFile, changed: Callable[[], None]) -> None:
        self._folds, self._snapshots, self._changed = folds, snapshots, changed
        self._woken = trio.Event()
        self._most, self._every_s = PUT_AWAY, PUT_AWAY_S
        self._putting_away = trio.Lock()

    def wake(self) -> None:
        """Something was stored, or more counts than before: there may be much to read on, or to put away."""
        if self._folds().behind or self._snapshots.waiting >= self._most:
            self._woken.set()

    @property
    def underway(self) -> Underway | None:
        """What people are told while history is being folded."""
        folds = self._folds()
        if not folds.behind:
            return None
        return Underway(
            kind="folding",
            text=f"Folding {folds.progress:.0%}: what was written before is being read, and not all of it shows yet.",
            brief=f"folding {folds.progress:.0%}",
        )

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fold and put away for ever."""
        task_status.started()
        put_away_at = trio.current_time() + PUT_AWAY_S
        while True:
            try:
                while await self._read_on() or trio.current_time() >= put_away_at:
                    await self._try_to_put_away()
                    put_away_at = trio.current_time() + self._every_s
            except StoreError as exc:
                log.error("the folds can't be read on: %s", exc)
                await trio.sleep(RETRY_S)
            with trio.move_on_after(LOOK_S):
                await self._woken.wait()
            self._woken = trio.Event()

    async def _try_to_put_away(self) -> None:
        """Put away; where the disk refuses go on in memory, and try again after ever more and ever longer."""
        try:
            await self.put_away()
        except StoreError as exc:
            log.error("the folds can't be put away and stay in memory: %s", exc)
            self._most, self._every_s = (
                2 * max(self._most, self._snapshots.waiting),
                min(2 * self._every_s, MAX_EVERY_S),
            )
        else:
            self._most, self._every_s = PUT_AWAY, PUT_AWAY_S

    async def put_away(self) -> None:
        """Put the folds' state on disk, if there is anything new; one caller after the other.

        Raises:
            StoreError: the disk refuses; the state stays in memory.
        """
        async with self._putting_away:
            await self._put_away()

    async def _put_away(self) -> None:
        folds = self._folds()
        if not self._snapshots.waiting or not folds.cluster_id or self._snapshots.damaged:
            return
        with trio.CancelScope(shield=True):
            for _ in self._snapshots.put_away(folds.snapshot()):
                await trio.lowlevel.checkpoint()
            await trio.to_thread.run_sync(self._snapshots.commit)
            self._snapshots.put_down()

    async def _read_on(self) -> bool:
        """Read on until all is folded, or enough waits to be put away first."""
        if self._snapshots.damaged:
            log.warning("the folds' snapshot is damaged and thrown away: the feeds are folded anew")
            self._folds().rebuild()
            self._changed()
        was_behind = self._folds().behind
        while self._folds().behind:
            if self._snapshots.waiting >= self._most:
                return True
            self._folds().step(STEP)
            await trio.lowlevel.checkpoint()
        if was_behind:
            self._changed()
        return self._snapshots.waiting >= self._most
