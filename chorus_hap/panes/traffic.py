"""Traffic: every message as it passes, what became of it and why, with honest counters."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Container

from agent_core.shapes import Traffic
from chorus_hap.panes.base import Pane
from chorus_hap.themes import Glyphs
from chorus_hap.widgets.bars import sparkline
from chorus_hap.widgets.columns import Cell, Column
from chorus_hap.widgets.lines import Line, clock, facts, one_line, size, wrap
from chorus_hap.widgets.sheet import Sheet
from chorus_hap.widgets.stream import StreamView
from chorus_hap.widgets.viewport import Viewport

VERDICT_ROLES = {"accept": "good", "sent": "accent", "ignore": "dim", "reject": "bad"}


def verdict_glyph(verdict: str, glyphs: Glyphs) -> str:
    """A sign for what became of a message."""
    return {"accept": glyphs.ok, "sent": glyphs.up, "ignore": glyphs.skip, "reject": glyphs.no}.get(verdict, "?")


#: Time, verdict's sign, type, sender, size, reason and text.
TRAFFIC_COLUMNS = (
    Column("", 8), Column("", 1), Column("", 24, least=16), Column("", 24, least=14, rank=1), Column("", 7, right=True, rank=2),
    Column(""),
)  # fmt: skip


def traffic_cells(item: Traffic, glyphs: Glyphs) -> tuple[Cell, ...]:
    """A message in the columns of a line."""
    role = VERDICT_ROLES.get(item.verdict, "text")
    said: Line = [(f"{item.verdict}: {one_line(item.reason)}  ", role)] if item.reason else []
    said.append((one_line(item.text), "text"))
    return (
        (clock(item.at), "dim"),
        (verdict_glyph(item.verdict, glyphs), role),
        (item.type, "text" if item.verdict in ("accept", "sent") else "dim"),
        (one_line(item.sender), "you" if item.verdict == "sent" else "text"),
        (size(item.size), "dim"),
        said,
    )


def traffic_fields(item: Traffic) -> tuple[str, Mapping[str, str]]:
    """What the filter sees of a message."""
    fields = {
        "type": item.type,
        "topic": item.topic,
        "from": item.sender,
        "sender": item.sender,
        "verdict": item.verdict,
        "reason": item.reason,
    }
    return f"{item.type} {item.sender} {item.verdict} {item.reason} {item.text} {item.topic}", fields


def traffic_detail(item: Traffic, width: int) -> list[Line]:
    """A message in full."""
    lines = facts(
        [
            ("Type", item.type), ("Topic", item.topic), ("From", item.sender), ("At", clock(item.at)), ("Size", size(item.size)),
            ("Verdict", [(item.verdict, VERDICT_ROLES.get(item.verdict, "text")), (f"  {item.reason}" if item.reason else "", "text")]),
        ],
        9,
    )  # fmt: skip
    lines.append([])
    for text in (item.raw or item.text).split("\n"):
        lines += [[(part, "text")] for part in wrap(text, width)]
    return lines


class TrafficPane(Pane):
    """The stream, and where there is room the message at the cursor."""

    name_: ClassVar[str] = "traffic"
    slices: ClassVar[frozenset[str]] = frozenset({"traffic", "members"})
    ticks: ClassVar[bool] = True

    def _named(self, item: Traffic) -> Traffic:
        """A message with the names that members have now: it may have passed before its sender was known."""
        names = self.console.names
        return msgspec.structs.replace(item, sender=names(item.sender), text=names(item.text))

    def __init__(self) -> None:
        super().__init__()
        self._rates: deque[float] = deque([0.0] * 24, maxlen=24)
        self._counted = (-1, 0.0)

    def compose(self) -> ComposeResult:
        with Container(classes="row"):
            yield StreamView(
                "Traffic",
                lambda: self.store.ring("traffic"),
                TRAFFIC_COLUMNS,
                lambda item: traffic_cells(self._named(item), self.console.look.glyphs),
                lambda item: traffic_fields(self._named(item)),
                empty="Messages of the mesh pass here, also the refused ones with the reason. None has passed yet.",
                id="tr-stream",
            )
            yield Sheet("Message", empty="The message at the cursor. Move up to hold one.", id="tr-detail")

    def on_mount(self) -> None:
        self.stream.whole = lambda: self.store.ring("traffic").total  # what left the ring is nowhere else

    @property
    def stream(self) -> StreamView:
        return self.query_one("#tr-stream", StreamView)

    def sync(self) -> None:
        self._rate()
        self.stream.pull()
        self._detail()

    def _rate(self) -> None:
        total, now = self.store.ring("traffic").total, self.store.clock()
        before, at = self._counted
        if before < 0:
            self._counted = (total, now)
        elif now - at >= 1.0:
            self._rates.append((total - before) / (now - at))
            self._counted = (total, now)
        glyphs = self.console.look.glyphs
        spark = sparkline(self._rates, 16, glyphs) + "  " if any(self._rates) else ""
        self.stream.note = f"{spark}{self._rates[-1]:.0f}/s  {total} in all"

    def _detail(self) -> None:
        item: Any = self.stream.item
        sheet = self.query_one("#tr-detail", Sheet)
        sheet.copy = item.raw if item is not None else ""
        sheet.show(lambda width: traffic_detail(self._named(item), width) if item is not None else [])

    @on(Viewport.Moved)
    def _moved(self) -> None:
        self._detail()

    @on(Viewport.Opened)
    def _opened(self) -> None:
        from chorus_hap.wizard.dialogs import Reader

        item = self.stream.item
        if item is not None:
            self.console.open_modal(
                Reader(item.type, lambda width: traffic_detail(self._named(item), width), item.raw or item.text)
            )

    def do_pause(self, _argument: str = "") -> None:
        self.stream.toggle_pause()

    def do_follow(self, _argument: str = "") -> None:
        self.stream.toggle_follow()
