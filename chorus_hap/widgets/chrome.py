"""What never leaves the screen: status line, pane keys, footer, and the line that filters and commands are typed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from chorus_hap.actions import PANES, Registry, Situation
from chorus_hap.commands import common
from chorus_hap.filter import History
from chorus_hap.store import Store
from chorus_hap.widgets.lines import Line, width_of
from chorus_hap.widgets.viewport import Bar
from chorus_hap.words import status_line


class StatusLine(Bar):
    """Who you are, who leads and whether anything waits."""

    def __init__(self, store: Store, read_only: Callable[[], bool]) -> None:
        super().__init__(id="status")
        self._store = store
        self._read_only = read_only

    def line(self, width: int) -> Line:
        return status_line(self._store, width, self.glyphs, self._read_only())


class Tabs(Bar):
    """The panes with their keys."""

    ground = "ground"

    class Chosen(Message):
        """A pane was clicked."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, store: Store) -> None:
        super().__init__(id="tabs")
        self._store = store
        self.current = "overview"
        self._spans: list[tuple[int, int, str]] = []

    def line(self, width: int) -> Line:
        waiting = len(self._store.items("attention"))
        wide = width >= 100
        gap = "  " if wide else " "
        line: Line = [(" ", "")]
        self._spans = []
        for key, pane, title in PANES:
            here = pane == self.current
            if pane == "attention":
                title = (
                    (f"Attention {waiting}" if waiting else "Attention") if wide else (str(waiting) if waiting else "")
                )
            start = width_of(line)
            line.append((key, "accent" if not (pane == "attention" and waiting) else "warn bold"))
            line += [(" ", ""), (title, "text bold under" if here else "dim")] if title else []
            self._spans.append((start, width_of(line), pane))
            line.append((gap, ""))
        return line

    def on_click(self, event: events.Click) -> None:
        for start, end, pane in self._spans:
            if start <= event.x < end:
                self.post_message(self.Chosen(pane))


class Banner(Bar):
    """Whose voice this is, on an agent's home."""

    def __init__(self, store: Store, may_change: Callable[[], bool]) -> None:
        super().__init__(id="banner")
        self._store = store
        self._may_change = may_change

    def line(self, width: int) -> Line:
        status = self._store.status
        name = status.agent_id if status else "an agent"
        allow = "" if self._may_change() or not self.may_allow else "   :speak allows changes"
        return [(f" {self.glyphs.warn} you speak as {name} (agent)", "warn bold"), (allow, "dim")]

    may_allow = True  #: whether the person may allow it: not on a console that was started read-only


class Footer(Bar):
    """The pane's six main keys, as far as they do something now."""

    def __init__(self, registry: Registry, situation: Callable[[], Situation]) -> None:
        super().__init__(id="footer")
        self._registry = registry
        self._situation = situation
        self._shown: list[tuple[str, str]] = []
        self.pane = "overview"

    def again(self) -> None:
        """What can be done may have changed."""
        if self._keys() != self._shown:
            self.refresh()

    def _keys(self) -> list[tuple[str, str]]:
        now = replace(self._situation(), pane=self.pane)
        return self._registry.footer(self.pane, now)

    def line(self, width: int) -> Line:
        line: Line = [(" ", "")]
        keys = self._shown = self._keys()
        used = sum(len(k) + len(w) + 1 for k, w in keys) + 2
        gap = " " * max(1, min(3, (width - used) // max(1, len(keys))))
        for key, word in keys:
            line += [(key, "accent bold"), (f" {word}", "dim"), (gap, "")]
        return line


class Prompt(Input):
    """One line for a filter or a command; ``esc`` leaves it, nothing typed is lost; the arrows recall what was used."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("up", "older", show=False),
        Binding("down", "newer", show=False),
        Binding("tab", "complete(1)", show=False),
        Binding("shift+tab", "complete(-1)", show=False),
    ]

    class Left(Message):
        """The line was left."""

    class Hidden(Message):
        """The keys went elsewhere, by the mouse."""

    class Ahead(Message):
        """A key that was typed before the line, already left by enter, gave the keys away."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self) -> None:
        super().__init__(id="prompt", compact=True)
        self.done = False
        self.mode = "filter"
        self.complete: Callable[[str], list[str]] = lambda _line: []
        self._cycle: list[str] = []
        self.histories = {"filter": History(), "command": History()}

    heard: events.Key | None = None  #: the key that came here last

    async def _on_key(self, event: events.Key) -> None:
        self.heard = event
        # A binding runs only once the key came back to the application, and whoever types fast is ahead of that.
        if self.done or event.key == "enter":
            event.stop()
            event.prevent_default()
            if self.done:
                self.post_message(self.Ahead(event.key))
            else:
                self.done = True
                await self.action_submit()
        else:
            await super()._on_key(event)

    def on_blur(self) -> None:
        if not self.done and self.app.app_focus:
            self.histories[self.mode].add(self.value)
            self.post_message(self.Hidden())

    def action_leave(self) -> None:
        self.done = True
        self.histories[self.mode].add(self.value)
        self.post_message(self.Left())

    def action_complete(self, by: int) -> None:
        """As much of the last word as is certain; pressed again, the words it can be, one after the other."""
        if self._cycle and self.value.removesuffix(" ") in self._cycle:
            at = self._cycle.index(self.value.removesuffix(" ")) + by
            self._set(self._cycle[at % len(self._cycle)])
            return
        found = self.complete(self.value) if self.mode == "command" else []
        longer = common(found)
        if len(found) == 1:
            self._set(found[0] + " ")
        elif len(longer) > len(self.value):
            self._set(longer)
        elif found:
            self._cycle = found
            self._set(found[0 if by > 0 else -1])
        self.post_message(self.Completing([line.split(" ")[-1] for line in found]))

    class Completing(Message):
        """These are the words that the last one can be."""

        def __init__(self, words: list[str]) -> None:
            super().__init__()
            self.words = words

    def _set(self, line: str) -> None:
        self.value = line
        self.cursor_position = len(line)

    def action_older(self) -> None:
        older = self.histories[self.mode].older()
        if older is not None:
            self.value = older
            self.cursor_position = len(older)

    def action_newer(self) -> None:
        self.value = self.histories[self.mode].newer()
        self.cursor_position = len(self.value)
