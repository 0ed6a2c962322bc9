"""Overview: this cluster, what waits for you, what just happened; alone, how to bring a second node."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult

from agent_core.shapes import Attention, Decision, LogEntry, Room
from chorus_hap.panes.attention import attention_rows, open_target
from chorus_hap.panes.base import Pane
from chorus_hap.panes.decisions import own_vote
from chorus_hap.panes.log import named
from chorus_hap.store import Store
from chorus_hap.themes import Glyphs
from chorus_hap.widgets.bars import tally_bar
from chorus_hap.widgets.columns import allot, lay, needs_of
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.keys import key_lines
from chorus_hap.widgets.lines import Line, ago, clock, cut, facts, one_line, plural, short, since, wrap, wrap_spans
from chorus_hap.widgets.sheet import Sheet
from chorus_hap.widgets.viewport import Viewport
from chorus_hap.words import leader_words, state_span, still_works, voters_words


def cluster_lines(store: Store, width: int, glyphs: Glyphs, here: Callable[[str], str] = str) -> list[Line]:
    """The facts of this node and its cluster; ``here`` names the commands in its notes as they can be given."""
    status = store.status
    if status is None:
        reason = store.connection.reason
        return [[("The node is starting", "dim"), (f": {reason}" if reason else ".", "accent")]]
    minority = still_works(store)
    voters = voters_words(store)
    cluster: Line = [(status.network, "text bold")]
    cluster += [(f"  {status.cluster_id[:12]}", "dim")] if status.cluster_id else [("  no cluster yet", "warn")]
    you: Line = [
        (status.agent_id, "you bold"),
        ("  " + f" {glyphs.dot} ".join(w for w in (status.role, status.kind, status.authority) if w), "dim"),
    ]
    state: Line = [state_span(store)]
    state += [(f"  {'voter' if status.voter else 'not a voter'} {glyphs.dot} up {ago(status.uptime_s)}", "dim")]
    pairs: list[tuple[str, Line | str]] = [
        ("You", you),
        ("Cluster", cluster),
        ("Leader", leader_words(store, glyphs)),
        ("Majority", [(voters, "bad bold" if minority else "text")]),
        ("Node", state),
        (
            "Holds",
            [
                (plural(status.entries, "entry", "entries"), "text"),
                (f"  {plural(status.peers, 'peer')} connected", "dim"),
            ],
        ),
    ]
    # Troubles come first: on a small terminal the rest may be below the edge, and most of it is in the status line.
    # All but the first is one line each: in full it is beside this, under what waits.
    gone = status.notes[:1] if status.stage in ("revoked", "evicted") else ()
    told = [(minority, "warn")] if minority else [(here(gone[0]), "bad")] if gone else []
    lines: list[Line] = [[(part, role)] for text, role in told for part in wrap(text, max(20, width - 2))]
    lines += [[(cut(here(one_line(note)), max(20, width - 2)), "warn")] for note in status.notes[len(gone) :][:3]]
    lines += [[(cut(doing.text, max(20, width - 2)), "accent")] for doing in status.underway]
    lines += facts(pairs, 11, width)
    lines.append([("Home       ", "dim"), (status.home, "dim"), (f"  {status.mode}", "dim")])
    return lines


def lone_lines(command: str, width: int, changes: bool = True) -> list[Line]:
    """What to do as a cluster of one.

    Args:
        command: what brings a second node.
        changes: whether anything may be written from here now.
    """
    roomy = width >= 70  # else every line is needed for what must be read whole
    gap: list[Line] = [[]] if roomy else []
    title = (
        "You are a cluster of one and its leader. Bring a second node:"
        if roomy
        else "You are alone. Bring a second node:"
    )
    lines: list[Line] = [*([(part, "text bold")] for part in wrap(title, width)), *gap]
    lines += [[("  " + part, "accent")] for part in wrap(command, max(20, width - 2))]
    also = " Messages, decisions and versions all work alone, too:" if changes else ""
    lines += [*gap, *wrap_spans([("y", "accent bold"), (" copies it." + also, "dim")], width)]
    if changes:
        keys = (("n", "writes the first message"), ("p", "proposes a decision"), ("7", "keeps a text"))
        lines += key_lines(keys, width)
    return lines


#: Time, author, type, text of what was written lately.
_RECENT = (Column("", 8), Column("", 24, least=14), Column("", 16, least=12, rank=1), Column(""))


def recent_lines(entries: list[LogEntry], width: int) -> list[Line]:
    """The newest entries, newest first."""
    rows = [
        ((clock(e.at), "dim"), (one_line(e.author), "text"), (e.type, "dim"), (one_line(e.text), "text"))
        for e in reversed(entries)
    ]
    sizes = allot(_RECENT, needs_of([""] * len(_RECENT), rows), width)
    return [lay(_RECENT, row, sizes) for row in rows]


def decision_rows(decisions: tuple[Decision, ...], glyphs: Glyphs, changes: bool = True) -> list[Row]:
    """Open decisions, briefly."""
    rows = []
    for d in decisions:
        if d.state in ("open", "closing"):
            bar = tally_bar(d.tally, d.eligible, d.options, 8, glyphs)
            left = short(d.time_left_s) if d.state == "open" else "closing"
            rows.append(
                Row(
                    d.id,
                    (
                        (one_line(d.title), "text"),
                        bar,
                        (left, "dim"),
                        own_vote(d, changes, "not yet", glyphs.dash),
                    ),
                )
            )
    return rows


def room_rows(rooms: tuple[Room, ...], now: datetime) -> list[Row]:
    """Rooms with something new, briefly."""
    newest = sorted(rooms, key=lambda r: r.last_at, reverse=True)
    return [Row(r.id, ((r.id, "text"), (one_line(r.last_text), "dim"), (since(r.last_at, now), "dim"))) for r in newest]


class OverviewPane(Pane):
    """The first page."""

    name_: ClassVar[str] = "overview"
    slices: ClassVar[frozenset[str]] = frozenset({"status", "attention", "log", "decisions", "rooms", "members"})
    ticks: ClassVar[bool] = True

    def compose(self) -> ComposeResult:
        yield Sheet("This cluster", id="ov-cluster")
        yield Grid(
            "Waiting for you",
            [Column("", 11), Column("", 0), Column("", 5, right=True)],
            header=False,
            empty="Nothing waits for you. Votes you owe, mentions and troubles appear here; enter opens them.",
            id="ov-attention",
        )
        yield Grid(
            "Open decisions",
            [Column(""), Column("", 8, rank=2), Column("", 7, right=True, rank=1), Column("", 8)],
            header=False,
            empty="No decision is open. p proposes one.",
            id="ov-plenum",
        )
        yield Grid(
            "Rooms",
            [Column("", 18), Column(""), Column("", 4, right=True, rank=1)],
            header=False,
            empty="No room yet. n writes the first message.",
            id="ov-rooms",
        )
        yield Sheet("Just now", empty="Nothing was written yet. n writes the first message.", id="ov-log")

    def sync(self) -> None:
        store, glyphs = self.store, self.console.look.glyphs
        status = store.status
        cluster = self.query_one("#ov-cluster", Sheet)
        lone = status is not None and status.lone and not status.offline
        self.set_class(lone, "-lone")
        cluster.show(lambda width: cluster_lines(store, width, glyphs, self.console.here))
        cluster.copy = status.addresses[0] if status and status.addresses else ""
        attention: tuple[Attention, ...] = store.items("attention")  # type: ignore[assignment]
        box = self.query_one("#ov-attention", Grid)
        box.caption = f"Waiting for you · {len(attention)}" if attention else "Waiting for you"
        box.show(attention_rows(attention, glyphs, self.now, self.console.here))
        box.retitle()
        changes = not self.console.why_unchanged()
        self.query_one("#ov-plenum", Grid).show(decision_rows(store.items("decisions"), glyphs, changes))  # type: ignore[arg-type]
        self.query_one("#ov-rooms", Grid).show(room_rows(store.items("rooms"), self.now))  # type: ignore[arg-type]
        news = self.query_one("#ov-log", Sheet)
        if status is not None and lone:
            news.caption = "A cluster of one"
            command = news.copy = self.console.program.second_node(status.addresses, status.network)
            news.show(lambda width: lone_lines(command, width, changes))
        else:
            news.caption, news.copy = "Just now", ""
            entries = [entry for _, entry in store.ring("log").since(store.ring("log").total - 60)]
            # by what authors say of the time: feeds that arrive late would else stand before what is new
            entries = sorted(named(entries, self.console.names), key=lambda e: e.at)
            entries = [e for e in entries if e.type != "act.commit"]  # the act itself is told
            news.show(lambda width: recent_lines(entries, width))
        news.retitle()

    def enter(self) -> None:
        self.query_one("#ov-attention", Grid).focus()

    def do_copy(self, _argument: str = "") -> None:
        status = self.store.status
        if status is not None and status.lone:
            self.app.copy_to_clipboard(self.console.program.second_node(status.addresses, status.network))
            self.console.say("Copied the command for a second node.")
        else:
            self.console.everywhere.do_copy()

    @on(Viewport.Opened)
    def _opened(self, event: Viewport.Opened) -> None:
        view = event.view
        if not isinstance(view, Grid) or not view.key:
            return
        if view.id == "ov-attention":
            open_target(self, view.key)
        elif view.id == "ov-plenum":
            self.console.go("decisions", view.key)
        else:
            self.console.go("hmmm", view.key)
