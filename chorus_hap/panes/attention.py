"""Attention: everything that waits for the person, and where enter leads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult

from agent_core.shapes import Attention
from chorus_hap.actions import PANES
from chorus_hap.panes.base import Pane
from chorus_hap.panes.newcomers import decide_on, newcomer
from chorus_hap.subjects import subject
from chorus_hap.themes import Glyphs
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.lines import Line, one_line, since, wrap
from chorus_hap.widgets.sheet import Sheet
from chorus_hap.widgets.viewport import Viewport


def attention_rows(
    items: Sequence[Attention], glyphs: Glyphs, now: datetime, here: Callable[[str], str] = str
) -> list[Row]:
    """What waits, urgent first, then the newest; ``here`` names the commands in it as they can be given."""
    ordered = sorted(sorted(items, key=lambda i: i.at, reverse=True), key=lambda i: not i.urgent)
    return [
        Row(
            item.id,
            (
                [
                    (f"{glyphs.warn if item.urgent else glyphs.on} ", "bad" if item.urgent else "warn"),
                    (item.kind, "text"),
                ],
                (here(one_line(item.text)), "text bold" if item.urgent else "text"),
                (since(item.at, now), "dim"),
            ),
            {"kind": item.kind, "urgent": "yes" if item.urgent else "no"},
            (item.kind, item.text, item.at),
        )
        for item in ordered
    ]


def item_of(pane: Pane, item_id: str) -> Attention | None:
    """What waits under this id, if it still does."""
    items: tuple[Attention, ...] = pane.store.items("attention")  # type: ignore[assignment]
    return next((i for i in items if i.id == item_id), None)


def target_of(item: Attention) -> tuple[str, str]:
    """The pane where an item of attention leads, and what to open in it."""
    kind, _, name = item.target.partition(":")
    if kind == "room" and "/" not in name and item.kind in ("escalation", "mention"):
        name += "/" + item.id.rpartition(":")[2]  # a node of an older version names the room alone
    elif kind == "members" and not name and item.kind == "fork":
        name = item.id.removeprefix("fork:").partition("/")[0]
    return {"decision": "decisions", "room": "hmmm", "address": "ucxl"}.get(kind, kind), name


def open_target(pane: Pane, item_id: str) -> None:
    """Go where an item of attention leads."""
    item = item_of(pane, item_id)
    if item is not None:
        pane.console.go(*target_of(item))


class AttentionPane(Pane):
    """The full list."""

    name_: ClassVar[str] = "attention"
    slices: ClassVar[frozenset[str]] = frozenset({"attention"})
    ticks: ClassVar[bool] = True

    def compose(self) -> ComposeResult:
        yield Grid(
            "Waiting for you",
            [Column("what", 13), Column("", 0), Column("since", 6, right=True)],
            empty="Nothing waits for you. Votes you owe, newcomers to approve, mentions, escalations, forks and troubles of the node appear here.",
            id="at-list",
        )
        yield Sheet("", id="at-detail")

    def sync(self) -> None:
        items: tuple[Attention, ...] = self.store.items("attention")  # type: ignore[assignment]
        grid = self.query_one("#at-list", Grid)
        grid.caption = f"Waiting for you · {len(items)}" if items else "Waiting for you"
        grid.show(attention_rows(items, self.console.look.glyphs, self.now, self.console.here))
        grid.retitle()
        self._detail()

    @on(Viewport.Moved)
    def _detail(self) -> None:
        """The whole sentence of what is selected, and where enter leads."""
        item = item_of(self, self.query_one("#at-list", Grid).key)
        sheet = self.query_one("#at-detail", Sheet)
        if item is None:
            sheet.show(lambda _width: [])
            return
        where = next((title for _, pane, title in PANES if pane == target_of(item)[0] != self.name_), "")
        lead: list[Line] = [[], [("⏎", "accent bold"), (f" leads to {where}", "dim")]] if where else []
        role = "bad" if item.urgent else "text"
        sheet.show(
            lambda width: (
                [[(part, role)] for part in wrap(self.console.here(one_line(item.text)), max(20, width))] + lead
            )
        )

    def open_at(self, argument: str) -> None:
        """Put the cursor on one that waits."""
        self.choose(self.query_one("#at-list", Grid), argument)

    @on(Viewport.Opened)
    def _opened(self, event: Viewport.Opened) -> None:
        if isinstance(event.view, Grid):
            open_target(self, event.view.key)

    def _newcomer(self) -> str:
        """The peer id of the newcomer that is selected, or of the only one there is."""
        kind, _, peer = self.query_one("#at-list", Grid).key.partition(":")
        return newcomer(self.store, peer if kind == "waiting" else "")

    def subject(self, action: str) -> str:
        return subject(self.store, action, self._newcomer())

    def do_approve(self, _argument: str = "") -> None:
        decide_on(self, "approve", self._newcomer())

    def do_refuse(self, _argument: str = "") -> None:
        decide_on(self, "refuse", self._newcomer())

    def do_vote(self, _argument: str = "") -> None:
        open_target(self, self.query_one("#at-list", Grid).key)
