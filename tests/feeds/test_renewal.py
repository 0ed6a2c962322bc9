"""A home that wrote while its clock ran ahead: refused until then, or renewed, with nothing lost and nothing said twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from agent_core.clock import MAX_AHEAD_MS, HybridClock, unpack
from agent_core.errors import ClockAhead, Refused, StoreError
from agent_core.feeds.heads import FEED_EPOCH, LOG_PURGE, SETTLING, EpochData
from agent_core.feeds.model import Draft, Entry, EntryKey
from agent_core.feeds.service import Feeds
from tests.support.feeds import VERIFIER, Node, note
from tests.support.streams import MemoryMesh, eventually

HOUR_MS = 3_600_000
START_MS = 1_800_000_000_000


class Wall:
    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class Refers(msgspec.Struct, frozen=True, kw_only=True):
    """A test entry that names others by their hash."""

    parent: str
    others: tuple[str, ...] = ()


def opened(path: Path | str, wall: Wall) -> Feeds:
    node = Node(0, None, path)
    node.options["clock"] = HybridClock(wall)
    return node.open()


async def fast(feeds: Feeds, wall: Wall, drafts: Sequence[Draft], by_ms: int = HOUR_MS) -> list[Entry]:
    """Append while the clock is fast, then put it right."""
    wall.ms += by_ms
    made = [*(await feeds.append(drafts))]
    wall.ms += 10 - by_ms
    return made


def said_again(feeds: Feeds) -> list[Entry]:
    return [e for e in feeds.store.all_entries() if e.header.again is not None]


@pytest.mark.parametrize("by_ms", [MAX_AHEAD_MS + 11, HOUR_MS, 365 * 24 * HOUR_MS])
async def test_it_refuses_until_its_time_and_says_until_when(by_ms: int) -> None:
    wall = Wall()
    feeds = opened(":memory:", wall)
    await fast(feeds, wall, [note(0)], by_ms)
    ahead = feeds.renewal.ahead
    assert ahead is not None
    assert ahead.by_ms == by_ms - 10
    with pytest.raises(ClockAhead) as refused:
        await feeds.append([note(1)])
    assert refused.value.message == ahead.sentence
    assert "chorus-hap log renew" in refused.value.next
    for type in SETTLING:
        assert await feeds.append([note(2, type=type, body=None)]), "no clock holds these back"
    wall.ms = ahead.until_ms + 1000
    assert await feeds.append([note(3)])


async def test_within_the_bound_nothing_is_refused_and_there_is_nothing_to_renew() -> None:
    wall = Wall()
    feeds = opened(":memory:", wall)
    await fast(feeds, wall, [note(0)], MAX_AHEAD_MS)
    assert await feeds.append([note(1)])
    with pytest.raises(Refused, match="nothing to renew"):
        await feeds.renew(confirmed=True)


async def test_renewing_withdraws_what_is_stamped_later_and_says_it_again_once() -> None:
    wall = Wall()
    feeds = opened(":memory:", wall)
    (before,) = await feeds.append([note(0, op="before")])
    wall.ms += 10
    made = await fast(feeds, wall, [note(n, b"text %d" % n, op=f"op{n}") for n in range(1, 4)])
    with pytest.raises(Refused, match="3 entries"):
        await feeds.renew(confirmed=False)
    done = await feeds.renew(confirmed=True)
    assert done.said_again == 3
    data = done.entry.data(EpochData)
    assert data is not None
    assert [(w.epoch, w.seq, w.size) for w in data.withdrawn] == [(0, 1, 4)]
    listed = feeds.body(done.entry.key)
    assert isinstance(listed, bytes)
    assert all(entry.id in listed.decode() for entry in made)
    again = said_again(feeds)
    assert [feeds.body(e.key) for e in again] == [feeds.body(e.key) for e in made]
    assert [e.header.data for e in again] == [e.header.data for e in made]
    assert all(abs(unpack(e.header.hlc)[0] - wall.ms) < 1000 for e in (done.entry, *again))
    assert [feeds.made(f"op{n}") for n in range(1, 4)] == again, "a repeat is answered by what counts"
    assert feeds.made("before") == before
    assert (await feeds.append([note(1, b"text 1", op="op1")]))[0] == again[0]
    assert not feeds.restored, "its memory is whole, so its vote stays"
    assert await feeds.append([note(9)])
    assert feeds.statistics().held == 0
    assert feeds.store.verify(VERIFIER).ok
    assert feeds.store.tail(1)[0].header.epoch == 1, "the newest entry isn't a withdrawn one"
    with pytest.raises(Refused, match="nothing to renew"):
        await feeds.renew(confirmed=True)


async def test_references_are_turned_to_what_is_said_again() -> None:
    wall = Wall()
    feeds = opened(":memory:", wall)
    (old,) = await feeds.append([note(0)])
    wall.ms += 10
    (first,) = await fast(feeds, wall, [note(1)])
    data = Refers(parent=first.hash.hex(), others=(old.hash.hex(), first.hash.hex(), "no hash"))
    await fast(feeds, wall, [Draft("test.refers", data), Draft("test.refers", data)], HOUR_MS + 10)
    await feeds.renew(confirmed=True)
    new, *refers = said_again(feeds)
    for entry in refers:
        turned = Refers(parent=new.hash.hex(), others=(old.hash.hex(), new.hash.hex(), "no hash"))
        assert entry.data(Refers) == turned


async def test_acts_moves_epochs_and_purges_are_not_said_again() -> None:
    wall = Wall()
    feeds = opened(":memory:", wall)
    kinds = [*SETTLING, "test.note"]
    made = await fast(feeds, wall, [note(n, type=kind) for n, kind in enumerate(kinds)])
    await fast(feeds, wall, [], 0)
    wall.ms += HOUR_MS
    await feeds.purge(made[-1].key)
    wall.ms -= HOUR_MS
    await feeds.renew(confirmed=True)
    (again,) = said_again(feeds)
    assert again.header.type == "test.note"
    assert again.header.body is None, "what was purged stays so"
    assert {FEED_EPOCH, LOG_PURGE}.isdisjoint({again.header.type})


@pytest.mark.parametrize("after", range(4))
async def test_a_renewal_that_was_cut_off_is_completed_after_the_restart(
    tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = Wall()
    feeds = opened(tmp_path / "s.db", wall)
    (first,) = await fast(feeds, wall, [note(0)])
    for n in range(2):
        data = Refers(parent=first.hash.hex())
        (first,) = await fast(feeds, wall, [Draft("test.refers", data, b"%d" % n)], HOUR_MS + 10 * n)
    appending: Any = feeds.renewal._appending
    append, left = appending.append, after

    async def failing(drafts: Sequence[Draft]) -> Sequence[Entry]:
        nonlocal left
        if left == 0:
            raise StoreError("the power fails")
        left -= 1
        return await append(drafts)  # type: ignore[no-any-return]

    monkeypatch.setattr(appending, "append", failing)
    if after < 3:
        with pytest.raises(StoreError):
            await feeds.renew(confirmed=True)
    else:
        await feeds.renew(confirmed=True)
    feeds.store.close()
    feeds = opened(tmp_path / "s.db", wall)
    (later,) = await feeds.append([note(7)])
    again = said_again(feeds)
    assert [e.header.again.seq for e in again if e.header.again] == [0, 1, 2]
    assert [e.data(Refers).parent for e in again[1:] if e.data(Refers)] == [e.hash.hex() for e in again[:2]]
    assert later.header.seq > again[-1].header.seq, "what is new comes after what was said before"
    feeds.store.close()


async def test_two_renewals_say_everything_once_more() -> None:
    wall = Wall()
    feeds = opened(":memory:", wall)
    await fast(feeds, wall, [note(0, op="a")], 3 * HOUR_MS)
    wall.ms += HOUR_MS
    await feeds.renew(confirmed=True)
    await feeds.append([note(1, op="b")])
    wall.ms -= HOUR_MS
    await feeds.renew(confirmed=True)
    counted = [e for e in feeds.store.all_entries() if e.header.type == "test.note" and feeds.store.withdrew(e) is None]
    assert [e.header.epoch for e in counted] == [2, 2]
    assert [feeds.made(op) for op in "ab"] == counted


async def test_purging_what_was_said_again_purges_the_first_saying_too() -> None:
    wall = Wall()
    feeds = opened(":memory:", wall)
    (old,) = await fast(feeds, wall, [note(0, b"leaked")])
    await feeds.renew(confirmed=True)
    (new,) = said_again(feeds)
    await feeds.purge(new.key)
    assert not isinstance(feeds.body(new.key), bytes)
    assert not isinstance(feeds.body(old.key), bytes)


async def test_a_wall_that_is_put_back_while_it_runs_holds_what_was_handed_out() -> None:
    wall = Wall()
    feeds = opened(":memory:", wall)
    wall.ms += HOUR_MS
    (entry,) = await feeds.append([note(0)])
    told: list[bool] = []
    feeds.on_put_back(lambda: told.append(True))
    await feeds._intake.tick()
    assert not told
    wall.ms -= HOUR_MS
    await feeds._intake.tick()
    assert told
    assert feeds.held(entry)
    assert feeds.holding.count == 1
    assert feeds.holding.until(entry) == feeds.holding.until_ms == wall.ms + HOUR_MS - MAX_AHEAD_MS
    await feeds.renew(confirmed=True)
    assert feeds.holding.count == 0
    assert feeds.holding.until(entry) is None
    assert feeds.holding.withdrawn(entry)


async def test_others_hold_it_and_follow_the_renewal(nursery: trio.Nursery) -> None:
    wall, mesh = Wall(), MemoryMesh(nursery)
    author, reader = Node(1, mesh), Node(0, mesh)
    for node in (author, reader):
        node.options["clock"] = HybridClock(wall)
        await node.start(nursery)
    wall.ms += HOUR_MS
    (old,) = await author.feeds.append([note(0)])
    wall.ms -= HOUR_MS
    mesh.connect(author.me, reader.me)
    await eventually(lambda: reader.feeds.store.size(author.me, 0) == 1, "it has come")
    assert reader.feeds.held(old)
    assert reader.feeds.holding.count == 1
    done = await author.feeds.renew(confirmed=True)
    await eventually(lambda: reader.feeds.store.size(author.me, 1) == 2, "it has come")
    assert reader.feeds.holding.count == 0
    assert reader.feeds.store.withdrawn_from(author.me, 0) == 0
    again = reader.feeds.store.entry(EntryKey(author.me, 1, 1))
    assert again in reader.seen
    assert old not in reader.seen
    assert done.entry in reader.seen
    wall.ms += 2 * HOUR_MS
    await reader.feeds._intake.tick()
    assert old not in reader.seen, "it never counts, also once its time has come"
    for node in (author, reader):
        await node.stop()


async def test_acts_of_a_withdrawn_part_wait_for_nothing(nursery: trio.Nursery) -> None:
    wall, mesh = Wall(), MemoryMesh(nursery)
    author, reader = Node(1, mesh), Node(0, mesh)
    for node in (author, reader):
        node.options["clock"] = HybridClock(wall)
        await node.start(nursery)
    mesh.connect(author.me, reader.me)
    act, talk = await fast(author.feeds, wall, [note(0, type="act"), note(1)])
    await author.feeds.renew(confirmed=True)
    await eventually(lambda: act in reader.seen and reader.feeds.store.size(author.me, 1) == 2, "the act has come")
    assert talk not in reader.seen
    assert reader.feeds.store.tail(9)[-1].header.epoch == 1
    for node in (author, reader):
        await node.stop()
