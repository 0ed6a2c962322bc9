"""The service beside the folds: long histories bit by bit, the state put away, a disk that refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from agent_core.folding import LOOK_S, PUT_AWAY_S, Folding
from agent_core.folds import FoldSet
from agent_core.snapshot import SnapshotFile, open_snapshots
from tests.core.test_snapshot import Home


class Beside:
    """Folds with the service beside them."""

    def __init__(self, folder: Path, said: int) -> None:
        self.home = Home(folder)
        self.home.world.arrive([self.home.world.say("b", f"room-{n % 9}") for n in range(said)])
        self.file: SnapshotFile = open_snapshots(self.home.path)
        self.folds: FoldSet = self.home.folds(self.file, in_steps=True)
        self.changes = 0
        self.service = Folding(lambda: self.folds, self.file, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def put_away(self) -> None:
        """Wait until nothing waits any more."""
        assert self.file.waiting
        async with trio.open_nursery() as nursery:  # the commit's thread knows nothing of the clock here
            nursery.start_soon(self._look, nursery.cancel_scope)

    async def _look(self, scope: trio.CancelScope) -> None:
        while True:
            await trio.sleep(PUT_AWAY_S)
            if not self.file.waiting:
                scope.cancel()

    @property
    def right(self) -> bool:
        return self.folds.rooms.canonical() == self.home.folds(None).rooms.canonical()


async def test_a_long_history_is_folded_while_others_have_their_turn(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    beside = Beside(tmp_path, 1500)
    told = beside.service.underway
    assert told is not None
    assert told.text.startswith("Folding ")
    turns = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(beside.service.run)
        while beside.folds.behind:
            turns += 1
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert (beside.service.underway, beside.changes, beside.right) == (None, 1, True)
        assert turns > 10
        assert beside.file.waiting
        await beside.put_away()
        nursery.cancel_scope.cancel()
    beside.file.close()
    again = open_snapshots(beside.home.path)
    assert not beside.home.folds(again, in_steps=True).behind
    again.close()


async def test_two_who_put_away_at_once_take_turns(tmp_path: Path) -> None:
    beside = Beside(tmp_path, 1500)
    while beside.folds.behind:
        beside.folds.step(100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beside.service.put_away)
        nursery.start_soon(beside.service.put_away)
    assert not beside.file.waiting
    beside.file.close()
    again = open_snapshots(beside.home.path)
    assert not beside.home.folds(again, in_steps=True).behind
    again.close()


async def test_a_damaged_snapshot_is_folded_anew_by_itself(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    beside = Beside(tmp_path, 10)
    async with trio.open_nursery() as nursery:
        await nursery.start(beside.service.run)
        await beside.service.put_away()
        beside.file.damaged = True
        await trio.sleep(LOOK_S + 1)
        assert (beside.file.damaged, beside.right) == (False, True)
        await beside.put_away()
        nursery.cancel_scope.cancel()
    beside.file.close()


async def test_a_disk_that_refuses_is_said_ever_less_often_and_nothing_stops(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    beside = Beside(tmp_path, 1500)
    assert beside.file._writer is not None
    beside.file._writer.execute("PRAGMA max_page_count = 9")
    async with trio.open_nursery() as nursery:
        await nursery.start(beside.service.run)
        await trio.sleep(24 * 3600)
        assert beside.right
        assert 0 < len(caplog.records) < 40
        beside.file._writer.execute("PRAGMA max_page_count = 1000000")
        await beside.put_away()
        nursery.cancel_scope.cancel()
    beside.file.close()
