"""Large bodies between nodes in memory: fetched, resumed, purged; peers that lie, drip or lack; full disks and restarts."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest
import trio

from agent_core.blocks import exchange, fetching, protocol
from agent_core.blocks.audit import verify_home
from agent_core.blocks.model import BLOCK_BYTES, address, cut, parse
from agent_core.blocks.protocol import PROTOCOL, Block, Held, Want
from agent_core.blocks.service import BlockSettings
from agent_core.blocks.store import BlockStore
from agent_core.errors import StoreError, TooLarge
from agent_core.feeds.model import MAX_BODY_BYTES, Draft, EntryKey, Missing
from agent_core.feeds.store import Store
from agent_core.network import Stream, StreamClosed
from agent_core.shapes import Verification
from tests.support.blocks import BlockNode, content
from tests.support.feeds import VERIFIER, Note, same
from tests.support.streams import MemoryMesh, eventually

BODY = content(5 * BLOCK_BYTES + 77)


async def started(nursery: trio.Nursery, count: int, **options: object) -> tuple[MemoryMesh, list[BlockNode]]:
    """Nodes that run; not connected."""
    mesh = MemoryMesh(nursery)
    nodes = [BlockNode(n, mesh, **options) for n in range(count)]
    for node in nodes:
        await node.begin(nursery)
    return mesh, nodes


def on_disk(folder: Path) -> bytes:
    """Everything in a folder's files."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_a_large_body_goes_to_everybody_by_way_of_who_has_it(nursery: trio.Nursery) -> None:
    mesh, (a, b, c) = await started(nursery, 3)
    key = await a.put(BODY)
    assert a.has(key, BODY)
    entry = a.feeds.store.entry(key)
    assert entry is not None
    assert entry.header.body is not None
    assert entry.header.body.content == entry.header.body.shown_size == len(BODY)
    assert entry.header.body.size < MAX_BODY_BYTES
    mesh.connect(a.me, b.me)
    await eventually(lambda: b.has(key, BODY), "the body is with b")
    await a.stop()
    mesh.connect(b.me, c.me)
    await eventually(lambda: c.has(key, BODY), "it goes on from b")
    assert c.blocks.bodies.part(key, BLOCK_BYTES - 3, BLOCK_BYTES + 3) == BODY[BLOCK_BYTES - 3 : BLOCK_BYTES + 3]
    assert c.blocks.statistics().fetched == 6
    nursery.cancel_scope.cancel()


async def test_small_bodies_are_no_blocks_and_too_large_ones_are_refused(nursery: trio.Nursery) -> None:
    _, (a,) = await started(nursery, 1, settings=BlockSettings(max_bytes=100_000))
    key = await a.put(content(MAX_BODY_BYTES))
    assert a.block_store.count == 0
    assert a.has(key, content(MAX_BODY_BYTES))
    with pytest.raises(TooLarge, match=r"blocks\.max_mib"):
        await a.put(content(100_001))
    assert a.block_store.count == 0
    nursery.cancel_scope.cancel()


async def test_shhh_sees_the_whole_body(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)

    def door(draft: Draft) -> Draft:
        assert draft.body is not None
        return Draft(draft.type, draft.data, draft.body.replace(b"secret", b"******"))

    a = BlockNode(0, mesh, door=door)
    await a.begin(nursery)
    key = await a.put(content(BLOCK_BYTES - 3) + b"secret" + content(100))
    assert a.has(key, content(BLOCK_BYTES - 3) + b"******" + content(100))
    nursery.cancel_scope.cancel()


async def test_what_is_large_comes_when_it_is_asked_for(nursery: trio.Nursery) -> None:
    mesh, (a, b) = await started(nursery, 2, settings=BlockSettings(eager_bytes=BLOCK_BYTES))
    key = await a.put(BODY)
    mesh.connect(a.me, b.me)
    await same(a, b)
    await eventually(lambda: b.blocks.bodies.body(key) is Missing.ON_DEMAND, "it isn't fetched unasked")
    assert await b.blocks.fetch(key, 5) == ""
    assert b.has(key, BODY)
    assert await b.blocks.fetch(key, 0) == "", "it is here already"
    nursery.cancel_scope.cancel()


async def test_a_wait_ends_when_so_many_hold_the_whole_body(nursery: trio.Nursery) -> None:
    mesh, (a, b, c) = await started(nursery, 3, settings=BlockSettings(eager_bytes=BLOCK_BYTES))
    mesh.connect(a.me, b.me)
    mesh.connect(a.me, c.me)
    key = await a.put(BODY)
    await same(a, b, c)
    assert await a.blocks.wait_held(key, 1, 0.3) == 0, "they have the entry and nothing of the body"
    await b.blocks.fetch(key, 5)
    assert await a.blocks.wait_held(key, 1, 5) == 1
    async with trio.open_nursery() as asking:
        asking.start_soon(c.blocks.fetch, key, 5)
        assert await a.blocks.wait_held(key, 2, 5) == 2
    nursery.cancel_scope.cancel()


async def test_a_broken_fetch_goes_on_where_it_was(nursery: trio.Nursery, tmp_path: Path) -> None:
    mesh = MemoryMesh(nursery)
    a = BlockNode(0, mesh)
    await a.begin(nursery)
    key = await a.put(BODY)
    b = BlockNode(1, mesh, tmp_path / "store.db", tmp_path / "blocks.db")
    await b.begin(nursery)
    full = a.network.handlers[PROTOCOL]  # type: ignore[union-attr]

    async def some(stream: Stream) -> None:
        for _ in range(2):
            want = protocol.decode(await stream.receive())
            assert isinstance(want, Want)
            await stream.send(protocol.encode(Block(data=a.block_store.block(want.block))))
        mesh.cut(a.me, b.me)

    a.network.handlers[PROTOCOL] = some  # type: ignore[union-attr]
    mesh.connect(a.me, b.me)
    await eventually(lambda: b.block_store.count == 2, "two blocks came before the line broke")
    await eventually(lambda: b.blocks.bodies.body(key) is Missing.NO_HOLDER, "the reason is shown")
    await b.stop()
    a.network.handlers[PROTOCOL] = full  # type: ignore[union-attr]
    await b.begin(nursery)
    assert b.blocks.bodies.body(key) in (Missing.NOT_FETCHED, Missing.FETCHING, Missing.NO_HOLDER)
    mesh.connect(a.me, b.me)
    await eventually(lambda: b.has(key, BODY), "the rest came", 10)
    await eventually(lambda: b.blocks.statistics().wanted == 0, "it is counted")
    assert b.blocks.statistics().fetched == 4
    await b.stop()
    nursery.cancel_scope.cancel()


async def test_a_purge_drops_the_blocks_everywhere_but_not_what_another_body_names(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    mesh = MemoryMesh(nursery)
    a, b = BlockNode(0, mesh), BlockNode(1, mesh, tmp_path / "store.db", tmp_path / "blocks.db")
    for node in (a, b):
        await node.begin(nursery)
    mesh.connect(a.me, b.me)
    shared = content(BLOCK_BYTES, 1)
    first, second = shared + b"first" * 100, shared + b"second" * 100
    gone, kept = await a.put(first), await a.put(second)
    await eventually(lambda: b.has(gone, first) and b.has(kept, second), "both are with b")
    await a.feeds.purge(gone)
    for node in (a, b):
        await eventually(lambda node=node: node.block_store.count == 2, "only what is named is left")
        assert node.blocks.bodies.body(gone) is Missing.PURGED
        assert node.has(kept, second)
    await b.stop()
    assert b"first" * 20 not in on_disk(tmp_path), "nor on the disk"
    nursery.cancel_scope.cancel()


Answer = Callable[[Stream, Want], Awaitable[None]]


async def wrong_bytes(stream: Stream, want: Want) -> None:
    await stream.send(protocol.encode(Block(data=bytes(BLOCK_BYTES))))


async def another_frame(stream: Stream, want: Want) -> None:
    await stream.send(protocol.encode(Held(whole=True)))


async def garbage(stream: Stream, want: Want) -> None:
    await stream.send(b"\xc1garbage")


async def too_long(stream: Stream, want: Want) -> None:
    await stream.send(b"\0" * (protocol.MAX_FRAME_BYTES + 1))


async def nothing(stream: Stream, want: Want) -> None:
    await stream.send(protocol.encode(Block()))


async def silence(stream: Stream, want: Want) -> None:
    await trio.sleep_forever()


async def hang_up(stream: Stream, want: Want) -> None:
    await stream.aclose()


@pytest.mark.parametrize("answer", [wrong_bytes, another_frame, garbage, too_long, nothing, silence, hang_up])
async def test_a_bad_peer_costs_nothing_but_time(
    nursery: trio.Nursery, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two holders answers badly; the body comes from the other one, and no byte of the bad one's is kept."""
    monkeypatch.setattr(exchange, "ANSWER_TIMEOUT_S", 0.2)
    mesh, (a, bad, c) = await started(nursery, 3)
    key = await a.put(BODY)
    mesh.connect(a.me, bad.me)
    await eventually(lambda: bad.has(key, BODY), "both hold it")

    async def serve(stream: Stream) -> None:
        question = protocol.decode(await stream.receive())
        assert isinstance(question, Want)
        await answer(stream, question)

    bad.network.handlers[PROTOCOL] = serve  # type: ignore[union-attr]
    mesh.connect(bad.me, c.me)
    await same(bad, c)
    await eventually(lambda: c.blocks.bodies.body(key) is Missing.NO_HOLDER, "the bad one alone gives nothing")
    assert c.block_store.count == 0
    assert bool(c.blocks.statistics().lies) == (answer in (wrong_bytes, another_frame, garbage, too_long))
    mesh.connect(a.me, c.me)
    await eventually(lambda: c.has(key, BODY), "the honest one gives it", 10)
    nursery.cancel_scope.cancel()


async def test_strangers_and_the_greedy_are_not_served(nursery: trio.Nursery) -> None:
    mesh, (a, b) = await started(nursery, 2)
    key = await a.put(BODY)
    mesh.connect(a.me, b.me)
    await eventually(lambda: b.has(key, BODY), "b is a member")
    lines = [await b.network.open(a.me, PROTOCOL) for _ in range(exchange.MAX_SERVED + 1)]  # type: ignore[union-attr]
    question = protocol.encode(Want(block=address(BODY[:BLOCK_BYTES])))
    served = 0
    for line in lines:
        with trio.move_on_after(1):
            with suppress(StreamClosed):
                await line.send(question)
                served += protocol.decode(await line.receive()) == Block(data=BODY[:BLOCK_BYTES])
    assert served == exchange.MAX_SERVED
    a.feeds.accepts = lambda author: False
    for line in lines:
        await line.aclose()
    await eventually(lambda: not a.blocks._exchange._serving, "all hung up")
    line = await b.network.open(a.me, PROTOCOL)  # type: ignore[union-attr]
    with suppress(StreamClosed):
        await line.send(question)
    with pytest.raises(StreamClosed):
        await line.receive()
    nursery.cancel_scope.cancel()


async def test_a_full_disk_refuses_before_the_entry_is_and_is_said(nursery: trio.Nursery, tmp_path: Path) -> None:
    mesh = MemoryMesh(nursery)
    a = BlockNode(0, mesh)
    full = BlockNode(1, mesh, tmp_path / "store.db", tmp_path / "blocks.db", max_pages=60)
    for node in (a, full):
        await node.begin(nursery)
    with pytest.raises(StoreError, match="full"):
        await full.put(BODY)
    assert full.feeds.store.entry_count == 0, "no entry without its blocks"
    key = await a.put(BODY)
    mesh.connect(a.me, full.me)
    await eventually(lambda: full.blocks.bodies.body(key) is Missing.NO_ROOM, "the reason is shown")
    await full.stop()
    nursery.cancel_scope.cancel()


async def test_no_more_is_fetched_than_there_is_room_for(nursery: trio.Nursery) -> None:
    mesh, (a, b) = await started(nursery, 2, settings=BlockSettings(room_bytes=8 * BLOCK_BYTES))
    keys = [await a.put(content(5 * BLOCK_BYTES, seed)) for seed in range(2)]
    mesh.connect(a.me, b.me)
    await same(a, b)
    await eventually(
        lambda: (
            [b.blocks.bodies.is_whole(key) for key in keys].count(True) == 1
            and Missing.NO_ROOM in [b.blocks.bodies.body(key) for key in keys]
        ),
        "one is here, the other says why not",
    )
    nursery.cancel_scope.cancel()


async def test_a_crash_between_blocks_and_entry_leaves_nothing_and_one_after_it_loses_nothing(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    mesh = MemoryMesh(nursery)
    a = BlockNode(0, mesh, tmp_path / "store.db", tmp_path / "blocks.db")
    blocks = await a.begin(nursery)
    await blocks.cut(BODY)
    kept = content(2 * BLOCK_BYTES, 9)
    key = await a.put(kept)
    await eventually(lambda: key in a.block_store.bodies(), "it is noted")
    a.block_store._writer.execute("DELETE FROM bodies")  # as if it had died before it wrote that down
    a.block_store._writer.execute("DELETE FROM cursors")
    blocks._moved, blocks._found = False, {}
    await a.stop()
    await a.begin(nursery)
    assert a.has(key, kept)
    await eventually(lambda: a.block_store.count == 2, "what no entry names is dropped")
    assert a.block_store.bodies() == {key: len(kept)}
    await a.stop()
    nursery.cancel_scope.cancel()


class Records:
    """Provider records of a mesh, and whom they connect to."""

    def __init__(self, mesh: MemoryMesh) -> None:
        self.mesh, self.said = mesh, {}
        self.me = ""

    def of(self, me: str) -> Records:
        mine = Records(self.mesh)
        mine.said, mine.me = self.said, me
        return mine

    async def provide(self, address: bytes) -> bool:
        self.said.setdefault(address, []).append(self.me)
        return True

    async def connect_provider(self, address: bytes, accepts: Callable[[str], bool]) -> Sequence[str]:
        for peer in self.said.get(address, ()):
            self.mesh.connect(self.me, peer)
        return self.said.get(address, ())


async def test_who_has_it_is_found_by_provider_records_when_no_neighbour_does(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    records = Records(mesh)
    a, b, c = (BlockNode(n, mesh) for n in range(3))
    for node in (a, b, c):
        node.providers = records.of(node.me)
    for node in (a, b):
        await node.begin(nursery)
    b.network.handlers.pop(PROTOCOL)  # type: ignore[union-attr]
    key = await a.put(BODY)
    mesh.connect(a.me, b.me)
    await same(a, b)
    await eventually(lambda: bool(records.said), "a says that it has it")
    await c.begin(nursery)
    mesh.connect(b.me, c.me)
    await eventually(lambda: c.has(key, BODY), "c found a", 10)
    assert c.blocks.statistics().found >= 1
    nursery.cancel_scope.cancel()


async def test_a_manifest_that_lies_is_shown_as_damaged(nursery: trio.Nursery) -> None:
    _, (a,) = await started(nursery, 1)
    draft = Draft("test.note", Note(), b"not a manifest", content=100_000)
    (entry,) = await a.feeds.append([draft])
    assert a.blocks.bodies.body(entry.key) is Missing.DAMAGED
    raw, _ = cut(BODY)
    (entry,) = await a.feeds.append([Draft("test.note", Note(), raw, content=len(BODY))])
    assert a.blocks.bodies.body(entry.key) in (Missing.NOT_FETCHED, Missing.FETCHING, Missing.NO_HOLDER)
    assert parse(raw, len(BODY)).size == len(BODY)
    assert a.blocks.bodies.body(EntryKey(a.me, 0, 99)) is Missing.NOT_FETCHED
    nursery.cancel_scope.cancel()


async def test_verify_names_the_first_body_with_a_bad_block(nursery: trio.Nursery, tmp_path: Path) -> None:
    mesh = MemoryMesh(nursery)
    node = BlockNode(0, mesh, tmp_path / "store.db", tmp_path / "blocks.db")
    await node.begin(nursery)
    await node.put(b"small")
    keys = [await node.put(content(3 * BLOCK_BYTES, seed)) for seed in (1, 2)]

    def verified() -> Verification:
        with (
            closing(Store.open(tmp_path / "store.db", read_only=True)) as store,
            closing(BlockStore.open(tmp_path / "blocks.db", read_only=True)) as blocks,
        ):
            return verify_home(store, blocks, VERIFIER)

    assert (verified().ok, verified().bodies, verified().blocks) == (True, 3, 6)
    manifest = node.blocks.bodies.manifest(keys[1])
    assert not isinstance(manifest, Missing)
    await node.stop()
    with closing(sqlite3.connect(tmp_path / "blocks.db")) as db:
        db.execute("UPDATE blocks SET data = zeroblob(length(data)) WHERE hash = ?", (manifest.block(1),))
        db.commit()
    found = verified()
    assert not found.ok
    assert found.bad == f"{keys[1]}: block 1 isn't the one its manifest names"
    nursery.cancel_scope.cancel()


def test_the_waits_are_sane() -> None:
    assert fetching.RETRY_MIN_S < fetching.RETRY_MAX_S < fetching.LIAR_S
