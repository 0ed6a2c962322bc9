"""HMMM: rooms, the threads of the one that is open, and a message in full."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Container

from agent_core.errors import ChorusError
from agent_core.shapes import MAX_LIMIT, Message, Room, RoomView, Stances
from chorus_hap.panes.base import Pane
from chorus_hap.themes import Glyphs
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.lines import Line, clock, cut, facts, one_line, plural, since, spread, wrap
from chorus_hap.widgets.prose import prose
from chorus_hap.widgets.sheet import Block, Blocks, Sheet
from chorus_hap.widgets.viewport import Viewport

INTENT_ROLES = {"proposal": "accent", "question": "warn", "answer": "good", "update": "dim", "escalation": "bad"}
STANCE_ROLES = {"agree": "good", "disagree": "bad", "abstain": "dim"}
#: Lines of a message shown among the others; enter shows all of it.
_PREVIEW_LINES = 12


def room_rows(rooms: Sequence[Room], read: dict[str, int], glyphs: Glyphs, now: datetime) -> list[Row]:
    """The rooms, the latest first, with what is unread."""
    out = []
    for room in sorted(rooms, key=lambda r: r.last_at, reverse=True):
        unread = max(0, room.messages - read.get(room.id, 0))
        planned = bool(room.plan) and room.plan != "none"  # how the plan stands is told beneath the messages
        sign = (
            (f"{glyphs.warn} ", "bad")
            if room.escalated
            else (f"{glyphs.right} ", "warn")
            if planned
            else (f"{glyphs.on} ", "accent")
            if unread
            else ("  ", "")
        )
        name: Line = [sign, (room.id, "text bold" if unread else "text")]
        out.append(
            Row(
                room.id,
                (name, (str(unread) if unread else "", "accent bold"), (since(room.last_at, now), "dim")),
                {"room": room.id, "plan": room.plan, "unread": "yes" if unread else "no"},
                (room.id, unread, room.last_at),
                room.id,
            )
        )
    return out


def message_block(message: Message, stances: Stances | None, depth: int, glyphs: Glyphs) -> Block:
    """A message in its thread."""
    indent = "  " * min(depth, 4)

    def build(width: int) -> list[Line]:
        head: Line = [(indent, "")]
        head += [(f"{glyphs.branch} ", "faint")] if depth else []
        head += [
            (message.author, "you bold" if message.you else "text bold"),
            (f"  {message.intent}", INTENT_ROLES.get(message.intent, "dim")),
        ]
        if message.held:
            head.append((f"  held until {clock(message.held)}", "warn"))
        if message.stance:
            weight = f" ({message.weight})" if message.weight else ""
            head.append((f"  {message.stance}{weight}", STANCE_ROLES.get(message.stance, "dim")))
        lines = [spread(head, [(clock(message.at, seconds=False), "dim")], width)]
        lead = indent + (f"{glyphs.branch} " if depth else "")
        if message.missing:
            body: list[Line] = [
                [(part, "dim italic")] for part in wrap(f"not shown: {message.missing}", width - len(lead))
            ]
        else:
            body = prose(message.text, max(12, width - len(lead)))
        hidden = len(body) - _PREVIEW_LINES
        if hidden > 1:
            body = [*body[:_PREVIEW_LINES], [(f"{plural(hidden, 'more line')}: enter shows all", "dim")]]
        lines += [[(lead, "faint"), *line] for line in body]
        tail: Line = []
        if stances and (stances.agree or stances.disagree or stances.abstain):
            tail += [
                (f"{glyphs.ok} {stances.agree}  ", "good"),
                (f"{glyphs.no} {stances.disagree}  ", "bad" if stances.disagree else "dim"),
                (f"{glyphs.off} {stances.abstain}  ", "dim"),
            ]
        if message.citations:
            tail.append((f"{glyphs.right} {plural(len(message.citations), 'citation')}", "dim"))
        if tail:
            lines.append([(lead, "faint"), *tail])
        return lines

    fields = {
        "author": message.author,
        "intent": message.intent,
        "stance": message.stance,
        "kind": message.kind,
        "id": message.id,
    }
    return Block(message.id, build, f"{message.author} {message.intent} {message.text}", fields, message.text)


def thread_blocks(view: RoomView, glyphs: Glyphs) -> list[Block]:
    """The messages in thread order; a hairline between threads."""
    blocks: list[Block] = []
    depths: dict[str, int] = {}
    for message in view.messages:
        root = message.thread in ("", message.id) or not message.parent
        depth = 0 if root else depths.get(message.parent, 0) + 1
        depths[message.id] = depth
        if blocks:
            rule = root
            blocks.append(Block("", lambda width, rule=rule: [[(glyphs.rule * width, "faint")]] if rule else [[]]))  # type: ignore[misc]
        blocks.append(message_block(message, view.stances.get(message.id), depth, glyphs))
    return blocks


def message_lines(message: Message, stances: Stances | None, width: int, glyphs: Glyphs) -> list[Line]:
    """A message in full: who, when, how, what, and what it leans on."""
    lines = facts(
        [
            (
                "From",
                [
                    (message.author, "you bold" if message.you else "text bold"),
                    (f"  {message.kind} via {message.via}", "dim"),
                ],
            ),
            ("When", clock(message.at)),
            ("Intent", [(message.intent, INTENT_ROLES.get(message.intent, "text"))]),
            (
                "Id",
                [
                    (message.id, "text"),
                    (f"  in thread {message.thread}" if message.thread and message.thread != message.id else "", "dim"),
                ],
            ),
        ],
        9,
    )
    if message.held:
        lines += facts(
            [("Held", [(f"its stamp is ahead of the clock; it counts from {clock(message.held)} on", "warn")])], 9
        )
    if message.stance:
        weight = f" ({message.weight})" if message.weight else ""
        lines += facts([("Stance", [(message.stance + weight, STANCE_ROLES.get(message.stance, "text"))])], 9)
    if stances is not None:
        counts = f"{stances.agree} agree, {stances.disagree} disagree, {stances.abstain} abstain"
        lines += facts([("Stances", counts)], 9)
    if message.mentions:
        lines += [[("Mentions ", "dim"), (", ".join(message.mentions), "text")]]
    lines.append([])
    if message.missing:
        lines += [[(part, "dim italic")] for part in wrap(f"The text is not shown: {message.missing}.", width)]
    else:
        lines += prose(message.text, width)
    if message.citations:
        lines += [[], [("Leans on", "dim")]]
        for citation in message.citations:
            lines += [[(part, "accent")] for part in wrap(citation.address, width)]
            version = f" at {citation.version[:8]}" if citation.version else ""
            lines += [[("  " + part, "text")] for part in wrap(one_line(citation.reason) + version, width - 2)]
    return lines


class HmmmPane(Pane):
    """Rooms, conversation, and where there is room the message in full."""

    name_: ClassVar[str] = "hmmm"
    slices: ClassVar[frozenset[str]] = frozenset({"rooms"})
    room_id: str = ""
    _wanted_message: str = ""
    _missing_told = False
    _old: RoomView | None = None  # the open room as it was read for a filter
    _read = ""  # the room that is being read so, or was

    def compose(self) -> ComposeResult:
        with Container(classes="row"):
            yield Grid(
                "Rooms",
                [Column("room", 0), Column("new", 3, right=True), Column("", 4, right=True, rank=1)],
                header=False,
                empty="Rooms live here, one for each issue. n writes the first message.",
                id="hm-rooms",
            )
            yield Blocks("Messages", empty="Choose a room; enter opens it. n writes a message.", id="hm-thread")
            yield Sheet("Message", empty="The message at the cursor, in full.", id="hm-detail")

    def on_mount(self) -> None:
        thread = self.query_one("#hm-thread", Blocks)
        thread.whole, thread.seek = lambda: self.opened.room.messages if self.opened else 0, self._read_room

    def _read_room(self) -> None:
        """Ask for the messages of the open room that are older than those that are watched: a filter looks through all."""
        view = self.opened
        if view is None or self._read == view.room.id or len(view.messages) >= view.room.messages:
            return
        self._read = room = view.room.id

        async def job() -> None:
            try:
                self._old = await self.ask("hmmm.show", RoomView, room=room, limit=MAX_LIMIT)
            except ChorusError:
                self._read = ""
                raise
            self.sync()

        self.work(job, "hmmm-read")

    def wants(self, changed: frozenset[str] | set[str]) -> bool:
        return super().wants(changed) or f"room:{self.room_id}" in changed

    @property
    def opened(self) -> RoomView | None:
        """The room that is open."""
        value = self.store.value(f"room:{self.room_id}") if self.room_id else None
        if not isinstance(value, RoomView) or self._old is None or self._old.room.id != value.room.id:
            return value if isinstance(value, RoomView) else None
        watched = {m.id for m in value.messages}
        older = tuple(m for m in self._old.messages if m.id not in watched)
        return msgspec.structs.replace(
            value, messages=older + value.messages, stances={**self._old.stances, **value.stances}
        )

    @property
    def message(self) -> Message | None:
        """The message at the cursor."""
        view, key = self.opened, self.query_one("#hm-thread", Blocks).key
        return next((m for m in view.messages if m.id == key), None) if view else None

    def sync(self) -> None:
        glyphs = self.console.look.glyphs
        view = self.opened
        if view is not None and self.display:
            self.console.session.read[self.room_id] = view.room.messages
        rooms: Sequence[Room] = self.store.items("rooms")
        grid = self.query_one("#hm-rooms", Grid)
        grid.caption = f"Rooms · {len(rooms)}" if rooms else "Rooms"
        grid.show(room_rows(rooms, self.console.session.read, glyphs, self.now))
        grid.retitle()
        if not self.room_id and rooms:
            self.open_room(grid.key)
        thread = self.query_one("#hm-thread", Blocks)
        thread.caption = (
            f"{self.room_id} · {plural(view.room.messages, 'message')}" if view else self.room_id or "Messages"
        )
        plan = view.room.plan.replace("_", " ") if view and view.room.plan != "none" else ""
        people = ", ".join(view.room.participants)[:60] if view else ""
        thread.note = f"plan {plan} {glyphs.dot} {people}" if plan else people
        fresh = thread.total() == 0
        thread.show(thread_blocks(view, glyphs) if view else [], to_end=fresh)
        thread.retitle()
        if self._wanted_message and view is not None:
            known = any(message.id == self._wanted_message for message in view.messages)
            if not known and not self._missing_told:
                self._missing_told = True
                self.console.say(f"Message {self._wanted_message} is not among those shown here (yet).", "warning")
            if known and self.choose(thread, self._wanted_message):
                self._wanted_message = ""
        self._detail()

    def _detail(self) -> None:
        message, view = self.message, self.opened
        glyphs = self.console.look.glyphs
        sheet = self.query_one("#hm-detail", Sheet)
        stances = view.stances.get(message.id) if view and message else None
        sheet.copy = message.text if message else ""
        sheet.show(lambda width: message_lines(message, stances, width, glyphs) if message else [])

    def open_room(self, room: str, message: str = "") -> None:
        """Watch a room and show its messages."""
        self._wanted_message, self._missing_told = message, False
        if not room or room == self.room_id:
            self.sync()
            return
        before, self.room_id = self.room_id, room
        self._old, self._read = None, ""
        source = self.console.source

        async def job() -> None:
            if before:
                await source.unwatch(f"room:{before}")
                self.store.forget(f"room:{before}")
            await source.watch(f"room:{room}")

        self.work(job, "hmmm-room")
        self.query_one("#hm-thread", Blocks).show([])
        self.sync()

    def open_at(self, argument: str) -> None:
        """Open a room, or ``room/message``."""
        name, _, message = argument.partition("/")
        self.choose(self.query_one("#hm-rooms", Grid), name)
        self.open_room(name, message)
        self.query_one("#hm-thread", Blocks).focus()

    @on(Viewport.Moved)
    def _moved(self, event: Viewport.Moved) -> None:
        view = event.view
        if view.id == "hm-rooms" and isinstance(view, Grid):
            if view.has_focus:
                self.open_room(view.key)
        elif view.id == "hm-thread":
            self.query_one("#hm-detail", Sheet).top = 0
            self._detail()

    @on(Viewport.Opened)
    def _opened(self, event: Viewport.Opened) -> None:
        from chorus_hap.wizard.dialogs import Reader

        view = event.view
        if view.id == "hm-rooms" and isinstance(view, Grid):
            self.open_room(view.key)
            self.query_one("#hm-thread", Blocks).focus()
            return
        message, room, glyphs = self.message, self.opened, self.console.look.glyphs
        if message is not None:
            stances = room.stances.get(message.id) if room else None
            self.console.open_modal(
                Reader(
                    f"{cut(message.author, 20)} in {message.room}",
                    lambda width: message_lines(message, stances, width, glyphs),
                    message.text,
                )
            )

    def back(self) -> bool:
        self.query_one("#hm-rooms", Grid).focus()
        return True

    def do_reply(self, _argument: str = "") -> None:
        from chorus_hap.wizard.compose import Compose
        from chorus_hap.wizard.drafts import Start

        message, view = self.message, self.opened
        if message is None or view is None:
            self.console.say("Choose the message to reply to first; enter on a room shows its messages.", "warning")
            return
        self.console.open_modal(
            Compose(Start(room=message.room or self.room_id, reply_to=message.id, seen=view.room.messages))
        )
