"""The composition wizard: say, where, who, body, review. One screen, a rail of steps, no mouse needed, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar, cast

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer
from textual.widgets import Static, TextArea

from agent_core.errors import ChorusError
from agent_core.shapes import AddressInfo, Message, Posted, RoomView
from chorus_hap.widgets.choice import Choice, Note
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.keys import Field
from chorus_hap.widgets.lines import Line, clock, one_line, plural
from chorus_hap.widgets.prose import prose
from chorus_hap.widgets.sheet import Sheet
from chorus_hap.widgets.viewport import Viewport
from chorus_hap.wizard.cite import Cite
from chorus_hap.wizard.drafts import Draft, Start, discard, load, save
from chorus_hap.wizard.modal import Checked
from chorus_hap.wizard.review import (
    SAYINGS,
    STEPS,
    answered_lines,
    checks_caption,
    finding_lines,
    member_choices,
    missing_in,
    request_of,
    review_lines,
    room_choices,
    thread_rows,
    undone_in,
    value_of,
)

_SAVE_AFTER_S = 0.4


class Compose(Checked[None]):
    """The wizard."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "next", show=False, priority=True),
        Binding("ctrl+b", "previous", show=False, priority=True),
        Binding("ctrl+k", "cite", show=False, priority=True),
        Binding("ctrl+x", "uncite", show=False, priority=True),
        Binding("ctrl+d", "afresh", show=False, priority=True),
        Binding("escape", "leave", show=False, priority=True),
        Binding("space", "name_member", show=False),
    ]

    def __init__(self, start: Start) -> None:
        super().__init__()
        self.start = start
        self.step = "say"
        self.draft = Draft(op_id="")  # until the one on disk is read
        self.view: RoomView | None = None
        self.taken_up = ""
        self._delays: dict[str, Timer] = {}
        self._sending = False

    # --- building -----------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Container(classes="form"):
            yield Static("New message", id="co-title", classes="form-title", markup=False)
            with Container(classes="form-main"):
                yield Grid("", [Column("", 0)], header=False, id="co-rail", classes="rail")
                with Container(id="co-say", classes="step"):
                    yield Static("What do you want to say?", classes="question", markup=False)
                    yield Choice(SAYINGS, id="co-sayings")
                with Container(id="co-where", classes="step"):
                    yield Static(
                        "In which room? A room is an issue; a new name makes a new room.",
                        classes="question",
                        markup=False,
                    )
                    yield Field(id="co-room", placeholder="issue id")
                    yield Grid(
                        "Rooms",
                        [Column("", 18), Column("", 0), Column("", 5, right=True)],
                        header=False,
                        empty="No room yet: name the first one above.",
                        id="co-rooms",
                    )
                    yield Grid("Thread", [Column("", 0), Column("", 5, right=True)], header=False, empty="A new room begins a new thread.", id="co-threads")  # fmt: skip
                with Container(id="co-who", classes="step"):
                    yield Static(
                        "Who should see it? Everybody in the room does; whom you name is told.",
                        classes="question",
                        markup=False,
                    )
                    yield Field(id="co-mentions", placeholder="agents, roles, expertise, separated by commas")
                    yield Grid("Members · space names one", [Column("", 0), Column("", 14), Column("", 8)], header=False, empty="Nobody else is a member yet.", id="co-members")  # fmt: skip
                with Container(id="co-body", classes="step"):
                    yield Note(self._answered, id="co-answered")
                    with Container(id="co-editors"):
                        yield TextArea(id="co-text", soft_wrap=True, tab_behavior="focus")
                        yield Sheet("Preview", empty="Markdown shows here as you type.", id="co-preview")
                    yield Sheet("Checks", empty="No secret found. ^k cites an address.", id="co-findings")
                with Container(id="co-review", classes="step"):
                    yield Sheet("What is signed and sent", id="co-exact")
            with Container(classes="form-keys"):
                yield self.key_line()

    def keys(self) -> list[tuple[str, str]]:
        if self.query("#co-rail:focus"):
            rail = [("j k", "choose a step"), ("⏎", "go there")]
            return [*rail, *self._onward(), ("esc", "leave, the draft stays" if not self.draft.empty else "leave")]
        back = [("^b", "back")] if self.step != STEPS[0][0] else []
        field = [("tab", "next field")] if self.step in ("where", "who", "body") else []
        cite = [("^k", "cite")] if self.step in ("body", "review") else []
        drop = [("^x", "drop citation")] if cite and self.draft.citations else []
        return [*self._onward(), *back, *field, *cite, *drop, ("esc", "leave the field")]

    def _onward(self) -> list[tuple[str, str]]:
        """What ``ctrl+s`` does now; nothing where it can't do anything."""
        if self.step == "review":
            return [] if self._blocked() else [("^s", "send")]
        missing = undone_in(self.step, self.draft)
        word = "review" if self.step == "body" else "next"
        return [("^s", word + (f", once {missing}" if missing else ""))]

    def _blocked(self) -> str:
        """Why it can't be sent as it stands, or not now; empty when it can."""
        undone = next((missing for step, _ in STEPS if (missing := missing_in(step, self.draft))), "")
        if undone or self.secret:
            return undone or self.secret
        now = self.console.why_unchanged()
        return f"{now} The draft is kept." if now else ""

    def again(self) -> None:
        if self.step == "review" and self._blocked() != self._reviewed:
            self._show_review()
        super().again()

    _reviewed = ""

    def _answered(self, width: int) -> list[Line]:
        if not self.draft.reply_to:
            return []
        rows = 2 if self.app.size.height < 36 else 5
        return answered_lines(self._message(self.draft.reply_to), width, rows, self.console.look.glyphs)

    def _message(self, id: str) -> Message | None:
        """A message of the room, as far as one was loaded or is shown behind this."""
        shown = self.console.store.value(f"room:{self.draft.room}")
        views = (self.view, shown if isinstance(shown, RoomView) else None)
        return next((m for view in views if view for m in view.messages if m.id == id), None)

    def on_mount(self) -> None:
        home = self.console.options.home
        self.key = self.start.reply_to
        found = load(home, self.key)
        if found is not None and not found.empty:
            self.draft = found
            self.taken_up = clock(found.at, seconds=False)
            if self.start.room and not found.room:
                found.room = self.start.room
        else:
            self.draft = Draft(
                op_id=self.console.op_id(), room=self.start.room, reply_to=self.start.reply_to, seen=self.start.seen,
                intent="answer" if self.start.reply_to else "",
            )  # fmt: skip
        text = self.query_one("#co-text", TextArea)
        text.border_title = "Markdown"
        self._fill()
        if self.start.reply_to or self.draft.text:
            self.go("body")
        else:
            self.go("say")
        if self.draft.room:
            self._load_room()

    def _fill(self) -> None:
        draft = self.draft
        say = f"{draft.intent}/{draft.stance}/{draft.weight}" if draft.intent else ""
        self.query_one("#co-sayings", Choice).chosen = say
        self.query_one("#co-room", Field).suggest(draft.room)
        self.query_one("#co-mentions", Field).value = ", ".join(draft.mentions)
        self.query_one("#co-text", TextArea).load_text(draft.text)
        self._rooms()
        self._members()
        self._preview()
        self._show_findings()

    # --- the rail -----------------------------------------------------------------------------------------------------

    def go(self, step: str) -> None:
        """Show a step; what the others hold stays."""
        self.step = step
        for name, _ in STEPS:
            self.query_one(f"#co-{name}").display = name == step
        self._rail()
        first = {
            "say": "#co-sayings",
            "where": "#co-room",
            "who": "#co-members",
            "body": "#co-text",
            "review": "#co-exact",
        }[step]
        self.query_one(first).focus()
        if step == "review":
            self._review()

    def _rail(self) -> None:
        glyphs = self.console.look.glyphs
        rows = []
        for number, (name, title) in enumerate(STEPS, 1):
            done = not missing_in(name, self.draft) and name != "review"
            sign = glyphs.ok if done else str(number)
            role = "text bold" if name == self.step else "dim"
            rows.append(Row(name, ([(f"{sign} ", "good" if done else "accent"), (title, role)],)))
            value = value_of(name, self.draft)
            rows.append(Row(f"{name}-value", ([("  " + one_line(value), "you")],)))
        rail = self.query_one("#co-rail", Grid)
        rail.show(rows)
        rail.choose(self.step)
        title = "Reply" if self.draft.reply_to else "New message"
        if self.taken_up:
            title += f" · draft from {self.taken_up} taken up, ^d starts afresh"
        self.query_one("#co-title", Static).update(title)
        self.again()

    @on(Viewport.Opened, "#co-rail")
    def _rail_opened(self, event: Viewport.Opened) -> None:
        event.stop()
        self.go(cast(Grid, event.view).key.removesuffix("-value"))

    def action_next(self) -> None:
        """``ctrl+s``: the next step that isn't done, and from the review: send."""
        missing = missing_in(self.step, self.draft)
        if missing:
            self.console.say(missing, "warning")
            return
        if self.step == "review":
            self._send()
            return
        names = [n for n, _ in STEPS]
        if self.step == "body":
            todo = next((n for n in names if missing_in(n, self.draft)), "review")
            self.go(todo)
            return
        after = names[names.index(self.step) + 1 :]
        self.go(after[0])

    def action_previous(self) -> None:
        names = [n for n, _ in STEPS]
        self.go(names[max(0, names.index(self.step) - 1)])

    def action_leave(self) -> None:
        """``esc``: leave the field; from the rail, leave the wizard with the draft kept."""
        rail = self.query_one("#co-rail", Grid)
        if not rail.has_focus:
            rail.focus()
            return
        self._save()
        if not self.draft.empty:
            self.console.say("The draft is kept; " + ("r on the message" if self.key else "n") + " takes it up again.")
        self.dismiss(None)

    def action_afresh(self) -> None:
        """Throw the draft away, after one question."""
        from chorus_hap.wizard.dialogs import Confirm

        def answered(yes: bool | None) -> None:
            if yes:
                discard(self.console.options.home, self.key)
                self.taken_up = ""
                self.draft = Draft(
                    op_id=self.console.op_id(), room=self.start.room, reply_to=self.start.reply_to, seen=self.start.seen
                )
                self.draft.intent = "answer" if self.start.reply_to else ""
                self._fill()
                self.go("body" if self.start.reply_to else "say")

        what = "reply" if self.draft.reply_to else "message"
        words = plural(len(self.draft.text.split()), "word")
        where = f" for {self.draft.room}" if self.draft.room else ""
        question = f"Throw away the draft of this {what}{where} ({words})?"
        self.console.open_modal(Confirm(question, "throw it away"), answered, over=self)

    # --- say, where, who ----------------------------------------------------------------------------------------------

    @on(Choice.Changed)
    def _said(self, event: Choice.Changed) -> None:
        self.draft.intent, self.draft.stance, self.draft.weight = event.choice.chosen.split("/")
        self._changed()

    @on(Choice.Taken)
    def _taken(self) -> None:
        self.action_next()

    def _rooms(self) -> None:
        self.query_one("#co-rooms", Grid).show(room_choices(self.console.store.items("rooms"), datetime.now(UTC)))

    @on(Field.Changed, "#co-room")
    def _room_changed(self, event: Field.Changed) -> None:
        room = event.value.strip()
        if room != self.draft.room:
            self.draft.room = room
            if self.draft.reply_to and not self.start.reply_to:
                self.draft.reply_to = ""
            self.view = None
            self._load_room()
            self._changed()

    @on(Field.Submitted)
    def _submitted(self, event: Field.Submitted) -> None:
        event.stop()
        self.action_next()

    @on(Viewport.Opened, "#co-rooms")
    def _room_opened(self, event: Viewport.Opened) -> None:
        event.stop()
        self.query_one("#co-room", Field).suggest(cast(Grid, event.view).key)
        self.query_one("#co-threads", Grid).focus()

    @on(Viewport.Opened, "#co-threads")
    def _thread_opened(self, event: Viewport.Opened) -> None:
        event.stop()
        self.draft.reply_to = cast(Grid, event.view).key.removeprefix("new")
        self._changed()
        self.action_next()

    def _load_room(self) -> None:
        room = self.draft.room
        known = {r.id for r in self.console.store.items("rooms")}
        if room not in known:
            self._threads()
            return

        async def job() -> None:
            view = msgspec.convert(await self.console.source.call("hmmm.show", {"room": room, "limit": 200}), RoomView)
            if self.draft.room == room:
                self.view = view
                if not self.draft.seen:
                    self.draft.seen = view.room.messages
                self._threads()
                self.again()

        self.console.work(job, "compose-room")

    def _threads(self) -> None:
        rows = thread_rows(self.view, datetime.now(UTC))
        grid = self.query_one("#co-threads", Grid)
        grid.show(rows)
        grid.choose(self.draft.reply_to or "new")

    def _members(self) -> None:
        rows = member_choices(self.console.store.items("members"), self.draft.mentions, self.console.look.glyphs)
        self.query_one("#co-members", Grid).show(rows)

    def action_name_member(self) -> None:
        grid = self.query_one("#co-members", Grid)
        if not grid.has_focus or not grid.key:
            return
        named = list(self.draft.mentions)
        named.remove(grid.key) if grid.key in named else named.append(grid.key)
        self.query_one("#co-mentions", Field).value = ", ".join(named)

    @on(Viewport.Opened, "#co-members")
    def _member_opened(self, event: Viewport.Opened) -> None:
        event.stop()
        self.action_name_member()

    @on(Field.Changed, "#co-mentions")
    def _mentions_changed(self, event: Field.Changed) -> None:
        self.draft.mentions = [m.strip() for m in event.value.split(",") if m.strip()]
        self._members()
        self._changed()

    # --- body ---------------------------------------------------------------------------------------------------------

    @on(TextArea.Changed, "#co-text")
    def _typed(self) -> None:
        text = self.query_one("#co-text", TextArea).text
        if text != self.draft.text:
            self.draft.text = text
            self._changed()
            self.check_soon()
            self._later("preview", 0.1, self._preview)

    def _preview(self) -> None:
        text = self.draft.text
        self.query_one("#co-preview", Sheet).show(lambda width: prose(text, width))

    def text_to_check(self) -> str:
        return self.draft.text

    def found(self) -> None:
        self._show_findings()
        if self.step == "review":
            self._show_review()
        self.again()

    def _show_findings(self) -> None:
        findings, citations = self.findings, list(self.draft.citations)
        glyphs = self.console.look.glyphs
        box = self.query_one("#co-findings", Sheet)
        box.caption = checks_caption(findings, citations)
        box.show(lambda _width: finding_lines(findings, citations, glyphs))
        box.retitle()

    def action_cite(self) -> None:
        addresses: Sequence[AddressInfo] = self.console.store.items("ucxl")

        def cited(answer: tuple[str, str] | None) -> None:
            if answer is not None:
                self.draft.citations.append(answer)
                self._show_findings()
                self._changed()
                if self.step == "review":
                    self._review()

        self.console.open_modal(Cite([a.address for a in addresses if not a.deleted]), cited, over=self)

    def action_uncite(self) -> None:
        if self.draft.citations:
            self.draft.citations.pop()
            self._show_findings()
            self._changed()

    # --- review and send ----------------------------------------------------------------------------------------------

    def _review(self) -> None:
        draft = self.draft
        self.check()
        self._show_review()
        if not draft.room or draft.room not in {r.id for r in self.console.store.items("rooms")}:
            return

        async def job() -> None:
            self.view = msgspec.convert(
                await self.console.source.call("hmmm.show", {"room": draft.room, "limit": 200}), RoomView
            )
            self._show_review()

        self.console.work(job, "compose-review")

    def _show_review(self) -> None:
        status, glyphs = self.console.store.status, self.console.look.glyphs
        draft, findings, view = self.draft, self.findings, self.view
        name = status.agent_id if status else "you"
        blocked = self._reviewed = self._blocked()
        self.query_one("#co-exact", Sheet).show(
            lambda width: review_lines(draft, findings, view, name, width, glyphs, blocked)
        )

    def _send(self) -> None:
        for step, _ in STEPS:
            missing = missing_in(step, self.draft)
            if missing:
                self.console.say(missing, "warning")
                self.go(step)
                return
        blocked = self._blocked()
        if blocked:
            self.console.say(blocked, "warning")
            return
        if self._sending:
            return
        self._sending = True
        draft = self.draft
        request = request_of(draft)

        async def job() -> None:
            try:
                params = msgspec.to_builtins(request)
                posted = msgspec.convert(await self.console.source.call("hmmm.post", params), Posted)
            except ChorusError as error:
                self.console.say(f"Not sent: {error} The draft is kept.", "error")
                return
            finally:
                self._sending = False
            for timer in self._delays.values():
                timer.stop()
            discard(self.console.options.home, self.key)
            held = (
                f"; {plural(posted.delivered, 'other member holds', 'other members hold')} it"
                if posted.delivered
                else ""
            )
            self.console.say(f"Sent to {draft.room} as {posted.id}{held}.")
            self.dismiss(None)
            self.console.go("hmmm", f"{draft.room}/{posted.id}")

        self.console.work(job, "compose-send", exclusive=False)

    # --- the draft on disk --------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._rail_soon()
        self._later("save", _SAVE_AFTER_S, self._save)

    def _rail_soon(self) -> None:
        self._later("rail", 0.1, self._rail_values)

    def _rail_values(self) -> None:
        focused = self.app.focused
        self._rail()
        if focused is not None and focused is not self.app.focused:
            focused.focus()

    def _save(self) -> None:
        if self.draft.empty:
            return
        self.draft.at = datetime.now(UTC).isoformat(timespec="seconds")
        if not save(self.console.options.home, self.draft, self.key):
            self.console.say("The draft can't be written to disk; don't close this before it is sent.", "error")

    def _later(self, name: str, after_s: float, run: object) -> None:
        if name in self._delays:
            self._delays[name].stop()
        self._delays[name] = self.set_timer(after_s, run)  # type: ignore[arg-type]

    def on_unmount(self) -> None:
        for timer in self._delays.values():
            timer.stop()
