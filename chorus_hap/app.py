"""The console: one screen with a pane at a time, fed by the store, steered by the action registry."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.notifications import Notify
from textual.screen import Screen
from textual.widgets import Input, Static
from textual.widgets._toast import ToastHolder

from agent_core.clock import wall_ms
from agent_core.errors import ChorusError
from agent_core.ids import uuid7
from agent_core.shapes import Attention
from chorus_hap.actions import EVERYWHERE, PANES, Action, Registry, Situation
from chorus_hap.commands import completions
from chorus_hap.everywhere import Everywhere
from chorus_hap.filter import parse as parse_filter
from chorus_hap.names import Names
from chorus_hap.palette import Actions
from chorus_hap.panes.base import Pane
from chorus_hap.program import Here
from chorus_hap.session import Session
from chorus_hap.shown import clean_lines
from chorus_hap.source import Source
from chorus_hap.store import CONNECTION, Store
from chorus_hap.subjects import subject as named
from chorus_hap.themes import ASCII, DARK, PALETTES, UNICODE, Palette
from chorus_hap.widgets.chrome import Banner, Footer, Prompt, StatusLine, Tabs
from chorus_hap.widgets.lines import clean
from chorus_hap.widgets.viewport import Look, Painted, Viewport
from chorus_hap.wizard.dialogs import Confirm, FirstRun, Setup
from chorus_hap.wizard.modal import Modal
from chorus_hap.wizard.trouble import Trouble

#: Below this nothing can be shown that would be true and legible.
MIN_COLUMNS, MIN_ROWS = 60, 18
#: From here on a list has room for its detail beside it; below it stands under the list.
BROAD_COLUMNS = 150
#: The visible pane repaints at most so often, times a second.
PAINTS_PER_S = 8
#: After a flush that took more than this many seconds of the processor it repaints only so often, times a second.
SLOW_PAINT_S = 0.03
SLOW_PAINTS_PER_S = 2
#: How long a toast stays, seconds.
TOAST_S = 3.0
#: How often what only ages is painted anew, seconds: no clock here shows less.
TICK_S = 1.0
#: Slices the console keeps fresh whatever pane is shown.
SLICES = (
    "status",
    "election",
    "members",
    "peers",
    "waiting",
    "rooms",
    "decisions",
    "ucxl",
    "attention",
    "traffic",
    "log",
)

T = TypeVar("T")
Runner = Callable[[tuple[str, ...]], Awaitable[tuple[int, str, str]]]


@dataclass(frozen=True, slots=True)
class Options:
    """How this console was asked to be.

    ``run`` runs the words of a scripted command and gives exit status, stdout and stderr. ``setup`` is what the first run
    proposes, None on a home that exists.
    """

    home: Path
    theme: str = DARK.name
    ascii: bool = False
    read_only: bool = False
    keys: dict[str, str] = field(default_factory=dict)
    run: Runner | None = None
    setup: FirstRun | None = None
    on_setup: Callable[[FirstRun], None] | None = None
    load_offline: Callable[[], dict[str, Any]] | None = None


class Main(Screen[None], inherit_bindings=False):
    """The screen of the panes; every key of it is the registry's. They are bound here and not to the application, so that none
    of them acts beneath a screen that lies over the panes.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        super().__init__(id="_default")
        for key in keys:
            if key != "enter":  # the boxes open what is selected
                self._bindings.key_to_bindings[key] = [
                    Binding(key, f"app.key({key!r})", show=False, priority=False, id=f"key-{key}")
                ]


class ConsoleApp(App[str]):
    """The Textual application.

    Args:
        store: the shared store.
        source: where its news come from and operations go.
        options: how it was asked to be.
    """

    CSS_PATH = "app.tcss"
    TITLE = "chorus-hap"
    COMMANDS: ClassVar[set[Any]] = {Actions}
    BINDINGS: ClassVar[list[BindingType]] = []
    ENABLE_COMMAND_PALETTE = True
    NOTIFICATION_TIMEOUT = TOAST_S

    def __init__(self, store: Store, source: Source, options: Options) -> None:
        self.registry = Registry(options.keys)
        self.store = store
        self.source = source
        self.options = options
        self.session = Session.load(options.home)
        wanted = self.session.theme if options.theme == DARK.name and self.session.theme else options.theme
        if options.theme not in PALETTES:
            self.registry.problems.append(
                f"console.theme names no theme {options.theme!r}; there are {', '.join(PALETTES)}."
            )
        palette = PALETTES.get(wanted, DARK)
        self.look = Look(palette, ASCII if options.ascii else UNICODE)
        self.read_only = (
            "This console is read-only; start it without --read-only to change something." if options.read_only else ""
        )
        self.pane_name = ""
        self._dirty: set[str] = set()  # slices with something new to show
        self._aged: set[str] = set()  # slices that only say how much time has passed
        self._not_before = 0.0
        self._may_speak = False
        self._view_filters: dict[str, str] = {}
        self._known_attention: set[str] = set()
        super().__init__()
        self.status_bar = StatusLine(self.store, lambda: bool(self.read_only))
        self.pane_bar = Tabs(self.store)
        self.key_bar = Footer(self.registry, self.situation)
        self.banner = Banner(self.store, lambda: not self.read_only)
        self.banner.may_allow = not options.read_only
        self.body = Container(id="body")
        self.everywhere = Everywhere(self)
        for item in PALETTES.values():
            self.register_theme(item.theme())
        self.theme = palette.name
        for key in ("ctrl+q", self.COMMAND_PALETTE_BINDING):  # Textual's own act beneath everything
            self._bindings.key_to_bindings.pop(key, None)
        self.proposal: dict[str, str] = {}  #: what was typed into a proposal that was left
        self._names = Names()
        self.program = Here(options.home)
        self._late: deque[tuple[Screen[Any], Callable[[Any], None] | None]] = deque(maxlen=4)

    # --- building -----------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield self.status_bar
        yield self.pane_bar
        yield self.body
        yield Static(id="toosmall", markup=False)
        with Container(id="promptbar"):
            yield Static("/", id="promptlabel", markup=False)
            yield Prompt()
            yield Static("", id="prompthint", markup=False)
        yield self.banner
        yield self.key_bar

    async def on_mount(self) -> None:
        if self.options.ascii:
            self.add_class("-ascii")
        self.store.listen("*", self._note_change)
        self._fit(self.size.width, self.size.height)
        await self.show_pane(self.session.pane)
        self.set_interval(1 / PAINTS_PER_S, self._follow_store, name="flush")
        self.set_interval(TICK_S, self._tick, name="tick")
        for problem in self.registry.problems:
            self.notify(clean_lines(problem), severity="warning", markup=False)
        if self.options.load_offline is not None and self.options.setup is None:
            self.run_worker(self._paint_offline(), group="offline", exit_on_error=False)
        if self.options.setup is not None:
            self.open_modal(Setup(self.options.setup, str(self.options.home)), self._set_up)
        else:
            self._begin()

    def _set_up(self, answers: FirstRun | None) -> None:
        if answers is None:
            self.exit("quit")
            return
        if self.options.on_setup is not None:
            self.options.on_setup(answers)
        self._begin()

    def _begin(self) -> None:
        self.run_worker(self.source.run(self.store), group="source", exit_on_error=True)
        self.work(lambda: self.source.watch(*SLICES), "watch")

    async def _paint_offline(self) -> None:
        assert self.options.load_offline is not None
        try:
            slices = await asyncio.to_thread(self.options.load_offline)
        except ChorusError:
            return  # the node says the same, with what to do
        if self.store.live or not slices:
            return
        self.store.as_of = str(slices.pop("as_of", ""))
        for name, value in slices.items():
            if self.store.rev(name) < 0:
                if name in ("log", "traffic"):
                    self.store.ring(name).extend(value)
                else:
                    self.store.put(name, value, -1)

    def _fit(self, width: int, height: int) -> None:
        small = width < MIN_COLUMNS or height < MIN_ROWS
        self.set_class(width >= 110, "-wide")
        self.set_class(width >= BROAD_COLUMNS, "-broad")
        self.set_class(height >= 36, "-tall")
        self.set_class(height < 22, "-low")
        if not self.main.query("#toosmall"):
            return
        note = self.main.query_one("#toosmall", Static)
        note.display = small
        note.update(
            f"This terminal has {width} × {height} cells; chorus-hap needs {MIN_COLUMNS} × {MIN_ROWS}. Make it larger."
        )
        self.body.display = not small
        for bar in ("#status", "#tabs", "#footer"):
            self.main.query_one(bar).display = not small

    def on_resize(self, event: Any) -> None:
        self._fit(event.size.width, event.size.height)

    @property
    def main(self) -> Screen[Any]:
        """The screen of the panes, whatever lies over it."""
        return self.screen_stack[0]

    def _painted(self) -> list[Painted]:
        return [widget for screen in self.screen_stack for widget in screen.query(Painted)]

    def get_default_screen(self) -> Screen[Any]:
        return Main(self.registry.keys)

    # --- keeping up with the store ------------------------------------------------------------------------------------

    @property
    def pane(self) -> Pane | None:
        """The pane that is shown."""
        found = self.main.query(f"#pane-{self.pane_name}") if self.pane_name else None
        pane = found.first() if found else None
        return pane if isinstance(pane, Pane) and pane.is_whole else None

    def _note_change(self, slice: str) -> None:
        (self._aged if self.store.only_aged(slice) else self._dirty).add(slice)

    def _follow_store(self) -> None:
        if self.store.clock() < self._not_before and CONNECTION not in self._dirty:
            return
        changed = set(self._dirty)
        self._dirty.clear()
        if changed:
            began = time.process_time()
            self._paint_news(changed)
            self.call_after_refresh(self._painted_in, began)

    def _painted_in(self, began: float) -> None:
        """Keys come first: where painting takes long it is done less often."""
        if time.process_time() - began > SLOW_PAINT_S:
            self._not_before = self.store.clock() + 1 / SLOW_PAINTS_PER_S

    def _paint_news(self, changed: set[str]) -> None:
        if "status" in changed:
            self._whose_voice()
        if changed & {"status", "attention", CONNECTION}:
            self.status_bar.repaint()
        if changed & {"status", CONNECTION}:
            self.key_bar.again()
            if self.banner.display:
                self.banner.refresh()
        if "attention" in changed:
            self._attend()
        if CONNECTION in changed:
            self._connection_changed()
        pane = self.pane
        if pane is not None and pane.wants(changed):
            pane.sync()
        self._tell_modals()

    def _tick(self) -> None:
        self.store.heed()
        self.status_bar.repaint()
        pane = self.pane
        if self.store.away:
            self._age()
        aged, self._aged = self._aged, set()
        if pane is not None and (pane.ticks or not self.store.live or pane.wants(aged)):
            pane.sync()
        self._tell_modals()

    def _connection_changed(self) -> None:
        if self.store.away != self.look.away:
            self._age()
            for painted in self._painted():
                painted.refresh()
        troubled = [screen for screen in self.screen_stack if isinstance(screen, Trouble)]
        if self.store.connection.state in ("failed", "stopped") and not troubled:
            self.push_screen(Trouble(self.store, self.options.home))
        elif self.store.connection.state == "attached" and troubled:
            troubled[0].pop_until_active()  # its log may lie over it
            troubled[0].dismiss()

    def open_modal(
        self, screen: Screen[T], callback: Callable[[T | None], None] | None = None, *, over: Screen[Any] | None = None
    ) -> None:
        """Put a screen over the panes, one of a kind. What comes late, since a node had to be asked, waits while something else
        has the keys: what is being typed there must not go to it.

        Args:
            screen: what is to have the keys.
            callback: gets its answer.
            over: the screen that asks for it; the panes' by default.
        """
        if self.screen is not (over or self.main):
            if isinstance(screen, Modal) and screen.comes_late:
                self._late.append((screen, callback))
            return
        if not any(type(opened) is type(screen) for opened in self.screen_stack):
            self.push_screen(screen, callback)

    def _tell_modals(self) -> None:
        """What lies over the panes says what holds now; a page that came late is shown once the keys are free."""
        for screen in self.screen_stack:
            if isinstance(screen, Modal) and screen.is_mounted:
                screen.again()
        if self._late and self.screen is self.main:
            self.open_modal(*self._late.popleft())

    def _whose_voice(self) -> None:
        """A console on an agent's home says so all the time, and changes nothing until ``:speak`` (SPEC section 0)."""
        status = self.store.status
        speaks_for = status is not None and status.kind == "agent"
        self.banner.display = speaks_for
        if self.options.read_only or status is None:
            return
        if not speaks_for:  # it is a person's home after all
            self._say_read_only("")
        elif not self._may_speak:
            self._say_read_only(f"You would speak as {status.agent_id} (agent); `:speak` allows it.")

    def _say_read_only(self, why: str) -> None:
        """Why nothing may be changed from here, empty when it may; everything that says so follows at once."""
        if why == self.read_only:
            return
        self.read_only = why
        for bar in (self.status_bar, self.banner, self.key_bar):
            bar.refresh()
        if self.pane is not None:
            self.pane.sync()
        self._tell_modals()

    def let_speak(self) -> None:
        """The person said to speak as this agent."""
        self._may_speak = True
        self._say_read_only("")

    def use_palette(self, palette: Palette) -> None:
        """Other colours from now on, and next time."""
        self.look = replace(self.look, palette=palette)
        self.theme = palette.name
        for painted in self._painted():
            if isinstance(painted, Viewport):
                painted.retitle()
            painted.refresh()
        self.session.theme = palette.name

    def _age(self) -> None:
        """While the node is away everything says how old it is."""
        self.look = replace(self.look, away=self.store.away, age_s=self.store.silence_s)
        self.body.set_class(self.look.away, "-away")
        for painted in self._painted():
            if isinstance(painted, Viewport):
                painted.retitle()

    def _attend(self) -> None:
        items: tuple[Attention, ...] = self.store.items("attention")  # type: ignore[assignment]
        new = {i.id for i in items} - self._known_attention
        if new:
            self.bell()
        self._known_attention = {i.id for i in items}
        self.pane_bar.repaint()
        self.window_title(f"({len(items)}!) chorus-hap" if items else "chorus-hap")

    def window_title(self, title: str) -> None:
        """Name the terminal's window."""
        driver = self._driver
        if driver is not None and not self.is_headless and not self.is_web:
            driver.write(f"\x1b]2;{title}\x07")

    # --- panes --------------------------------------------------------------------------------------------------------

    async def show_pane(self, name: str, argument: str = "") -> None:
        """Show a pane; it is made when it is first seen."""
        from chorus_hap.panes.registry import make

        if name not in {p for _, p, _ in PANES}:
            name = "overview"
        body = self.body
        fresh = not self.main.query(f"#pane-{name}")
        if fresh:
            await body.mount(make(name))
        self.pane_name = self.session.pane = name
        for pane in self.main.query(Pane):
            pane.display = pane.id == f"pane-{name}"
        self.pane_bar.current = name
        self.key_bar.pane = name
        self.pane_bar.repaint()
        self.key_bar.repaint()
        shown = self.pane
        if shown is not None:
            if fresh:
                self._refilter(shown)
            shown.sync()
            shown.enter()
            if argument:
                shown.call_later(shown.open_at, argument)

    def go(self, name: str, argument: str = "") -> None:
        """Show a pane from code that can't wait; ``argument`` says what to open in it."""
        self.call_later(self.show_pane, name, argument)

    @on(Tabs.Chosen)
    def _tab_chosen(self, event: Tabs.Chosen) -> None:
        self.go(event.pane)

    # --- actions ------------------------------------------------------------------------------------------------------

    def situation(self) -> Situation:
        """What decides whether an action can be done now."""
        status = self.store.status
        return Situation(self.pane_name, self.store.connection, self.read_only, status.stage if status else "starting")

    def refusal(self, action: Action) -> str:
        """Why an action can't be done now; empty when it can."""
        return self.registry.refusal(action, self.situation())

    @property
    def names(self) -> Names:
        """The members' names, for what was told before they were known."""
        self._names.learn(self.store.items("members"))
        return self._names

    def why_unchanged(self) -> str:
        """Why nothing can be changed now, whatever it is; empty when it can."""
        return self.registry.why_unchanged(self.situation())

    def here(self, text: str) -> str:
        """A sentence with the commands that it names as they can be given here."""
        return self.program.in_console(text)

    async def action_key(self, key: str) -> None:
        """A key of the registry was pressed; the next key waits until a pane it asked for is there."""
        if isinstance(self.focused, Prompt) and not self.focused.done:
            return  # it belongs to the line, which has no use for it
        action = self.registry.at(key, self.pane_name)
        if action is None:
            if self.registry.known(key):
                elsewhere = next(a for a in self.registry.actions.values() if key in self.registry.keys_of(a.id))
                self.say(self.refusal(elsewhere), "warning")
            return
        if action.handler == "pane":
            await self.show_pane(action.argument)
        else:
            self.perform(action)

    def perform(self, action: Action, argument: str = "") -> None:
        """Do an action, unless it can't be done now: then say why. What can't be undone is asked first."""
        if isinstance(self.screen, Modal):
            return
        refusal = self.refusal(action)
        if refusal:
            self.say(refusal, "warning")
            return
        why = self.pane.why_not(action.id) if self.pane else ""
        if why:
            self.say(why, "warning")
            return
        target: Any = (
            self.pane
            if hasattr(self.pane, action.method)
            else self
            if hasattr(self, action.method)
            else self.everywhere
        )
        run = getattr(target, action.method)
        if action.dangerous:
            if action.panes == EVERYWHERE:
                subject = named(self.store, action.id, "")
            else:
                subject = self.pane.subject(action.id) if self.pane else ""
            if "{}" in action.dangerous and not subject:
                self.say(f"Nothing is selected that one could {action.id}.", "warning")
                return
            self.open_modal(
                Confirm(
                    action.dangerous.replace("{}", subject), action.footer or action.id, lambda: self.refusal(action)
                ),
                lambda yes: run(argument or action.argument) if yes else None,
            )
        else:
            run(argument or action.argument)

    def say(self, text: str, severity: str = "information") -> None:
        """A toast: above the footer, in place of the one before."""
        if text:
            self.notify(clean_lines(self.here(text)), severity=severity, markup=False)  # type: ignore[arg-type]

    def _on_notify(self, _event: Notify) -> None:
        """Before Textual's own handler: one toast at a time, and over no dialog; one that is in its way sends it to the last line."""
        self._notifications.clear()
        for screen in (
            self.screen_stack
        ):  # Textual takes the toast away and leaves what held it, which would push the next one down
            screen.query(ToastHolder).remove()
        over = self.screen is not self.main
        regions = (
            [child.region for child in self.screen.children if isinstance(child, Container | Vertical)] if over else []
        )
        row = self.size.height - 2
        self.screen.set_class(any(r.bottom > row and r.height < self.size.height for r in regions), "-covered")

    def work(self, job: Callable[[], Awaitable[Any]], group: str = "job", *, exclusive: bool = True) -> None:
        """Run a job beside the screen; a refusal becomes a toast that says what to do."""

        async def run() -> None:
            try:
                await job()
            except ChorusError as error:
                self.say(str(error), "error")

        self.run_worker(run(), group=group, exclusive=exclusive, exit_on_error=True)

    def op_id(self) -> str:
        """A new operation id: repeating an operation with it changes nothing (SPEC section 2)."""
        return uuid7(wall_ms())

    def on_key(self, event: events.Key) -> None:
        # Whoever types fast is ahead of the line that was opened: what went to a box before it had the keys belongs to the line.
        if self.screen is self.main and self.main.query_one("#promptbar").has_class("-shown"):
            prompt = self.main.query_one(Prompt)
            if event is not prompt.heard and not prompt.done:
                event.prevent_default()
                prompt.post_message(events.Key(event.key, event.character))

    # --- the line for filters and commands ----------------------------------------------------------------------------

    def do_filter(self, _argument: str = "") -> None:
        view = self.pane.view if self.pane else None
        if view is not None:
            self._open_prompt("filter", "/", view.filter.source)

    def do_command(self, _argument: str = "") -> None:
        self._open_prompt("command", ":", "")

    def _open_prompt(self, mode: str, label: str, value: str) -> None:
        prompt = self.main.query_one(Prompt)
        self._prompted = self.pane.view if self.pane else None
        prompt.mode, prompt.done = mode, False
        prompt.value = value
        self.main.query_one("#promptlabel", Static).update(label)
        self.main.query_one("#promptbar").add_class("-shown")
        prompt.placeholder = (
            "word  !without  /regex/  field:value"
            if mode == "filter"
            else "a pane, or hmmm post … · tab completes, help lists all"
        )
        if mode == "command":
            prompt.complete = self._complete
            if not self._second_words:
                self.run_worker(self._learn_words(), group="words")
        self._hint(())
        self.main.set_focus(prompt)
        prompt.cursor_position = len(value)

    def _complete(self, line: str) -> list[str]:
        return completions(line, self._known_words)

    async def _learn_words(self) -> None:
        """The words of the groups of commands: reading them off imports what only scripted commands need."""

        def learn() -> dict[str, list[str]]:
            from chorus_hap.cli.app import subcommands
            from chorus_hap.cli.table import COMMANDS

            return {command.name: subcommands(command) for command in COMMANDS if command.group}

        self._second_words = await asyncio.to_thread(learn)

    def _known_words(self, name: str) -> list[str]:
        kind, _, group = name.partition(":")
        store = self.store
        match kind:
            case "commands":
                return self._second_words.get(group, [])
            case "themes":
                return [palette.removeprefix("chorus-") for palette in PALETTES]
            case "rooms" | "decisions":
                return [item.id for item in store.items(kind)]
            case "members":
                return [m.agent_id for m in store.items("members") if not (m.you or m.revoked)]
            case "newcomers":
                return [w.agent_id for w in store.items("waiting")]
        return [a.address for a in store.items("ucxl")]

    @on(Prompt.Completing)
    def _completing(self, event: Prompt.Completing) -> None:
        self._hint(event.words if len(event.words) > 1 else ())

    def _hint(self, words: Sequence[str]) -> None:
        hint = self.main.query_one("#prompthint", Static)
        hint.display = bool(words)
        hint.update(clean("  ".join(words))[:400])

    _second_words: Mapping[str, list[str]] = MappingProxyType({})
    _prompted: Viewport | None = None

    def _close_prompt(self) -> None:
        self._hide_prompt()
        if self._prompted is not None and self._prompted.is_attached:
            self._prompted.focus()
        elif self.pane is not None:
            self.pane.enter()

    @on(Prompt.Hidden)
    def _hide_prompt(self) -> None:
        self.main.query_one(Prompt).done = True
        self.main.query_one("#promptbar").remove_class("-shown")

    @on(Prompt.Left)
    def _prompt_left(self) -> None:
        self._close_prompt()

    @on(Prompt.Ahead)
    async def _prompt_ahead(self, event: Prompt.Ahead) -> None:
        await self.action_key(event.key)

    @on(Input.Changed, "#prompt")
    def _prompt_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.main.query_one(Prompt).mode == "filter" and self._prompted is not None:
            self._view_filters[self._filter_key(self._prompted)] = event.value
            self._prompted.set_filter(parse_filter(event.value))

    @on(Input.Submitted, "#prompt")
    def _prompt_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        prompt = self.main.query_one(Prompt)
        prompt.histories[prompt.mode].add(event.value)
        self._close_prompt()
        if prompt.mode == "command":
            self.everywhere.run_command(event.value)
        else:
            self.say(parse_filter(event.value).problem, "warning")

    def forget_filter(self, view: Viewport) -> None:
        """Show all of a box again."""
        self._view_filters.pop(self._filter_key(view), None)
        view.set_filter(parse_filter(""))

    def _filter_key(self, view: Viewport) -> str:
        return view.id or ""

    def _refilter(self, pane: Pane) -> None:
        for view in pane.query(Viewport):
            source = self._view_filters.get(self._filter_key(view))
            if source:
                view.set_filter(parse_filter(source))

    async def action_quit(self) -> None:
        """Textual's own way out (``ctrl+q``, ``ctrl+c`` twice) is ours too."""
        self.everywhere.do_quit()

    def action_exit_now(self) -> None:
        """Leave at once: nothing was started."""
        self.exit("quit")
