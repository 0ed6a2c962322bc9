"""Snapshots: folds go on from them as if they had never stopped, and one that doesn't agree is thrown away."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_core.decisions.fold import DecisionsFold
from agent_core.election.acts import ACT, ACT_COMMIT
from agent_core.errors import StoreError
from agent_core.feeds.heads import SETTLING
from agent_core.feeds.model import Entry
from agent_core.folds import FOLDS, FoldSet
from agent_core.hmmm.fold import RoomsFold
from agent_core.kept import Kept, MemoryKept, Overlay
from agent_core.roster.model import ROSTER_SHARE, ROSTER_YIELD
from agent_core.simulated.search_fakes import Counted, FakeVerifier
from agent_core.snapshot import FORMAT, SnapshotFile, open_snapshots
from agent_core.ucxl.fold import UcxlFold
from tests.core.test_folds import CLUSTER, Source, World, admit
from tests.decisions.test_tally import histories as decisions
from tests.hmmm.test_rooms_fold import histories as rooms
from tests.support.permute import folded
from tests.ucxl.test_graph import histories as addresses


def put_away(file: SnapshotFile, state: bytes) -> None:
    for _ in file.put_away(state):
        pass
    file.commit()
    file.put_down()


# --- the maps ---------------------------------------------------------------------------------------------------------

_KEYS = st.binary(min_size=1, max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["put", "delete", "down"]), _KEYS, st.binary(max_size=2))), _KEYS)
def test_an_overlay_is_like_one_map(steps: list[tuple[str, bytes, bytes]], prefix: bytes) -> None:
    plain, base = MemoryKept(), MemoryKept()
    base.put(b"a", b"base")
    plain.put(b"a", b"base")
    below = Overlay(base)
    top = Overlay(below)
    for step, key, value in steps:
        match step:
            case "put":
                plain.put(key, value)
                top.put(key, value)
            case "delete":
                plain.delete(key)
                top.delete(key)
            case _:
                top.hand_down(below)
    assert list(top.scan(b"")) == list(plain.scan(b""))
    assert list(top.scan(prefix, newest=True)) == list(plain.scan(prefix, newest=True))
    assert top.get(prefix) == plain.get(prefix)


# --- each fold --------------------------------------------------------------------------------------------------------


def _goes_on(make: Callable[[Kept], Any], name: str, entries: Sequence[Entry], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(list(entries)), label="order")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=2), label="put away after"))
    with tempfile.TemporaryDirectory() as folder:
        at = 0
        for cut in cuts:
            file = SnapshotFile(Path(folder) / "folds.db", "code", FOLDS)
            make(file.kept(name)).apply(shuffled[at:cut])
            put_away(file, b"state")
            file.close()
            at = cut
        file = SnapshotFile(Path(folder) / "folds.db", "code", FOLDS, read_only=bool(cuts))
        fold = make(file.kept(name))
        fold.apply(shuffled[at:])
        assert fold.canonical() == folded(lambda: make(MemoryKept()), entries)
        file.close()


@settings(max_examples=20, deadline=None)
@given(rooms(), st.data())
def test_rooms_go_on_from_a_snapshot(entries: list[Entry], data: st.DataObject) -> None:
    _goes_on(RoomsFold, "rooms", entries, data)


@settings(max_examples=20, deadline=None)
@given(decisions(), st.data())
def test_decisions_go_on_from_a_snapshot(entries: list[Entry], data: st.DataObject) -> None:
    _goes_on(DecisionsFold, "decisions", entries, data)


@settings(max_examples=20, deadline=None)
@given(addresses(), st.data())
def test_addresses_go_on_from_a_snapshot(entries: list[Entry], data: st.DataObject) -> None:
    _goes_on(UcxlFold, "ucxl", entries, data)


# --- all of them ------------------------------------------------------------------------------------------------------


class Home:
    """A store whose folds are put away in a file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "folds.db"
        self.world = World()
        self.world.arrive(admit(self.world, "b"))
        self.world.arrive([self.world.say("b"), self.world.say("b", "other"), self.world.say("p0")])

    def leave(self) -> None:
        """Fold all, put it away, end."""
        file = open_snapshots(self.path)
        put_away(file, self.folds(file).snapshot())
        file.close()

    def folds(self, file: SnapshotFile | None, source: Source | None = None, **options: Any) -> FoldSet:
        return FoldSet(CLUSTER, FakeVerifier(Counted()), source or self.world.source, snapshots=file, **options)

    def taken(self, caplog: pytest.LogCaptureFixture) -> bool:
        """Start again: the state must be right either way; whether the snapshot was taken without a word."""
        caplog.clear()
        file = open_snapshots(self.path)
        folds = self.folds(file)
        try:
            state = folds.rooms.canonical()
        except StoreError:
            assert file.damaged
            folds.rebuild()
            state = folds.rooms.canonical()
            return False
        finally:
            assert state == self.folds(None).rooms.canonical()
            file.close()
        return not caplog.records


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.leave()
    return made


def test_a_snapshot_is_taken_back_and_what_came_since_is_read_on(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    assert home.taken(caplog)
    home.world.arrive([home.world.say("b", "since")])
    read: list[int] = []
    entries = home.world.source.entries

    def watched(author: str, epoch: int, start: int = 0, end: int | None = None) -> Any:
        read.append(start)
        return entries(author, epoch, start, end)

    home.world.source.entries = watched  # type: ignore[method-assign]
    assert home.taken(caplog)
    assert 0 not in read[:2], "of both feeds only what came since is read"


def _cut(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _garble(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[200:] = bytes(len(whole) - 200)
    path.write_bytes(whole)


def _sql(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        db = sqlite3.connect(path)
        db.execute(statement)
        db.commit()
        db.close()

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        _sql("UPDATE rooms SET value = CAST(value || x'00' AS BLOB) WHERE key >= x'68' AND key < x'69'"),
        _cut,
        _garble,
        lambda path: path.write_bytes(b"no database"),
        _sql(f"PRAGMA user_version = {FORMAT + 1}"),
        _sql("UPDATE meta SET value = x'00000000' WHERE key = x'6d61726b'"),
        _sql("UPDATE meta SET value = x'00000000ff' WHERE key = x'7374617465'"),
    ],
    ids=["flipped", "truncated", "zeroed", "foreign", "newer", "other-code", "state"],
)
def test_a_snapshot_that_cannot_be_read_is_refused_and_folded_anew(
    home: Home, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(home.path)
    assert not home.taken(caplog)


def test_a_snapshot_of_another_story_is_refused(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    class Other(Source):
        def root_at(self, author: str, epoch: int, size: int) -> bytes | None:
            return b"\1" * 32

    other = Other()
    other.feeds = home.world.source.feeds
    home.world.source = other
    assert not home.taken(caplog)


def test_a_snapshot_of_more_than_counts_now_is_refused(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.world.source.forks["b"] = 1
    assert not home.taken(caplog)
    assert "less counts now" in caplog.text


def test_what_a_crash_left_is_taken_and_what_a_power_failure_left_is_not(
    home: Home, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = open_snapshots(home.path)
    put_away(file, home.folds(file).snapshot())  # and never closed
    assert home.taken(caplog)
    unclosed = open_snapshots(home.path)
    monkeypatch.setattr("agent_core.snapshot._boot_id", lambda: b"another")
    assert not home.taken(caplog)
    for left in (file, unclosed):
        left.close()


def test_what_comes_while_the_state_is_put_away_is_kept_for_the_next_time(home: Home) -> None:
    file = open_snapshots(home.path)
    folds = home.folds(file)
    home.world.arrive([home.world.say("b", "before")])
    folds.apply(home.world.source.feeds["b"][-1:])
    going = file.put_away(folds.snapshot())
    next(going)
    home.world.arrive([home.world.say("b", "meanwhile")])
    folds.apply(home.world.source.feeds["b"][-1:])
    assert {"before", "meanwhile"} <= set(folds.rooms.names())
    for _ in going:
        pass
    file.commit()
    assert {"before", "meanwhile"} <= set(folds.rooms.names())
    file.put_down()
    assert set(folds.rooms.names()) == set(home.folds(None).rooms.names())
    assert file.waiting
    put_away(file, folds.snapshot())
    assert not file.waiting
    file.close()


def test_what_is_cleared_while_it_is_put_away_stays_cleared(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    file = open_snapshots(home.path)
    folds = home.folds(file)
    home.world.arrive([home.world.say("b", "before")])
    folds.apply(home.world.source.feeds["b"][-1:])
    going = file.put_away(folds.snapshot())
    next(going)
    home.world.source.forks["b"] = 1
    folds.forked("b", 0)
    for _ in going:
        pass
    file.commit()
    file.put_down()
    assert folds.rooms.canonical() == home.folds(None).rooms.canonical()
    put_away(file, folds.snapshot())
    file.close()
    assert home.taken(caplog)


def test_a_disk_that_refuses_costs_nothing_but_memory(home: Home) -> None:
    file = open_snapshots(home.path)
    folds = home.folds(file)
    home.world.arrive([home.world.say("b", f"room-{n}") for n in range(50)])
    folds.apply(home.world.source.feeds["b"][-50:])
    assert file._writer is not None
    pages = file._writer.execute("PRAGMA page_count").fetchone()[0]
    file._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="full"):
        put_away(file, folds.snapshot())
    assert folds.rooms.canonical() == home.folds(None).rooms.canonical()
    file._writer.execute("PRAGMA max_page_count = 1000000")
    put_away(file, folds.snapshot())
    assert not file.waiting
    assert folds.rooms.canonical() == home.folds(None).rooms.canonical()
    file.close()


def test_a_long_history_is_read_bit_by_bit_while_more_comes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.world.arrive([home.world.say("b", f"room-{n % 7}") for n in range(1200)])
    file = open_snapshots(home.path)
    folds = home.folds(file, in_steps=True)
    assert folds.behind
    assert folds.progress < 0.1
    assert folds.folded("b", 0) == 0
    assert "room-1" not in set(folds.rooms.names())
    home.world.arrive([home.world.say("b", "late")])
    folds.apply(home.world.source.feeds["b"][-1:])
    assert folds.folded("b", 0) == 0, "nothing is skipped"
    seen = []
    while folds.step(250):
        seen.append(folds.progress)
    assert seen == sorted(seen)
    assert len(seen) >= 4
    assert (folds.behind, folds.progress) == (False, 1.0)
    assert folds.rooms.canonical() == home.folds(None).rooms.canonical()
    file.close()


def test_a_store_lists_what_the_chain_and_the_folds_need_first() -> None:
    assert set(SETTLING) == {ACT, ACT_COMMIT, ROSTER_YIELD, ROSTER_SHARE}
