"""Replication between nodes in memory: catch-up, order of arrival, purge, restored homes, forks, liars."""

from __future__ import annotations

import itertools
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest
import trio

from agent_core.errors import VerificationFailed
from agent_core.feeds import checkpoint, protocol
from agent_core.feeds.forks import MAX_FORKED_EPOCHS, ForkProof, Side, verify_fork
from agent_core.feeds.heads import LOG_PURGE, FeedHead, Item, PurgeData
from agent_core.feeds.model import Draft, EntryKey, Head, Missing
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.network import Stream, StreamClosed
from tests.support.feeds import VERIFIER, Node, note, own_fork, same, signer
from tests.support.streams import MemoryMesh, eventually


async def test_a_late_node_catches_up_with_bodies(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    a, b, c = (Node(n, mesh) for n in range(3))
    for node in (a, b):
        feeds = await node.start(nursery)
        await feeds.append([note(n, b"%d" % n) for n in range(300)])
    mesh.connect(a.me, b.me)
    await same(a, b)
    await c.start(nursery)
    mesh.connect(b.me, c.me)
    await same(a, b, c)
    assert c.feeds.body(a.key(299)) == b"299"
    assert len(c.seen) == 600
    assert c.feeds.store.verify(VERIFIER).ok
    nursery.cancel_scope.cancel()


async def test_a_commit_reaches_peers_without_gossip_and_is_acknowledged(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    a, b, c = [Node(n, mesh, interval_s=60.0) for n in range(3)]
    for node in (a, b, c):
        await node.start(nursery)
    mesh.connect(a.me, b.me)
    mesh.connect(a.me, c.me)
    await eventually(lambda: a.feeds.statistics().links == 2, "linked")
    (entry,) = await a.feeds.append([note()])
    with trio.fail_after(1):
        assert await a.feeds.wait_held(entry.key, 2, 1.0) == 2
    assert a.feeds.holders(entry.key) == 2
    assert await a.feeds.wait_held(entry.key, 3, 0.01) == 2
    a.feeds.accepts = lambda author: author != c.me
    assert a.feeds.holders(entry.key) == 1, "only members count"
    nursery.cancel_scope.cancel()


async def test_announcements_are_stored_directly_and_in_any_order(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    a, b = Node(0, mesh, interval_s=60.0, nudge_s=60.0), Node(1, mesh, interval_s=60.0)
    heads: list[FeedHead] = []
    (await a.start(nursery)).announce = heads.append
    await b.start(nursery)
    for n in range(4):
        await a.feeds.append([note(n)])
    b.feeds.receive_head(a.me, heads[0])
    await eventually(lambda: b.feeds.statistics().entries == 1, "the first is stored")
    assert b.feeds.statistics().by_gossip == 1
    b.feeds.receive_head(a.me, heads[0])
    b.feeds.receive_head(a.me, heads[2])  # a gap: nobody to pull from yet
    mesh.connect(a.me, b.me)
    b.feeds.receive_head(a.me, heads[3])
    await same(a, b)
    assert [e.header.seq for e in b.seen] == [0, 1, 2, 3]
    await eventually(lambda: a.feeds.holders(a.key(3)) == 1, "the author knows")
    nursery.cancel_scope.cancel()


async def test_every_order_of_arrival_ends_in_the_same_set(nursery: trio.Nursery) -> None:
    """Three commits of two authors, announced in each order, some lost: replication fills the gaps."""
    mesh = MemoryMesh(nursery)
    authors = [Node(n, mesh) for n in range(2)]
    announced: list[tuple[str, FeedHead]] = []
    for node in authors:
        feeds = await node.start(nursery)
        feeds.announce = lambda head, me=node.me: announced.append((me, head))  # type: ignore[misc]
        for n in range(2):
            await feeds.append([note(n), note(n + 1)])
    mesh.connect(authors[0].me, authors[1].me)
    await same(*authors)
    orders = list(itertools.permutations(announced))
    for number, order in enumerate(random.Random(7).sample(orders, 8)):
        node = Node(10 + number, mesh)
        feeds = await node.start(nursery)
        for relay, head in order[: len(order) - number % 3]:
            feeds.receive_head(relay, head)
        mesh.connect(node.me, authors[number % 2].me)
        await same(authors[0], node)
        for author in authors:
            assert [e.header.seq for e in node.seen if e.header.author == author.me] == [0, 1, 2, 3]
        await node.stop()
    nursery.cancel_scope.cancel()


async def test_a_long_commit_is_fetched_in_ranges_and_resumed(nursery: trio.Nursery, tmp_path: Path) -> None:
    """One commit of 2 MB has one checkpoint: each range proves itself a prefix of it, and a cut costs nothing."""
    mesh = MemoryMesh(nursery)
    a, b = Node(0, mesh), Node(1, mesh, tmp_path / "b.db", interval_s=60.0)
    feeds = await a.start(nursery)
    await feeds.append([note(n, random.Random(n).randbytes(8000)) for n in range(250)])
    await b.start(nursery)
    mesh.connect(a.me, b.me)
    await eventually(lambda: b.feeds.statistics().entries > 20, "the first range is there")
    mesh.cut(a.me, b.me)
    await b.stop()
    store = Store.open(tmp_path / "b.db")
    partly = store.size(a.me, 0)
    assert 0 < partly < 250
    assert store.verify(VERIFIER).ok, "a signed checkpoint covers what is there so far"
    store.close()
    await b.start(nursery)
    c = Node(2, mesh)
    await c.start(nursery)
    mesh.connect(b.me, c.me)
    mesh.connect(a.me, b.me)
    await same(a, b, c)
    assert c.feeds.store.verify(VERIFIER).bodies == 250
    await b.stop()
    nursery.cancel_scope.cancel()


async def test_only_accepted_authors_are_fetched_and_shown(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    a, b, c = (Node(n, mesh) for n in range(3))
    for node in (a, b, c):
        await (await node.start(nursery)).append([note()])
    b.feeds.accepts = lambda author: author != c.me
    mesh.connect(a.me, b.me)
    mesh.connect(b.me, c.me)
    await eventually(lambda: a.feeds.store.size(b.me, 0) == 1 == c.feeds.store.size(a.me, 0), "the others are fetched")
    assert b.feeds.store.size(c.me, 0) == 0
    b.feeds.accepts = lambda author: True
    await same(a, b, c)
    nursery.cancel_scope.cancel()


async def test_a_purged_body_is_gone_on_all_nodes_and_stays_away(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    a, b, c = (Node(n, mesh) for n in range(3))
    for node in (a, b, c):
        await node.start(nursery)
    mesh.connect(a.me, b.me)
    (entry, kept) = await a.feeds.append([note(0, b"leaked"), note(1, b"kept")])
    await same(a, b)
    assert b.feeds.body(entry.key) == b"leaked"
    mesh.cut(a.me, b.me)
    await a.feeds.purge(entry.key)
    mesh.connect(b.me, c.me)  # the late one gets the body from a node that doesn't know yet
    await same(b, c)
    mesh.connect(a.me, c.me)
    await same(a, b, c)
    for node in (a, b, c):
        await eventually(lambda n=node: n.feeds.body(entry.key) == Missing.PURGED, "gone everywhere")  # type: ignore[misc]
        assert node.feeds.body(kept.key) == b"kept"
        assert node.feeds.store.verify(VERIFIER).ok
    d = Node(3, mesh)
    await d.start(nursery)
    mesh.connect(d.me, a.me)
    await same(a, d)
    assert d.feeds.body(entry.key) == Missing.PURGED
    nursery.cancel_scope.cancel()


async def test_a_purge_by_another_counts_only_with_authority_and_as_soon_as_it_is_known(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    a, admin = Node(0, mesh), Node(1, mesh)
    for node in (a, admin):
        await node.start(nursery)
    mesh.connect(a.me, admin.me)
    (entry,) = await a.feeds.append([note(body=b"person")])
    await same(a, admin)
    admin.feeds.may_purge = lambda purger, target: purger == admin.me
    await admin.feeds.purge(entry.key)
    await same(a, admin)
    assert admin.feeds.body(entry.key) == Missing.PURGED
    assert a.feeds.body(entry.key) == b"person", "this node doesn't know of the authority"
    asked: list[str] = []

    def may_purge(purger: str, target: EntryKey) -> bool:
        asked.append(purger)
        return purger == admin.me

    a.feeds.may_purge = may_purge
    a.feeds.roster_changed()
    await eventually(lambda: a.feeds.body(entry.key) == Missing.PURGED, "once it does, the body goes")
    assert asked == [admin.me], "judged once"
    nursery.cancel_scope.cancel()


async def test_purges_nobody_may_ask_for_are_judged_again_only_when_the_roster_changes(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = MemoryMesh(nursery)
    a, foul = Node(0, mesh), Node(1, mesh)
    for node in (a, foul):
        await node.start(nursery)
    judged: list[EntryKey] = []
    a.feeds.may_purge = lambda purger, target: bool(judged.append(target))
    mine = [entry.key for entry in await a.feeds.append([note(n) for n in range(3)])]
    claims = [PurgeData(author=key.author, epoch=key.epoch, seq=key.seq) for key in mine]
    never = PurgeData(author=foul.me, epoch=0, seq=99)  # of its own, and never written
    await foul.feeds.append([Draft(LOG_PURGE, claim) for claim in (*claims, never)])
    mesh.connect(a.me, foul.me)
    await same(a, foul)
    await trio.sleep(2)
    assert set(judged) == set(mine)
    judged.clear()
    purges: list[object] = []
    monkeypatch.setattr(a.feeds.store, "purge", purges.append)
    await trio.sleep(60)
    assert not judged
    a.feeds.roster_changed()
    await trio.sleep(2)
    assert sorted(judged) == mine
    assert not purges, "the disk isn't asked in vain"
    nursery.cancel_scope.cancel()


def copy_home(source: Path, target: Path) -> None:
    target.mkdir()
    for name in ("s.db", "instance"):
        shutil.copy(source / name, target / name)


async def test_a_home_restored_from_an_old_copy_comes_back_with_an_epoch_and_no_fork(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    home, backup = tmp_path / "home", tmp_path / "backup"
    home.mkdir()
    mesh = MemoryMesh(nursery)
    a, b = Node(0, mesh, home / "s.db", instance=home / "instance"), Node(1, mesh)
    await a.start(nursery)
    await b.start(nursery)
    mesh.connect(a.me, b.me)
    await a.feeds.append([note(n, op=f"op-{n}") for n in range(3)])
    await b.feeds.append([note()])
    await same(a, b)
    await a.stop()
    copy_home(home, backup)
    await a.start(nursery)
    mesh.connect(a.me, b.me)
    (lost, _) = await a.feeds.append([note(3, op="op-3"), note(4)])
    await same(a, b)
    await a.stop()
    shutil.rmtree(home)
    copy_home(backup, home)

    feeds = await a.start(nursery)
    assert not feeds.restored, "the copy is whole: only peers can tell"
    mesh.connect(a.me, b.me)
    assert await feeds.append([note(9, op="op-3")]) == [lost], "operations that were lost are known again"
    (entry,) = await feeds.append([note(5)])
    assert entry.key == (a.me, 1, 1)
    assert feeds.no_vote
    await same(a, b)
    assert b.feeds.store.size(a.me, 0) == 5
    assert feeds.statistics().forks == b.feeds.statistics().forks == 0
    assert feeds.store.verify(VERIFIER).ok
    await a.stop()
    nursery.cancel_scope.cancel()


async def test_without_peers_the_first_append_waits_only_the_grace(
    nursery: trio.Nursery, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    mesh = MemoryMesh(nursery)
    a, b = Node(0, mesh, tmp_path / "s.db", threaded=False, grace_s=3.0), Node(1, mesh)
    await a.start(nursery)
    await b.start(nursery)
    before = trio.current_time()
    await a.feeds.append([note()])
    assert trio.current_time() == before, "a new home has nobody to ask"
    mesh.connect(a.me, b.me)
    await b.feeds.append([note()])
    await same(a, b)
    await a.stop()
    await a.start(nursery)
    before = trio.current_time()
    await a.feeds.append([note()])
    assert trio.current_time() - before == pytest.approx(3.0, abs=0.5)
    await a.stop()
    nursery.cancel_scope.cancel()


async def forked(nursery: trio.Nursery, tmp_path: Path, mesh: MemoryMesh) -> tuple[Node, Node, Node]:
    """One identity written in two places from entry 3 on, each seen by one witness."""
    one = Node(0, None, tmp_path / "one.db")
    await one.open().append([note(n) for n in range(3)])
    one.feeds.store.close()
    shutil.copy(tmp_path / "one.db", tmp_path / "two.db")
    witnesses = [Node(1, mesh), Node(2, mesh)]
    for name, witness, count in (("one", witnesses[0], 4), ("two", witnesses[1], 9)):
        place = Node(0, mesh, tmp_path / f"{name}.db")
        await place.start(nursery)
        await witness.start(nursery)
        await place.feeds.append([note(n, b"%s %d" % (name.encode(), n)) for n in range(count)])
        mesh.connect(place.me, witness.me)
        await same(place, witness)
        await place.stop()
    return Node(0, mesh, tmp_path / "one.db"), witnesses[0], witnesses[1]


async def test_a_fork_is_proven_where_it_starts_and_known_to_all(nursery: trio.Nursery, tmp_path: Path) -> None:
    mesh = MemoryMesh(nursery)
    author, one, two = await forked(nursery, tmp_path, mesh)
    told: list[tuple[str, int]] = []
    one.feeds.on_fork(lambda a, e: told.append((a, e)))
    mesh.connect(one.me, two.me)
    late = Node(3, mesh)
    await late.start(nursery)
    mesh.connect(late.me, two.me)
    for node in (one, two, late):
        await eventually(lambda n=node: n.feeds.fork_limit(author.me, 0) == 3, "the fork is known")  # type: ignore[misc]
        assert node.feeds.store.size(author.me, 0) >= 3
        (id_,) = node.feeds.store.forks()
        proof = node.feeds.store.fork(id_)
        assert proof is not None
        verify_fork(proof, VERIFIER)
        verification = node.feeds.store.verify(VERIFIER)
        assert verification.ok
        assert verification.forks == (f"{author.me}/0/3",)
    assert told == [(author.me, 0)]
    assert one.feeds.store.forks() == two.feeds.store.forks(), "everybody makes the same proof"
    feeds = await author.start(nursery)
    mesh.connect(author.me, two.me)
    await eventually(lambda: feeds.no_vote, "the author itself learns of it")
    assert (await feeds.append([note()]))[0].header.epoch == 1
    await author.stop()
    nursery.cancel_scope.cancel()


async def test_an_author_that_forks_without_end_takes_nobody_elses_room(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(protocol, "MAX_FORKS", 8)  # so that the ids take several pages
    mesh = MemoryMesh(nursery)
    flooder, victim = Node(7, None), Node(8, None)
    a, b = Node(0, mesh), Node(1, mesh, tmp_path / "b.db")
    await a.start(nursery)
    for epoch in range(2 * MAX_FORKED_EPOCHS):
        assert a.feeds.store.add_fork(own_fork(flooder.signer, 1000 - epoch, epoch % 3))
        assert not a.feeds.store.add_fork(own_fork(flooder.signer, 1000 - epoch, 5)), "a later divergence"
    assert a.feeds.store.add_fork(own_fork(victim.signer, 0, 2, b"later"))
    assert a.feeds.store.add_fork(own_fork(victim.signer, 0, 1)) == [0]
    kept = set(a.feeds.store.forks())
    assert len(kept) == MAX_FORKED_EPOCHS + 1
    await b.start(nursery)
    mesh.connect(a.me, b.me)
    await eventually(lambda: set(b.feeds.store.forks()) == kept, "the same proofs")
    assert b.feeds.fork_limit(victim.me, 0) == 1
    assert b.feeds.fork_limit(flooder.me, 1000) == 0, "what comes after its last forked epoch"
    assert b.feeds.statistics().lies == 0
    await b.stop()
    store = Store.open(tmp_path / "b.db")
    assert set(store.forks()) == kept
    assert store.verify(VERIFIER).ok
    store.close()
    nursery.cancel_scope.cancel()


async def test_a_store_with_many_proofs_of_one_epoch_goes_by_the_earliest(tmp_path: Path) -> None:
    author = Node(7, None)
    proofs = [own_fork(author.signer, 0, seq) for seq in (3, 1, 2)]
    Store.open(tmp_path / "s.db").close()
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:  # as was kept before one proof was enough
        rows = [(p.id, p.author, p.epoch, p.seq, msgspec.msgpack.encode(p)) for p in proofs]
        db.executemany("INSERT INTO forks (id, author, epoch, seq, proof) VALUES (?, ?, ?, ?, ?)", rows)
        db.commit()
    store = Store.open(tmp_path / "s.db")
    assert store.forks() == [proofs[1].id]
    assert store.fork_limit(author.me, 0) == 1
    assert store.add_fork(own_fork(author.signer, 0, 0))
    store.close()


async def test_no_altered_fork_proof_holds(nursery: trio.Nursery, tmp_path: Path) -> None:
    mesh = MemoryMesh(nursery)
    _, one, two = await forked(nursery, tmp_path, mesh)
    mesh.connect(one.me, two.me)
    await eventually(lambda: bool(one.feeds.store.forks()), "the fork is known")
    proof = one.feeds.store.fork(one.feeds.store.forks()[0])
    assert proof is not None
    changes: list[dict[str, object]] = [
        {"seq": 2},
        {"seq": 4},
        {"seq": -1},
        {"epoch": 1},
        {"epoch": -1},
        {"seq": 1 << 70},
        {"author": one.me},
        {"root": bytes(32)},
        {"a": proof.b},
        {"b": proof.a},
        {"a": proof.b, "b": proof.a},
        {"a": Side(b"{}", proof.a.inclusion, proof.a.prefix, proof.a.checkpoint)},
        {"a": Side(proof.a.header, proof.a.inclusion, proof.a.prefix, proof.b.checkpoint)},
        {"b": Side(proof.b.header, proof.b.inclusion, (), proof.b.checkpoint)},
    ]
    for change in changes:
        with pytest.raises(VerificationFailed):
            verify_fork(msgspec.structs.replace(proof, **change), VERIFIER)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(proof), type=ForkProof) == proof
    nursery.cancel_scope.cancel()


Liar = Callable[[Feeds, protocol.AnyFrame], bytes]


def _answer(feeds: Feeds, frame: protocol.AnyFrame) -> protocol.Frame:
    return protocol.answer(feeds, frame)


def _garbage(feeds: Feeds, frame: protocol.AnyFrame) -> bytes:
    return b"\xc1 garbage"


def _other_frame(feeds: Feeds, frame: protocol.AnyFrame) -> bytes:
    return protocol.encode(protocol.Forks())


def _changed(change: Callable[[protocol.Range], protocol.Range]) -> Liar:
    def lie(feeds: Feeds, frame: protocol.AnyFrame) -> bytes:
        answer = _answer(feeds, frame)
        return protocol.encode(change(answer) if isinstance(answer, protocol.Range) else answer)

    return lie


def _body(found: protocol.Range) -> protocol.Range:
    first = found.items[0]
    return msgspec.structs.replace(found, items=(Item(first.header, first.salt, b"else"), *found.items[1:]))


def _own_checkpoint(found: protocol.Range) -> protocol.Range:
    note = checkpoint.sign(signer(1), 0, len(found.items), bytes(32)).note
    return msgspec.structs.replace(found, checkpoint=note)


LIES: dict[str, Liar] = {
    "garbage": _garbage,
    "another frame": _other_frame,
    "a changed body": _changed(_body),
    "a changed order": _changed(lambda r: msgspec.structs.replace(r, items=r.items[::-1])),
    "a header left out": _changed(lambda r: msgspec.structs.replace(r, items=r.items[1:])),
    "a short range as if whole": _changed(lambda r: msgspec.structs.replace(r, items=r.items[:-1])),
    "a proof where none is": _changed(lambda r: msgspec.structs.replace(r, proof=(bytes(32),))),
    "somebody else's checkpoint": _changed(_own_checkpoint),
    "hostile text": _changed(lambda r: msgspec.structs.replace(r, checkpoint="—" * 4000)),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_peer_that_lies_is_counted_and_nothing_is_stored(nursery: trio.Nursery, lie: str) -> None:
    mesh = MemoryMesh(nursery)
    author, node = Node(0, None), Node(2, mesh, interval_s=60.0)
    await author.open().append([note(n) for n in range(3)])
    liar = mesh.node(signer(1).peer_id)

    async def serve(stream: Stream) -> None:
        try:
            while True:
                await stream.send(LIES[lie](author.feeds, protocol.decode(await stream.receive())))
        except StreamClosed:
            pass

    liar.handle(protocol.PROTOCOL, serve)
    feeds = await node.start(nursery)
    mesh.connect(node.me, liar.peer_id)
    await eventually(lambda: feeds.statistics().lies == 1, "the lie is counted")
    assert feeds.heads() == []
    assert await feeds.append([note()]), "the node goes on"
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"\xff" * 100,
        b"\x91" * 5000,
        protocol.encode(protocol.Range()),
        protocol.encode(protocol.Want(author="x" * 65, epoch=0, start=0)),
        protocol.encode(protocol.AskRoots(author="x", epoch=-1, sizes=())),
        protocol.encode(protocol.AskRoots(author="x", epoch=0, sizes=tuple(range(50)))),
        bytes(protocol.MAX_FRAME_BYTES + 1),
    ],
)
async def test_garbage_questions_cost_their_stream_only(nursery: trio.Nursery, question: bytes) -> None:
    mesh = MemoryMesh(nursery)
    node = Node(0, mesh)
    feeds = await node.start(nursery)
    asker = mesh.node(signer(1).peer_id)
    mesh.connect(node.me, asker.peer_id)
    stream = await asker.open(node.me, protocol.PROTOCOL)
    await stream.send(question)
    with trio.fail_after(2), pytest.raises(StreamClosed):
        await stream.receive()
    assert feeds.statistics().lies == 1
    other = await asker.open(node.me, protocol.PROTOCOL)
    await other.send(protocol.encode(protocol.Have(page=0)))
    assert isinstance(protocol.decode(await other.receive()), protocol.Have)
    nursery.cancel_scope.cancel()


async def test_questions_about_what_is_not_there_get_empty_answers() -> None:
    feeds = Node(0, None).open()
    await feeds.append([note()])
    me, other = feeds.me, signer(1).peer_id
    for question, empty in [
        (protocol.Want(author=other, epoch=0, start=0), protocol.Range()),
        (protocol.Want(author=me, epoch=0, start=1), protocol.Range()),
        (protocol.Want(author=me, epoch=0, start=1 << 40), protocol.Range()),
        (protocol.AskRoots(author=me, epoch=0, sizes=(7,)), protocol.Roots(roots=(b"",))),
        (protocol.AskSide(author=me, epoch=0, seq=1), protocol.SideIs()),
        (protocol.AskForks(ids=("x",)), protocol.Forks()),
        (protocol.AskBodies(author=me, epoch=0, seqs=(1, 1 << 40)), protocol.Bodies()),
    ]:
        assert _answer(feeds, question) == empty
        assert protocol.decode(protocol.encode(question)) == question


async def test_a_lying_announcement_is_counted_and_nothing_is_stored(nursery: trio.Nursery) -> None:
    author, node = Node(0, None), Node(1, None)
    heads: list[FeedHead] = []
    author.open().announce = heads.append
    await author.feeds.append([note()])
    feeds = await node.start(nursery)
    feeds.receive_head("relay", msgspec.structs.replace(heads[0], entries=(Item(b"{}"),)))
    feeds.receive_head("relay", msgspec.structs.replace(heads[0], author=node.me, entries=()))
    feeds.receive_head("relay", msgspec.structs.replace(heads[0], checkpoint="", entries=()))
    await eventually(lambda: feeds.statistics().lies == 3, "the lies are counted")
    feeds.receive_head("relay", heads[0])
    await eventually(lambda: feeds.statistics().entries == 1, "the truth is stored")
    nursery.cancel_scope.cancel()


async def test_bodies_that_were_missing_are_fetched_from_who_has_them(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    a, b, c = (Node(n, mesh) for n in range(3))
    heads: list[FeedHead] = []
    (await a.start(nursery)).announce = heads.append
    await a.feeds.append([note(0, b"one"), note(1, None), note(2, b"two")])
    await b.start(nursery)
    bare = tuple(Item(item.header) for item in heads[0].entries)
    b.feeds.receive_head("relay", msgspec.structs.replace(heads[0], entries=bare))
    await eventually(lambda: b.feeds.statistics().entries == 3, "the headers are there")
    assert [b.feeds.body(a.key(n)) for n in range(3)] == [Missing.NOT_FETCHED, Missing.NONE, Missing.NOT_FETCHED]
    assert b.feeds.store.verify(VERIFIER).ok
    await c.start(nursery)
    mesh.connect(b.me, c.me)
    await same(b, c)
    mesh.connect(a.me, c.me)
    await eventually(lambda: c.feeds.body(a.key(2)) == b"two", "from the author")
    await eventually(lambda: b.feeds.body(a.key(0)) == b"one", "and on from there")
    nursery.cancel_scope.cancel()


async def test_many_feeds_are_compared_page_by_page(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PAGE", 2)
    mesh = MemoryMesh(nursery)
    nodes = [Node(n, mesh) for n in range(6)]
    for node in nodes:
        await (await node.start(nursery)).append([note()])
        if node is not nodes[0]:
            mesh.connect(nodes[0].me, node.me)
    await same(*nodes)
    late = Node(9, mesh)
    await late.start(nursery)
    mesh.connect(late.me, nodes[3].me)
    await same(late, nodes[0])
    nursery.cancel_scope.cancel()


async def test_a_peer_that_claims_feeds_without_end_is_fetched_from_meanwhile(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    author, node = Node(0, None), Node(2, mesh, interval_s=60.0)
    await author.open().append([note()])
    true = author.feeds.heads()
    liar = mesh.node(signer(1).peer_id)

    async def serve(stream: Stream) -> None:
        with suppress(StreamClosed):
            while True:
                frame = protocol.decode(await stream.receive())
                if isinstance(frame, protocol.Have):
                    made_up = [Head(author=f"x{frame.page}-{n}", epoch=0, size=1, root="00" * 32) for n in range(9)]
                    heads = true if frame.page == 0 else made_up
                    await stream.send(
                        protocol.encode(protocol.Have(heads=tuple(heads), page=frame.page, pages=1 << 19))
                    )
                else:
                    await stream.send(protocol.encode(_answer(author.feeds, frame)))

    liar.handle(protocol.PROTOCOL, serve)
    feeds = await node.start(nursery)
    feeds.accepts = lambda name: name == author.me
    mesh.connect(node.me, liar.peer_id)
    await eventually(lambda: feeds.heads() == true, "the true feed is fetched")
    nursery.cancel_scope.cancel()


async def test_what_a_peer_says_it_has_takes_bounded_memory(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    node = Node(0, mesh, interval_s=60.0)
    feeds = await node.start(nursery)
    peer = mesh.node(signer(1).peer_id)

    async def silent(stream: Stream) -> None:
        await trio.sleep_forever()  # the link waits for its answer

    peer.handle(protocol.PROTOCOL, silent)
    mesh.connect(node.me, peer.peer_id)
    stream = await peer.open(node.me, protocol.PROTOCOL)
    for start in range(0, 3000, 500):
        heads = tuple(Head(author="m", epoch=start + n, size=1, root="00" * 32) for n in range(500))
        await stream.send(protocol.encode(protocol.Have(heads=heads)))
        await stream.receive()
    assert feeds._links is not None
    assert len(feeds._links._links[peer.peer_id].tell) <= protocol.PAGE
    nursery.cancel_scope.cancel()


async def test_an_identity_in_a_new_home_goes_on_in_the_next_epoch(nursery: trio.Nursery, tmp_path: Path) -> None:
    mesh = MemoryMesh(nursery)
    a, b = Node(0, mesh), Node(1, mesh)
    await a.start(nursery)
    await b.start(nursery)
    mesh.connect(a.me, b.me)
    await a.feeds.append([note(), note()])
    await same(a, b)
    await a.stop()
    again = Node(0, mesh, tmp_path / "s.db", instance=tmp_path / "instance")
    feeds = await again.start(nursery)
    feeds.accepts = lambda author: False  # it isn't a member of anything yet; its own feed it takes back all the same
    mesh.connect(again.me, b.me)
    (entry,) = await feeds.append([note()])
    assert entry.key == (a.me, 1, 1)
    assert feeds.no_vote
    await eventually(lambda: b.feeds.store.size(a.me, 1) == 2, "the other has the new epoch")
    assert b.feeds.statistics().forks == 0
    await again.stop()
    nursery.cancel_scope.cancel()


async def test_appends_go_on_while_others_are_fetched(nursery: trio.Nursery, tmp_path: Path) -> None:
    mesh = MemoryMesh(nursery)
    a, b = Node(0, mesh, tmp_path / "a.db"), Node(1, mesh, tmp_path / "b.db")
    for node in (a, b):
        await node.start(nursery)
    await a.feeds.append([note(n) for n in range(3000)])
    mesh.connect(a.me, b.me)
    for n in range(20):
        await b.feeds.append([note(n)])
        await a.feeds.append([note(n)])
    await same(a, b)
    assert (b.feeds.store.size(a.me, 0), b.feeds.store.size(b.me, 0)) == (3020, 20)
    assert not a.feeds.restored
    assert not b.feeds.restored
    for node in (a, b):
        assert node.feeds.store.verify(VERIFIER).ok
        await node.stop()
    nursery.cancel_scope.cancel()
