"""Appending: group commits, operations, limits, holding, bundles, epochs without peers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import trio

from agent_core.clock import HybridClock, pack
from agent_core.errors import Conflict, NotFound, Refused, SecretFound, TooLarge, Unavailable, VerificationFailed
from agent_core.feeds import checkpoint
from agent_core.feeds.heads import EpochData, FeedHead, PurgeData
from agent_core.feeds.model import MAX_BODY_BYTES, Draft, Entry, Missing
from agent_core.feeds.ranges import Extension, verify_range
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from tests.support.feeds import VERIFIER, Node, note, signer
from tests.support.streams import eventually


class Clock:
    """A wall clock that tests move, in milliseconds."""

    def __init__(self, ms: int = 1_700_000_000_000) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


async def test_entries_are_numbered_stamped_signed_and_delivered() -> None:
    node = Node(0, None)
    feeds = node.open()
    entries = [*(await feeds.append([note(0), note(1)])), *(await feeds.append([note(2)]))]
    assert [e.header.seq for e in entries] == [0, 1, 2]
    stamps = [e.header.hlc for e in entries]
    assert stamps == sorted(set(stamps))
    assert node.seen == entries
    (head,) = feeds.heads()
    ((base, size, text, proof),) = feeds.store.checkpoints(node.me, 0)
    signed = checkpoint.verify(text, node.me, 0, VERIFIER)
    assert (base, size, proof, signed.size, signed.root.hex()) == (3, 3, (), head.size, head.root)
    assert feeds.body(entries[0].key) == b"text"
    assert await feeds.append([]) == []


async def test_concurrent_callers_share_commits(tmp_path: Path) -> None:
    node = Node(0, None, tmp_path / "s.db")
    feeds = node.open()
    results: dict[int, Sequence[Entry]] = {}

    async def call(n: int) -> None:
        results[n] = await feeds.append([note(n)])

    async with trio.open_nursery() as nursery:
        for n in range(64):
            nursery.start_soon(call, n)
    stats = feeds.statistics()
    assert stats.appended == 64
    assert stats.commits <= 3
    assert sorted(r[0].header.seq for r in results.values()) == list(range(64))
    assert all(msgspec.json.decode(r[0].header.data) == {"n": n} for n, r in results.items())
    assert feeds.store.verify(VERIFIER).ok
    feeds.store.close()


async def test_a_repeated_operation_changes_nothing(tmp_path: Path) -> None:
    node = Node(0, None, tmp_path / "s.db")
    feeds = node.open()
    (first,) = await feeds.append([note(1, op="op-1")])
    head = feeds.heads()
    assert await feeds.append([note(2, b"other", op="op-1")]) == [first]
    assert feeds.heads() == head
    assert node.seen == [first]
    twice = await feeds.append([note(3, op="op-2"), note(4, op="op-2"), note(5)])
    assert [e.header.seq for e in twice] == [1, 1, 2]
    results: list[Entry] = []

    async def call() -> None:
        results.extend(await feeds.append([note(6, op="op-3")]))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(call)
    assert {e.header.seq for e in results} == {3}
    feeds.store.close()
    again = Node(0, None, tmp_path / "s.db").open()
    assert await again.append([note(7, op="op-1")]) == [first]
    again.store.close()


async def test_an_operation_id_of_another_type_is_a_conflict_for_its_caller_only() -> None:
    feeds = Node(0, None).open()
    await feeds.append([note(op="op-1")])
    outcome: dict[str, object] = {}

    async def call(name: str, drafts: Sequence[Draft]) -> None:
        try:
            outcome[name] = [e.header.seq for e in await feeds.append(drafts)]
        except Conflict as exc:
            outcome[name] = exc.code

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, "good", [note()])
        nursery.start_soon(call, "bad", [note(), note(op="op-1", type="test.other")])
        nursery.start_soon(call, "fine", [note()])
    assert outcome["bad"] == "conflict"
    assert sorted([outcome["good"], outcome["fine"]]) == [[1], [2]]  # type: ignore[type-var]
    assert feeds.store.verify(VERIFIER).ok


async def test_what_is_too_large_is_refused_and_nothing_is_written() -> None:
    class Big(msgspec.Struct):
        text: str

    feeds = Node(0, None).open()
    await feeds.append([note(0, bytes(MAX_BODY_BYTES))])
    with pytest.raises(TooLarge, match="32769 bytes"):
        await feeds.append([note(1), note(2, bytes(MAX_BODY_BYTES + 1))])
    with pytest.raises(TooLarge):
        await feeds.append([note(1), Draft("test.big", Big("x" * 20_000))])
    assert feeds.statistics().entries == 1
    await feeds.append([note(1)])
    assert feeds.store.verify(VERIFIER).ok


async def test_the_door_is_in_front_of_everything() -> None:
    def door(draft: Draft) -> Draft:
        if draft.body == b"key":
            raise SecretFound("Line 1 holds a key.", "Take it out.")
        return Draft(draft.type, draft.data, b"clean")

    feeds = Node(0, None, door=door).open()
    with pytest.raises(SecretFound):
        await feeds.append([note(body=b"fine"), note(body=b"key")])
    assert feeds.heads() == []
    (entry,) = await feeds.append([note(body=b"token")])
    assert feeds.body(entry.key) == b"clean"


async def test_a_clock_far_off_appends_nothing() -> None:
    feeds = Node(0, None).open()
    feeds.clock_off_s = lambda: -300.0
    with pytest.raises(Unavailable, match="300 s behind"):
        await feeds.append([note()])
    feeds.clock_off_s = lambda: 100.0
    assert await feeds.append([note()])


async def test_a_cancelled_caller_does_not_hurt_the_others(tmp_path: Path) -> None:
    feeds = Node(0, None, tmp_path / "s.db").open()
    results: list[Entry] = []

    async def call() -> None:
        results.extend(await feeds.append([note()]))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as impatient:
                impatient.start_soon(feeds.append, [note()])
                impatient.start_soon(feeds.append, [note()])
                nursery.start_soon(call)
                await trio.lowlevel.checkpoint()
                scope.cancel()
    assert len(results) == 1
    assert await feeds.append([note()])
    assert feeds.store.verify(VERIFIER).ok
    feeds.store.close()


async def test_a_crashing_callback_costs_nobody_anything(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Entry] = []
    feeds = Node(0, None).open()
    feeds.on_entries(lambda entries: print(1 // 0))
    feeds.on_entries(seen.extend)
    assert await feeds.append([note()])
    assert len(seen) == 1
    assert "ZeroDivisionError" in caplog.text


async def test_a_bundle_proves_one_entry_alone() -> None:
    feeds = Node(0, None).open()
    entries = await feeds.append([note(n, b"%d" % n) for n in range(7)])
    bundle = feeds.bundle(entries[4].key)
    assert Node(1, None).open().verify_bundle(bundle) == entries[4]
    for changed in (
        msgspec.structs.replace(bundle, header=entries[3].raw, salt=b"", body=None),
        msgspec.structs.replace(bundle, body=b"5"),
        msgspec.structs.replace(bundle, proof=bundle.proof[:-1]),
        msgspec.structs.replace(bundle, checkpoint=checkpoint.sign(signer(1), 0, 7, bytes(32)).note),
    ):
        with pytest.raises(VerificationFailed):
            feeds.verify_bundle(changed)
    with pytest.raises(NotFound):
        feeds.bundle(entries[0].key._replace(seq=9))


async def test_small_commits_are_announced_with_their_entries_and_large_ones_without() -> None:
    feeds = Node(0, None).open()
    heads: list[FeedHead] = []
    feeds.announce = heads.append
    await feeds.append([note(0), note(1)])
    await feeds.append([note(n, bytes(30_000)) for n in range(3)])
    assert [(h.start, h.size, len(h.entries)) for h in heads] == [(0, 2, 2), (5, 5, 0)]
    assert len(msgspec.json.encode(heads[0])) < 65536


async def test_what_is_stamped_far_ahead_waits_for_its_time(tmp_path: Path, nursery: trio.Nursery) -> None:
    wall = Clock()
    ahead = HybridClock(lambda: wall.ms + 600_000)
    writer = Node(1, None, clock=ahead)
    (first, second) = [*(await writer.open().append([note(0)])), *(await writer.feeds.append([note(1)]))]
    reader = Node(0, None, tmp_path / "s.db", clock=HybridClock(wall))
    feeds = await reader.start(nursery)
    feeds.receive_head("anybody", _head(writer))
    await eventually(lambda: feeds.statistics().entries == 2, "the announcement is stored")
    assert reader.seen == []
    assert feeds.held(first)
    assert feeds.held(second)
    await reader.stop()
    reader.options["clock"] = HybridClock(wall)
    feeds = await reader.start(nursery)
    assert feeds.held(first), "it still waits after a restart"
    wall.ms += 500_000
    await eventually(lambda: reader.seen == [first, second], "their time has come")
    assert not feeds.held(second)
    await reader.stop()


def _head(node: Node) -> FeedHead:
    """The whole first epoch of a node as one announcement."""
    store = node.feeds.store
    size = store.size(node.me, 0)
    items = tuple(store.items(node.me, 0, 0, size, 1 << 20))
    note = store.checkpoints(node.me, 0)[0][2]
    return FeedHead(author=node.me, epoch=0, size=size, checkpoint=note, entries=items)


async def test_stamps_go_on_above_those_of_the_last_run(tmp_path: Path) -> None:
    wall = Clock()
    feeds = Node(0, None, tmp_path / "s.db", clock=HybridClock(wall)).open()
    (before,) = await feeds.append([note()])
    feeds.store.close()
    wall.ms -= 60_000
    again = Node(0, None, tmp_path / "s.db", clock=HybridClock(wall)).open()
    (after,) = await again.append([note()])
    assert after.header.hlc > before.header.hlc > pack(wall.ms)
    again.store.close()


async def test_one_may_purge_ones_own_and_others_only_with_authority() -> None:
    node = Node(0, None)
    feeds = node.open()
    (entry,) = await feeds.append([note(body=b"leaked")])
    purge = await feeds.purge(entry.key)
    assert purge.data(PurgeData) == PurgeData(author=node.me, epoch=0, seq=0)
    assert feeds.body(entry.key) == Missing.PURGED
    assert feeds.store.verify(VERIFIER).ok
    assert feeds.bundle(entry.key).body is None
    with pytest.raises(NotFound):
        await feeds.purge(entry.key._replace(seq=7))
    other = Node(1, None, clock=None)
    await other.open().append([note()])
    feeds.store.extend(_extension(other, feeds))
    with pytest.raises(Refused):
        await feeds.purge(other.key(0))


def _extension(writer: Node, reader: Feeds) -> Extension:
    head = _head(writer)
    return verify_range(reader.store.frontier(writer.me, 0), writer.me, 0, head.entries, head.checkpoint, (), VERIFIER)


async def test_a_purged_body_leaves_no_trace_on_disk(tmp_path: Path) -> None:
    feeds = Node(0, None, tmp_path / "s.db").open()
    (entry,) = await feeds.append([note(body=b"a very secret sentence")])
    await feeds.purge(entry.key)
    feeds.store.close()
    assert not any(b"a very secret sentence" in raw for raw in contents(tmp_path))


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


async def test_a_restored_database_opens_the_next_epoch(tmp_path: Path) -> None:
    def open_home() -> Feeds:
        node = Node(0, None, tmp_path / "s.db", instance=tmp_path / "instance")
        return node.open()

    feeds = open_home()
    assert not feeds.restored
    await feeds.append([note(0), note(1)])
    last = feeds.heads()[0]
    feeds.store.close()
    feeds = open_home()
    assert not feeds.no_vote, "a plain restart is no restore"
    feeds.store.close()

    (tmp_path / "instance").unlink()
    feeds = open_home()
    assert feeds.no_vote
    assert "instance file" in feeds.restored
    (entry,) = await feeds.append([note(2)])
    assert entry.key == (feeds.me, 1, 1)
    opened = feeds.store.entry(entry.key._replace(seq=0))
    assert opened is not None
    assert opened.header.type == "feed.epoch"
    data = opened.data(EpochData)
    assert data is not None
    assert data.last == last
    feeds.store.close()
    feeds = open_home()
    assert feeds.no_vote, "until the admin trusts it again, restarts change nothing"
    await feeds.trust()
    assert not feeds.no_vote
    assert (await feeds.append([note(3)]))[0].key == (feeds.me, 1, 2)
    feeds.store.close()
    assert Store.open(tmp_path / "s.db", read_only=True).verify(VERIFIER).ok


async def test_a_lost_database_and_a_copied_one_are_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    nodes = {}
    for name in ("one", "two"):
        home = tmp_path / name
        nodes[name] = Node(0, None, home / "s.db", instance=home / "instance").open()
        await nodes[name].append([note()])
        nodes[name].store.close()
    shutil.copy(tmp_path / "one" / "s.db", tmp_path / "two" / "s.db")
    copied = Node(0, None, tmp_path / "two" / "s.db", instance=tmp_path / "two" / "instance").open()
    assert "another instance" in copied.restored
    copied.store.close()
    (tmp_path / "one" / "s.db").unlink()
    lost = Node(0, None, tmp_path / "one" / "s.db", instance=tmp_path / "one" / "instance").open()
    assert "lost" in lost.restored
    assert (await lost.append([note()]))[0].header.epoch == 1
    lost.store.close()


async def test_a_draft_that_cannot_be_written_is_its_callers_trouble_only() -> None:
    class Odd(msgspec.Struct):
        thing: object

    feeds = Node(0, None).open()
    outcome: list[str] = []

    async def call(draft: Draft) -> None:
        try:
            outcome.append(str((await feeds.append([draft]))[0].header.seq))
        except TypeError as exc:
            outcome.append(type(exc).__name__)

    async with trio.open_nursery() as nursery:
        for draft in (note(), Draft("test.odd", Odd(object())), note()):
            nursery.start_soon(call, draft)
    assert sorted(outcome) == ["0", "1", "TypeError"]


async def test_more_drafts_than_a_commit_takes_are_all_written() -> None:
    feeds = Node(0, None).open()
    sizes: list[int] = []

    async def call(count: int) -> None:
        sizes.append(len(await feeds.append([note(n) for n in range(count)])))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(call, 200)
        nursery.start_soon(call, 700)
    assert sorted(sizes) == [200] * 5 + [700]
    assert feeds.store.entry_count == 1700
    assert feeds.store.verify(VERIFIER).ok
