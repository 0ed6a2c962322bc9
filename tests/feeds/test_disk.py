"""A disk that refuses: said at once, and until as much as the largest entry can be written again."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from agent_core.errors import StoreError
from agent_core.feeds.disk import Disk
from agent_core.feeds.model import MAX_BODY_BYTES
from agent_core.feeds.store import Store
from tests.support.feeds import Node, note, same
from tests.support.streams import MemoryMesh


class Full:
    """A disk with room for small values only."""

    def __init__(self) -> None:
        self.room = 0
        self.written: list[int] = []

    def write(self, key: str, value: bytes) -> None:
        if len(value) > self.room:
            raise StoreError("The disk is full.", "Free some space.")
        self.written.append(len(value))


async def test_trouble_is_said_until_a_large_write_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    changes: list[str] = []
    disk, full = Disk(threaded=False), Full()
    disk.changed = lambda: changes.append(disk.trouble)
    for _ in range(3):
        with pytest.raises(StoreError, match="full"):
            await disk.run(lambda: full.write("k", b"entry"))
    assert changes == ["The disk is full. Free some space."]

    full.room = 100
    await disk.run(lambda: full.write("k", b"entry"))
    await disk.recover(full.write)
    assert disk.trouble, "room for a small value proves nothing"

    full.room = 2 * MAX_BODY_BYTES
    await disk.recover(full.write)
    assert disk.trouble == ""
    assert changes[1:] == [""]
    assert full.written[-1] == 0, "the probe leaves nothing behind"
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_disk_that_obeys_again_is_well_within_two_seconds_whenever_it_refused(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    node = Node(0, None, interval_s=5.0)
    feeds = await node.start(nursery)
    for rested_s in (0.1, 1.5, 3.0):
        await trio.sleep(10 + rested_s)
        with pytest.raises(StoreError):
            await feeds.disk.run(_refuse)
        assert feeds.disk.trouble
        with trio.fail_after(2.0):
            while feeds.disk.trouble:  # noqa: ASYNC110 - only the disk's own notice is waited for
                await trio.sleep(0.05)
    await node.stop()
    nursery.cancel_scope.cancel()


def _refuse() -> None:
    raise StoreError("The disk is full.", "Free some space.")


async def test_what_is_not_the_disks_fault_is_no_trouble() -> None:
    disk = Disk(threaded=True)
    with pytest.raises(ZeroDivisionError):
        await disk.run(lambda: 1 // 0)
    assert disk.trouble == ""


async def test_entries_are_held_once_they_are_on_disk_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(0, None, tmp_path / "store.db")
    feeds = node.open()
    store, held = feeds.store, list[tuple[int, int]]()
    monkeypatch.setattr(store, "sync", lambda: (Store.sync(store), held.append((store.entry_count, len(node.seen)))))
    for _ in range(2):
        await feeds.append([note()])
    assert held == [(0, 0), (1, 1)]
    assert (store.entry_count, len(node.seen)) == (2, 2)
    store.close()


async def test_a_follower_with_a_full_disk_says_so_once_and_catches_up_by_itself(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(nursery)
        author, follower = Node(0, mesh), Node(1, mesh)
        feeds = await author.start(nursery)
        await follower.start(nursery)
        mesh.connect(author.me, follower.me)
        await feeds.append([note(0)])
        await same(author, follower)
        assert follower.store is not None
        db = follower.store._writer
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        for n in range(200):
            await feeds.append([note(n, bytes(500))])
            await trio.sleep(1)
        assert "full" in follower.feeds.disk.trouble
        assert 0 < len(caplog.records) <= 4, [record.getMessage() for record in caplog.records]
        db.execute("PRAGMA max_page_count = 1000000")
        await same(author, follower)
        await follower.stop()
        await author.stop()
        nursery.cancel_scope.cancel()
