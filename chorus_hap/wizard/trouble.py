"""The full screen for a node that can't start or crashed too often: its one sentence, the fix, and its last log lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, cast

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import Static

from agent_core.home import Home
from chorus_hap.shown import clean_lines
from chorus_hap.source import Source
from chorus_hap.store import Store
from chorus_hap.widgets.lines import Line, clean, wrap
from chorus_hap.wizard.dialogs import Reader

#: How much of the log's end is read.
_TAIL_BYTES = 64 * 1024


def last_lines(home: Path, count: int = 200) -> list[str]:
    """The last lines of the node's log and of what it printed, newest last; empty when there are none."""
    lines: list[str] = []
    places = Home(home)
    for path in (places.log, places.output):
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
                lines += [_readable(line) for line in file.read().decode("utf-8", "replace").splitlines()[-count:]]
        except OSError:
            continue
    return lines[-count:]


def _readable(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict):
        return line
    entry.pop("logger", None)
    head = f"{str(entry.pop('at', ''))[11:19]} {entry.pop('level', '')!s:8} {entry.pop('event', '')}"
    return head + "".join(f"  {name}={value}" for name, value in entry.items())


class Trouble(Screen[None]):
    """The node can't run. ``r`` tries again, ``l`` shows the log, ``q`` leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "retry", show=False),
        Binding("l", "log", show=False),
        Binding("q,escape,ctrl+q", "leave", show=False),
    ]

    def __init__(self, store: Store, home: Path) -> None:
        super().__init__()
        self._store = store
        self._home = home

    def compose(self) -> ComposeResult:
        connection = self._store.connection
        with Vertical(classes="dialog trouble"):
            yield Static(
                "The node can't run" if connection.state == "failed" else "The node keeps crashing", classes="question"
            )
            yield Static(clean_lines(connection.reason), markup=False)
            yield Static(clean_lines(connection.next), markup=False, classes="hint")
            if connection.state == "stopped":
                tail = last_lines(self._home, 8)
                yield Static("\n".join(clean(line)[:200] for line in tail), markup=False, classes="hint")
            yield Static("r  try again      l  log      q  quit", markup=False, classes="keys")

    def action_retry(self) -> None:
        source = cast(Source, getattr(self.app, "source"))  # noqa: B009 - the application's type imports this module
        self.app.pop_screen()
        source.retry()

    def action_log(self) -> None:
        lines = last_lines(self._home) or ["The node wrote no log."]

        def build(width: int) -> list[Line]:
            return [[(part, "text")] for line in lines for part in wrap(line, width)]

        self.app.push_screen(Reader("Log of the node", build, copy="\n".join(lines)))

    def action_leave(self) -> None:
        cast("App[str]", self.app).exit("failed")
