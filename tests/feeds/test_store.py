"""The store: what is written is there after a restart, a kill, and damage is told."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from agent_core.errors import NotFound, StoreError
from agent_core.feeds.merkle import Frontier
from agent_core.feeds.model import Entry, EntryKey, Missing
from agent_core.feeds.ranges import Extension
from agent_core.feeds.store import Store
from tests.support.feeds import VERIFIER, Node, note, signer


async def filled(path: Path, count: int = 5) -> Node:
    node = Node(0, None, path)
    feeds = node.open()
    for n in range(count):
        await feeds.append([note(n, b"body %d" % n)])
    return node


async def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    node = await filled(tmp_path / "s.db")
    before = node.feeds.heads()
    assert node.store is not None
    await node.feeds.write("vote", b"7")
    node.store.close()
    store = Store.open(tmp_path / "s.db")
    assert store.heads() == before
    assert [e.header.seq for e in store.entries(node.me, 0)] == [0, 1, 2, 3, 4]
    assert [e.header.seq for e in store.entries(node.me, 0, 1, 3)] == [1, 2]
    assert len(list(store.all_entries())) == store.entry_count == 5
    assert store.body(node.key(3)) == b"body 3"
    assert store.body(node.key(9)) == Missing.NOT_FETCHED
    assert store.body(EntryKey("nobody", 0, 0)) == Missing.NOT_FETCHED
    assert store.read("vote") == b"7"
    assert store.read("other") is None
    assert store.latest_hlc(node.me) == list(store.entries(node.me, 0))[-1].header.hlc
    assert [e.header.seq for e in store.tail(2)] == [3, 4]
    verification = store.verify(VERIFIER)
    assert (verification.ok, verification.feeds, verification.entries, verification.bodies) == (True, 1, 5, 5)
    store.close()


async def test_offline_commands_read_it_beside_a_running_node_and_without(tmp_path: Path) -> None:
    node = await filled(tmp_path / "s.db")
    beside = Store.open(tmp_path / "s.db", read_only=True)
    assert beside.entry_count == 5
    beside.close()
    assert node.store is not None
    node.store.close()
    alone = Store.open(tmp_path / "s.db", read_only=True)
    assert len(list(alone.all_entries())) == 5
    with pytest.raises(StoreError):
        alone.write("key", b"value")
    alone.close()


async def test_what_is_read_beside_a_running_node_is_of_one_instant(tmp_path: Path) -> None:
    node = await filled(tmp_path / "s.db")
    beside = Store.open(tmp_path / "s.db", read_only=True)
    await node.feeds.append([note(5, b"later")])
    verification = beside.verify(VERIFIER)
    assert (verification.ok, verification.entries, verification.bad) == (True, 5, "")
    assert beside.read("vote") is None
    beside.close()
    assert node.store is not None
    node.store.close()


def test_there_is_nothing_to_read_in_an_empty_home(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Store.open(tmp_path / "s.db", read_only=True)
    assert not (tmp_path / "s.db").exists()


async def test_a_newer_version_is_told(tmp_path: Path) -> None:
    node = await filled(tmp_path / "s.db")
    assert node.store is not None
    node.store.close()
    db = sqlite3.connect(tmp_path / "s.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    for read_only in (True, False):
        with pytest.raises(StoreError, match="newer version") as caught:
            Store.open(tmp_path / "s.db", read_only=read_only)
        assert caught.value.next


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"this is no database " * 500)
    with pytest.raises(StoreError, match="damaged") as caught:
        Store.open(tmp_path / "s.db")
    assert "Move it away" in caught.value.next


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be opened"):
        Store.open(tmp_path / "none" / "s.db")


async def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    node = Node(0, None, tmp_path / "s.db")
    feeds = node.open()
    assert node.store is not None
    node.store.close()
    node.store = store = Store.open(tmp_path / "s.db", max_pages=40)
    feeds = type(feeds)(store, node.signer, VERIFIER, feeds._intake._clock)
    kept: list[Entry] = []

    async def fill() -> None:
        for n in range(100):
            kept.extend(await feeds.append([note(n, bytes(4000))]))

    with pytest.raises(StoreError, match="full") as caught:
        await fill()
    assert "Free some space" in caught.value.next
    assert store.size(node.me, 0) == len(kept) > 0
    await feeds.write("small", b"1")
    assert store.verify(VERIFIER).ok
    store.close()


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (
            "UPDATE entries SET raw = CAST(replace(CAST(raw AS TEXT), '\"n\":2', '\"n\":7') AS BLOB) WHERE key % 1099511627776 = 2",
            "/0/2",
        ),
        ("UPDATE bodies SET data = x'00' WHERE key % 1099511627776 = 3", "/0/3"),
        ("DELETE FROM entries WHERE key % 1099511627776 = 1", "/0/1"),
        ("UPDATE entries SET nodes = zeroblob(32) WHERE key % 1099511627776 = 2", "/0/2"),
        ("UPDATE feeds SET root = zeroblob(32)", "/0/4"),
        ("UPDATE checkpoints SET note = replace(note, 'feed/v1', 'feed/v2')", "/0/4"),
        ("DELETE FROM checkpoints", "/0/4"),
    ],
)
async def test_verification_names_the_first_bad_entry(tmp_path: Path, damage: str, names: str) -> None:
    node = await filled(tmp_path / "s.db")
    assert node.store is not None
    node.store.close()
    db = sqlite3.connect(tmp_path / "s.db")
    assert db.execute(damage).rowcount == 1
    db.commit()
    db.close()
    store = Store.open(tmp_path / "s.db")
    found = store.verify(VERIFIER)
    assert not found.ok
    assert f"{node.me}{names}" in found.bad
    store.close()


async def test_only_what_follows_is_stored() -> None:
    node = Node(0, None)
    feeds = node.open()
    await feeds.append([note(0)])
    store = feeds.store
    late = Extension(node.me, 0, 0, [], [], [], Frontier(), None)  # type: ignore[arg-type]
    assert not store.extend(late)
    assert store.size(node.me, 0) == 1


@pytest.mark.parametrize("count", [1, 15, 16, 17, 33])  # sixteen rows are written by one statement
async def test_entries_with_and_without_bodies_are_stored_however_many_come_at_once(count: int, tmp_path: Path) -> None:
    node = Node(0, None, tmp_path / "store.db")
    drafts = [note(n, None if n % 3 == 0 else bytes(n)) for n in range(count)]
    made = await node.open().append(drafts)
    node.feeds.store.close()
    store = Store.open(tmp_path / "store.db")
    assert list(store.entries(node.me, 0)) == list(made)
    assert [store.body(entry.key) for entry in made] == [d.body if d.body is not None else Missing.NONE for d in drafts]
    assert store.verify(VERIFIER).ok
    store.close()


async def test_many_feeds_do_not_mix(tmp_path: Path) -> None:
    """Row ids carry the feed's number and the entry's: neighbours' ranges must not overlap."""
    path = tmp_path / "s.db"
    for n in range(4):
        node = Node(n, None, path)
        feeds = node.open()
        await feeds.append([note(n, b"%d" % n), note(n)])
        feeds.store.close()
    store = Store.open(path)
    for n in range(4):
        me = signer(n).peer_id
        assert [e.header.author for e in store.entries(me, 0)] == [me, me]
        assert store.body(EntryKey(me, 0, 0)) == b"%d" % n
        assert store.entry(EntryKey(me, 0, 1 << 40)) is None
        assert store.entry(EntryKey(me, 0, -1)) is None
        assert store.items(me, 0, 1 << 40, (1 << 40) + 9, 1000) == []
    assert store.verify(VERIFIER).ok
    store.close()


_KILLED = """
import sys
import trio
from agent_core.clock import HybridClock
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.identity.signing import Ed25519Verifier
from tests.support.feeds import note, signer

async def main() -> None:
    store = Store.open(sys.argv[1])
    feeds = Feeds(store, signer(0), Ed25519Verifier(), HybridClock())
    n = 0
    while True:
        await feeds.append([note(n), note(n + 1)])
        n += 2
        print(n, flush=True)

trio.run(main)
"""


def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_KILLED), str(tmp_path / "s.db")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        try:
            acknowledged = [int(process.stdout.readline()) for _ in range(20)][-1]
        finally:
            process.send_signal(signal.SIGKILL)
    store = Store.open(tmp_path / "s.db")
    size = store.size(signer(0).peer_id, 0)
    assert size >= acknowledged
    assert size % 2 == 0, "a commit is whole or not there"
    assert store.verify(VERIFIER).ok
    store.close()


async def test_a_store_of_the_format_before_learns_which_entries_settle_what_counts(tmp_path: Path) -> None:
    node = Node(0, None, tmp_path / "store.db")
    feeds = node.open()
    await feeds.append([note(0), note(1, type="act"), note(2, type="acting"), note(3, type="roster.yield")])
    found = [entry.header.type for entry in feeds.store.settling()]
    assert found == ["act", "roster.yield"]
    await node.stop()
    with closing(sqlite3.connect(tmp_path / "store.db")) as db:
        db.execute("DROP TABLE settling")
        db.execute("PRAGMA user_version = 1")
    for read_only in (True, False, True):
        store = Store.open(tmp_path / "store.db", read_only=read_only)
        assert [entry.header.type for entry in store.settling()] == found
        store.close()


async def test_the_newest_are_read_page_by_page(tmp_path: Path) -> None:
    node = await filled(tmp_path / "s.db", 7)
    assert node.store is not None
    pages, before = [], None
    while page := node.store.tail(3, before):
        pages.append([e.header.seq for e in page])
        before = page[0]
    assert pages == [[4, 5, 6], [1, 2, 3], [0]]
    node.store.close()
