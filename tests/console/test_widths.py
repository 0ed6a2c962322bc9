"""The width rule, over every table of every pane: no word that matters is cut while blanks stand beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chorus_hap.panes.decisions import _VOTES
from chorus_hap.panes.overview import _RECENT
from chorus_hap.widgets.columns import LEAST, Column, allot
from chorus_hap.widgets.grid import Grid
from chorus_hap.widgets.stream import StreamView
from tests.console.conftest import Drive, Driven
from tests.console.fake import FakeSource, at, attention, decisions, election, log_entry, members, peers, rooms, traffic

pytestmark = pytest.mark.console

LONG = "a-name-of-forty-letters-and-not-one-less"
TITLE = "Adopt TinyLFU in the search cache of the second region by Friday"
ROWS = 50


def crowded() -> FakeSource:
    """A mesh where everything has a long name and there is much of it."""
    node = FakeSource()
    change = msgspec.structs.replace
    name = [f"{LONG[:37]}-{n:02}" for n in range(ROWS)]
    some = {
        k: v[0] for k, v in {"d": decisions(), "m": members(), "p": peers(), "r": rooms(), "a": attention()}.items()
    }
    node.slices |= {
        "decisions": tuple(change(some["d"], id=f"d{n}", title=f"{TITLE} {n}", proposer=name[n]) for n in range(ROWS)),
        "members": tuple(change(some["m"], peer_id=f"12D3Koo{n:040}", agent_id=name[n]) for n in range(ROWS)),
        "peers": tuple(
            change(some["p"], peer_id=f"12D3Koo{n:040}", agent_id=name[n], addresses=(f"/ip4/10.0.0.{n}/tcp/40{n:02}",))
            for n in range(ROWS)
        ),
        "rooms": tuple(change(some["r"], id=name[n]) for n in range(ROWS)),
        "attention": tuple(
            change(some["a"], id=f"a{n}", text=f"{TITLE}: your vote is asked for {n}") for n in range(ROWS)
        ),
    }
    base = election()
    node.slices["election"] = change(
        base,
        ballots=tuple(change(base.ballots[0], peer_id=f"p{n}", agent_id=name[n], vote=name[0]) for n in range(ROWS)),
        timeline=tuple(change(base.timeline[0], term=n, leader=name[n]) for n in range(ROWS)),
    )
    node.texts = {f"ucxl://{name[n]}:agent@search:cache/{name[n]}.md": [(name[n], TITLE)] for n in range(ROWS)}
    node._addresses()
    node.streams["log"] = [change(log_entry(n), author=name[n], at=at(n), text=TITLE) for n in range(ROWS)]
    node.streams["traffic"] = [traffic(n, sender=name[n], text=TITLE) for n in range(ROWS)]
    return node


def judge(columns: Sequence[Column], needs: Sequence[int], sizes: Sequence[int], width: int, where: str) -> None:
    """The rule, as somebody who looks at the table would put it."""
    shown = [i for i, size in enumerate(sizes) if size]
    room = width - 2 * (len(shown) - 1)
    main = [i for i in shown if columns[i].main]
    cut = [i for i in main if sizes[i] < needs[i]]
    assert sum(sizes[i] for i in shown) <= room, f"{where}: wider than the table: {sizes}"
    if cut:
        slack = {i: sizes[i] - needs[i] for i in shown if sizes[i] > needs[i]}
        assert not slack, f"{where}: blanks stand beside a main column that is cut: {sizes} for {needs}"
        assert sum(sizes[i] for i in shown) == room, (
            f"{where}: cells of the line lie idle: {sizes} for {needs} in {width}"
        )
    for i in main:
        lesser = [j for j in shown if columns[j].rank]
        assert sizes[i] >= min(needs[i], LEAST) or not lesser, f"{where}: {sizes[i]} cells while a lesser column stands"


def tables(c: Driven) -> Iterator[tuple[str, Sequence[Column], Sequence[int], Sequence[int], int]]:
    """What is seen of the pane's tables: name, columns, what they need, what they have, and in how many cells."""
    for box in c.app.pane.boxes() if c.app.pane else ():
        width = box.size.width - 1
        if isinstance(box, Grid) and box.total():
            yield box.id or "", box.columns, box._needs, box.widths(width), width - 2
        elif isinstance(box, StreamView) and box.total():
            yield box.id or "", box._columns, box._needs, allot(box._columns, box._needs, width), width


PANES = {
    "1": {"ov-attention"}, "2": {"el-voters"}, "3": {"tr-stream"}, "4": {"me-roster"}, "4 tab": {"me-peers"}, "5": {"hm-rooms"},
    "6": {"de-list"}, "7": {"uc-tree", "uc-versions"}, "9": {"lo-stream"}, "!": {"at-list"},
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 200])
def test_every_table_of_every_pane(drive: Drive, width: int) -> None:
    async def job(c: Driven) -> None:
        for keys, ids in PANES.items():
            await c.press(*keys.split())
            await c.wait(lambda ids=ids: ids <= {t[0] for t in tables(c)})
            for name, columns, needs, sizes, cells in tables(c):
                judge(columns, needs, sizes, cells, f"{name} at {width}")
            assert all(len(line) <= width for line in c.screen().split("\n"))

    drive(job, size=(width, 36 if width >= 120 else 24), node=crowded())


def test_what_was_cut_at_120_columns_is_read(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("6")
        await c.see(f"{TITLE} 0", f"{TITLE} 9")
        await c.press("9")
        await c.see(f"{LONG[:20]}")
        assert sum(TITLE[:45] in line for line in c.screen().split("\n")) > 5
        await c.press("2")
        await c.see(LONG[:22])

    drive(job, size=(120, 36), node=crowded())


COLUMN = st.builds(
    Column,
    st.just(""),
    st.integers(0, 30),
    st.booleans(),
    st.integers(0, 5),
    st.integers(0, 12),
)


@given(st.lists(st.tuples(COLUMN, st.integers(0, 90)), min_size=1, max_size=9), st.integers(1, 250))
def test_the_rule_for_any_table(table: list[tuple[Column, int]], width: int) -> None:
    columns, needs = [c for c, _ in table], [n for _, n in table]
    sizes = allot(columns, needs, width)
    assert all(size >= 0 for size in sizes)
    fixed = sum(min(n, c.least or c.width) if not c.main else 4 for c, n in table if not c.rank and (c.main or n))
    if fixed + 2 * len(columns) <= width and any(c.main and not c.rank for c in columns):
        judge(columns, needs, sizes, width, "any")


@pytest.mark.parametrize("columns", [_VOTES, _RECENT])
@pytest.mark.parametrize("width", [40, 57, 77, 97, 117, 157])
def test_tables_within_sheets(columns: Sequence[Column], width: int) -> None:
    needs = [40 if c.main else min(40, c.width) for c in columns]
    judge(columns, needs, allot(columns, needs, width), width, "sheet")
