"""Catching up from several peers at once: shared out, resumed after kill -9, around silent and lying peers, at the disk's pace."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import trio

from agent_core.feeds import protocol, schedule
from agent_core.feeds.fetching import Progress
from agent_core.feeds.ranges import Extension
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.network import Stream, StreamClosed
from tests.support.feeds import VERIFIER, Node, note, same, signer
from tests.support.streams import MemoryMesh, eventually

BODY = b"a body of a common length" * 10


async def fill(node: Node, entries: int) -> None:
    for start in range(0, entries, 500):
        await node.feeds.append([note(n, BODY) for n in range(start, min(start + 500, entries))])


async def holders(nursery: trio.Nursery, mesh: MemoryMesh, count: int, entries: int) -> list[Node]:
    """Nodes that hold the same feed."""
    nodes = [Node(n, mesh) for n in range(count)]
    for node in nodes:
        await node.start(nursery)
    await fill(nodes[0], entries)
    for node in nodes[1:]:
        mesh.connect(nodes[0].me, node.me)
    await same(*nodes)
    return nodes


async def test_ranges_of_one_feed_come_from_all_who_have_it_and_each_once(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    olds = await holders(nursery, mesh, 3, 6000)
    new = Node(9, mesh, interval_s=60.0)
    feeds = await new.start(nursery)
    assert feeds._links is not None
    pulled = feeds._links.fetcher.pulled
    asked: list[tuple[str, int]] = []
    take = feeds._links.fetcher.schedule.take

    def noted(peer: str, now: float) -> schedule.Ask | None:
        ask = take(peer, now)
        if ask is not None:
            asked.append((peer, ask.start))
        return ask

    feeds._links.fetcher.schedule.take = noted  # type: ignore[method-assign]
    for old in olds:
        mesh.connect(new.me, old.me)
    await same(olds[0], new, timeout_s=20)
    assert {peer for peer, _ in asked} == {old.me for old in olds}
    assert len({start for _, start in asked}) == len(asked) - feeds.statistics().asked_twice
    await eventually(lambda: not pulled, "the counts of this fetch are put away")
    assert (feeds.statistics().behind, feeds.statistics().received) == (0, 6000)
    assert feeds.store.verify(VERIFIER).ok
    nursery.cancel_scope.cancel()


async def misbehaving(
    mesh: MemoryMesh, author: Node, n: int, answer: Callable[[protocol.Range], protocol.Range] | None
) -> str:
    """A peer that shows an author's feed and answers with what isn't true, or never."""
    network = mesh.node(signer(n).peer_id)

    async def serve(stream: Stream) -> None:
        with suppress(StreamClosed):
            while True:
                found = protocol.answer(author.feeds, protocol.decode(await stream.receive()))
                if isinstance(found, protocol.Range):
                    if answer is None:
                        await trio.sleep_forever()
                    found = answer(found)
                await stream.send(protocol.encode(found))

    network.handle(protocol.PROTOCOL, serve)
    return network.peer_id


async def test_a_silent_peer_holds_nothing_up(nursery: trio.Nursery) -> None:
    mesh = MemoryMesh(nursery)
    (old,) = await holders(nursery, mesh, 1, 3000)
    silent = await misbehaving(mesh, old, 7, None)
    new = Node(9, mesh, interval_s=60.0)
    feeds = await new.start(nursery)
    mesh.connect(new.me, silent)
    await eventually(lambda: feeds.statistics().catch_up_waiting_bytes > 0, "it is asked first")
    mesh.connect(new.me, old.me)
    await same(old, new, timeout_s=schedule._LATE_MAX_S * 3)
    assert feeds.statistics().asked_twice > 0
    assert feeds.statistics().lies == 0, "silence is no lie"
    nursery.cancel_scope.cancel()


def _swapped(found: protocol.Range) -> protocol.Range:
    return msgspec.structs.replace(found, items=(found.items[1], found.items[0], *found.items[2:]))


def _shortened(found: protocol.Range) -> protocol.Range:
    return msgspec.structs.replace(found, items=found.items[:-1])


@pytest.mark.parametrize("lie", [_swapped, _shortened])
async def test_a_liar_is_replaced_and_reported_and_what_it_sent_is_not_kept(
    nursery: trio.Nursery, lie: Callable[[protocol.Range], protocol.Range]
) -> None:
    mesh = MemoryMesh(nursery)
    olds = await holders(nursery, mesh, 2, 3000)
    liar = await misbehaving(mesh, olds[0], 7, lie)
    new = Node(9, mesh, interval_s=60.0)
    feeds = await new.start(nursery)
    for peer in (liar, *(old.me for old in olds)):
        mesh.connect(new.me, peer)
    await same(olds[0], new, timeout_s=20)
    assert new.network is not None
    assert list(new.network.rejected) == [liar], "only the liar is blamed"
    assert feeds.statistics().lies == new.network.rejected[liar] > 0
    assert feeds.statistics().forks == 0
    assert feeds.store.verify(VERIFIER).ok
    nursery.cancel_scope.cancel()


async def test_a_slow_disk_slows_the_asking(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be stored, what was asked for stays within its bound; then the rest comes."""
    monkeypatch.setattr(schedule, "MAX_BYTES", 6 * protocol.MAX_FRAME_BYTES)
    mesh = MemoryMesh(nursery)
    olds = await holders(nursery, mesh, 3, 6000)
    new = Node(9, mesh, interval_s=60.0)
    feeds = await new.start(nursery)
    free, most = trio.Event(), 0
    keep = Feeds.keep

    async def slow(self: Feeds, extension: Extension) -> bool:
        nonlocal most
        if self is feeds:
            await free.wait()
            most = max(most, feeds.statistics().catch_up_waiting_bytes)
        return await keep(self, extension)

    monkeypatch.setattr(Feeds, "keep", slow)
    for old in olds:
        mesh.connect(new.me, old.me)
    await eventually(lambda: feeds.statistics().catch_up_waiting_bytes > 4 * protocol.MAX_FRAME_BYTES, "asked")
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert feeds.statistics().catch_up_waiting_bytes <= schedule.MAX_BYTES
    assert feeds.statistics().behind == 6000
    told = feeds.progress.underway
    assert told is not None
    assert (told.brief, told.text) == ("6,000 behind", "Catching up: 6,000 entries behind.")
    free.set()
    await same(olds[0], new, timeout_s=20)
    assert feeds.progress.underway is None
    assert most <= schedule.MAX_BYTES + protocol.MAX_FRAME_BYTES
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(behind=999, entries_per_s=10), ""),
        (
            Progress(behind=12_300, entries_per_s=4100.2, sources=("a", "b")),
            "Catching up: 12,300 entries behind, 4,100/s from 2 peers.",
        ),
        (Progress(behind=1000, entries_per_s=7, sources=("a",)), "Catching up: 1,000 entries behind, 7/s from 1 peer."),
    ],
)
def test_people_are_told_of_a_long_fetch_only(progress: Progress, text: str) -> None:
    assert (progress.underway.text if progress.underway else "") == text


_KILLED = """
import os, signal, sys, trio
from pathlib import Path
from tests.support.feeds import Node
from tests.support.streams import MemoryMesh
from tests.feeds.test_fetching import fill

async def main():
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(nursery)
        old, new = Node(0, mesh, Path(sys.argv[1]) / "old.db"), Node(1, mesh, Path(sys.argv[1]) / "new.db")
        await old.start(nursery)
        await fill(old, 4000)
        feeds = await new.start(nursery)
        feeds.on_entries(lambda entries: entries[-1].header.seq > 1500 and os.kill(os.getpid(), signal.SIGKILL))
        mesh.connect(old.me, new.me)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_a_fetch_that_was_killed_goes_on_from_what_was_verified(nursery: trio.Nursery, tmp_path: Path) -> None:
    ended = await trio.run_process(
        [sys.executable, "-c", _KILLED, str(tmp_path)], check=False, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    assert ended.returncode == -signal.SIGKILL
    store = Store.open(tmp_path / "new.db")
    partly = store.entry_count
    assert 1500 < partly < 4000
    assert store.verify(VERIFIER).ok
    store.close()
    mesh = MemoryMesh(nursery)
    old, new = Node(0, mesh, tmp_path / "old.db"), Node(1, mesh, tmp_path / "new.db")
    await old.start(nursery)
    feeds = await new.start(nursery)
    mesh.connect(old.me, new.me)
    await same(old, new, timeout_s=20)
    assert feeds.statistics().received == 4000 - partly
    assert feeds.store.verify(VERIFIER).ok
    for node in (old, new):
        await node.stop()
    nursery.cancel_scope.cancel()
