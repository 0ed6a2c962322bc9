"""The full screen for a node that can't start or crashed too often: its one sentence, the fix, and its last log lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from agent_core.home import Home
from chorus_hap.store import Store
from chorus_hap.widgets.choice import Note
from chorus_hap.widgets.lines import Line, clean, wrap
from chorus_hap.wizard.dialogs import Dialog, Reader

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


class Trouble(Dialog[None]):
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
        with Vertical(classes="dialog trouble"):
            yield Note(self._said)
            yield self.key_line()

    def _said(self, width: int) -> list[Line]:
        connection = self._store.connection
        title = "The node can't run" if connection.state == "failed" else "The node keeps crashing"
        lines: list[Line] = [[(title, "text bold")], []]
        lines += [[(part, "text")] for part in wrap(connection.reason, width)]
        lines += [[], *([(part, "dim")] for part in wrap(self.console.here(connection.next), width))]
        if connection.state == "stopped":
            lines += [[], *([(clean(line)[:200], "dim")] for line in last_lines(self._home, 8))]
        return lines

    def keys(self) -> list[tuple[str, str]]:
        return [("r", "try again"), ("l", "log"), ("q", "quit")]

    def action_retry(self) -> None:
        source = self.console.source
        self.dismiss()
        source.retry()

    def action_log(self) -> None:
        lines = last_lines(self._home) or ["The node wrote no log."]

        def build(width: int) -> list[Line]:
            return [[(part, "text")] for line in lines for part in wrap(line, width)]

        self.console.open_modal(Reader("Log of the node", build, copy="\n".join(lines)), over=self)

    def action_leave(self) -> None:
        self.console.exit("failed")
